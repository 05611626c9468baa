"""Outlines are drawn as a slow test of points says; broken ones are listed or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.controls.files.mask_polygons import fill_rings
from crafts.controls.masks import load_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask

FRAME = (0, 0, 64, 48)


def square(left, top, side=8.0):
    return [
        [left, top],
        [left + side, top],
        [left + side, top + side],
        [left, top + side],
        [left, top],
    ]


def feature(rings, name=None, kind="Polygon", **more):
    properties = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": rings},
        "properties": properties | more.pop("properties", {}),
        **more,
    }


def write(path, features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def inside_slowly(ring, x, y):
    """Ray to the right, edge by edge."""
    inside = False
    for (xa, ya), (xb, yb) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (ya > y) != (yb > y) and x < xa + (y - ya) * (xb - xa) / (yb - ya):
            inside = not inside
    return inside


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_filling_is_that_of_a_slow_ray(seed, count):
    ring = np.random.default_rng(seed).uniform(-3, 15, (count, 2))
    found = fill_rings([ring], (12, 14))
    expected = [
        [inside_slowly(ring.tolist(), x + 0.5, y + 0.5) for x in range(14)] for y in range(12)
    ]
    assert np.array_equal(found, expected)


def test_geojson_polygons_multipolygons_holes_and_classes(tmp_path):
    ring = feature([square(4, 4, 12), square(8, 8, 4)], "Tumor")
    two = feature([[square(30, 4)], [square(40, 4)]], "Immune cells: Positive", "MultiPolygon")
    plain = feature([square(4, 30)])
    found = load_mask(write(tmp_path / "a.geojson", [ring, two, plain]), frame=FRAME, mpp=0.5)
    assert found.num_nuclei == 3 and found.size == (48, 64) and found.rejected == ()
    assert [int((found.instances == n).sum()) for n in (1, 2, 3)] == [144 - 16, 128, 64]
    assert found.instances[10, 10] == 0 and found.instances[4, 4] == 1
    for number, name in ((1, "neoplastic"), (2, "inflammatory"), (3, "unknown")):
        assert set(found.classes[found.instances == number]) == {CLASSES.index(name)}


def test_a_list_or_a_single_feature_is_geojson_too(tmp_path):
    for content in ([feature([square(4, 4)])], feature([square(4, 4)])):
        (tmp_path / "a.json").write_text(json.dumps(content))
        assert load_mask(tmp_path / "a.json", frame=FRAME).num_nuclei == 1


def test_of_a_cell_the_nucleus_is_taken_and_annotations_are_left_aside(tmp_path):
    cell = feature(
        [square(4, 4, 20)],
        properties={"objectType": "cell"},
        nucleusGeometry={"type": "Polygon", "coordinates": [square(10, 10)]},
    )
    region = feature([square(0, 0, 40)], "Stroma")
    found = load_mask(write(tmp_path / "a.geojson", [region, cell]), frame=FRAME)
    assert found.num_nuclei == 1 and int((found.instances > 0).sum()) == 64
    assert found.skipped == {"annotation, not a cell": 1}


def test_the_frame_cuts_and_what_lies_outside_is_counted(tmp_path):
    features = [feature([square(100, 50)]), feature([square(97, 60)]), feature([square(4, 4)])]
    found = load_mask(write(tmp_path / "a.geojson", features), frame=(100, 48, 64, 48))
    assert found.num_nuclei == 2 and found.skipped == {"outside of the frame": 1}
    assert [int((found.instances == n).sum()) for n in (1, 2)] == [64, 40]


BROKEN = {
    "crosses itself": [[[0, 0], [8, 8], [8, 0], [0, 8], [0, 0.5], [0, 0]]],
    "fewer than 3 different points": [[[0, 0], [4, 4], [0, 0]]],
    "not closed": [[[0, 0], [8, 0], [8, 8]]],
    "no area": [[[0, 0], [8, 8], [4, 4], [0, 0]]],
    "NaN or infinite points": [[[0, 0], [float("nan"), 0], [8, 8], [0, 0]]],
    "points that are not pairs of numbers": [[[0, 0], ["a", 0], [8, 8], [0, 0]]],
    "points that are not pairs": [[[0, 0], [10**400, 0], [8, 8], [0, 0]]],
    "from the origin": [[[0, 0], [1e300, 0], [8, 8], [0, 0]]],
    "covers no pixel": [square(4.6, 4.6, 0.2)],
    "no points": [],
    "more than 4000": [[[np.cos(t), np.sin(t)] for t in np.linspace(0, 6, 4002)]],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_polygons_are_listed_and_too_many_refuse_the_file(tmp_path, reason):
    good = [feature([square(9 * (n % 6) + 1, 9 * (n // 6))]) for n in range(19)]
    path = write(tmp_path / "a.geojson", [*good, feature(BROKEN[reason])])
    found = load_mask(path, frame=FRAME)
    assert found.num_nuclei == 19
    assert len(found.rejected) == 1
    assert found.rejected[0].startswith("feature 19: ") and reason in found.rejected[0]
    write(path, [good[0], feature(BROKEN[reason])])
    with pytest.raises(DataError, match="1 of 2 outlines broken; feature 1: "):
        load_mask(path, frame=FRAME)


def test_points_lines_and_hidden_nuclei_are_listed(tmp_path):
    good = [feature([square(9 * (n % 6) + 1, 9 * (n // 6))]) for n in range(28)]
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 3]}}
    hidden = feature([square(3, 2, 2)])
    path = write(
        tmp_path / "a.geojson", [hidden, *good, point, {"type": "Feature", "geometry": None}]
    )
    found = load_mask(path, frame=FRAME)
    assert found.num_nuclei == 28
    assert sorted(found.rejected) == [
        "feature 0: hidden by nuclei drawn after it",
        "feature 29: no points",
        "feature 30: no points",
    ]


def contours(mask):
    """Rim pixels in order, as OpenCV finds them; scikit-image where it is there."""
    measure = pytest.importorskip("skimage.measure")
    for number in range(1, mask.num_nuclei + 1):
        own = np.pad(mask.instances == number, 1)
        ring = max(measure.find_contours(own.astype(float), 0.99), key=len)
        yield number, (np.rint(ring)[:, ::-1] - 1).astype(int).tolist()


def test_hovernet_and_cellvit_contours_fill_with_their_rim(tmp_path):
    mask = random_mask(5, count=15)
    table = {"1": "neoplastic", "2": "inflammatory"}
    nuclei = {str(n): {"contour": ring, "type": n % 2 + 1} for n, ring in contours(mask)}
    cells = [{"contour": ring, "type": n % 2 + 1} for n, ring in contours(mask)]
    frame = (0, 0, mask.size[1], mask.size[0])
    (tmp_path / "h.json").write_text(json.dumps({"mag": 40, "nuc": nuclei}))
    (tmp_path / "c.json").write_text(
        json.dumps({"type_map": {"1": "Neoplastic", "2": "Inflammatory"}, "cells": cells})
    )
    for path, options in ((tmp_path / "h.json", {"table": table}), (tmp_path / "c.json", {})):
        found = load_mask(path, frame=frame, **options)
        assert found.num_nuclei == 15
        assert ((found.instances > 0) != (mask.instances > 0)).mean() < 0.01
        for number in range(1, 16):
            expected = ("neoplastic", "inflammatory")[number % 2]
            assert set(found.classes[found.instances == number]) == {CLASSES.index(expected)}
    with pytest.raises(ConfigError, match="class numbers without a table"):
        load_mask(tmp_path / "h.json", frame=frame)
    for row in nuclei.values():
        row["type"] = None
    (tmp_path / "h.json").write_text(json.dumps({"nuc": nuclei}))
    assert set(np.unique(load_mask(tmp_path / "h.json", frame=frame).classes)) == {0, UNKNOWN}


def test_class_0_of_hovernet_is_a_nucleus_without_a_class(tmp_path):
    ring = [[2, 2], [9, 2], [9, 9], [2, 9]]
    (tmp_path / "h.json").write_text(json.dumps({"nuc": {"1": {"contour": ring, "type": 0}}}))
    found = load_mask(tmp_path / "h.json", frame=FRAME, table="pannuke")
    assert found.num_nuclei == 1 and set(np.unique(found.classes)) == {0, UNKNOWN}
    table = {"0": "dead"}
    found = load_mask(tmp_path / "h.json", frame=FRAME, table=table)
    assert found.classes.max() == CLASSES.index("dead")


def test_contours_far_away_are_broken(tmp_path):
    ring = [[0, 0], [10**12, 0], [10**12, 50], [0, 50]]
    (tmp_path / "h.json").write_text(json.dumps({"nuc": {"1": {"contour": ring}}}))
    with pytest.raises(DataError, match="nucleus 1: points more than 10,000,000 px"):
        load_mask(tmp_path / "h.json", frame=FRAME)


def test_other_json_is_refused(tmp_path):
    path = tmp_path / "a.json"
    for text, reason in (
        ("{", "unreadable"),
        ('{"a": 1}', "json of another kind"),
        ("[1, 2]", "json of another kind"),
        ('{"cells": [{"centroid": [1, 2]}]}', "cell 0: no contour"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=reason):
            load_mask(path, frame=FRAME)
    write(path, [feature([square(1, 1)], "Zebra")])
    with pytest.raises(DataError, match="class 'Zebra'; expected one of"):
        load_mask(path, frame=FRAME)
    named = load_mask(path, frame=FRAME, table={"zebra": "dead"})
    assert named.classes.max() == CLASSES.index("dead")
    for frame in (None, (0, 0, 0, 5), (0, 0, 60_000, 60_000)):
        with pytest.raises(ConfigError, match="Outlines have no size of their own"):
            load_mask(path, frame=frame)


def test_no_features_are_an_empty_mask(tmp_path):
    assert load_mask(write(tmp_path / "a.geojson", []), frame=FRAME).num_nuclei == 0
