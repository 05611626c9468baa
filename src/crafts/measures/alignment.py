"""Do images agree with their prompts, or with the real image that the prompt was written for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crafts.core.errors import DataError
from crafts.measures.rows import Array, Features, check_features, unit_rows

_BLOCK = 4096


def prompt_alignment(images: Features, texts: Features) -> float:
    """Mean cosine of each image with its own prompt, in percent (with PLIP: PLIP-T).

    Args:
        images: image features [N, D].
        texts: text features [N, D] of the same dual encoder, row for row.

    Raises:
        DataError: shapes differ, a row is zero, or values are not finite.
    """
    return float(prompt_alignments(images, texts).mean())


def image_alignment(generated: Features, real: Features) -> float:
    """Mean cosine of each generated image with its real counterpart, in percent (PLIP: PLIP-I).

    Args:
        generated: image features [N, D].
        real: image features [N, D] of the tiles that the prompts were written for, row for row.

    Raises:
        DataError: shapes differ, a row is zero, or values are not finite.
        ConfigError: sets marked as real and generated were swapped.
    """
    return float(image_alignments(generated, real).mean())


def prompt_alignments(images: Features, texts: Features) -> Array:
    """Cosine [N] of each image with its own prompt, in percent; see :func:`prompt_alignment`."""
    return _cosines(images, texts, ("images", "texts"))


def image_alignments(generated: Features, real: Features) -> Array:
    """Cosine [N] of each generated image with its real one, in percent: :func:`image_alignment`."""
    return _cosines(generated, real, ("generated", "real"))


def prompt_agreement(images: Features, texts: Features, prompts: Sequence[str]) -> float:
    """Share of images that are nearer to their own prompt than to every other one, in percent.

    A prompt that shares its features with another one (cut to the same tokens, say) never wins, so
    that an encoder blind to the prompts scores 0 and guessing scores 100 / K for K prompts.

    Args:
        images: image features [N, D].
        texts: text features [N, D] of the same dual encoder, row for row.
        prompts: the N prompts, by which equal ones are known; at least two distinct.

    Raises:
        DataError: as :func:`prompt_alignment`, or fewer than N prompts or two distinct ones.
    """
    one, two = _paired(images, texts, ("images", "texts"))
    names, first, own = np.unique(
        np.asarray(prompts, dtype=str), return_index=True, return_inverse=True
    )
    if own.shape != (len(one),) or len(names) < 2:
        raise DataError(
            "prompt_agreement: prompts",
            came=f"{own.size} prompts, {len(names)} of them distinct",
            allowed=f"{len(one)}, one a row, and at least two distinct",
            do="Pass the prompt of each image.",
        )
    choices, right = two[first], 0
    for start in range(0, len(one), _BLOCK):
        cosine = one[start : start + _BLOCK] @ choices.T
        rows, mine = np.arange(len(cosine)), own[start : start + _BLOCK]
        # from the same product: a row by itself may round otherwise, and equal texts must tie
        score = cosine[rows, mine].copy()
        cosine[rows, mine] = -np.inf
        right += int((score > cosine.max(axis=1) + 1e-12).sum())
    return 100 * right / len(one)


def _cosines(first: Features, second: Features, names: tuple[str, str]) -> Array:
    one, two = _paired(first, second, names)
    return np.asarray(100 * (one * two).sum(axis=1))


def _paired(first: Features, second: Features, names: tuple[str, str]) -> tuple[Array, Array]:
    one, two = (
        check_features(first, names[0], min_rows=1),
        check_features(second, names[1], min_rows=1),
    )
    if one.shape != two.shape:
        raise DataError(
            f"features: {names[0]} and {names[1]}",
            came=f"shapes {list(one.shape)} and {list(two.shape)}",
            allowed="pairs, row for row",
            do="Pass as many rows, of the same width, on both sides.",
        )
    return unit_rows(one, names[0]), unit_rows(two, names[1])
