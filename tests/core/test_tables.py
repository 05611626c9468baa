"""Tables that users write by hand: our names for their columns, and one error of the caller."""

from __future__ import annotations

import csv

import pytest

from crafts.core.errors import ConfigError
from crafts.core.tables import csv_row_writer, csv_writer, read_columns

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
