"""Stain and adapters in a run: colours reach the reference, structure stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.generation.export import read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.generation.stain import open_stain
from crafts.imaging.layout import layout_distance
from crafts.imaging.stains import optical_density, stain_vectors
from crafts.model.bundle import load_bundle
from crafts.model.lora import save_lora
from crafts.testing import write_tiny_model

FEW = {"num_steps": 2, "guidance_scale": 1.0}
TILE = paint_tile(seed=0, index=0, size=96).image
DYES = np.array([[0.55, 0.75, 0.37], [0.25, 0.9, 0.35]])


def dyed(seed: int, amounts: tuple[float, float], dyes: np.ndarray = DYES) -> np.ndarray:
    """A picture of two dyes, each in places of its own and in both."""
    rng = np.random.default_rng(seed)
    dye = rng.gamma(2.0, 0.35, (64, 64, 2)) * amounts
    dye[:20, :, 0] *= 0.02
    dye[-20:, :, 1] *= 0.02
    unit = dyes / np.linalg.norm(dyes, axis=1, keepdims=True)
    return np.clip(240 * np.exp(-dye @ unit), 0, 255).astype(np.uint8)


def test_a_picture_gets_the_dyes_of_another_and_keeps_its_structure(tmp_path: Path) -> None:
    other = np.array([[0.75, 0.6, 0.25], [0.1, 0.95, 0.3]])
    reference, own = dyed(1, (1.4, 0.6), other), dyed(2, (0.7, 1.2))
    Image.fromarray(reference).save(tmp_path / "site.png")
    found = open_stain(tmp_path / "site.png").apply(own, "own")
    wanted, before, after = (
        optical_density(one).reshape(-1, 3).mean(0) for one in (reference, own, found)
    )
    assert np.linalg.norm(after - wanted) < 0.3 * np.linalg.norm(before - wanted)
    assert layout_distance(own, found) < 0.2  # of other amounts, so of another grey
    assert np.abs(stain_vectors([reference]) - stain_vectors([found])).max() < 0.05


def test_its_own_stain_leaves_a_picture_as_it_is(tmp_path: Path) -> None:
    own = dyed(3, (1.0, 1.0))
    Image.fromarray(own).save(tmp_path / "own.png")
    same = open_stain(tmp_path / "own.png").apply(own, "own")
    assert np.abs(same.astype(int) - own).max() <= 1


def test_what_is_not_safe_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Image.fromarray(dyed(1, (1.0, 1.0))).save(tmp_path / "site.png")
    glass = np.full((64, 64, 3), 244, np.uint8)
    assert np.array_equal(open_stain(tmp_path / "site.png").apply(glass, "x.png"), glass)
    assert "x.png keeps its own stain: too little tissue" in capsys.readouterr().err
    Image.fromarray(glass).save(tmp_path / "glass.png")
    with pytest.raises(DataError, match="too little tissue"):
        open_stain(tmp_path / "glass.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        open_stain(tmp_path / "empty")
    with pytest.raises(DataError, match="nowhere"):
        open_stain(tmp_path / "nowhere.png")


def test_a_run_names_its_stain_and_its_adapters(tiny_model: Path, tmp_path: Path) -> None:
    from crafts.model.denoiser import add_lora

    Image.fromarray(dyed(1, (1.0, 1.0))).save(tmp_path / "site.png")
    Image.fromarray(dyed(4, (1.0, 1.0))).save(tmp_path / "other.png")
    bundle = load_bundle(tiny_model)
    add_lora(bundle.denoiser, rank=2)
    save_lora(bundle.denoiser, tmp_path / "adapters")
    (tmp_path / "rows.csv").write_text("id,prompt,stain\na,colon,\nb,colon,other.png\n")
    config = GenerateConfig(
        model=str(tiny_model),
        stain=tmp_path / "site.png",
        lora=(f"{tmp_path / 'adapters'},0.5",),
        **FEW,  # type: ignore[arg-type]
    )
    run(config, tmp_path / "rows.csv", tmp_path / "out")
    a, b = (read_provenance(tmp_path / "out" / "images" / f"{row}-0.png") for row in "ab")
    told = [{one["kind"]: one["source"] for one in json.loads(each.control)} for each in (a, b)]
    assert told == [
        {"lora": "adapters", "stain": "site.png"},
        {"lora": "adapters", "stain": "other.png"},
    ]
    assert a.model.endswith("+ adapters")
    kept = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]
    assert kept["lora"] == ["adapters,0.5"] and (tmp_path / "out" / kept["stain"]).is_file()


def test_python_takes_both_and_refuses_what_is_not_there(tiny_model: Path, tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_model(tmp_path / "model"))
    with pytest.raises(ConfigError, match="lora nowhere"):
        generate_images(bundle, "colon", lora="nowhere", **FEW)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="nowhere"):
        generate_images(bundle, "colon", stain="nowhere.png", **FEW)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--stain for slides"):
        Image.fromarray(dyed(1, (1.0, 1.0))).save(tmp_path / "site.png")
        config = GenerateConfig(
            prompts=("colon",), size="128x64", stain=tmp_path / "site.png", **FEW
        )  # type: ignore[arg-type]
        run(config, None, tmp_path / "out", bundle=bundle)
