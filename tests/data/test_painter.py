"""Painted tissue: the same everywhere, true to its masks, and four classes one can tell apart."""

import csv
import time

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from crafts.core.errors import ConfigError
from crafts.data.painter import LABELS, NUCLEI, paint_tile, paint_tiles
from crafts.data.splits import check_splits


def tiles_of(label, count=6, size=128):
    return [paint_tile(seed=1, index=i, size=size, classes=[label]) for i in range(count)]


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_a_tile_depends_on_its_number_alone(size):
    first = paint_tile(seed=3, index=5, size=size)
    paint_tile(seed=3, index=6, size=size)
    again = paint_tile(seed=3, index=5, size=size)
    assert np.array_equal(first.image, again.image) and first.fields == again.fields
    assert first.caption == again.caption
    assert first.image.shape == (size, size, 3) and first.image.dtype == np.uint8
    assert first.instances.shape == (size, size) and first.instances.dtype == np.uint16
    assert not np.array_equal(first.image, paint_tile(seed=4, index=5, size=size).image)


@pytest.mark.parametrize("label", LABELS)
def test_masks_tell_the_truth(label):
    for tile in tiles_of(label):
        ids = np.unique(tile.instances)
        assert np.array_equal(ids, np.arange(len(ids))), "ids without gaps"
        assert np.array_equal(tile.classes > 0, tile.instances > 0)
        assert set(np.unique(tile.classes)) <= {0, *NUCLEI.values()}
        for nucleus in ids[1:]:
            assert len(np.unique(tile.classes[tile.instances == nucleus])) == 1
        red = tile.image[..., 0].astype(float)
        inside = ndimage.binary_erosion(tile.instances > 0)
        assert red[inside].mean() < red[tile.instances == 0].mean() - 40, "nuclei are dark"


def test_most_nuclei_are_whole():
    tile = paint_tile(seed=0, index=0, size=256, classes=["lymphocytes"])
    whole = [ndimage.label(tile.instances == i)[1] == 1 for i in np.unique(tile.instances)[1:]]
    assert len(whole) > 100 and np.mean(whole) > 0.98


def test_the_classes_differ_in_what_defines_them():
    share = {
        label: np.mean([(t.classes == code).mean() for t in tiles_of(label)])
        for label, code in (("glands", 2), ("stroma", 6), ("lymphocytes", 3))
    }
    assert share["glands"] > 0.03 and share["stroma"] > 0.02 and share["lymphocytes"] > 0.12
    clear = {
        label: np.mean([(t.image.min(axis=-1) > 205).mean() for t in tiles_of(label)])
        for label in LABELS
    }
    assert clear["fat"] > 0.6 > 0.3 > clear["glands"] > 0.05, clear
    assert not any((t.classes == NUCLEI["epithelial"]).any() for t in tiles_of("stroma"))


@pytest.mark.parametrize("label", ["glands", "stroma"])
def test_many_lymphocytes_are_more_than_few(label):
    counts = {"few": [], "many": []}
    for tile in tiles_of(label, count=12):
        cells = np.unique(tile.instances[tile.classes == NUCLEI["lymphocyte"]])
        counts[tile.fields["lymphocytes"]].append(len(cells))
        assert f"{tile.fields['lymphocytes']} lymphocytes" in tile.caption
    assert min(counts["many"]) > 2 * max(counts["few"])


def test_patients_have_stains_of_their_own():
    def color(index):
        return paint_tile(seed=0, index=index, size=64, classes=["stroma"]).image.mean(axis=(0, 1))

    patients = [[color(8 * patient + k) for k in range(3)] for patient in range(6)]
    within = np.mean([np.std(group, axis=0) for group in patients])
    between = np.mean(np.std([np.mean(group, axis=0) for group in patients], axis=0))
    assert between > within


def test_a_folder_is_an_imagefolder_split_by_patient(tmp_path):
    rows = paint_tiles(tmp_path / "tiles", 88, 32, seed=2, masks=tmp_path / "masks")
    with (tmp_path / "tiles" / "metadata.csv").open(newline="") as handle:
        written = list(csv.DictReader(handle))
    assert written == rows and len(rows) == 88
    check_splits(rows)
    assert {row["split"] for row in rows} == {"train", "validation", "heldout"}
    assert {row["label"] for row in rows} == set(LABELS)
    tile = paint_tile(seed=2, index=9, size=32)
    row = rows[9]
    assert row["text"] == tile.caption and row["patient"] == tile.fields["patient"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "tiles" / row["file_name"])), tile.image)
    mask = np.asarray(Image.open(tmp_path / "masks" / row["file_name"].removeprefix("images/")))
    assert np.array_equal(mask, tile.instances)


def test_painting_is_fast():
    begun = time.process_time()
    for index in range(12):
        paint_tile(seed=0, index=index, size=256)
    assert (
        12 / (time.process_time() - begun) > 15
    )  # about 90 a second; the limit allows for slow machines


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ["bone"]}, ("painter: classes", "'bone'", "glands, stroma, lymphocytes, fat")),
        ({"classes": []}, ("painter: classes", "no class")),
        ({"size": 8}, ("painter: size", "8 px", "at least 16 px", "Paint larger tiles.")),
    ],
)
def test_what_cannot_be_painted_is_refused(tmp_path, options, words):
    for paint in (
        lambda: paint_tile(seed=0, index=0, **options),
        lambda: paint_tiles(tmp_path / "none", 1, **options),
    ):
        with pytest.raises(ConfigError) as error:
            paint()
        assert all(word in str(error.value) for word in words)
    assert not (tmp_path / "none").exists()
