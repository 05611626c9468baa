"""The recipes that score a ControlNet and put it into the package, on masks painted in grey."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crafts.controls.masks import mask_from_labels
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import load_manifest, staging, verify
from crafts.measures.faithfulness import Pair
from crafts.model.bundle import load_bundle
from crafts.model.control import load_control, save_control
from crafts.model.segmenter import SegmenterConfig
from fixtures_steering import disc_mask, random_control

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "recipes" / "mini"))

import control_tables  # noqa: E402
import empty_pairs  # noqa: E402
import score_control  # noqa: E402
import ship_control  # noqa: E402

CLASSES = SegmenterConfig().classes
SIDE = 256


def painted(mask: NucleiMask) -> np.ndarray:
    """Nuclei by their number, in grey."""
    assert mask.instances is not None
    return np.repeat((mask.instances * 40).astype(np.uint8)[..., None], 3, axis=2)


def segment(image: np.ndarray) -> NucleiMask:
    """The nuclei of :func:`painted`, without an error."""
    return mask_from_labels(image[..., 0] // 40)


@pytest.fixture(scope="module")
def cases() -> list[score_control.Case]:
    """Eight tiles with one to three nuclei each, no two alike."""
    found = []
    for number in range(8):
        labels = np.zeros((SIDE, SIDE), np.int32)
        for nucleus in range(1 + number % 3):
            disc = disc_mask(30 + 12 * nucleus, 30 + 6 * number, size=SIDE, radius=5)
            labels[disc.classes > 0] = nucleus + 1
        mask = mask_from_labels(labels)
        pair = Pair(str(number), painted(mask), mask)
        found.append(score_control.Case(str(number), pair, "painted", "tissue"))
    return found


@pytest.fixture(scope="module")
def images(cases: list[score_control.Case]) -> dict[str, np.ndarray]:
    """What a ControlNet that obeys would make; without a mask the nuclei of another tile."""
    found = {}
    for case, other, way in zip(cases, cases[3:] + cases[:3], score_control.WAYS * 2, strict=False):
        moved = score_control.shift(case.pair.mask, way)
        found[f"steered-{case.key}"] = painted(case.pair.mask)
        found[f"moved-{case.key}"] = painted(moved)
        found[f"empty-{case.key}"] = np.zeros((SIDE, SIDE, 3), np.uint8)
        found[f"free-{case.key}"] = painted(other.pair.mask)
    return found


@pytest.fixture(scope="module")
def result(cases: list[score_control.Case], images: dict[str, np.ndarray]) -> dict[str, Any]:
    """Figures as ``score_control.py`` writes them."""
    find = score_control.remembering(segment)
    scores = score_control.measure_group(cases, images, find, CLASSES)
    return {
        "kind": "nuclei",
        "preset": "balanced",
        "weight": 1.0,
        "sets": {"painted": scores, "all": scores},
        "moved": score_control.measure_moves(cases, images, find),
        "empty": score_control.measure_empty(cases, cases, images, find),
    }


def test_who_obeys_is_as_good_as_real(result: dict[str, Any]) -> None:
    one = result["sets"]["all"]
    assert one["obeyed"]["dice"] == one["ceiling"]["dice"] == one["normalised"] == 1.0
    assert one["normalised_spread"] == 0.0 and one["obeyed"]["aji"] == 1.0
    assert one["obeyed"]["count_correlation"] == pytest.approx(1.0)
    assert one["floor"]["dice"] < 0.7 and one["without_mask"]["dice"] < 0.7
    moved, empty = result["moved"], result["empty"]
    assert moved["moved"] == moved["steered"] == {"median_miss": 0.0, "share_near": 1.0}
    assert moved["free"]["share_near"] == 0.0
    assert empty["empty"]["nuclei"] == 0 and empty["real"]["nuclei"] == 15 / 8
    assert empty["bare"]["tiles"] == 8


def test_who_ignores_the_mask_is_at_the_floor(
    cases: list[score_control.Case], images: dict[str, np.ndarray]
) -> None:
    deaf = images | {f"steered-{case.key}": images[f"free-{case.key}"] for case in cases}
    deaf |= {f"moved-{case.key}": images[f"free-{case.key}"] for case in cases}
    one = score_control.measure_group(cases, deaf, segment, CLASSES)
    assert abs(one["normalised"]) < 0.5 and one["obeyed"] == one["without_mask"]
    assert score_control.measure_moves(cases, deaf, segment)["moved"]["share_near"] < 0.5


def test_tables_say_the_figures(result: dict[str, Any]) -> None:
    text = control_tables.nuclei_tables(result)
    assert (
        "| painted | 8 | 1.00 ± 0.00 |" in text and "AJI" in text and "mask moved by 16 px" in text
    )
    assert control_tables.verdict(result)[0] == "normalised Dice 1.00, asked 0.5"
    group = {"n": 4, "correlation": 0.6, "spread": 0.1, "share_above": 0.75}
    group |= {"floor": 0.0, "without_map": 0.01, "ceiling": None}
    glow = {"kind": "fluorescence", "preset": "fast", "weight": 1, "groups": {"DAPI": group}}
    assert (
        "| DAPI | 4 | 0.60 ± 0.10 | 0.00 | 0.01 |  | 0.75 |"
        in control_tables.fluorescence_table(glow)
    )
    assert control_tables.verdict(glow) == ["DAPI: correlation 0.60, asked 0.5"]


def test_an_interval_of_a_mean_draws_patients() -> None:
    values = np.random.default_rng(0).normal(size=100)
    found = control_tables.mean_interval(values, [str(k) for k in range(100)])
    assert found == pytest.approx(1.96 * values.std() / 10, rel=0.1)
    twins = control_tables.mean_interval(np.repeat(values, 4), [str(k // 4) for k in range(400)])
    assert twins == found, "four alike tiles of a patient tell no more than one"
    assert control_tables.mean_interval(values, ["one"] * 93 + list("abcdef" + "g")) is not None
    assert control_tables.mean_interval(values, ["one"] * 94 + list("abcdef")) is None


def test_a_window_without_nuclei_is_the_one_with_least_glass() -> None:
    tile = np.full((SIDE, SIDE, 3), 250, np.uint8)
    tile[:, 100:] = 150
    nuclei = np.zeros((SIDE, SIDE), bool)
    assert empty_pairs.find_window(tile, nuclei) == (pytest.approx(tile[:128, 112:240]), 0.0)
    nuclei[:, 200] = True
    found = empty_pairs.find_window(tile, nuclei)
    assert found is not None and found.glass == pytest.approx(36 / 128)  # from 64 to 192
    nuclei[::3] = True
    assert empty_pairs.find_window(tile, nuclei) is None
    assert empty_pairs.find_window(tile, nuclei, most=0.5) is not None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet beside the shipped denoiser."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    with staging(folder) as temporary:
        save_control(random_control(load_bundle("mini")), temporary, card="random\n", stage="train")
    return folder


def test_what_was_scored_is_shipped_with_its_figures(
    trained: Path, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, mini = load_control(trained), load_bundle("mini")
    told = result | {"control": own.fingerprint, "model": mini.fingerprint}
    (tmp_path / "score").mkdir()
    (tmp_path / "score/control.json").write_text(json.dumps(told))
    folder = tmp_path / "weights/control-nuclei"
    with monkeypatch.context() as small, pytest.raises(SystemExit, match="nothing written"):
        small.setattr(ship_control, "MOST_BYTES", 5_000_000)
        ship_control.main(trained, "nuclei", tmp_path / "score", tmp_path / "weights")
    assert not folder.exists()
    ship_control.main(trained, "nuclei", tmp_path / "score", tmp_path / "weights")
    verify(folder)
    shipped = load_control(folder)
    assert shipped.licence == "crafts-mini-research-only" and shipped.denoiser == mini.fingerprint
    size = (folder / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < 0.6 * (trained / "diffusion_pytorch_model.safetensors").stat().st_size
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| painted | 8 | 1.00 ± 0.00 |" in card and "{" not in card
    assert json.loads((folder / "heldout.json").read_text())["sets"] == told["sets"]
    assert load_manifest(folder).inputs["trained"] == own.fingerprint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "fluorescence"}, "figures for fluorescence"),
        ({"control": "0"}, "the figures are those of other weights"),
        ({"model": "0"}, "beside another model"),
    ],
)
def test_what_does_not_belong_together_is_not_shipped(
    trained: Path, values: dict[str, str], message: str
) -> None:
    own = load_control(trained)
    told = {"kind": "nuclei", "control": own.fingerprint, "model": own.denoiser}
    with pytest.raises(SystemExit, match=message):
        ship_control.check(own, "nuclei", told | values)
