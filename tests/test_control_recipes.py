"""The recipes around ControlNets: fluorescence, their strength, and layouts fitted to masks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crafts.controls.layouts import load_statistics
from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import load_manifest, verify
from crafts.data.painter import paint_tile
from crafts.model.bundle import load_bundle
from crafts.model.control import load_control
from crafts.sampling.control import image_map
from fixtures_controls import random_mask
from fixtures_steering import write_control

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes" / "mini"))

import fit_layouts  # noqa: E402
import fluorescence_cases  # noqa: E402
import strengthen_control  # noqa: E402
from fluorescence_cases import Glow  # noqa: E402
from PIL import Image  # noqa: E402


def test_a_correlation_has_its_floors_and_its_ceiling() -> None:
    tiles = [paint_tile(seed=0, index=index, size=64).image for index in range(3)]
    glows = [
        Glow(str(k), "painted", "x", tile[..., 0], str(k), tile) for k, tile in enumerate(tiles)
    ]
    maps = {str(k): image_map(tile) for k, tile in enumerate(tiles)}
    images = {f"steered-{k}": tile for k, tile in enumerate(tiles)}
    images |= {f"free-{k}": np.zeros((64, 64, 3), np.uint8) for k in range(3)}
    found = fluorescence_cases.measure(glows, maps, images)
    assert found["n"] == 3 and found["share_above"] == 1
    assert found["correlation"] == found["ceiling"] > 0.95
    assert found["floor"] < 0.5 and found["without_map"] == 0  # one colour correlates with nothing
    alone = fluorescence_cases.measure(glows[:1], maps, images)
    assert alone["floor"] is None and alone["spread"] is None, "its own map is no floor"
    fluorescent = [Glow("0", "painted", "x", tiles[0][..., 0], "0")]
    assert fluorescence_cases.measure(fluorescent, maps, images)["ceiling"] is None


@torch.no_grad()
def test_a_factor_is_folded_in_and_told(tiny_model: Path, tmp_path: Path) -> None:
    trained = write_control(tiny_model, tmp_path / "trained")
    strengthen_control.main(trained, 2.0, tmp_path / "strong")
    verify(tmp_path / "strong")
    before, after = load_control(trained), load_control(tmp_path / "strong")
    bundle, draws = load_bundle(tiny_model), torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(1, bundle.codec.channels, 4, 4, generator=draws),
        torch.tensor([300]),
        torch.randn(1, 5, bundle.text.width, generator=draws),
        torch.rand(1, 12, 32, 32, generator=draws),
    )
    one, two = (each.module(*inputs, return_dict=False)[1] for each in (before, after))
    torch.testing.assert_close(two, 2 * one)
    manifest = load_manifest(tmp_path / "strong")
    assert manifest.inputs["trained"] == before.fingerprint
    assert manifest.config == {"factor": 2.0} and after.denoiser == before.denoiser


def write_masks(folder: Path, tiles: list[tuple[str, str, str, NucleiMask]]) -> Path:
    """Pairs of organ, power and split; images are grey."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["file_name,mask,text,patient,split,organ,power"]
    for number, (organ, power, split, mask) in enumerate(tiles):
        name = f"{number:03d}.png"
        Image.fromarray(np.full((*mask.size, 3), 120, np.uint8)).save(folder / "images" / name)
        save_mask(folder / "masks" / name, mask)
        lines.append(f"images/{name},masks/{name},x,p{number},{split},{organ},{power}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_layouts_come_from_training_masks_that_tell_nuclei(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nuclei = [random_mask(seed, (96, 96), 20) for seed in range(12)]
    bare = NucleiMask((nuclei[0].classes > 0).astype(np.uint8) * 10)  # clusters would be giants
    tiles = [("colon", "high", "train", mask) for mask in nuclei[:11]]
    tiles += [("colon", "low", "train", mask) for mask in nuclei[:10]]
    tiles += [("colon", "high", "heldout", mask) for mask in nuclei]
    tiles += [("lung", "high", "train", bare)] * 12
    tiles += [("breast", "high", "train", mask) for mask in nuclei[:9]]
    fit_layouts.main(write_masks(tmp_path / "pairs", tiles), tmp_path / "layouts")
    verify(tmp_path / "layouts")
    fitted = load_statistics(tmp_path / "layouts/layouts.json")
    assert {name: one.num_images for name, one in fitted.items()} == {"colon": 11, "colon-low": 10}
    card = (tmp_path / "layouts/README.md").read_text()
    assert "| colon | high | 11 |" in card and "| colon-low | low | 10 |" in card
    assert "colon" in capsys.readouterr().out
