"""What --dry-run says of a recipe is counted on the networks the recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crafts.core.config import load_config
from crafts.model.bundle import load_bundle
from crafts.model.config import SD15_TEXT
from crafts.model.control import build_control
from crafts.model.count import Passes, count_training
from crafts.model.denoiser import count_parameters
from crafts.training.session.estimate import describe_cost
from crafts.training.train import TrainConfig
from fixtures_papers import write_clip, write_f4_vae

DATA = {"kind": "painted", "count": 8, "size": 32}


def lines(stage: dict[str, Any], data: dict[str, Any] = DATA, **more: Any) -> list[str]:
    values = {"stage": stage, "data": data, "num_steps": 10, "global_batch_size": 6}
    return describe_cost(load_config(TrainConfig, values | more | {"device": "cpu"}))


def tflop(found: list[str]) -> float:
    return float(found[1].partition(" TFLOP per step")[0].split()[-1])


def test_a_checkpoint_on_disk_is_counted_itself(tiny_model: Path) -> None:
    stage = {"kind": "denoiser", "init_from": str(tiny_model)}
    found = lines(stage, micro_batch_size=4)
    parameters = count_training(tiny_model / "unet", Passes(frozen=True)).parameters
    assert found[0].startswith(f"denoiser: {parameters / 1e6:.2f} M parameters")
    assert "SD-1.5" not in found[0] and "micro-batch of 4" in found[2] and "hours" in found[3]


def test_a_hub_id_has_the_shapes_of_sd15() -> None:
    data = {"kind": "latents", "folder": "nowhere"}
    stage = {"kind": "denoiser", "init_from": "owner/name", "max_chunks": 2}
    one = lines({**stage, "max_chunks": 1}, data, micro_batch_size=1)
    two = lines(stage, data, micro_batch_size=1)
    assert "'owner/name' is not on this disk: counted with the shapes of SD-1.5" in one[0]
    # denoiser forward and backward, and a forward pass of the text encoder, for each sample
    text = count_training(SD15_TEXT, Passes(frozen=True)).forward_flops
    assert tflop(one) == pytest.approx(6 * (3 * 803.27e9 + text) / 1e12, rel=0.01)
    assert tflop(two) > tflop(one) + 6 * text / 1e12


@pytest.mark.parametrize("kind", ["denoiser", "autoencoder", "clip"])
def test_a_missing_folder_is_said_and_not_guessed(kind: str, tmp_path: Path) -> None:
    found = lines({"kind": kind, "init_from": str(tmp_path / "absent")})
    assert found == [
        f"{kind}: stage.init_from {str(tmp_path / 'absent')!r} is not there, so nothing is counted"
    ]


def test_a_missing_relative_folder_is_no_hub_id(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "is not there" in lines({"kind": "denoiser", "init_from": "runs/absent"})[0]


def test_an_autoencoder_and_its_decoder_alone() -> None:
    both = lines({"kind": "autoencoder", "crop": 32})
    decoder = lines({"kind": "autoencoder", "crop": 32, "train": "decoder"})
    assert both[0] == "autoencoder: 1.38 M parameters, 1.38 M of them trained"
    assert "GFLOP forward per crop of 32 px" in both[1] and len(both) == 4
    assert tflop(decoder) < tflop(both)


def test_clip_names_its_parameters() -> None:
    assert lines({"kind": "clip"})[0].startswith("clip: at most 2.84 M parameters with 3000 tokens")


def test_measuring_gradient_norms_is_counted(tiny_model: Path) -> None:
    stage = {"kind": "denoiser", "init_from": str(tiny_model)}
    off = tflop(lines(stage))
    on = {**stage, "weights": {"semantic": 0.1, "category": 0.1}}
    assert tflop(lines(on)) == off  # the relations themselves are too small to count
    every = {**on, "strength": {"kind": "ratio", "every": 2}}
    cost = count_training(tiny_model / "unet", Passes(batch_size=6))
    once = cost.forward_flops + 3 * (cost.step_flops - cost.forward_flops)
    assert tflop(lines(every)) == pytest.approx(off + once / 2 / 1e12, rel=0.01)


DENOISER = {
    "sample_size": 8,
    "channels": 3,
    "block_out_channels": [16, 32],
    "attention": [False, True],
    "num_heads": 1,
    "cross_attention_dim": 16,
    "norm_num_groups": 8,
}


def test_parts_that_are_not_there_are_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    parts = {"codec_from": str(tmp_path / "codec"), "text_from": str(tmp_path / "clip")}
    stage = {"kind": "denoiser", "init_from": None, "denoiser": DENOISER, **parts}
    without = lines({**stage, "max_tokens": 43}, micro_batch_size=2)
    assert "not on this disk and not counted: codec_from" in without[0]
    assert "text_from" in without[0] and "caption of 43 tokens" in without[1]
    assert tflop(lines({**stage, "max_tokens": 400}, micro_batch_size=2)) > tflop(without)
    write_clip(tmp_path / "clip")
    write_f4_vae(tmp_path / "codec")
    whole = lines({**stage, "max_tokens": 43}, micro_batch_size=2)
    assert "not on this disk" not in whole[0] and tflop(whole) > tflop(without)


def test_a_controlnet_is_counted_beside_its_frozen_denoiser(tiny_model: Path) -> None:
    bundle = load_bundle(tiny_model)
    control = build_control(
        bundle.denoiser, kind="fluorescence", channels=("one",), widths=(4, 8, 8, 8), factor=8
    )
    own, frozen = count_parameters(control.module), count_parameters(bundle.denoiser)
    stage = {"kind": "control", "control": "fluorescence", "init_from": str(tiny_model)}
    found = lines(stage | {"widths": [4, 8, 8, 8]})
    assert found[0] == (
        f"control: {(own + frozen) / 1e6:.2f} M parameters, {own / 1e6:.2f} M of them trained"
    )
    passes = Passes(control=(1, (4, 8, 8, 8)))
    both = count_training(tiny_model / "unet", passes)
    alone = count_training(tiny_model / "unet", Passes())
    assert both.trained == own and both.weights == 4 * (own + frozen) and both.ema == 4 * own
    assert alone.forward_flops < both.forward_flops < 3 * alone.forward_flops
    # the first half of the denoiser gets no gradient at all, the second none for its weights
    assert both.step_flops < 3 * both.forward_flops
    assert "memory per process" in found[2] and "hours" in found[3]
    wide = lines(stage | {"widths": [8, 16, 32, 64]})
    assert tflop(wide) > tflop(found)


def test_a_controlnet_of_an_absent_model_has_the_shapes_of_sd15() -> None:
    found = lines({"kind": "control", "init_from": "owner/name", "widths": [16, 32, 96, 256]})
    assert "counted with the shapes of SD-1.5" in found[0]
    # published for three channels: 361,279,120; two channels less are 2 x 16 x 9
    assert "361.28 M of them trained" in found[0]
