"""A ControlNet learns beside a frozen denoiser, and in the end the map decides where things are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.conftest import configure
from tests.training.test_train import (
    assert_same,
    begin,
    command,
    in_two_processes,
    killed_and_resumed_equals_undisturbed,
    losses_of,
    rows_of,
    weights_of,
)

import crafts
from crafts import cli
from crafts.conditions.maps import MAP_CHANNELS, mask_map
from crafts.conditions.networks import BoundMaps
from crafts.controls.masks import save_mask
from crafts.core.artifacts import load_manifest
from crafts.core.errors import ConfigError, DataError
from crafts.model.control import build_control, load_control
from crafts.model.denoiser import build_denoiser
from crafts.model.schedule import ScheduleConfig, build_schedule
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import build_scheduler, sample
from crafts.testing import FakeCodec
from crafts.training import loop, train
from crafts.training.loader import make_batch
from crafts.training.tasks.control import ControlTask, SteeredNetwork
from fixtures_model import TINY_DENOISER
from fixtures_steering import disc_mask, write_control

WIDTHS = [4, 8, 8, 8]


@pytest.fixture
def recipe(recipe: dict[str, Any], tiny_model: Path) -> dict[str, Any]:
    """Eight steps of a ControlNet for painted nuclei, a checkpoint every two."""
    stage = {"kind": "control", "init_from": str(tiny_model), "widths": WIDTHS}
    return {**recipe, "stage": stage, "optim": {"lr": 1e-2, "warmup_steps": 2}}


def task_of(recipe: dict[str, Any], folder: Path, *overrides: str) -> ControlTask:
    task = begin(configure(recipe, *overrides), folder).task
    assert isinstance(task, ControlTask)
    return task


@pytest.mark.parametrize("control", ["nuclei", "fluorescence"])
def test_only_the_controlnet_has_a_gradient_and_moves(
    recipe: dict[str, Any], tmp_path: Path, control: str
) -> None:
    run = begin(configure(recipe, f"stage.control={control}"), tmp_path / "run")
    bundle = run.task.bundle
    frozen = [
        parameter
        for part in (bundle.codec.module, bundle.text.encoder, bundle.denoiser)
        for parameter in part.parameters()
    ]
    before = [parameter.clone() for parameter in frozen]
    loop.accumulate(run, loop.made_now(run, 0))
    assert all(parameter.grad is None for parameter in frozen)
    assert all(parameter.grad is not None for parameter in run.task.control.module.parameters())
    assert set(run.parameters) == {
        f"control.{name}" for name, _ in run.task.control.module.named_parameters()
    }
    loop.train(run, [])
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))


def test_before_training_the_loss_is_that_of_the_denoiser_alone(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    task = task_of(recipe, tmp_path / "run")
    batch = make_batch(task, range(4))
    batch.pop("keys")
    steered = task.network.per_sample(batch)
    assert torch.equal(steered, task.network.per_sample(batch, steered=False))


def pair_of(task: ControlTask, position: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and map of a sample."""
    batch = make_batch(task, [position])
    return batch["x0"][0], batch["maps"][0]


