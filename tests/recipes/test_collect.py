"""Tiles, and pairs of tile and mask, cut from sets: whole fields, same patients, same splits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.controls.masks import load_mask
from crafts.controls.nuclei import NucleiMask
from crafts.data.painter import paint_tile
from fixtures_scripts import load_script

collect_masks = load_script("recipes/mini/collect_masks.py")
collect = load_script("recipes/mini/collect.py")

FIELDS = ("set", "file", "kind", "class", "organ", "group", "label", "licence")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two small tiles of the colon, two fields with nuclei, one stained and one dark image."""
    folder, rows = tmp_path / "sets", []
    plans = [
        ("lizard128_NC", "images/crag_1__0_0.png", "semantic/crag_1__0_0.png", 128, "crag_1"),
        ("lizard128_NC", "images/crag_2__0_0.png", "semantic/crag_2__0_0.png", 128, "crag_2"),
        ("monuseg_NC", "images/TCGA-1.png", "instance_labels/TCGA-1.png", 520, "TCGA-18-5592-01"),
        ("dsb2018_cc0", "stained_images/s.png", "stained_labels/s.png", 300, "s"),
        ("dsb2018_cc0", "fluo_images/f.png", "fluo_labels/f.png", 300, "f"),
    ]
    for name, image, mask, size, group in plans:
        tile = paint_tile(seed=1, index=2, size=size)
        for file in (image, mask):
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile.image).save(folder / name / image)
        values = tile.classes if name == "lizard128_NC" else tile.instances
        Image.fromarray(values).save(folder / name / mask)
        row = dict.fromkeys(FIELDS, "") | {"set": name, "group": group, "licence": "CC0"}
        rows += [row | {"file": image, "kind": "image"}, row | {"file": mask, "kind": "mask"}]
    with (folder / "files.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_masks_lie_on_their_tiles(sets: Path, tmp_path: Path) -> None:
    collect_masks.main(sets, tmp_path / "pairs", None, fluorescence=False)
    rows = read(tmp_path / "pairs")
    scales = [row["file_name"].rsplit("-", 2)[1] for row in rows if row["set"] == "monuseg_NC"]
    assert scales == ["x1"] * 4 + ["x2"]
    assert {row["set"] for row in rows} == {"lizard128_NC", "monuseg_NC", "dsb2018_cc0"}
    for row in rows:
        gray = np.asarray(Image.open(tmp_path / "pairs" / row["file_name"]).convert("L"), float)
        mask = load_mask(tmp_path / "pairs" / row["mask"])
        assert mask.size == gray.shape == (256, 256)
        inside = mask.classes > 0
        assert gray[inside].mean() < gray[~inside].mean() - 30  # painted nuclei are dark
        assert (mask.instances is not None) == (row["nuclei"] == "instances")


def test_patients_keep_the_split_that_the_generator_gave_them(sets: Path, tmp_path: Path) -> None:
    (tiles := tmp_path / "tiles").mkdir()
    lines = [
        "file_name,text,patient,split,set,organ,power",
        "images/lizard128_NC-crag_1__0_0-whole-0.png,one,joined,heldout,lizard128_NC,colon,high",
        "images/monuseg_NC-TCGA-1-whole-0.png,two,TCGA-18-5592,validation,monuseg_NC,lung,high",
    ]
    (tiles / "metadata.csv").write_text("\n".join(lines) + "\n")
    collect_masks.main(sets, tmp_path / "pairs", tiles, fluorescence=False)
    rows = {row["file_name"]: row for row in read(tmp_path / "pairs")}
    one = rows["images/lizard128_NC-crag_1__0_0-x1-0.png"]
    assert (one["patient"], one["split"], one["text"]) == ("joined", "heldout", "one")
    fields = [row for row in rows.values() if row["set"] == "monuseg_NC"]
    assert {(row["patient"], row["split"]) for row in fields} == {("TCGA-18-5592", "validation")}
    assert all(row["split"] for row in rows.values())


def test_the_main_view_is_the_largest_square_field() -> None:
    assert list(collect.views((256, 256))) == [("whole", 0, (0, 0, 256, 256))]
    views = list(collect.views((1000, 700)))
    assert [box for view, _, box in views if view == "whole"] == [
        (0, 0, 700, 700),
        (300, 0, 1000, 700),
    ]
    quarters = [box for view, _, box in views if view == "quarter"]
    assert quarters[:4] == [
        (0, 0, 350, 350), (350, 0, 700, 350), (0, 350, 350, 700), (350, 350, 700, 700),
    ]  # fmt: skip
    assert len({(view, number) for view, number, _ in views}) == len(views) == 10


def test_tiles_are_collected_with_the_width_of_their_field(sets: Path, tmp_path: Path) -> None:
    collect.main(sets, tmp_path / "tiles")
    lines = (tmp_path / "tiles/fields.jsonl").read_text().splitlines()
    rows = {row["file_name"]: row for row in map(json.loads, lines)}
    whole = rows["images/monuseg_NC-TCGA-1-whole-0.png"]
    quarter = rows["images/monuseg_NC-TCGA-1-quarter-3.png"]
    assert (whole["scale"], quarter["scale"]) == (round(0.25 * 520 / 256, 4), 0.2539)
    lizard = rows["images/lizard128_NC-crag_1__0_0-whole-0.png"]
    assert lizard["scale"] == 0.25 and set(lizard["cells"]) == set(collect.CELLS.values())
    assert Image.open(tmp_path / "tiles" / quarter["file_name"]).size == (256, 256)


def test_what_a_model_has_seen_is_never_held_out_later() -> None:
    tiles = [{"patient": f"p{k}", "set": "s", "class": "c"} for k in range(20)]
    splits = collect.split_groups(tiles, {"p3": "train", "p4": "heldout", "gone": "heldout"})
    assert (splits["p3"], splits["p4"]) == ("train", "heldout")
    assert {splits[f"p{k}"] for k in range(5, 20)} == {"train", "validation", "heldout"}


def test_fluorescence_is_collected_apart(sets: Path, tmp_path: Path) -> None:
    collect_masks.main(sets, tmp_path / "pairs", None, fluorescence=True)
    assert {row["set"] for row in read(tmp_path / "pairs")} == {"dsb2018_cc0-fluorescence"}


def test_windows_without_nuclei_join_the_pairs(sets: Path, tmp_path: Path) -> None:
    empty_pairs = load_script("recipes/mini/empty_pairs.py")
    (tmp_path / "tiles/images").mkdir(parents=True)
    columns = "file_name,text,patient,split,set,organ,power,licence"
    lines = [columns, "images/a.png,x,p1,train,s,colon,high,CC0"]
    lines.append("images/a.png,x,p2,heldout,s,colon,high,CC0")
    (tmp_path / "tiles/metadata.csv").write_text("\n".join(lines) + "\n")
    Image.fromarray(np.full((256, 256, 3), 150, np.uint8)).save(tmp_path / "tiles/images/a.png")
    collect_masks.main(sets, tmp_path / "pairs", None, fluorescence=False)
    before = read(tmp_path / "pairs")

    def nothing(tile: np.ndarray) -> NucleiMask:
        return NucleiMask(np.zeros(tile.shape[:2], np.uint8), None)

    empty_pairs.main(tmp_path / "tiles", tmp_path / "pairs", nothing)
    empty_pairs.main(tmp_path / "tiles", tmp_path / "pairs", nothing)  # again: in its place
    rows = read(tmp_path / "pairs")
    assert rows[:-1] == before and (rows[-1]["set"], rows[-1]["patient"]) == ("empty", "p1")
    assert not load_mask(tmp_path / "pairs" / rows[-1]["mask"]).classes.any()
