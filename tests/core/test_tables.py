"""Tables that users write by hand: our names for their columns, and one error of the caller."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import ConfigError, DataError
from crafts.core.tables import csv_row_writer, csv_writer, find_metadata, open_table, read_columns

COLUMNS = {"slide": ("slide", "wsi"), "patient": ("patient",), "note": ("note",)}


def fault(where: str, came: str) -> ConfigError:
    return ConfigError(where, came=came, allowed="slide, patient", do="Mend it.")


def test_columns_come_under_our_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffpatient,wsi,more\n P1 ,a b,x\nP2\n", encoding="utf-8")
    rows = read_columns(path, COLUMNS, fault, optional=("note",))
    assert rows == [
        (f"{path}: row 1", {"slide": "a b", "patient": "P1", "note": ""}),
        (f"{path}: row 2", {"slide": "", "patient": "P2", "note": ""}),
    ]


def test_a_tsv_is_split_at_tabs_and_the_preferred_name_wins(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("wsi\tslide\tpatient\tnote\nx\ty\t1,2\tn\n")
    assert read_columns(path, COLUMNS, fault)[0][1] == {"slide": "y", "patient": "1,2", "note": "n"}


TABLE = "Slide; PATIENT \nä, b;P1\n"


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode("utf-8-sig"),
        TABLE.replace(";", "\t").encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
    ],
)
def test_tables_of_a_spreadsheet_and_headers_in_any_case_are_understood(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    rows = read_columns(tmp_path / "a.csv", COLUMNS, fault, optional=("note",))
    assert [row for _, row in rows] == [{"slide": "ä, b", "patient": "P1", "note": ""}]


@pytest.mark.parametrize(
    ("data", "came"),
    [
        (b"slide,Slide,patient\na,b,1\n", "columns slide, Slide, patient"),
        (b"", "columns none"),
        (b"slide,note\na,b\n", "columns slide, note"),
        (b"slide,patient\n\xff,1\n", "unreadable"),
    ],
)
def test_what_is_no_such_table_is_the_error_of_the_caller(tmp_path, data, came):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ConfigError, match=f"a.csv: {came}.*expected slide, patient. Mend it."):
        read_columns(tmp_path / "a.csv", COLUMNS, fault, optional=("note",))
    with pytest.raises(ConfigError, match="none.csv: unreadable"):
        read_columns(tmp_path / "none.csv", COLUMNS, fault)


@pytest.mark.parametrize("value", ["a\rb", "a\r\nb", "a\nb", 'a "b", c', "", "\r"])
def test_every_value_reads_back_from_lines_that_end_in_a_line_feed(tmp_path, value):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as handle:
        csv_writer(handle).writerows([("file_name", "text"), ("1", value)])
        writer = csv_row_writer(handle, ["file_name", "text"], ignore_others=True)
        writer.writerow({"file_name": "2", "text": value, "other": "x"})
    with path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    header = ["file_name", "text"]
    assert rows == [header, ["1", value], header, ["2", value]]
    assert path.read_bytes().startswith(b"file_name,text\n1,")


CELLS = st.text(st.sampled_from('a1 ,;\t"\n\r') | st.characters(exclude_categories=["Cs", "Cc"]))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 99).map("id-{}".format), CELLS, CELLS), max_size=5))
def test_what_our_commands_write_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("own") / "metadata.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv_writer(handle).writerows([("file_name", "text", "note"), *rows])
    assert [tuple(row.cells.values()) for row in open_table(path).rows] == rows


@pytest.mark.parametrize("row", [b"a,1,25", b'a,"1', b"a,1\0"])
def test_a_row_that_cannot_be_believed_is_the_error_of_the_caller(tmp_path, row):
    (tmp_path / "a.csv").write_bytes(b"slide,patient\nb,2\n" + row)
    with pytest.raises(ConfigError, match="a.csv: row 2: .*expected slide, patient. Mend it."):
        read_columns(tmp_path / "a.csv", COLUMNS, fault, optional=("note",))


def test_other_kinds_of_tables_give_the_same_columns(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"Slide": "a", "patient": 12.0}\n{"Slide": "b", "note": ""}')
    rows = read_columns(tmp_path / "a.jsonl", COLUMNS, fault, optional=("patient", "note"))
    assert [row["patient"] for _, row in rows] == ["12", ""]


@pytest.mark.parametrize(
    ("data", "came"),
    [
        ("id,text\na,é".encode("latin-1"), "unreadable text: byte 10 is not UTF-8"),
        ("id,text\na,b".encode("utf-16-le"), "columns of binary data, or of UTF-16 without"),
        (b"id,text,text\n", "two columns 'text'"),
    ],
)
def test_tables_that_are_refused_as_a_whole(tmp_path, data, came):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(DataError, match=f"a.csv: {came}"):
        open_table(tmp_path / "a.csv")


def test_another_encoding_is_read_where_the_caller_knows_it(tmp_path):
    (tmp_path / "a.csv").write_bytes("id,text\na,Ménétrier".encode("cp1252"))
    (row,) = open_table(tmp_path / "a.csv", fallback="cp1252").rows
    assert row.cells["text"] == "Ménétrier"


def test_metadata_is_found_in_any_case(tmp_path):
    for name in ("METADATA.CSV", "metadata.txt", "my-metadata.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in find_metadata(tmp_path)] == ["METADATA.CSV"]
