"""Masks in arrays: HoVer-Net .mat, PanNuke and HoVer-Net .npy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.controls.files.mask_images import check_area, instance_ids, whole_numbers
from crafts.controls.nuclei import UNKNOWN, ClassTable, NucleiMask, label_classes
from crafts.core.arrays import HEADER_ERRORS
from crafts.core.errors import ConfigError, DataError, first_line

_NPY_ERRORS: tuple[type[Exception], ...] = (OSError, *HEADER_ERRORS)
_PANNUKE_CHANNELS = 6  # neoplastic, inflammatory, connective, dead, epithelial, background


def read_mat(path: Path, *, table: ClassTable | None, mpp: float | None) -> NucleiMask:
    """Read ``inst_map`` of a .mat file and its classes, as HoVer-Net, CoNSeP and Lizard write them.

    Classes come from ``type_map`` [H, W], else from ``inst_type`` or ``class``: one a nucleus, in
    the order of ``id``, ``inst_uid`` or of the rising ids.

    Raises:
        DataError: unreadable, without ``inst_map``, or lists of different lengths.
        ConfigError: it has classes and no table is given.
    """
    content = _load_mat(path)
    where = f"{path}: inst_map"
    if "inst_map" not in content:
        raise DataError(
            str(path),
            came=f"the variables {', '.join(sorted(content)) or 'none'}",
            allowed="inst_map",
            do="Write the nuclei as HoVer-Net does: inst_map [H, W], inst_type [N].",
        )
    ids = instance_ids(whole_numbers(_plane(content["inst_map"], where), where), where)
    types = next((content[key] for key in ("inst_type", "class") if key in content), None)
    if "type_map" in content:
        labels = whole_numbers(_plane(content["type_map"], where), f"{path}: type_map")
    elif types is not None:
        labels = _spread(ids, content, types, path)
    else:
        return NucleiMask(_unclassified(ids), ids, mpp, str(path))
    return _with_classes(ids, labels, table=table, mpp=mpp, path=path)


def read_npy(
    path: Path, *, index: int | None, table: ClassTable | None, mpp: float | None
) -> NucleiMask:
    """Read one field of a .npy file; others of a long array are not touched.

    [H, W] holds nuclei; [H, W, 2] nuclei and classes; [H, W, 6] the channels of PanNuke; a further
    dimension in front needs ``index``. Classes of PanNuke need no table.

    Raises:
        DataError: unreadable, or of another shape.
        ConfigError: ``index`` is missing or out of range, or classes come without a table.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NPY_ERRORS as error:
        raise _unreadable(path, error) from None
    if not isinstance(array, np.ndarray):
        raise _unreadable(path, ValueError("an archive of arrays"))
    field = _pick(array, index, path)
    check_area(field.shape, path)
    if field.ndim == 3 and field.shape[2] == _PANNUKE_CHANNELS:
        return _pannuke(whole_numbers(field, str(path)), path, mpp)
    labels = whole_numbers(np.array(field), str(path))
    if labels.ndim == 2:
        ids = instance_ids(labels, str(path))
        return NucleiMask(_unclassified(ids), ids, mpp, str(path))
    ids = instance_ids(labels[..., 0], str(path))
    return _with_classes(ids, labels[..., 1], table=table, mpp=mpp, path=path)


def _pannuke(field: NDArray[np.integer], path: Path, mpp: float | None) -> NucleiMask:
    """Channels hold ids of their own; a pixel of two nuclei goes to the first channel's."""
    classes = np.zeros(field.shape[:2], np.uint8)
    ids = np.zeros(field.shape[:2], np.int32)
    listed = 0
    for channel in range(_PANNUKE_CHANNELS - 1):
        nuclei, numbers = np.unique(field[..., channel], return_inverse=True)
        first = 1 if nuclei[0] == 0 else 0
        numbers = numbers.reshape(ids.shape) + 1 - first
        free = (numbers > 0) & (ids == 0)
        ids[free] = numbers[free] + listed
        classes[free] = label_classes(np.array([channel + 1]), "pannuke", where=str(path))[0]
        listed += len(nuclei) - first
    lost = sorted(set(range(1, listed + 1)) - set(np.unique(ids).tolist()))
    rejected = tuple(f"nucleus {number}: hidden by a nucleus of another class" for number in lost)
    return NucleiMask(classes, ids, mpp, str(path), rejected)


