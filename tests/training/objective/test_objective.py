"""The CRAFTS objective in training: what it teaches, what it leaves alone, what it keeps."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import configure
from tests.training.test_train import assert_same, begin, losses_of, weights_of
from torch import nn

from crafts.core.errors import ConfigError, DataError, InterruptedRunError
from crafts.losses.relations import relation_matrix, unordered_pairs
from crafts.training import loop, train
from crafts.training.loader import make_batch
from crafts.training.objective.objective import Batches
from crafts.training.session.checkpoints import newest_checkpoint
from crafts.training.tasks.task import build_task

TINY_DENOISER = {
    "sample_size": 4,
    "channels": 8,
    "block_out_channels": [16, 32],
    "attention": [False, True],
    "num_heads": 2,
    "cross_attention_dim": 160,
    "norm_num_groups": 8,
}


@pytest.fixture
def classes(tmp_path: Path) -> str:
    """A file of classes: three of the four labels of painted tissue."""
    path = tmp_path / "classes.json"
    names = ("glands", "stroma", "fat")
    path.write_text(json.dumps({name: {"prompts": [f"{name}, H&E", name]} for name in names}))
    return str(path)


@pytest.fixture
def both(recipe: dict[str, Any], classes: str) -> dict[str, Any]:
    """The recipe with both losses."""
    recipe["stage"] |= {
        "weights": {"semantic": 0.5, "category": 0.5},
        "category": {"classes": classes},
    }
    return recipe


def values_of(run: train.Run, first: int = 0) -> dict[str, torch.Tensor]:
    """Losses and numbers of one pass."""
    batch = make_batch(run.task, range(first, first + run.config.global_batch_size))
    batch.pop("keys")
    return run.task.network(batch)


def gradients_of(run: train.Run) -> dict[str, torch.Tensor]:
    """Gradients of the first step; the optimizer does not move."""
    loop.accumulate(run, loop.made_now(run, 0))
    found = {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}
    run.optimizer.zero_grad(set_to_none=True)
    return found


def test_off_is_the_plain_loop_bit_for_bit(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"num_steps": 3, "optim": {"lr": 1e-3, "warmup_steps": 0}}
    train.run(configure(recipe), {}, tmp_path / "run")
    run = begin(configure(recipe), tmp_path / "plain")
    assert run.task.objective is None and list(make_batch(run.task, [0])) == [
        "x0", "noise", "t", "tokens", "mask", "keys",
    ]  # fmt: skip
    for step in range(3):
        batch = make_batch(run.task, range(4 * step, 4 * step + 4))
        run.task.network.per_sample(batch).mean().backward()
        nn.utils.clip_grad_norm_(run.parameters.values(), 1.0)
        run.optimizer.step()
        run.ema.update(step)
        run.optimizer.zero_grad(set_to_none=True)
    trained = weights_of(tmp_path / "run")
    plain = run.task.network.state_dict()
    assert_same(plain, {n: trained[f"weights/{n}"] for n in plain})
    assert_same(run.ema.weights, {n: trained[f"average/{n}"] for n in plain})
    assert not list((tmp_path / "run").rglob("objective.safetensors"))


def test_the_objective_teaches_what_it_says(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Runs of 30 steps, the same but for which of the losses counts: each lowers its own."""
    classes = tmp_path / "classes.json"
    labels = ("glands", "stroma", "lymphocytes", "fat")
    classes.write_text(json.dumps({label: {"prompts": [label]} for label in labels}))
    recipe["stage"] |= {
        "init_from": "mini",
        "denoiser": TINY_DENOISER,
        "relations": {"centre": True},
        "text_relations": {"centre": True},
        "category": {"classes": str(classes), "relations": "identity"},
    }
    recipe |= {
        "data": {"kind": "painted", "count": 32, "size": 32},
        "optim": {"lr": 3e-3, "warmup_steps": 1},
        "num_steps": 30,
        "global_batch_size": 16,
        "checkpoint_every": 1000,
        "say_every": 1000,
    }
    # painted captions name the class, so either loss draws the images into the same order: both are
    # held against a run in which neither counts
    weights = {"neither": "1e-6, 1e-6", "semantic": "3, 1e-6", "category": "1e-6, 10"}
    agreements, values = {}, {}
    for name, pair in weights.items():
        semantic, category = pair.split(", ")
        on = (f"stage.weights.semantic={semantic}", f"stage.weights.category={category}")
        run = begin(configure(recipe, *on), tmp_path / name)
        before = {loss: float(value) for loss, value in values_of(run, 10**6).items()}
        for step in range(30):
            loop.accumulate(run, loop.made_now(run, step))
            nn.utils.clip_grad_norm_(run.parameters.values(), 1.0)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
        agreements[name] = agreement(run)
        values[name] = {loss: float(value) for loss, value in values_of(run, 10**6).items()}
        assert values[name]["likeness"] < 0.75  # the ordinary level, without warning
    assert agreements["semantic"] > agreements["neither"] + 0.15
    for name in ("semantic", "category"):
        assert values[name][name] < 0.8 * before[name]
        assert values[name][name] < 0.8 * values["neither"][name]


