"""The three sets of an audit: their images by number, and their features row for row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.results import SetFacts
from crafts.core.errors import DataError
from crafts.core.protocols import BuildExtractor
from crafts.core.records import FeatureSet
from crafts.data.collection import Collection, group_of
from crafts.data.config import Columns
from crafts.measures.rows import check_features, unit_rows
from crafts.sets.source import SetName
from crafts.sets.splits import choose_split


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
