"""References of training: another tile of the same patient, never the one that is to be made.

One image as reference and target teaches to copy it, and drowns the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crafts.core.patients import patient_in
from crafts.core.runtime import say
from crafts.model.conditions import ConditionTokens, Standard
from crafts.training.order import choice, uniform
from crafts.training.sources import Row

LOOKED_AT = 512  # tiles whose numbers give mean and deviation


class References:
    """Which tile a sample is told of, and its numbers.

    Args:
        rows: all rows of the source.
        train: those that are trained on.
        embed: row -> numbers [E].
        dropout: share of samples that are told of none.
        seed: of the run.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        train: Sequence[int],
        embed: Callable[[int], Tensor],
        *,
        dropout: float,
        seed: int,
    ) -> None:
        self.dropout, self.seed, self._embed = dropout, seed, embed
        self._known: dict[int, Tensor] = {}
        self._train = list(train)
        self._patients = {row: patient_in(rows[row]) for row in train}
        self._tiles: dict[str, list[int]] = {}
        for row, patient in self._patients.items():
            if patient:
                self._tiles.setdefault(patient, []).append(row)
        several = sum(len(tiles) for tiles in self._tiles.values() if len(tiles) > 1)
        say(f"references: {several} of {len(self._train)} tiles have another of their patient")

    def of(self, row: int) -> Tensor:
        """Numbers [E] of a tile."""
        if row not in self._known:
            self._known[row] = self._embed(row)
        return self._known[row]

    def sample(self, row: int, position: int) -> Tensor:
        """Numbers [E] that sample ``position`` is told; NaN: none."""
        others = [one for one in self._tiles.get(self._patients.get(row) or "", []) if one != row]
        if not others or uniform(self.seed, "condition reference", position) < self.dropout:
            return torch.full_like(self.of(row), math.nan)
        return self.of(others[choice(self.seed, "reference", position, len(others))])

    def standardise(self, tokens: ConditionTokens) -> None:
        """Let numbers of the training tiles have mean 0 and deviation 1 where tokens begin anew."""
        first = tokens.embedders["reference"][0]  # type: ignore[index]
        assert isinstance(first, Standard)
        if bool(first.mean.any()):
            return
        step = max(1, len(self._train) // LOOKED_AT)
        seen = torch.stack([self.of(row) for row in self._train[::step]])
        first.mean.copy_(seen.mean(dim=0))
        first.spread.copy_(seen.std(dim=0).clamp(min=1e-3) if len(seen) > 1 else first.spread)
