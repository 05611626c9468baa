"""Hugging Face: ``data/SPLIT-00000-of-0000N.parquet`` with the images inside and typed columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crafts.workflows.labelled.pictures import Picture, by_split, labels_of

_PER_FILE = 2000  # rows; some 200 MB at 256 px
_PER_GROUP = 100  # rows that a reader must take at once


def write(pictures: Sequence[Picture], folder: Path, *, licence: str) -> None:
    """Write what ``datasets.load_dataset(FOLDER)`` opens with images, class names and splits.

    Args:
        pictures: of the set.
        folder: new and empty.
        licence: of the weights, named in each row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, masks = labels_of(pictures), pictures[0].mask is not None
    schema = _schema(names, masks=masks)
    (folder / "data").mkdir()
    for split, mine in by_split(pictures):
        files = -(-len(mine) // _PER_FILE)
        for number in range(files):
            rows = [
                _row(one, names, licence)
                for one in mine[number * _PER_FILE : (number + 1) * _PER_FILE]
            ]
            path = folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
            table = pa.Table.from_pylist(rows, schema=schema)
            pq.write_table(table, path, row_group_size=_PER_GROUP)


def _row(one: Picture, names: Sequence[str], licence: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image": {"bytes": one.path.read_bytes(), "path": f"{one.id}.png"},
        "label": names.index(one.label),
        "text": one.text,
        **one.facts(),
        "licence": licence,
    }
    if one.mask:
        row["mask"] = {"bytes": one.mask.read_bytes(), "path": f"{one.id}.mask.png"}
        row["nuclei"] = one.mask.with_suffix(".json").read_text(encoding="utf-8")
    return row


def _schema(names: Sequence[str], *, masks: bool) -> Any:
    """Columns, and what ``datasets`` reads them as."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "image": (image, {"_type": "Image"}),
        "label": (pa.int64(), {"names": list(names), "_type": "ClassLabel"}),
        "text": _text(),
        "id": _text(),
        "seed": (pa.int64(), {"dtype": "int64", "_type": "Value"}),
        "k": (pa.int64(), {"dtype": "int64", "_type": "Value"}),
        "sha256": _text(),
        "licence": _text(),
    }
    if masks:
        kinds |= {"mask": (image, {"_type": "Image"}), "nuclei": _text()}
    info = {"info": {"features": {name: feature for name, (_, feature) in kinds.items()}}}
    return pa.schema(
        [(name, kind) for name, (kind, _) in kinds.items()],
        metadata={"huggingface": json.dumps(info)},
    )


def _text() -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa

    return pa.string(), {"dtype": "string", "_type": "Value"}
