"""The segmenter stage of the loop: it learns, it resumes, batches may come in pieces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import crafts
from crafts.api import configure
from crafts.controls.masks import save_mask
from crafts.core.errors import DataError
from crafts.model.segmenter import load_segmenter
from crafts.training import train
from crafts.training.loader import make_batch
from crafts.training.sources import PaintedData, ShardData
from crafts.training.tasks.segmenter import SegmenterStage, SegmenterTask, open_masks

TINY = {"widths": [8, 16]}
WEIGHTS = "model/model.safetensors"


def recipe(*, data: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return {
        "stage": {"kind": "segmenter", "network": TINY, "crop": 32},
        "data": data or {"kind": "painted", "count": 8, "size": 64},
        "optim": {"lr": 1e-2, "warmup_steps": 1},
        "num_steps": 4,
        "checkpoint_every": 2,
        "global_batch_size": 4,
        "ema_decay": 0.9,
        "device": "cpu",
        **values,
    }


def shards(folder: Path) -> Path:
    """Painted tiles with the masks of their nuclei; the last has none."""
    source = open_masks(PaintedData(count=8, size=64))
    for name in ("images", "masks"):
        (folder / "tiles" / name).mkdir(parents=True)
    lines = ["file_name,mask,split,set"]
    for index in range(12):
        Image.fromarray(source.image(index)).save(folder / f"tiles/images/{index}.png")
        save_mask(folder / f"tiles/masks/{index}.png", source.mask(index))
        mask = f"masks/{index}.png" if index < 11 else ""
        lines.append(f"images/{index}.png,{mask},{'train' if index < 8 else 'validation'},painted")
    (folder / "tiles/metadata.csv").write_text("\n".join(lines) + "\n")
    crafts.pack({"tokenizers": []}, folder / "tiles", folder / "shards")
    return folder / "shards"


def test_it_learns_to_find_painted_nuclei(tmp_path: Path) -> None:
    painted = {"kind": "painted", "count": 8, "size": 128}
    values = recipe(data=painted, num_steps=100, checkpoint_every=100, global_batch_size=8)
    values["stage"]["crop"] = 64
    train.run(configure("train", values), {}, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["heldout/dice"] > 0.6
    segmenter = load_segmenter(tmp_path / "run/model")
    source = open_masks(PaintedData(count=8, size=128))
    found, true = segmenter(source.image(9)), source.mask(9)  # never trained on
    shared = ((found.classes > 0) & (true.classes > 0)).sum()
    assert 2 * shared > 0.6 * ((found.classes > 0).sum() + (true.classes > 0).sum())
    assert (tmp_path / "run/samples/step-0000100.png").is_file()


def test_a_run_resumes_bit_for_bit_and_in_pieces(tmp_path: Path) -> None:
    config = configure("train", recipe())
    train.run(config, {}, tmp_path / "whole")
    train.run(config, {}, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step-0000004")
    (tmp_path / "cut/manifest.json").unlink()
    train.run(config, {}, tmp_path / "cut")
    whole, cut = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "cut" / WEIGHTS)
    assert all(torch.equal(value, cut[key]) for key, value in whole.items())
    train.run(
        configure("train", recipe(micro_batch_size=1, precision="fp64")), {}, tmp_path / "one"
    )
    train.run(configure("train", recipe(precision="fp64")), {}, tmp_path / "all")
    one, many = load_file(tmp_path / "one" / WEIGHTS), load_file(tmp_path / "all" / WEIGHTS)
    assert all(torch.allclose(value, many[key], atol=1e-6) for key, value in one.items())


def test_shards_with_masks_train_and_go_on_from_a_folder(tmp_path: Path) -> None:
    folder = shards(tmp_path)
    data = {"kind": "shards", "folder": str(folder)}
    train.run(configure("train", recipe(data=data, num_steps=2)), {}, tmp_path / "first")
    assert len(open_masks(ShardData(folder=str(folder))).rows) == 11
    onward = recipe(data=data, num_steps=2)
    onward["stage"]["init_from"] = str(tmp_path / "first/model")
    manifest = train.run(configure("train", onward), {}, tmp_path / "second")
    assert {"data", "init_from"} <= manifest.inputs.keys()


def test_image_and_targets_move_together() -> None:
    stage = SegmenterStage.model_validate({"crop": 48, "stain_jitter": 0, "network": TINY})
    data = PaintedData(count=8, size=64)
    options: Any = {"seed": 0, "device": torch.device("cpu"), "dtype": torch.float32}
    task = SegmenterTask(stage, data, **options)
    batch = make_batch(task, range(12))
    inside, grey = batch["classes"] > 0, batch["images"].mean(1)
    assert batch["classes"].shape == (12, 48, 48)
    apart = float(grey[~inside].mean() - grey[inside].mean())  # nuclei are dark
    turned = inside.flip(2)
    assert apart > 0.25 > 2 * float(grey[~turned].mean() - grey[turned].mean())
    assert torch.equal(inside, batch["distance"] > 0)
    again = make_batch(task, range(4, 6))
    assert torch.equal(again["images"], batch["images"][4:6])


def test_shards_without_masks_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "a.png")
    (folder / "metadata.csv").write_text("file_name,split\na.png,train\n")
    crafts.pack({"tokenizers": []}, folder, tmp_path / "shards")
    data = {"kind": "shards", "folder": str(tmp_path / "shards")}
    with pytest.raises(DataError, match="no tile with a mask"):
        train.run(configure("train", recipe(data=data)), {}, tmp_path / "run")
