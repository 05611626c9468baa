"""Scores of tiles: bins, words, files of every layout, and the rough estimate."""

from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.captions.scoring.estimates import estimate_scores, separate_dyes
from crafts.captions.scoring.score_files import kind_of, load_scores
from crafts.captions.scoring.scores import Box, Outline, Patches, cover, level_of, say_scores
from crafts.core.errors import ConfigError, DataError

SQUARE = [[0, 0], [256, 0], [256, 256], [0, 256], [0, 0]]


@pytest.mark.parametrize(
    ("levels", "edges"),
    [
        (2, [(0.0, 0), (0.4999, 0), (0.5, 1), (1.0, 1)]),
        (3, [(0.0, 0), (0.333, 0), (0.334, 1), (0.666, 1), (0.667, 2), (1.0, 2)]),
        (4, [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 3)]),
    ],
)
def test_edges_of_the_bins(levels, edges):
    assert [level_of(score, levels) for score, _ in edges] == [level for _, level in edges]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 4))
def test_levels_never_fall_and_never_leave_the_range(a, b, levels):
    low, high = sorted((a, b))
    assert 0 <= level_of(low, levels) <= level_of(high, levels) < levels


@pytest.mark.parametrize("score", [-0.1, 1.01, 55.0, math.nan])
def test_what_is_no_share_is_refused(score):
    with pytest.raises(DataError, match="a share from 0 to 1"):
        level_of(score, 2)


def test_both_grammars():
    scores = {"til": 0.2, "tumor": 1.0, "fat": 0.5}
    said = [
        say_scores(scores, kinds=("tumor", "til", "stroma"), levels=n, grammar="pathldm")
        for n in (2, 3, 4)
    ]
    assert said == [["high tumor;", "low til;"]] * 2 + [["very high tumor;", "very low til;"]]
    ours = say_scores(scores, kinds=("tumor", "til", "fat"), levels=3, grammar="sentences")
    assert ours == ["Much tumor.", "Few lymphocytes.", "Some fat."]


def test_columns_go_by_many_names():
    names = ["prob_Tumor", "TILs", "score-adipose", "necrotic", "p_stroma", "til-positive", "x"]
    assert [kind_of(name) for name in names] == [
        "tumor", "til", "fat", "necrosis", "stroma", "til", "",
    ]  # fmt: skip


# ---- files -----------------------------------------------------------------------------------


