"""Deep zoom: squares fit together to the slide that they are cut from."""

import io

import numpy as np
import pytest
from PIL import Image

from crafts.server.errors import MissingError
from crafts.server.slides import EDGE, OVERLAP, list_slides
from server.conftest import ASKED, ended


@pytest.fixture
def slide(client, tmp_path):
    pytest.importorskip("tiffslide")
    values = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    picture = Image.fromarray(values).resize((700, 600), Image.Resampling.BICUBIC)
    (tmp_path / "data" / "shared" / "sets").mkdir()
    picture.save(tmp_path / "data" / "shared" / "sets" / "one.tif")
    found = client.get("/api/v1/slides").json()["slides"]
    assert [one["name"] for one in found] == ["sets/one.tif"]
    return found[0]["id"], picture


def square(client, slide, level, column, row):
    answer = client.get(f"/api/v1/slides/{slide}/{level}/{column}_{row}.jpg")
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_squares_of_the_last_level_are_the_slide(client, slide):
    name, picture = slide
    facts = client.get(f"/api/v1/slides/{name}").json()
    assert (facts["width"], facts["height"], facts["max_level"]) == (700, 600, 10)
    assert (facts["tile_size"], facts["overlap"]) == (EDGE, OVERLAP)
    cut = square(client, name, 10, 1, 1)
    box = (EDGE - OVERLAP, EDGE - OVERLAP, 2 * EDGE + OVERLAP, 2 * EDGE + OVERLAP)
    assert cut.size == (EDGE + 2 * OVERLAP,) * 2
    difference = np.abs(np.asarray(cut, int) - np.asarray(picture.crop(box), int))
    assert difference.mean() < 4  # JPEG


def test_lower_levels_are_the_slide_made_smaller(client, slide):
    name, picture = slide
    cut = square(client, name, 8, 0, 0)
    assert cut.size == (175, 150)
    small = picture.resize((175, 150), Image.Resampling.BOX)
    assert np.abs(np.asarray(cut, int) - np.asarray(small, int)).mean() < 6
    assert square(client, name, 0, 0, 0).size == (1, 1)


def test_a_place_of_a_slide_becomes_a_tile_of_the_model(client, slide):
    name, picture = slide
    side = client.get("/api/v1/about").json()["side"]
    answer = client.get(f"/api/v1/slides/{name}/tile.png?x=300&y=200")
    tile = Image.open(io.BytesIO(answer.content))
    left, top = 300 - side // 2, 200 - side // 2
    expected = picture.crop((left, top, left + side, top + side))
    assert np.array_equal(np.asarray(tile), np.asarray(expected))
    for place in ("x=700&y=0", "x=-1&y=0", "x=nan&y=0", "x=0"):
        assert client.get(f"/api/v1/slides/{name}/tile.png?{place}").status_code in (404, 422)


def test_a_slide_that_is_made_can_be_looked_at_by_its_owner_alone(client):
    side = client.get("/api/v1/about").json()["side"]
    asked = {**ASKED, "num_images": 1, "size": f"{3 * side}x{2 * side}"}
    job = ended(client, client.post("/api/v1/jobs", json=asked).json())
    assert job["state"] == "done", job["error"]
    assert job["slide"] == job["id"] and "--size" in job["command"]
    facts = client.get(f"/api/v1/slides/{job['slide']}").json()
    assert (facts["width"], facts["height"]) == (3 * side, 2 * side)
    zoom, store = client.app.state.studio.zoom, client.app.state.studio.store
    assert list_slides(zoom.config, store, "another") == []
    for ask in (
        lambda who: zoom.facts(who, job["id"]),
        lambda who: zoom.square(who, job["id"], (0, 0, 0)),
        lambda who: zoom.tile(who, job["id"], middle=(0, 0), side=side, mpp=None),
    ):
        ask("local")
        with pytest.raises(MissingError):
            ask("another")
    for wrong in ({"num_images": 2}, {"size": "90000x90000"}, {"size": "0"}, {"size": "x"}):
        assert client.post("/api/v1/jobs", json={**asked, **wrong}).status_code == 422


def test_what_is_not_there_is_told(client, slide):
    name, _ = slide
    for path in (f"{name}/10/9_9.jpg", f"{name}/11/0_0.jpg", f"{'0' * 24}/0/0_0.jpg"):
        assert client.get(f"/api/v1/slides/{path}").status_code == 404


def test_a_link_out_of_the_folder_is_no_slide(client, tmp_path):
    outside = tmp_path / "outside.tif"
    Image.new("RGB", (300, 300)).save(outside)
    (tmp_path / "data" / "shared" / "link.tif").symlink_to(outside)
    assert client.get("/api/v1/slides").json()["slides"] == []