def test_image_and_map_move_together(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Painted nuclei are dark: in every crop and symmetry a map covers the dark cells."""
    recipe["data"] = {"kind": "painted", "count": 8, "size": 128}
    recipe["stage"] |= {"crop": 8, "class_dropout": 0.0}
    task = task_of(recipe, tmp_path / "run")
    task.bundle.codec = FakeCodec(8)  # cells of the mean colour
    matched, moved = [], []
    for position in range(24):
        latents, values = pair_of(task, position)
        assert latents.shape == (3, 8, 8) and values.shape == (12, 64, 64)
        cover = torch.nn.functional.avg_pool2d(values[None, :1], 8)[0, 0].flatten()
        dark = -latents[0].flatten()
        if cover.std() > 0.1:
            matched.append(float(torch.corrcoef(torch.stack([cover, dark]))[0, 1]))
            turned = latents[0].rot90(1).flatten()
            moved.append(float(torch.corrcoef(torch.stack([cover, -turned]))[0, 1]))
    assert len(matched) >= 8
    assert min(matched) > 0.6 and np.mean(matched) > np.mean(moved) + 0.4


def test_fluorescence_comes_from_the_image_itself(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["data"]["size"] = 64
    task = task_of(recipe, tmp_path / "run", "stage.control=fluorescence", "stage.crop=4")
    task.bundle.codec = FakeCodec(8)
    latents, values = pair_of(task, 3)
    assert values.shape == (1, 32, 32) and 0 <= values.min() and values.max() <= 1
    cells = torch.nn.functional.avg_pool2d(values[None], 8)[0, 0].flatten()
    together = torch.stack([cells, -latents[0].flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.6


def test_captions_and_classes_are_dropped_as_often_as_asked(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    task = task_of(recipe, tmp_path / "run", "stage.class_dropout=0.25")
    dropped = [
        np.mean([task._drops(what, g) for g in range(4000)]) for what in ("caption", "class")
    ]
    assert dropped == pytest.approx([0.5, 0.25], abs=0.03)
    named, hidden = 0, 0
    for position in range(24):
        values = task.sample(position)["map"]
        if values[0].any():
            assert values[-2:].any()  # edges and depth stay
            named += bool(values[1:10].any())
            hidden += task._drops("class", position)
    assert named > 0 and hidden > 0


def test_the_map_decides_where_the_blob_is() -> None:
    """Two pairs: latents with a blob on the left or on the right, and masks that tell which."""
    torch.manual_seed(0)
    masks = [mask_map(disc_mask(16, 8)), mask_map(disc_mask(16, 24))]
    maps = torch.from_numpy(np.stack(masks))
    blobs = torch.full((2, 4, 4, 4), -1.0)
    blobs[0, :, 1:3, 0:2], blobs[1, :, 1:3, 2:4] = 1.0, 1.0
    unet, schedule = build_denoiser(TINY_DENOISER), build_schedule(ScheduleConfig())
    control = build_control(
        unet, kind="nuclei", channels=MAP_CHANNELS["nuclei"], widths=tuple(WIDTHS), factor=8
    )
    network = SteeredNetwork(control.module, unet, schedule, 5.0)
    tokens = torch.zeros(16, 2, 16)
    batch = {"tokens": tokens, "mask": torch.ones(16, 2, dtype=torch.bool)}
    batch |= {"x0": blobs.repeat(8, 1, 1, 1), "maps": maps.repeat(8, 1, 1, 1)}

    def learn(module: torch.nn.Module, steps: int, *, steered: bool) -> None:
        optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
        for _ in range(steps):
            noised = {"noise": torch.randn(16, 4, 4, 4), "t": torch.randint(0, 1000, (16,))}
            network.per_sample(batch | noised, steered=steered).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    learn(unet, 160, steered=False)  # knows blobs, not where
    unet.requires_grad_(False)
    learn(control.module, 200, steered=True)
    noise = torch.randn(1, 4, 4, 4).expand(2, -1, -1, -1)  # the same for both
    preset = Preset("ddim", 20, 1.0)
    scheduler = build_scheduler(schedule.config, preset)
    steps = frozenset(int(t) for t in scheduler.timesteps)
    bound = [BoundMaps(control.module.eval(), maps, 1.0, steps)]
    denoiser = network_denoiser(unet.eval(), bound)
    made = sample(lambda x, t: denoiser(x, t, tokens[:2]), noise, scheduler)
    left, right = made[:, :, 1:3, :2].mean((1, 2, 3)), made[:, :, 1:3, 2:].mean((1, 2, 3))
    assert left[0] > right[0] + 0.8, "the first mask asks for a blob on the left"
    assert right[1] > left[1] + 0.8, "the second for one on the right"


def test_the_loss_falls_and_what_comes_out_steers(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"num_steps": 40, "checkpoint_every": 40, "global_batch_size": 8}
    train.run(configure(recipe), {}, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    held = next(row for row in rows if "heldout/denoising" in row)
    assert held["heldout/denoising"] < held["heldout/uncontrolled"]
    control = load_control(tmp_path / "run")  # finds the model in the folder of a run
    assert control.kind == "nuclei" and control.channels == MAP_CHANNELS["nuclei"]
    manifest = load_manifest(tmp_path / "run/model")
    assert control.denoiser == manifest.inputs["init_from"]
    assert len(control.module.config.conditioning_embedding_out_channels) == 4
    with Image.open(next((tmp_path / "run/samples").glob("*.png"))) as picture:
        assert picture.height == 3 * 32 + 2 * 4  # map, real, generated
    again = configure(recipe, f"stage.control_from={tmp_path / 'run'}", "num_steps=1")
    train.run(again, {}, tmp_path / "more")
    assert "control_from" in load_manifest(tmp_path / "more").inputs


def test_one_of_another_kind_is_gone_on_from(recipe: dict[str, Any], tmp_path: Path) -> None:
    """All weights but those of the layer that reads the map are those of the other kind."""
    other = write_control(Path(recipe["stage"]["init_from"]), tmp_path / "nuclei")
    given = (f"stage.control_from={other}", "stage.control=fluorescence", "num_steps=1")
    # widths come from the ControlNet that is gone on from
    task = task_of(recipe, tmp_path / "begun", *given, "stage.widths=[8, 8, 8, 16]")
    own, source = task.control, load_control(other)
    assert own.kind == "fluorescence" and own.channels == ("hematoxylin",)
    before = source.module.state_dict()
    fresh = [n for n, v in own.module.state_dict().items() if not _equal(v, before[n])]
    reads = "controlnet_cond_embedding.conv_in"
    assert fresh == [f"{reads}.weight", f"{reads}.bias"]
    train.run(configure(recipe, *given), {}, tmp_path / "run")
    made = load_manifest(tmp_path / "run/model")
    assert made.inputs["control_from"] == source.fingerprint
    assert source.fingerprint in (tmp_path / "run/model/README.md").read_text()
    assert load_control(tmp_path / "run").kind == "fluorescence"


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def test_captions_of_many_lengths_give_what_each_gives_alone(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    task = task_of(recipe, tmp_path / "run", "stage.max_chunks=2", "stage.caption_dropout=0")
    for row in task.rows[::2]:
        row["captions"] = ["glands " * 90]
    for parameter in task.control.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = make_batch(task, range(6))
    batch.pop("keys")
    assert len(set(batch["mask"].sum(1).tolist())) == 2
    together = task.network.per_sample(batch)
    for place in range(6):
        alone = make_batch(task, [place])
        alone.pop("keys")
        assert torch.allclose(task.network.per_sample(alone)[0], together[place], rtol=1e-4)


@pytest.mark.soak
def test_killed_and_resumed_equals_undisturbed(recipe: dict[str, Any], tmp_path: Path) -> None:
    killed_and_resumed_equals_undisturbed(recipe, tmp_path, kills=1, seed=1)


def test_the_micro_batch_may_change_on_the_way(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"num_steps": 2}
    train.run(configure(recipe), {}, tmp_path / "run")
    manifest = train.run(configure(recipe, "micro_batch_size=2"), {}, tmp_path / "run")
    assert manifest.counts["steps"] == 2


@pytest.mark.soak
def test_two_processes_equal_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Same samples, maps, noise and timesteps; gradients differ by the order of sums only."""
    recipe |= {"num_steps": 3, "checkpoint_every": 3, "precision": "fp64"}
    train.run(configure(recipe), {}, tmp_path / "one")
    in_two_processes(command(recipe, tmp_path, tmp_path / "two"))
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert set(one) == set(two)
    for name in (name for name in one if name.startswith("weights/")):
        assert torch.allclose(one[name], two[name], rtol=1e-7, atol=1e-9), name
    a, b = ([row["loss"] for row in rows_of(tmp_path / name)] for name in ("one", "two"))
    assert a == pytest.approx(b, rel=1e-10) and len(a) == 3


def write_pairs(folder: Path, sizes: tuple[int, ...], *, masks: bool = True) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["file_name,text,patient,split" + ",mask" * masks]
    for number, size in enumerate(sizes):
        noise = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"images/{number}.png")
        save_mask(folder / f"masks/{number}.png", disc_mask(size=size))
        own = f",masks/{number}.png" * (masks and number > 0)
        lines.append(f"images/{number}.png,tile,p{number},train" + (own or "," * masks))
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_shards_with_masks_train_and_tiles_without_are_left_out(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    crafts.pack(None, write_pairs(tmp_path / "tiles", (32,) * 5), tmp_path / "shards")
    recipe |= {"data": {"kind": "shards", "folder": str(tmp_path / "shards")}, "num_steps": 1}
    task = task_of(recipe, tmp_path / "run")
    assert len(task.rows) == 4
    any_tile = task_of(recipe, tmp_path / "other", "stage.control=fluorescence")
    assert len(any_tile.rows) == 5
    train.run(configure(recipe), {}, tmp_path / "trained")


def test_crops_of_tiles_of_two_sizes_train_and_are_validated(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    table = write_pairs(tmp_path / "tiles", (32, 64) * 4) / "metadata.csv"
    text = table.read_text()
    for number in range(4, 8):
        text = text.replace(f"p{number},train", f"p{number},validation")
    table.write_text(text)
    crafts.pack(None, table.parent, tmp_path / "shards")
    recipe["data"] = {"kind": "shards", "folder": str(tmp_path / "shards")}
    task = task_of(recipe, tmp_path / "run", "stage.crop=4")
    sizes = {task._size(row) for row in task.split.validation_sample(per_set=16)}
    assert sizes == {(32, 32), (64, 64)}
    found = task.validate()
    assert np.isfinite(found["denoising"]) and found["denoising"] == found["uncontrolled"]
    assert task.picture() is not None
    task.bundle.denoiser.register_to_config(sample_size=16)  # no tile is as large as its images
    assert task.picture() is None


def test_held_out_tiles_that_cannot_be_encoded_are_refused_at_once(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    table = write_pairs(tmp_path / "tiles", (32, 32, 36)) / "metadata.csv"
    table.write_text(table.read_text().replace("p2,train", "p2,validation"))
    crafts.pack(None, table.parent, tmp_path / "shards")
    recipe["data"] = {"kind": "shards", "folder": str(tmp_path / "shards")}
    with pytest.raises(ConfigError, match="tiles of 36 x 36 px.*edges that are multiples of 8 px"):
        begin(configure(recipe, "stage.crop=2"), tmp_path / "run")


def refused(recipe: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says in one line, and its exit code before it."""
    code = cli.run(command(recipe, folder, folder / "run")[3:])
    printed = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "".join(printed)
    return f"{code} {printed[-1]}"


def test_refusals(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crafts.pack(None, write_pairs(tmp_path / "a", (32,) * 3, masks=False), tmp_path / "bare")
    crafts.pack(None, write_pairs(tmp_path / "b", (32, 32, 40)), tmp_path / "sizes")
    capsys.readouterr()
    shards = {"kind": "shards", "folder": str(tmp_path / "bare")}
    assert "3 " in refused(recipe | {"data": shards}, tmp_path, capsys)
    with pytest.raises(DataError, match="no tile with a mask"):
        begin(configure(recipe | {"data": shards}), tmp_path / "x")
    shards["folder"] = str(tmp_path / "sizes")
    printed = refused(recipe | {"data": shards}, tmp_path, capsys)
    assert (
        printed.startswith("2 ")
        and "squares of one size" in printed
        and "32 x 32, 40 x 40" in printed
    )
    latents = {"kind": "latents", "folder": str(tmp_path)}
    printed = refused(recipe | {"data": latents}, tmp_path, capsys)
    assert printed.startswith("2 ") and "a map is made from a tile's mask or pixels" in printed
    recipe["stage"]["widths"] = [4, 8]
    assert "expected 4, as one latent cell" in refused(recipe, tmp_path, capsys)


def test_losses_and_weights_are_the_same_again(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"num_steps": 3}
    for name in ("a", "b"):
        train.run(configure(recipe), {}, tmp_path / name)
    assert_same(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