def agreement(run: train.Run) -> float:
    """Correlation of image and text relations over the pairs of samples never trained on."""
    batch = make_batch(run.task, range(10**6, 10**6 + 16))
    with torch.no_grad():
        x_t, prediction = run.task.network._predict(batch)
    estimate = run.task.bundle.schedule.x0_from(prediction, x_t, batch["t"])
    relations = [relation_matrix(rows) for rows in (estimate.flatten(1), batch["text"])]
    return float(torch.corrcoef(torch.stack([unordered_pairs(m) for m in relations]))[0, 1])


def test_frozen_parts_get_no_gradient(both: dict[str, Any], tmp_path: Path) -> None:
    run = begin(configure(both), tmp_path / "run")
    bundle = run.task.bundle
    frozen = [p for part in (bundle.codec.module, bundle.text.encoder) for p in part.parameters()]
    values = values_of(run)
    for name in ("semantic", "category"):
        values[name].backward(retain_graph=True)
        assert any(float(p.grad.abs().max()) > 0 for p in run.parameters.values())
        assert all(p.grad is None for p in frozen)
        run.optimizer.zero_grad()
    assert not run.task.objective.categories.features.requires_grad


@pytest.mark.parametrize("pool", ["flatten", "moments", "grid", "midblock"])
def test_every_pool_reaches_the_denoiser_and_leaves_no_hook(
    both: dict[str, Any], tmp_path: Path, pool: str
) -> None:
    settings = (f"stage.relations.pool={pool}", "stage.relations.grid=2")
    run = begin(configure(both, *settings), tmp_path / "run")
    values_of(run)["semantic"].backward()
    assert float(run.task.bundle.denoiser.conv_in.weight.grad.abs().max()) > 0
    assert not run.task.bundle.denoiser.mid_block._forward_hooks


def test_gradient_checkpointing_gives_the_same_gradients(
    both: dict[str, Any], tmp_path: Path
) -> None:
    both |= {"precision": "fp64"}
    both["stage"] |= {"relations": {"pool": "midblock"}}
    plain = gradients_of(begin(configure(both), tmp_path / "plain"))
    other = configure(both, "stage.gradient_checkpointing=true")
    recomputed = gradients_of(begin(other, tmp_path / "recomputed"))
    assert all(torch.allclose(plain[n], recomputed[n], atol=1e-12) for n in plain)


