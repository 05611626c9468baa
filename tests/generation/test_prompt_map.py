import json

import numpy as np
import pytest
import shapely
import torch
from PIL import Image

from crafts.core.errors import DataError
from crafts.generation.prompt_map import ClassLevel, load_prompt_map

SIZE = (96, 64)


def region(points, name="Tumor", **properties):
    ring = [*points, points[0]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": name}, **properties},
    }


SQUARE = [(16, 8), (48, 8), (48, 40), (16, 40)]
STRIPE = [(40, 0), (56, 0), (56, 64), (40, 64)]


def write(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def test_one_prompt_holds_everywhere():
    drawn = load_prompt_map(None, "colon", SIZE)
    assert drawn.prompts == ("colon",) and drawn.fingerprint == ""
    assert not drawn.labels(0, 64).any()
    assert set(drawn.shares(0, 8, pixel=8, border=2)) == {0}


def test_regions_hold_where_they_are_drawn(tmp_path):
    path = write(tmp_path / "a.geojson", region(SQUARE, prompt="carcinoma"), region(STRIPE, "Fat"))
    drawn = load_prompt_map(path, "colon", SIZE)
    assert drawn.prompts == ("colon", "carcinoma", "Fat")
    expected = np.zeros((64, 96), np.uint8)
    expected[8:40, 16:48] = 1
    expected[:, 40:56] = 2  # the later region lies above
    assert np.array_equal(drawn.labels(0, 64), expected)
    assert np.array_equal(drawn.labels(10, 20), expected[10:20])
    assert np.array_equal(drawn.labels(0, 8, 8), expected[4::8, 4::8])
    assert np.array_equal(ClassLevel(drawn, 1).read(0, 64), expected + 1)
    assert drawn.describe()["2"] == {"name": "Tumor", "prompt": "carcinoma"}


def test_what_is_written_is_read_as_the_same_map(tmp_path):
    path = write(tmp_path / "a.geojson", region(SQUARE, prompt="carcinoma"), region(STRIPE, "Fat"))
    drawn = load_prompt_map(path, "colon", SIZE)
    again = tmp_path / "again.geojson"
    again.write_text(json.dumps(drawn.features()))
    back = load_prompt_map(again, "colon", SIZE)
    assert back.prompts == drawn.prompts
    assert np.array_equal(back.labels(0, 64), drawn.labels(0, 64))


def test_outlines_are_filled_as_shapely_has_it(tmp_path):
    hole = [(40.3, 20.2), (50.1, 22.9), (44.8, 31.7)]
    rim = [(10.2, 3.1), (80.7, 20.3), (60.5, 25.5), (33.3, 60.9), (20.1, 30.7)]
    drawn = region(rim, prompt="carcinoma")
    drawn["geometry"]["coordinates"].append([*hole, hole[0]])
    labels = load_prompt_map(write(tmp_path / "a.geojson", drawn), "colon", SIZE).labels(0, 64)
    y, x = np.mgrid[:64, :96] + 0.5
    assert np.array_equal(labels == 1, shapely.contains_xy(shapely.Polygon(rim, [hole]), x, y))


def write_mask(folder, table, shape=(32, 48)):
    numbers = np.zeros(shape, np.uint8)
    numbers[4:20, 8:24], numbers[:, 40:] = 7, 9
    Image.fromarray(numbers).save(folder / "mask.png")
    (folder / "mask.json").write_text(json.dumps(table))
    return folder / "mask.png", numbers


def test_a_mask_is_stretched_over_the_canvas(tmp_path):
    path, numbers = write_mask(tmp_path, {"7": "carcinoma", "9": "fat"})
    drawn = load_prompt_map(path, "colon", SIZE)
    assert drawn.prompts == ("colon", "carcinoma", "fat")
    expected = np.select([numbers == 7, numbers == 9], [1, 2], 0).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(drawn.labels(0, 64), expected)
    again = tmp_path / "again.geojson"
    again.write_text(json.dumps(drawn.features()))
    assert np.array_equal(load_prompt_map(again, "colon", SIZE).labels(0, 64), expected)


def test_a_table_may_say_what_0_is(tmp_path):
    path, _ = write_mask(tmp_path, {"0": "stroma", "7": "carcinoma", "9": "carcinoma"})
    assert load_prompt_map(path, "colon", SIZE).prompts == ("stroma", "carcinoma")


@pytest.mark.parametrize("rows", [(0, 8), (2, 5), (7, 8)])
def test_shares_pass_softly_and_sum_to_one(tmp_path, rows):
    path = write(tmp_path / "a.geojson", region(SQUARE, prompt="carcinoma"), region(STRIPE, "Fat"))
    drawn = load_prompt_map(path, "colon", SIZE)
    shares = drawn.shares(*rows, pixel=8, border=1)
    torch.testing.assert_close(sum(shares.values()), torch.ones(rows[1] - rows[0], 12))
    whole = drawn.shares(0, 8, pixel=8, border=1)
    for number, share in shares.items():
        torch.testing.assert_close(share, whole[number][rows[0] : rows[1]])
    hard = drawn.shares(0, 8, pixel=8, border=0)
    assert set(hard[2].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(hard[2][3], torch.tensor([0.0] * 5 + [1.0] * 2 + [0.0] * 5))
    assert 0 < float(whole[2][3, 4]) < 1


def test_the_fingerprint_is_that_of_prompts_and_places(tmp_path):
    def mark(*features, prompt="colon"):
        path = write(tmp_path / "a.geojson", *features)
        return load_prompt_map(path, prompt, SIZE).fingerprint

    first = mark(region(SQUARE, prompt="carcinoma"))
    assert first == mark(region(SQUARE, "other name of the class", prompt="carcinoma"))
    others = {
        mark(region(SQUARE, prompt="fat")),
        mark(region(STRIPE, prompt="carcinoma")),
        mark(region(SQUARE, prompt="carcinoma"), prompt="lung"),
    }
    assert len(others | {first}) == 4


BEYOND = [(80, 8), (97, 8), (97, 20)]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([region(BEYOND)], "region 1: x from 80 to 97, y from 8 to 20; expected x from 0 to 96"),
        ([region(SQUARE), region(SQUARE, "")], "region 2: empty prompt"),
        ([region(SQUARE[:2])], "region 1: no area (a line)"),
        ([{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]},
           "properties": {"name": "dot"}}], "region 1: no area (Point)"),
    ],
)  # fmt: skip
def test_regions_of_no_use_are_refused(tmp_path, features, message):
    with pytest.raises(DataError) as caught:
        load_prompt_map(write(tmp_path / "a.geojson", *features), "colon", SIZE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "shape", "message"),
    [
        ({"7": "carcinoma"}, (32, 48), "the number 9; expected 0, and those of mask.json"),
        ({"7": "", "9": "fat"}, (32, 48), "no table of prompts (empty prompt)"),
        ({"7": "carcinoma", "9": "fat"}, (48, 48), "48 x 48 px; expected the proportions of 96 x"),
    ],
)
def test_masks_of_no_use_are_refused(tmp_path, table, shape, message):
    path, _ = write_mask(tmp_path, table, shape)
    with pytest.raises(DataError) as caught:
        load_prompt_map(path, "colon", SIZE)
    assert message in str(caught.value)


def test_files_of_no_use_are_refused(tmp_path):
    (tmp_path / "a.geojson").write_text("{")
    (tmp_path / "a.png").write_bytes(b"no picture")
    for name in ("a.geojson", "a.png", "missing.geojson", "missing.png"):
        with pytest.raises(DataError, match=name):
            load_prompt_map(tmp_path / name, "colon", SIZE)
