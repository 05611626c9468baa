"""Images that obey their masks, that obey others, and that cannot be told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.api import pack
from crafts.controls.hematoxylin import hematoxylin_map
from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask, label_classes
from crafts.core.artifacts import finish
from crafts.core.config import load_config
from crafts.core.errors import DataError
from crafts.data.painter import paint_tile
from crafts.evaluation import evaluate
from crafts.measures.faithfulness import hematoxylin_correlation, measure_faithfulness, normalize
from crafts.measures.nuclei import Scores
from crafts.model.segmenter import SegmenterConfig, build_segmenter, save_segmenter
from crafts.sets.masked import MaskedTile, iter_pairs, list_pairs


def painted(index: int, size: int = 64) -> MaskedTile:
    tile = paint_tile(seed=3, index=index, size=size)
    classes = label_classes(tile.classes, "lizard", where="painted")
    mask = NucleiMask(classes, tile.instances.astype(np.int32))
    return MaskedTile(f"tile-{index}", tile.image, mask)


@pytest.fixture(scope="module")
def pairs() -> list[MaskedTile]:
    return [painted(index) for index in range(8)]


class Oracle:
    """Finds the painted nuclei by the image that shows them; moved by some pixels."""

    def __init__(self, pairs: list[MaskedTile], shift: int = 0) -> None:
        self.known = {pair.image.tobytes(): pair.mask for pair in pairs}
        self.shift = shift

    def __call__(self, image: np.ndarray) -> NucleiMask:
        mask = self.known[image.tobytes()]
        assert mask.instances is not None
        return NucleiMask(
            np.roll(mask.classes, self.shift, 1), np.roll(mask.instances, self.shift, 1)
        )


def test_images_that_obey_reach_the_ceiling(pairs: list[MaskedTile]) -> None:
    result = measure_faithfulness(pairs, Oracle(pairs), real=pairs)
    assert result.obeyed.dice == 1 and result.normalised == 1 and result.spread == 0
    assert result.ceiling == result.obeyed
    assert result.floor is not None and result.floor.dice is not None
    assert 0 < result.floor.dice < 0.6  # the mask of another tile, never the own one


def test_nuclei_elsewhere_lie_near_the_floor(pairs: list[MaskedTile]) -> None:
    moved = measure_faithfulness(pairs, Oracle(pairs, shift=20), real=pairs)
    half = measure_faithfulness(pairs, Oracle(pairs, shift=1), real=pairs)
    assert moved.ceiling is not None
    again = measure_faithfulness(pairs, Oracle(pairs, shift=20), real=pairs)
    assert again == moved  # one seed, one result
    ideal = measure_faithfulness(pairs, Oracle(pairs)).obeyed
    low = normalize(moved.obeyed, moved.floor, ideal)
    high = normalize(half.obeyed, half.floor, ideal)
    assert low is not None and high is not None and low < 0.35 < 0.6 < high < 1


def test_floor_and_ceiling_report_the_same_classes(pairs: list[MaskedTile]) -> None:
    result = measure_faithfulness(pairs, Oracle(pairs), real=pairs, classes=["lymphocyte"])
    assert result.floor is not None and result.ceiling is not None
    asked = set(result.obeyed.class_dice)
    assert asked == {"lymphocyte", "inflammatory"}
    assert set(result.floor.class_dice) == set(result.ceiling.class_dice) == asked


def test_the_interval_is_one_over_patients(pairs: list[MaskedTile]) -> None:
    """Images of one patient that err alike say no more than one of them."""
    found = {
        pair.image.tobytes(): pair.mask.classes * (number % 2) for number, pair in enumerate(pairs)
    }
    alone = [replace(pair, patient=f"p{number}") for number, pair in enumerate(pairs)]

    def spread(some: list[MaskedTile]) -> float | None:
        return measure_faithfulness(some, lambda image: NucleiMask(found[image.tobytes()])).spread

    own = spread(alone)
    assert own is not None and own > 0.2
    assert spread(alone * 4) == pytest.approx(own, abs=1e-9)
    apart = spread([replace(pair, patient="") for pair in alone * 4])
    assert apart == pytest.approx(own / 2, rel=0.2)
    assert spread([replace(pair, patient="one") for pair in alone]) is None


def test_without_real_tiles_there_is_no_ceiling(pairs: list[MaskedTile]) -> None:
    result = measure_faithfulness(pairs, Oracle(pairs))
    assert result.ceiling is None and result.normalised is None
    one = measure_faithfulness(pairs[:1], Oracle(pairs))
    assert one.floor is None and one.spread is None
    level = Scores(n=1, dice=0.5)
    assert normalize(level, level, level) is None


def test_hematoxylin_follows_the_map(pairs: list[MaskedTile]) -> None:
    image = pairs[0].image
    control, _ = hematoxylin_map(image)
    own = hematoxylin_correlation(image, control[0])
    other = hematoxylin_correlation(pairs[1].image, control[0])
    assert own is not None and other is not None and own > 0.95 > 0.5 > other
    assert hematoxylin_correlation(image, np.zeros(image.shape[:2])) is None
    with pytest.raises(DataError, match="control map"):
        hematoxylin_correlation(image, control)


def write_folder(folder: Path, pairs: list[MaskedTile]) -> Path:
    """An image folder with a column ``mask``; the last row has none."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    lines = ["file_name,text,mask,split,patient"]
    for number, pair in enumerate(pairs):
        Image.fromarray(pair.image).save(folder / f"images/{pair.name}.png")
        save_mask(folder / f"masks/{pair.name}.png", pair.mask)
        named = f"masks/{pair.name}.png" if number < len(pairs) - 1 else ""
        split = "heldout" if number % 2 else "train"
        lines.append(f"images/{pair.name}.png,x,{named},{split},p-{pair.name}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_pairs_are_read_from_a_folder_and_from_shards(
    pairs: list[MaskedTile], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "tiles", pairs)
    pack({"tokenizers": []}, folder, tmp_path / "shards")
    for source in (folder, tmp_path / "shards"):
        items = list_pairs(source)
        found = list(iter_pairs(items))
        assert len(found) == len(pairs) - 1
        for one, pair in zip(found, pairs, strict=False):
            assert isinstance(one, MaskedTile)
            assert np.array_equal(one.image, pair.image)
            assert np.array_equal(one.mask.classes, pair.mask.classes)
            assert np.array_equal(one.mask.instances, pair.mask.instances)
            assert one.patient == f"p-{pair.name}"
        assert len(list_pairs(source, "train")) == 4