def test_low_rank_additions_and_mixed_precision(both: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    both["stage"] |= {"strength": {"kind": "ratio", "every": 1}}
    run = begin(configure(both, "stage.lora.rank=2", "precision=bf16"), tmp_path / "run")
    assert run.parameters and all("lora" in name for name in run.parameters)
    assert loop.measure(run, 0)["ratio_semantic"] == pytest.approx(0.1)
    with loop.autocast(run.config, torch.device("cpu")):
        values = values_of(run)
    assert values["semantic"].dtype == values["category"].dtype == torch.float32
    assert all(torch.isfinite(g).all() for g in gradients_of(run).values())


def test_a_dropped_caption_still_speaks_of_its_image(both: dict[str, Any]) -> None:
    batches = []
    for dropout in ("0.0", "1.0"):
        config = configure(both, f"stage.caption_dropout={dropout}")
        task = build_task(
            config.stage, config.data, seed=0, device=torch.device("cpu"), dtype=torch.float32,
            batches=Batches(4, 4),
        )  # fmt: skip
        batches.append(make_batch(task, range(8)))
    kept, dropped = batches
    assert torch.equal(kept["text"], dropped["text"]) and len(kept["text"].unique(dim=0)) > 1
    assert not torch.equal(kept["tokens"], dropped["tokens"])
    assert set(kept["category"].tolist()) <= {-1, 0, 1, 2} and -1 in kept["category"]


def test_a_step_may_share_its_timestep(both: dict[str, Any], tmp_path: Path) -> None:
    run = begin(configure(both, "stage.relations.shared_timestep=true"), tmp_path / "run")
    steps = [make_batch(run.task, range(4 * step, 4 * step + 4))["t"].tolist() for step in range(6)]
    assert all(len(set(step)) == 1 for step in steps) and len({step[0] for step in steps}) > 3
    assert make_batch(run.task, [9])["t"].item() == steps[2][0]  # whichever pass or process has it


@pytest.mark.parametrize("strength", ["fixed", "ratio"])
def test_stopped_and_resumed_equals_undisturbed(
    both: dict[str, Any], tmp_path: Path, strength: str
) -> None:
    both["data"] |= {"balance": 0.5, "spread_groups": True}
    both["stage"] |= {"relations": {"queue": 10}, "strength": {"kind": strength, "every": 2}}
    both |= {"num_steps": 6, "checkpoint_every": 1}
    train.run(configure(both), {}, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    for _ in range(3):  # a stop after each of the first steps
        run = begin(configure(both), stopped)
        with pytest.raises(InterruptedRunError):
            loop.train(run, [signal.SIGTERM])
    train.run(configure(both), {}, stopped)
    assert_same(weights_of(tmp_path / "whole"), weights_of(stopped))
    assert losses_of(tmp_path / "whole") == losses_of(stopped)
    states = [newest_checkpoint(tmp_path / n / "checkpoints") for n in ("whole", "stopped")]
    whole, resumed = (state.objective for state in states if state)
    assert_same(whole, resumed)
    assert int(whole["queue.filled"]) == 10
    positions = whole["queue.position"].tolist()
    assert positions == list(range(23, 13, -1))  # the latest ten of 24 samples


def test_a_queue_adds_pairs_and_a_skipped_step_leaves_none(
    both: dict[str, Any], tmp_path: Path
) -> None:
    run = begin(configure(both, "stage.relations.queue=6"), tmp_path / "run")
    objective = run.task.objective
    pairs = []
    for step, updated in enumerate((True, False, True, True)):
        values, _ = loop.accumulate(run, loop.made_now(run, step))
        pairs.append(values["effective_pairs"])
        objective.end_step(values, updated=updated, loud=False)
    assert pairs == [6, 6 + 4 * 4, 6 + 4 * 4, 6 + 4 * 6]  # queue of 0, 4, 4 and 6


def test_passes_of_another_size_are_not_resumed(both: dict[str, Any], tmp_path: Path) -> None:
    run = begin(configure(both), tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        loop.train(run, [signal.SIGTERM])
    with pytest.raises(ConfigError, match="micro_batch_size: 2; expected None"):
        train.run(configure(both, "micro_batch_size=2"), {}, tmp_path / "run")
    state = run.task.objective.state() | {"together": torch.tensor(8)}
    with pytest.raises(ConfigError, match="4 samples of a pass over all processes; expected 8"):
        run.task.objective.load(state, torch.device("cpu"))


def test_the_run_says_what_a_pass_sees(
    both: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    both |= {"num_steps": 1, "micro_batch_size": 2}
    train.run(configure(both), {}, tmp_path / "run")
    seen = "the semantic and category losses compare the 2 samples of a pass with each other, not"
    assert capsys.readouterr().err.count(seen) == 1
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"In training, {seen} the 4 of a step." in card
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["effective_pairs"] == 1 and {"semantic", "category", "weight_spread"} <= set(row)


def test_collapse_is_warned_of_and_ordinary_training_is_not(
    both: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """From the fourth step on the network gives every sample the same image."""
    both["stage"] |= {
        "init_from": "mini",
        "denoiser": TINY_DENOISER,
        "schedule": {"prediction_type": "sample"},
    }
    both |= {"num_steps": 60, "checkpoint_every": 1000, "validate_every": 1000}
    run = begin(configure(both, "global_batch_size=8"), tmp_path / "run")
    objective, network = run.task.objective, run.task.network
    predict, warned = network._predict, []
    for step in range(60):
        if step == 4:
            network._predict = lambda batch: (batch["noise"], torch.full_like(batch["x0"], 0.3))
        elif step < 4:  # as good as it gets
            network._predict = lambda batch: (predict(batch)[0], batch["x0"])
        with torch.no_grad():
            values = {name: float(value) for name, value in values_of(run, 8 * step).items()}
        objective.end_step(values, updated=True, loud=True)
        warned.append("grow alike" in capsys.readouterr().err)
    assert warned.count(True) == 1 and 5 < warned.index(True) < 50
    assert values["likeness"] == pytest.approx(1)


def test_a_recipe_that_cannot_work_is_refused(
    both: dict[str, Any], classes: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="passes of one sample; expected passes of two or more"):
        train.run(configure(both, "micro_batch_size=1"), {}, tmp_path / "a")
    schedule = "stage.schedule={prediction_type: epsilon, zero_terminal_snr: true}"
    with pytest.raises(ConfigError, match="no clean latents follow from the noise alone"):
        configure(both, schedule)
    with pytest.raises(DataError, match="no training row with a class in column 'organ'"):
        train.run(configure(both, "stage.category.column=organ"), {}, tmp_path / "c")
    with pytest.raises(ConfigError, match=r"stage\.denoiser\.weights\.semantic|semantic: -1"):
        configure(both, "stage.weights.semantic=-1")
    assert train.run(
        configure(both, "micro_batch_size=1", "stage.relations.queue=8", "num_steps=1"),
        {}, tmp_path / "d",
    ).counts["steps"] == 1  # fmt: skip
