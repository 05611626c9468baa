"""Tiles at the places that a file names, in TRIDENT's and CLAM's layout, and of a csv."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.slides.reading.resolution import SlideReadError
from crafts.slides.reading.slide_files import SlideFile
from crafts.slides.siting.coordinates import read_coordinates
from crafts.slides.siting.places import Places, lay_out, load_places, require_places
from crafts.slides.tile import run


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "metadata.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("layout", ["trident", "clam"])
def test_coordinates_that_were_written_cut_the_same_tiles_again(
    painted, tiled, tmp_path, config, layout
):
    run(config(coordinates=tiled / layout), painted[0], tmp_path / "again")
    first, again = (
        {(row["slide"], row["x"], row["y"], row["sha256"]) for row in rows_of(folder)}
        for folder in (tiled, tmp_path / "again")
    )
    assert again == first
    name = f"TCGA-AB-1234-01A-01-TS1{'_patches' if layout == 'trident' else ''}.h5"
    one, two = (read_coordinates(at / layout / name) for at in (tiled, tmp_path / "again"))
    assert np.array_equal(one.coords, two.coords)
    assert one.attributes.keys() == two.attributes.keys()


def test_a_csv_names_places_and_the_extent_says_the_resolution(painted, tmp_path, config):
    source = painted[0] / "sub" / "other.tif"
    asked = [(100, 37), (512, 512), (100, 37), (0, 700)]
    lines = ["slide,x,y,size,level,text", *(f"other,{x},{y},400,0,a" for x, y in asked)]
    (tmp_path / "asked.csv").write_text("\n".join(lines))
    settings = config(
        coordinates=tmp_path / "asked.csv",
        size=200,
        tissue={"min_fraction": 0},
        gates={"blank": 1, "flat": 0, "blur": 0},
    )
    manifest = run(settings, source, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [(int(row["x"]), int(row["y"])) for row in rows] == [(100, 37), (512, 512)]
    assert {(row["mpp"], row["extent"]) for row in rows} == {("1", "400")}
    assert manifest.counts["listed"] == 3 and manifest.extra["reasons"] == {
        "outside of the slide": 1
    }
    whole = pixels_of(source)
    for row in rows:
        x, y = int(row["x"]), int(row["y"])
        wanted = whole[y : y + 400, x : x + 400]
        found = pixels_of(tmp_path / "out" / row["file_name"])
        assert found.shape == (200, 200, 3)
        assert np.abs(found.mean((0, 1)) - wanted.mean((0, 1))).max() < 1.5
    slide = json.loads((tmp_path / "out" / "slides.jsonl").read_text())
    assert slide["grid"] == {"columns": None, "rows": None, "extent": [400.0, 400.0]}


def test_what_is_asked_for_and_not_cut_has_its_reason(painted, tmp_path, config):
    truth = painted[1]["other"]
    glass = next(
        (x, y) for x in range(0, 768, 64) for y in range(0, 768, 64) if not truth.share(x, y, 256)
    )
    square = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
    (tmp_path / "regions").mkdir()
    (tmp_path / "asked.csv").write_text(f"slide,x,y\nother.tif,{glass[0]},{glass[1]}\n")
    settings = config(coordinates=tmp_path / "asked.csv")
    source = painted[0] / "sub" / "other.tif"
    counts = run(settings, source, tmp_path / "out").counts
    assert (counts["listed"], counts["rejected"]) == (1, 1)
    assert "little tissue: share 0.000" in (tmp_path / "out" / "rejects.jsonl").read_text()
    region = {"type": "Polygon", "coordinates": [square]}
    (tmp_path / "regions" / "other.geojson").write_text(json.dumps(region))
    settings = config(coordinates=tmp_path / "asked.csv", regions={"folder": tmp_path / "regions"})
    run(settings, source, tmp_path / "out")
    assert "outside of the regions" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_other_places_are_cut_anew_and_the_same_are_kept(painted, tmp_path, config, capfd):
    source = painted[0] / "sub" / "other.tif"
    for number, place in enumerate(("300,300", "300,300", "400,300")):
        (tmp_path / "asked.csv").write_text(f"slide,x,y\nother,{place}\n")
        run(config(coordinates=tmp_path / "asked.csv"), source, tmp_path / "out")
        printed = capfd.readouterr().err
        assert ("other: 1 tiles" in printed) == (number != 1)
        assert ("other is cut again: " in printed) == (number == 2)
    assert [row["x"] for row in rows_of(tmp_path / "out")] == ["400"]


def test_slides_without_places_are_rejected(painted, tmp_path, config):
    (tmp_path / "asked.csv").write_text("slide,x,y\nother,300,300\n")
    manifest = run(config(coordinates=tmp_path / "asked.csv"), painted[0], tmp_path / "out")
    assert manifest.counts["slides_rejected"] == 1
    assert "no place of it in" in (tmp_path / "out" / "rejects.jsonl").read_text()
    assert "coordinates" in manifest.inputs and "coordinates" not in manifest.config


def test_damaged_coordinates_cost_their_slide(painted, tiled, tmp_path, config):
    folder = tmp_path / "h5"
    folder.mkdir()
    (folder / "other_patches.h5").write_bytes(b"no h5")
    name = "TCGA-AB-1234-01A-01-TS1.h5"
    (folder / name).write_bytes((tiled / "clam" / name).read_bytes())
    manifest = run(config(coordinates=folder), painted[0], tmp_path / "out")
    assert manifest.counts["slides_rejected"] == 1 and manifest.counts["used"] > 0
    assert "other_patches.h5" in (tmp_path / "out" / "rejects.jsonl").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,x\na,1\n", "columns slide, x"),
        ("slide,x,y\na,1,two\n", "row 1: x '1', y 'two', size ''"),
        ("slide,x,y,size\na,1,2,0\n", "row 1: level '0', size '0'"),
        ("slide,x,y,size,level\na,1,2,5,1\n", "row 1: level '1', size '5'"),
        ("slide,x,y,size\na,1,2,5\na,1,2,6\n", "row 2: a second size for 'a'"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError, match=f"{message}; expected a folder of h5 files, or a csv"):
        load_places(tmp_path / "a.csv", [SLIDE])


SLIDE = SlideFile("a", Path("/in/a.svs"), "a.svs")
TWINS = [SlideFile(f"{at}_a.svs", Path(f"/in/{at}/a.svs"), f"{at}/a.svs") for at in ("x", "y")]


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unreadable.*--coordinates"):
        load_places(tmp_path / "no", [SLIDE])
    with pytest.raises(ConfigError, match="a folder without an h5 file; expected <slide>_patches"):
        load_places(tmp_path, [SLIDE])
    (tmp_path / "b.h5").touch()
    with pytest.raises(DataError, match="a.svs: no place of it in .*expected a_patches.h5 or a.h5"):
        require_places(load_places(tmp_path, [SLIDE]), SLIDE, tmp_path)
    assert require_places(None, SLIDE, None) is None


@pytest.mark.parametrize("layout", ["trident", "clam"])
def test_an_output_instead_of_its_coordinates_is_told(tmp_path, layout):
    (tmp_path / layout).mkdir()
    (tmp_path / layout / "a.h5").touch()
    message = f"those of {layout}/ lie below it; .* Give --coordinates {tmp_path}/{layout}."
    with pytest.raises(ConfigError, match=message):
        load_places(tmp_path, [SLIDE])


def test_rows_of_one_slide_under_two_names_are_joined(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("slide,x,y\na,1,2\na.svs,3,4\n./a.svs,1,2\n")
    assert load_places(table, [SLIDE])(SLIDE) == Places(((1, 2), (3, 4)), None)
    table.write_text("slide,x,y,size\na,1,2,5\na.svs,3,4,6\n")
    with pytest.raises(ConfigError, match="two names, 'a' with size 5.0 and 'a.svs' with 6.0"):
        load_places(table, [SLIDE])


def test_places_of_slides_of_one_name_are_told_apart(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("slide,x,y\nx/a.svs,1,2\ny/a.svs,3,4\n")
    find = load_places(table, TWINS)
    assert [find(slide).coords for slide in TWINS] == [((1, 2),), ((3, 4),)]
    table.write_text("slide,x,y\na.svs,1,2\n")
    with pytest.raises(ConfigError, match="'a.svs', which names 2 slides"):
        load_places(table, TWINS)


def test_a_file_of_coordinates_for_two_slides_is_refused(tmp_path, tiled):
    file = next((tiled / "trident").glob("*.h5"))
    (tmp_path / "x_a.svs_patches.h5").write_bytes(file.read_bytes())
    (tmp_path / "a.h5").write_bytes(file.read_bytes())
    find = load_places(tmp_path, TWINS)
    assert len(find(TWINS[0]).coords) == len(read_coordinates(file).coords)
    with pytest.raises(DataError, match="a.h5: coordinates for 2 slides .* y_a.svs_patches.h5 is"):
        find(TWINS[1])


def test_a_grid_without_end_is_refused(config):
    with pytest.raises(SlideReadError, match="tiles; expected at most 20000000"):
        lay_out([(2_000_000, 2_000_000)], (0.5, 0.5), config(size=8), None)


def test_no_place_is_legal(config):
    layout = lay_out([(1000, 1000)], (0.5, 0.5), config(), Places((), 256.0))
    assert len(layout.x) == len(layout.inside) == 0
