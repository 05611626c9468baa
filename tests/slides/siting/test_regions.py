"""QuPath's GeoJSON in all the forms it comes in, against the areas of plain geometry."""

from __future__ import annotations

import gzip
import json
import uuid
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from crafts.core.errors import DataError
from crafts.slides.config import RegionConfig
from crafts.slides.siting.regions import (
    Region,
    find_region_file,
    load_mask,
    load_regions,
    map_regions,
    rasterize,
    trace_areas,
    write_regions,
)

SQUARE = [[100, 100], [500, 100], [500, 500], [100, 500], [100, 100]]
HOLE = [[200, 200], [300, 200], [300, 300], [200, 300], [200, 200]]
FAR = [[600, 600], [700, 600], [700, 700], [600, 700], [600, 600]]


def feature(geometry, name=None, **properties):
    if name:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


POLYGON = feature({"type": "Polygon", "coordinates": [SQUARE, HOLE]}, "Tumor")
MULTI = feature(
    {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [FAR]]},
    classification={"names": ["Tumor", "Positive"]},
)
POINT = feature({"type": "Point", "coordinates": [1, 2]}, "Tumor")


def write(path, value):
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["s.geojson", "s.geojson.gz"])
@pytest.mark.parametrize("form", ["collection", "list", "one"])
def test_forms_of_a_file(tmp_path, name, form):
    values = {
        "collection": {"type": "FeatureCollection", "features": [POLYGON, POINT]},
        "list": [POLYGON, POINT],
        "one": POLYGON,
    }
    path = write(tmp_path / name, values[form])
    assert find_region_file(tmp_path, "s") == path
    (region,) = load_regions(path)
    assert region.name == "Tumor"
    mask, pixel = rasterize([region], (1000, 800), 2.0)
    assert (mask.shape, pixel) == ((400, 500), (2.0, 2.0))
    assert mask.sum() * 4 == pytest.approx(400**2 - 100**2, rel=0.03)
    assert not mask[110:140, 110:140].any()


def test_several_polygons_and_derived_classes(tmp_path):
    (region,) = load_regions(write(tmp_path / "a.json", [MULTI]))
    assert region.name == "Tumor: Positive"
    mask, _ = rasterize([region], (1000, 1000), 1.0)
    assert mask.sum() == pytest.approx(400**2 - 100**2 + 100**2, rel=0.02)


def test_classes_are_chosen_and_overlaps_counted_once(tmp_path):
    stroma = feature({"type": "Polygon", "coordinates": [SQUARE]}, "Stroma")
    path = write(tmp_path / "s.geojson", [POLYGON, POLYGON, stroma])
    maps = map_regions(path, RegionConfig(), (1000, 1000), 1.0)
    assert list(maps) == ["Stroma", "Tumor"]
    x, y = np.array([100, 0]), np.array([100, 600])
    assert maps["Stroma"].fractions(x, y, (100, 100))[0] == pytest.approx(1, abs=0.02)
    assert maps["Tumor"].fractions(x, y, (400, 400))[0] == pytest.approx(15 / 16, abs=0.02)
    chosen = map_regions(path, RegionConfig(classes=("Tumor",)), (1000, 1000), 1.0)
    assert list(chosen) == ["Tumor"]
    assert map_regions(path, RegionConfig(classes=("Fat",)), (1000, 1000), 1.0) == {}
    derived = write(tmp_path / "derived.geojson", [MULTI, stroma])
    for name in ("Tumor", "Tumor: Positive"):
        chosen = map_regions(derived, RegionConfig(classes=(name,)), (1000, 1000), 1.0)
        assert list(chosen) == ["Tumor: Positive"]
    assert map_regions(derived, RegionConfig(classes=("Positive",)), (1000, 1000), 1.0) == {}


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB"])
def test_a_mask_image_is_stretched_over_the_slide(tmp_path, mode):
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:25] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "s.png")
    found = map_regions(tmp_path / "s.png", RegionConfig(), (1000, 800), 1.0)[""]
    assert found.fractions(np.array([100]), np.array([200]), (400, 200))[0] == 1
    assert found.mask.sum() == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[1, 2]",
        b'{"type": "FeatureCollection", "features": 3}',
        json.dumps([feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]})]).encode(),
        json.dumps([feature({"type": "Polygon", "coordinates": [[[0], [1], [2]]]})]).encode(),
        b'[{"geometry": {"type": "Polygon", "coordinates": [[[0,0],[NaN,1],[1,1]]]}}]',
        b"[" * 100_000,
    ],
)
def test_damage_is_refused(tmp_path, data):
    path = tmp_path / "s.geojson"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"s.geojson: .*expected GeoJSON of polygons"):
        load_regions(path)


def test_damaged_gzip_and_masks_are_refused(tmp_path):
    (tmp_path / "s.geojson.gz").write_bytes(gzip.compress(b"[]" * 500)[:20])
    with pytest.raises(DataError, match="unreadable"):
        load_regions(tmp_path / "s.geojson.gz")
    (tmp_path / "s.png").write_bytes(b"no")
    with pytest.raises(DataError, match="unreadable"):
        map_regions(tmp_path / "s.png", RegionConfig(), (10, 10), 1.0)


