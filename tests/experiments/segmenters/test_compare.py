"""Segmenters on synthetic pairs: the pairs, the arms, the words; end to end on painted tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.controls.layouts import fit_layouts, measure_nuclei
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import NucleiMask, label_classes, separate
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError
from crafts.data.listing.items import ListedTile
from crafts.data.loader import ShardReader
from crafts.data.painter import paint_tile
from crafts.experiments.segmenters import compare, page
from crafts.experiments.segmenters import pairs as pairs_module
from crafts.experiments.segmenters.pairs import Source, choose_sources, draw_few, invent_like
from crafts.testing import write_tiny_model
from crafts.training.loader import make_batch
from crafts.training.tasks.segmenter import SegmenterTask
from crafts.training.train import TrainConfig
from fixtures_controls import random_mask
from fixtures_steering import write_control

RECIPE = Path(__file__).parents[3] / "recipes" / "mini" / "segmenter.yaml"
SIZE, TRAIN, HELD = 64, 16, 6
ENDS = (page.ARMS[0], page.Arm("few real + synthetic", ("few", "invented")))


def write_painted(folder: Path) -> Path:
    """Painted pairs of two sets; one of them has no texts, and masks without classes."""
    rows = []
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for index in range(TRAIN + HELD):
        tile = paint_tile(seed=0, index=index, size=SIZE, classes=("glands", "lymphocytes"))
        name, bare = f"{index:02d}.png", index % 2 == 1
        Image.fromarray(tile.image).save(folder / "images" / name)
        classes = label_classes(tile.classes, "lizard", where=name)
        instances = tile.instances.astype(np.int32)
        save_mask(
            folder / "masks" / name,
            NucleiMask((instances > 0).astype(np.uint8) * 10, instances)
            if bare
            else NucleiMask(classes),
        )
        rows.append(
            {
                "file_name": f"images/{name}",
                "mask": f"masks/{name}",
                "text": "" if bare else tile.caption,
                "patient": f"p{index // 4}",
                "split": "train" if index < TRAIN else "heldout",
                "set": "bare" if bare else "told",
                "power": "high",
            }
        )
    pairs_module._write_table(rows, folder / "metadata.csv")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_painted(tmp_path_factory.mktemp("painted") / "pairs")


@pytest.fixture(scope="module")
def config(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> compare.SegmentersConfig:
    work = tmp_path_factory.mktemp("control")
    model = write_tiny_model(work / "model", size=SIZE)
    control = write_control(model, work / "control")
    return compare.SegmentersConfig(
        control=control, pairs=pairs, recipe=RECIPE, model=str(model), num=8, few=0.25,
        seeds=(0, 1), sampler_steps=1, steps=1, batch=2, crop=32, judged=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def output(config: compare.SegmentersConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole comparison of two arms."""
    output = tmp_path_factory.mktemp("comparison") / "out"
    compare.run(config, output, arms=ENDS)
    return output


def sources(counts: dict[str, list[int]]) -> list[Source]:
    """Set -> tiles of each of its patients."""
    known = [
        {"set": name, "patient": f"{name}-{patient}"}
        for name, numbers in counts.items()
        for patient, number in enumerate(numbers)
        for _ in range(number)
    ]
    return [Source(k, ListedTile("", str(k), "", fields=fields)) for k, fields in enumerate(known)]


def test_sets_and_patients_give_alike_and_only_training_tiles(pairs: Path) -> None:
    chosen = choose_sources(pairs, 8)
    names = [source.set for source in chosen]
    assert names.count("bare") == names.count("told") == 4
    assert {source.patient for source in chosen} == {"p0", "p1", "p2", "p3"}
    assert len(choose_sources(pairs, 1000)) == TRAIN


def test_a_small_set_leaves_its_share_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        source.item for source in sources({"large": [1] * 50, "middle": [1] * 30, "small": [2]})
    ]
    monkeypatch.setattr(pairs_module, "list_pairs", lambda folder, split: items)
    names = [source.set for source in choose_sources(tmp_path, 40)]
    assert [names.count(name) for name in ("small", "middle", "large")] == [2, 19, 19]
    monkeypatch.setattr(pairs_module, "list_pairs", lambda folder, split: [])
    with pytest.raises(DataError, match="no training tile with a mask"):
        choose_sources(tmp_path, 4)


def test_few_are_a_share_of_each_set_from_few_patients() -> None:
    everyone = sources({"a": [10, 10, 10], "b": [2, 2]})
    draws = [draw_few(everyone, 0.1, seed=seed) for seed in range(8)]
    for drawn in draws:
        assert [tile.set for tile in drawn] == ["a", "a", "a", "b"]
        assert len({tile.patient for tile in drawn}) == 2
    assert len({tuple(tile.number for tile in drawn) for drawn in draws}) > 2
    assert draws[3] == draw_few(everyone, 0.1, seed=3)


def test_invented_nuclei_are_as_many_of_each_class_elsewhere() -> None:
    masks = [random_mask(seed, (96, 96), 20) for seed in range(12)]
    statistics = fit_layouts(masks, "random")
    invented = invent_like(masks[0], statistics, seed=1)
    wanted, found = (
        np.bincount(t.classes[t.counted], minlength=11)
        for t in map(measure_nuclei, (masks[0], invented))
    )
    known = [k for k in range(1, 11) if wanted[k]]
    assert abs(int(found.sum()) - int(wanted.sum())) <= 8  # the border takes and gives some
    assert found[[k for k in range(1, 11) if not wanted[k]]].sum() == 0
    assert np.corrcoef(wanted[known], found[known])[0, 1] > 0.5
    overlap = ((masks[0].classes > 0) & (invented.classes > 0)).sum()
    assert overlap < 0.6 * (masks[0].classes > 0).sum()


