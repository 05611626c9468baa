"""Separation against a loop over the definition of the silhouette."""

import numpy as np
import pytest

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import separation


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
