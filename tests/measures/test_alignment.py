"""Alignment against torch's cosine similarity."""

import numpy as np
import pytest
import torch

from crafts.core.errors import DataError
from crafts.evaluation import image_alignment, prompt_alignment
from crafts.measures.alignment import image_alignments, prompt_agreement, prompt_alignments


@pytest.mark.parametrize("alignment", [prompt_alignment, image_alignment])
def test_is_the_mean_cosine_in_percent(alignment):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((20, 8)), rng.standard_normal((20, 8)) + 0.5
    expected = 100 * torch.cosine_similarity(torch.tensor(first), torch.tensor(second)).mean()
    assert alignment(first, second) == pytest.approx(float(expected), rel=1e-12)
    assert alignment(first, 3 * first) == pytest.approx(100)
    assert alignment(first[:1], -first[:1]) == pytest.approx(-100)


@pytest.mark.parametrize("alignments", [prompt_alignments, image_alignments])
def test_each_row_has_its_own_cosine(alignments):
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((20, 8)), rng.standard_normal((20, 8))
    expected = 100 * torch.cosine_similarity(torch.tensor(first), torch.tensor(second))
    np.testing.assert_allclose(alignments(first, second), expected.numpy(), rtol=1e-12)


def naive_agreement(images, texts, prompts):
    right = 0
    for i, image in enumerate(images):

        def cosine(j, image=image):
            return image @ texts[j] / np.linalg.norm(image) / np.linalg.norm(texts[j])

        others = [cosine(j) for j in range(len(prompts)) if prompts[j] != prompts[i]]
        right += cosine(i) > max(others)
    return 100 * right / len(images)


def test_agreement_counts_images_nearest_to_their_own_prompt():
    rng = np.random.default_rng(2)
    kinds = rng.standard_normal((5, 8))
    own = rng.integers(0, 5, 60)
    images = kinds[own] + 1.2 * rng.standard_normal((60, 8))
    prompts = [f"kind {k}" for k in own]
    found = prompt_agreement(images, kinds[own], prompts)
    assert found == pytest.approx(naive_agreement(images, kinds[own], prompts))
    assert 20 < found < 100
    assert prompt_agreement(kinds[own], kinds[own], prompts) == 100


def test_prompts_with_equal_features_never_agree():
    images = np.random.default_rng(0).standard_normal((6, 4))
    assert prompt_agreement(images, np.ones((6, 4)), list("aabbcc")) == 0


@pytest.mark.parametrize(
    ("prompts", "message"),
    [(["a", "b"], "2 prompts, 2 of them distinct"), (["a"] * 3, "3 prompts, 1 of them distinct")],
)
def test_agreement_needs_a_prompt_for_each_row_and_a_choice(prompts, message):
    with pytest.raises(DataError, match=message):
        prompt_agreement(np.eye(3), np.eye(3), prompts)


@pytest.mark.parametrize("alignment", [prompt_alignment, image_alignment])
def test_refuses_what_is_not_paired(alignment):
    with pytest.raises(
        DataError, match=r"shapes \[2, 3\] and \[3, 3\]; expected pairs, row for row"
    ):
        alignment(np.ones((2, 3)), np.ones((3, 3)))


def test_refuses_rows_without_direction():
    with pytest.raises(DataError, match="features: texts: row 1 is all zero"):
        prompt_alignment(np.ones((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]]))
