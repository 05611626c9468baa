"""Labelled sets: every layout opens in its own reader, and every picture is accounted for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from crafts import cli
from crafts.core.artifacts import load_manifest, verify
from crafts.core.errors import ConfigError, DataError
from crafts.generation.export import read_provenance
from crafts.workflows.labelled.classes import load_classes, slug
from crafts.workflows.labelled.config import configure
from crafts.workflows.labelled.dataset import _why_not_audited, run
from crafts.workflows.labelled.formats.coco import run_lengths
from crafts.workflows.labelled.pictures import Picture, find_repeats, labels_of, share_out

CLASSES = 'label,prompt\nColon / benign,"benign colon, low power"\nlung,lung carcinoma\nlung,lung\n'
SMALL = ["gate=false", "preset=fast", "validation=0.25", "test=0.25"]


def make(model: Path, folder: Path, layout: str, *more: str) -> Path:
    (folder / "classes.csv").write_text(CLASSES)
    values = {"classes": folder / "classes.csv", "per_class": 4, "format": layout}
    output = folder / layout
    run(configure(values | {"model": str(model)}, [*SMALL, *more]), output)
    return output


@pytest.fixture(scope="module")
def sets(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dataset")
    layouts = ("imagefolder", "hf", "webdataset", "coco")
    return {layout: make(tiny_model, folder, layout) for layout in layouts}


def open_with_datasets(builder: str, folder: Path, cache: Path, **options):
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(builder, data_dir=str(folder), cache_dir=str(cache), **options)


def check_rows(opened, *, label, text):
    """Two classes of four, halves in train, and pictures that decode."""
    assert {name: len(part) for name, part in opened.items()} == {
        "train": 4, "validation": 2, "test": 2,
    }  # fmt: skip
    seen = [row for part in opened.values() for row in part]
    assert sorted({text(row) for row in seen}) == [
        "benign colon, low power", "lung", "lung carcinoma",
    ]  # fmt: skip
    assert sorted(label(row) for row in seen) == ["Colon / benign"] * 4 + ["lung"] * 4


@pytest.mark.parametrize("layout", ["imagefolder", "hf", "webdataset", "coco"])
def test_asked_is_kept_and_given_up(sets, layout):
    counts = verify(sets[layout]).counts
    assert counts["asked"] == counts["kept"] + counts["given_up"] == 8
    verify(sets[layout] / "data")
    card = (sets[layout] / "data" / "README.md").read_text()
    assert "not a medical device" in card and "Apache-2.0" in card and "| lung | 4 | 4 |" in card
    assert "not looked for" in card  # no training tiles were given


def test_an_imagefolder_opens_in_datasets_with_labels_texts_and_splits(sets, tmp_path):
    opened = open_with_datasets("imagefolder", sets["imagefolder"] / "data", tmp_path)
    check_rows(opened, label=lambda row: row["label"], text=lambda row: row["text"])
    row = opened["train"][0]
    assert row["image"].size == (32, 32) and row["licence"] == "Apache-2.0"


def test_an_imagefolder_has_a_folder_a_class_and_packs_with_its_masks(sets, tmp_path):
    data = sets["imagefolder"] / "data"
    assert {path.name for path in (data / "train").iterdir() if path.is_dir()} == {
        "colon-benign", "lung",
    }  # fmt: skip
    command = ["pack", str(data), "--output", str(tmp_path / "shards")]
    assert cli.run([*command, "--set", "columns.outside=true"]) == 0  # masks lie beside the splits
    manifest = load_manifest(tmp_path / "shards")
    assert manifest.counts["used"] == 8
    assert manifest.extra["splits"] == {"heldout": 2, "train": 4, "validation": 2}


def test_files_carry_their_own_provenance_in_every_layout(sets):
    for layout in ("imagefolder", "coco"):
        for path in (sets[layout] / "data").rglob("*.png"):
            if path.parent.name != "masks":
                assert read_provenance(path).licence == "Apache-2.0"


def test_the_parquet_opens_in_datasets_with_class_names_and_images(sets, tmp_path):
    opened = open_with_datasets("parquet", sets["hf"] / "data", tmp_path)
    names = opened["train"].features["label"].names
    assert names == ["Colon / benign", "lung"]
    check_rows(opened, label=lambda row: names[row["label"]], text=lambda row: row["text"])
    assert opened["test"][0]["image"].size == opened["test"][0]["mask"].size == (32, 32)


def test_the_folder_itself_opens_as_a_hub_data_set_would(sets, tmp_path):
    datasets = pytest.importorskip("datasets")
    opened = datasets.load_dataset(str(sets["hf"] / "data"), cache_dir=str(tmp_path))
    assert set(opened) == {"train", "validation", "test"}


def test_the_tars_open_in_datasets_and_webdataset(sets, tmp_path):
    data = sets["webdataset"] / "data"
    opened = open_with_datasets("webdataset", data, tmp_path)
    names = json.loads((data / "classes.json").read_text())
    check_rows(opened, label=lambda row: names[row["cls"]], text=lambda row: row["json"]["text"])
    wds = pytest.importorskip("webdataset")
    rows = list(wds.WebDataset(str(data / "train-00000.tar"), shardshuffle=False).decode("pil"))
    assert len(rows) == 4 and rows[0]["png"].size == (32, 32)
    assert rows[0]["json"]["label"] == names[rows[0]["cls"]]


def test_coco_holds_every_nucleus_pixel_for_pixel(sets):
    output, seen = sets["coco"], 0
    for path in sorted((output / "data" / "annotations").glob("*.json")):
        content = json.loads(path.read_text())
        split = path.stem.removeprefix("instances_")
        for image in content["images"]:
            folder = output / "data" / split
            assert Image.open(folder / image["file_name"]).size == (image["width"], image["height"])
            labels = np.asarray(Image.open(output / "nuclei" / image["file_name"]))
            mine = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            seen += len(mine)
            assert len(mine) == len(set(labels[labels > 0].tolist()))
            covered = np.zeros(labels.shape, bool)
            for one in mine:
                mask = decode(one["segmentation"])
                left, top, width, height = one["bbox"]
                assert (
                    mask.sum() == one["area"] == mask[top : top + height, left : left + width].sum()
                )
                assert not (covered & mask).any()
                covered |= mask
            assert np.array_equal(covered, labels > 0)
    assert seen


def decode(segmentation) -> np.ndarray:
    """As COCO's own reader: background first, down the columns."""
    flat: list[int] = []
    for place, length in enumerate(segmentation["counts"]):
        flat += [place % 2] * length
    return np.array(flat, bool).reshape(segmentation["size"], order="F")


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_read_back_as_the_mask(mask):
    counts = run_lengths(mask)
    assert sum(counts) == mask.size and all(length > 0 for length in counts[1:])
    assert np.array_equal(decode({"size": mask.shape, "counts": counts}), mask)


