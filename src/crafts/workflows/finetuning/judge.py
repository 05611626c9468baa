"""Has the model improved? Held-out tiles of the user say so, or say that they are too few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.results import Number, ResultFile
from crafts.core.runtime import say
from crafts.experiments.judging.judges import to_grey
from crafts.measures.change import Change, kernel_change, kernel_floor
from crafts.model.bundle import Bundle
from crafts.model.vision.image_encoders import ImageEncoder, open_encoder
from crafts.sampling.losses import compute_losses
from crafts.sets.features import read_image
from crafts.workflows.finetuning.tiles import REAL, Tiles

LEAST_TILES, LEAST_GROUPS, LEAST_IMAGES = 8, 4, 8
"""Held-out tiles, their patients, and pictures below which nothing is said."""

CHANCE = 0.05
_TIMESTEPS = (100, 300, 500, 700, 900)
_SCALE = 100  # of distances and losses, for readers
_BATCH = 16

Pixels = NDArray[np.uint8]
Word = Literal["improved", "worse", "not shown", "too few"]


class Nearness(ResultFile):
    """Kernel distance x 100 of the pictures to held-out tiles; less is nearer.

    Attributes:
        before: of the pictures of the parent.
        after: of the new model, same prompts and seeds.
        floor: of the training tiles, which are real: what cannot be beaten but by copying.
        nearer: chance of such a fall if nothing had changed.
        farther: the same of a rise.
        steady: the sign stays when any one held-out patient is left out.
    """

    before: Number
    after: Number
    floor: Number
    nearer: float
    farther: float
    steady: bool


class Judged(ResultFile):
    """What the judge says.

    Attributes:
        verdict: ``improved`` or ``worse`` where chance is below 5 % and no single patient decides;
            ``not shown`` otherwise; ``too few`` where there is too little to judge by.
        says: the verdict as a sentence.
        split: of the tiles that were held out.
        tiles, groups, images: held-out tiles, their patients (or tiles, where none are named), and
            pictures of each side.
        colour_and_structure: whole pictures.
        structure: the same of grey pictures of one mean and contrast, which no colour can help.
        loss_before, loss_after: denoising loss x 100 of the held-out tiles, and ...
        loss_fell: ... on how many of them it fell.
    """

    verdict: Word
    says: str
    split: str
    tiles: int
    groups: int
    images: int
    colour_and_structure: Nearness | None = None
    structure: Nearness | None = None
    loss_before: Number = None
    loss_after: Number = None
    loss_fell: int | None = None


def judge(
    tiles: Tiles,
    before: Sequence[Path],
    after: Sequence[Path],
    *,
    parent: Bundle,
    child: Bundle,
    seed: int,
) -> Judged:
    """Hold the pictures before and after against held-out tiles.

    Args:
        tiles: packed tiles of the user.
        before: pictures of the parent.
        after: pictures of the new model, of the same prompts and seeds in the same order.
        parent: on its device.
        child: likewise.
        seed: of the test.
    """
    held = tiles.of_split(tiles.judged, REAL) if tiles.judged else []
    groups = tiles.groups(held)
    counts = {"split": tiles.judged, "tiles": len(held), "groups": len(set(groups))}
    enough = len(held) >= LEAST_TILES and len(set(groups)) >= LEAST_GROUPS
    if not (enough and len(after) >= LEAST_IMAGES):
        return Judged(
            verdict="too few", says=_too_few(counts, len(after)), images=len(after), **counts
        )
    say(f"finetune: the judge looks at {len(held)} held-out tiles")
    size = child.native_size
    real, train = tiles.images(held, size), tiles.images(tiles.of_split("train", REAL), size)
    made = [[read_image(path) for path in paths] for paths in (before, after)]
    sets = [real, train, *made]
    device = next(child.denoiser.parameters()).device
    encoder = open_encoder("mini", device=device)
    whole = _nearness(encoder, sets, groups, seed)
    grey = _nearness(encoder, [to_grey(images) for images in sets], groups, seed)
    losses = [_losses(model, tiles, held, real) for model in (parent, child)]
    verdict = _verdict(whole)
    return Judged(
        verdict=verdict,
        says=f"{_sentence(verdict, whole, grey)} {_say_losses(*losses)}",
        images=len(after),
        colour_and_structure=whole,
        structure=grey,
        loss_before=float(_SCALE * losses[0].mean()),
        loss_after=float(_SCALE * losses[1].mean()),
        loss_fell=int((losses[1] < losses[0]).sum()),
        **counts,
    )


def _nearness(
    encoder: ImageEncoder, sets: Sequence[Sequence[Pixels]], groups: Sequence[str], seed: int
) -> Nearness:
    """Of held-out, training, earlier and later pictures, in this order."""
    real, train, before, after = (_features(encoder, images) for images in sets)
    change: Change = kernel_change(real, before, after, groups=groups, seed=seed)
    return Nearness(
        before=_SCALE * change.before,
        after=_SCALE * change.after,
        floor=_SCALE * kernel_floor(real, train) if len(train) > 1 else None,
        nearer=change.nearer,
        farther=change.farther,
        steady=change.steady,
    )


def _features(encoder: ImageEncoder, images: Sequence[Pixels]) -> NDArray[np.float64]:
    parts = [encoder.images(images[k : k + _BATCH]) for k in range(0, len(images), _BATCH)]
    return np.concatenate([part.numpy() for part in parts]).astype(np.float64)


def _losses(
    model: Bundle, tiles: Tiles, held: Sequence[int], images: Sequence[Pixels]
) -> NDArray[np.float64]:
    texts = [str(tiles.rows[i]["text"]) for i in held]
    parts = [
        compute_losses(model, images[k : k + _BATCH], texts[k : k + _BATCH], timesteps=_TIMESTEPS)
        for k in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)


def _verdict(found: Nearness) -> Word:
    if found.steady and found.nearer <= CHANCE:
        return "improved"
    return "worse" if found.steady and found.farther <= CHANCE else "not shown"


def _sentence(verdict: Word, whole: Nearness, grey: Nearness) -> str:
    def of(found: Nearness) -> str:
        floor = "" if found.floor is None else f", real training tiles {found.floor:.0f}"
        return f"{found.before:.0f} before, {found.after:.0f} after{floor}"

    words = {
        "improved": "Improved: pictures lie nearer to your held-out tiles than before",
        "worse": "Worse: pictures lie farther from your held-out tiles than before",
        "not shown": f"Not shown: {_doubt(whole)}",
        "too few": "",
    }
    alone = {"improved": "nearer, too", "worse": "farther", "not shown": _doubt(grey)}
    return (
        f"{words[verdict]} (kernel distance x 100: {of(whole)}). Structure alone, without colour: "
        f"{alone.get(_verdict(grey), '')} ({of(grey)})."
    )


def _doubt(found: Nearness) -> str:
    """Why no change is called."""
    if min(found.nearer, found.farther) > CHANCE:
        return "so small a change may be chance"
    return "a change, but a single held-out patient decides its direction"


def _say_losses(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    fell = int((after < before).sum())
    return f"Held-out tiles are denoised better than before in {fell} of {len(after)} cases."


def _too_few(counts: Mapping[str, object], images: int) -> str:
    return (
        f"Not judged: {counts['tiles']} held-out tiles of {counts['groups']} patients and {images} "
        f"pictures; at least {LEAST_TILES} tiles of {LEAST_GROUPS} patients and {LEAST_IMAGES} "
        "pictures are needed to tell a change from chance. Look at sheet.png."
    )
