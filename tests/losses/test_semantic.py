"""L_semc: zero where relations agree, blind to the order of the batch, one way for the gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import ConfigError
from crafts.losses import relation_matrix, semantic_consistency_loss
from reference.relations import divergence_loop, relation_matrix_loop


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(
    number=st.integers(2, 9),
    centre=st.booleans(),
    weighted=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_agrees_with_the_naive_double_loop(number, centre, weighted, dtype, seed) -> None:
    images, texts = random(number, 24, seed=seed), random(number, 7, seed=seed + 100) + 1
    weights = torch.rand(number, number, generator=torch.Generator().manual_seed(seed)).double()
    loss = semantic_consistency_loss(
        relation_matrix(images.to(dtype), centre=centre),
        relation_matrix(texts.to(dtype), centre=centre),
        pair_weights=weights.to(dtype) if weighted else None,
    )
    expected = divergence_loop(
        relation_matrix_loop(images.tolist(), centre),
        relation_matrix_loop(texts.tolist(), centre),
        *([weights.tolist()] if weighted else []),
    )
    assert loss.dtype == dtype and loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-6 if dtype == torch.float32 else 1e-12)


def test_is_zero_where_the_relations_agree() -> None:
    texts = random(6, 8)
    turned = 3 * texts @ torch.linalg.qr(random(8, 8, seed=1)).Q  # other features, same relations
    for centre in (False, True):
        loss = semantic_consistency_loss(
            relation_matrix(turned, centre=centre), relation_matrix(texts, centre=centre)
        )
        assert loss.item() < 1e-28


def test_the_literal_sum_counts_the_diagonal_among_the_pairs() -> None:
    """Two orthogonal images under one text: two of four entries are 1 off."""
    images, texts = torch.eye(2), torch.ones(2, 3)
    loss = semantic_consistency_loss(relation_matrix(images), relation_matrix(texts))
    assert loss.item() == pytest.approx(0.5)


@pytest.mark.parametrize("centre", [False, True])
def test_keeps_its_value_under_permutation(centre: bool) -> None:
    images, texts, weights = random(7, 5), random(7, 4, seed=1), random(7, 7, seed=2).abs()
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    one, other = (
        semantic_consistency_loss(
            relation_matrix(images[rows], centre=centre),
            relation_matrix(texts[rows], centre=centre),
            pair_weights=weights[rows][:, rows],
        ).item()
        for rows in (torch.arange(7), order)
    )
    assert one == pytest.approx(other, rel=1e-12)


def test_the_gradient_reaches_images_and_nothing_else() -> None:
    images, texts, weights = (
        random(5, n, seed=n).requires_grad_() for n in (6, 4, 5)
    )  # fmt: skip
    loss = semantic_consistency_loss(
        relation_matrix(images), relation_matrix(texts), pair_weights=weights.square()
    )
    found = torch.autograd.grad(loss, [images, texts, weights], allow_unused=True)
    assert found[0].abs().max() > 0 and found[1:] == (None, None)


def test_the_gradient_is_that_of_finite_differences() -> None:
    images, texts = random(4, 3).requires_grad_(), relation_matrix(random(4, 5, seed=1))
    for centre in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, c=centre: semantic_consistency_loss(relation_matrix(x, centre=c), texts),
            images,
        )


def test_pairs_of_weight_zero_do_not_teach() -> None:
    images, texts = random(4, 6).requires_grad_(), random(4, 3, seed=1)
    weights = torch.ones(4, 4)
    weights[2] = weights[:, 2] = 0
    loss = semantic_consistency_loss(
        relation_matrix(images), relation_matrix(texts), pair_weights=weights
    )
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient[2].abs().max() == 0 and gradient[[0, 1, 3]].abs().amax(1).min() > 0


def test_past_samples_do_not_learn() -> None:
    images, past = random(3, 6).requires_grad_(), random(5, 6, seed=1).requires_grad_()
    loss = semantic_consistency_loss(
        relation_matrix(images, memory=past),
        relation_matrix(random(3, 4, seed=2), memory=random(5, 4, seed=3)),
    )
    own, theirs = torch.autograd.grad(loss, [images, past], allow_unused=True)
    assert own.abs().amax(1).min() > 0 and theirs is None


def test_autocast_does_not_lower_the_precision() -> None:
    images, texts = random(6, 200, dtype=torch.float32) + 2, random(6, 9, dtype=torch.float32)
    plain = semantic_consistency_loss(relation_matrix(images), relation_matrix(texts))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = semantic_consistency_loss(relation_matrix(images), relation_matrix(texts))
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)
    half = semantic_consistency_loss(
        relation_matrix(images).bfloat16(), relation_matrix(texts).bfloat16()
    )
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    ("relations", "texts", "weights"),
    [((2, 2), (3, 3), None), ((2, 2), (2, 2), (2, 3)), ((4,), (4,), None)],
)
def test_refuses_other_shapes(relations, texts, weights) -> None:
    with pytest.raises(ConfigError, match="semantic_consistency_loss: shapes: .*same samples"):
        semantic_consistency_loss(
            torch.zeros(relations),
            torch.zeros(texts),
            pair_weights=None if weights is None else torch.zeros(weights),
        )
