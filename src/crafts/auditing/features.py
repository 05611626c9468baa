"""The sets of an audit: images by number, features row for row, and who lies near whom.

Two figures come from neighbours in the space of an encoder: authenticity and the neighbour ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.results import Threshold
from crafts.core.errors import DataError
from crafts.core.protocols import BuildExtractor
from crafts.core.records import FeatureSet
from crafts.data.collection import Collection, group_of
from crafts.data.config import Columns
from crafts.measures.neighbors import Nearest, nearest
from crafts.measures.rows import check_features, unit_rows
from crafts.sets.source import SetFacts, SetName
from crafts.sets.splits import choose_split

_TINY = 1e-6
QUANTILE, FEWEST = 0.999, 200
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ImageSet:
    """One set of images.

    Attributes:
        name: generated, train or heldout.
        path: as the user gave it.
        split: rows of this split only; "" for all.
        images: by number.
    """

    name: SetName
    path: Path
    split: str
    images: Collection

    def facts(self, rejected: int, groups: int) -> SetFacts:
        """What ``audit.json`` says of it."""
        listed = len(self.images)
        return SetFacts(
            name=self.name,
            folder=self.path.resolve().name,
            split=self.split,
            listed=listed,
            used=listed - rejected,
            rejected=rejected,
            groups=groups,
        )


def open_set(
    name: SetName, path: Path, *, split: str, wanted: str, columns: Columns | None = None
) -> ImageSet:
    """List a folder without opening its images.

    Args:
        name: of the set.
        path: folder of images, or shards.
        split: a split, "" for all rows, or "auto": ``wanted`` where rows name splits, else all.
        wanted: the split that "auto" stands for; "" for none.
        columns: of its table.

    Raises:
        ConfigError: no such folder or split.
        DataError: the layout is not recognised.
    """
    chosen = choose_split(path, split, wanted=wanted, columns=columns)
    return ImageSet(name, path, chosen, Collection(path, split=chosen or None, columns=columns))


@dataclass(frozen=True)
class Features:
    """Features of a set.

    Attributes:
        units: float32 [N, D], of length one.
        numbers: int64 [N], the number of each row's image in its set.
        rows: N mappings: what is known of the image.
        faults: number -> reason, of images without features.
        encoder: whose features these are.
    """

    units: NDArray[np.float32]
    numbers: NDArray[np.int64]
    rows: tuple[Mapping[str, Any], ...]
    faults: Mapping[int, str]
    encoder: Mapping[str, Any]

    def patients(self) -> NDArray[np.str_] | None:
        """Patient (or group, case, slide) of each row [N]; None unless every row names one."""
        names = [group_of(row) for row in self.rows]
        return np.array(names) if all(names) else None

    def keep(self, numbers: set[int]) -> Features:
        """The rows of these images."""
        kept = np.array([int(number) in numbers for number in self.numbers], dtype=bool)
        rows = tuple(row for row, good in zip(self.rows, kept, strict=True) if good)
        return Features(self.units[kept], self.numbers[kept], rows, self.faults, self.encoder)


def read_features(one: ImageSet, build: BuildExtractor) -> Features:
    """Features of a set, in the order of its images.

    Raises:
        DataError: an image is in neither the features nor their rejects, or features are not
            finite.
    """
    found: FeatureSet = build(one.split or None)(one.path)
    places = {one.images.name(k): k for k in range(len(one.images))}
    faults = {places[name]: reason for name, reason in found.rejected if name in places}
    known = [k for k, row in enumerate(found.rows) if row["name"] in places]
    numbers = np.array([places[found.rows[k]["name"]] for k in known], dtype=np.int64)
    if len(numbers) + len(faults) != len(places):
        raise DataError(
            f"features: {one.name}",
            came=f"{len(numbers)} rows and {len(faults)} rejects for {len(places)} images",
            allowed="one or the other for every image",
            do="Report this: it is a fault of the program.",
        )
    order = np.argsort(numbers)
    rows = tuple(found.rows[known[k]] for k in order)
    picked = found.features[np.array(known, dtype=np.int64)[order]]
    units = unit_rows(check_features(picked, one.name).astype(np.float32), one.name)
    return Features(units, numbers[order], rows, faults, found.encoder)


def authentic(to_train: Nearest, within_train: Nearest) -> NDArray[np.bool_]:
    """Authenticity of each generated tile (Alaa et al. 2022, section 3.3).

    A tile is a copy in this sense when it is nearer to its training neighbour than that neighbour
    is to any other training tile. Training tiles that overlap are near to each other and make the
    measure lenient; the figure of held-out tiles beside it shows by how much.

    Args:
        to_train: nearest training tile of each generated tile.
        within_train: nearest other training tile of each training tile.

    Returns:
        bool [N].
    """
    return to_train.distance > within_train.distance[to_train.index]


def neighbor_ratio(to_train: Nearest, to_heldout: Nearest) -> Array:
    """Distance to the nearest training tile over that to the nearest held-out tile [N].

    Small where a tile is much nearer to what the model saw than to what it did not; NaN where a
    tile has no held-out neighbour.
    """
    known = np.isfinite(to_heldout.distance)
    ratio = to_train.distance / np.maximum(np.where(known, to_heldout.distance, 1.0), _TINY)
    return np.where(known, ratio, np.nan)


@dataclass(frozen=True)
class Placed:
    """Where the tiles of one set stand among training and held-out tiles.

    Attributes:
        neighbours: nearest training tile of each row of the set's features.
        authentic: see :func:`authentic`, bool [N].
        ratio: see :func:`neighbor_ratio`, float64 [N]; None without held-out tiles.
    """

    neighbours: Nearest
    authentic: NDArray[np.bool_]
    ratio: Array | None


def place(
    generated: Features, train: Features, heldout: Features | None
) -> tuple[Placed, Placed | None]:
    """Place generated tiles, and held-out tiles in the same way as a measure of what is usual.

    A held-out tile has no neighbour among tiles of its own patient, where patients are named.

    Args:
        generated: features of the generated tiles.
        train: of the training tiles, at least two.
        heldout: of the held-out tiles, at least two, or None.
    """
    within = nearest(train.units, train.units, without_self=True)
    to_train = nearest(generated.units, train.units)
    if heldout is None:
        return Placed(to_train, authentic(to_train, within), None), None
    patients = heldout.patients()
    same = None if patients is None else (patients, patients)
    among = nearest(heldout.units, heldout.units, groups=same, without_self=True)
    of_heldout = nearest(heldout.units, train.units)
    return (
        Placed(
            to_train,
            authentic(to_train, within),
            neighbor_ratio(to_train, nearest(generated.units, heldout.units)),
        ),
        Placed(of_heldout, authentic(of_heldout, within), neighbor_ratio(of_heldout, among)),
    )


def ratio_limit(ratios: Array) -> Threshold | None:
    """Neighbour ratio below which a tile is near: the 0.1 % quantile of held-out tiles.

    Args:
        ratios: of held-out tiles that share no tissue with training tiles; fewer than 200 set no
            limit.
    """
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < FEWEST:
        return None
    limit = float(np.quantile(ratios, 1 - QUANTILE))
    return Threshold(value=limit, source="heldout", n=len(ratios), quantile=limit)
