"""The gate: thresholds from real tiles, a reason for each refusal, real tiles pass."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.evaluation.diagnosis.looks import Stained, stain_rows
from crafts.evaluation.gate import (
    GATE,
    Candidates,
    GateTails,
    build_gate,
    calibrate,
    classes_of_texts,
    count_reasons,
    judge,
    load_reference,
    shipped_gate,
)
from crafts.measures.appearance import measure_artefacts, stain_densities
from crafts.model.vision.image_encoders import SHIPPED, open_encoder

SIZE = 64
TAILS = GateTails(alignment=0.05, disagreement=0.05, artefact=0.01, copy_cosine=0.01)


@pytest.fixture(scope="module")
def tiles():
    return np.stack([paint_tile(seed=1, index=k, size=SIZE).image for k in range(160)])


@pytest.fixture(scope="module")
def real(tiles):
    """Painted tiles with made-up features: three classes, texts at their centres."""
    rng = np.random.default_rng(0)
    own = np.arange(len(tiles)) % 3
    images = 2 * np.eye(8)[own] + 0.4 * rng.standard_normal((len(tiles), 8))
    texts = np.eye(8)[own] + 0.01 * rng.standard_normal((len(tiles), 8))
    return Candidates(
        images=_unit(images),
        texts=_unit(texts),
        classes=np.array(list("abc"))[own],
        artefacts=[measure_artefacts(tile, SIZE) for tile in tiles],
        copies=rng.uniform(0.2, 0.6, len(tiles)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def reference(real):
    groups = np.array([f"p{k // 8}" for k in range(len(real.images))])
    return calibrate(real, groups, encoder="e" * 64, size=SIZE, tails=TAILS)


def _unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _one(real, row=0, **changed):
    part = vars(real.part(np.array([row]))) | changed
    return Candidates(**part)


def test_the_gate_refuses_the_shares_of_real_tiles_that_it_was_set_to(real, reference):
    reasons = judge(reference, real)
    counts = count_reasons(reasons)
    # a quantile refuses at most ceil(share x N) tiles; an earlier reason may hide a later one
    most = {"alignment": 8, "class": 8} | dict.fromkeys(counts.keys() - {"alignment", "class"}, 2)
    assert all(0 < number <= most[name] for name, number in counts.items())
    assert {"alignment", "blur", "noise"} <= set(counts)
    assert sum(counts.values()) + reasons.count("") == 160
    assert reference.tiles == 160 and reference.groups == 20
    assert 0.7 < reference.real_pass < 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda tile: gaussian_filter(tile, (4, 4, 0)), "blur"),
        (lambda tile: np.random.default_rng(0).integers(0, 256, tile.shape), "noise"),
        (lambda tile: np.full_like(tile, 255), "blur"),
        (lambda tile: np.zeros_like(tile), "blur"),
        (lambda tile: tile[..., [1, 0, 2]], "off_stain"),
    ],
)
def test_spoilt_tiles_are_refused_by_name(tiles, real, reference, spoil, reason):
    good = judge(reference, real).index("")
    bad = spoil(tiles[good]).astype(np.uint8)
    assert judge(reference, _one(real, good, artefacts=[measure_artefacts(bad, SIZE)])) == [reason]


def test_a_few_black_pixels_are_no_reason(tiles, real, reference):
    good = judge(reference, real).index("")
    tile = tiles[good].copy()
    tile[0, :10] = 0
    assert measure_artefacts(tile, SIZE)["black"] > 0 == reference.artefacts["black"] - 0.01
    assert judge(reference, _one(real, good, artefacts=[measure_artefacts(tile, SIZE)])) == [""]


@pytest.mark.parametrize(("number", "reason"), [("white", "white"), ("black", "black")])
def test_saturation_is_a_reason_of_its_own(real, reference, number, reason):
    good = judge(reference, real).index("")
    spoilt = {**real.artefacts[good], number: 1.0}
    assert judge(reference, _one(real, good, artefacts=[spoilt])) == [reason]


def test_a_low_contrast_is_flat(real, reference):
    good = judge(reference, real).index("")
    spoilt = {**real.artefacts[good], "contrast": 0.0}
    assert judge(reference, _one(real, good, artefacts=[spoilt])) == ["flat"]


def test_another_class_poor_alignment_and_copies_are_refused(real, reference):
    good = judge(reference, real).index("")
    other = np.array(["b" if real.classes[good] != "b" else "c"])
    assert judge(reference, _one(real, good, classes=other)) == ["class"]
    away = _unit(np.eye(8)[[7]])
    unknown = np.array([""])
    assert judge(reference, _one(real, good, images=away, classes=unknown)) == ["alignment"]
    assert judge(reference, _one(real, good, copies=np.array([0.99]))) == ["copy"]
    assert judge(reference, _one(real, good, copies=None, texts=None, classes=unknown)) == [""]


def test_texts_find_their_class_or_none(real, reference):
    found = classes_of_texts(reference, real.texts)
    known = found != ""
    assert known.mean() > 0.9 and (found[known] == real.classes[known]).all()
    assert classes_of_texts(reference, _unit(np.eye(8)[[6]])).tolist() == [""]


def test_thresholds_need_tiles(real):
    with pytest.raises(DataError, match="gate: 3 real tiles; expected at least 20"):
        calibrate(real.part(np.arange(3)), np.array(["a"] * 3), encoder="e", size=SIZE)


def test_thresholds_are_read_back_and_faults_named(reference, tmp_path):
    path = tmp_path / GATE
    path.write_text(reference.model_dump_json())
    assert load_reference(path) == reference
    path.write_text("{")
    with pytest.raises(ConfigError, match="no readable thresholds"):
        load_reference(path)
    path.write_text('{"version": 2}')
    with pytest.raises(ConfigError, match="version: 2"):
        load_reference(path)
    with pytest.raises(ConfigError, match="expected gate.json"):
        load_reference(tmp_path / "absent.json")


def test_thresholds_of_another_encoder_are_refused(reference):
    with pytest.raises(ConfigError, match="thresholds for encoder eeeeeeeeeeee"):
        build_gate(reference, open_encoder("mini", device="cpu"))


@pytest.mark.skipif(not (SHIPPED / GATE).is_file(), reason="no gate.json beside the encoder")
def test_the_shipped_gate_refuses_what_is_no_tissue():
    accept = shipped_gate(device="cpu")
    prompt = "Colon adenocarcinoma, high power"
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for pixels in (noise, np.full((256, 256, 3), 240, np.uint8)):
        assert accept(Image.fromarray(pixels), prompt) is False
    assert load_reference(SHIPPED / GATE).real_pass > 0.7


def test_densities_of_pure_stains_are_found_again():
    stains = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    amounts = np.array([0.5, 0.2])
    pixel = np.round(256 * 10 ** -(amounts @ stains) - 1).astype(np.uint8)
    found = stain_densities(np.tile(pixel, (32, 32, 1)))
    assert found[:2] == pytest.approx(amounts, abs=0.01) and abs(found[2]) < 0.01


def test_tiles_out_of_range_are_counted_beside_what_is_expected():
    rng = np.random.default_rng(0)
    held = rng.normal(0.3, 0.05, (200, 3))
    groups = np.array([f"p{k // 10}" for k in range(200)])
    classes = np.array(["a", "b"] * 100)
    made = Stained(held[:100] + 0.5, classes[:100], groups[:100])
    rows = stain_rows({"heldout": Stained(held, classes, groups), "generated": made})
    by = {(row.set, row.name): row for row in rows}
    assert by["generated", ""].outside == 1 and by["heldout", ""].outside <= 0.05
    assert 0 < by["heldout", ""].outside_expected < 0.2
    assert by["heldout", "a"].haematoxylin == pytest.approx(held[::2, 0].mean())
    assert by["heldout", "b"].eosin_sd == pytest.approx(held[1::2, 1].std())
