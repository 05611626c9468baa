"""A picture with other nuclei: its mask, edited, decides what is made anew and where nuclei go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crafts.controls.nuclei import NucleiMask, separate
from crafts.controls.synthesis import edit
from crafts.core.errors import ConfigError

EDITS: dict[str, Callable[..., NucleiMask]] = {
    "more_lymphocytes": edit.more_lymphocytes,
    "change_density": edit.change_density,
    "larger_nuclei": edit.larger_nuclei,
    "remove": edit.remove,
}
"""Edits of the command line; those of ``controls/synthesis/edit.py`` under their own names."""

_AROUND = 3  # pixels around a nucleus that came or went: its rim is made anew, too


@dataclass(frozen=True)
class NucleiEdit:
    """An edit and its amount.

    Attributes:
        name: one of ``EDITS``.
        amount: as the edit takes it.
        of: the class that ``remove`` is for; None: all.
    """

    name: str
    amount: float
    of: str | None = None

    def apply(self, mask: NucleiMask, region: NDArray[np.bool_], seed: int) -> NucleiMask:
        """The mask with the nuclei of a region edited; no other nucleus moves or loses a pixel.

        Args:
            mask: the nuclei.
            region: bool [H, W]; a nucleus is in it when most of its pixels are.
            seed: the same seed gives the same mask.

        Raises:
            ConfigError: an amount out of range, or no such class.
        """
        mask = separate(mask)
        assert mask.instances is not None
        inside = np.bincount(mask.instances[region], minlength=int(mask.instances.max()) + 1)
        whole = np.bincount(mask.instances.ravel())
        chosen = (2 * inside > whole) & (np.arange(len(whole)) > 0)
        own = chosen[mask.instances]
        room = own | region
        box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(room))
        field = _cut(_keep(mask, own), box)  # so that new nuclei are looked a place for there only
        made = partial(EDITS[self.name], field, self.amount, seed=seed)
        edited = made(of=self.of) if self.of else made()
        merged = _merge(_cut(_keep(mask, ~own), box), edited, room[box], len(whole))
        assert merged.instances is not None
        ids, classes = mask.instances * ~own, mask.classes * ~own
        ids[box], classes[box] = merged.instances, merged.classes
        return replace(merged, instances=ids.astype(np.int32), classes=classes.astype(np.uint8))


def parse_edit(text: str) -> NucleiEdit:
    """``more_lymphocytes=0.5`` or ``remove=0.5:lymphocyte``.

    Raises:
        ConfigError: no such edit, or no amount.
    """
    name, _, rest = text.partition("=")
    amount, _, of = rest.partition(":")
    try:
        found = NucleiEdit(name.strip(), float(amount), of.strip() or None)
    except ValueError:
        found = NucleiEdit("", 0.0)
    if found.name not in EDITS or (found.of and found.name != "remove"):
        raise ConfigError(
            "generate: edit_nuclei",
            came=repr(text),
            allowed=f"EDIT=AMOUNT with one of {', '.join(EDITS)}; remove=AMOUNT:CLASS",
            do="Write for example more_lymphocytes=0.5.",
        )
    return found


def edit_picture(
    image: NDArray[np.uint8],
    wished: NucleiEdit,
    *,
    region: NDArray[np.bool_] | None,
    mask: NucleiMask | None,
    segment: Callable[[NDArray[np.uint8]], NucleiMask],
    seed: int,
) -> tuple[NucleiMask, NDArray[np.bool_]]:
    """The edited nuclei of a picture, and where it must be made anew for them.

    Args:
        image: uint8 [H, W, 3].
        wished: the edit.
        region: bool [H, W], where nuclei are edited; None: everywhere.
        mask: the nuclei of the picture; None: ``segment`` finds them.
        segment: finds nuclei.
        seed: of the edit.

    Raises:
        ConfigError: an amount out of range, a mask of another size, or an edit that moves nothing.
    """
    own = separate(segment(image) if mask is None else mask)
    where = np.ones(image.shape[:2], bool) if region is None else region
    if not own.classes.shape == where.shape == image.shape[:2]:
        raise ConfigError(
            "generate: edit_nuclei",
            came=f"a mask of {own.classes.shape} for a picture of {image.shape[:2]} px",
            allowed="masks of the size of the picture",
            do="Cut the mask to the picture.",
        )
    edited = wished.apply(own, where, seed)
    assert own.instances is not None and edited.instances is not None
    differs = (own.classes != edited.classes) | ((own.instances > 0) != (edited.instances > 0))
    if not differs.any():
        raise ConfigError(
            "generate: edit_nuclei",
            came=f"{wished.name}={wished.amount:g}, which changes none of the nuclei there",
            allowed="an edit that adds, removes or enlarges some",
            do="Choose another amount or a region with nuclei.",
        )
    return edited, _grown(differs)


def _keep(mask: NucleiMask, where: NDArray[np.bool_]) -> NucleiMask:
    assert mask.instances is not None
    return replace(
        mask,
        instances=(mask.instances * where).astype(np.int32),
        classes=(mask.classes * where).astype(np.uint8),
    )


def _cut(mask: NucleiMask, box: tuple[slice, ...]) -> NucleiMask:
    assert mask.instances is not None
    return replace(mask, instances=mask.instances[box].copy(), classes=mask.classes[box].copy())


def _merge(
    others: NucleiMask, edited: NucleiMask, room: NDArray[np.bool_], first: int
) -> NucleiMask:
    """Edited nuclei among others, which go first; one that leaves its room is left out.

    Edited ones are numbered from ``first`` on.
    """
    assert others.instances is not None and edited.instances is not None
    taken = (others.instances > 0) | ~room
    lost = np.zeros(int(edited.instances.max()) + 1, bool)
    clash = np.bincount(edited.instances[taken], minlength=len(lost))
    lost[1:] = 2 * clash[1:] > np.bincount(edited.instances.ravel(), minlength=len(lost))[1:]
    fits = (edited.instances > 0) & ~taken & ~lost[edited.instances]
    shifted = edited.instances + first
    return replace(
        edited,
        instances=np.where(fits, shifted, others.instances).astype(np.int32),
        classes=np.where(fits, edited.classes, others.classes).astype(np.uint8),
    )


def _grown(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(marks, iterations=_AROUND))
