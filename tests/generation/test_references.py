"""References from a request to files: told, mixed, named in provenance, refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.conditions.references import Reference, parse_references, read_reference
from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.generation.export import PROVENANCE, read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle, save_bundle
from crafts.model.conditions import ConditionTokens

FEW = {"num_steps": 3, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    plain = load_bundle(tiny_model)
    size = 3 * plain.codec.channels
    tokens = ConditionTokens(("reference",), plain.text.width, reference_size=size)
    torch.nn.init.normal_(tokens.embedders["reference"][3].weight, std=5.0)  # type: ignore[index]
    folder = tmp_path_factory.mktemp("references") / "model"
    save_bundle(replace(plain, conditions=tokens), folder, card="")
    return load_bundle(folder)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    for name, index in (("a.png", 0), ("b,1.png", 1)):
        Image.fromarray(paint_tile(seed=0, index=index, size=64).image).save(folder / name)
    return folder


def made(bundle: Bundle, *references: str) -> bytes:
    image = generate_images(bundle, "colon", reference=references, **FEW)[0]  # type: ignore[arg-type]
    return image.tobytes()


def test_a_picture_follows_its_reference_and_a_mixture_lies_between(
    bundle: Bundle, tiles: Path
) -> None:
    a, b = str(tiles / "a.png"), str(tiles / "b,1.png")
    assert len({made(bundle), made(bundle, a), made(bundle, b), made(bundle, a, b)}) == 4
    assert made(bundle, a, b) == made(bundle, f"{b},0.5", f"{a},.5")
    assert made(bundle, f"{a},0") == made(bundle, f"{b},0") != made(bundle, a)


def test_a_run_names_its_references_and_rows_have_their_own(
    bundle: Bundle, tiles: Path, tmp_path: Path
) -> None:
    (tiles / "rows.csv").write_text('id,prompt,reference\nx,colon,\ny,colon,"a.png,0.3;b,1.png"\n')
    config = GenerateConfig(reference=(str(tiles / "a.png"),), **FEW)  # type: ignore[arg-type]
    run(config, tiles / "rows.csv", tmp_path / "out", bundle=bundle)
    x, y = (read_provenance(tmp_path / "out" / "images" / f"{row}-0.png") for row in "xy")
    assert [one["source"] for one in json.loads(x.control)] == ["a.png"]
    assert [one["weight"] for one in json.loads(y.control)] == [0.3, 0.5]
    assert all(0 <= one.reference_distance <= 1 for one in (x, y))  # type: ignore[operator]
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]["reference"]
    assert (tmp_path / "out" / told[0]).resolve() == (tiles / "a.png").resolve()
    before = (tmp_path / "out" / "images" / "y-0.png").stat().st_mtime_ns
    run(config, tiles / "rows.csv", tmp_path / "out", bundle=bundle)
    assert (tmp_path / "out" / "images" / "y-0.png").stat().st_mtime_ns == before


def test_in_memory_pictures_carry_the_distance_too(bundle: Bundle, tiles: Path) -> None:
    image = generate_images(bundle, "colon", reference=tiles / "a.png", **FEW)[0]  # type: ignore[arg-type]
    assert 0 <= image.info[PROVENANCE].reference_distance <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png", Reference(Path("a.png"), 1.0)),
        ("a,b.png,0.25", Reference(Path("a,b.png"), 0.25)),
        ("a.png,2", Reference(Path("a.png"), 2.0)),
    ],
)
def test_a_weight_follows_the_last_comma(text: str, expected: Reference) -> None:
    assert parse_references([text], Path()) == (expected,)


def test_what_cannot_be_used_is_refused(
    bundle: Bundle, tiny_model: Path, tiles: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="weight 3"):
        made(bundle, f"{tiles / 'a.png'},3")
    with pytest.raises(DataError, match="nowhere"):
        made(bundle, "nowhere.png")
    with pytest.raises(ConfigError, match="not trained with references"):
        made(load_bundle(tiny_model), str(tiles / "a.png"))
    (tiles / "bad.csv").write_text("id,prompt,reference\nx,colon,nowhere.png\ny,colon,a.png\n")
    run(GenerateConfig(**FEW), tiles / "bad.csv", tmp_path / "out", bundle=bundle)  # type: ignore[arg-type]
    assert "nowhere.png" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_a_picture_is_seen_in_its_middle_square_at_the_size_of_a_tile(tmp_path: Path) -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = read_reference(tmp_path / "wide.png", 32)
    assert found.shape == (32, 32, 3) and found.min() == 200
