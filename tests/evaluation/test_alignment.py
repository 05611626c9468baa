"""Alignment against torch's cosine similarity."""

import numpy as np
import pytest
import torch

from crafts.core.errors import DataError
from crafts.evaluation import image_alignment, prompt_alignment


@pytest.mark.parametrize("alignment", [prompt_alignment, image_alignment])
def test_is_the_mean_cosine_in_percent(alignment):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((20, 8)), rng.standard_normal((20, 8)) + 0.5
    expected = 100 * torch.cosine_similarity(torch.tensor(first), torch.tensor(second)).mean()
    assert alignment(first, second) == pytest.approx(float(expected), rel=1e-12)
    assert alignment(first, 3 * first) == pytest.approx(100)
    assert alignment(first[:1], -first[:1]) == pytest.approx(-100)


@pytest.mark.parametrize("alignment", [prompt_alignment, image_alignment])
def test_refuses_what_is_not_paired(alignment):
    with pytest.raises(
        DataError, match=r"shapes \[2, 3\] and \[3, 3\]; expected pairs, row for row"
    ):
        alignment(np.ones((2, 3)), np.ones((3, 3)))


def test_refuses_rows_without_direction():
    with pytest.raises(DataError, match="features: texts: row 1 is all zero"):
        prompt_alignment(np.ones((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]]))
