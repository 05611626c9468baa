"""Separation against a loop over the definition of the silhouette."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import separation
from crafts.measures.separation import (
    separation_by_class,
    shuffled_separation,
    silhouettes,
    stratified_rows,
)


def clusters(spread, num=12):
    rng = np.random.default_rng(0)
    centres = np.eye(3, 6) * 5
    labels = np.repeat([0, 1, 2], num)
    return centres[labels] + spread * rng.standard_normal((len(labels), 6)), labels.tolist()


def naive_silhouette(points, labels):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    distance, labels = 1 - unit @ unit.T, np.asarray(labels)
    values = []
    for i, own in enumerate(labels):
        same = (labels == own) & (np.arange(len(labels)) != i)
        a = distance[i, same].mean()
        b = min(distance[i, labels == other].mean() for other in set(labels.tolist()) - {own})
        values.append((b - a) / max(a, b))
    return 100 * np.mean(values)


@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_matches_the_definition(spread):
    points, labels = clusters(spread)
    assert separation(points, labels) == pytest.approx(naive_silhouette(points, labels), abs=1e-6)


def test_on_a_map_is_repeatable_and_separates_clusters():
    points, labels = clusters(0.2)
    names = [f"class {k}" for k in labels]
    value = separation(points, names, on="tsne", seed=3)
    assert value == separation(points, names, on="tsne", seed=3)
    assert value > 50


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"shape \[2\]; expected \[4\], one a row"),
        ([0, 0, 0, 0], "1 classes in 4 rows"),
        ([0, 1, 2, 3], "4 classes in 4 rows"),
    ],
)
def test_refuses_labels_without_a_silhouette(labels, message):
    with pytest.raises(DataError, match=message):
        separation(np.eye(4), labels)


def test_refuses_an_unknown_map():
    with pytest.raises(ConfigError, match="'umap'; expected embedding or tsne"):
        separation(np.eye(4), [0, 0, 1, 1], on="umap")


@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_each_row_matches_sklearn(spread):
    points, labels = clusters(spread)
    points, labels = np.vstack([points, np.ones((1, 6))]), [*labels, 9]  # and a class of one row
    expected = 100 * silhouette_samples(points, labels, metric="cosine")
    np.testing.assert_allclose(silhouettes(points, labels), expected, atol=1e-9)


def test_constant_features_have_no_silhouette():
    assert separation(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]) == 0


def test_a_floor_is_that_of_shuffled_labels():
    points, labels = clusters(0.1)
    found = separation_by_class(points, labels)
    assert found.overall == separation(points, labels)
    assert set(found.per_class) == {"0", "1", "2"}
    assert np.mean(list(found.per_class.values())) == pytest.approx(found.overall)
    assert found.floor == pytest.approx(shuffled_separation(points, labels))
    assert found.floor < 5 < 90 < found.overall
    assert (found.num_rows, found.of_rows) == (36, 36)


def test_a_map_is_drawn_of_a_stratified_subset_and_says_so():
    points, labels = clusters(0.2, num=30)
    found = separation_by_class(points, labels, on="tsne", max_rows=30, seed=1)
    assert (found.num_rows, found.of_rows) == (30, 90)
    assert found == separation_by_class(points, labels, on="tsne", max_rows=30, seed=1)


def test_strata_keep_their_proportions():
    labels = np.array(["a"] * 800 + ["b"] * 198 + ["c"] * 2)
    rows = stratified_rows(labels, 100, seed=2)
    names, number = np.unique(labels[rows], return_counts=True)
    assert dict(zip(names, number, strict=True)) == {"a": 80, "b": 20, "c": 2}
    assert (np.diff(rows) > 0).all()
    assert (rows == stratified_rows(labels, 100, seed=2)).all()
    assert (rows != stratified_rows(labels, 100, seed=3)).any()
    assert (stratified_rows(labels, 5000) == np.arange(1000)).all()


def test_refuses_values_that_are_not_finite():
    with pytest.raises(DataError, match="1 rows that are not finite"):
        separation(np.array([[1.0, 0], [0, 1], [np.nan, 1]]), [0, 0, 1])
