"""Task: what a small masked autoencoder learns from tiles without labels, asked by a probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crafts.downstream.arms import REAL, SHUFFLED, TWICE, Arm
from crafts.downstream.classification import Scaling, Shares, exams_of_tiles, fit_both, mark
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.exams import Answers, Ask, Exam
from crafts.downstream.finetuning import as_images, batches, fit_steps, turned
from crafts.downstream.opening import Opened
from crafts.downstream.pool import Features, Pool
from crafts.losses.contrastive import contrastive_loss
from crafts.model.vision.small_networks import build_masked_autoencoder
from crafts.sets.splits import Rows

UNTRAINED = "no pre-training"
_WEIGHT = 0.1  # of the agreement of two views beside the reconstruction


class SelfSupervision:
    """A ViT-MAE pre-trained on the tiles of an arm; probes on the real tiles of the draw."""

    methods: Mapping[str, str] = {"probe": "Linear probe", "knn": "Nearest neighbours"}
    primary = "accuracy"

    def __init__(self, config: BenchmarkConfig) -> None:
        """Settings."""
        self.config, self.pixels = config, config.pixels

    def exams(self, opened: Opened, pool: Pool) -> list[Exam]:
        """Each test tile once; classes count alike."""
        return exams_of_tiles(opened, pool)

    def arms(self, given: Iterator[Arm]) -> Iterator[Arm]:
        """Those that labels play no part in, one without training, one with two views."""
        for arm in given:
            if arm.name == TWICE or arm.name.endswith(SHUFFLED):
                continue
            yield arm
            if arm.name == REAL:
                yield Arm(UNTRAINED, "control", "", arm.seen, arm.told, arm.real, look="nothing")
            if arm.kind == "synthetic" and arm.real and arm.synthetic:
                yield as_second_view(arm)

    def train(self, pool: Pool, arm: Arm, *, own: Rows, seed: int) -> Mapping[str, Ask]:
        """Pre-train, then fit both classifiers on the real tiles of the draw and their labels."""
        embed = partial(_colours, pool)
        if arm.look != "colour":
            embed = partial(_embed, self._pretrain(pool, arm, seed=seed), pool)
        learnt = embed(own)
        scale = Scaling.of(learnt)
        found = fit_both(
            self.config, scale(learnt), pool.labels[own], kept=pool.labels[own], total=len(own)
        )
        known: dict[int, NDArray[np.float64]] = {}  # of an exam, as both ask for them

        def ask(shares: Shares, exam: Exam) -> Answers:
            if id(exam) not in known:
                known[id(exam)] = scale(embed(exam.seen))
            return mark(shares(known[id(exam)]), pool.labels[exam.seen])

        return {name: partial(ask, shares) for name, shares in found.items()}

    def _pretrain(self, pool: Pool, arm: Arm, *, seed: int) -> Any:
        torch.manual_seed(seed)
        network = build_masked_autoencoder(self.config.pixels)
        if arm.look == "nothing":
            return network.eval()
        pixels = pool.pixels[arm.seen]
        second = None
        if arm.second is not None:
            second = pool.pixels[pair_up(pool, arm.seen, arm.second, seed=seed)]

        def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
            images = turned(as_images(pixels[chosen.numpy()]), generator)
            noise = torch.rand(len(images), _patches(network), generator=generator)
            loss: Tensor = network(pixel_values=images, noise=noise).loss
            if second is not None:
                views = images, turned(as_images(second[chosen.numpy()]), generator)
                one, two = (_pool(network, view) for view in views)
                loss = loss + _WEIGHT * contrastive_loss(one, two, torch.tensor(2.3))
            return loss

        fit_steps(network, loss_of, number=len(arm.seen), steps=self.config.steps, seed=seed)
        return network


def as_second_view(arm: Arm) -> Arm:
    """The real tiles alone, and the generated ones that they are paired with."""
    real, made = arm.seen[: arm.real], arm.seen[arm.real :]
    return Arm(
        *("generated as second view", "synthetic", arm.folder, real, real, arm.real, len(made)),
        second=made,
    )


def pair_up(pool: Pool, tiles: Rows, made: Rows, *, seed: int) -> Rows:
    """For each tile [M] a generated one of its class, or itself where there is none.

    So labels enter this arm, through the prompts.
    """
    made = np.random.default_rng(seed).permutation(made)
    pairs = []
    for number, tile in enumerate(tiles):
        same = made[pool.labels[made] == pool.labels[tile]]
        pairs.append(same[number % len(same)] if len(same) else tile)
    return np.array(pairs)


def _patches(network: Any) -> int:
    return int((network.config.image_size // network.config.patch_size) ** 2)


def _pool(network: Any, images: Tensor) -> Tensor:
    """Mean over the patches of whole pictures [B, D]; nothing is masked."""
    vit = network.vit
    vit.embeddings.config.mask_ratio = 0.0
    try:
        order = torch.arange(_patches(network)).float().expand(len(images), -1)
        states: Tensor = vit(pixel_values=images, noise=order).last_hidden_state
    finally:
        vit.embeddings.config.mask_ratio = 0.75
    return states[:, 1:].mean(1)


@torch.inference_mode()
def _embed(network: Any, pool: Pool, pictures: Rows) -> Features:
    return np.concatenate([_pool(network, images).numpy() for images in batches(pool, pictures)])


def _colours(pool: Pool, pictures: Rows) -> Features:
    return pool.colour[pictures]
