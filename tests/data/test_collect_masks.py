"""Pairs of tile and mask cut from sets: same places, same patients, same splits."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "recipes" / "mini"))

import collect  # noqa: E402
import collect_masks  # noqa: E402

from crafts.controls.masks import load_mask  # noqa: E402
from crafts.data.painter import paint_tile  # noqa: E402

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
        grey = np.asarray(Image.open(tmp_path / "pairs" / row["file_name"]).convert("L"), float)
        mask = load_mask(tmp_path / "pairs" / row["mask"])
        assert mask.size == grey.shape == (256, 256)
        inside = mask.classes > 0
        assert grey[inside].mean() < grey[~inside].mean() - 30  # painted nuclei are dark
        assert (mask.instances is not None) == (row["nuclei"] == "instances")


def test_patients_keep_the_split_that_the_generator_gave_them(sets: Path, tmp_path: Path) -> None:
    (tiles := tmp_path / "tiles").mkdir()
    lines = [
        "file_name,text,patient,split,set,organ,power",
        "images/lizard128_NC-crag_1__0_0.png,one,joined,heldout,lizard128_NC,colon,high",
        "images/monuseg_NC-TCGA-1-x1-0.png,two,TCGA-18-5592,validation,monuseg_NC,lung,high",
    ]
    (tiles / "metadata.csv").write_text("\n".join(lines) + "\n")
    collect_masks.main(sets, tmp_path / "pairs", tiles, fluorescence=False)
    rows = {row["file_name"]: row for row in read(tmp_path / "pairs")}
    one = rows["images/lizard128_NC-crag_1__0_0-x1-0.png"]
    assert (one["patient"], one["split"], one["text"]) == ("joined", "heldout", "one")
    fields = [row for row in rows.values() if row["set"] == "monuseg_NC"]
    assert {(row["patient"], row["split"]) for row in fields} == {("TCGA-18-5592", "validation")}
    assert all(row["split"] for row in rows.values())


def test_the_places_are_those_of_the_generators_tiles(sets: Path) -> None:
    image = Image.open(sets / "monuseg_NC/images/TCGA-1.png").convert("RGB")
    mask = load_mask(sets / "monuseg_NC/instance_labels/TCGA-1.png")
    for factor in (1, 2):
        tiles = [pixels for pixels, _ in collect_masks.cut(image, mask, factor)]
        assert np.array_equal(tiles, collect.cut_tiles(image, factor))


def test_fluorescence_is_collected_apart(sets: Path, tmp_path: Path) -> None:
    collect_masks.main(sets, tmp_path / "pairs", None, fluorescence=True)
    assert {row["set"] for row in read(tmp_path / "pairs")} == {"dsb2018_cc0-fluorescence"}
