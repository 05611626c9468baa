"""What trains a segmenter: where nuclei are, how deep a pixel lies in one, of which class it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SMOOTH = 1.0  # pixels; a tile without nuclei then has a Dice of 1 when none are found


def nucleus_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus one minus the soft Dice of each image, a mean over images.

    Milletari et al. 2016 without squares. Per image, so that a batch may come in pieces.

    Args:
        logits: [B, H, W].
        target: [B, H, W] in {0, 1}.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    found = logits.sigmoid()
    shared = (found * target).sum((1, 2))
    total = found.sum((1, 2)) + target.sum((1, 2))
    dice = (2 * shared + _SMOOTH) / (total + _SMOOTH)
    return entropy + 1 - dice.mean()


def distance_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the relative depth below the edge of the nucleus.

    Args:
        logits: [B, H, W]; their sigmoid is the depth.
        target: [B, H, W] in [0, 1], 0 outside of nuclei.
    """
    return (logits.sigmoid() - target).abs().mean()


def class_loss(logits: Tensor, classes: Tensor, allowed: Tensor) -> Tensor:
    """Cross entropy where a label may allow several classes: -log of what they have together.

    A pixel labelled ``inflammatory`` is right as lymphocyte, plasma, neutrophil or eosinophil;
    one labelled ``unknown``, which allows none, does not count. A mean over the pixels of each
    image that count, then over images; an image without such a pixel gives 0.

    Args:
        logits: [B, K, H, W].
        classes: [B, H, W], integer labels in 0..L-1.
        allowed: bool [L, K], the classes that each label allows.
    """
    permitted = allowed[classes.long()].movedim(-1, 1)
    counted = permitted.any(1)
    hidden = logits.masked_fill(~permitted, torch.finfo(logits.dtype).min)
    losses = logits.logsumexp(1) - hidden.logsumexp(1)
    totals = torch.where(counted, losses, 0.0).sum((1, 2))
    return (totals / counted.sum((1, 2)).clamp(min=1)).mean()
