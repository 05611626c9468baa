"""How much each loss counts: a fixed lambda, or a steady ratio of gradient norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from crafts.training.objective.config import FixedStrength, RatioStrength

STEERED = ("semantic", "category")
SMOOTHING = 0.8  # share of the old value of a smoothed ratio


class Strength:
    """Weights of the losses of a run, and the measured ratios of their gradient norms.

    A measurement is due at steps that are multiples of ``every``, step 0 among them, and looks at
    the first pass of the step. Ratios are smoothed in the logarithm over measurements.

    Args:
        config: fixed, or ratio.
        weights: lambda of each loss by name; of those in ``STEERED`` the ones above 0 are measured.
    """

    def __init__(self, config: FixedStrength | RatioStrength, weights: Mapping[str, float]) -> None:
        self.config, self._given = config, dict(weights)
        self.measured = tuple(name for name in STEERED if weights.get(name, 0) > 0)
        self._logs: dict[str, float] = {}  # smoothed log of |grad L| / |w grad L_denoising|

    @property
    def weights(self) -> dict[str, float]:
        """By which the losses are added now."""
        config = self.config
        if isinstance(config, FixedStrength):
            return self._given
        found = dict(self._given)
        for name, log in self._logs.items():
            target = config.semantic if name == "semantic" else config.category
            found[name] = min(target / math.exp(log), config.largest)
        return found

    def due(self, step: int) -> bool:
        """Whether a measurement belongs to a step."""
        every = self.config.every
        return bool(self.measured) and every > 0 and step % every == 0

    def measure(
        self, losses: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]
    ) -> dict[str, float]:
        """Gradient norms of the losses of one pass; the weights follow from here on.

        Each process calls it at the same step; gradients are averaged over the processes, so all
        get the same numbers. A ratio that is zero or not finite is recorded and changes nothing.

        Args:
            losses: by name, with their graph, which is used up.
            parameters: those that are trained.

        Returns:
            By name of the loss ``ratio_...``: norm of the weighted gradient, with the weight that
            holds from now on, over that of the weighted denoising loss; and ``weight_...``.
        """
        trained = list(parameters)
        base = self._given["denoising"] * _gradient_norm(losses["denoising"], trained)
        ratios = {}
        for name in self.measured:
            norm = _gradient_norm(losses[name], trained)
            ratio = norm / base if base > 0 else math.nan
            if math.isfinite(ratio) and ratio > 0:
                new = math.log(ratio)
                old = self._logs.get(name, new)
                self._logs[name] = SMOOTHING * old + (1 - SMOOTHING) * new
            ratios[name] = ratio
        weights = {f"weight_{name}": self.weights[name] for name in ratios}
        return weights | {f"ratio_{name}": self.weights[name] * r for name, r in ratios.items()}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, as tensors []."""
        return {
            f"log_ratio_{name}": torch.tensor(value, dtype=torch.float64)
            for name, value in self._logs.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state` gave."""
        names = [name for name in self.measured if f"log_ratio_{name}" in state]
        self._logs = {name: float(state[f"log_ratio_{name}"]) for name in names}


def _gradient_norm(loss: Tensor, parameters: list[nn.Parameter]) -> float:
    """Norm of a loss's gradient, averaged over the processes as DistributedDataParallel does."""
    if not loss.requires_grad:
        return 0.0
    # what comes after the middle block has no gradient from there: zeros
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    total = 0.0
    for gradient in gradients:
        if dist.is_initialized():
            gradient = gradient.contiguous()
            dist.all_reduce(gradient)
            gradient = gradient / dist.get_world_size()
        total += float(gradient.double().square().sum())
    return math.sqrt(total)
