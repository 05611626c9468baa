"""Truths of training: exact resume, frozen parts, learning, refusals."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tests.training.conftest import configure

from crafts.captions.trained_on import collect
from crafts.core.artifacts import load_manifest, lock
from crafts.core.errors import ConfigError, DataError, InterruptedRunError, RetryError
from crafts.data import pack
from crafts.data.painter import paint_tile
from crafts.model.bundle import load_bundle, save_bundle
from crafts.testing import write_tiny_model
from crafts.training import loop, train
from crafts.training.loader import make_batch
from crafts.training.tasks.task import build_task
from fixtures_model import TINY_DENOISER

SMALL_CLIP = {
    "vision": {"kind": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "text": {"width": 16, "num_layers": 1, "num_heads": 2, "intermediate": 32},
    "projection_dim": 8,
    "image_size": 32,
}


class After(list):
    """Signals that are there from the n-th question on."""

    def __init__(self, steps: int) -> None:
        super().__init__([signal.SIGTERM])
        self.left = steps

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


def begin(config: train.TrainConfig, output: Path) -> loop.Run:
    """The moving parts of a fresh run, to look into."""
    output.mkdir(exist_ok=True)
    alone, device = train.Processes(), torch.device("cpu")
    return train._start(config, output, device, alone)


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    newest = sorted((output / "checkpoints").glob("step-*"))[-1]
    parts = {
        name: load_file(newest / "training" / f"{name}.safetensors")
        for name in ("weights", "average", "optimizer")
    }
    return {
        f"{part}/{name}": value
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert set(a) == set(b)
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, f"{len(different)} tensors differ, first {different[0]}"


def losses_of(output: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def command(recipe: dict[str, Any], folder: Path, output: Path) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return [sys.executable, "-m", "crafts.cli", "train", str(path), "--output", str(output)]


def test_stopped_and_resumed_equals_undisturbed(recipe: dict[str, Any], tmp_path: Path) -> None:
    train.run(configure(recipe), {}, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    run = begin(configure(recipe), stopped)
    with pytest.raises(InterruptedRunError, match="signal after step 1"):
        loop.train(run, [signal.SIGTERM])
    manifest = train.run(configure(recipe), {}, stopped)
    assert manifest.counts == {"steps": 8, "skipped": 0}
    assert_same(weights_of(tmp_path / "whole"), weights_of(stopped))
    assert losses_of(tmp_path / "whole") == losses_of(stopped)


def test_killed_and_resumed_equals_undisturbed(recipe: dict[str, Any], tmp_path: Path) -> None:
    """With all that a run can carry along: both losses, their queue, a steered strength."""
    recipe["stage"] |= with_both_losses(tmp_path)
    recipe["data"] |= {"balance": 0.5, "spread_groups": True}
    killed_and_resumed_equals_undisturbed(recipe, tmp_path, kills=1, seed=0)


def killed_and_resumed_equals_undisturbed(
    recipe: dict[str, Any], tmp_path: Path, *, kills: int, seed: int
) -> None:
    """kill -9 at random moments, saves included; in the end all weights and losses are equal."""
    recipe |= {"num_steps": 10 * kills, "checkpoint_every": 3, "global_batch_size": 8}
    train.run(configure(recipe), {}, tmp_path / "whole")
    rng, output = random.Random(seed), tmp_path / "killed"
    for kill in range(kills):
        process = subprocess.Popen(command(recipe, tmp_path, output), stderr=subprocess.DEVNULL)
        wanted = count_rows(output) + rng.randrange(5)
        while process.poll() is None and count_rows(output) <= wanted:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        alive = process.poll() is None
        process.kill()
        process.wait()
        assert alive, "the run ended before it was killed"
        steps = [path.name for path in sorted((output / "checkpoints").glob("step-*"))]
        print(f"kill {kill + 1}: {count_rows(output)} rows in metrics.jsonl, checkpoints {steps}")
    last = subprocess.run(command(recipe, tmp_path, output), stderr=subprocess.DEVNULL)
    assert last.returncode == 0
    assert_same(weights_of(tmp_path / "whole"), weights_of(output))
    assert losses_of(tmp_path / "whole") == losses_of(output)


def count_rows(output: Path) -> int:
    path = output / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_sigterm_saves_and_says_how_to_go_on(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"num_steps": 500, "checkpoint_every": 500}
    output = tmp_path / "run"
    process = subprocess.Popen(command(recipe, tmp_path, output), stderr=subprocess.PIPE, text=True)
    while count_rows(output) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        "The checkpoint is saved; the same command goes on from it." in printed
        and "Traceback" not in printed
    )
    assert list((output / "checkpoints").glob("step-*/manifest.json"))


@pytest.mark.parametrize("micro", [1, 2])
def test_accumulation_gives_the_same_gradients(
    recipe: dict[str, Any], tmp_path: Path, micro: int
) -> None:
    recipe |= {"precision": "fp64"}
    gradients = []
    for size in (4, micro):
        config = configure(recipe, f"micro_batch_size={size}")
        run = begin(config, tmp_path / f"{micro}-{size}")
        loop.accumulate(run, loop.made_now(run, 0))
        gradients.append({name: p.grad for name, p in run.parameters.items()})
    assert all(torch.allclose(gradients[0][n], gradients[1][n], atol=1e-12) for n in gradients[0])


def test_frozen_parts_get_no_gradient_and_do_not_move(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    config = configure(recipe)
    run = begin(config, tmp_path / "run")
    bundle = run.task.bundle
    before = [
        p.clone() for part in (bundle.codec.module, bundle.text.encoder) for p in part.parameters()
    ]
    loop.accumulate(run, loop.made_now(run, 0))
    frozen = [p for part in (bundle.codec.module, bundle.text.encoder) for p in part.parameters()]
    assert all(p.grad is None for p in frozen)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))
    assert all(p.grad is not None for p in bundle.denoiser.parameters())


def test_learns_two_tiles(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {
        "data": {"kind": "painted", "count": 2, "size": 32},
        "num_steps": 150,
        "checkpoint_every": 150,
        "optim": {"lr": 5e-3, "warmup_steps": 5},
        "global_batch_size": 8,
        "say_every": 50,
    }
    train.run(configure(recipe), {}, tmp_path / "run")
    losses = [loss for _, loss in losses_of(tmp_path / "run")]
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


def test_a_non_finite_step_is_skipped_counted_and_named(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = begin(configure(recipe), tmp_path / "run")
    sample, poisoned = run.task.sample, []

    def poison(position: int) -> dict[str, Any]:
        values = sample(position)
        if position == 8:  # the third step
            values["noise"][0, 0, 0] = float("nan")
            poisoned.append(values["key"])
        return values

    run.task.sample = poison  # type: ignore[method-assign]
    loop.train(run, [])
    assert run.progress.skipped == 1 and run.progress.step == 8
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())
    printed = capsys.readouterr().err
    assert (
        "step 3: non-finite gradient, step skipped (1 so far)" in printed and poisoned[0] in printed
    )


def test_too_many_non_finite_steps_end_the_run(recipe: dict[str, Any], tmp_path: Path) -> None:
    run = begin(configure(recipe, "max_skipped_in_a_row=2"), tmp_path / "run")
    sample = run.task.sample
    run.task.sample = lambda position: (
        sample(position) | {"noise": torch.full((4, 4, 4), float("inf"))}
    )
    with pytest.raises(DataError, match="2 non-finite gradients in a row"):
        loop.train(run, [])


def test_caption_dropout_is_independent_of_the_rest(recipe: dict[str, Any]) -> None:
    tasks = []
    for dropout in ("0.0", "0.9"):
        config = configure(recipe, f"stage.caption_dropout={dropout}")
        task = build_task(
            config.stage, config.data, seed=0, device=torch.device("cpu"), dtype=torch.float32
        )
        tasks.append(make_batch(task, range(16)))
    kept, dropped = tasks
    assert kept["keys"] == dropped["keys"]
    for name in ("x0", "noise", "t"):
        assert torch.equal(kept[name], dropped[name])
    assert not torch.equal(kept["tokens"], dropped["tokens"])


def test_resume_refuses_another_recipe(recipe: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "run"
    train.run(configure(recipe), {}, output)
    with pytest.raises(ConfigError, match="seed: 1; expected 0"):
        train.run(configure(recipe, "seed=1"), {}, output)
    with pytest.raises(ConfigError, match="checkpoints of an earlier run"):
        train.run(configure(recipe), {}, output, resume="never")
    assert train.run(configure(recipe, "say_every=7"), {}, output).counts["steps"] == 8
    copy = output / "checkpoints" / "step-0000004-backup"  # somebody's, and not the newest
    shutil.copytree(output / "checkpoints" / "step-0000008", copy)
    assert train.run(configure(recipe), {}, output).counts["steps"] == 8
    shutil.rmtree(output / "checkpoints")
    with pytest.raises(ConfigError, match="model of an earlier run"):
        train.run(configure(recipe), {}, output, resume="never")


def test_a_folder_with_somebody_elses_config_is_left_alone(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("mine: true\n")
    with pytest.raises(ConfigError, match="existing files that no stage of crafts wrote"):
        train.run(configure(recipe), {}, tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "mine: true\n"


def test_names_that_would_choose_nothing_are_refused(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    for override, words in (
        ("data.balance_by=lable", "balance_by: lable; expected .*label"),
        ("data.sets=[panted]", "sets: panted; expected painted"),
    ):
        config = configure(recipe, "data.balance=1.0", override)
        with pytest.raises(ConfigError, match=words):
            train.run(config, {}, tmp_path / "run")


def test_pure_noise_at_the_end_goes_with_no_min_snr(recipe: dict[str, Any], tmp_path: Path) -> None:
    schedule = "stage.schedule={zero_terminal_snr: true}"
    with pytest.raises(ConfigError, match="min_snr_gamma: 5 with a last timestep of pure noise"):
        train.run(configure(recipe, schedule), {}, tmp_path / "run")
    with pytest.raises(ConfigError, match="no clean latents follow from the noise alone"):
        configure(recipe, "stage.schedule={zero_terminal_snr: true, prediction_type: epsilon}")


def test_a_schedule_shorter_than_the_preset_is_pictured(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    config = configure(recipe, "stage.schedule={num_timesteps: 10}", "num_steps=1")
    assert train.run(config, {}, tmp_path / "run").counts["steps"] == 1
    assert list((tmp_path / "run/samples").glob("*.png"))


def test_tiles_of_several_sizes_are_refused_before_training(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    for number, size in enumerate((32, 64)):
        folder = tmp_path / "tiles" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        image = paint_tile(seed=0, index=number, size=size).image
        Image.fromarray(image).save(folder / f"{number}.png")
    pack.run(pack.PackConfig(), tmp_path / "tiles", tmp_path / "shards")
    shards = f"data={{kind: shards, folder: {tmp_path / 'shards'}}}"
    with pytest.raises(ConfigError, match="tiles of 32 x 32, 64 x 64 px"):
        train.run(configure(recipe, shards), {}, tmp_path / "run")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_held_output_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(RetryError, match="a lock held by process"):
        train.run(configure(recipe), {}, tmp_path)


def test_a_shorter_last_micro_batch_weighs_less(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"precision": "fp64"}
    gradients = []
    for size in (4, 3):
        run = begin(configure(recipe, f"micro_batch_size={size}"), tmp_path / str(size))
        loop.accumulate(run, loop.made_now(run, 0))
        gradients.append({name: p.grad for name, p in run.parameters.items()})
    assert all(torch.allclose(gradients[0][n], gradients[1][n], atol=1e-12) for n in gradients[0])


def test_a_caption_does_not_depend_on_its_batch(recipe: dict[str, Any]) -> None:
    config = configure(recipe, "stage.max_chunks=3", "stage.caption_dropout=0.5")
    task = build_task(
        config.stage, config.data, seed=0, device=torch.device("cpu"), dtype=torch.float64
    )
    for row in task.rows:
        row["captions"] = ["lung " * 30, "lung " * 100]
    whole, network = make_batch(task, range(6)), task.network.eval()
    assert whole["tokens"].shape[1] > 77 and not whole["mask"].all()
    keys = whole.pop("keys")
    together = network.per_sample(whole)
    for position in range(6):
        alone = make_batch(task, [position])
        assert alone.pop("keys") == [keys[position]]
        assert torch.allclose(network.per_sample(alone)[0], together[position], atol=1e-12)


def test_cut_captions_are_said(recipe: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    config = configure(recipe)
    task = build_task(
        config.stage, config.data, seed=0, device=torch.device("cpu"), dtype=torch.float32
    )
    task.captions.say_what_is_cut(["short", "lung " * 100 + "the end"])
    printed = "1 of 2 captions looked at are longer than stage.max_chunks = 1"
    assert printed in capsys.readouterr().err


def test_a_run_without_held_out_tiles_says_so_once(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "tiles").mkdir()
    for index in range(6):
        tile = paint_tile(seed=0, index=index, size=32)
        Image.fromarray(tile.image).save(tmp_path / "tiles" / f"{index}.png")
        (tmp_path / "tiles" / f"{index}.txt").write_text(tile.caption)
    pack.run(pack.PackConfig(), tmp_path / "tiles", tmp_path / "all")
    pack.run(pack.PackConfig(validation=0.4), tmp_path / "tiles", tmp_path / "some")
    printed = []
    for folder, every in (("all", 1), ("all", 0), ("some", 1)):
        recipe["data"] = {"kind": "shards", "folder": str(tmp_path / folder)}
        config = configure(recipe, f"validate_every={every}", "num_steps=2")
        train.run(config, {}, tmp_path / f"{folder}-{every}")
        printed.append(capsys.readouterr().err)
    line = "nothing is held out: no held-out loss; pack with --set validation=0.1"
    assert [text.count(line) for text in printed] == [1, 0, 0]
    assert printed[2].count("held out: ") == 2


def test_another_artifact_is_no_output(recipe: dict[str, Any], tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="a finished artifact of stage 'bundle'"):
        train.run(configure(recipe), {}, tiny_model)


def test_resume_refuses_changed_inputs(
    recipe: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    recipe["stage"]["init_from"] = str(model)
    run = begin(configure(recipe), tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        loop.train(run, [signal.SIGTERM])
    shutil.rmtree(model)
    write_tiny_model(model, seed=1)
    with pytest.raises(ConfigError, match="input 'init_from': fingerprint"):
        train.run(configure(recipe), {}, tmp_path / "run")


def test_a_checkpoint_without_manifest_is_set_aside(recipe: dict[str, Any], tmp_path: Path) -> None:
    train.run(configure(recipe), {}, tmp_path / "whole")
    output = tmp_path / "run"
    run = begin(configure(recipe), output)
    with pytest.raises(InterruptedRunError):
        loop.train(run, After(5))
    newest = sorted((output / "checkpoints").glob("step-*"))[-1]
    (newest / "manifest.json").unlink()
    train.run(configure(recipe), {}, output)
    assert (newest.parent / f"damaged-{newest.name}").exists()
    assert_same(weights_of(tmp_path / "whole"), weights_of(output))


def test_a_skipped_step_leaves_batch_statistics_alone(tmp_path: Path) -> None:
    clip = {"kind": "clip", "size": 32, "vocab_size": 600, "encoder": SMALL_CLIP}
    recipe = {
        "stage": clip,
        "data": {"kind": "painted", "count": 8, "size": 32},
        "num_steps": 3,
        "global_batch_size": 4,
        "device": "cpu",
    }
    run = begin(configure(recipe), tmp_path / "run")
    sample = run.task.sample

    def poison(position: int) -> dict[str, Any]:
        values = sample(position)
        if position == 4:
            values["image"] = torch.full_like(values["image"], float("nan"))
        return values

    run.task.sample = poison
    loop.train(run, [])
    assert run.progress.skipped == 1
    assert all(torch.isfinite(v).all() for v in weights_of(tmp_path / "run").values())


def test_a_contrast_is_not_split(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stage"] = {"kind": "clip", "size": 32}
    with pytest.raises(ConfigError, match="the whole batch in one pass"):
        train.run(configure(recipe, "micro_batch_size=2"), {}, tmp_path / "run")


def test_unknown_losses_are_refused(recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="denoisin"):
        configure(recipe, "stage.weights.denoisin=2")


def test_the_card_and_manifest_say_what_the_recipe_says(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    train.run(configure(recipe, "stage.licence=CC-BY-4.0"), {}, tmp_path / "run")
    model = tmp_path / "run" / "model"
    assert "license_name: CC-BY-4.0" in (model / "README.md").read_text()
    manifest = load_manifest(model)
    assert manifest.stage == "train" and manifest.extra["licence"] == "CC-BY-4.0"
    assert manifest.extra["mpp"] == "unknown" and set(manifest.inputs) == {"data", "init_from"}


@pytest.mark.parametrize(("given", "kept"), [("unknown", "CC-BY-NC-4.0"), ("CC0", "CC0")])
def test_a_fine_tuned_model_keeps_what_its_parent_was(
    recipe: dict[str, Any], tmp_path: Path, tiny_model: Path, given: str, kept: str
) -> None:
    parent = replace(
        load_bundle(tiny_model),
        licence="CC-BY-NC-4.0",
        mpp=0.5,
        extra={"guidance": {"paper": 3.0}},
        trained_on=collect([{"key": "old", "text": "spleen", "label": "old"}]),
    )
    save_bundle(parent, tmp_path / "parent", card="# parent")
    recipe["stage"] |= {"init_from": str(tmp_path / "parent"), "licence": given}
    train.run(configure(recipe, "num_steps=1"), {}, tmp_path / "run")
    child = load_bundle(tmp_path / "run" / "model")
    assert (child.licence, child.extra) == (kept, {"guidance": {"paper": 3.0}})
    assert child.mpp == "unknown", "the scale of other tiles says nothing of these"
    assert child.trained_on is not None and "old" in child.trained_on.classes()
    known = child.trained_on.known_words()
    assert known.counts["spleen"] == 1
    assert [found.word for found in known.unknown("a spleen, a liver")] == ["liver"]
    assert [corpus.tiles for corpus in child.trained_on.corpora.values()] == [1, 12]
    recipe["stage"] |= {"init_from": str(tmp_path / "run" / "model")}
    train.run(configure(recipe, "num_steps=1"), {}, tmp_path / "again")  # the same tiles once more
    assert load_bundle(tmp_path / "again" / "model").trained_on == child.trained_on


def test_a_denoiser_from_random_weights_inherits_nothing(
    recipe: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    parent = replace(load_bundle(tiny_model), extra={"guidance": {"paper": 3.0}})
    parent.trained_on = collect([{"key": "old", "text": "spleen"}])
    save_bundle(parent, tmp_path / "parent", card="# parent")
    recipe["stage"] |= {
        "init_from": str(tmp_path / "parent"),
        "denoiser": TINY_DENOISER.model_dump(),
    }
    train.run(configure(recipe, "num_steps=1"), {}, tmp_path / "run")
    child = load_bundle(tmp_path / "run" / "model")
    assert child.extra == {} and child.trained_on is not None
    assert [corpus.tiles for corpus in child.trained_on.corpora.values()] == [12]


def test_parts_that_do_not_fit_are_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    config = configure(recipe, "stage.denoiser.channels=8", "stage.denoiser.cross_attention_dim=16")
    with pytest.raises(ConfigError, match="8 latent channels; expected 16 and 4"):
        train.run(config, {}, tmp_path / "run")


def test_missing_parts_are_named(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stage"] = {"kind": "denoiser", "init_from": None}
    with pytest.raises(ConfigError, match="all of codec_from, text_from and denoiser"):
        train.run(configure(recipe), {}, tmp_path / "run")


def test_low_rank_additions_train_alone_and_are_merged(
    recipe: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    pytest.importorskip("peft")
    recipe["stage"]["lora"] = {"rank": 2}
    recipe |= {"optim": {"lr": 1e-2, "warmup_steps": 0}}
    train.run(configure(recipe), {}, tmp_path / "run")
    before = load_file(tiny_model / "unet" / "diffusion_pytorch_model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    assert set(before) == set(after)
    moved = {name for name in before if not torch.allclose(before[name], after[name])}
    assert moved and all(".attn" in name for name in moved)


@pytest.mark.parametrize(
    ("objective", "precision", "tolerance"),
    [
        (True, "fp64", 1e-10),
        pytest.param(True, "fp32", 1e-4, marks=pytest.mark.soak),
        pytest.param(False, "fp64", 1e-10, marks=pytest.mark.soak),
        pytest.param(False, "fp32", 1e-4, marks=pytest.mark.soak),
    ],
)
def test_two_processes_equal_one(
    recipe: dict[str, Any], tmp_path: Path, objective: bool, precision: str, tolerance: float
) -> None:
    """Same samples, noise and timesteps; the gradients differ by summation order only."""
    pytest.importorskip("torch.distributed")
    recipe |= {"num_steps": 2, "checkpoint_every": 2, "precision": precision}
    if objective:  # the second step compares with the first, and steers by its own ratios
        recipe["stage"] |= with_both_losses(tmp_path)
    train.run(configure(recipe), {}, tmp_path / "one")
    output = tmp_path / "two"
    printed = in_two_processes(command(recipe, tmp_path, output))
    assert printed.count(f"{output}:") == 1
    one, two = weights_of(tmp_path / "one"), weights_of(output)
    moments = [name for name in one if name.endswith("exp_avg")]
    for name in moments:  # exp_avg is a fixed combination of the two gradients
        scale = one[name].abs().max().clamp(min=1e-30)
        assert float((one[name] - two[name]).abs().max() / scale) < tolerance, name
    rows = [rows_of(tmp_path / "one"), rows_of(output)]
    numbers = ("loss", "semantic", "category", "ratio_category", "likeness", "effective_pairs")
    for a, b in zip(*rows, strict=True):
        found = [name for name in numbers if name in a]
        assert found == ([*numbers] if objective else ["loss"])
        assert [a[name] for name in found] == pytest.approx(
            [b[name] for name in found], rel=tolerance
        )
    assert [row["step"] for row in rows[1]] == [0, 1]


def with_both_losses(folder: Path) -> dict[str, Any]:
    """Sections of the denoiser stage: both losses, steered, with a queue."""
    classes = folder / "classes.json"
    names = ("glands", "stroma", "fat")
    classes.write_text(json.dumps({name: {"prompts": [f"{name}, H&E", name]} for name in names}))
    return {
        "weights": {"semantic": 0.5, "category": 0.5},
        "category": {"classes": str(classes)},
        "relations": {"queue": 6, "noise": "alpha"},
        "strength": {"kind": "ratio", "every": 1},
    }


def rows_of(output: Path) -> list[dict[str, Any]]:
    """Rows of the steps in metrics.jsonl."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def in_two_processes(arguments: list[str]) -> str:
    """Run a command of ours under torchrun with two processes; what it printed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, "--standalone", *arguments[1:]], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_equal_runs_give_equal_manifests_and_pictures_that_say_what_they_are(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe["num_steps"] = 2
    for name in ("one", "two"):
        train.run(configure(recipe), {}, tmp_path / name)
    one, two = (load_manifest(tmp_path / name) for name in ("one", "two"))
    assert one == two and "metrics.jsonl" in one.files and "speed.jsonl" not in one.files
    speeds = [json.loads(x) for x in (tmp_path / "one/speed.jsonl").read_text().splitlines()]
    assert [row["step"] for row in speeds] == [0, 1]
    assert all(row["images_per_second"] > 0 for row in speeds)
    assert sorted(path.name for path in (tmp_path / "one").glob(".*")) == []
    pictures = list((tmp_path / "one/samples").glob("*.png"))
    assert pictures and all(b"trainedAlgorithmicMedia" in p.read_bytes() for p in pictures)


def test_a_run_whose_every_step_was_skipped_fails(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["num_steps"] = 2
    run = begin(configure(recipe), tmp_path / "run")
    for parameter in run.parameters.values():
        parameter.register_hook(lambda gradient: gradient * float("nan"))
    loop.train(run, [])
    for _ in range(2):  # the same command does not finish it, either
        with pytest.raises(DataError, match="2 of 2 steps skipped for a non-finite gradient") as e:
            train._finish(run)
        assert e.value.exit_code == 3
    assert not (tmp_path / "run/manifest.json").exists()
    assert not (tmp_path / "run/model").exists()
    with pytest.raises(DataError, match="2 of 2 steps skipped"):
        train.run(configure(recipe), {}, tmp_path / "run")


def test_a_half_removed_checkpoint_is_pruned_by_the_next_run(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe |= {"num_steps": 2, "checkpoint_every": 1, "keep_checkpoints": 1}
    output = tmp_path / "run"
    train.run(configure(recipe), {}, output)
    left, gone = output / "checkpoints/step-0000001", output / "checkpoints/.step-0000001.gone"
    shutil.copytree(output / "checkpoints/step-0000002", left)  # as earlier versions left it
    (left / "training/weights.safetensors").unlink()
    shutil.copytree(left, gone)
    train.run(configure(recipe), {}, output)
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step-0000002"]
