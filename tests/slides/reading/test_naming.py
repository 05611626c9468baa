"""Rows of tables: every spelling of a slide finds it, and none finds two."""

from __future__ import annotations

from pathlib import Path

import pytest

from crafts.core.errors import ConfigError
from crafts.slides.reading.naming import group_rows, one_value
from crafts.slides.reading.slide_files import SlideFile


def source(place: str, name: str = "") -> SlideFile:
    return SlideFile(name or Path(place).stem, Path("/in") / place, place)


ALONE = [source("a.svs"), source("sub/b.tif"), source("c.ome.tif")]
TWINS = [source("good.svs", "good.svs"), source("sub/good.svs", "sub_good.svs")]


@pytest.mark.parametrize(
    ("row", "slide"),
    [
        ("a.svs", "a"),
        ("a", "a"),
        ("./a.svs", "a"),
        ("./a", "a"),
        ("b", "b"),
        ("b.tif", "b"),
        ("sub/b.tif", "b"),
        ("sub/b", "b"),
        ("c.ome", "c.ome"),
        ("c.ome.tif", "c.ome"),
    ],
)
def test_every_spelling_finds_its_slide(row, slide):
    assert one_value({row: 1}, ALONE, "t.csv") == {slide: 1}


def test_what_names_no_slide_is_told(capfd):
    assert one_value({"a": 1, "no.svs": 2, "sub/a.svs": 3}, ALONE, "t.csv") == {"a": 1}
    printed = capfd.readouterr().err
    assert "t.csv: 2 of 3 names in it are of no slide of the input, the first 'no.svs'" in printed


@pytest.mark.parametrize("row", ["good.svs", "good"])
def test_a_name_of_two_slides_is_refused(row):
    message = rf"t.csv: '{row}', which names 2 slides \('./good.svs', 'sub/good.svs'\); expected"
    with pytest.raises(ConfigError, match=f"{message}.*path below the input"):
        one_value({row: 1}, TWINS, "t.csv")


def test_paths_tell_slides_of_one_name_apart():
    found = one_value({"./good.svs": 1, "sub/good.svs": 2}, TWINS, "t.csv")
    assert found == {"good.svs": 1, "sub_good.svs": 2}


def test_a_file_name_comes_before_one_without_its_suffix():
    slides = [source("a.svs", "a"), source("a.svs.tif", "a.svs")]
    assert one_value({"a.svs": 1, "a.svs.tif": 2}, slides, "t.csv") == {"a": 1, "a.svs": 2}


def test_two_spellings_of_one_slide_must_agree():
    assert one_value({"a": 1, "a.svs": 1}, ALONE, "t.csv") == {"a": 1}
    message = "one slide under two names, 'a' with 1 and 'a.svs' with 2; expected one value"
    with pytest.raises(ConfigError, match=message):
        one_value({"a": 1, "a.svs": 2}, ALONE, "t.csv")
    assert group_rows({"a": 1, "a.svs": 2}, ALONE, "t.csv") == {"a": {"a": 1, "a.svs": 2}}
