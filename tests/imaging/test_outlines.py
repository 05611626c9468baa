"""One reader of GeoJSON: forms, classes, crossings against a slow test, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.imaging.outlines import check_polygons, class_lineage, crosses_itself, read_features

SQUARE = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def side(p, q, r):
    (px, py), (qx, qy), (rx, ry) = p, q, r
    return np.sign((qx - px) * (ry - py) - (qy - py) * (rx - px))


def crosses_slowly(ring):
    edges = list(zip(ring, ring[1:] + ring[:1], strict=True))
    return any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in itertools.combinations(edges, 2)
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=9))
def test_crossings_are_those_of_all_pairs_of_edges(ring):
    assert crosses_itself(np.array(ring, float)) == crosses_slowly(ring)


def test_touching_corners_are_no_crossing_and_long_rings_are_quick():
    eight = [[0, 0], [4, 4], [8, 0], [8, 8], [4, 4], [0, 8]]
    assert not crosses_itself(np.array(eight, float))
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 100
    assert not crosses_itself(ring)
    ring[[0, 1000]] = ring[[1000, 0]]
    assert crosses_itself(ring)


@pytest.mark.parametrize(
    ("classification", "name", "lineage"),
    [
        ({"name": "Tumor"}, "Tumor", ("Tumor",)),
        ({"name": "Tumor: Positive"}, "Tumor: Positive", ("Tumor: Positive", "Tumor")),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive", ("Tumor: Positive", "Tumor")),
        ("a:b: c", "a:b: c", ("a:b: c", "a:b", "a")),
        (None, "", ("",)),
    ],
)
def test_classes_and_what_they_are_derived_from(classification, name, lineage):
    (found,) = read_features(feature(polygon(SQUARE), classification=classification))
    assert found.name == name and class_lineage(name) == lineage


def test_forms_of_geometry_and_of_measurements():
    both = {"type": "GeometryCollection", "geometries": [polygon(SQUARE), {"type": "Point"}]}
    old = [{"name": "Area", "value": 3.5}]
    rows = [
        feature(both, objectType="cell", measurements=old) | {"nucleusGeometry": polygon(SQUARE)},
        feature({"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE]]}),
        feature(polygon()),
        feature(None),
        polygon(SQUARE),
    ]
    for content in (rows, {"type": "FeatureCollection", "features": rows}):
        found = read_features(content)
        assert [len(one.polygons) for one in found] == [1, 2, 0, 0, 1]
        assert [list(one.without_area) for one in found] == [
            ["Point"], [], ["empty Polygon"], ["no geometry"], []
        ]  # fmt: skip
        assert found[0].nucleus == [[SQUARE]] and found[0].kind == "cell"
        assert found[0].measurements == {"Area": 3.5} and found[1].measurements == {}
    (rings,) = check_polygons([[[[0, 0, 7], [8, 0, 7], [8, 8, 7]]]])
    assert rings == (((0.0, 0.0), (8.0, 0.0), (8.0, 8.0)),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"features": 3}, "no list"),
        ([1], "no object"),
        ({"a": 1}, "without a type"),
        (feature([1]), "without a type"),
        ([{"geometry": None, "properties": [1]}], "properties"),
        (feature(None, measurements=[{"name": "a"}]), "measurements"),
        (feature(None, measurements=3), "measurements"),
    ],
)
def test_what_is_no_geojson_is_refused_with_the_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        read_features(content)


@pytest.mark.parametrize(
    ("polygons", "reason"),
    [
        ([[[[0, 0], [1, 1]]]], "fewer than 3"),
        ([[]], "fewer than 3"),
        ([[[[0], [1], [2]]]], "pairs of numbers"),
        ([None], "pairs of numbers"),
        ([[[[0, 0], ["a", 0], [1, 1]]]], "pairs of numbers"),
        ([[[[0, 0], [10**400, 0], [1, 1]]]], "pairs of numbers"),
        ([[[[0, 0], [float("nan"), 0], [1, 1]]]], "no number"),
    ],
)
def test_polygons_that_are_no_areas_are_refused(polygons, reason):
    with pytest.raises(ValueError, match=reason):
        check_polygons(polygons)
