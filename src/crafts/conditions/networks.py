"""Conditioners: a ControlNet for maps, and learned tokens for numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crafts.conditions.condition import Condition, Residuals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crafts.model.conditions import ConditionTokens


@dataclass(frozen=True)
class BoundMaps:
    """A ControlNet with the maps of one batch.

    Attributes:
        network: of diffusers.
        maps: [B, C, H, W].
        weight: factor of what it adds.
        active: timesteps at which it acts.
    """

    network: Any
    maps: Tensor
    weight: float
    active: frozenset[int]
    tokens: None = None

    def residuals(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Residuals | None:
        """What the ControlNet adds; under guidance both halves of a batch get the same maps."""
        if self.weight == 0 or int(t) not in self.active:
            return None
        maps = self.maps.to(x_t.dtype).repeat(len(x_t) // len(self.maps), 1, 1, 1)
        down, middle = self.network(
            x_t, t, tokens, maps, conditioning_scale=self.weight, return_dict=False
        )
        return list(down), middle


@dataclass(frozen=True)
class MapConditioner:
    """A ControlNet and the maps of conditions.

    Attributes:
        network: on the device of the denoiser.
        map_of: condition -> map float32 [C, H, W] in [0, 1].
    """

    network: Any
    map_of: Callable[[Condition], NDArray[np.float32]]

    def bind(
        self, conditions: Sequence[Condition], timesteps: Tensor, device: torch.device
    ) -> BoundMaps:
        """A condition acts in step i of n if ``start <= i / n`` and ``(i + 1) / n <= stop``.

        That is how diffusers has it.
        """
        first, number = conditions[0], len(timesteps)
        active = [
            int(t)
            for i, t in enumerate(timesteps)
            if first.start <= i / number and (i + 1) / number <= first.stop
        ]
        maps = torch.stack([torch.from_numpy(self.map_of(one)) for one in conditions])
        return BoundMaps(self.network, maps.to(device), first.weight, frozenset(active))


@dataclass(frozen=True)
class BoundTokens:
    """Tokens [B, K, D] of the numbers of one batch; they act in all steps."""

    tokens: Tensor

    def residuals(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> None:
        """Nothing is added inside the denoiser."""


@dataclass(frozen=True)
class NumberConditioner:
    """Learned tokens of a model for numbers: how large and where a picture's field is.

    Attributes:
        embed: of the model.
    """

    embed: ConditionTokens

    def bind(
        self, conditions: Sequence[Condition], timesteps: Tensor, device: torch.device
    ) -> BoundTokens:
        """One token a picture.

        Raises:
            ConfigError: numbers out of range.
        """
        rows = [self.embed.tokens_of({one.kind: _numbers(one)}) for one in conditions]
        return BoundTokens(torch.stack(rows).to(device))


def number_conditioners(embed: ConditionTokens | None) -> Mapping[str, NumberConditioner]:
    """Those of a model, by kind."""
    return {kind: NumberConditioner(embed) for kind in embed.kinds} if embed else {}


def _numbers(condition: Condition) -> tuple[float, ...]:
    assert isinstance(condition.key, tuple)
    return condition.key
