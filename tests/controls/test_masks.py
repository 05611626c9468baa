"""Every format gives the mask that was written; every fault is refused in a sentence."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from crafts.controls.masks import load_mask, mask_from_labels, save_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN, NucleiMask
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask

PANNUKE = ["neoplastic", "inflammatory", "connective", "dead", "epithelial"]


def png_header(path, width, height, bits=8, colors=0):
    """A PNG that claims a size and holds nothing."""
    body = struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0)
    chunk = b"IHDR" + body
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    )  # fmt: skip
    return path


def same_nuclei(found: NucleiMask, ids: np.ndarray) -> bool:
    """Whether both partition the field alike, whatever the numbers."""
    pairs = {(int(a), int(b)) for a, b in zip(found.instances.ravel(), ids.ravel(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and all(
        (a == 0) == (b == 0) for a, b in pairs
    )


@pytest.mark.parametrize(
    ("suffix", "kind"), [("png", np.uint16), ("tif", np.uint16), ("tif", np.int32)]
)
def test_labels_of_more_than_8_bits_keep_every_id(tmp_path, suffix, kind):
    ids = np.arange(60 * 60).reshape(60, 60).astype(kind)
    Image.fromarray(ids).save(tmp_path / f"a.{suffix}")
    found = load_mask(tmp_path / f"a.{suffix}", mpp=0.25)
    assert np.array_equal(found.instances, ids) and found.num_nuclei == 3599
    assert set(np.unique(found.classes)) == {0, UNKNOWN} and found.mpp == 0.25


def test_8_bit_labels_need_to_be_told_and_lost_ids_are_refused(tmp_path):
    ids = random_mask(count=20).instances
    path = tmp_path / "a.png"
    Image.fromarray(ids.astype(np.uint8)).save(path)
    with pytest.raises(ConfigError, match="could be ids or classes"):
        load_mask(path)
    assert np.array_equal(load_mask(path, values="instances").instances, ids)
    many = np.zeros((120, 120), np.int64)
    many[::4, ::4] = np.arange(1, 901).reshape(30, 30)
    for lost in (np.minimum(many, 255), many % 256):
        Image.fromarray(lost.astype(np.uint8)).save(path)
        with pytest.raises(DataError, match="8-bit labels up to 255 .* Ids were lost"):
            load_mask(path, values="instances")
    Image.fromarray(np.where(many > 0, many % 200 + 1, 0).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match="in 900 separate parts"):
        load_mask(path, values="instances")


def test_16_bit_labels_that_were_cut_off_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="16-bit labels up to 65535"):
        load_mask(tmp_path / "a.png")


def test_classes_in_grey_palette_and_colours(tmp_path):
    labels = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
    expected = np.array([[0, *(CLASSES.index(name) for name in PANNUKE)]]).reshape(2, 3)
    gray, palette, color = (tmp_path / f"{name}.png" for name in ("grey", "palette", "colour"))
    Image.fromarray(labels).save(gray)
    image = Image.fromarray(labels, "P")
    image.putpalette([200, 10, 10] * 6)
    image.save(palette)
    colors = np.array(
        [[0, 0, 0], [0, 255, 0], [255, 0, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8
    )
    Image.fromarray(colors[labels]).save(color)
    for path in (gray, palette, color):
        found = load_mask(path, table="pannuke")
        assert np.array_equal(found.classes, expected) and found.instances is None
    with pytest.raises(ConfigError, match="classes without a table"):
        load_mask(gray, values="classes")
    with pytest.raises(ConfigError, match="classes without a table"):
        load_mask(color)
    with pytest.raises(DataError, match="allowed|table with colours"):
        load_mask(color, table="lizard")


def test_other_colours_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="in colours that the table lacks"):
        load_mask(tmp_path / "a.png", table="pannuke")
    with pytest.raises(DataError, match="a coloured image; expected one number for each nucleus"):
        load_mask(tmp_path / "a.png", values="instances")
    with pytest.raises(DataError, match="a coloured image; expected black and white"):
        load_mask(tmp_path / "a.png", values="foreground")


def test_foreground_from_two_levels_and_from_jpeg(tmp_path):
    mask = random_mask(count=20).classes > 0
    Image.fromarray(mask).save(tmp_path / "one.png")
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "two.png")
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "lossy.jpg", quality=90)
    for name in ("one.png", "two.png"):
        assert np.array_equal(load_mask(tmp_path / name).classes > 0, mask)
    found = load_mask(tmp_path / "lossy.jpg")
    assert ((found.classes > 0) != mask).mean() < 0.01 and found.instances is None
    for values in ("classes", "instances"):
        with pytest.raises(DataError, match="labels in a JPEG"):
            load_mask(tmp_path / "lossy.jpg", values=values, table="lizard")


def test_a_picture_is_no_foreground(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="looks like a picture, not a mask"):
        load_mask(tmp_path / "a.jpg")


def test_labels_in_jpeg_are_no_foreground(tmp_path):
    labels = random_mask(count=20).instances
    Image.fromarray((labels * 12).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    with pytest.raises(DataError, match="many levels of grey in most of the nuclei"):
        load_mask(tmp_path / "a.jpg")


def test_an_unknown_table_is_refused_where_no_class_is_read(tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="table: 'lizzard'"):
        load_mask(tmp_path / "a.png", table="lizzard")


def test_an_empty_mask_loads(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png")
    assert load_mask(tmp_path / "a.png").num_nuclei == 0
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "b.png")
    assert not load_mask(tmp_path / "b.png").classes.any()


def test_60000_px_are_refused_by_the_header(tmp_path):
    with pytest.raises(DataError, match="60000 x 60000 px; expected at most 64 Mpx"):
        load_mask(png_header(tmp_path / "a.png", 60_000, 60_000))
    with pytest.raises(DataError, match="10000 x 10000 px; expected at most 64 Mpx"):
        load_mask(png_header(tmp_path / "b.png", 10_000, 10_000))


def test_files_that_are_no_mask_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.svg").write_bytes(b"<svg/>")
    Image.new("RGBA", (4, 4)).save(tmp_path / "d.png")
    Image.new("L", (4, 4)).save(
        tmp_path / "e.tif", save_all=True, append_images=[Image.new("L", (4, 4))]
    )
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "g.tif")
    Image.fromarray(np.full((4, 4), -3, np.int32)).save(tmp_path / "h.tif")
    good = tmp_path / "i.png"
    Image.fromarray(random_mask().instances.astype(np.uint16)).save(good)
    good.write_bytes(good.read_bytes()[:200])
    for name, reason in {
        "a.png": "an empty file",
        "b.png": "unreadable",
        "c.svg": r"a file that ends in \.svg",
        "d.png": "colour mode 'RGBA'",
        "e.tif": "2 frames",
        "f.tif": "16 pixels NaN or infinite",
        "g.tif": "numbers with fractions",
        "h.tif": "labels -3 to -3",
        "i.png": "unreadable",
        "none.png": "not there",
    }.items():
        with pytest.raises(DataError, match=reason):
            load_mask(tmp_path / name)
    with pytest.raises(ConfigError, match="mpp: 100"):
        load_mask(tmp_path / "f.tif", mpp=100)


def test_colours_of_16_bits_are_refused(tmp_path):
    path = png_header(tmp_path / "a.png", 4, 4, bits=16, colors=2)
    with pytest.raises(DataError, match="16 bits"):
        load_mask(path)


def test_options_of_another_format_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.uint16)).save(tmp_path / "a.png")
    (tmp_path / "a.geojson").write_text("[]")
    with pytest.raises(ConfigError, match="frame: an option that .png files do not take"):
        load_mask(tmp_path / "a.png", frame=(0, 0, 4, 4))
    with pytest.raises(ConfigError, match="values: an option"):
        load_mask(tmp_path / "a.geojson", values="classes", frame=(0, 0, 4, 4))


def test_labels_in_memory_are_those_of_a_file(tmp_path):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:6, 2:6], labels[10:15, 10:20] = 7, 300
    Image.fromarray(labels).save(tmp_path / "a.png")
    found, expected = mask_from_labels(labels), load_mask(tmp_path / "a.png")
    assert np.array_equal(found.instances, expected.instances)
    assert np.array_equal(found.classes, expected.classes)
    with pytest.raises(DataError, match="labels: an array of shape .20,."):
        mask_from_labels(labels[:, 0])


def test_a_mask_that_was_saved_loads_as_it_was(tmp_path):
    mask = random_mask(3, mpp=0.5)
    save_mask(tmp_path / "a.png", mask)
    found = load_mask(tmp_path / "a.png")
    assert np.array_equal(found.instances, mask.instances)
    assert np.array_equal(found.classes, mask.classes) and found.mpp == 0.5
    save_mask(tmp_path / "b.png", NucleiMask(mask.classes))
    again = load_mask(tmp_path / "b.png")
    assert again.instances is None and np.array_equal(again.classes, mask.classes)


def test_a_mask_whose_json_is_of_another_is_refused(tmp_path):
    save_mask(tmp_path / "a.png", random_mask(3, count=10))
    content = json.loads((tmp_path / "a.json").read_text())
    del content["classes"]["4"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no class for nucleus 4"):
        load_mask(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="expected .png"):
        save_mask(tmp_path / "a.tif", random_mask())


@pytest.mark.parametrize(
    ("folder", "options", "known"),
    [
        ("monuseg_NC/instance_labels", {}, True),
        ("dsb2018_cc0/stained_labels", {}, True),
        ("dsb2018_cc0/fluo_labels", {}, True),
        ("lizard128_NC/semantic", {"table": "lizard"}, False),
        ("pannuke_NC/masks", {"table": "pannuke"}, False),
        ("monusac_NC/masks", {}, False),
        ("tnbc30/masks", {}, False),
    ],
)
def test_real_sets_read_and_their_nuclei_are_counted(real, folder, options, known):
    """Counts are compared with those of the files' own list, foreground with Pillow's pixels."""
    import csv

    name, _, sub = folder.partition("/")
    with (real / "files.csv").open() as handle:
        rows = [
            row
            for row in csv.DictReader(handle)
            if row["set"] == name and row["file"].startswith(sub)
        ]
    assert len(rows) == len(list((real / folder).iterdir()))
    for row in rows[:: max(len(rows) // 6, 1)]:
        path = real / name / row["file"]
        found = load_mask(path, **options)
        pixels = np.asarray(Image.open(path))
        assert found.size == pixels.shape[:2]
        if known:
            assert found.num_nuclei == int(row["label"]) == len(set(pixels.ravel().tolist()) - {0})
        else:
            level = 0 if pixels.ndim == 2 or path.suffix == ".png" else 127
            gray = np.asarray(Image.open(path).convert("L"))
            off = (found.classes > 0) != (gray > level)
            assert off.mean() <= (1e-3 if path.suffix == ".jpg" else 0.06 * (pixels.ndim == 3))
