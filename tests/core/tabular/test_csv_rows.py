"""csv: valid tables come back cell by cell; of broken ones no row is made up and none is lost."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.tabular import csv_rows
from crafts.core.tabular.csv_rows import FEWER_CELLS, MORE_CELLS, NOT_CLOSED, read_csv


def read(text):
    header, rows = read_csv(io.StringIO(text, newline=""))
    return header, list(rows)


def faults(text):
    return [row.fault for row in read(text)[1]]


# ---- valid tables ----------------------------------------------------------------------------

CELLS = st.text(
    st.sampled_from(list("ab7 ,;\t\"'\n\r.éß\\|")) | st.characters(exclude_categories=["Cs", "Cc"]),
    max_size=12,
)
NAMES = st.lists(
    st.sampled_from(["id", "text", "patient", "file_name", "a b", "Größe", "x.y", "mpp"]),
    min_size=2, max_size=5, unique=True,
)  # fmt: skip
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    }
)


@st.composite
def valid_tables(draw):
    """Header, rows and their text, as the csv module writes them."""
    header = draw(NAMES)
    ids = st.integers(1, 10**6).map("T-{}".format) | CELLS
    rows = [[draw(ids), *(draw(CELLS) for _ in header[1:])] for _ in range(draw(st.integers(0, 6)))]
    end, dialect, lines = draw(st.sampled_from(["\n", "\r\n"])), draw(DIALECTS), []
    for row in [header, *rows]:  # told of \r\n the writer quotes a lone \r, as ours does
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\r\n", **dialect).writerow(row)
        lines.append(buffer.getvalue().removesuffix("\r\n") + end)
    return header, rows, "".join(lines)


def check_valid(table):
    header, rows, text = table
    found, got = read(text)
    assert found == tuple(header)
    assert [row.fault for row in got] == [""] * len(rows)
    assert [[row.cells[name] for name in header] for row in got] == rows
    assert [row.number for row in got] == list(range(1, len(rows) + 1))


@settings(max_examples=100)
@given(valid_tables())
def test_every_cell_of_a_valid_table_comes_back(table):
    check_valid(table)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(valid_tables())
def test_every_cell_of_ten_thousand_valid_tables_comes_back(table):
    check_valid(table)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_separators_and_ends_of_lines_are_found(mark, end):
    lines = ["id,text,note", '1,"a, b; c",x', '2,"say ""no""\nagain",', "3,,z"]
    text = end.join(lines).replace(",", mark).replace(f"a{mark} b", "a, b") + end
    header, rows = read(text)
    assert header == ("id", "text", "note")
    assert [list(row.cells.values()) for row in rows] == [
        ["1", "a, b; c", "x"], ["2", 'say "no"\nagain', ""], ["3", "", "z"],
    ]  # fmt: skip


def test_the_separator_is_the_one_that_most_rows_agree_with():
    header, rows = read("file_name;text, free;patient\nt0;Colon, left, up;P0\nt1;Skin;P1\n")
    assert header == ("file_name", "text, free", "patient")
    assert [row.cells["text, free"] for row in rows] == ["Colon, left, up", "Skin"]
    assert read("sep=;\nid;text,more\n1;2\n")[0] == ("id", "text,more")


def test_spaces_behind_commas_are_of_the_writing_when_the_header_has_them():
    header, rows = read('a, b, c\n1, two, "x, y"\n')
    assert header == ("a", "b", "c") and rows[0].cells == {"a": "1", "b": "two", "c": "x, y"}
    assert read("a,b,c\n1, two,3\n")[1][0].cells["b"] == " two"


def test_cells_far_above_the_limit_of_the_csv_module_are_read():
    long = "x" * 500_000
    assert read(f'id,text\n1,{long}\n2,"{long}\n"\n')[1][1].cells["text"] == long + "\n"


@pytest.mark.parametrize(
    ("written", "cell"),
    [
        (r'"felt as a \"lump\" here"', 'felt as a "lump" here'),
        (r'"size 5\""', 'size 5"'),
        (r'"\"all\""', '"all"'),
        ('"a \\"b\\",\nc"', 'a "b",\nc'),
        (r'"C:\\\"x\""', 'C:\\"x"'),
        (r'"C:\data\"', "C:\\data\\"),  # a valid cell of the usual kind, which ends in a backslash
        (r"a\b", r"a\b"),
    ],
)
def test_quotes_behind_backslashes_are_understood(written, cell):
    header, rows = read(f"id,text\nT-1,{written}\nT-2,next\n")
    assert [row.cells.get("text") for row in rows] == [cell, "next"]


# ---- broken tables ---------------------------------------------------------------------------


def test_rows_of_another_width():
    rows = read("id,text,note\nT-1,a,b,c\nT-2,a\nT-3,a,b\n")[1]
    assert [row.fault for row in rows] == [MORE_CELLS, "", ""]
    assert rows[1].short and rows[1].cells == {"id": "T-2", "text": "a"} and not rows[2].short


def test_a_row_that_a_line_break_cuts_is_not_believed():
    text = "id,text\nT-1,Skin.\nT-2,No evidence\nof a carcinoma.\nT-3,Liver.\n"
    assert faults(text) == ["", "cut by a line break without quotes", FEWER_CELLS, ""]
    text = "id,text,note\nT-1,Skin.,x\nT-2,No\rcarcinoma,y\nT-3,Liver.,z\n"
    assert [bool(fault) for fault in faults(text)] == [False, True, False]


def test_a_nul_byte_costs_its_row():
    assert faults("id,text\n1,a\0b\n2,c\n") == ["a NUL byte", ""]


TEXT = (
    'CASE-019,"Left breast."\nCASE-020,"A "lump" was felt.\nGross by Quimbly, MD: the breast.\n'
    'DIAGNOSIS: left, no carcinoma."\nCASE-021,"Right breast."\n'
)


def test_lines_of_a_broken_text_are_no_rows():
    rows = read("report_id,text\n" + TEXT)[1]
    assert [row.cells.get("report_id") for row in rows] == ["CASE-019", None, "CASE-021"]
    assert rows[1].fault == "a broken row (text behind a closing quote; lines 3 to 5)"


def test_rows_behind_an_open_quote_are_counted_and_not_believed():
    lines = [f"t{k:02}.jpg,Colon tissue.,P{k // 2},train" for k in range(12)]
    lines[3] = lines[3].replace("Colon", '"Colon')
    rows = read("file_name,text,patient,split\n" + "\n".join(lines) + "\n")[1]
    assert len(rows) == 12 and [not row.fault for row in rows] == [True] * 3 + [False] * 9
    assert NOT_CLOSED in rows[3].fault and "behind the broken row 4" in rows[4].fault


def test_a_quote_that_closes_in_another_row_joins_none():
    lines = [f"t{k:02}.jpg,Colon tissue.,P{k // 2},train" for k in range(6)]
    lines[2] = lines[2].replace("Colon", '"Colon')
    lines[4] = lines[4].replace("tissue.", 'tissue."')
    rows = read("file_name,text,patient,split\n" + "\n".join(lines) + "\n")[1]
    assert len(rows) == 6 and [not row.fault for row in rows] == [True] * 2 + [False] * 4
    assert "line 5 is a row of its own" in rows[2].fault


def test_a_broken_row_that_is_whole_costs_itself_alone():
    lines = [f"t{k:02}.jpg,Colon tissue.,P{k // 2},train" for k in range(6)]
    lines[2] = lines[2].replace("Colon tissue.", '"Cobble" pattern')
    rows = read("file_name,text,patient,split\n" + "\n".join(lines) + "\n")[1]
    assert [not row.fault for row in rows] == [True, True, False, True, True, True]


@pytest.mark.parametrize("written", ['""Skin."', '"Skin.""', '"Skin', '"Skin" x', 'x "Skin'])
def test_rows_behind_one_are_believed_from_the_next_certain_start(written):
    rows = read(f'id,text\nT-1,"Lung."\nT-2,{written}\nT-3,"Liver."\nT-4,"Colon."\n')[1]
    assert [row.cells.get("id") for row in rows][-2:] == ["T-3", "T-4"]
    assert [row.cells.get("text") for row in rows][-2:] == ["Liver.", "Colon."]
    assert len(rows) == 4


def test_a_row_without_end_is_named_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(csv_rows, "MAX_ROW", 50)
    rows = read("id,text\nT-1,a\nT-2," + "x" * 170 + '\nT-3,"b"\n')[1]
    assert [row.fault.split(";")[0] for row in rows] == [
        "", "a broken row (longer than 50 characters", "",
    ]  # fmt: skip


def test_a_header_that_is_broken_gives_no_table():
    assert read('id,"text\n1,2\n') == ((), [])
    assert read("") == ((), [])


MUTATIONS = st.lists(
    st.tuples(st.sampled_from([*'",\n\r\0\\', '\\"', '""', ""]), st.floats(0, 1)),
    min_size=1,
    max_size=4,
)


def check_broken(table, mutations):
    """Whatever is done to a text: no traceback, and every line is in a row or named with one."""
    text = table[2]
    for sign, place in mutations:
        at = int(place * len(text))
        text = text[:at] + sign + text[at + (not sign) :]
    header, rows = read(text)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert not (row.fault and row.cells)
        assert row.fault or row.short or set(row.cells) == set(header) - {""}
    if header and not rows:
        assert len(text.strip("\r\n").splitlines()) >= 1


@settings(max_examples=100)
@given(valid_tables(), MUTATIONS)
def test_broken_tables_give_rows_or_faults(table, mutations):
    check_broken(table, mutations)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(valid_tables(), MUTATIONS)
def test_ten_thousand_broken_tables_give_rows_or_faults(table, mutations):
    check_broken(table, mutations)


@st.composite
def reports_with_a_broken_row(draw):
    """Reports, each quoted, of which one has a fault in its quotes; its place, and the text."""
    words = st.sampled_from(["Skin", "no carcinoma", "MD: seen", "left, right", "lump"])
    texts = [draw(st.lists(words, min_size=1, max_size=5)) for _ in range(draw(st.integers(3, 8)))]
    plain = [draw(st.sampled_from([", ", "\n", ". "])).join(text) for text in texts]
    lines = [f'CASE-{k:03},"{text}"' for k, text in enumerate(plain)]
    place = draw(st.integers(0, len(lines) - 1))
    fault = draw(st.sampled_from(["open", "doubled", "inner", "late"]))
    line = lines[place]
    lines[place] = {
        "open": line[:-1],
        "doubled": line.replace('"', '""', 1),
        "inner": line.replace(line[10:14], f'"{line[10:14]}" x', 1),
        "late": line + '"',
    }[fault]
    return plain, place, "report_id,text\n" + "\n".join(lines) + "\n"


def check_reports(example):
    plain, place, text = example
    rows = read(text)[1]
    used = {row.cells["report_id"]: row.cells["text"] for row in rows if not row.fault}
    truth = {f"CASE-{k:03}": text for k, text in enumerate(plain)}
    # nothing that is no report, none with the words of another, and none without a trace
    assert {name: truth.get(name) for name in used} == used
    assert len(rows) >= len(plain)
    assert set(truth) - set(used) <= {f"CASE-{place:03}"}


@settings(max_examples=100)
@given(reports_with_a_broken_row())
def test_a_broken_report_costs_itself_alone(example):
    check_reports(example)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(reports_with_a_broken_row())
def test_ten_thousand_broken_reports_cost_themselves_alone(example):
    check_reports(example)
