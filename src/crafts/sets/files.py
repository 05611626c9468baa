"""Features on disk: ``.npz`` for Python, ``.h5`` in the layout of TRIDENT and CLAM.

Neither can carry code: npz is read without pickles. Both are written aside and renamed, since half
an h5 file looks finished to tools that resume. Checksums (of zip, of HDF5) find changed bytes.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.arrays import HEADER_ERRORS, check_archive, check_unpacked
from crafts.core.disk import replacing
from crafts.core.errors import ConfigError, IntegrityError
from crafts.core.parsing import parse_json
from crafts.core.records import FeatureSet

_NPZ_ERRORS: tuple[type[Exception], ...] = (
    *HEADER_ERRORS,
    OSError,
    KeyError,
    RuntimeError,  # flags of zip that changed bytes may set: encryption, other compression
    zipfile.BadZipFile,
    zlib.error,
)
_DATASETS = ("features", "coords", "texts", "table", "encoder")
_ROWS_AT_ONCE = 4096  # of one chunk in h5


def write_features(features: FeatureSet, path: Path, *, name: str = "") -> None:
    """Write features and all that is known of their rows.

    Args:
        features: N rows.
        path: ends in ``.npz`` or ``.h5``; its folder is made if absent.
        name: of the set (in TRIDENT's files, of the slide); that of the file by default.

    Raises:
        ConfigError: another suffix.
        RetryError: the disk is full.
    """
    name = name or path.stem
    path.parent.mkdir(parents=True, exist_ok=True)
    if _suffix(path) == ".npz":
        _write_npz(features, path, name)
    else:
        _write_h5(features, path, name)


def read_features(path: Path) -> FeatureSet:
    """Read a file of :func:`write_features`, or an h5 file of features that another tool wrote.

    Files of other tools hold no facts: the encoder's fingerprint is then "unknown" and rows are
    named by number, with x and y where there are ``coords``.

    Raises:
        ConfigError: no such file, or another suffix.
        IntegrityError: the file is damaged, or is no file of features.
    """
    read = _read_npz if _suffix(path) == ".npz" else _read_h5
    if not path.is_file():
        raise ConfigError(
            str(path), came="no such file", allowed="a file of features", do="Check the path."
        )
    features, table, texts = read(path)
    rows = table.get("rows")
    if features.ndim != 2 or (rows is not None and len(rows) != len(features)):
        raise _damaged(path, f"features {list(features.shape)} for {len(rows or ())} rows")
    if texts is not None and texts.shape != features.shape:
        raise _damaged(path, f"features of texts {list(texts.shape)}")
    return FeatureSet(
        features=features.astype(np.float32, copy=False),
        rows=tuple(rows or _bare_rows(len(features), table.get("coords"))),
        rejected=tuple((str(item), str(reason)) for item, reason in table.get("rejected", ())),
        encoder=table.get("encoder") or {"name": table.get("name"), "fingerprint": "unknown"},
        texts=None if texts is None else texts.astype(np.float32, copy=False),
        truncated=float(table.get("truncated", 0.0)),
    )


def coordinates(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.int64] | None:
    """Top left corners [N, 2] (x, y; pixels of level 0) where every row has whole ``x`` and ``y``.

    Returns:
        None where a row has none.
    """
    try:
        return np.array([(int(row["x"]), int(row["y"])) for row in rows], dtype=np.int64)
    except (KeyError, TypeError, ValueError):
        return None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file aside and rename it.

    Args:
        path: in a folder that exists.
        arrays: by name; none of objects.

    Raises:
        RetryError: the disk is full.
    """
    contents: Any = dict(arrays)  # its names are not options of savez
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **contents)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file, read without pickles.

    Raises:
        IntegrityError: the file is damaged or holds objects.
    """
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as found:
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: found[name] for name in found.files}
    except _NPZ_ERRORS as error:
        raise IntegrityError(
            str(path),
            came=f"no readable arrays ({' '.join(str(error).split())[:160]})",
            allowed="a whole .npz file without pickles",
            do="Make the file again.",
        ) from None


def pack_json(value: Any) -> NDArray[np.uint8]:
    """JSON as bytes in an array; a text array would take four bytes a character."""
    return np.frombuffer(json.dumps(value, default=_plain).encode(), dtype=np.uint8)


def unpack_json(array: NDArray[Any]) -> Any:
    """What :func:`pack_json` packed.

    Raises:
        ValueError: it is no JSON.
    """
    return parse_json(np.asarray(array, dtype=np.uint8).tobytes())


def _write_npz(features: FeatureSet, path: Path, name: str) -> None:
    arrays = {
        "features": features.features.astype(np.float32, copy=False),
        "names": np.array([str(row.get("name", "")) for row in features.rows], dtype=np.str_),
        "hashes": np.array([str(row.get("sha256", "")) for row in features.rows], dtype=np.str_),
        "encoder": pack_json(dict(features.encoder)),
        "table": pack_json(_table(features, name)),
    }
    if features.texts is not None:
        arrays["texts"] = features.texts.astype(np.float32, copy=False)
    write_arrays(path, arrays)


def _read_npz(
    path: Path,
) -> tuple[NDArray[Any], dict[str, Any], NDArray[Any] | None]:
    arrays = read_arrays(path)
    try:
        table = unpack_json(arrays["table"]) | {"encoder": unpack_json(arrays["encoder"])}
        return arrays["features"], table, arrays.get("texts")
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from None


def _write_h5(features: FeatureSet, path: Path, name: str) -> None:
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        encoder = str(features.encoder.get("name", "unknown"))
        attributes = {"name": name, "encoder": encoder}
        file.attrs.update(attributes)
        _put(file, "features", features.features.astype(np.float32, copy=False))
        file["features"].attrs.update(attributes)
        corners = coordinates(features.rows)
        if corners is not None:
            _put(file, "coords", corners)
            file["coords"].attrs["name"] = name
        if features.texts is not None:
            _put(file, "texts", features.texts.astype(np.float32, copy=False))
        _put(file, "table", pack_json(_table(features, name)))
        _put(file, "encoder", pack_json(dict(features.encoder)))


def _put(file: Any, name: str, array: NDArray[Any]) -> None:
    """A dataset with a checksum for each chunk; empty ones cannot have chunks."""
    if array.size == 0:
        file.create_dataset(name, data=array)
        return
    at_once = _ROWS_AT_ONCE if array.ndim > 1 else 2**20
    chunks = (min(len(array), at_once), *array.shape[1:])
    file.create_dataset(name, data=array, chunks=chunks, fletcher32=True)


def _read_h5(path: Path) -> tuple[NDArray[Any], dict[str, Any], NDArray[Any] | None]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = [name for name in _DATASETS if name in file]
            check_unpacked(sum(file[name].nbytes for name in names), path.stat().st_size)
            arrays = {name: file[name][()] for name in names}
            attributes = dict(file["features"].attrs)
        table: dict[str, Any] = {"name": str(attributes.get("encoder", "unknown"))}
        table["coords"] = arrays.get("coords")
        if "table" in arrays:
            table |= unpack_json(arrays["table"]) | {"encoder": unpack_json(arrays["encoder"])}
        return arrays["features"], table, arrays.get("texts")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise _damaged(path, error) from None


def _table(features: FeatureSet, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "rows": [dict(row) for row in features.rows],
        "rejected": [list(pair) for pair in features.rejected],
        "truncated": features.truncated,
    }


def _bare_rows(num: int, coords: NDArray[Any] | None) -> Iterator[dict[str, Any]]:
    for index in range(num):
        row: dict[str, Any] = {"name": str(index), "sha256": "", "text": ""}
        if coords is not None and np.shape(coords) == (num, 2):
            row |= {"x": int(coords[index][0]), "y": int(coords[index][1])}
        yield row


def _plain(value: Any) -> Any:
    """What JSON does not know: numbers of NumPy, and anything else by its text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _suffix(path: Path) -> str:
    if path.suffix not in (".npz", ".h5"):
        raise ConfigError(
            str(path),
            came=f"suffix {path.suffix!r}",
            allowed=".npz or .h5",
            do="Rename the file.",
        )
    return path.suffix


def _damaged(path: Path, reason: object) -> IntegrityError:
    return IntegrityError(
        str(path),
        came=f"no readable features ({' '.join(str(reason).split())[:160]})",
        allowed="a whole file as write_features makes it",
        do="Extract the features again.",
    )
