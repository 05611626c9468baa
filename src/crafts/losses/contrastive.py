"""Image-text contrast where equal captions are no negatives, and next-token prediction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crafts.core.errors import ConfigError


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    groups: Tensor | None = None,
) -> Tensor:
    """Symmetric cross-entropy of CLIP (Radford et al. 2021) with soft targets.

    Samples of one group (the same caption, or the same set of labels) are all positives of each
    other: the target of a row is uniform over its group. Without it, composed captions that repeat
    would push apart what belongs together.

    Args:
        image_features: [B, D], normalised here.
        text_features: [B, D], likewise.
        logit_scale: [], the factor on cosines, as its logarithm; clamped to at most 100.
        groups: [B] integers; None makes each sample its own group.

    Raises:
        ConfigError: the shapes do not fit.
    """
    number = len(image_features)
    if image_features.shape != text_features.shape or (
        groups is not None and groups.shape != (number,)
    ):
        came = f"{tuple(image_features.shape)}, {tuple(text_features.shape)}"
        raise ConfigError(
            "contrastive_loss: shapes",
            came=came if groups is None else f"{came}, groups {tuple(groups.shape)}",
            allowed="[B, D] twice and groups [B]",
            do="Pass features of the same pairs.",
        )
    images, texts = (
        F.normalize(image_features.float(), dim=-1),
        F.normalize(text_features.float(), dim=-1),
    )
    logits = logit_scale.float().exp().clamp(max=100.0) * images @ texts.T
    if groups is None:
        groups = torch.arange(number, device=logits.device)
    same = (groups[:, None] == groups[None, :]).to(logits)
    targets = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def language_loss(logits: Tensor, tokens: Tensor, *, eos_token_id: int) -> Tensor:
    """Mean cross-entropy of the next token, from the first content token to the first end token.

    A text encoder of CLIP is causal: a masked token could be guessed from its left context only, so
    next-token prediction is the honest form of masked-token training and uses every position.

    Args:
        logits: [B, T, V]; row t speaks of token t + 1.
        tokens: [B, T] ids, beginning with the begin token, closed by the end token, then padding.
        eos_token_id: what follows its first occurrence is padding and not predicted.

    Raises:
        ConfigError: fewer than two tokens, or logits of another shape.
    """
    if tokens.dim() != 2 or tokens.shape[1] < 2 or logits.shape[:2] != tokens.shape:
        raise ConfigError(
            "language_loss: shapes",
            came=f"{tuple(logits.shape)}, {tuple(tokens.shape)}",
            allowed="[B, T, V] and [B, T], T >= 2",
            do="Pass the logits of these tokens.",
        )
    targets = tokens[:, 1:]
    ended = (tokens[:, :-1] == eos_token_id).cumsum(1) > 0
    targets = targets.masked_fill(ended, -100)
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=-100
    )