def test_outlines_of_a_mask_hold_its_pieces_and_holes(tmp_path):
    rng = np.random.default_rng(0)
    rough = ndimage.gaussian_filter(rng.normal(size=(90, 120)), 4) > 0.02
    areas = trace_areas(rough, (8.0, 8.0), name="Tissue")
    write_regions(tmp_path / "s.geojson", areas)
    assert load_regions(tmp_path / "s.geojson") == areas
    assert any(len(area.polygons[0]) > 1 for area in areas), "no hole in this mask"
    back, pixel = rasterize(areas, (960, 720), 2.0)
    assert pixel == (2.0, 2.0)
    fine = rough.repeat(4, 0).repeat(4, 1)  # the corners of pixels are cut off, no more
    assert (back & fine).sum() / (back | fine).sum() > 0.97
    assert back.mean() == pytest.approx(rough.mean(), rel=0.02)


def test_annotations_are_what_qupath_opens(tmp_path):
    areas = trace_areas(np.pad(np.ones((3, 4), bool), 2), (8.0, 16.0), name="Tissue")
    write_regions(tmp_path / "s.geojson", areas)
    (found,) = json.loads((tmp_path / "s.geojson").read_text())["features"]
    assert found["type"] == "Feature" and uuid.UUID(found["id"])
    assert found["properties"]["objectType"] == "annotation"
    assert found["properties"]["classification"]["name"] == "Tissue"
    assert len(found["properties"]["classification"]["color"]) == 3
    (ring,) = found["geometry"]["coordinates"]
    assert found["geometry"]["type"] == "Polygon" and ring[0] == ring[-1]
    x, y = np.array(ring).T
    assert (x.min(), x.max(), y.min(), y.max()) == (16, 48, 32, 80)
    write_regions(tmp_path / "two.geojson", [Region("a", areas[0].polygons * 2)])
    (multi,) = load_regions(tmp_path / "two.geojson")
    assert len(multi.polygons) == 2


def test_a_mask_without_tissue_has_no_outline(tmp_path):
    write_regions(tmp_path / "s.geojson", trace_areas(np.zeros((4, 4), bool), (1, 1), name="a"))
    assert load_regions(tmp_path / "s.geojson") == []


def test_collections_hold_their_areas_and_what_has_none_is_counted(tmp_path):
    line = {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}
    inner = {
        "type": "GeometryCollection",
        "geometries": [line, {"type": "Polygon", "coordinates": [FAR]}],
    }
    both = {"type": "GeometryCollection", "geometries": [POLYGON["geometry"], inner]}
    path = write(tmp_path / "a.json", [feature(both, "Tumor"), POINT, feature(None, "Tumor")])
    left_out = Counter()
    (region,) = load_regions(path, left_out)
    mask, _ = rasterize([region], (1000, 1000), 1.0)
    assert mask.sum() == pytest.approx(400**2 - 100**2 + 100**2, rel=0.02)
    assert left_out == {"LineString": 1, "Point": 1, "no geometry": 1}


@pytest.mark.parametrize("mode", ["opacity", "palette"])
def test_masks_by_opacity_and_by_palette(tmp_path, mode):
    shape = np.zeros((40, 50), bool)
    shape[10:20, 5:25] = True
    if mode == "opacity":
        values = np.dstack([np.full((40, 50, 3), 255), shape * 255]).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / "s.png")
    else:
        image = Image.fromarray(shape.astype(np.uint8)).convert("P")
        image.putpalette([255, 255, 255, 250, 0, 0])
        image.save(tmp_path / "s.png")
    assert np.array_equal(load_mask(tmp_path / "s.png", (50, 40)).mask, shape)


def test_masks_that_cannot_be_meant_are_refused_without_words_of_a_library(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    image = Image.fromarray((np.indices((9, 9))[0] > 4).astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "swapped.png")
    Image.new("L", (9, 9)).save(tmp_path / "lossy.png", "JPEG")
    for name, reason in (
        ("huge", "a mask of 20000 x 20000 px; expected at most 170 Mpx. Scale it down"),
        ("swapped", "its palette index and its colour mark different areas"),
        ("lossy", "not an image that can be read"),
    ):
        with pytest.raises(DataError, match=reason):
            load_mask(tmp_path / f"{name}.png", (100, 100))


def test_a_large_mask_is_scaled_down_and_nothing_is_said(tmp_path, capfd):
    shape = np.zeros((100, 10_000), bool)
    shape[:, :5000] = True
    Image.fromarray(shape).save(tmp_path / "s.png")
    found = load_mask(tmp_path / "s.png", (20_000, 200))
    assert found.mask.shape == (82, 8192)
    x = np.array([0, 9000, 10_000, 19_000])
    shares = found.fractions(x, np.zeros(4), (1000, 200))
    assert shares == pytest.approx([1, 1, 0, 0], abs=1e-3)
    assert capfd.readouterr().err == ""
