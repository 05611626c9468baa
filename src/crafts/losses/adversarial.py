"""The two sides of a patch discriminator, as hinge losses (Lim & Ye 2017)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: Tensor, decoded: Tensor) -> Tensor:
    """``mean max(0, 1 - D(real)) + mean max(0, 1 + D(decoded))``, halved.

    Args:
        real: logits of real images, any shape.
        decoded: logits of reconstructions; these must be detached from the decoder.
    """
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + decoded).mean())


def adversarial_loss(decoded: Tensor) -> Tensor:
    """``-mean D(decoded)``: what the decoder lowers; the discriminator's weights are fixed here."""
    return -decoded.mean()
