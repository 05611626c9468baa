"""L_semc of CRAFTS: samples whose texts are alike shall have images that are alike."""

from __future__ import annotations

from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.losses.relations import at_least_float32


def semantic_consistency_loss(
    image_relations: Tensor, text_relations: Tensor, *, pair_weights: Tensor | None = None
) -> Tensor:
    """``(1/B^2) sum_ij |M_Z - M_T|^2`` (CRAFTS, arXiv 2512.13164, mechanism 1, L_semc).

    With pair weights ``(1/B^2) sum_ij w_ij |M_Z - M_T|^2``: the sum of the weights does not divide,
    so a batch of noisy samples pulls less, and not as hard with fewer pairs. The diagonal is 0 and
    counts among the B^2, as in the paper.

    Args:
        image_relations: [B, B], or [B, B + Q] with earlier samples, see ``relation_matrix``.
        text_relations: the same of the texts; no gradient flows into them.
        pair_weights: the same shape, >= 0, without gradient; None: all 1.

    Returns:
        [], float32 at least.

    Raises:
        ConfigError: the shapes differ.
    """
    return mean_divergence(
        image_relations, text_relations, pair_weights, where="semantic_consistency_loss"
    )


def mean_divergence(
    relations: Tensor, wanted: Tensor, *weights: Tensor | None, where: str
) -> Tensor:
    """Mean over all entries of the squared difference times the weights; only ``relations`` learn.

    Args:
        relations: of the images, [B, B]; has the gradient.
        wanted: what they should be, [B, B].
        weights: each [B, B], multiplied with each other; None counts as ones.
        where: names the loss in an error.

    Raises:
        ConfigError: the shapes differ.
    """
    given = [weight for weight in weights if weight is not None]
    if relations.dim() != 2 or any(x.shape != relations.shape for x in (wanted, *given)):
        raise ConfigError(
            f"{where}: shapes",
            came=", ".join(str(tuple(x.shape)) for x in (relations, wanted, *given)),
            allowed="matrices of one shape",
            do="Make all of them from the same samples in the same order.",
        )
    error = (at_least_float32(relations) - at_least_float32(wanted.detach())).square()
    for weight in given:
        error = error * weight.detach().to(error)
    return error.mean()
