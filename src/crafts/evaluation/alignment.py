"""Do images agree with their prompts, or with the real image that the prompt was written for?"""

from __future__ import annotations

from typing import Any

import numpy as np

from crafts.core.errors import DataError
from crafts.evaluation.distances import Array, check_features


def prompt_alignment(images: Any, texts: Any) -> float:
    """Mean cosine of each image with its own prompt, in percent (with PLIP: PLIP-T).

    Args:
        images: image features [N, D].
        texts: text features [N, D] of the same dual encoder, row for row.

    Raises:
        DataError: shapes differ, a row is zero, or values are not finite.
    """
    return 100 * float(_paired_cosine(images, texts, ("images", "texts")).mean())


def image_alignment(generated: Any, real: Any) -> float:
    """Mean cosine of each generated image with its real counterpart, in percent (PLIP: PLIP-I).

    Args:
        generated: image features [N, D].
        real: image features [N, D] of the tiles that the prompts were written for, row for row.

    Raises:
        DataError: shapes differ, a row is zero, or values are not finite.
    """
    return 100 * float(_paired_cosine(generated, real, ("generated", "real")).mean())


def _paired_cosine(first: Any, second: Any, names: tuple[str, str]) -> Array:
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
    return np.asarray((unit_rows(one, names[0]) * unit_rows(two, names[1])).sum(axis=1))


def unit_rows(features: Array, name: str) -> Array:
    """Rows divided by their length.

    Raises:
        DataError: a row is zero, so that it has no direction.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    if (length == 0).any():
        raise DataError(
            f"features: {name}",
            came=f"row {int((length == 0).argmax())} is all zero",
            allowed="rows with a direction",
            do="Look at this item; the encoder saw nothing in it.",
        )
    return np.asarray(features / length)
