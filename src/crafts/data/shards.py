"""Shards on disk: WebDataset tars whose bytes depend on their samples alone, and their index."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import IntegrityError, first_line
from crafts.core.tabular.rows import as_text, is_missing
from crafts.data.listing.loading import Loaded
from crafts.data.listing.tables import TEXT_FIELDS, parse_mpp
from crafts.data.tiles.masks import MASK_SUFFIX

INDEX = "index.parquet"
ROW_FIELDS = ("key", "shard", "offset", "size", "suffix", "width", "height", "sha256", "text")
MASK_FIELDS = ("mask_offset", "mask_size", "mask_sha256")  # where a tile of the source has a mask
_RECORD = 10_240  # tar pads its end to 20 blocks
_JSON_MARK = {b"crafts": b"json"}


def plan_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """One kind per field over all rows, so that every sample has the same fields of the same type.

    Args:
        rows: fields of all samples.

    Returns:
        Field name (sorted) -> "text", "integer", "number", "flag", "list" (of texts) or "json".
        The well-known fields are there always.
    """
    kinds: dict[str, set[str]] = {name: {"text"} for name in TEXT_FIELDS}
    kinds |= {"mpp": set(), "captions": {"list"}}
    for row in rows:
        for name, value in row.items():
            if name not in TEXT_FIELDS and not is_missing(value):
                kinds.setdefault(name, set()).add(_kind(value))
        if is_missing(row.get("mpp")):
            kinds["mpp"].add("text")
    plan = {name: _one_kind(found) for name, found in kinds.items()}
    return {name: plan[name] for name in sorted(plan)}


def conform(fields: Mapping[str, Any], plan: Mapping[str, str]) -> dict[str, Any]:
    """Fields in the order and types of a plan; what is missing becomes "", [] or None."""
    row: dict[str, Any] = {}
    for name, kind in plan.items():
        value: Any = fields.get(name)
        if is_missing(value):
            row[name] = "unknown" if name == "mpp" else {"text": "", "list": []}.get(kind)
        elif kind == "text":
            row[name] = json.dumps(value) if isinstance(value, list | dict) else as_text(value)
        elif kind == "number":
            row[name] = float(value)
        else:
            row[name] = value
    return row


def rename_reserved(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields whose names the index itself uses get ``source_`` in front."""
    reserved = (*ROW_FIELDS, *MASK_FIELDS)
    return {f"source_{name}" if name in reserved else name: fields[name] for name in fields}


def write_shards(
    loaded: Iterable[Loaded],
    folder: Path,
    *,
    plan: Mapping[str, str],
    samples_per_shard: int,
    masks: bool = False,
) -> list[dict[str, Any]]:
    """Write ``shard-00000.tar``, ... in the order given.

    Args:
        loaded: checked samples, sorted by key.
        folder: existing folder.
        plan: kinds of the fields, see :func:`plan_columns`.
        samples_per_shard: samples in each shard but the last.
        masks: the rows tell where the mask of a tile is; ``mask_size`` 0 for one without.

    Returns:
        Index rows.
    """
    rows: list[dict[str, Any]] = []
    handle: BinaryIO | None = None
    try:
        for found in loaded:
            if len(rows) % samples_per_shard == 0:
                _close_tar(handle)
                shard = f"shard-{len(rows) // samples_per_shard:05d}.tar"
                handle = (folder / shard).open("wb")
            assert handle is not None
            row = _write_sample(handle, shard, found, plan)
            rows.append(row | (_write_mask(handle, found) if masks else {}))
        _close_tar(handle)
    finally:
        if handle is not None:
            handle.close()
    return rows


