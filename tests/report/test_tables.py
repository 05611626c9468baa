"""Tables whose columns the fields of a result class declare."""

from typing import Annotated

import pytest

from crafts.core.config import Config
from crafts.core.page import MISSING
from crafts.core.results import Number
from crafts.report.tables import Head, build_table, measured_cell, share_cell


class Measured(Config):
    value: Number = None
    spread: Number = None
    why: str = ""


class Result(Config):
    share: Annotated[
        Number, Head("Share", "of all", percent=True, beside=("low", "high"), form="{} to {}")
    ]
    low: Number = None
    high: Number = None
    source: Annotated[str, Head("Source", words=(("a", "from there"),))] = "a"
    tiles: Annotated[int, Head("Tiles", dash=True, alarm=True)] = 0
    measured: Annotated[Measured, Head("Measured")] = Measured(why="too few")


def test_only_fields_with_a_head_are_columns_in_their_order():
    table = build_table("T", [("one", Result(share=0.5, low=0.25, high=0.75))], corner="C")
    assert [column.label for column in table.columns] == ["Share", "Source", "Tiles", "Measured"]
    assert [column.numeric for column in table.columns] == [True, False, True, True]
    assert (table.caption, table.corner, table.rows[0].head) == ("T", "C", "one")


def test_cells_show_what_stands_beside_and_why_a_value_is_missing():
    both = [("one", Result(share=0.5, low=0.25, high=0.75, tiles=3)), ("two", Result(share=None))]
    table = build_table(
        "T", both, kind=lambda row: "real" if row.tiles else "", note=lambda row: "n"
    )
    (share, source, tiles, measured), empty = (row.cells for row in table.rows)
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in (share.text, share.note)] == [
        "50.0 %", "25.0 % to 75.0 %",
    ]  # fmt: skip
    assert (source.text, tiles.text, tiles.level) == ("from there", "3", "bad")
    assert (measured.text, measured.note) == (MISSING, "too few")
    assert (empty[0].text, empty[0].note, empty[2].text, empty[2].level) == (
        MISSING,
        "",
        MISSING,
        "plain",
    )
    assert [row.kind for row in table.rows] == ["real", ""] and table.rows[0].note == "n"


def test_no_rows_are_no_table():
    assert build_table("T", []) is None


@pytest.mark.parametrize(("spread", "note"), [(0.5, "± 0.500\nk"), (1e-12, "k"), (None, "k")])
def test_a_spread_of_rounding_is_none(spread, note):
    cell = measured_cell(Measured(value=2.0, spread=spread), note="k")
    assert (cell.text, cell.note) == ("2.00", note)


def test_none_of_none_is_no_share():
    assert share_cell(0, 0).text == MISSING
    assert share_cell(1, 4).text.startswith("25.0")
