"""The judge of structure, trained and calibrated on noise."""

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core.artifacts import verify
from crafts.model.vision.structure_judge import (
    CLASSES,
    build_structure_judge,
    classify,
    load_structure_judge,
    save_structure_judge,
)
from crafts.workflows.releasing import structure
from crafts.workflows.scorecards.classes import read_rows, read_tiles
from fixtures_scorecards import write_labelled_tiles


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_labelled_tiles(tmp_path_factory.mktemp("structure") / "tiles", side=256)


def test_sampling_is_balanced_over_classes(tiles):
    rows = read_rows(tiles, "train")[3:]
    weights = structure.sampling_weights(rows)
    for name in {row["class"] for row in rows}:
        assert sum(
            w for row, w in zip(rows, weights, strict=True) if row["class"] == name
        ) == pytest.approx(1)


def test_augmentation_is_decided_by_its_generator_and_keeps_to_the_tile():
    grey = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    one = structure.augment(grey, torch.Generator().manual_seed(5))
    assert one.shape == (3, 1, structure.CROP, structure.CROP)
    assert torch.equal(one, structure.augment(grey, torch.Generator().manual_seed(5)))
    assert not torch.equal(one, structure.augment(grey, torch.Generator().manual_seed(6)))
    assert torch.isfinite(one).all()


def test_calibration_puts_the_border_where_validation_patients_put_it(tmp_path):
    torch.manual_seed(0)
    network = build_structure_judge().eval()
    with torch.no_grad():  # far too sure of carcinoma
        network.classifier[-1].bias[1] += 5
    save_structure_judge(network, tmp_path / "net")
    (tmp_path / "images").mkdir()
    rng, lines = np.random.default_rng(0), ["file_name,patient,split,set,organ,label,power"]
    for index in range(16):
        kind, step = (("normal", 2), ("carcinoma", 8))[index % 2]
        pixels = np.kron(rng.integers(0, 256, (64 // step, 64 // step)), np.ones((step, step)))
        pixels = np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
        row = f"images/{index}.png,{index},validation,oral,oral mucosa,oral {kind} low,low"
        lines.append(row)
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    rows = read_rows(tmp_path, "validation")
    images, names = read_tiles(tmp_path, rows), [row["class"] for row in rows]

    def guesses():
        scores = classify(load_structure_judge(tmp_path / "net"), images)
        gap = scores[:, 1] - scores[:, 0]
        return [float(np.median(gap[np.array(names) == name])) for name in CLASSES[:2]]

    assert min(guesses()) > 0
    structure.calibrate(tmp_path, tmp_path / "net")
    assert sum(guesses()) == pytest.approx(0, abs=0.01)  # the border lies in the middle
    before = load_structure_judge(tmp_path / "net").classifier[-1].bias
    structure.calibrate(tmp_path, tmp_path / "net")  # once more changes nothing but rounding
    after = load_structure_judge(tmp_path / "net").classifier[-1].bias
    assert torch.allclose(before, after, atol=0.01)


def test_a_judge_is_trained_judged_and_comes_back_from_half_precision(tiles, tmp_path):
    text = structure.release_structure_judge(tiles, tmp_path / "judge", cpu_seconds=1.0)
    assert verify(tmp_path / "judge").config == {"cpu_seconds": 1.0, "bf16": False}
    assert "| oral normal low | 4 | 8 |" in text and "oral low, chance-corrected" in text
    assert (tmp_path / "judge/model.safetensors").stat().st_size < 1_000_000
    network = load_structure_judge(tmp_path / "judge")
    assert next(network.parameters()).dtype == torch.float32
    images = read_tiles(tiles, read_rows(tiles, "train")[:3])
    scores = classify(network, images)
    assert scores.shape == (3, len(CLASSES))
    flipped = classify(network, np.ascontiguousarray(images[:, ::-1]))
    np.testing.assert_allclose(flipped, scores, atol=1e-4)
