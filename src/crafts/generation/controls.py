"""Control of generation: which image steers which row, by which ControlNet, and its mask beside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from crafts.controls.fluorescence import load_fluorescence
from crafts.controls.maps import fit_mask
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import sha256_bytes
from crafts.core.config import Config
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.generation.manifest import PromptRow
from crafts.model.bundle import SHIPPED, Bundle
from crafts.model.control import KINDS, Control, check_control, load_control, trained_beside
from crafts.sampling.control import Controls, ControlUse, mask_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBER = r"\d+\.?\d*|\.\d+"
_WISH = re.compile(rf"(.+?)(?:@({_NUMBER})(?:,({_NUMBER})-({_NUMBER}))?)?")
_MOST_WEIGHT = 4.0
_KEPT = 16  # maps in memory; 12 MB each at 512 px


class ControlFolders(Config):
    """ControlNets; a kind without one takes the shipped one."""

    nuclei: str | None = Field(None, description="folder of a ControlNet for masks of nuclei")
    fluorescence: str | None = Field(None, description="folder of a ControlNet for fluorescence")


class MaskOptions(Config):
    """How masks of nuclei are read; see ``crafts.controls.masks.load_mask``."""

    values: Literal["instances", "classes", "foreground"] | None = Field(
        None, description="what the numbers of an image mean; None: as the file tells"
    )
    table: str | None = Field(None, description="classes of the source: lizard, pannuke, ...")
    mpp: float | None = Field(None, gt=0, description="microns per pixel; None: as the file tells")
    frame: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height of the field, for outlines"
    )
    index: int | None = Field(None, ge=0, description="which field of a .npy with many")
    resize: bool = Field(False, description="bring masks of another size to that of the image")


class FluorescenceOptions(Config):
    """How fluorescence is read; see ``crafts.controls.fluorescence.load_fluorescence``."""

    channels: tuple[str | int, ...] | None = Field(
        None, description="names or indices; None: all of the file"
    )
    region: tuple[int, int, int, int] | None = Field(
        None, description="left, top, width, height in pixels of the finest level; None: the whole"
    )
    resize: bool = Field(False, description="bring images of another size to that of the tile")


@dataclass(frozen=True)
class ControlInput:
    """A control image and how it is used.

    Attributes:
        kind: "nuclei" or "fluorescence".
        path: of the mask or image.
        weight: factor of what the ControlNet adds.
        start: share of the steps after which it begins to act.
        stop: share of the steps after which it no longer acts.
    """

    kind: str
    path: Path
    weight: float = 1.0
    start: float = 0.0
    stop: float = 1.0


@dataclass(frozen=True, eq=False)
class _Shown:
    """A control image on the pixels of the tile: map, what made it, and the mask."""

    values: NDArray[np.float32]
    record: Mapping[str, Any]
    mask: NucleiMask | None


def parse_input(kind: str, text: str, folder: Path) -> ControlInput:
    """``mask.png``, ``mask.png@0.8`` (weight) or ``mask.png@0.8,0-0.7`` (weight, start-stop).

    Args:
        kind: one of ``KINDS``.
        text: as above.
        folder: that a relative path starts from.

    Raises:
        ValueError: says in words what is wrong.
    """
    found = _WISH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{kind} names no file; write for example mask.png@0.8,0-0.7")
    path, weight, start, stop = found.groups()
    wish = ControlInput(
        kind,
        folder / path,
        1.0 if weight is None else float(weight),
        0.0 if start is None else float(start),
        1.0 if stop is None else float(stop),
    )
    if wish.weight > _MOST_WEIGHT:
        raise ValueError(f"{kind} has weight {weight}; 0 (off) to {_MOST_WEIGHT:g} are allowed")
    if not 0 <= wish.start < wish.stop <= 1:
        raise ValueError(f"{kind} acts from {start} to {stop}; both are shares of the steps, 0-1")
    return wish


def parse_options(options: Sequence[str]) -> dict[str, ControlInput]:
    """``KIND=IMAGE`` of the command line, by kind; relative paths start from the working folder.

    Raises:
        ConfigError: an unknown kind, a kind given twice, or a wrong weight or share.
    """
    found: dict[str, ControlInput] = {}
    for option in options:
        kind, separator, text = option.partition("=")
        if not separator or kind not in KINDS or kind in found:
            raise ConfigError(
                f"--control {option}",
                came="a second image of one kind" if kind in found else f"kind {kind!r}",
                allowed=f"KIND=IMAGE, each kind once: {', '.join(KINDS)}",
                do="Write for example --control nuclei=mask.png@0.8,0-0.7.",
            )
        try:
            found[kind] = parse_input(kind, text, Path())
        except ValueError as error:
            raise ConfigError(
                f"--control {option}",
                came=str(error),
                allowed="IMAGE, IMAGE@WEIGHT or IMAGE@WEIGHT,START-STOP",
                do="Correct the option.",
            ) from None
    return found


class Steering:
    """Control images and ControlNets of a run.

    Args:
        folders: of ControlNets.
        masks: how masks are read.
        fluorescence: how fluorescence is read.
        bundle: the model, on its device.
        common: for every row that names no image of the kind itself.
        folder: that the paths in rows start from.
    """

    def __init__(
        self,
        bundle: Bundle,
        common: Mapping[str, ControlInput],
        folder: Path,
        *,
        folders: ControlFolders,
        masks: MaskOptions,
        fluorescence: FluorescenceOptions,
    ) -> None:
        self.bundle, self.common, self.folder = bundle, dict(common), folder
        self.folders, self.masks, self.fluorescence = folders, masks, fluorescence
        self.networks: dict[str, Control] = {}
        self._uses: dict[str, tuple[ControlUse, ...]] = {}  # by row
        self._show = lru_cache(_KEPT)(self._read)

    @property
    def controls(self) -> Controls | None:
        """What the sampler needs; None where nothing is controlled."""
        if not self.networks:
            return None
        networks = {kind: control.module for kind, control in self.networks.items()}
        return Controls(networks, lambda use: self._shown(use).values)

    def prepare(self, rows: Sequence[PromptRow], ledger: Ledger) -> list[PromptRow]:
        """Look at every control image before hours go into sampling; rows with a bad one go.

        Raises:
            ConfigError: no ControlNet for a kind, or one that does not fit.
            CraftsError: the image of all rows cannot be used.
        """
        for kind in KINDS:
            if kind in self.common or any(getattr(row, kind) for row in rows):
                self.networks[kind] = self._open(kind)
        for wish in self.common.values():
            self._use(wish)
        usable = []
        for row in rows:
            try:
                self._uses[row.id] = tuple(self._use(wish) for wish in self._inputs(row))
                usable.append(row)
            except (CraftsError, ValueError) as error:
                ledger.withdraw(row.id, str(error))
                say(f"generate: {row.id} is left out: {error}")
        return usable

    def uses(self, row: PromptRow) -> tuple[ControlUse, ...]:
        """What steers the images of a row."""
        return self._uses.get(row.id, ())

    def identity(self, uses: Sequence[ControlUse]) -> list[Any]:
        """All that decides what controls do to the pixels."""
        return [
            [self.networks[u.kind].fingerprint, u.kind, u.sha256, u.weight, u.start, u.stop]
            for u in uses
        ]

    def describe(self, uses: Sequence[ControlUse]) -> str:
        """What a file says of its controls, as JSON; "" without."""
        told = [
            {
                "kind": use.kind,
                "map_sha256": use.sha256,
                "weight": use.weight,
                "start": use.start,
                "stop": use.stop,
                "network_sha256": self.networks[use.kind].fingerprint,
                "licence": self.networks[use.kind].licence,
                **self._shown(use).record,
            }
            for use in uses
        ]
        return json.dumps(told, ensure_ascii=False) if told else ""

    def mask(self, uses: Sequence[ControlUse]) -> NucleiMask | None:
        """The mask among the controls of an image, on its pixels."""
        found = [self._shown(use).mask for use in uses if use.kind == "nuclei"]
        return found[0] if found else None

    def map(self, use: ControlUse) -> NDArray[np.float32]:
        """The map of a use, float32 [C, H, W]."""
        return self._shown(use).values

    def _inputs(self, row: PromptRow) -> list[ControlInput]:
        found = dict(self.common)
        for kind in KINDS:
            text = getattr(row, kind)
            if text:
                found[kind] = parse_input(kind, text, self.folder)
        return [found[kind] for kind in KINDS if kind in found]

    def _use(self, wish: ControlInput) -> ControlUse:
        values = self._show(wish.kind, wish.path).values
        sha256 = sha256_bytes(str(values.shape).encode() + values.tobytes())
        own = (wish.weight, wish.start, wish.stop, str(wish.path))
        return ControlUse(wish.kind, sha256, *own)

    def _shown(self, use: ControlUse) -> _Shown:
        return self._show(use.kind, Path(use.source))

    def _read(self, kind: str, path: Path) -> _Shown:
        """A control image on the pixels of the tile.

        Raises:
            CraftsError: it cannot be used; says why.
        """
        side = self.bundle.native_size
        control = self.networks[kind]
        if kind == "nuclei":
            options = self.masks.model_dump(exclude={"resize"})
            mpp = self.bundle.mpp if isinstance(self.bundle.mpp, int | float) else None
            given = load_mask(path, **options)
            fit: dict[str, Any] = {"size": (side, side), "mpp": mpp, "resize": self.masks.resize}
            values = mask_map(given, **fit)
            record: Mapping[str, Any] = {"source": path.name}
            mask = fit_mask(given, **fit)
        else:
            values, record = self._read_fluorescence(path, side)
            mask = None
        if len(values) != len(control.channels):
            raise ConfigError(
                f"{path}: channels",
                came=f"{len(values)} channels",
                allowed=f"{len(control.channels)}, which the ControlNet knows: "
                + ", ".join(control.channels),
                do="Choose with --set fluorescence.channels=[NAME], that of the nuclei.",
            )
        return _Shown(values, record, mask)

    def _read_fluorescence(
        self, path: Path, side: int
    ) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
        options = self.fluorescence
        size = (side, side) if options.resize else None
        found = load_fluorescence(path, channels=options.channels, region=options.region, size=size)
        height, width = found.values.shape[1:]
        if (height, width) != (side, side):
            raise ConfigError(
                f"{path}: size",
                came=f"{width} x {height} px",
                allowed=f"{side} x {side} px, the tile of this model",
                do="Choose with --set fluorescence.region=[left,top,width,height], or bring a "
                "square to that size with --set fluorescence.resize=true.",
            )
        return found.values, found.record()

    def _open(self, kind: str) -> Control:
        """The ControlNet of a kind, on the device of the model.

        Raises:
            ConfigError: there is none, or it does not fit.
        """
        where = f"generate: controls.{kind}"
        named, shipped = getattr(self.folders, kind), SHIPPED / f"control-{kind}"
        if named is None and not shipped.is_dir():
            raise ConfigError(
                where,
                came="no ControlNet named, and none of this kind is shipped",
                allowed="a folder that `crafts train` wrote with stage.kind control",
                do=f"Pass --set controls.{kind}=DIR.",
            )
        control = load_control(Path(named or shipped))
        if control.kind != kind:
            raise ConfigError(
                where,
                came=f"a ControlNet of kind {control.kind!r}",
                allowed=repr(kind),
                do="Choose another folder.",
            )
        check_control(control, self.bundle, where=where)
        if not trained_beside(control, self.bundle):
            say(f"generate: the ControlNet for {kind} was trained beside other weights")
        control.module.to(next(self.bundle.denoiser.parameters()).device)
        return control


def write_masks(
    output: Path, steering: Steering, images: Mapping[str, Sequence[ControlUse]]
) -> dict[str, str]:
    """Write the mask of every image that has one; masks of earlier requests are removed.

    Args:
        output: folder with ``images/``.
        steering: of the run.
        images: path of an image in ``output`` -> its controls.

    Returns:
        Path of an image -> path of its mask in ``output``.

    Raises:
        ConfigError: a file that crafts did not make lies among the masks.
    """
    folder, found = output / "masks", {}
    _remove_masks(folder)
    for image, uses in images.items():
        mask = steering.mask(uses)
        if mask is not None:
            folder.mkdir(exist_ok=True)
            name = f"masks/{Path(image).name}"
            save_mask(output / name, mask)
            found[image] = name
    return found


def _remove_masks(folder: Path) -> None:
    paths = sorted(folder.glob("*")) if folder.is_dir() else []
    for path in paths:
        twin = path.with_suffix(".json" if path.suffix == ".png" else ".png")
        if path.suffix not in (".png", ".json") or twin not in paths:
            raise ConfigError(
                str(path),
                came="a file that crafts did not make, among its masks",
                allowed="a folder of its own for the masks",
                do="Move the file away and run again.",
            )
    for path in paths:
        path.unlink()
    if paths:
        folder.rmdir()
