"""L_catg: weights, relations of categories, typicality, and who learns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import ConfigError
from crafts.losses import category_guidance_loss, category_weights, relation_matrix
from crafts.losses.category import category_relations, class_features, typicality
from reference.relations import (
    category_weights_loop,
    cosine,
    divergence_loop,
    relation_matrix_loop,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(
    values=st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=1, max_size=7),
    temperature=st.sampled_from([None, 0.05, 1.0, 3.0]),
    centre=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_weights_agree_with_the_naive_double_loop(values, temperature, centre, seed) -> None:
    known = torch.rand(len(values), generator=torch.Generator().manual_seed(seed)) < 0.8
    found = category_weights(
        torch.tensor(values, dtype=torch.float64),
        temperature=temperature, centre=centre, known=known,
    )  # fmt: skip
    expected = category_weights_loop(values, temperature, centre, known.tolist())
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_literal_weights_are_the_sigmoid_of_the_sum_and_nearly_flat() -> None:
    weights = category_weights(torch.tensor([0.15, 0.35]))
    assert weights[0, 0].item() == pytest.approx(1 / (1 + math.exp(-0.30)))
    assert weights[0, 1].item() == pytest.approx(1 / (1 + math.exp(-0.50)))
    assert weights[1, 1].item() - weights[0, 0].item() == pytest.approx(0.094, abs=1e-3)


def test_centred_weights_spread_however_close_the_cosines_lie() -> None:
    s = torch.tensor([0.15, 0.20, 0.30, 0.35], dtype=torch.float64)
    near = category_weights(0.8 + s / 100, centre=True)
    torch.testing.assert_close(near, category_weights(s, centre=True))
    assert near.max() - near.min() > 0.5
    assert category_weights(torch.full((3,), 0.3), centre=True).tolist() == [[0.5] * 3] * 3


def test_pairs_of_unknown_category_weigh_nothing() -> None:
    known = torch.tensor([True, False, True])
    weights = category_weights(torch.tensor([0.2, 9.0, 0.4]), centre=True, known=known)
    assert weights[1].tolist() == weights[:, 1].tolist() == [0, 0, 0]
    alone = category_weights(torch.tensor([0.2, 0.4]), centre=True)
    torch.testing.assert_close(weights[known][:, known], alone)  # 9.0 did not move the mean
    assert category_weights(torch.zeros(2), centre=True, known=torch.zeros(2).bool()).sum() == 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_weights_refuse_a_temperature_that_is_not_positive(temperature: float) -> None:
    with pytest.raises(ConfigError, match="category: temperature.*positive number or null"):
        category_weights(torch.zeros(2), temperature=temperature)


def test_class_features_are_the_mean_direction_of_the_prompts() -> None:
    prompts, classes = random(5, 3), torch.tensor([1, 0, 1, 1, 0])
    found = class_features(prompts, classes, 2)
    for number in range(2):
        total = [0.0] * 3
        for prompt, label in zip(prompts.tolist(), classes.tolist(), strict=True):
            if label == number:
                length = math.sqrt(sum(x * x for x in prompt))
                total = [a + x / length for a, x in zip(total, prompt, strict=True)]
        length = math.sqrt(sum(x * x for x in total))
        assert found[number].tolist() == pytest.approx([x / length for x in total])


@pytest.mark.parametrize(
    ("classes", "count", "words"),
    [([0, 0], 2, r"amiss: \[1\]"), ([0, 2], 2, r"amiss: \[1, 2\]"), ([0], 1, r"\(1,\) classes")],
)
def test_class_features_refuse_a_class_without_prompt(classes, count, words) -> None:
    with pytest.raises(ConfigError, match=words):
        class_features(torch.eye(2), torch.tensor(classes), count)


@pytest.mark.parametrize("centre", [False, True])
def test_relations_by_embedding_are_those_of_the_samples_categories(centre: bool) -> None:
    embeddings, labels = random(3, 4), torch.tensor([2, -1, 0, 2, 1])
    found = category_relations(labels, embeddings, centre=centre)
    known = [0, 2, 3, 4]
    expected = relation_matrix_loop(embeddings[labels[known]].tolist(), centre)
    torch.testing.assert_close(
        found[known][:, known], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0
    )
    assert found[1].abs().sum() == found[:, 1].abs().sum() == 0


def test_relations_by_identity() -> None:
    found = category_relations(torch.tensor([2, -1, 0, 2, -1]), kind="identity")
    assert found.tolist() == [
        [1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"), [("profile", "'profile'"), ("embedding", "without class features")]
)
def test_relations_refuse(kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"category: relations.*{words}"):
        category_relations(torch.tensor([0]), kind=kind)


def test_typicality_is_the_cosine_to_the_own_category() -> None:
    texts, embeddings, labels = random(4, 3), random(2, 3, seed=1), torch.tensor([1, 0, -1, 1])
    found = typicality(texts, embeddings, labels).tolist()
    for text, label, value in zip(texts.tolist(), labels.tolist(), found, strict=True):
        expected = cosine(text, embeddings[label].tolist()) if label >= 0 else 0.0
        assert value == pytest.approx(expected)


@given(number=st.integers(2, 8), centre=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_the_loss_agrees_with_the_naive_double_loop(number, centre, seed) -> None:
    images, embeddings = random(number, 24, seed=seed), random(3, 5, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (number,), generator=generator)
    s = torch.rand(number, generator=generator, dtype=torch.float64)
    noise = torch.rand(number, number, generator=generator, dtype=torch.float64)
    expected = divergence_loop(
        relation_matrix_loop(images.tolist(), centre),
        relation_matrix_loop(embeddings[labels].tolist(), centre),
        category_weights_loop(s.tolist(), None, centre, [True] * number),
        noise.tolist(),
    )
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        loss = category_guidance_loss(
            relation_matrix(images.to(dtype), centre=centre),
            category_relations(labels, embeddings.to(dtype), centre=centre),
            category_weights(s.to(dtype), centre=centre),
            pair_weights=noise.to(dtype),
        )
        if centre and len(set(labels.tolist())) == 1:
            continue  # no category differs from the mean: float32 and the loop round differently
        assert loss.item() == pytest.approx(expected, abs=tolerance)


def test_is_zero_where_the_relations_agree_and_keeps_its_value_under_permutation() -> None:
    labels, embeddings = torch.tensor([0, 2, 1, 1, 0]), random(3, 6)
    categories = category_relations(labels, embeddings)
    weights = category_weights(random(5, seed=1))
    assert category_guidance_loss(categories, categories, weights).item() == 0
    images, order = relation_matrix(random(5, 9, seed=2)), torch.tensor([4, 1, 0, 3, 2])
    one = category_guidance_loss(images, categories, weights).item()
    other = category_guidance_loss(
        *(matrix[order][:, order] for matrix in (images, categories, weights))
    ).item()
    assert one > 0 and one == pytest.approx(other, rel=1e-12)


def test_the_gradient_reaches_images_and_nothing_else() -> None:
    images, texts, embeddings = (random(n, 6, seed=n).requires_grad_() for n in (5, 5, 3))
    labels = torch.tensor([0, 2, -1, 1, 0])
    loss = category_guidance_loss(
        relation_matrix(images),
        category_relations(labels, embeddings),
        category_weights(typicality(texts, embeddings, labels), known=labels >= 0),
    )
    own, *others = torch.autograd.grad(loss, [images, texts, embeddings], allow_unused=True)
    assert others == [None, None]
    assert own[2].abs().max() == 0  # of unknown category
    assert own[[0, 1, 3, 4]].abs().amax(1).min() > 0


def test_no_part_of_the_target_has_a_gradient() -> None:
    """Each function by itself: a caller may leave one of them out."""
    s, texts, embeddings = (random(*shape).requires_grad_() for shape in ((4,), (4, 6), (3, 6)))
    labels = torch.tensor([0, 2, -1, 1])
    assert not category_weights(s, centre=True).requires_grad
    assert not class_features(embeddings, torch.arange(3), 3).requires_grad
    assert not category_relations(labels, embeddings).requires_grad
    assert not typicality(texts, embeddings, labels).requires_grad


def test_autocast_does_not_lower_the_precision() -> None:
    images, texts, embeddings = (random(n, 200, seed=n, dtype=torch.float32) + 1 for n in (6, 6, 3))
    labels = torch.tensor([0, 1, 2, 0, 1, -1])

    def loss() -> torch.Tensor:
        features = class_features(embeddings, torch.arange(3), 3)
        return category_guidance_loss(
            relation_matrix(images, centre=True),
            category_relations(labels, features, centre=True),
            category_weights(typicality(texts, features, labels), centre=True, known=labels >= 0),
        )

    plain = loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss()
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)


def test_refuses_other_shapes() -> None:
    with pytest.raises(ConfigError, match=r"category_guidance_loss: shapes.*\(2, 3\)"):
        category_guidance_loss(torch.eye(2), torch.eye(2), torch.zeros(2, 3))
