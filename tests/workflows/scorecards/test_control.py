"""The scorecard of a ControlNet, on masks painted in grey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crafts.conditions.maps import image_map
from crafts.controls.masks import mask_from_labels, save_mask
from crafts.core.errors import ConfigError
from crafts.data.painter import paint_tile
from crafts.model.control import load_control
from crafts.testing import write_tiny_model
from crafts.workflows.scorecards import control, fluorescence, nuclei
from crafts.workflows.scorecards.fluorescence import Glow
from fixtures_scorecards import CLASSES, SIDE, segment
from fixtures_steering import write_control


def test_who_obeys_is_as_good_as_real(result: dict[str, Any]) -> None:
    one = result["sets"]["painted"]
    assert one["obeyed"]["dice"] == one["ceiling"]["dice"] == one["normalised"] == 1.0
    assert one["spread"] == 0.0 and one["obeyed"]["aji"] == 1.0
    assert one["obeyed"]["count_correlation"] == pytest.approx(1.0)
    assert one["floor"]["dice"] < 0.7 and one["without_mask"]["dice"] < 0.7
    moved, empty = result["moved"], result["empty"]
    assert moved["moved"] == moved["steered"] == {"median_miss": 0.0, "share_near": 1.0}
    assert moved["free"]["share_near"] == 0.0
    assert empty["empty"]["nuclei"] == 0 and empty["real"]["nuclei"] == 15 / 8
    assert empty["bare"]["tiles"] == 8


def test_who_ignores_the_mask_is_at_the_floor(
    cases: list[nuclei.Case], images: dict[str, np.ndarray]
) -> None:
    deaf = images | {f"steered-{case.key}": images[f"free-{case.key}"] for case in cases}
    deaf |= {f"moved-{case.key}": images[f"free-{case.key}"] for case in cases}
    one = nuclei.measure_group(cases, deaf, segment, CLASSES)
    assert abs(one["normalised"]) < 0.5 and one["obeyed"] == one["without_mask"]
    assert nuclei.measure_moves(cases, deaf, segment)["moved"]["share_near"] < 0.5


def test_tables_say_the_figures(result: dict[str, Any]) -> None:
    text = control.compose(result)
    assert (
        "| painted | 8 | 1.00 ± 0.00 |" in text and "AJI" in text and "mask moved by 16 px" in text
    )
    assert control.verdict(result)[0] == "normalised Dice, mean of sets 1.00, asked 0.5"
    group = {"n": 4, "correlation": 0.6, "spread": 0.1, "share_above": 0.75}
    group |= {"floor": 0.0, "without_map": 0.01, "ceiling": None}
    glow = {"kind": "fluorescence", "preset": "fast", "weight": 1, "groups": {"DAPI": group}}
    assert "| DAPI | 4 | 0.60 ± 0.10 | 0.00 | 0.01 |  | 0.75 |" in control.compose(glow)
    assert control.verdict(glow) == ["DAPI: correlation 0.60, asked 0.5"]


def test_an_interval_of_a_mean_draws_patients() -> None:
    values = np.random.default_rng(0).normal(size=100)
    found = nuclei.half_interval(values, [str(k) for k in range(100)])
    assert found == pytest.approx(1.96 * values.std() / 10, rel=0.1)
    assert nuclei.half_interval(values, ["one"] * 93 + list("abcdefg")) is not None
    assert nuclei.half_interval(values, ["one"] * 94 + list("abcdef")) is None


def test_a_window_without_nuclei_is_the_one_with_least_glass() -> None:
    tile = np.full((SIDE, SIDE, 3), 250, np.uint8)
    tile[:, 100:] = 150
    where = np.zeros((SIDE, SIDE), bool)
    assert nuclei.find_window(tile, where) == (pytest.approx(tile[:128, 112:240]), 0.0)
    where[:, 200] = True
    found = nuclei.find_window(tile, where)
    assert found is not None and found.glass == pytest.approx(36 / 128)  # from 64 to 192
    where[::3] = True
    assert nuclei.find_window(tile, where) is None
    assert nuclei.find_window(tile, where, most=0.5) is not None


def test_a_correlation_has_its_floors_and_its_ceiling() -> None:
    tiles = [paint_tile(seed=0, index=index, size=64).image for index in range(3)]
    glows = [
        Glow(str(k), "painted", "x", tile[..., 0], str(k), tile) for k, tile in enumerate(tiles)
    ]
    maps = {str(k): image_map(tile) for k, tile in enumerate(tiles)}
    images = {f"steered-{k}": tile for k, tile in enumerate(tiles)}
    images |= {f"free-{k}": np.zeros((64, 64, 3), np.uint8) for k in range(3)}
    found = fluorescence.measure(glows, maps, images)
    assert found["n"] == 3 and found["share_above"] == 1
    assert found["correlation"] == found["ceiling"] > 0.95
    assert found["floor"] < 0.5 and found["without_map"] == 0  # one colour correlates with nothing
    alone = fluorescence.measure(glows[:1], maps, images)
    assert alone["floor"] is None and alone["spread"] is None, "its own map is no floor"
    fluorescent = [Glow("0", "painted", "x", tiles[0][..., 0], "0")]
    assert fluorescence.measure(fluorescent, maps, images)["ceiling"] is None


def test_a_scorecard_of_a_tiny_controlnet_is_whole(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model", size=96)
    pairs = write_pairs(tmp_path / "pairs", 6)
    network = write_control(model, tmp_path / "control")
    options = {"model": str(model), "preset": "fast", "per_set": 3}
    text = control.score_control(network, pairs, tmp_path / "card", **options)
    found = json.loads((tmp_path / "card/control.json").read_text())
    assert found["control"] == load_control(network).fingerprint
    assert found["sets"]["painted"]["obeyed"]["n"] == 3 and "| painted | 3 |" in text
    assert found["moved"]["tiles"] == 3 and found["empty"]["empty"]["tiles"] == 3
    assert (tmp_path / "card/montage.png").stat().st_size
    glow = write_control(model, tmp_path / "glow", kind="fluorescence")
    with pytest.raises(ConfigError, match="no folder of fluorescence; expected --sets SETS"):
        control.score_control(glow, pairs, tmp_path / "never", **options)
    text = control.score_control(glow, pairs, tmp_path / "bright", sets=tmp_path, **options)
    assert "| hematoxylin of held-out H&E | 1 |" in text


def write_pairs(folder: Path, number: int) -> Path:
    """Held-out painted tiles of one set with masks of their nuclei."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["file_name,mask,text,patient,split,set"]
    for index in range(number):
        tile = paint_tile(seed=0, index=index, size=96, classes=("glands", "lymphocytes"))
        Image.fromarray(tile.image).save(folder / f"images/{index}.png")
        save_mask(folder / f"masks/{index}.png", mask_from_labels(tile.instances.astype(np.int32)))
        lines.append(f"images/{index}.png,masks/{index}.png,x,p{index},heldout,painted")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder
