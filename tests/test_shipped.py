"""The weights in the package: whole, small enough, licensed, and the same picture in diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crafts
from crafts.conditions.maps import MAP_CHANNELS, mask_map
from crafts.controls.layouts import load_statistics, shipped_layouts
from crafts.controls.synthesis.invent import sample_layout
from crafts.core import artifacts
from crafts.generation.generate import generate_images
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.control import KINDS, Control, check_control, load_control, trained_beside
from crafts.sampling.draws import Draw
from crafts.sampling.sampler import draw_noise

WEIGHTS = Path(crafts.__file__).parent / "weights"
PROMPTS = ["Lung adenocarcinoma, H&E, high power view.", "prostate, benign tissue", "Oral mucosa."]


@pytest.fixture(scope="module")
def mini() -> Bundle:
    return load_bundle("mini")


def test_sizes_and_hashes() -> None:
    files = list(WEIGHTS.rglob("*.safetensors"))
    assert max(path.stat().st_size for path in files) < 16e6
    assert sum(path.stat().st_size for path in files) < 40e6
    for folder in ("mini", "evaluation-clip"):
        artifacts.verify(WEIGHTS / folder)


def test_the_licence_travels(mini: Bundle) -> None:
    assert mini.licence == "crafts-mini-research-only"
    licence = (WEIGHTS / "LICENSE.md").read_text(encoding="utf-8")
    assert mini.licence in licence and "Research use only" in licence


def test_diffusers_gives_our_picture(mini: Bundle) -> None:
    """Same initial noise, DDIM, guidance: at most 2 of 255 apart."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    ours = generate_images(
        mini, PROMPTS[:1], seed=3, preset="paper", num_steps=4, guidance_scale=2.0
    )
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "mini", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    pipeline.to(torch.float32)
    side = mini.native_size // mini.codec.factor
    noise = draw_noise([Draw(PROMPTS[0], seed=3, k=0)], (mini.codec.channels, side, side))
    theirs = pipeline(
        PROMPTS[0], num_inference_steps=4, guidance_scale=2.0, eta=0.0, latents=noise
    ).images
    assert largest_difference(ours[0], theirs[0]) <= 2


@pytest.fixture(params=KINDS)
def control(request: pytest.FixtureRequest) -> Control:
    folder = WEIGHTS / f"control-{request.param}"
    if not folder.is_dir():
        pytest.skip(f"no ControlNet for {request.param} is in the package")
    return load_control(folder)


def test_a_controlnet_belongs_to_the_denoiser_beside_it(control: Control, mini: Bundle) -> None:
    assert trained_beside(control, mini) and control.licence == mini.licence
    assert control.channels == MAP_CHANNELS[control.kind]
    check_control(control, mini, where="here")
    told = json.loads((WEIGHTS / f"control-{control.kind}" / "heldout.json").read_text())
    assert told["kind"] == control.kind and told["model"] == mini.fingerprint


def test_diffusers_gives_our_steered_picture(control: Control, mini: Bundle) -> None:
    """Same initial noise, DDIM, guidance and map: at most 2 of 255 apart."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    statistics = load_statistics(shipped_layouts())["colon"]
    mask = sample_layout(statistics, size=(mini.native_size,) * 2, seed=0)
    values = mask_map(mask)[[0] if control.kind == "fluorescence" else slice(None)]
    steering = {control.kind: mask if control.kind == "nuclei" else values}
    common: dict[str, Any] = {"seed": 3, "preset": "paper", "num_steps": 4, "guidance_scale": 2.0}
    ours = generate_images(mini, PROMPTS[:1], control=steering, **common)
    network = ControlNetModel.from_pretrained(
        WEIGHTS / f"control-{control.kind}", torch_dtype=torch.float32
    )
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        WEIGHTS / "mini", controlnet=network, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(torch.float32)
    side = mini.native_size // mini.codec.factor
    noise = draw_noise([Draw(PROMPTS[0], seed=3, k=0)], (mini.codec.channels, side, side))
    theirs = pipeline(
        PROMPTS[0], image=torch.from_numpy(values)[None], num_inference_steps=4,
        guidance_scale=2.0, eta=0.0, latents=noise,
    ).images  # fmt: skip
    assert largest_difference(ours[0], theirs[0]) <= 2
    free = generate_images(mini, PROMPTS[:1], **common)
    assert largest_difference(ours[0], free[0]) > 20, "the map must be seen"


def test_the_layouts_are_small_and_can_be_sampled() -> None:
    artifacts.verify(WEIGHTS / "layouts")
    assert shipped_layouts().stat().st_size < 300e3
    for name, statistics in load_statistics(shipped_layouts()).items():
        mask = sample_layout(statistics, size=(256, 256), seed=1)
        per_pixel = mask.num_nuclei / 256**2 * 1e6
        assert 0.2 * statistics.density() < per_pixel < 4 * statistics.density(), name


def test_a_picture_does_not_depend_on_its_batch(mini: Bundle) -> None:
    whole = generate_images(mini, PROMPTS, seed=1, preset="fast", num_steps=2, batch_size=3)
    alone = generate_images(mini, PROMPTS, seed=1, preset="fast", num_steps=2, batch_size=1)
    assert all(largest_difference(a, b) <= 2 for a, b in zip(whole, alone, strict=True))
    assert np.asarray(whole[0]).std() > 5, "a flat picture would pass anything"


def largest_difference(a: object, b: object) -> int:
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())
