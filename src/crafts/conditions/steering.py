"""Control of generation: which image steers which row, by which ControlNet, and its mask beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from crafts.conditions.condition import Condition, Conditioner
from crafts.conditions.config import ControlFolders, FluorescenceOptions, MaskOptions
from crafts.conditions.maps import mask_map
from crafts.conditions.networks import MapConditioner
from crafts.conditions.wishes import ControlInput, Invented, parse_input
from crafts.controls.fluorescence import Fluorescence, load_fluorescence
from crafts.controls.layouts import (
    LayoutStatistics,
    load_statistics,
    shipped_layouts,
)
from crafts.controls.maps import fit_mask
from crafts.controls.masks import load_mask
from crafts.controls.nuclei import NucleiMask
from crafts.controls.synthesis.invent import sample_layout
from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.records import Ledger
from crafts.core.runtime import say, seed_from
from crafts.model.bundle import Bundle
from crafts.model.config import KINDS
from crafts.model.control import Control, check_control, load_control, trained_beside
from crafts.model.files.places import SHIPPED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = 16  # maps in memory; 12 MB each at 512 px


@dataclass(frozen=True, eq=False)
class _Shown:
    """A control image on the pixels of the tile: map, what made it, and the mask."""

    values: NDArray[np.float32]
    record: Mapping[str, Any]
    mask: NucleiMask | None


@dataclass(frozen=True)
class _Origin:
    """What a map is made from; ``number`` (of a draw) decides a layout that is invented."""

    image: Path | Invented | NucleiMask | Fluorescence
    number: tuple[int | str, ...] = (0, 0)

    @property
    def name(self) -> str:
        if isinstance(self.image, NucleiMask | Fluorescence):
            return self.image.source or "in memory"
        if not isinstance(self.image, Invented):
            return str(self.image)
        return f"{self.image}#{'-'.join(map(str, self.number))}"


class AskingRow(Protocol):
    """A row of a run, which may name control images of its own."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def wishes(self) -> Mapping[str, str]:
        """Kind -> image as on the command line."""
        ...


R = TypeVar("R", bound=AskingRow)