def test_csv_by_name(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("file_name,tumor,til,other\na.png,1.0,0,9\nb.png,,0.5,9\n")
    table = load_scores(path)
    assert table.of(["a.png"], "", None) == {"tumor": 1.0, "til": 0.0}
    assert table.of(["x", "b.png"], "", None) == {"til": 0.5}
    assert table.of(["c.png"], "", None) == {}


def test_csv_by_place_averages_what_overlaps(tmp_path):
    path = tmp_path / "slide-1.csv"  # as WSInfer writes it
    path.write_text("minx,miny,width,height,prob_tumor\n0,0,100,100,1.0\n100,0,100,100,0.0\n")
    table = load_scores(path)
    assert table.of([], "slide-1", Box(25, 0, 125, 100)) == {"tumor": pytest.approx(0.75)}
    assert table.of([], "slide-1", Box(160, 0, 260, 100)) == {}  # less than half is scored
    assert table.of([], "slide-2", Box(25, 0, 125, 100)) == {}
    assert table.of([], "slide-1", None) == {}


@given(st.data())
def test_the_average_agrees_with_a_plain_loop(data):
    number = st.floats(0, 300)
    rows = data.draw(
        st.lists(
            st.tuples(number, number, st.floats(1, 90), st.floats(0, 1)), min_size=1, max_size=8
        )
    )
    tile = Box(60, 60, 160, 160)
    boxes = np.array([(x, y, x + w, y + w) for x, y, w, _ in rows])
    found = Patches(boxes, {"tumor": np.array([p for *_, p in rows])}).average(tile)
    shared = [
        max(0.0, min(x + w, 160) - max(x, 60)) * max(0.0, min(y + w, 160) - max(y, 60))
        for x, y, w, _ in rows
    ]
    total = math.fsum(shared)
    if abs(total - 5000) > 1e-6:
        assert ("tumor" in found) == (total >= 5000)
    if found:
        mean = math.fsum(s * p for s, (*_, p) in zip(shared, rows, strict=True)) / total
        assert found["tumor"] == pytest.approx(mean)


@pytest.mark.parametrize("layout", ["datasets", "matrix"])
def test_h5(tmp_path, layout):
    with h5py.File(tmp_path / "case_patches.h5", "w") as handle:
        coords = handle.create_dataset("coords", data=np.array([[0, 0], [256, 0]]))
        coords.attrs["patch_size_level0"] = 256
        if layout == "datasets":
            handle["tumor"], handle["til"] = [1.0, 0.0], [0.25, np.nan]
        else:
            handle["scores"] = [[1.0, 0.25], [0.0, np.nan]]
            handle["scores"].attrs["names"] = ["tumor", "til"]
    table = load_scores(tmp_path)
    assert table.of([], "case", Box(0, 0, 256, 256)) == {"tumor": 1.0, "til": 0.25}
    assert table.of([], "case", Box(256, 0, 512, 256)) == {"tumor": 0.0}


def test_geojson_of_squares_and_of_outlines(tmp_path):
    hole = [[64, 64], [192, 64], [192, 192], [64, 192], [64, 64]]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
         "properties": {"measurements": {"prob_til": 0.3, "area": 7}}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[SQUARE, hole]]},
         "properties": {"classification": {"names": ["Tumor", "Positive"]}}},
    ]  # fmt: skip
    path = tmp_path / "case.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    table = load_scores(path)
    found = table.of([], "case", Box(0, 0, 256, 256))
    assert found["til"] == pytest.approx(0.3)
    assert found["tumor"] == pytest.approx(0.75, abs=0.02)
    assert table.of([], "case", Box(512, 0, 768, 256)) == {"tumor": 0.0}


