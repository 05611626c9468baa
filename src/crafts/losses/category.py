"""L_catg of CRAFTS: images of one category shall be alike, the more so the clearer the text.

The paper gives the weights ``W = sigmoid(s_i + s_j)`` and a weighted divergence between an image
and a category similarity matrix (arXiv 2512.13164, mechanism 2). How categories are embedded it
does not say; here a category is the mean direction of the text features of its prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crafts.core.errors import ConfigError
from crafts.losses.relations import at_least_float32, relation_matrix
from crafts.losses.semantic import mean_divergence

UNKNOWN_CLASS = -1  # the label of a sample without a known category


def class_features(prompt_features: Tensor, classes: Tensor, count: int) -> Tensor:
    """Embedding of each category: the mean direction of its prompts.

    As in the zero-shot classifier of CLIP (Radford et al. 2021, section 3.1.4): each prompt is
    normalised, then their mean.

    Args:
        prompt_features: [P, D], pooled text features.
        classes: [P], category of each prompt, in [0, count).
        count: K.

    Returns:
        [K, D], of length 1, float32 at least, without gradient.

    Raises:
        ConfigError: a category has no prompt, or the shapes do not fit.
    """
    fits = prompt_features.dim() == 2 and classes.shape == prompt_features.shape[:1]
    present = set(classes.tolist()) if fits else set()
    if present != set(range(count)):
        lacking = sorted(set(range(count)) ^ present)[:5]
        raise ConfigError(
            "class_features: classes",
            came=f"{tuple(prompt_features.shape)} features and {tuple(classes.shape)} classes, "
            f"amiss: {lacking}",
            allowed=f"a prompt for each of the classes 0 to {count - 1}",
            do="Give each category at least one prompt.",
        )
    prompts = F.normalize(at_least_float32(prompt_features.detach()), dim=1)
    sums = prompts.new_zeros(count, prompts.shape[1]).index_add_(0, classes, prompts)
    return F.normalize(sums, dim=1)


def category_relations(
    labels: Tensor,
    class_features: Tensor | None = None,
    *,
    kind: str = "embedding",
    centre: bool = False,
) -> Tensor:
    """How alike the categories of each pair are: M_C of CRAFTS.

    Args:
        labels: [B], category of each sample; negative: unknown, which has relation 0 to all.
        class_features: [K, D] of :func:`class_features`; not needed for ``identity``.
        kind: ``embedding`` (cosine of the categories) or ``identity`` (1 for the same, else 0).
        centre: Pearson over the samples with a known category, for image relations that are
            centred; applies to ``embedding``.

    Returns:
        [B, B], float32 at least, without gradient.

    Raises:
        ConfigError: an unknown kind, or no class features for ``embedding``.
    """
    known = labels >= 0
    if kind == "identity":
        return ((labels[:, None] == labels[None, :]) & known[:, None]).float()
    if kind != "embedding" or class_features is None:
        raise ConfigError(
            "category: relations",
            came=repr(kind) if kind != "embedding" else "'embedding' without class features",
            allowed="identity, or embedding with class features [K, D]",
            do="Correct the kind of relations.",
        )
    found = relation_matrix(class_features.detach()[labels[known]], centre=centre)
    relations = found.new_zeros(len(labels), len(labels))
    relations[known[:, None] & known[None, :]] = found.flatten()
    return relations


def typicality(text_features: Tensor, class_features: Tensor, labels: Tensor) -> Tensor:
    """``s_i = cos(t_i, e_yi)``: how clearly the text of a sample speaks of its own category.

    Args:
        text_features: [B, D], pooled.
        class_features: [K, D] of :func:`class_features`.
        labels: [B]; negative: unknown, with typicality 0.

    Returns:
        [B], in [-1, 1], float32 at least, without gradient.
    """
    texts = F.normalize(at_least_float32(text_features.detach()), dim=1)
    categories = F.normalize(class_features.detach().to(texts), dim=1)[labels.clamp_min(0)]
    return torch.where(labels >= 0, (texts * categories).sum(1), 0.0)


def category_weights(
    typicality: Tensor,
    *,
    temperature: float | None = None,
    centre: bool = False,
    known: Tensor | None = None,
) -> Tensor:
    """``W_ij = sigmoid(A_ij)``, ``A_ij = s_i + s_j`` (CRAFTS, arXiv 2512.13164, mechanism 2).

    The literal weights are nearly flat: cosines of 0.15 to 0.35 give 0.57 to 0.67. With ``centre``
    they are ``sigmoid((A - mean A) / temperature)``.

    Args:
        typicality: [B], s.
        temperature: divides A, > 0. None: 1, or with ``centre`` the standard deviation of A over
            the pairs, so that the weights spread however close the cosines lie.
        centre: subtract the mean of A over the pairs of known category.
        known: [B] booleans; pairs with a sample of unknown category get weight 0. None: all known.

    Returns:
        [B, B], in [0, 1), float32 at least, without gradient.

    Raises:
        ConfigError: the temperature is not positive.
    """
    if temperature is not None and not temperature > 0:
        raise ConfigError(
            "category: temperature",
            came=str(temperature),
            allowed="a positive number or null",
            do="Use null for the standard deviation of the batch.",
        )
    values = at_least_float32(typicality.detach())
    known = torch.ones_like(values, dtype=torch.bool) if known is None else known
    pairs = values[:, None] + values[None, :]
    counted = pairs[known[:, None] & known[None, :]]
    if centre and len(counted):
        pairs = pairs - counted.mean()
        if temperature is None:
            spread = counted.std(correction=0)
            pairs = pairs / torch.where(
                spread > 1e-6, spread, 1.0
            )  # else rounding noise is blown up
    if temperature is not None:
        pairs = pairs / temperature
    return torch.sigmoid(pairs) * (known[:, None] & known[None, :])


def category_guidance_loss(
    image_relations: Tensor,
    category_relations: Tensor,
    weights: Tensor,
    *,
    pair_weights: Tensor | None = None,
) -> Tensor:
    """``(1/B^2) sum_ij W_ij |M_Z - M_C|^2`` (CRAFTS, arXiv 2512.13164, mechanism 2, L_catg).

    Args:
        image_relations: [B, B], or [B, B + Q] with earlier samples, see ``relation_matrix``.
        category_relations: the same of the categories; no gradient flows into them.
        weights: W of :func:`category_weights`; no gradient flows into them.
        pair_weights: further weights, for example by noise; None: all 1.

    Returns:
        [], float32 at least.

    Raises:
        ConfigError: the shapes differ.
    """
    return mean_divergence(
        image_relations, category_relations, weights, pair_weights, where="category_guidance_loss"
    )
