from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from crafts.core.errors import ConfigError
from crafts.losses.contrastive import contrastive_loss, language_loss

SCALE = torch.tensor(math.log(10.0))


def test_without_groups_it_is_the_loss_of_clip() -> None:
    images, texts = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    logits = 10 * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    labels = torch.arange(6)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, SCALE), expected)


def test_groups_agree_with_a_loop_in_float64() -> None:
    images, texts = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    groups = [7, 3, 7, 7, 1]
    total = 0.0
    for first, second in ((images, texts), (texts, images)):
        for i in range(5):
            a = first[i].double()
            row = [10 * float(a @ s.double() / (a.norm() * s.double().norm())) for s in second]
            log_sum = math.log(sum(math.exp(value) for value in row))
            mates = [j for j in range(5) if groups[j] == groups[i]]
            total -= sum(row[j] - log_sum for j in mates) / len(mates)
    loss = contrastive_loss(images, texts, SCALE, groups=torch.tensor(groups))
    assert loss.item() == pytest.approx(total / 10, rel=1e-5)


def test_a_repeated_caption_is_no_negative() -> None:
    """Perfect features of two captions, three times each: the loss reaches its lower bound."""
    features = torch.eye(2).repeat(3, 1)
    scale = torch.tensor(math.log(100.0))
    groups = torch.tensor([0, 1] * 3)
    assert contrastive_loss(features, features, scale, groups=groups).item() == pytest.approx(
        math.log(3), abs=1e-4
    )


def test_the_logit_scale_is_bounded() -> None:
    features = torch.eye(3)
    at_limit = contrastive_loss(features, features, torch.tensor(math.log(100.0)))
    assert contrastive_loss(features, features, torch.tensor(20.0)).item() == at_limit.item()


def test_contrastive_loss_refuses_other_shapes() -> None:
    with pytest.raises(ConfigError, match=r"groups \(2,\)"):
        contrastive_loss(torch.eye(3), torch.eye(3), SCALE, groups=torch.zeros(2))


def test_language_loss_counts_up_to_the_first_end_token() -> None:
    eos, vocabulary = 4, 5
    tokens = torch.tensor([[3, 0, 1, 4, 4, 4], [3, 2, 2, 1, 0, 4]])
    logits = torch.randn(2, 6, vocabulary, generator=torch.Generator().manual_seed(0))
    terms = []
    for row, length in ((0, 4), (1, 6)):
        for t in range(length - 1):
            terms.append(-F.log_softmax(logits[row, t], 0)[tokens[row, t + 1]])
    loss = language_loss(logits, tokens, eos_token_id=eos)
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_language_loss_refuses_other_shapes() -> None:
    with pytest.raises(ConfigError, match="language_loss"):
        language_loss(torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.long), eos_token_id=2)