def _pick(array: NDArray[np.generic], index: int | None, path: Path) -> NDArray[np.generic]:
    """One field [H, W] or [H, W, C] of an array."""
    channels = {2, _PANNUKE_CHANNELS}
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in channels)
    if single and index is None:
        return array
    several = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in channels)
    if not several:
        raise DataError(
            str(path),
            came=f"an array of shape {array.shape}",
            allowed="[H, W], [H, W, 2], [H, W, 6] (PanNuke), or many of one of these",
            do="Check that this file holds masks, not images.",
        )
    if index is None or not 0 <= index < len(array):
        raise ConfigError(
            f"{path}: index",
            came="none" if index is None else str(index),
            allowed=f"0 to {len(array) - 1}",
            do="Say which field of the file is meant: index=0 (crafts generate: "
            "--set masks.index=0).",
        )
    return np.asarray(array[index])


def _with_classes(
    ids: NDArray[np.int32],
    labels: NDArray[np.integer],
    *,
    table: ClassTable | None,
    mpp: float | None,
    path: Path,
) -> NucleiMask:
    if table is None:
        raise ConfigError(
            f"{path}: table",
            came="nuclei with classes and no table",
            allowed="the meaning of each class number",
            do='Pass for example table="consep", "lizard" or "pannuke" '
            "(crafts generate: --set masks.table=consep).",
        )
    if labels.shape != ids.shape:
        raise DataError(
            str(path),
            came=f"nuclei {ids.shape} and classes {labels.shape}",
            allowed="arrays of one size",
            do="Check the file.",
        )
    classes = label_classes(labels, table, where=str(path))
    classes = np.where(ids > 0, np.where(classes > 0, classes, UNKNOWN), 0).astype(np.uint8)
    return NucleiMask(classes, ids, mpp, str(path))


def _spread(
    ids: NDArray[np.int32], content: Mapping[str, Any], types: Any, path: Path
) -> NDArray[np.integer]:
    """The class of each nucleus on all of its pixels."""
    labels = whole_numbers(np.asarray(types).reshape(-1), f"{path}: classes")
    listed = next((content[key] for key in ("id", "inst_uid") if key in content), None)
    present = np.unique(ids[ids > 0])
    numbers: NDArray[np.integer] = present
    if listed is not None:
        numbers = whole_numbers(np.asarray(listed).reshape(-1), f"{path}: ids")
    if len(labels) != len(numbers) or not np.isin(present, numbers).all():
        raise DataError(
            str(path),
            came=f"{len(labels)} classes for {len(numbers)} ids, {len(present)} in inst_map",
            allowed="a class for each nucleus",
            do="Check that inst_map and the lists are of one run.",
        )
    classes = dict(zip(numbers.tolist(), labels.tolist(), strict=True))
    found, inverse = np.unique(ids, return_inverse=True)
    values = np.array([classes.get(int(number), 0) for number in found], np.int64)
    return np.asarray(values[inverse].reshape(ids.shape))


def _load_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        for _, shape, _ in whosmat(str(path)):  # compressed zeros are small on disk only
            check_area(shape, path)
        content = loadmat(str(path))
    except NotImplementedError:
        raise _unreadable(path, ValueError("MATLAB 7.3; save it with -v7")) from None
    except (OSError, ValueError, TypeError, KeyError, MatReadError) as error:
        raise _unreadable(path, error) from None
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _plane(value: Any, where: str) -> NDArray[np.generic]:
    array = np.asarray(value)
    if array.ndim != 2:
        raise DataError(where, came=f"shape {array.shape}", allowed="[H, W]", do="Check the file.")
    return array


def _unclassified(ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.where(ids > 0, UNKNOWN, 0).astype(np.uint8)


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = first_line(error)
    return DataError(
        str(path),
        came=f"unreadable ({reason})",
        allowed="a .mat or .npy file of numbers",
        do="Check the path, or write the file again.",
    )
