"""Pictures that are made from pictures: which of them each row names, and what is to change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.conditions.wishes import ControlInput, Invented
from crafts.controls.masks import load_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import sha256_bytes, sha256_file
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.manifest import PromptRow
from crafts.generation.nuclei_edits import edit_picture, parse_edit
from crafts.generation.request import ImageRequest
from crafts.imaging.sources import (
    Pixels,
    Source,
    as_mask,
    build_source,
    has_transparency,
    read_mask,
    read_picture,
)
from crafts.model.segmenter import open_segmenter
from crafts.sampling.edits import Edit

INPAINT_STRENGTH, COUNTERFACTUAL_STRENGTH = 1.0, 0.9
"""Shares of the steps where none is asked for."""

_KEPT = 16  # pictures in memory


@dataclass(frozen=True, eq=False)
class Wish:
    """What a row asks for: paths, or pixels of a picture in memory.

    Attributes:
        image: the picture; None: it is made from the prompt.
        mask: where it is made anew; None: everywhere.
        counterfactual: text that holds instead of the prompt; None: the prompt holds.
    """

    image: Any = None
    mask: Any = None
    counterfactual: str | None = None

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: says what is missing.
        """
        if self.mask is not None and self.image is None:
            raise _refusal("a mask and no picture", "--inpaint IMAGE --mask IMAGE", "Name both.")
        if self.image is not None and self.mask is None and self.counterfactual is None:
            raise _refusal(
                "a picture and nothing that is to change",
                "--mask IMAGE (white is made anew), --counterfactual TEXT, --edit-nuclei EDIT",
                "Say where or what.",
            )


class Editing:
    """The edits of a run.

    Args:
        request: of the run.
        folder: that the paths in rows start from.
        edge: of a tile of the model, in pixels.
        given: picture and mask of all rows in memory, in place of those of the request.
        steered: whether a control holds for all rows.
    """

    def __init__(
        self,
        request: ImageRequest,
        folder: Path,
        *,
        edge: int,
        given: tuple[Any, Any] = (None, None),
        steered: bool = False,
    ) -> None:
        self.steered = steered
        self.request, self.folder, self.edge = request, folder, edge
        image, mask = (_in_memory(one) for one in given)
        self.common = Wish(
            request.inpaint if image is None else image,
            request.mask if mask is None else mask,
            request.counterfactual,
        )
        self._edits: dict[str, tuple[Wish, Edit] | None] = {}  # by row
        self._read = lru_cache(_KEPT)(self._open)

    def prepare(self, rows: Sequence[PromptRow], ledger: Ledger) -> list[PromptRow]:
        """Look at every picture before hours go into sampling; rows with a bad one go.

        Raises:
            CraftsError: what all rows are asked for cannot be done.
        """
        named = any(row.inpaint for row in rows)
        if not (self.common.image is None and named):  # a mask for the pictures of rows is fine
            self.common.check()
            if self.common.image is not None:
                self._read(self.common)
        usable = []
        for row in rows:
            try:
                self._edits[row.id] = self._edit(self._wish(row), row.prompt)
                usable.append(row)
            except (CraftsError, ValueError, OSError) as error:
                ledger.withdraw(row.id, str(error))
                say(f"generate: {row.id} is left out: {error}")
        return usable

    def of(self, row: PromptRow) -> Edit | None:
        """What the pictures of a row are made from; None: from noise alone."""
        found = self._edits.get(row.id)
        return found[1] if found else None

    def describe(self, row: PromptRow) -> str:
        """What a file says of the picture that it was made from, as JSON; "" without."""
        found = self._edits.get(row.id)
        if not found:
            return ""
        wish, edit = found
        told: dict[str, Any] = {"strength": edit.strength}
        if edit.before is not None:
            told["instead_of"] = edit.before
        if edit.read is not None:
            source = edit.read()
            told |= {
                "source": _name(wish.image),
                "source_sha256": _hash(wish.image),
                "pixels_made": int((source.share > 0).sum()),
                "window": [*source.corner, source.edge, source.edge],
            }
            if wish.mask is not None:
                told |= {"mask_sha256": _hash(wish.mask), "feather": self.request.feather}
        return json.dumps(told, ensure_ascii=False)

    def _wish(self, row: PromptRow) -> Wish:
        """The row's own where it says something, else the run's."""
        if not (row.inpaint or row.inpaint_mask or row.counterfactual):
            return self.common
        return Wish(
            self.folder / row.inpaint if row.inpaint else self.common.image,
            self.folder / row.inpaint_mask if row.inpaint_mask else self.common.mask,
            row.counterfactual or self.common.counterfactual,
        )

    def _edit(self, wish: Wish, prompt: str) -> tuple[Wish, Edit] | None:
        wish.check()
        told = wish.counterfactual is not None
        if not told and wish.image is None:
            return None
        usual = COUNTERFACTUAL_STRENGTH if told else INPAINT_STRENGTH
        strength = self.request.strength or usual
        before = prompt if told else None
        if wish.image is None:
            return wish, Edit(strength, before)
        self._read(wish)
        decides = [_hash(wish.image), _hash(wish.mask), self.request.feather]
        key = sha256_bytes(json.dumps(decides).encode())
        return wish, Edit(strength, before, key, partial(self._read, wish))

    def _open(self, wish: Wish) -> Source:
        mask = None if wish.mask is None else _marks(wish.mask)
        return build_source(
            _pixels(wish.image),
            mask,
            edge=self.edge,
            feather=self.request.feather,
            name=_name(wish.image),
        )