def test_a_stopped_set_goes_on_and_other_classes_are_refused(tiny_model, tmp_path):
    output = make(tiny_model, tmp_path, "imagefolder", "masks=none")
    first = load_manifest(output / "data").files
    (output / "manifest.json").unlink()
    make(tiny_model, tmp_path, "imagefolder", "masks=none")
    assert load_manifest(output / "data").files == first
    values = {"classes": tmp_path / "classes.csv", "per_class": 4, "format": "imagefolder"}
    (tmp_path / "classes.csv").write_text("label,prompt\nbone,bone\n")
    with pytest.raises(ConfigError, match="another table of classes"):
        run(configure(values | {"model": str(tiny_model)}, [*SMALL, "masks=none"]), output)


def test_pictures_that_the_gate_refuses_are_counted(tiny_model, tmp_path, capsys):
    (tmp_path / "classes.csv").write_text("label,prompt\nlung,lung carcinoma\n")
    command = [
        "dataset",
        "--output",
        str(tmp_path / "o"),
        "--classes",
        str(tmp_path / "classes.csv"),
    ]
    command += ["--per-class", "2", "--model", str(tiny_model), "--set", "preset=fast"]
    assert cli.run(command) == 3  # random weights make nothing that passes
    error = capsys.readouterr().err
    assert "quality gate" in error and "Traceback" not in error


