"""Images inside a parquet: a column of bytes, or of ``{bytes, path}`` as `datasets` writes it.

Listing keeps the row only; its bytes are read when the tile is loaded, one group of rows at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from crafts.core.errors import first_line
from crafts.data.config import Columns
from crafts.data.listing.tables import IMAGE_COLUMNS, pick_name


def image_column(row: Mapping[str, Any], columns: Columns) -> str:
    """The named column, else a usual one that holds the image itself, else the first usual one."""
    holding = (name for name in IMAGE_COLUMNS if is_embedded(row.get(name)))
    return columns.image or next(holding, "") or pick_name(row, "", IMAGE_COLUMNS)


def is_embedded(cell: Any) -> bool:
    """Whether a cell holds a file, not a path."""
    return isinstance(cell.get("bytes") if isinstance(cell, Mapping) else cell, bytes)


def path_in(cell: Any) -> Any:
    """The path that a cell names, alone or in ``{bytes, path}``."""
    return cell.get("path") if isinstance(cell, Mapping) else cell


def read_embedded(path: Path, column: str, row: int) -> bytes:
    """The image file that a parquet holds.

    Args:
        path: of the parquet.
        column: that holds it.
        row: from 0.

    Raises:
        OSError: the parquet cannot be read, or changed after it was listed.
    """
    import pyarrow as pa

    changed = path.stat().st_mtime_ns
    try:
        starts = _group_starts(path, changed)
        group = bisect_right(starts, row) - 1
        cell = _load_group(path, changed, column, group)[row - starts[group]].as_py()
    except (pa.ArrowException, IndexError) as error:
        raise OSError(f"parquet: {first_line(error)}") from None
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(data, bytes):
        raise OSError("parquet that changed after it was listed")
    return data


@lru_cache(maxsize=8)
def _group_starts(path: Path, changed: int) -> list[int]:
    """First row of each group; ``changed`` keeps the cache from a file written anew."""
    import pyarrow.parquet as pq

    known = pq.read_metadata(path)
    sizes = (known.row_group(group).num_rows for group in range(known.num_row_groups))
    return list(accumulate(sizes, initial=0))


@lru_cache(maxsize=1)  # items come in the order of rows
def _load_group(path: Path, changed: int, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column])[column]
