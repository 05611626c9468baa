"""Our own two measures against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.experiments.judging.measures import _turned, likeness, relation_agreement


def unit(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    values = rng.normal(size=(rows, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_relation_agreement_is_the_correlation_over_pairs():
    rng = np.random.default_rng(0)
    images, texts = unit(rng, 12, 5), unit(rng, 12, 7)
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    one, two = ([rows[i] @ rows[j] for i, j in pairs] for rows in (images, texts))
    assert relation_agreement(images, texts) == pytest.approx(100 * np.corrcoef(one, two)[0, 1])
    assert relation_agreement(images, images) == pytest.approx(100)
    assert relation_agreement(images, np.ones((12, 1))) == 0.0


def test_likeness_looks_at_pairs_of_different_classes():
    rng = np.random.default_rng(1)
    rows, labels = unit(rng, 6, 4), list("aabbcc")
    pairs = [rows[i] @ rows[j] for i in range(6) for j in range(6) if labels[i] != labels[j]]
    assert likeness(rows, labels) == pytest.approx(100 * np.mean(pairs))


@pytest.mark.parametrize("labels", ["abcabcabc", "aaabbc", "ab", "aab", "aaaa"])
def test_shuffled_prompts_are_each_used_once_and_of_another_class(labels):
    turned = _turned(list(labels))
    assert sorted(turned) == list(range(len(labels)))
    most = max(labels.count(name) for name in labels)
    wrong = sum(labels[i] != labels[j] for i, j in enumerate(turned))
    assert wrong >= (len(labels) if 2 * most <= len(labels) else 2 * (len(labels) - most))