def test_a_mask_that_cannot_be_used_comes_as_its_reason(
    pairs: list[MaskedTile], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "tiles", pairs[:3])
    save_mask(folder / "masks/tile-0.png", painted(0, 32).mask)
    (folder / "masks/tile-1.png").write_bytes(b"no image")
    first, second = iter_pairs(list_pairs(folder))
    assert first == "images/tile-0.png: mask of 32 x 32 px, image of 64 x 64 px"
    assert isinstance(second, str) and "unreadable" in second


def test_evaluate_judges_masks_where_there_are_some(tmp_path: Path) -> None:
    many = [painted(index, 32) for index in range(72)]
    write_folder(tmp_path / "generated", many[:36])
    write_folder(tmp_path / "real", many[36:])
    torch.manual_seed(0)
    save_segmenter(build_segmenter(SegmenterConfig(widths=(8, 16))), tmp_path / "segmenter")
    finish(tmp_path / "segmenter", stage="train", config={})
    given = {
        "generated": tmp_path / "generated",
        "real": tmp_path / "real",
        "real_split": "",
        "segmenter": str(tmp_path / "segmenter"),
        "map_images": 20,
        "device": "cpu",
    }
    evaluate.run(load_config(evaluate.EvaluateConfig, given), None, tmp_path / "one")
    found = json.loads((tmp_path / "one/metrics.json").read_text())["faithfulness"]
    assert found["obeyed"]["n"] == 35 and found["ceiling"]["n"] == 35 and not found["rejected"]
    assert len(found["segmenter"]) == 64
    page = (tmp_path / "one/report.html").read_text()
    assert "Do tiles obey their masks?" in page and "Floor: generated" in page
    for row in ("generated", "real"):
        table = (tmp_path / row / "metadata.csv").read_text().splitlines()
        cells = [line.split(",") for line in table]
        plain = [",".join(np.delete(line, 2)) for line in cells]
        (tmp_path / row / "metadata.csv").write_text("\n".join(plain) + "\n")
        masks = [f"{row}/{line[0]},{row}/{line[2]}" for line in cells[1:] if line[2]]
        names = [line.removeprefix(f"{row}/images/") for line in masks]
        (tmp_path / f"{row}.csv").write_text("\n".join(["file_name,mask", *names]) + "\n")
    tables = {"masks": tmp_path / "generated.csv", "real_masks": tmp_path / "real.csv"}
    evaluate.run(load_config(evaluate.EvaluateConfig, given | tables), None, tmp_path / "two")
    again = json.loads((tmp_path / "two/metrics.json").read_text())["faithfulness"]
    assert again["counts"]["generated"] == found["counts"]["generated"]
    assert again["obeyed"] == found["obeyed"] and again["ceiling"] == found["ceiling"]
    page = (tmp_path / "two/report.html").read_text()
    assert "Generated tiles: 35 used, 0 rejected, 1 without a mask." in page
