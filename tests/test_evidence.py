"""The page on the papers' claims has all its rows; its counts are those of the shipped model."""

from __future__ import annotations

import json
import re

import pytest

from crafts.data.taxonomy import CANCERS

VERDICTS = ("held", "seen", "opposite", "not testable", "open", "not decided", "found", "excluded")
ROWS = {
    "Thirteen claims": 13,
    "Six mechanisms and where they break": 12,
    "Six experiments": 6,
    "Six next checks": 6,
    "Six open questions": 6,
    "Eight failure signatures": 8,
    "Thirty cancers": 30,
}


def rows_of(root, title):
    """Cells of a section's table, without its head."""
    text = (root / "docs/evidence.md").read_text()
    part = re.split(r"^## ", text, flags=re.M)
    section = next(part for part in part if part.startswith(f"{title}\n"))
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("title", ROWS)
def test_every_row_is_there_and_has_no_empty_cell(title, root):
    rows = rows_of(root, title)
    assert len(rows) == ROWS[title]
    assert [row for row in rows if not all(row[1:])] == []
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("title", [title for title in ROWS if title != "Thirty cancers"])
def test_every_row_has_a_command_and_a_verdict(title, root):
    for row in rows_of(root, title):
        *_, command, verdict, _ = row
        assert re.fullmatch(r"`(crafts|python) [^`]+`", command), row
        assert any(word in verdict.lower() for word in VERDICTS), row


def test_counts_of_the_cancers_are_those_of_the_shipped_model(root):
    trained = json.loads((root / "src/crafts/weights/mini/trained_on.json").read_text())
    (corpus,) = trained["corpora"].values()
    rows = rows_of(root, "Thirty cancers")
    assert [row[0] for row in rows] == [cancer.code for cancer in CANCERS]
    assert [row[1] for row in rows] == [cancer.name for cancer in CANCERS]
    for row in rows:
        names = [] if row[4] == "none" else row[4].split(", ")
        for column, field in ((2, "tiles"), (3, "groups")):
            counts = [str(corpus["classes"][name][field]) for name in names]
            assert not names or row[column] == "; ".join(counts), row