class Steering:
    """Control images and ControlNets of a run.

    Args:
        bundle: the model, on its device.
        common: for every row that names no image of the kind itself.
        folder: that the paths in rows start from.
        folders: of ControlNets.
        masks: how masks are read.
        fluorescence: how fluorescence is read.
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
        self._wishes: dict[str, list[ControlInput]] = {}  # by row
        self._origins: dict[tuple[str, str], _Origin] = {}  # by kind and source of a use
        self._layouts: dict[str, LayoutStatistics] | None = None
        self._show = lru_cache(_KEPT)(self._read)

    @property
    def conditioners(self) -> dict[str, Conditioner]:
        """What the sampler needs, by kind; {} where nothing is controlled."""
        return {
            kind: MapConditioner(control.module, self.map)
            for kind, control in self.networks.items()
        }

    def prepare(self, rows: Sequence[R], ledger: Ledger) -> list[R]:
        """Look at every control image before hours go into sampling; rows with a bad one go.

        Raises:
            ConfigError: no ControlNet for a kind, or one that does not fit.
            CraftsError: the image of all rows cannot be used.
        """
        for kind in KINDS:
            if kind in self.common or any(kind in row.wishes for row in rows):
                self.networks[kind] = self._open(kind)
        for wish in self.common.values():
            self._use(wish)
        usable = []
        for row in rows:
            try:
                wishes = self._inputs(row)
                for wish in wishes:
                    self._use(wish)
                self._wishes[row.id] = wishes
                usable.append(row)
            except (CraftsError, ValueError, OSError) as error:
                ledger.withdraw(row.id, str(error))
                say(f"generate: {row.id} is left out: {error}")
        return usable

    def uses(self, row: AskingRow, number: tuple[int | str, ...]) -> tuple[Condition, ...]:
        """What steers an image of a row; ``number`` of its draw decides an invented layout."""
        return tuple(self._use(wish, number) for wish in self._wishes.get(row.id, ()))

    def identity(self, uses: Sequence[Condition]) -> list[Any]:
        """All that decides what controls do to the pixels."""
        return [
            [self.networks[u.kind].fingerprint, u.kind, u.key, u.weight, u.start, u.stop]
            if u.kind in self.networks
            else [u.kind, u.key, u.weight]
            for u in uses
        ]

    def maps_of(self, uses: Sequence[Condition]) -> list[Condition]:
        """Those of the conditions of an image that are maps."""
        return [use for use in uses if use.kind in self.networks]

    def describe(self, uses: Sequence[Condition]) -> str:
        """What a file says of its controls, as JSON; "" without."""
        told: list[dict[str, Any]] = [
            {
                "kind": use.kind,
                "map_sha256": use.key,
                "weight": use.weight,
                "start": use.start,
                "stop": use.stop,
                "network_sha256": self.networks[use.kind].fingerprint,
                "licence": self.networks[use.kind].licence,
                **self._shown(use).record,
            }
            for use in self.maps_of(uses)
        ]
        told += [{"kind": use.kind, "told": use.key} for use in uses if use.kind == "scale"]
        return json.dumps(told, ensure_ascii=False) if told else ""

    def mask(self, uses: Sequence[Condition]) -> NucleiMask | None:
        """The mask among the controls of an image, on its pixels."""
        found = [self._shown(use).mask for use in uses if use.kind == "nuclei"]
        return found[0] if found else None

    def map(self, use: Condition) -> NDArray[np.float32]:
        """The map of a use, float32 [C, H, W]."""
        return self._shown(use).values

    def _inputs(self, row: AskingRow) -> list[ControlInput]:
        found = dict(self.common)
        for kind, text in row.wishes.items():
            found[kind] = parse_input(kind, text, self.folder)
        return [found[kind] for kind in KINDS if kind in found]

    def _use(self, wish: ControlInput, number: tuple[int | str, ...] = (0, 0)) -> Condition:
        origin = _Origin(wish.image, number if isinstance(wish.image, Invented) else (0, 0))
        self._origins[wish.kind, origin.name] = origin
        values = self._show(wish.kind, origin).values
        sha256 = sha256_bytes(str(values.shape).encode() + values.tobytes())
        return Condition(wish.kind, sha256, wish.weight, wish.start, wish.stop, origin.name)

    def _shown(self, use: Condition) -> _Shown:
        return self._show(use.kind, self._origins[use.kind, use.source])

    def _read(self, kind: str, origin: _Origin) -> _Shown:
        """A control image on the pixels of the tile.

        Raises:
            CraftsError: it cannot be used; says why.
        """
        side = self.bundle.native_size
        control, name = self.networks[kind], Path(origin.name).name
        if kind == "nuclei":
            mpp = self.bundle.mpp if isinstance(self.bundle.mpp, int | float) else None
            given = self._mask(origin, side, mpp)
            fit: dict[str, Any] = {"size": (side, side), "mpp": mpp, "resize": self.masks.resize}
            values = mask_map(given, **fit)
            record: Mapping[str, Any] = {"source": name}
            mask = fit_mask(given, **fit)
        else:
            values, record = self._read_fluorescence(origin.image, side)
            mask = None
        if len(values) != len(control.channels):
            raise ConfigError(
                f"{origin.name}: channels",
                came=f"{len(values)} channels",
                allowed=f"{len(control.channels)}, which the ControlNet knows: "
                + ", ".join(control.channels),
                do="Choose with --set fluorescence.channels=[NAME], that of the nuclei.",
            )
        return _Shown(values, record, mask)

    def _mask(self, origin: _Origin, side: int, mpp: float | None) -> NucleiMask:
        """The nuclei of an origin, not yet on the pixels of the tile.

        Raises:
            CraftsError: an unreadable mask, or statistics that lack the tissue.
        """
        image = origin.image
        if isinstance(image, NucleiMask):
            return image
        if isinstance(image, Path):
            mask = load_mask(image, **self.masks.model_dump(exclude={"resize", "layouts"}))
            if mask.rejected:
                first = mask.rejected[0]
                say(f"{image.name}: {len(mask.rejected)} outlines left out, the first is {first}")
            return mask
        assert isinstance(image, Invented)
        if self._layouts is None:
            self._layouts = load_statistics(self.masks.layouts or shipped_layouts())
        if image.tissue not in self._layouts:
            raise ConfigError(
                f"control nuclei={image}",
                came=f"tissue {image.tissue!r}",
                allowed=", ".join(self._layouts),
                do="Choose one of these, or name statistics with --set masks.layouts=FILE.",
            )
        statistics = self._layouts[image.tissue]
        seed = seed_from("layout", *origin.number)
        scale = mpp if statistics.mpp is not None else None
        return sample_layout(statistics, size=(side, side), seed=seed, mpp=scale)

    def _read_fluorescence(
        self, image: Any, side: int
    ) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
        options = self.fluorescence
        found = image
        if not isinstance(image, Fluorescence):
            size = (side, side) if options.resize else None
            found = load_fluorescence(
                image, channels=options.channels, region=options.region, size=size
            )
        height, width = found.values.shape[1:]
        if (height, width) != (side, side):
            raise ConfigError(
                f"{found.source}: size",
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