def test_copies_of_training_tiles_are_given_up(tiny_model, tmp_path):
    first = make(tiny_model, tmp_path, "imagefolder", "masks=none")
    with (first / "generated" / "metadata.csv").open() as handle:
        names = [row["file_name"] for row in csv.DictReader(handle)]
    train = tmp_path / "train"
    train.mkdir()
    for name in names[:2]:
        (train / Path(name).name).write_bytes((first / "generated" / name).read_bytes())
    again = tmp_path / "again"
    again.mkdir()
    second = make(tiny_model, again, "imagefolder", "masks=none", f"train={train}")
    counts = load_manifest(second).counts
    assert counts["asked"] == 8 == counts["kept"] + counts["given_up"]
    rows = [json.loads(line) for line in (second / "rejects.jsonl").read_text().splitlines()]
    assert len(rows) == counts["given_up"] and (second / "audit" / "report.html").is_file()


def test_for_mini_the_audit_of_its_card_is_told():
    sentence = _why_not_audited("mini")
    assert "`--set train=FOLDER`" in sentence
    assert "(`crafts audit` of 480 generated tiles against the 4,403 training tiles)" in sentence
    assert ": none is a copy or part of one (95 % bound 0.8 %)" in sentence
    assert "card" not in _why_not_audited("some/folder")


def test_a_picture_that_was_there_before_is_found_turned_too(tmp_path):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    pictures = []
    for name, image in (("a", pixels[0]), ("b", pixels[1]), ("c", pixels[0][::-1])):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        pictures.append(Picture(name, tmp_path / f"{name}.png", "x", "x", 0, 0, ""))
    assert find_repeats(pictures) == {"c": "the same picture as a"}


@pytest.mark.parametrize("number, counts", [(2, "200"), (3, "201"), (4, "301"), (5, "311")])
def test_a_class_gives_to_test_from_three_and_to_validation_from_five(number, counts):
    pictures = [Picture(str(k), Path("a.png"), "lung", "lung", 0, k, "") for k in range(number)]
    shared = share_out(pictures, validation=0.1, test=0.1, seed=0)
    got = [sum(one.split == name for one in shared) for name in ("train", "validation", "test")]
    assert "".join(map(str, got)) == counts


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(0, 99))
def test_splits_hold_every_picture_once_and_no_class_only_in_the_test(labels, seed):
    pictures = [Picture(f"{i}", Path(), label, "", 0, 0, "") for i, label in enumerate(labels)]
    shared = share_out(pictures, validation=0.1, test=0.1, seed=seed)
    assert [one.id for one in shared] == [one.id for one in pictures]
    assert labels_of([one for one in shared if one.split == "train"]) == sorted(set(labels))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("label,prompt\nx,\n", "no prompt"),
        ("label,prompt\n,x\n", "no label"),
        ("name,prompt\na,b\n", "columns"),
        ("label,prompt\n", "columns|no class"),
    ],
)
def test_tables_of_classes_that_say_too_little_are_refused(tmp_path, table, message):
    path = tmp_path / "classes.csv"
    path.write_text(table)
    with pytest.raises(DataError, match=message):
        load_classes(path, "mini")


def test_labels_that_files_cannot_tell_apart_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("label,prompt\nLung A,x\nlung-a,y\n")
    with pytest.raises(ConfigError, match="labels 'Lung A' and 'lung-a'"):
        load_classes(tmp_path / "c.csv", "mini")


def test_a_model_that_names_no_classes_asks_for_them(tiny_model):
    with pytest.raises(ConfigError, match="--classes FILE"):
        load_classes(None, str(tiny_model))


def test_the_classes_of_mini_have_prompts_and_its_layouts(root):
    layouts = json.loads((root / "src/crafts/weights/layouts/layouts.json").read_text())["tissues"]
    classes = load_classes(None, "mini")
    assert len({one.label for one in classes}) == 13
    assert {one.tissue for one in classes if one.tissue} <= set(layouts)


@pytest.mark.parametrize(
    "label", ["con", "LPT1", "///", "é", "Лёгкое / рак", "a" * 200, "test", "lung, val"]
)
def test_labels_become_names_that_every_system_can_store(label):
    name = slug(label)
    assert 0 < len(name) <= 46 and name not in ("con", "lpt1") and "/" not in name
    assert not {"test", "val"} & set(name.split("-"))  # readers would take it for a split


def test_coco_without_masks_is_refused_before_any_work():
    with pytest.raises(ConfigError, match="masks"):
        configure({"format": "coco"}, ["masks=none"])
