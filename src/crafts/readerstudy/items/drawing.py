"""Which tiles become items: as many of each class, matched by what they show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import DataError
from crafts.core.records import Ledger
from crafts.core.runtime import seed_from
from crafts.data.collection import Collection, group_of
from crafts.data.tiles.images import decode_rgb
from crafts.readerstudy.config import PrepareConfig
from crafts.readerstudy.items.equalising import History, cut_middle, read_history

_SITE = ("site", "hospital", "centre", "center", "set", "source")


@dataclass(frozen=True)
class Drawn:
    """One tile that will be shown.

    Attributes:
        name: as its folder lists it.
        pixels: uint8 [H, W, 3], as they lie in the folder.
        history: what its file says of its compression.
        stratum: what it shares with a tile of the other class.
        label, site, patient: "" where unknown.
    """

    name: str
    pixels: NDArray[np.uint8]
    history: History | None
    stratum: str
    label: str
    site: str
    patient: str


def draw_pairs(config: PrepareConfig, number: int, ledger: Ledger) -> list[tuple[Drawn, Drawn]]:
    """Real and synthetic tiles, one of each in a pair, which share their stratum.

    Strata are filled in turn, so that each gets as many as it can give up to the same number.

    Args:
        config: the folders and how they are matched.
        number: of pairs.
        ledger: counts every tile that is opened.

    Raises:
        ConfigError: no such folder or split.
        DataError: too few usable tiles that match, or tiles of several sizes.
    """
    sides = [
        _Side(config, "real", Collection(config.real, split=config.split or None), ledger),
        _Side(config, "generated", Collection(config.generated), ledger),
    ]
    shared = sorted(set(sides[0].strata) & set(sides[1].strata))
    if not shared:
        raise _nothing_shared(config, sides)
    rng = np.random.default_rng(seed_from("strata", config.seed))
    waiting = [shared[k] for k in rng.permutation(len(shared))]
    pairs: list[tuple[Drawn, Drawn]] = []
    while waiting and len(pairs) < number:
        stratum = waiting.pop(0)
        one, other = (side.take(stratum) for side in sides)
        if one is not None and other is not None:
            pairs.append((one, other))
            waiting.append(stratum)
    if len(pairs) < number:
        found = Counter(pair[0].stratum for pair in pairs)
        raise DataError(
            "study: items",
            came=f"{len(pairs)} matched pairs of {config.match}: {dict(found)}"[:300],
            allowed=f"{number} pairs (per_class, training and plain fakes), with at most"
            f" {config.per_patient} real tiles of one patient",
            do="Lower --per-class, add tiles, or raise per_patient and say so in the paper.",
        )
    sizes = {tile.pixels.shape[:2] for pair in pairs for tile in pair}
    if len(sizes) > 1:
        raise DataError(
            "study: items",
            came="tiles of " + " and ".join(f"{w} x {h} px" for h, w in sorted(sizes)[:3]),
            allowed="one size, as a size tells the classes apart",
            do="Cut all to the middle with --set size=256, or prepare tiles of one size.",
        )
    return pairs


class _Side:
    """The tiles of one class, handed out in a seeded order, stratum by stratum."""

    def __init__(self, config: PrepareConfig, name: str, tiles: Collection, ledger: Ledger) -> None:
        self.config, self.name, self.tiles, self.ledger = config, name, tiles, ledger
        rng = np.random.default_rng(seed_from("draw", name, config.seed))
        self.strata: dict[str, list[int]] = defaultdict(list)
        self.patients: Counter[str] = Counter()
        for number in rng.permutation(len(tiles)):
            stratum = _stratum(config, tiles.row(int(number)))
            if stratum is not None:
                self.strata[stratum].append(int(number))

    def take(self, stratum: str) -> Drawn | None:
        """The next usable tile of a stratum; None when there is none left."""
        return next(self._usable(stratum), None)

    def _usable(self, stratum: str) -> Iterator[Drawn]:
        left = self.strata[stratum]
        while left:
            number = left.pop()
            row = self.tiles.row(number)
            patient = group_of(row) if self.name == "real" else ""
            if patient and self.patients[patient] >= self.config.per_patient:
                continue
            self.ledger.listed()
            item = f"{self.name}/{self.tiles.name(number)}"
            data = self.tiles.encoded(number)
            pixels = data if isinstance(data, str) else decode_rgb(data)
            if self.config.size and not isinstance(pixels, str):
                cut = cut_middle(pixels, self.config.size)
                pixels = f"smaller than {self.config.size} px" if cut is None else cut
            if isinstance(pixels, str) or isinstance(data, str):
                self.ledger.reject(item, str(pixels))
                continue
            self.ledger.use(item)
            self.patients[patient] += 1
            yield Drawn(
                item, pixels, read_history(data), stratum, _text(row, "label"), _site(row), patient
            )


def _stratum(config: PrepareConfig, row: Mapping[str, Any]) -> str | None:
    if config.match == "none":
        return ""
    return _text(row, config.match) or None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _site(row: Mapping[str, Any]) -> str:
    return next((text for name in _SITE if (text := _text(row, name))), "")


def _nothing_shared(config: PrepareConfig, sides: list[_Side]) -> DataError:
    said = [
        f"{side.name}: {', '.join(sorted(side.strata)[:3]) or f'no {config.match}'}"
        for side in sides
    ]
    return DataError(
        "study: items",
        came=f"no {config.match} that real and generated tiles share ({'; '.join(said)})"[:300],
        allowed=f"tables of both folders with the same values in their column {config.match!r}",
        do="Add the column, or match by another: --match label, text or none.",
    )
