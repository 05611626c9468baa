"""Arms see equal data and noise; a step costs more with more tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from crafts.core.config import validate
from crafts.experiments import NAMES, configure
from crafts.experiments.arms.training import build_recipe, leg_steps, step_costs
from crafts.experiments.catalogue import Leg, load_experiment
from crafts.experiments.corpus.tiles import (
    Tiles,
    encode_training,
    open_tiles,
    write_classes,
    write_view,
)
from crafts.experiments.corpus.views import Wishes
from crafts.model.bundle import load_bundle
from crafts.training.loader import make_batch
from crafts.training.objective.objective import Batches
from crafts.training.tasks.denoiser import DenoiserTask
from crafts.training.train import TrainConfig

SIZES = ["crop=4", "batch_size=4", "painted_tiles=48"]
DRAWN = ("noise", "t")


class Bench:
    """Painted tiles, their latents, and the batches that a leg would train on."""

    def __init__(self, model: Path, output: Path) -> None:
        self.model, self.output = model, output
        self.config = configure("losses", SIZES, fast=True, data="painted")
        bundle = load_bundle(model)
        self.tiles: Tiles = open_tiles(self.config, output, factor=bundle.codec.factor)
        write_classes(self.tiles, output)
        self.codec = bundle.codec
        self.wishes = Wishes(0.2, 0.3, self.tiles.left_out, bundle.text.count_tokens)

    def task(self, leg: Leg, *, seed: int = 0) -> DenoiserTask:
        degraded = leg.view == "figures"
        latents = encode_training(self.tiles, self.output, codec=self.codec, degraded=degraded)
        data = write_view(leg.view, latents, self.output, self.wishes)
        recipe = build_recipe(leg, self.config, start=self.model, data=data, seed=seed)
        config = validate(TrainConfig, recipe, "test")
        return DenoiserTask(
            config.stage,
            config.data,
            seed=seed,
            device=torch.device("cpu"),
            dtype=torch.float32,
            batches=Batches(4, 4),
        )

    def batch(self, leg: Leg, *, seed: int = 0) -> dict[str, Any]:
        return make_batch(self.task(leg, seed=seed), range(8))


@pytest.fixture(scope="module")
def bench(tiny_model, tmp_path_factory) -> Bench:
    return Bench(tiny_model, tmp_path_factory.mktemp("bench"))


def test_arms_with_and_without_losses_see_the_same_batches(bench):
    arms = load_experiment(bench.config).arms
    first, *others = (bench.batch(arm.legs[0], seed=3) for arm in arms)
    for other in others:
        assert other["keys"] == first["keys"]
        for name in (*DRAWN, "x0", "tokens", "mask"):
            assert torch.equal(other[name], first[name]), name
    assert bench.batch(arms[0].legs[0], seed=4)["keys"] != first["keys"]


@pytest.mark.parametrize("view", ["flipped", "without:stain"])
def test_arms_with_other_words_see_the_same_crops(bench, view):
    clean, other = bench.batch(Leg()), bench.batch(Leg(view))
    assert other["keys"] == clean["keys"]
    assert all(torch.equal(other[name], clean[name]) for name in (*DRAWN, "x0"))
    assert not torch.equal(other["tokens"], clean["tokens"])


def test_a_stage_of_figures_sees_worse_pictures_of_the_same_tiles(bench):
    clean, other = bench.batch(Leg()), bench.batch(Leg("figures"))
    assert other["keys"] == clean["keys"]
    assert all(torch.equal(other[name], clean[name]) for name in DRAWN)
    assert not torch.equal(other["x0"], clean["x0"])


def test_no_batch_has_a_held_out_patient_or_a_class_left_out(bench):
    held = bench.tiles.rows((*bench.tiles.prompts, *bench.tiles.others))
    patients = {row["patient"] for row in held}
    for view in ("clean", "seen", "flipped"):
        task = bench.task(Leg(view))
        trained = [task.rows[task.split.row(position)] for position in range(400)]
        assert not patients & {row["patient"] for row in trained}
        labels = {row["stratum"] for row in trained}
        assert bool(labels & set(bench.tiles.left_out)) == (view != "seen")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [12, 25, 300])
def test_legs_of_every_arm_add_up_to_the_same_steps(name, steps):
    config = configure(name, [f"num_steps={steps}"])
    for arm in load_experiment(config).arms:
        if arm.legs:  # the arms of `guidance` share one checkpoint and train nothing
            assert sum(leg_steps(leg, config) for leg in arm.legs) == steps


def test_longer_text_keeps_more_for_the_backward_pass(tiny_model):
    short, long, longer = step_costs(tiny_model, [10, 20, 40], batch_size=2)
    assert (short.tokens, long.tokens) == (10, 20)
    grown = long.saved_bytes - short.saved_bytes
    assert grown > 0
    assert longer.saved_bytes - long.saved_bytes == 2 * grown  # cross-attention is linear in it
    assert short.seconds > 0
