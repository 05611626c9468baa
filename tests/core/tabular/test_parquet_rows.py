"""Parquet: what its footer announces is held against what can be read, before it is read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crafts.core.tabular.parquet_rows import UnreadableError, read_parquet


def write(path, table):
    pq.write_table(table, path, compression="zstd")
    return path


def repeated(text, count):
    """A column in which one text stands in every row, and once in the file."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


def test_rows_come_with_their_types_and_numbers(tmp_path):
    table = pa.table({"id": [1, 2, None], "text": ["a", None, "c"], "captions": [["x"], [], None]})
    header, rows = read_parquet(write(tmp_path / "a.parquet", table), 10)
    assert header == ("id", "text", "captions")
    found = list(rows)
    assert [row.cells for row in found] == table.to_pylist()
    assert [row.number for row in found] == [1, 2, 3] and not any(row.fault for row in found)


def test_rows_are_counted_before_any_is_read(tmp_path):
    path = write(tmp_path / "a.parquet", pa.table({"id": list(range(1001))}))
    with pytest.raises(UnreadableError, match="1,001 rows; at most 1,000 are read"):
        read_parquet(path, 1000)


def test_a_small_file_of_much_text_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", pa.table({"text": repeated("x" * 100_000, 1000)}))
    assert path.stat().st_size < 200_000
    _, rows = read_parquet(path, 1000)
    with pytest.raises(UnreadableError, match="more than 500,000 characters of text"):
        list(rows)


def test_cells_that_cannot_be_read_cost_their_row(tmp_path):
    raw = pa.array([b"fine", b"\xff", b"x" * 4_000_001]).view(pa.string())
    _, rows = read_parquet(write(tmp_path / "a.parquet", pa.table({"text": raw})), 10**6)
    assert [row.fault for row in rows] == [
        "", "text that cannot be read (UnicodeDecodeError)", "text longer than 4000000 characters",
    ]  # fmt: skip


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(UnreadableError, match="two columns 'id'"):
        read_parquet(write(tmp_path / "a.parquet", table), 10)


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_a_damaged_file_is_refused(tmp_path, keep):
    path = write(tmp_path / "a.parquet", pa.table({"id": list(range(100))}))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableError, match="damaged parquet"):
        read_parquet(path, 1000)
