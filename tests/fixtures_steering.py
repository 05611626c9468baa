"""A ControlNet that has learned nothing and yet steers, and masks of the size of its tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from crafts.conditions.maps import MAP_CHANNELS, MAPPINGS
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import staging
from crafts.model.bundle import Bundle, load_bundle, save_bundle
from crafts.model.control import Control, build_control, save_control

WIDTHS = (4, 8, 8, 8)


def write_vivid_model(model: Path, folder: Path) -> Path:
    """A model like another, but for a decoder of more contrast: what steers moves many levels."""
    bundle = load_bundle(model)
    last = [layer for layer in bundle.codec.module.decoder.layers if hasattr(layer, "weight")][-1]
    with torch.no_grad():
        last.weight *= 20
    save_bundle(bundle, folder, card="random\n")
    return folder


def random_control(bundle: Bundle, kind: str = "nuclei", seed: int = 0) -> Control:
    """Random weights where training begins with zeros, so that the map is seen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        control = build_control(
            bundle.denoiser,
            kind=kind,
            channels=MAP_CHANNELS[kind],
            widths=WIDTHS,
            factor=bundle.codec.factor,
            mapping=MAPPINGS[kind],
        )
        for parameter in control.module.controlnet_cond_embedding.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        ends = ("controlnet_down_blocks", "controlnet_mid_block")  # what training begins with zeros
        for name, parameter in control.module.named_parameters():
            if name.startswith(ends):
                torch.nn.init.normal_(parameter, std=0.5)
    control.denoiser, control.licence = bundle.fingerprint, "Apache-2.0"
    control.module.eval()
    return control


def write_control(model: Path, folder: Path, kind: str = "nuclei", seed: int = 0) -> Path:
    """The folder of a :func:`random_control` for a model."""
    with staging(folder) as temporary:
        save_control(random_control(load_bundle(model), kind, seed), temporary, card="random\n")
    return folder


def disc_mask(row: int = 8, column: int = 8, size: int = 32, radius: int = 5) -> NucleiMask:
    """One round nucleus, an epithelial one."""
    y, x = np.mgrid[:size, :size]
    inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return NucleiMask(inside.astype(np.uint8), inside.astype(np.int32), source="disc")
