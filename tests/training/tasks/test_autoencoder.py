"""A decoder that is sharpened beside a discriminator, its encoder kept as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from crafts.api import configure
from crafts.core.errors import ConfigError
from crafts.training import train

TINY = {
    "kind": "tiny",
    "encoder_width": 8,
    "decoder_width": 8,
    "num_encoder_blocks": [1, 1, 1, 1],
    "num_decoder_blocks": [1, 1, 1, 1],
    "latent_channels": 4,
}


def recipe(**stage: Any) -> dict[str, Any]:
    return {
        "stage": {"kind": "autoencoder", "crop": 32, **stage},
        "data": {"kind": "painted", "count": 8, "size": 64},
        "optim": {"lr": 1e-3, "warmup_steps": 1},
        "num_steps": 4,
        "checkpoint_every": 2,
        "global_batch_size": 4,
        "device": "cpu",
    }


def test_tiles_that_do_not_halve_are_trained_on_and_judged(tmp_path: Path) -> None:
    values = recipe(codec=TINY, crop=64) | {"num_steps": 1}
    values["data"]["size"] = 50
    assert train.run(configure("train", values), {}, tmp_path / "run").counts["steps"] == 1
    rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert "heldout/psnr" in json.loads(rows[-1])


def test_only_decoder_and_discriminator_learn(tmp_path: Path) -> None:
    train.run(configure("train", recipe(codec=TINY)), {}, tmp_path / "codec")
    first = tmp_path / "codec" / "model"
    sharper = recipe(
        init_from=str(first), train="decoder", discriminator={"width": 8}, weights={"grain": 0.1}
    )
    train.run(configure("train", sharper), {}, tmp_path / "decoder")
    name = "diffusion_pytorch_model.safetensors"
    before, after = load_file(first / name), load_file(tmp_path / "decoder" / "model" / name)
    assert before.keys() == after.keys()  # the discriminator is no part of the codec
    for key, value in before.items():
        assert torch.equal(value, after[key]) == key.startswith("encoder"), key
    rows = (tmp_path / "decoder" / "metrics.jsonl").read_text().splitlines()
    losses = [row for row in map(json.loads, rows) if "discriminator" in row]
    assert len({row["discriminator"] for row in losses}) == 4
    assert {"adversarial", "grain"} <= losses[0].keys()


def test_latents_stay_near_those_of_the_codec_it_began_with(tmp_path: Path) -> None:
    train.run(configure("train", recipe(codec=TINY)), {}, tmp_path / "codec")
    first = tmp_path / "codec" / "model"
    drifts = {}
    for weight in (1e-6, 100.0):
        further = recipe(init_from=str(first), weights={"drift": weight}) | {"num_steps": 30}
        train.run(configure("train", further), {}, tmp_path / f"at-{weight:g}")
        rows = (tmp_path / f"at-{weight:g}" / "metrics.jsonl").read_text().splitlines()
        drift = [row["drift"] for row in map(json.loads, rows) if "drift" in row]
        assert drift[0] == 0.0
        drifts[weight] = drift[-1]
    assert 0 < drifts[100.0] < 0.2 * drifts[1e-6]
    with pytest.raises(ConfigError, match=r"stage.weights.drift: 1, and no stage.init_from"):
        train.run(configure("train", recipe(weights={"drift": 1.0})), {}, tmp_path / "none")


def test_a_run_with_a_discriminator_resumes_bit_for_bit(tmp_path: Path) -> None:
    config = configure("train", recipe(codec=TINY, discriminator={"width": 8}))
    train.run(config, {}, tmp_path / "whole")
    train.run(config, {}, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-0000004")
    (tmp_path / "cut" / "manifest.json").unlink()
    train.run(config, {}, tmp_path / "cut")
    name = "model/diffusion_pytorch_model.safetensors"
    whole, cut = load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name)
    assert all(torch.equal(value, cut[key]) for key, value in whole.items())


def test_a_run_begun_before_a_field_existed_goes_on(tmp_path: Path) -> None:
    config = configure("train", recipe(codec=TINY))
    train.run(config, {}, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    lines = path.read_text().splitlines()
    older = [line for line in lines if not line.strip().startswith(("discriminator:", "grain:"))]
    assert len(older) == len(lines) - 2
    path.write_text("\n".join(older))
    train.run(config, {}, tmp_path / "run")
    sharper = configure("train", recipe(codec=TINY, weights={"grain": 0.5}))
    with pytest.raises(ConfigError, match=r"stage.weights.grain: 0.5; expected 0.0, with which"):
        train.run(sharper, {}, tmp_path / "run")
