"""What nuclei look like and how they lie: measured on masks, kept in a small json file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crafts.controls.clustering import Cluster, fit_cluster
from crafts.controls.nuclei import CLASSES, NucleiMask, separate
from crafts.core.config import Config, validate
from crafts.core.errors import ConfigError, DataError, first_line
from crafts.core.parsing import parse_json

Floats = NDArray[np.float64]

LEVELS = tuple(np.linspace(0, 1, 21).round(2).tolist())
"""Shares of nuclei at which quantiles of area and elongation are kept."""

MEGAPIXEL = 1e6
_MAX_COMPOSITIONS = 200
_LONG = 1.2  # elongation from which a nucleus has a direction
_FEWEST = 5  # whole nuclei from which a class has quantiles of its own


@dataclass(frozen=True, eq=False)
class NucleiTable:
    """Measures of the nuclei of one mask, a row each.

    Attributes:
        numbers: in ``instances`` [N].
        classes: class numbers [N].
        areas: pixels [N].
        centers: y and x of the middle in pixels [N, 2].
        elongations: long axis over short axis of the ellipse with the same moments [N], 1 or more.
        angles: of the long axis in radians, from the x axis towards y [N].
        boxes: height and width [N, 2].
        whole: not cut by the border [N].
        counted: touches neither the upper nor the left border [N]: each nucleus of a tissue is
            counted in one of the tiles that it lies in.
    """

    numbers: NDArray[np.int64]
    classes: NDArray[np.uint8]
    areas: Floats
    centers: Floats
    elongations: Floats
    angles: Floats
    boxes: NDArray[np.int64]
    whole: NDArray[np.bool_]
    counted: NDArray[np.bool_]


class ClassStatistics(Config):
    """Nuclei of one class.

    Attributes:
        count: whole nuclei that were measured.
        areas: quantiles at ``LEVELS`` in square pixels.
        elongations: quantiles at ``LEVELS``.
        cluster: where they lie together (a Thomas process); None: anywhere.
        neighbours: class of the nearest nucleus -> share.
        alignment: mean cos 2x of the angle to the nearest nucleus; 1 parallel, 0 none.
        likeness: rank correlation of area with that of the nearest nucleus of the class.
        slimness: rank correlation of elongation with area; below 0, small nuclei are slim.
        nearest: quantiles at ``LEVELS`` of the distance to the nearest nucleus of the class in
            pixels; None if unknown.
    """

    count: int = Field(ge=0)
    areas: tuple[float, ...] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    elongations: tuple[float, ...] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    cluster: Cluster | None = None
    neighbours: dict[str, float] = {}
    alignment: float = Field(0.0, ge=-1, le=1)
    likeness: float = Field(0.0, ge=-1, le=1)
    slimness: float = Field(0.0, ge=-1, le=1)
    nearest: tuple[float, ...] | None = Field(None, min_length=len(LEVELS), max_length=len(LEVELS))


class LayoutStatistics(Config):
    """Nuclei of one tissue.

    Attributes:
        tissue: its name.
        mpp: microns per pixel of all lengths here; None: unknown.
        num_images: masks that were measured.
        num_nuclei: nuclei that were counted in them.
        nearest: quantiles of the distance to the nearest nucleus of any class in pixels.
        classes: by name.
        compositions: nuclei per megapixel of each class, one entry an image (200 at most).
    """

    tissue: str
    mpp: float | None = Field(None, gt=0)
    num_images: int = Field(ge=1)
    num_nuclei: int = Field(ge=1)
    nearest: tuple[float, ...] | None = Field(None, min_length=len(LEVELS), max_length=len(LEVELS))
    classes: dict[str, ClassStatistics] = Field(min_length=1)
    compositions: tuple[dict[str, float], ...] = Field(min_length=1)

    def density(self) -> float:
        """Mean number of nuclei per megapixel."""
        return float(np.mean([sum(row.values()) for row in self.compositions]))

    def expected_neighbors(self, name: str) -> dict[str, float]:
        """Class -> share among the nuclei of fields in which a class lies, if they were mixed."""
        rows = [(row.get(name, 0.0), sum(row.values()), row) for row in self.compositions]
        total = max(sum(own for own, _, _ in rows), 1e-9)
        return {
            other: sum(own * row.get(other, 0.0) / all_ for own, all_, row in rows if own) / total
            for other in self.classes
        }

    def shares(self) -> dict[str, float]:
        """Class -> share of all nuclei."""
        totals = {
            name: sum(row.get(name, 0.0) for row in self.compositions) for name in self.classes
        }
        return {name: total / max(sum(totals.values()), 1e-9) for name, total in totals.items()}


class _File(Config):
    version: int = Field(1, ge=1, le=1)
    tissues: dict[str, LayoutStatistics] = Field(min_length=1)


def measure_nuclei(mask: NucleiMask) -> NucleiTable:
    """Measure every nucleus of a mask; a mask of classes is separated first."""
    from scipy import ndimage

    instances = separate(mask).instances
    assert instances is not None
    numbers, first, places = np.unique(instances, return_index=True, return_inverse=True)
    nuclei = slice(1 if numbers[0] == 0 else 0, None)
    labels = places.reshape(-1) + (0 if numbers[0] == 0 else 1)  # 0 is background
    y, x = (grid.reshape(-1).astype(np.float64) for grid in np.indices(instances.shape))

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(labels, values)[1:], np.float64)

    areas = total(np.ones_like(y))
    middle_y, middle_x = total(y) / areas, total(x) / areas
    # a pixel is a square: 1/12 is its own variance
    vary, varx = total(y * y) / areas - middle_y**2, total(x * x) / areas - middle_x**2
    together = total(x * y) / areas - middle_y * middle_x
    half, spread = (varx + vary) / 2 + 1 / 12, np.hypot((varx - vary) / 2, together)
    boxes = ndimage.find_objects(labels.reshape(instances.shape))
    edges = np.array([[at.start for at in box] + [at.stop for at in box] for box in boxes], int)
    edges = edges.reshape(-1, 4)
    counted = np.asarray((edges[:, :2] > 0).all(axis=1))
    inside = np.asarray((edges[:, 2:] < instances.shape).all(axis=1))
    return NucleiTable(
        numbers=numbers[nuclei].astype(np.int64),
        classes=mask.classes.reshape(-1)[first[nuclei]],
        areas=areas,
        centers=np.stack([middle_y, middle_x], axis=1) + 0.5,
        elongations=np.sqrt((half + spread) / np.maximum(half - spread, 1 / 12)),
        angles=np.arctan2(2 * together, varx - vary) / 2,
        boxes=edges[:, 2:] - edges[:, :2],
        whole=counted & inside,
        counted=counted,
    )


def fit_layouts(masks: Sequence[NucleiMask], tissue: str) -> LayoutStatistics:
    """Statistics of the nuclei of one tissue.

    Sizes are those of whole nuclei, weighted by the inverse of the chance to lie whole in the
    field (Miles and Lantuejoul); distances those of nuclei whose nearest neighbour is nearer than
    the border.

    Args:
        masks: fields of the tissue, of one resolution.
        tissue: its name.

    Raises:
        DataError: no masks, different resolutions, or hardly a whole nucleus in all of them.
    """
    resolutions = {mask.mpp for mask in masks}
    if len(resolutions) != 1:
        shown = ", ".join(sorted("unknown" if m is None else f"{m:g}" for m in resolutions))
        raise DataError(
            f"layouts of {tissue}",
            came=f"masks of {shown} microns per pixel" if masks else "no masks",
            allowed="at least one mask, and one resolution",
            do="Bring the masks to one resolution with resize_mask.",
        )
    tables = [measure_nuclei(mask) for mask in masks]
    sizes = [mask.size for mask in masks]
    found = np.unique(np.concatenate([table.classes[table.whole] for table in tables]))
    everyone = _class_statistics(tables, sizes, None)
    if everyone is None:
        raise DataError(
            f"layouts of {tissue}",
            came=f"fewer than {_FEWEST} whole nuclei in {len(masks)} masks",
            allowed="masks with nuclei",
            do="Give more masks of this tissue.",
        )
    classes = {
        CLASSES[number]: statistics
        for number in found.tolist()
        if (statistics := _class_statistics(tables, sizes, number)) is not None
    }
    return LayoutStatistics(
        tissue=tissue,
        mpp=resolutions.pop(),
        num_images=len(masks),
        num_nuclei=int(sum(table.counted.sum() for table in tables)),
        nearest=everyone.nearest,
        classes=classes or {"unknown": everyone},
        compositions=_compositions(tables, sizes, list(classes)),
    )


def save_statistics(path: Path | str, tissues: Mapping[str, LayoutStatistics]) -> None:
    """Write the statistics of some tissues as json, numbers rounded to four digits."""
    content = _File(tissues=dict(tissues)).model_dump(mode="json")
    Path(path).write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")


def load_statistics(path: Path | str) -> dict[str, LayoutStatistics]:
    """Read what :func:`save_statistics` wrote.

    Raises:
        DataError: no such file, or not JSON.
        ConfigError: a field is missing, unknown or out of bounds.
    """
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            str(path),
            came=f"unreadable ({first_line(error)})",
            allowed="a file of save_statistics",
            do="Check the path.",
        ) from None
    return validate(_File, content if isinstance(content, dict) else {}, str(path)).tissues


def shipped_layouts() -> Path:
    """The statistics in the package: some tissues by name, fitted to open sets of masks.

    Raises:
        ConfigError: this installation holds none.
    """
    path = Path(__file__).parents[1] / "weights" / "layouts" / "layouts.json"
    if not path.is_file():
        raise ConfigError(
            "layouts",
            came="no statistics in this installation",
            allowed="a file of save_statistics",
            do="Install crafts with its weights, or name a file.",
        )
    return path


def _class_statistics(
    tables: Sequence[NucleiTable], sizes: Sequence[tuple[int, int]], number: int | None
) -> ClassStatistics | None:
    """Of one class, or of all nuclei; None with too few whole ones."""
    mine = [_of_class(table, number) for table in tables]
    whole = [table.whole & own for table, own in zip(tables, mine, strict=True)]
    if sum(int(kept.sum()) for kept in whole) < _FEWEST:
        return None
    areas, elongations, chances = (
        np.concatenate([values[kept] for values, kept in zip(column, whole, strict=True)])
        for column in (
            [table.areas for table in tables],
            [table.elongations for table in tables],
            [_chances(table, size) for table, size in zip(tables, sizes, strict=True)],
        )
    )
    points = [table.centers[own] for table, own in zip(tables, mine, strict=True)]
    diameter = 2 * float(np.sqrt(np.average(areas, weights=1 / chances) / np.pi))
    neighbours, alignment = _neighbors(tables, mine)
    distances = nearest_distances(points, sizes)
    return ClassStatistics(
        count=len(areas),
        areas=_quantiles(areas, 1 / chances),
        elongations=_quantiles(elongations, 1 / chances),
        cluster=fit_cluster(points, sizes, diameter),
        neighbours=neighbours,
        alignment=alignment,
        likeness=_likeness(tables, whole),
        slimness=_rank_correlation(areas, elongations),
        nearest=_quantiles(distances, np.ones(len(distances))) if len(distances) else None,
    )


def nearest_distances(points: Sequence[Floats], sizes: Sequence[tuple[int, int]]) -> Floats:
    """Distance to the nearest point [N, 2], of the points that have it nearer than the border."""
    from scipy.spatial import cKDTree

    kept: list[Floats] = [np.zeros(0)]
    for places, size in zip(points, sizes, strict=True):
        if len(places) >= 2:
            distances = cKDTree(places).query(places, k=2)[0][:, 1]
            border = np.minimum(places, np.array(size) - places).min(axis=1)
            kept.append(distances[distances <= border])
    return np.concatenate(kept)


def _likeness(tables: Sequence[NucleiTable], whole: Sequence[NDArray[np.bool_]]) -> float:
    from scipy.spatial import cKDTree

    pairs: list[Floats] = [np.zeros((2, 0))]
    for table, own in zip(tables, whole, strict=True):
        if own.sum() >= 2:
            areas, places = table.areas[own], table.centers[own]
            pairs.append(np.stack([areas, areas[cKDTree(places).query(places, k=2)[1][:, 1]]]))
    first, second = np.concatenate(pairs, axis=1)
    return _rank_correlation(first, second)


def _rank_correlation(first: Floats, second: Floats) -> float:
    if len(first) < _FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = [values.argsort(kind="stable").argsort() for values in (first, second)]
    return float(np.clip(np.asarray(np.corrcoef(ranks))[0, 1], -1, 1))


def _neighbors(
    tables: Sequence[NucleiTable], mine: Sequence[NDArray[np.bool_]]
) -> tuple[dict[str, float], float]:
    """Classes of the nearest nuclei, and how parallel long nuclei lie to them."""
    from scipy.spatial import cKDTree

    counts = np.zeros(len(CLASSES))
    cosines: list[Floats] = []
    for table, own in zip(tables, mine, strict=True):
        if len(table.areas) < 2 or not own.any():
            continue
        nearest = cKDTree(table.centers).query(table.centers[own], k=2)[1][:, 1]
        counts += np.bincount(table.classes[nearest], minlength=len(CLASSES))
        long = (table.elongations[own] > _LONG) & (table.elongations[nearest] > _LONG)
        cosines.append(np.cos(2 * (table.angles[own] - table.angles[nearest]))[long])
    shares = counts / max(counts.sum(), 1)
    together = np.concatenate(cosines) if cosines else np.zeros(0)
    named = {CLASSES[place]: float(share) for place, share in enumerate(shares) if share > 0}
    return named, float(together.mean()) if len(together) >= _FEWEST else 0.0


def _compositions(
    tables: Sequence[NucleiTable], sizes: Sequence[tuple[int, int]], names: Sequence[str]
) -> tuple[dict[str, float], ...]:
    rows = []
    for table, (height, width) in zip(tables, sizes, strict=True):
        numbers = table.classes[table.counted]
        scale = MEGAPIXEL / (height * width)
        counts = {name: int((numbers == CLASSES.index(name)).sum()) for name in names}
        if not names:
            counts = {"unknown": len(numbers)}
        rows.append({name: count * scale for name, count in counts.items() if count})
    rows.sort(key=lambda row: sum(row.values()))
    picked = np.linspace(0, len(rows) - 1, min(len(rows), _MAX_COMPOSITIONS)).round().astype(int)
    return tuple(rows[place] for place in picked)


def _of_class(table: NucleiTable, number: int | None) -> NDArray[np.bool_]:
    return np.asarray(
        np.ones(len(table.classes), bool) if number is None else table.classes == number
    )


def _chances(table: NucleiTable, size: tuple[int, int]) -> Floats:
    """Share of places at which a nucleus of this size lies whole in the field."""
    return np.asarray(np.maximum(1 - table.boxes / np.array(size), 1e-3).prod(axis=1))


def _quantiles(values: Floats, weights: Floats) -> tuple[float, ...]:
    order = np.argsort(values)
    places = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    return tuple(float(value) for value in np.interp(LEVELS, places, values[order]))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value
