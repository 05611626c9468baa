"""Networks trained from pixels or features in a given number of steps, the same for every arm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crafts.core.runtime import generator_for
from crafts.data.tiles.augment import dihedral
from crafts.downstream.arms import Arm
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Ask, Exam
from crafts.downstream.pool import Pixels, Pool
from crafts.downstream.statistics import calibration_error
from crafts.model.vision.small_networks import build_classifier

BATCH = 64


def fit_steps(
    network: nn.Module,
    loss_of: Callable[[Tensor, torch.Generator], Tensor],
    *,
    number: int,
    steps: int,
    seed: int,
    rate: float = 1e-3,
) -> None:
    """Train a network: every arm gets the same number of steps of the same number of samples.

    Args:
        network: is changed, and left in evaluation mode.
        loss_of: places of the samples of a batch [B], and randomness -> loss [].
        number: samples to draw from.
        steps: of the optimizer.
        seed: of the draws.
        rate: highest learning rate; it rises for a tenth of the steps and falls to 0 as a cosine.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    network.train()
    for step in range(steps):
        generator = generator_for("benchmark", "step", seed, step)
        chosen = torch.randint(number, (BATCH,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        loss_of(chosen, generator).backward()
        optimizer.step()
        schedule.step()
    network.eval()


def as_images(pixels: Pixels) -> Tensor:
    """Small pictures uint8 [N, S, S, 3] as float32 [N, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """A batch [B, 3, S, S] in one of eight positions."""
    return dihedral(images, int(torch.randint(8, (1,), generator=generator)))


def finetune(config: BenchmarkConfig, pool: Pool, arm: Arm, *, seed: int) -> Ask:
    """A small ResNet of transformers, trained from pixels."""
    torch.manual_seed(seed)
    number = int(pool.labels.max()) + 1
    network: Any = build_classifier(number)
    labels = torch.from_numpy(pool.labels[arm.told])
    pixels = pool.pixels[arm.seen]

    def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
        images = turned(as_images(pixels[chosen.numpy()]), generator)
        logits = network(pixel_values=images).logits
        return nn.functional.cross_entropy(logits, labels[chosen])

    fit_steps(network, loss_of, number=len(labels), steps=config.steps, seed=seed)

    def ask(exam: Exam) -> Answers:
        shares = torch.cat(
            [network(pixel_values=images).logits.softmax(1) for images in batches(pool, exam.seen)]
        )
        sure, best = (one.numpy() for one in shares.max(1))
        right = best == pool.labels[exam.seen]
        return Answers(right.astype(np.float64), {"ece": calibration_error(sure, right)})

    return torch.inference_mode()(ask)


def batches(pool: Pool, pictures: Any) -> Iterable[Tensor]:
    """Small pictures as images, some at a time."""
    for start in range(0, len(pictures), 4 * BATCH):
        yield as_images(pool.pixels[pictures[start : start + 4 * BATCH]])
