"""A watch for collapse: samples of different prompts that grow alike while training goes on."""

from __future__ import annotations

import math

SMOOTHING = 0.95  # share of the old value of the smoothed likeness
COLLAPSED = 0.75  # smoothed likeness above which samples of different prompts are too alike


class CollapseWatch:
    """Smooths the likeness over steps, and speaks once each time it rises over ``COLLAPSED``.

    A network that starts above, as one with random weights may, has not grown alike: it is not
    warned of before it has been below.

    Attributes:
        value: smoothed likeness, nan before the first; all that a checkpoint must keep.
    """

    def __init__(self) -> None:
        self.value = math.nan

    def look(self, likeness: float) -> str | None:
        """Take in the likeness of one step, see ``crafts.losses.relations.likeness``.

        Args:
            likeness: at most 1; nan, where a batch had no two prompts, is passed over.

        Returns:
            A warning, or None.
        """
        if not math.isfinite(likeness):
            return None
        before = likeness if math.isnan(self.value) else self.value
        self.value = SMOOTHING * before + (1 - SMOOTHING) * likeness
        if not before <= COLLAPSED < self.value:
            return None
        return (
            "samples of different prompts grow alike: the estimates differ by only "
            f"{100 * (1 - self.value):.0f} % of what the real latents do. Lower "
            "stage.weights.semantic and stage.weights.category, or the ratios in stage.strength"
        )
