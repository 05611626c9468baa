"""One record for every nuclei mask, one vocabulary of classes, and nuclei out of a class map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, DataError

_FILE = json.loads(Path(__file__).with_name("classes.json").read_text(encoding="utf-8"))

CLASSES: tuple[str, ...] = tuple(row["name"] for row in _FILE["classes"])
"""Names of the classes; the number of a class is its place here, 0 is background."""

PARENTS: Mapping[str, str] = {
    row["name"]: row["parent"] for row in _FILE["classes"] if row["parent"]
}
"""Class -> the wider class that it belongs to: a lymphocyte is an inflammatory cell."""

TABLES: Mapping[str, Mapping[str, str]] = {
    name: table["labels"] for name, table in _FILE["tables"].items()
}
"""Name of a source -> its labels (numbers, names, #rrggbb colours) -> classes of ours."""

UNKNOWN = CLASSES.index("unknown")
_EIGHT = np.ones((3, 3), bool)  # pixels that meet at a corner belong together
NECK = 0.65  # of 0.5 to 0.85 the best on masks whose nuclei are known (docs/control.md)
_SMOOTH = 1.0  # pixels; wrinkles of the edge make no bodies

ClassTable = str | Mapping[str, str]
"""Name of a table of ``TABLES``, or labels -> classes."""


@dataclass(frozen=True, eq=False)
class NucleiMask:
    """Nuclei of one field.

    Attributes:
        classes: uint8 [H, W], numbers of ``names``; 0 is background.
        instances: int32 [H, W], a number for each nucleus, 0 is background; None where a mask
            tells classes or foreground only.
        mpp: microns per pixel, or None where it is unknown.
        source: the file, or what made the mask.
        rejected: nuclei that the file lists and that could not be used, with the reason.
        skipped: why nuclei of the file were left aside -> how many (outside of the frame, ...).
    """

    classes: NDArray[np.uint8]
    instances: NDArray[np.int32] | None = None
    mpp: float | None = None
    source: str = ""
    rejected: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

    names: ClassVar[tuple[str, ...]] = CLASSES

    def __post_init__(self) -> None:
        """Refuse what is no mask.

        Raises:
            DataError: a wrong type, shape or class number; nuclei and classes that disagree on
                where the background is; an empty array.
        """
        _check_array(self.classes, np.uint8, f"{self.source or 'mask'}: classes")
        if int(self.classes.max()) >= len(CLASSES):
            raise DataError(
                f"{self.source or 'mask'}: classes",
                came=f"class number {int(self.classes.max())}",
                allowed=f"0 to {len(CLASSES) - 1}",
                do="Map the labels of the source to the classes of crafts first.",
            )
        if self.instances is None:
            return
        _check_array(self.instances, np.int32, f"{self.source or 'mask'}: instances")
        if self.instances.shape != self.classes.shape or not np.array_equal(
            self.instances > 0, self.classes > 0
        ):
            raise DataError(
                f"{self.source or 'mask'}: instances",
                came=f"{self.instances.shape} that do not cover the classes {self.classes.shape}",
                allowed="one shape, and a class for each pixel of a nucleus",
                do="Give pixels of unclassified nuclei the class 'unknown'.",
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (int(self.classes.shape[0]), int(self.classes.shape[1]))

    @property
    def num_nuclei(self) -> int | None:
        """Number of nuclei, None where the mask has classes only."""
        if self.instances is None:
            return None
        return int(np.count_nonzero(np.unique(self.instances)))


def resolve_table(table: ClassTable) -> dict[str, int]:
    """Labels of a source in lower case -> class numbers.

    Raises:
        ConfigError: no table has this name, or it names a class that does not exist.
    """
    if isinstance(table, str) and table not in TABLES:
        raise ConfigError(
            "table",
            came=repr(table),
            allowed=f"one of {', '.join(TABLES)}, or labels with their classes",
            do='Pass for example table="lizard" or table={"1": "lymphocyte"}.',
        )
    labels = TABLES[table] if isinstance(table, str) else table
    for label, name in labels.items():
        if name not in CLASSES:
            raise ConfigError(
                f"table: {label}",
                came=repr(name),
                allowed=f"one of {', '.join(CLASSES)}",
                do="Name a class of crafts; `unknown` is one.",
            )
    return {str(label).lower(): CLASSES.index(name) for label, name in labels.items()}


def label_classes(
    labels: NDArray[np.integer], table: ClassTable, *, where: str
) -> NDArray[np.uint8]:
    """Class numbers for the numbers of a source.

    Args:
        labels: integers of any shape; 0 is background.
        table: what they mean.
        where: for messages.

    Raises:
        DataError: a number that the table lacks.
    """
    known = {"0": 0, **resolve_table(table)}
    found, inverse = np.unique(labels, return_inverse=True)
    if missing := [int(value) for value in found if str(int(value)) not in known]:
        raise DataError(
            where,
            came=f"label {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1)),
            allowed=f"labels of the table: {', '.join(sorted(known))}",
            do="Choose the table of this source, or pass a mapping that names all its labels.",
        )
    numbers = np.array([known[str(int(value))] for value in found], np.uint8)
    return numbers[inverse].reshape(labels.shape)


def connected_nuclei(classes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Connected parts of each class [H, W]; nuclei of one class that touch are one part."""
    from scipy import ndimage

    parts = np.zeros(classes.shape, np.int32)
    for number in np.unique(classes[classes > 0]):
        labeled, count = ndimage.label(classes == number, _EIGHT)
        parts[labeled > 0] = labeled[labeled > 0] + parts.max()
    return parts


def separate(mask: NucleiMask, *, neck: float = NECK) -> NucleiMask:
    """Give a mask of classes nuclei of its own: connected parts, cut where they have a neck.

    Where the distance to the edge falls below ``neck`` times its peak in a part, the part counts as
    several bodies, and each pixel goes to the nearest. A mask that has nuclei stays as it is.

    Args:
        mask: with or without instances.
        neck: 0 to 1; 0 cuts nothing.
    """
    if mask.instances is not None:
        return mask
    from scipy import ndimage

    parts = connected_nuclei(mask.classes)
    depth = ndimage.gaussian_filter(edge_distance(parts), _SMOOTH, mode="nearest")
    count = int(parts.max())
    peaks = np.concatenate([[0], ndimage.maximum(depth, parts, np.arange(1, count + 1))])
    cores = (depth >= neck * peaks[parts]) & (parts > 0)
    instances = np.zeros_like(parts)
    total = 0
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        inside = parts[box] == number
        markers, bodies = ndimage.label(cores[box] & inside, _EIGHT)
        if bodies > 1:
            _, nearest = ndimage.distance_transform_edt(markers == 0, return_indices=True)
            markers = markers[tuple(nearest)]
        instances[box][inside] = np.maximum(markers[inside], 1) + total if bodies > 1 else 1 + total
        total += max(bodies, 1)
    return replace(mask, instances=instances)


def edge_distance(instances: NDArray[np.int32]) -> NDArray[np.float32]:
    """Pixels from each pixel of a nucleus to the first one outside of it [H, W]; 0 elsewhere.

    What lies beyond the border of the image is taken as more of the same.
    """
    from scipy import ndimage

    inner = (instances > 0) & ~find_edges(instances)
    inside = ndimage.distance_transform_edt(inner) if not inner.all() else np.full(inner.shape, 1.0)
    return np.where(instances > 0, inside + 1, 0).astype(np.float32)


def find_edges(instances: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of a nucleus [H, W] with something else above, below, left or right of them."""
    padded = np.pad(instances, 1, mode="edge")
    center = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edges = np.zeros(instances.shape, bool)
    for side in sides:
        edges |= side != center
    return edges & (instances > 0)


def _check_array(array: NDArray[np.generic], kind: type[np.integer], where: str) -> None:
    if array.ndim != 2 or array.dtype != kind or array.size == 0:
        raise DataError(
            where,
            came=f"{array.dtype} of shape {array.shape}",
            allowed=f"{np.dtype(kind)} of shape [H, W], at least one pixel",
            do="Load masks with load_mask, which brings them to this form.",
        )
    if int(array.min()) < 0:
        raise DataError(
            where, came=f"the number {int(array.min())}", allowed="0 or more", do="Renumber it."
        )