def test_a_mask_without_nuclei_stays_without() -> None:
    empty = NucleiMask(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int32))
    statistics = fit_layouts([random_mask(0)], "random")
    for known in (statistics, None):
        assert not invent_like(empty, known, seed=0).classes.any()


def test_the_whole_comparison_writes_its_results(output: Path) -> None:
    found = json.loads((output / "segmenters.json").read_text())
    assert list(found["runs"]) == [arm.name for arm in ENDS]
    scores = found["runs"]["real"][0]["sets"]
    assert scores.keys() == {"told", "bare"}
    assert scores["bare"]["f1"] is not None and scores["told"]["f1"] is None
    assert set(found["obedience"]) == {"masks", "invented"}
    text = (output / "segmenters.md").read_text()
    assert "over 2 seeds" in text and "What this could not have seen" in text
    assert Image.open(output / "montage.png").width > 300


def test_pairs_of_a_number_share_mask_and_prompt(output: Path, pairs: Path) -> None:
    reader = ShardReader(output / "pairs")
    place = {row["key"]: index for index, row in enumerate(reader.rows)}
    for source in choose_sources(pairs, 8):
        real, made, invented = (place[source.key(k)] for k in ("real", "masks", "invented"))
        masks = [reader.mask(index) for index in (real, made, invented)]
        truth = separate(load_mask(Path(source.item.mask)))
        for mask in masks[:2]:
            assert mask is not None and mask.instances is not None and truth.instances is not None
            assert np.array_equal(mask.instances > 0, truth.instances > 0)
            assert mask.instances.max() == truth.instances.max()
        assert masks[2] is not None
        assert np.array_equal(reader.image(real), np.asarray(Image.open(source.item.path)))
        assert not np.array_equal(reader.image(real), reader.image(made))
        texts = {reader.rows[k]["text"] for k in (real, made, invented)}
        assert texts == {source.item.text or pairs_module.NO_TEXT}


def test_real_and_synthetic_arms_see_the_same_crops(output: Path) -> None:
    batches, kinds = [], compare._sets_by_kind(output)
    for kind in ("real", "masks"):
        options = [f"data.folder={output / 'pairs'}", f"data.sets={json.dumps(kinds[kind])}"]
        recipe = load_config(TrainConfig, RECIPE, [*options, "stage.crop=32"])
        task = SegmenterTask(
            recipe.stage,  # type: ignore[arg-type]
            recipe.data,  # type: ignore[arg-type]
            seed=1,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        batches.append(make_batch(task, range(12)))
    names = [[key.split("-")[1] for key in batch["keys"]] for batch in batches]
    assert names[0] == names[1] and len(set(names[0])) > 2
    assert torch.equal(batches[0]["classes"], batches[1]["classes"])
    assert not torch.equal(batches[0]["images"], batches[1]["images"])


def test_the_same_command_makes_nothing_again_and_another_one_is_refused(
    config: compare.SegmentersConfig, output: Path, tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in output.rglob("scores.json")}
    assert len(before) == 4
    assert "over 2 seeds" in compare.run(config, output, arms=ENDS)
    assert before == {p: p.stat().st_mtime_ns for p in output.rglob("scores.json")}
    with pytest.raises(ConfigError, match="another configuration than this one"):
        compare.run(config.model_copy(update={"num": 9}), output)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        compare.run(config, tmp_path)


def test_pairs_without_held_out_tiles_are_refused(
    config: compare.SegmentersConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "list_pairs", lambda folder, split: [])
    with pytest.raises(DataError, match="no held-out tile with a mask"):
        compare.open_tests(config)


def run(dice: float, patients: list[float]) -> dict[str, Any]:
    scores = {"dice": dice, "f1": None, "aji": None, "panoptic_quality": None}
    return {"sets": {"a": scores}, "patients": {str(k): v for k, v in enumerate(patients)}}


def found_of(arm: list[dict[str, Any]]) -> page.Found:
    """An arm beside a baseline of 0.5 everywhere."""
    base = [run(0.5, [0.5] * 4)] * 3
    arms = (page.Arm("real", ("real",), None), page.Arm("other", ("masks",), "real"))
    return page.Found({}, arms, {"real": base, "other": arm}, {}, {}, [], [])


@pytest.mark.parametrize(
    ("dices", "patients", "word"),
    [
        ((0.60, 0.61, 0.62), [0.60, 0.62, 0.61, 0.63], "better"),
        ((0.40, 0.41, 0.42), [0.40, 0.42, 0.41, 0.43], "worse"),
        ((0.40, 0.61, 0.50), [0.60, 0.62, 0.61, 0.63], "no difference seen"),
        ((0.60, 0.61, 0.62), [0.90, 0.30, 0.40, 0.80], "no difference seen"),
    ],
)
def test_a_verdict_needs_seeds_and_patients(
    dices: tuple[float, ...], patients: list[float], word: str
) -> None:
    found = found_of([run(dice, patients) for dice in dices])
    one = page.compare(found)["other"]
    assert one.finding == word
    assert one.seeds.mean == pytest.approx(np.mean(dices) - 0.5)
    assert one.patients.num_seeds == 4
    line = page.say_comparison(found.arms[1], one)
    assert line.startswith(f"other: {word}, Dice")
    assert ("would not have been seen" in line) == (word == "no difference seen")


def test_the_mean_over_sets_leaves_out_sets_without_the_measure() -> None:
    one = run(0.5, [0.5])
    one["sets"]["b"] = {"dice": 0.7, "f1": 0.4, "aji": None, "panoptic_quality": None}
    assert page.mean_of(one, "dice") == pytest.approx(0.6)
    assert page.mean_of(one, "f1") == pytest.approx(0.4)
    assert page.mean_of(one, "aji") is None
