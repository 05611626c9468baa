"""The CRAFTS objective over the samples of one forward pass, on all processes together.

L_semc draws the relations of images to those of their texts, L_catg to those of their categories
(arXiv 2512.13164). The images are the denoiser's own estimates of the clean latents: only they have
a gradient that reaches it. Texts, categories and weights are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from crafts.core.errors import ConfigError
from crafts.core.runtime import say
from crafts.losses.category import (
    UNKNOWN_CLASS,
    category_guidance_loss,
    category_relations,
    category_weights,
    typicality,
)
from crafts.losses.gather import gather
from crafts.losses.queue import Queue, empty_queue, enqueue, queued
from crafts.losses.relations import (
    different_prompts,
    effective_pairs,
    likeness,
    noise_pair_weights,
    noise_weights,
    pool_latents,
    relation_matrix,
    weight_spread,
)
from crafts.losses.semantic import semantic_consistency_loss
from crafts.model.schedule import Schedule
from crafts.training.objective.collapse import CollapseWatch
from crafts.training.objective.config import (
    CategoryOptions,
    FixedStrength,
    RatioStrength,
    RelationOptions,
    TextRelationOptions,
)
from crafts.training.objective.strength import STEERED, Strength
from crafts.training.order import choice

if TYPE_CHECKING:
    from crafts.training.objective.categories import Categories
    from crafts.training.objective.wanted import Wanted

LIKENESS_CELLS = 4  # the collapse watch sees colour and coarse structure, in at most 4 x 4 cells


@dataclass(frozen=True)
class Batches:
    """How many samples come together.

    Attributes:
        step: of one optimizer step.
        alone: in one forward pass of one process.
        processes: that do so at the same time.
    """

    step: int = 1
    alone: int = 1
    processes: int = 1

    @property
    def together(self) -> int:
        """Samples of one forward pass over all processes; relations are taken over these."""
        return self.alone * self.processes


@dataclass(frozen=True)
class ObjectiveOptions:
    """What of a recipe decides the objective: sections of the denoiser stage."""

    weights: Mapping[str, float]
    relations: RelationOptions
    text_relations: TextRelationOptions
    category: CategoryOptions
    strength: FixedStrength | RatioStrength


class Objective:
    """L_semc and L_catg, their strength, the queue of earlier samples, and a watch for collapse.

    Args:
        config: with a weight above 0 for one of the two losses.
        schedule: of the noise; without signal at the last timestep it must not predict noise.
        categories: of the rows; None without the category loss.
        batches: how many samples come together.
        wanted: whose relations are wanted; None: those of the texts.
        projector: [B, C] features of the middle block -> [B, D]; None: compared as they are.

    Raises:
        ConfigError: nothing to compare a sample with, or no estimate of the clean latents.
    """

    def __init__(
        self,
        config: ObjectiveOptions,
        schedule: Schedule,
        *,
        categories: Categories | None,
        batches: Batches,
        wanted: Wanted | None = None,
        projector: nn.Module | None = None,
    ) -> None:
        self.config, self.categories, self.batches = config, categories, batches
        self.wanted, self.projector = wanted, projector
        self.strength = Strength(config.strength, config.weights)
        self._semantic, self._category = (config.weights[name] > 0 for name in STEERED)
        self._schedule = schedule
        self._queue: Queue | None = None
        self._seen: dict[int, dict[str, Tensor]] = {}  # rows of the passes since the last step
        self._watch = CollapseWatch()
        _refuse_nothing_to_compare(config.relations, batches)

    def describe(self) -> str:
        """One sentence on what the losses see, for the log and the card."""
        step, together = self.batches.step, self.batches.together
        queue = self.config.relations.queue
        names = " and ".join(self.strength.measured)
        verb = "losses compare" if self._semantic and self._category else "loss compares"
        seen = (
            f"all {step} samples of a step with each other"
            if together == step
            else f"the {together} samples of a pass with each other, not the {step} of a step"
        )
        earlier = f" and with up to {queue} earlier ones" if queue else ""
        return f"the {names} {verb} {seen}{earlier}"

    def text_batch(
        self, texts: Tensor, rows: Sequence[int], positions: Sequence[int], *, seed: int
    ) -> dict[str, Tensor]:
        """What the objective must know of samples; part of their batch.

        Args:
            texts: [B, D], pooled features of each sample's own caption. One that is dropped for
                guidance still speaks of its image here.
            rows: of the source, one a sample.
            positions: global sample indices.
            seed: of the run.
        """
        numbers = self.categories.numbers if self.categories else None
        labels = [UNKNOWN_CLASS if numbers is None else numbers[row] for row in rows]
        found = {
            "text": texts,
            "category": torch.tensor(labels, device=texts.device),
            "position": torch.tensor(list(positions), device=texts.device),
        }
        if self.config.relations.shared_timestep:
            count = self._schedule.num_timesteps
            steps = [position // self.batches.step for position in positions]
            shared = [choice(seed, "shared timestep", step, count) for step in steps]
            found["t"] = torch.tensor(shared, device=texts.device)
        return found

    @contextmanager
    def watching(self, denoiser: nn.Module) -> Iterator[list[Tensor]]:
        """Collect what the middle block gives within the block, if that is what is compared."""
        found: list[Tensor] = []
        if self.config.relations.pool != "midblock":
            yield found
            return
        middle: Any = denoiser.mid_block
        hook = middle.register_forward_hook(lambda module, inputs, output: found.append(output))
        try:
            yield found
        finally:
            hook.remove()

    def __call__(
        self, estimate: Tensor, batch: Mapping[str, Tensor], middle: list[Tensor]
    ) -> dict[str, Tensor]:
        """Losses of one pass, and numbers to record, each [].

        Args:
            estimate: [B, C, h, w], clean latents as the denoiser takes them to be.
            batch: with ``x0`` clean latents, ``t`` [B], ``text`` [B, D] pooled features of each
                sample's own caption, ``category`` [B] (negative: unknown) and ``position`` [B];
                where told ``wanted`` [B, D] of it.
            middle: what :meth:`watching` collected.

        Returns:
            ``semantic`` and ``category`` where they are on, ``effective_pairs`` of the noise
            weights, ``weight_spread`` of the category weights, and ``likeness``.
        """
        with torch.autocast(estimate.device.type, enabled=False):
            rows = self._rows(estimate, batch, middle)
            memory = queued(self._queue) if self._queue else None
            name = "wanted" if "wanted" in rows else "text"
            pairs = noise_pair_weights(
                rows["noise"], memory=None if memory is None else memory["noise"]
            )
            images = relation_matrix(
                rows["image"],
                centre=self.config.relations.centre,
                memory=None if memory is None else memory["image"],
            )
            texts = relation_matrix(
                rows[name],
                centre=self.config.text_relations.centre,
                memory=None if memory is None else memory[name],
            )
            values: dict[str, Tensor] = {}
            if self._semantic:
                values["semantic"] = semantic_consistency_loss(images, texts, pair_weights=pairs)
            if self._category:
                values |= self._category_values(images, pairs, rows, memory)
            values["effective_pairs"] = effective_pairs(pairs)
            values["likeness"] = self._measure_likeness(estimate.detach(), batch, rows)
        if self.config.relations.queue:
            self._seen[int(batch["position"][0])] = {
                name: value.detach() for name, value in rows.items()
            }
        return values

    def _rows(
        self, estimate: Tensor, batch: Mapping[str, Tensor], middle: list[Tensor]
    ) -> dict[str, Tensor]:
        """What is compared of the samples of all processes."""
        options = self.config.relations
        if options.pool == "midblock":
            image = pool_latents(middle[-1], "grid", grid=1)
            image = self.projector(image) if self.projector else image
        else:
            image = pool_latents(estimate, options.pool, grid=options.grid)
        alphas = self._schedule.alphas_cumprod
        noise = noise_weights(
            batch["t"], alphas, options.noise, max_timestep=options.max_timestep
        ).to(image)
        own = {
            "image": image,
            "text": batch["text"].to(image),
            "noise": noise,
            "category": batch["category"],
            "position": batch["position"],
        }
        if "wanted" in batch:
            own["wanted"] = batch["wanted"].to(image)
        return {name: gather(value) for name, value in own.items()}

    def _category_values(
        self,
        images: Tensor,
        pairs: Tensor,
        rows: Mapping[str, Tensor],
        memory: Mapping[str, Tensor] | None,
    ) -> dict[str, Tensor]:
        """L_catg over the pairs of known category."""
        options, number = self.config.category, len(images)
        labels, texts = (
            rows[name] if memory is None else torch.cat([rows[name], memory[name]])
            for name in ("category", "text")
        )
        assert self.categories is not None  # given with the category loss
        classes = self.categories.features
        relations = category_relations(
            labels, classes, kind=options.relations, centre=self.config.relations.centre
        )
        weights = category_weights(
            typicality(texts, classes, labels),
            temperature=options.temperature,
            centre=options.weights == "centred",
            known=labels >= 0,
        )[:number]
        loss = category_guidance_loss(images, relations[:number], weights, pair_weights=pairs)
        return {"category": loss, "weight_spread": weight_spread(weights)}

    def _measure_likeness(
        self, estimate: Tensor, batch: Mapping[str, Tensor], rows: Mapping[str, Tensor]
    ) -> Tensor:
        """Likeness of the estimates' coarse structure, noisy samples counting less."""
        cells = math.gcd(LIKENESS_CELLS, math.gcd(*estimate.shape[2:]))
        found, real = (gather(pool_latents(x, "grid", grid=cells)) for x in (estimate, batch["x0"]))
        alpha = gather(noise_weights(batch["t"], self._schedule.alphas_cumprod, "alpha"))
        return likeness(
            found, real, different_prompts(rows["text"]), pair_weights=noise_pair_weights(alpha)
        )

    def end_step(self, values: Mapping[str, float], *, updated: bool, loud: bool) -> None:
        """Take the samples of a step into the queue, and look for collapse.

        Args:
            values: what was recorded of the step.
            updated: False for a step that was skipped; it leaves no trace.
            loud: warn where samples of different prompts have become too alike.
        """
        seen, self._seen = self._seen, {}
        if not updated:
            return
        if seen:
            self._remember(list(seen.values()))
        warning = self._watch.look(values["likeness"])
        if warning and loud:
            say(f"WARNING {warning}")

    def _remember(self, passes: list[dict[str, Tensor]]) -> None:
        """Enqueue by sample, latest first; the number of processes makes no difference."""
        rows = {name: torch.cat([part[name] for part in passes]) for name in passes[0]}
        order = rows["position"].argsort(descending=True)
        rows = {name: value[order] for name, value in rows.items()}
        if self._queue is None:
            self._queue = empty_queue(self.config.relations.queue, rows)
        self._queue = enqueue(self._queue, rows)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the weights, so that a resumed run is the same run."""
        queue = {f"queue.{name}": value for name, value in (self._queue or {}).items()}
        watch = {"likeness": torch.tensor(self._watch.value, dtype=torch.float64)}
        sizes = {"together": torch.tensor(self.batches.together)}
        return {**queue, **watch, **sizes, **self.strength.state()}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Put back what :meth:`state` gave.

        Raises:
            ConfigError: the passes had another size when the run was begun.
        """
        begun = int(state["together"])
        if begun != self.batches.together:
            raise ConfigError(
                "train: micro_batch_size and number of processes",
                came=f"{self.batches.together} samples of a pass over all processes",
                allowed=f"{begun}, over which this run's relations were taken so far",
                do="Start as many processes as before, with the same micro_batch_size.",
            )
        queue = {
            name.removeprefix("queue."): value.to(device)
            for name, value in state.items()
            if name.startswith("queue.")
        }
        self._queue = queue or None
        self._watch.value = float(state["likeness"])
        self.strength.load(state)


def _refuse_nothing_to_compare(options: RelationOptions, batches: Batches) -> None:
    if batches.together < 2 and not options.queue:
        raise ConfigError(
            "train: stage.weights.semantic and stage.weights.category",
            came="passes of one sample",
            allowed="passes of two or more samples over all processes, or a queue",
            do="Raise micro_batch_size, or set stage.relations.queue.",
        )
