"""The tables of the page."""

from crafts.evaluation import results as found
from crafts.evaluation.page.report import write_report
from crafts.evaluation.page.tables import (
    comparison_tables,
    measured_cell,
    slice_tables,
    stain_tables,
)
from evaluation.page.built_results import build, measured, rows
from page_checks import Page


def test_every_measure_of_every_row_stands_in_a_table_or_is_said_to_be_missing(tmp_path):
    extra = rows()
    extra[0].measures["new_measure"] = measured(0.5)
    tables = comparison_tables(build(rows=extra))
    labels = [column.label for table in tables for column in table.columns]
    assert labels == ["Kernel distance", "Precision", "Recall", "new measure"]
    heads = [row.head for row in tables[0].rows]
    assert heads == ["Heldout row", "Train row", "Floor row", "Nearest row"]
    write_report(build(), tmp_path / "a.html")
    text = Page((tmp_path / "a.html").read_text()).text
    assert "Without a value: Fréchet distance (N is small)." in text


def test_stains_of_a_class_stand_beside_each_other():
    stains = [
        found.StainRow(
            set=name,
            name=label,
            n=9,
            haematoxylin=density,
            haematoxylin_sd=0.1,
            eosin=0.2,
            eosin_sd=0.1,
        )
        for name, label, density in (
            ("generated", "", 0.3),
            ("generated", "gland", 0.4),
            ("heldout", "gland", 0.5),
            ("heldout", "fat", 0.6),
        )
    ]
    whole, classes = stain_tables(build(stains=stains))
    assert [row.head for row in whole.rows] == ["Generated"]
    shown = {row.head: [cell.text for cell in row.cells] for row in classes.rows}
    assert [column.note for column in classes.columns] == ["generated", "held-out"] * 2
    assert shown == {
        "fat": ["–", "0.600", "–", "0.200"],
        "gland": ["0.400", "0.500", "0.200", "0.200"],
    }


def test_small_slices_show_a_distance_that_they_have():
    measures = {
        "frechet_distance": found.Measured(why="too few"),
        "kernel_distance": measured(0.4),
    }
    row = found.Comparison(
        key="heldout", title="x", scope="organ", name="lung", n=10, measures=measures
    )
    (table,) = slice_tables(build(lead="frechet_distance", rows=[*rows(), row]))
    labels = [column.label for column in table.columns]
    assert labels == ["Tiles", "Kernel distance"]  # columns without any value are left out
    assert [cell.text for cell in table.rows[0].cells] == ["10", "0.400"]


def test_a_spread_that_is_mere_rounding_is_not_shown():
    assert measured_cell(measured(6.4, spread=3e-15)).note == ""
    assert measured_cell(measured(6.4, spread=0.1)).note == "± 0.100"
