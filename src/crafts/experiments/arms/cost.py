"""What a step of training costs by the number of text tokens: kept activations and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crafts.model.bundle import load_bundle

_ROUNDS = 5


@dataclass(frozen=True)
class StepCost:
    """Cost of one forward and backward pass.

    Attributes:
        tokens: text tokens of every sample.
        saved_bytes: activations that wait for the backward pass, each storage once, without
            weights.
        seconds: median of some passes, taken in turn with the other numbers of tokens.
    """

    tokens: int
    saved_bytes: int
    seconds: float


def step_costs(model: Path, tokens: Sequence[int], *, batch_size: int) -> list[StepCost]:
    """Measure steps of a denoiser with batches whose captions have so many tokens.

    Args:
        model: checkpoint folder; its size of image is that of the step.
        tokens: numbers of text tokens.
        batch_size: samples.
    """
    bundle = load_bundle(model)
    denoiser: Any = bundle.denoiser.train().requires_grad_(True)
    side, channels, width = denoiser.config.sample_size, bundle.codec.channels, bundle.text.width
    x_t = torch.zeros(batch_size, channels, side, side)
    texts = {count: torch.zeros(batch_size, count, width) for count in tokens}
    saved = {count: _saved_bytes(denoiser, x_t, text) for count, text in texts.items()}
    seconds: dict[int, list[float]] = {count: [] for count in tokens}
    for _ in range(_ROUNDS):  # in turn, so that a busy moment hits all alike
        for count, text in texts.items():
            started = time.perf_counter()
            _forward(denoiser, x_t, text).sum().backward()
            seconds[count].append(time.perf_counter() - started)
    return [StepCost(count, saved[count], statistics.median(seconds[count])) for count in tokens]


def _saved_bytes(denoiser: Any, x_t: torch.Tensor, text: torch.Tensor) -> int:
    weights = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = _forward(denoiser, x_t, text)
    total = sum(storages.values())
    del output  # the graph, which holds what was counted, lives until here
    return total


def _forward(denoiser: Any, x_t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    t = torch.zeros(len(x_t), dtype=torch.long)
    return denoiser(x_t, t, encoder_hidden_states=text, return_dict=False)[0]