def test_cover_agrees_with_area():
    outline = Outline("fat", (((0.0, 0.0), (100.0, 0.0), (0.0, 100.0)),))
    assert cover([outline], Box(0, 0, 100, 100))["fat"] == pytest.approx(0.5, abs=0.02)
    assert cover([outline] * 2, Box(0, 0, 50, 50))["fat"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("name", "text", "came"),
    [
        ("a.csv", "file_name,tumor\na.png,55\n", "row 1: tumor 55"),
        ("a.csv", "file_name,tumor\na.png,x\n", "row 1: x"),
        ("a.csv", "file_name,mood\na.png,1\n", "columns file_name, mood"),
        ("a.csv", "tumor\n1\n", "columns tumor"),
        ("a.csv", "x,y,width,til\n1,2,,0.5\n", "row 1: 1, 2, , "),
        ("a.h5", "no h5", "unreadable"),
        ("a.geojson", "{", "no GeoJSON"),
        ("a.geojson", '{"features": [{"geometry": null}]}', "no score"),
        ("a.csv", "file_name,tumor\n", "no score"),
        ("a.csv", "file_name,tumor\na.png,0.1\na.png,0.2\n", "row 2: other scores of 'a.png'"),
        ("a.geojson", '{"features": [[1]]}', "no GeoJSON"),
        (
            "a.geojson",
            '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[]]}}]}',
            "no GeoJSON",
        ),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, came):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        load_scores(tmp_path / name)
    assert came in str(error.value)


def test_nothing_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_scores(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="no file of scores"):
        load_scores(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_excel_are_read(tmp_path, encoding, mark):
    path = tmp_path / "s.csv"
    path.write_text(f"file_name{mark}tumor\na.png{mark}0.5\n", encoding=encoding)
    assert load_scores(path).by_name == {"a.png": {"tumor": 0.5}}


# ---- the estimate ----------------------------------------------------------------------------


def paint(color: tuple[int, int, int], size: int = 256) -> np.ndarray:
    return np.full((size, size, 3), color, np.uint8)


def dots(pixels: np.ndarray, radius: float, step: int) -> np.ndarray:
    y, x = np.mgrid[: len(pixels), : len(pixels)]
    inside = (x % step - step / 2) ** 2 + (y % step - step / 2) ** 2 < radius**2
    pixels[inside] = (70, 40, 120)
    return pixels


def test_dyes_are_found_again_that_light_went_through():
    # Beer and Lambert, forward: transmitted light of known amounts of Ruifrok's two dyes
    dyes = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
    dyes /= np.sqrt((dyes**2).sum(1, keepdims=True))
    amounts = np.random.default_rng(0).uniform(0.05, 0.7, (16, 16, 2))
    pixels = (256 * 10 ** -(amounts @ dyes) - 1).round().astype(np.uint8)
    density, hematoxylin, eosin = separate_dyes(pixels)
    assert np.abs(hematoxylin - amounts[..., 0]).max() < 0.02
    assert np.abs(eosin - amounts[..., 1]).max() < 0.02
    assert np.abs(density - (amounts @ dyes).mean(-1)).max() < 0.01


def test_the_estimate_orders_what_is_plain():
    pink, white = (235, 150, 190), (250, 250, 250)
    stroma = estimate_scores(paint(pink), 0.5)
    lymphoid = estimate_scores(dots(paint(pink), 6, 18), 0.5)
    large = estimate_scores(dots(paint(pink), 12, 34), 0.5)
    fat = paint(pink)
    y, x = np.mgrid[:256, :256]
    fat[(x % 110 - 55) ** 2 + (y % 110 - 55) ** 2 < 50**2] = white
    assert stroma["stroma"] > 0.9 and stroma["til"] == stroma["tumor"] == 0
    assert lymphoid["til"] > 0.9 and lymphoid["tumor"] == 0
    assert large["tumor"] > 0.9 and large["til"] < 0.1
    assert estimate_scores(fat, 0.5)["fat"] > 0.4


def test_glass_and_lumina_are_no_fat():
    """Empty places without a neighbour behind a thin wall, at the rim and within."""
    y, x = np.mgrid[:256, :256]
    places = {
        "half": x < 128,
        "corner": (x + y) < 150,
        "round corner": x**2 + y**2 < 110**2,
        "strips": (x < 60) | (x > 190),
        "lumen": (x - 128) ** 2 + (y - 128) ** 2 < 50**2,
        "cleft": abs(x - y) < 25,
    }
    for name, place in places.items():
        pixels = paint((235, 150, 190))
        pixels[place] = (248, 247, 249)
        scores = estimate_scores(pixels, 0.5)
        assert scores["fat"] == 0, name
        assert scores["stroma"] > 0.9, name  # of the tissue, not of the tile


def test_fat_is_a_share_of_the_tissue():
    y, x = np.mgrid[:256, :256]
    pixels = paint((235, 150, 190))
    pixels[(x % 64 - 32) ** 2 + (y % 64 - 32) ** 2 < 29**2] = (248, 247, 249)
    whole = estimate_scores(pixels, 0.5)["fat"]
    pixels[:, :128] = (248, 247, 249)
    assert whole == pytest.approx(np.pi * 29**2 / 64**2, abs=0.02)
    assert estimate_scores(pixels, 0.5)["fat"] == pytest.approx(whole, abs=0.02)


def test_nothing_is_estimated_where_there_is_next_to_no_tissue():
    pixels = paint((250, 250, 250))
    assert estimate_scores(pixels, 0.5) == {}
    pixels[:10, :10] = (235, 150, 190)
    assert estimate_scores(pixels, 0.5) == {}


def test_the_estimate_is_deterministic_and_bounded():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    first, second = estimate_scores(pixels, None), estimate_scores(pixels.copy(), None)
    assert first == second and all(0 <= value <= 1 for value in first.values())