def write_index(rows: Sequence[Mapping[str, Any]], plan: Mapping[str, str], path: Path) -> None:
    """Write index rows as parquet; nested values are stored as JSON texts and marked as such.

    Args:
        rows: one mapping a sample: the plan's fields and any further text and number columns.
        plan: kinds of the fields.
        path: the parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "list": pa.list_(pa.string()),
        "json": pa.string(),
    }
    columns, schema = [], []
    for name in rows[0]:
        values = [row[name] for row in rows]
        kind = plan[name] if name in plan else _kind(values[0])
        if kind == "text":  # mpp as the reader gives it is a number or "unknown"
            values = [as_text(value) for value in values]
        if kind == "json":
            values = [
                None if v is None else json.dumps(v, ensure_ascii=False, default=str)
                for v in values
            ]
        columns.append(pa.array(values, types[kind]))
        schema.append(pa.field(name, types[kind], metadata=_JSON_MARK if kind == "json" else None))
    pq.write_table(pa.table(columns, schema=pa.schema(schema)), path)


def read_index(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Index rows as they were written, and the kinds of their columns; ``mpp`` float or "unknown".

    Raises:
        IntegrityError: the file is no whole parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(
            str(path),
            came=f"damaged parquet ({first_line(error)})",
            allowed="the file as it was written",
            do="Make the artifact again.",
        ) from None
    plan = {field.name: _arrow_kind(field) for field in table.schema}
    rows = table.to_pylist()
    nested = [name for name, kind in plan.items() if kind == "json"]
    for row in rows:
        row |= {name: json.loads(row[name]) for name in nested if row[name] is not None}
        if "mpp" in row:
            row["mpp"] = parse_mpp(row["mpp"])
    return rows, plan


def _write_sample(
    handle: BinaryIO, shard: str, found: Loaded, plan: Mapping[str, str]
) -> dict[str, Any]:
    sample = found.sample
    fields = conform(rename_reserved(sample.fields), plan)
    offset = _write_member(handle, f"{sample.key}.{sample.suffix}", sample.image)
    _write_member(handle, f"{sample.key}.json", _json_bytes({"text": sample.text, **fields}))
    _write_member(handle, f"{sample.key}.txt", sample.text.encode())
    own = (
        sample.key,
        shard,
        offset,
        len(sample.image),
        sample.suffix,
        found.width,
        found.height,
        sha256_bytes(sample.image),
        sample.text,
    )
    return dict(zip(ROW_FIELDS, own, strict=True)) | fields


def _write_mask(handle: BinaryIO, found: Loaded) -> dict[str, Any]:
    """Append the mask of a sample, if it has one; returns its index fields."""
    own: tuple[Any, ...] = (-1, 0, "")
    if found.mask:
        offset = _write_member(handle, f"{found.sample.key}.{MASK_SUFFIX}", found.mask)
        own = (offset, len(found.mask), sha256_bytes(found.mask))
    return dict(zip(MASK_FIELDS, own, strict=True))


def _write_member(handle: BinaryIO, name: str, data: bytes) -> int:
    """Append one file with fixed owner, mode and time; returns the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o644, 0
    handle.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    offset = handle.tell()
    handle.write(data)
    handle.write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))
    return offset


def _close_tar(handle: BinaryIO | None) -> None:
    if handle is None:
        return
    handle.write(b"\0" * (2 * tarfile.BLOCKSIZE))
    handle.write(b"\0" * (-handle.tell() % _RECORD))
    handle.close()


def _json_bytes(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=str).encode()


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "list"
    return "json" if isinstance(value, list | dict) else "text"


def _one_kind(found: set[str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    if found == {"integer", "number"}:
        return "number"
    return "json" if found and found <= {"list", "json"} else "text"


def _arrow_kind(field: Any) -> str:
    if field.metadata == _JSON_MARK:
        return "json"
    kinds = {"string": "text", "int64": "integer", "double": "number", "bool": "flag"}
    return kinds.get(str(field.type), "list")


def iter_batches(total: int, size: int) -> Iterator[range]:
    """Ranges that cover ``range(total)`` in order, at most ``size`` long."""
    return (range(start, min(start + size, total)) for start in range(0, total, size))
