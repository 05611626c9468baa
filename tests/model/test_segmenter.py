"""The segmenter's network, its folder, and nuclei out of its maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from crafts.controls.maps import CHANNELS, nuclei_map
from crafts.controls.masks import load_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN
from crafts.core.artifacts import finish, verify
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.model.segmenter import (
    Segmenter,
    SegmenterConfig,
    allowed_classes,
    build_segmenter,
    label_nuclei,
    load_segmenter,
    open_segmenter,
    save_segmenter,
    split_nuclei,
)
from fixtures_controls import random_mask

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src/crafts/weights/segmenter"
DATA = ROOT.parent / "shared/data/monuseg_NC"
# a held-out patient
FIELD = "TCGA-A7-A13F-01Z-00-DX1"
TINY = SegmenterConfig(widths=(8, 16))


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build_segmenter(TINY).eval(), threshold=0.4)


def image(seed: int, height: int = 37, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_maps_have_the_size_of_the_image(segmenter: Segmenter) -> None:
    found = segmenter.network(torch.zeros(2, 3, 37, 50))
    assert found.nucleus.shape == found.distance.shape == (2, 37, 50)
    assert found.classes.shape == (2, 6, 37, 50)
    count = sum(p.numel() for p in build_segmenter(SegmenterConfig()).parameters())
    assert 0.3e6 < count < 1e6


def test_company_does_not_matter(segmenter: Segmenter) -> None:
    together = segmenter.segment([image(0), image(1)])
    alone = segmenter(image(1))
    assert np.array_equal(together[1].classes, alone.classes)
    assert np.array_equal(together[1].instances, alone.instances)


def test_true_maps_give_the_true_nuclei() -> None:
    mask = random_mask(0, (128, 128), 30)
    depth = nuclei_map(mask)[CHANNELS.index("distance")]
    found = split_nuclei(mask.classes > 0, depth, core=0.4, min_area=4)
    assert np.array_equal(found > 0, mask.classes > 0)
    assert found.max() == len(np.unique(found)) - 1
    kept = 0
    for number in np.unique(mask.instances)[1:]:
        true = mask.instances == number
        best = np.bincount(found[true])
        one = found == best.argmax()
        kept += (true & one).sum() / (true | one).sum() > 0.5
    assert kept >= 29 and abs(int(found.max()) - 30) <= 1


def test_parts_without_a_middle_and_small_parts() -> None:
    inside = np.zeros((20, 40), bool)
    inside[2:12, 2:12] = inside[2:12, 20:30] = inside[17:19, 35:37] = True
    depth = np.zeros((20, 40), np.float32)
    depth[4:10, 4:10] = 1  # the second part is never deep
    found = split_nuclei(inside, depth, core=0.5, min_area=10)
    assert found.max() == 2 and found[5, 5] != found[5, 25] > 0 and found[17, 35] == 0
    assert split_nuclei(np.zeros((5, 5), bool), np.zeros((5, 5)), core=0.5, min_area=1).max() == 0
    assert split_nuclei(np.ones((5, 5), bool), np.ones((5, 5)), core=0.5, min_area=1).min() == 1


def test_pale_nuclei_have_no_hole_and_rings_of_nuclei_do() -> None:
    inside = np.zeros((30, 60), bool)
    inside[5:20, 5:20] = inside[5:20, 30:45] = True
    inside[9:15, 9:15] = inside[9:15, 34:40] = False
    depth = np.zeros((30, 60), np.float32)
    depth[6:19, 31:33] = depth[6:19, 42:44] = 1  # the second is two nuclei about a lumen
    found = split_nuclei(inside, depth, core=0.4, min_area=10)
    assert found[12, 12] == found[6, 6] > 0
    assert found[12, 37] == 0 and found[12, 31] != found[12, 43] and found.max() == 3


def test_a_nucleus_has_the_class_of_its_pixels() -> None:
    instances = np.repeat([[0, 1, 2]], 4, 0).astype(np.int32)
    classes = np.zeros((2, 4, 3), np.float32)
    classes[0, :, 1], classes[1, :, 1] = [0.9, 0.9, 0.2, 0.4], [0.1, 0.1, 0.8, 0.6]
    classes[1, :, 2] = 1
    labels = label_nuclei(instances, classes, ("plasma", "connective"))
    assert labels[0].tolist() == [0, CLASSES.index("plasma"), CLASSES.index("connective")]
    assert set(np.unique(label_nuclei(instances, classes[:0], ()))) == {0, UNKNOWN}


def test_labels_allow_the_classes_they_mean() -> None:
    names = SegmenterConfig().classes
    allowed = allowed_classes(names)

    def named(label: str) -> set[str]:
        row = allowed[CLASSES.index(label)]
        return {name for name, yes in zip(names, row, strict=True) if yes}

    assert named("neoplastic") == named("epithelial") == {"epithelial"}
    assert named("inflammatory") == {"lymphocyte", "plasma", "neutrophil", "eosinophil"}
    assert named("plasma") == {"plasma"}
    assert named("unknown") == named("dead") == named("background") == set()


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded_it_finds_the_same(
    segmenter: Segmenter, tmp_path: Path, half: bool
) -> None:
    save_segmenter(segmenter.network, tmp_path, half=half)
    finish(tmp_path, stage="train", config=TINY)
    loaded = load_segmenter(tmp_path)
    one, two = (s.network(torch.zeros(1, 3, 16, 16)).nucleus for s in (segmenter, loaded))
    assert torch.allclose(one, two, atol=1e-2 if half else 0)
    assert next(loaded.network.parameters()).dtype == torch.float32
    assert len(loaded.fingerprint) == 64


def test_folders_that_are_no_segmenter_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_segmenter(tmp_path)
    save_segmenter(segmenter.network, tmp_path)
    weights = tmp_path / "model.safetensors"
    finish(tmp_path, stage="train", config=TINY)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\1")
    with pytest.raises(IntegrityError):
        load_segmenter(tmp_path)
    (tmp_path / "manifest.json").unlink()
    weights.write_bytes(whole)
    with pytest.raises(IntegrityError, match=r"whose manifest\.json is lost"):
        load_segmenter(tmp_path)
    weights.write_bytes(whole[: len(whole) // 2])
    finish(tmp_path, stage="train", config=TINY)
    with pytest.raises(DataError, match="unreadable weights"):
        load_segmenter(tmp_path)
    weights.unlink()
    finish(tmp_path, stage="train", config=TINY)
    with pytest.raises(ConfigError, match="no weights"):
        load_segmenter(tmp_path)
    named = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(named | {"depth": 3}))
    weights.write_bytes(whole)
    finish(tmp_path, stage="train", config=TINY)
    with pytest.raises(ConfigError, match=r"config\.json: depth"):
        load_segmenter(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(ConfigError, match="another kind of model"):
        load_segmenter(tmp_path)


def test_images_of_another_kind_are_refused(segmenter: Segmenter) -> None:
    for images in ([], [image(0).astype(float)], [image(0)[..., 0]], [image(0), image(0, 40, 50)]):
        with pytest.raises(DataError, match=r"uint8 \[H, W, 3\] of one size"):
            segmenter.segment(images)


@pytest.mark.parametrize(
    "values", [{"widths": (8, 12)}, {"classes": ("nucleus",)}, {"classes": ("plasma", "plasma")}]
)
def test_configurations_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SegmenterConfig.model_validate(values)


def test_the_shipped_segmenter_is_whole_small_and_licensed() -> None:
    manifest = verify(SHIPPED)
    assert manifest.extra["licence"] == "crafts-mini-research-only"
    assert "Research use only".lower() in (SHIPPED / "README.md").read_text().lower()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3e6
    blank = np.full((64, 64, 3), 240, np.uint8)
    assert not open_segmenter("mini")(blank).classes.any()


@pytest.mark.skipif(not DATA.is_dir(), reason="the real sets are not beside the repository")
def test_the_shipped_segmenter_finds_real_nuclei() -> None:
    pixels = np.asarray(Image.open(DATA / f"images/{FIELD}.jpg").convert("RGB"))[:256, :256]
    true = load_mask(DATA / f"instance_labels/{FIELD}.png", values="instances").classes > 0
    true, found = true[:256, :256], open_segmenter("mini")(pixels).classes > 0
    assert 2 * (true & found).sum() > 0.65 * (true.sum() + found.sum())


def test_a_segmenter_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_segmenter(str(tmp_path / "none"))


def test_a_missing_shipped_segmenter_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crafts.model.segmenter._SHIPPED", tmp_path / "absent")
    with pytest.raises(ConfigError, match="this installation holds no shipped segmenter"):
        open_segmenter("mini")