def other_nuclei(
    request: ImageRequest, control: Mapping[str, ControlInput], given: tuple[Any, Any]
) -> tuple[dict[str, ControlInput], tuple[Any, Any]]:
    """What steers a run and what it edits, once nuclei were edited as the request says.

    Args:
        request: of the run.
        control: of the run; nuclei among them are those of the picture.
        given: picture and mask in memory, in place of those of the request.

    Returns:
        The controls with the edited nuclei, and the picture with the region that they change.

    Raises:
        CraftsError: no picture, an unusable mask, or an edit that cannot be.
    """
    if request.edit_nuclei is None:
        return dict(control), given
    wished = parse_edit(request.edit_nuclei)
    image, region = (_in_memory(one) for one in given)
    image = request.inpaint if image is None else image
    region = request.mask if region is None else region
    wish = control.get("nuclei", ControlInput("nuclei", Path()))
    if image is None or isinstance(wish.image, Invented):
        came = "no picture" if image is None else f"invented nuclei ({wish.image})"
        raise _refusal(came, "--inpaint IMAGE, and the mask of its nuclei, if any", "Name them.")
    mask = wish.image if isinstance(wish.image, NucleiMask) else None
    if isinstance(wish.image, Path) and wish.image != Path():
        options = request.masks.model_dump(exclude={"resize", "layouts"})
        mask = load_mask(wish.image, **options)
    edited, changed = edit_picture(
        _pixels(image),
        wished,
        region=None if region is None else _marks(region),
        mask=mask,
        segment=open_segmenter("mini"),
        seed=request.seed,
    )
    edited = replace(edited, source=f"{_name(image)}: {request.edit_nuclei}")
    steered = dict(control) | {"nuclei": replace(wish, image=edited)}
    return steered, (image, changed.astype(np.uint8) * 255)


def refuse_misfits(editing: Editing, rows: Sequence[PromptRow], *, canvas: bool) -> None:
    """Refuse edits of pictures that controls, or a run beyond one tile, would not fit.

    Args:
        editing: of the run, prepared.
        rows: usable.
        canvas: whether pictures beyond one tile are made.

    Raises:
        ConfigError: says which row.
    """
    for row in rows:
        edit = editing.of(row)
        if edit is not None and canvas:
            raise _refusal(
                f"{row.id}: a picture beyond one tile that is edited",
                "tiles, or pictures of any size of which one tile's part is edited",
                "Leave --size out: an edited picture keeps its own.",
            )
        steered = row.wishes or editing.steered
        if edit is not None and edit.read is not None and steered:
            height, width = edit.read().image.shape[:2]
            if (height, width) != (editing.edge, editing.edge):
                raise _refusal(
                    f"{row.id}: a control and a picture of {width} x {height} px",
                    f"with a control, one tile of {editing.edge} px",
                    "Crop picture and control to the same tile.",
                )


def _in_memory(given: Any) -> Any:
    """A picture or mask of Python as a path or as pixels.

    Raises:
        ConfigError: it is neither.
    """
    if given is None or isinstance(given, Path):
        return given
    if isinstance(given, str):
        return Path(given)
    if isinstance(given, Image.Image) and has_transparency(given):
        raise _refusal(f"an image of mode {given.mode}", "one without transparency", "Flatten it.")
    pixels = np.asarray(given.convert("RGB") if isinstance(given, Image.Image) else given)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise _refusal(
            f"{pixels.dtype} of shape {pixels.shape}",
            "a path, a Pillow image, uint8 [H, W, 3], or of a mask also uint8 or bool [H, W]",
            "Convert it.",
        )
    return pixels


def _pixels(image: Any) -> Pixels:
    return read_picture(image) if isinstance(image, Path) else image


def _marks(mask: Any) -> NDArray[np.bool_]:
    return read_mask(mask) if isinstance(mask, Path) else as_mask(mask)


def _name(image: Any) -> str:
    return image.name if isinstance(image, Path) else "in memory"


def _hash(image: Any) -> str:
    """Of a file, or of pixels in memory."""
    if image is None:
        return ""
    if isinstance(image, Path):
        return sha256_file(image)
    return sha256_bytes(str(image.shape).encode() + image.tobytes())


def _refusal(came: str, allowed: str, do: str) -> ConfigError:
    return ConfigError("generate: inpaint", came=came, allowed=allowed, do=do)
