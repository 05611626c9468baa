"""Relation matrices, pooling, weights by noise, and what is measured of pairs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from crafts.core.errors import ConfigError
from crafts.losses.relations import (
    different_prompts,
    effective_pairs,
    likeness,
    noise_pair_weights,
    noise_weights,
    pool_latents,
    relation_matrix,
    weight_spread,
)
from reference.relations import effective_pairs_loop, likeness_loop, relation_matrix_loop

FEATURES = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-50, 50).map(lambda n: n / 8))
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def without_a_chance_of_rounding(features: np.ndarray, centre: bool) -> bool:
    """Whether no centred row is so near to zero that rounding would give it a direction."""
    length = np.linalg.norm(features - features.mean(0) * centre, axis=1)
    return bool(((length == 0) | (length > 1e-3)).all())


@given(features=FEATURES, centre=st.booleans())
@settings(max_examples=120)
def test_agrees_with_the_naive_loop(features: np.ndarray, centre: bool) -> None:
    if not without_a_chance_of_rounding(features, centre):
        features = np.round(features * 8)  # the mean of equal rows of integers is exact
        features = features if without_a_chance_of_rounding(features, centre) else features[:1]
    expected = torch.tensor(relation_matrix_loop(features.tolist(), centre), dtype=torch.float64)
    found = relation_matrix(torch.from_numpy(features), centre=centre)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    single = relation_matrix(torch.from_numpy(features).float(), centre=centre)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-4 if centre else 1e-6)


def test_centred_is_the_correlation_of_deviations_from_the_batch_mean() -> None:
    """With rows of mean zero as well, the centred cosine is Pearson's correlation of numpy."""
    features = random(6, 40).numpy()
    rows = features - features.mean(1, keepdims=True)
    rows -= rows.mean(0)
    expected = np.corrcoef(rows)
    found = relation_matrix(torch.from_numpy(rows + 7.0), centre=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_a_common_offset_drowns_raw_relations_and_leaves_centred_ones() -> None:
    features, offset = random(5, 20), 30.0
    raw = relation_matrix(features + offset)
    assert float(raw.min()) > 0.98
    torch.testing.assert_close(
        relation_matrix(features + offset, centre=True), relation_matrix(features, centre=True)
    )


@pytest.mark.parametrize("centre", [False, True])
def test_follows_a_permutation_of_the_batch(centre: bool) -> None:
    features, order = random(7, 4), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(
        relation_matrix(features[order], centre=centre),
        relation_matrix(features, centre=centre)[order][:, order],
    )


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_without_a_direction_have_no_relation_and_finite_gradients(
    centre: bool, dtype: torch.dtype
) -> None:
    """Three equal rows differ from their mean by rounding alone, which must not become a sign."""
    same = torch.full((3, 50), 0.1, dtype=dtype) * torch.linspace(-1, 3, 50, dtype=dtype)
    features = (same if centre else torch.zeros(3, 50, dtype=dtype)).requires_grad_()
    relations = relation_matrix(features, centre=centre)
    assert relations.tolist() == [[0.0] * 3] * 3
    (gradient,) = torch.autograd.grad(relations.square().sum() + relations.sum(), features)
    assert gradient.abs().max() == 0


def test_one_sample_alone_centred_is_silent() -> None:
    assert relation_matrix(random(1, 4), centre=True).tolist() == [[0.0]]


def test_memory_adds_columns_and_gets_no_gradient() -> None:
    features, memory = random(3, 5).requires_grad_(), random(4, 5, seed=1).requires_grad_()
    for centre in (False, True):
        found = relation_matrix(features, centre=centre, memory=memory)
        whole = relation_matrix(torch.cat([features, memory]), centre=centre)
        torch.testing.assert_close(found, whole[:3])
        own, past = torch.autograd.grad(found.sum(), [features, memory], allow_unused=True)
        assert own.abs().max() > 0 and past is None


def test_autocast_does_not_lower_the_precision() -> None:
    features = random(4, 300, dtype=torch.float32) + 3
    plain = relation_matrix(features, centre=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = relation_matrix(features, centre=True)
        assert (features @ features.T).dtype == torch.bfloat16  # the region does lower others
    assert inside.dtype == torch.float32 and torch.equal(inside, plain)
    assert relation_matrix(features.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("features", "memory", "words"),
    [
        (torch.zeros(2, 3, 4), None, r"features \(2, 3, 4\); expected"),
        (torch.zeros(2, 3), torch.zeros(2, 4), r"memory \(2, 4\)"),
    ],
)
def test_relation_matrix_refuses_other_shapes(features, memory, words) -> None:
    with pytest.raises(ConfigError, match=words):
        relation_matrix(features, memory=memory)


def test_pools_are_what_they_say() -> None:
    x0 = random(2, 3, 4, 8)
    assert torch.equal(pool_latents(x0, "flatten"), x0.reshape(2, -1))
    values = x0.numpy()
    moments = np.concatenate([values.mean((2, 3)), values.std((2, 3))], axis=1)
    np.testing.assert_allclose(pool_latents(x0, "moments").numpy(), moments, atol=1e-12)
    expected = F.avg_pool2d(x0, (2, 4)).flatten(1)
    torch.testing.assert_close(pool_latents(x0, "grid", grid=2), expected)
    assert pool_latents(x0.bfloat16(), "grid", grid=1).dtype == torch.float32


def test_flat_latents_have_finite_gradients_of_their_spread() -> None:
    x0 = torch.ones(2, 3, 4, 4, requires_grad=True)
    pool_latents(x0, "moments").sum().backward()
    assert torch.isfinite(x0.grad).all()


@pytest.mark.parametrize(
    ("shape", "kind", "grid", "words"),
    [
        ((2, 3, 4, 4), "midblock", 4, "'midblock' of .*flatten, moments, grid"),
        ((2, 3, 4), "flatten", 4, r"\(2, 3, 4\)"),
        ((2, 3, 4, 6), "grid", 4, "4 x 4 cells of 4 x 6 places"),
        ((2, 3, 4, 4), "grid", 0, "0 x 0 cells"),
    ],
)
def test_pool_refuses(shape: tuple[int, ...], kind: str, grid: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pool_latents(torch.zeros(shape), kind, grid=grid)


def test_weights_by_noise() -> None:
    alphas = torch.tensor([1.0, 0.64, 0.25, 0.0])
    t = torch.tensor([0, 1, 2, 3, 1])
    by_alpha = noise_weights(t, alphas, "alpha")
    torch.testing.assert_close(by_alpha, torch.tensor([1.0, 0.8, 0.5, 0.0, 0.8]))
    assert noise_weights(t, alphas, "cap", max_timestep=1).tolist() == [1, 1, 0, 0, 1]
    assert noise_weights(t, alphas, "none").tolist() == [1.0] * 5
    pairs = noise_pair_weights(by_alpha, memory=torch.tensor([0.1]))
    assert pairs.shape == (5, 6)
    for i, a in enumerate([1.0, 0.8, 0.5, 0.0, 0.8]):
        for j, b in enumerate([1.0, 0.8, 0.5, 0.0, 0.8, 0.1]):
            assert pairs[i, j].item() == pytest.approx(a * b, abs=1e-7)
    with pytest.raises(ConfigError, match=r"'snr'; expected one of none, alpha, cap"):
        noise_weights(t, alphas, "snr")


@given(
    weights=arrays(
        np.float64, st.tuples(st.integers(1, 5), st.integers(5, 8)), elements=st.floats(0, 2)
    )
)
@settings(max_examples=50)
def test_effective_pairs_agree_with_the_naive_loop(weights: np.ndarray) -> None:
    weights = np.where(weights < 1e-6, 0, weights)
    found = effective_pairs(torch.from_numpy(weights)).item()
    assert found == pytest.approx(effective_pairs_loop(weights.tolist()), rel=1e-9)


def test_effective_pairs_of_a_full_batch_and_of_one_pair() -> None:
    assert effective_pairs(torch.ones(32, 32)).item() == pytest.approx(496)
    one = torch.zeros(6, 6)
    one[1, 4] = one[4, 1] = 0.3
    assert effective_pairs(one).item() == pytest.approx(1)
    assert effective_pairs(torch.zeros(6, 6)).item() == 0


def test_weight_spread_is_relative_and_passes_over_pairs_that_do_not_count() -> None:
    assert weight_spread(torch.full((4, 4), 0.6)).item() == pytest.approx(0, abs=1e-6)
    weights = torch.tensor([[9.0, 1.0, 3.0], [1.0, 9.0, 0.0], [3.0, 0.0, 9.0]])
    assert weight_spread(weights).item() == pytest.approx(0.5)
    assert weight_spread(torch.zeros(3, 3)).item() == 0


@given(
    features=arrays(np.float64, (5, 4), elements=st.floats(-5, 5)),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_likeness_agrees_with_the_naive_loop(features: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, weights = rng.normal(size=(5, 4)), rng.uniform(size=(5, 5))
    weights = (weights + weights.T) / 2
    prompts = np.array([0, 1, 1, 2, 3])
    different = prompts[:, None] != prompts[None, :]
    found = likeness(
        torch.from_numpy(features), torch.from_numpy(reference), torch.from_numpy(different),
        pair_weights=torch.from_numpy(weights),
    ).item()  # fmt: skip
    expected = likeness_loop(
        features.tolist(), reference.tolist(), different.tolist(), weights.tolist()
    )
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_likeness_sees_every_collapse_and_a_centred_cosine_sees_none() -> None:
    real, other = random(8, 30) + 4, ~torch.eye(8, dtype=torch.bool)
    assert likeness(real, real, other).item() == pytest.approx(0, abs=1e-12)
    assert likeness(real + 100, real, other).item() == pytest.approx(0, abs=1e-9)
    for picture in (torch.full((30,), 9.0), real.mean(0)):  # any one image, the mean among them
        almost = picture + 0.01 * random(8, 30, seed=1)
        assert likeness(almost.double(), real, other).item() > 0.999
        cosines = relation_matrix(almost.double(), centre=True)[other].mean()
        assert cosines.item() == pytest.approx(-1 / 7, abs=0.02)
    shrunk = real.mean(0) + 0.5 * (real - real.mean(0))
    assert likeness(shrunk, real, other).item() == pytest.approx(0.75)


def test_likeness_without_a_pair_says_so() -> None:
    real = random(3, 4)
    assert torch.isnan(likeness(real, real, torch.zeros(3, 3, dtype=torch.bool)))


def test_likeness_refuses_other_shapes() -> None:
    with pytest.raises(ConfigError, match=r"likeness: shapes: \(3, 4\), \(2, 4\)"):
        likeness(random(3, 4), random(2, 4), torch.ones(3, 3))


def test_prompts_differ_beyond_rounding() -> None:
    texts = random(3, 64, dtype=torch.float32)
    again = torch.cat([texts, texts[:1] * (1 + 1e-6)])
    expected = ~torch.eye(4, dtype=torch.bool)
    expected[0, 3] = expected[3, 0] = False
    assert torch.equal(different_prompts(again), expected)


def test_the_package_exports_the_four_functions_without_torch() -> None:
    code = (
        "import sys, crafts, crafts.losses\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "from crafts.losses import relation_matrix, semantic_consistency_loss\n"
        "from crafts.losses import category_guidance_loss, category_weights\n"
        "assert not set(crafts.losses.__all__) - set(dir(crafts.losses))\n"
        "try:\n    crafts.losses.nothing\nexcept AttributeError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "module 'crafts.losses' has no attribute 'nothing'"
