"""Training of one arm with one seed, leg by leg; images of its prompts; what a step costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crafts.core import artifacts
from crafts.core.config import validate
from crafts.core.disk import remove_folder
from crafts.core.tables import csv_writer
from crafts.experiments.catalogue import CLASSES, Leg
from crafts.experiments.settings import ExperimentConfig
from crafts.generation import generate
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import load_bundle
from crafts.training import train

_SECOND_SEED = 7_000
_IMAGE_SEED = 1_000  # seeds of images are away from those of training; equal between arms
_ROUNDS = 5


def leg_steps(leg: Leg, config: ExperimentConfig) -> int:
    """Optimizer steps of a leg of an arm; those of all its legs add up to ``num_steps``."""
    done = round(leg.begins * config.num_steps)
    return max(1, round((leg.begins + leg.share) * config.num_steps) - done)


def run_leg(
    leg: Leg, config: ExperimentConfig, *, start: Path, data: Path, seed: int, output: Path
) -> Path:
    """Train one leg, or go on with it where it stopped.

    Args:
        leg: what it trains on and what differs from the plain recipe.
        config: of the experiment.
        start: checkpoint to begin with.
        data: latents as the leg's view shows them.
        seed: of order, crops, noise and timesteps.
        output: folder of the run.

    Returns:
        Folder of the finished model.
    """
    finished = output / "model"
    if (output / artifacts.MANIFEST).is_file() and not (output / "checkpoints").exists():
        return finished
    recipe = build_recipe(leg, config, start=start, data=data, seed=seed)
    train.run(validate(train.TrainConfig, recipe, f"experiment {config.name}"), {}, output)
    remove_folder(output / "checkpoints")  # the finished model is enough
    return finished


def build_recipe(
    leg: Leg, config: ExperimentConfig, *, start: Path, data: Path, seed: int
) -> dict[str, Any]:
    """The recipe of a leg as a mapping, ready for validation; see :func:`run_leg`."""
    steps = leg_steps(leg, config)
    recipe: dict[str, Any] = {
        "stage": {
            "kind": "denoiser",
            "init_from": str(start),
            "crop": config.crop,
            "prompts": ["tissue"],
        },
        "data": {
            "kind": "latents",
            "folder": str(data),
            "balance": 0.5,
            "balance_by": "stratum",
        },
        "optim": {
            "lr": config.lr,
            "warmup_steps": config.warmup_steps,
            "schedule": "linear",
            "decay_from": 0.5,
            "final_fraction": 0.05,
        },
        "seed": seed,
        "num_steps": steps,
        "global_batch_size": config.batch_size,
        "ema_decay": config.ema_decay,
        "checkpoint_every": max(50, steps // 4),
        "keep_checkpoints": 1,
        "say_every": max(1, steps // 4),
        "device": config.device,
    }
    for path, value in leg.changes.items():
        _put(recipe, path, str(data.parents[1] / "classes.json") if value == CLASSES else value)
    return recipe


def make_images(
    prompts: Sequence[str], config: ExperimentConfig, *, model: Path, seed: int, output: Path
) -> list[Path]:
    """One image of each prompt, with provenance; those that are there already are kept.

    Args:
        prompts: texts.
        config: sampler steps, guidance and device.
        model: checkpoint folder.
        seed: of the arm; image k of all arms with this seed begins with the same noise.
        output: gets ``images/``.

    Returns:
        Files in the order of the prompts.
    """
    output.mkdir(parents=True, exist_ok=True)
    table = output.parent / f"{output.name}-prompts.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv_writer(handle)
        writer.writerow(("id", "prompt", "seed"))
        for number, prompt in enumerate(prompts):
            writer.writerow((f"{number:04d}", prompt, _IMAGE_SEED * (seed + 1) + number))
    values = {
        "model": str(model),
        "preset": "balanced",
        "same_noise": True,
        "num_steps": config.sampler_steps,
        "guidance_scale": config.guidance_scale,
        "batch_size": 16,
        "device": config.device,
    }
    generate.run(validate(GenerateConfig, values, "experiment: images"), table, output)
    return [output / "images" / f"{number:04d}-0.png" for number in range(len(prompts))]


def train_second_text(config: ExperimentConfig, output: Path) -> Path:
    """A CLIP of the shipped one's size from other random weights, for its text half.

    Args:
        config: ``second_steps`` and device.
        output: of the experiment; ``data/training`` is read, ``second`` written.
    """
    recipe = {
        "stage": {"kind": "clip", "weights": {"contrastive": 1.0, "language": 0.0}},
        "data": {
            "kind": "shards",
            "folder": str(output / "data" / "training"),
            "balance": 0.5,
            "balance_by": "label",
        },
        "optim": {"lr": 1e-3, "warmup_steps": min(100, config.second_steps // 5)},
        "seed": _SECOND_SEED,
        "num_steps": config.second_steps,
        "global_batch_size": min(64, 2 * config.batch_size),
        "ema_decay": config.ema_decay,
        "checkpoint_every": max(50, config.second_steps // 4),
        "keep_checkpoints": 1,
        "device": config.device,
    }
    folder = output / "second"
    train.run(validate(train.TrainConfig, recipe, f"experiment {config.name}"), {}, folder)
    return folder / "model"


def _put(recipe: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its dotted path."""
    *parents, last = path.split(".")
    target: Any = recipe
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = dict(value) if isinstance(value, Mapping) else value


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
