"""Masks travel from a table into shards and out again, pixel for pixel."""

from __future__ import annotations

import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import crafts
from crafts.controls.masks import load_mask, load_tile_mask, save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.data.config import PackConfig
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.loader import ShardReader
from crafts.data.pack import run
from crafts.data.tiles.images import RefusedImageError
from crafts.data.tiles.masks import decode_mask, encode_mask, read_mask
from fixtures_controls import random_mask


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(0, 20), st.booleans())
def test_what_is_written_is_read(seed: int, count: int, with_nuclei: bool) -> None:
    mask = random_mask(seed, (48, 60), count)
    instances = mask.instances if with_nuclei else None
    found = decode_mask(encode_mask(mask.classes, instances))
    assert np.array_equal(found.classes, mask.classes)
    if with_nuclei or count == 0:
        assert np.array_equal(found.instances, mask.instances)
    else:
        assert found.instances is None


def test_thousands_of_nuclei_keep_their_numbers() -> None:
    ids = np.arange(1, 70_001, dtype=np.int32).reshape(200, 350)
    classes = np.full(ids.shape, 4, np.uint8)
    with pytest.raises(DataError, match="65535"):
        encode_mask(classes, ids)
    fewer = np.minimum(ids, 65_535) + 1_000_000  # numbers have gaps; places are what counts
    found = decode_mask(encode_mask(classes, fewer)).instances
    assert np.array_equal(found, fewer - 1_000_000)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no readable PNG"),
        (png(np.zeros((4, 4), np.uint8)), "mode L"),
        (png(np.full((4, 4, 3), [0, 1, 0], np.uint8)), "nuclei without a class"),
        (encode_mask(np.ones((9, 9), np.uint8), None)[:50], "no readable PNG"),
    ],
)
def test_other_files_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_mask(data)


def test_masks_of_other_peoples_tars_are_read_like_files() -> None:
    mask = random_mask(1, (32, 40), 4)
    assert mask.instances is not None
    labels = png(mask.instances.astype(np.uint16))
    options: Any = {"load": load_tile_mask, "size": (32, 40)}
    found = decode_mask(read_mask(Path("x.tar"), labels, **options))
    assert np.array_equal(found.instances, mask.instances)
    own = encode_mask(mask.classes, mask.instances)
    assert read_mask(Path("x.tar"), own, **options) == own
    with pytest.raises(RefusedImageError, match="mask: unreadable"):
        read_mask(Path("x.tar"), b"none", **options)
    with pytest.raises(RefusedImageError, match="Pass values"):
        read_mask(Path("x.tar"), png(mask.classes), **options)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Nuclei, classes, an empty mask, no mask, a mask of another size, and one that is missing."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    masks = {
        "a": random_mask(1, (32, 40), 4),
        "b": NucleiMask(random_mask(2, (32, 40), 4).classes),
        "c": NucleiMask(np.zeros((32, 40), np.uint8), np.zeros((32, 40), np.int32)),
        "e": random_mask(3, (40, 32), 4),
    }
    rows = []
    for number, name in enumerate("abcdef"):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        if name in masks:
            save_mask(folder / f"{name}-nuclei.png", masks[name])
        named = {} if name == "d" else {"mask": f"{name}-nuclei.png"}
        rows.append({"file_name": f"{name}.png", "text": name, **named})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_shards_carry_the_masks_of_a_table(tiles: Path, tmp_path: Path) -> None:
    settings = {"max_reject_fraction": 0.5, "tokenizers": [], "num_workers": 2}
    crafts.pack(settings, tiles, tmp_path / "shards")
    reader = ShardReader(tmp_path / "shards", how="full")
    assert [row["key"] for row in reader.rows] == ["a", "b", "c", "d"]
    first, second, third, fourth = (reader.mask(index) for index in range(4))
    assert first is not None and second is not None and third is not None and fourth is None
    saved = load_mask(tiles / "a-nuclei.png")
    assert np.array_equal(first.classes, saved.classes)
    assert np.array_equal(first.instances, saved.instances)
    assert second.instances is None and second.classes.any()
    assert third.instances is not None and not third.classes.any()
    assert "mask" not in reader.rows[0]  # the path means nothing in a shard
    rejects = (tmp_path / "shards" / "rejects.jsonl").read_text()
    assert "mask of 32 x 40 px, image of 40 x 32 px" in rejects and "mask: not there" in rejects
    with tarfile.open(tmp_path / "shards" / "shard-00000.tar") as tar:
        assert tar.getnames()[:4] == ["a.png", "a.json", "a.txt", "a.mask.png"]


def test_packed_again_the_masks_are_the_same(tiles: Path, tmp_path: Path) -> None:
    settings = {"max_reject_fraction": 0.5, "tokenizers": []}
    crafts.pack(settings, tiles, tmp_path / "one")
    crafts.pack({"tokenizers": []}, tmp_path / "one", tmp_path / "two")
    one, two = ShardReader(tmp_path / "one"), ShardReader(tmp_path / "two")
    assert [r["mask_sha256"] for r in one.rows] == [r["mask_sha256"] for r in two.rows]


def test_a_flipped_bit_of_a_mask_is_found(tiles: Path, tmp_path: Path) -> None:
    run(PackConfig(max_reject_fraction=0.5), tiles, tmp_path / "s", load_mask=load_tile_mask)
    row = ShardReader(tmp_path / "s").rows[0]
    path = tmp_path / "s" / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["mask_offset"] + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="mask 'a'"):
        ShardReader(tmp_path / "s").mask(0)


def test_masks_need_a_reader_and_a_meaning(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Pass load_mask"):
        run(PackConfig(), tiles, tmp_path / "s")
    plain = np.tile(np.arange(4, dtype=np.uint8) * 2, (32, 10))
    Image.fromarray(plain).save(tiles / "f-nuclei.png")
    crafts.pack({"tokenizers": [], "max_reject_fraction": 0.9}, tiles, tmp_path / "unclear")
    rejects = (tmp_path / "unclear" / "rejects.jsonl").read_text()
    assert "these numbers could be ids or classes; Pass values" in rejects
    (tiles / "metadata.jsonl").write_text('{"image": "f.png", "nuclei": "f-nuclei.png"}\n')
    config = PackConfig.model_validate({"columns": {"mask": "nuclei"}})
    reads = partial(load_tile_mask, values="classes", table="lizard")
    run(config, tiles, tmp_path / "s", load_mask=reads)
    found = ShardReader(tmp_path / "s").mask(0)
    assert found is not None and found.instances is None
    assert sorted(set(found.classes.reshape(-1).tolist())) == [0, 1, 5, 8]
    named = {"columns": {"mask": "absent"}, "tokenizers": []}
    (tiles / "metadata.csv").write_text("file_name\na.png\n")
    (tiles / "metadata.jsonl").unlink()
    with pytest.raises(ConfigError, match="column 'absent'"):
        crafts.pack(named, tiles, tmp_path / "t")


def test_outlines_are_in_pixels_of_their_tile(tiles: Path, tmp_path: Path) -> None:
    ring = [[5, 3], [25, 3], [25, 13], [5, 13], [5, 3]]
    nucleus = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tiles / "a.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [nucleus]})
    )
    (tiles / "b.geojson").write_text("{")
    rows = [{"file_name": f"{name}.png", "mask": f"{name}.geojson"} for name in "ab"]
    rows.append({"file_name": "c.png", "mask": "c-nuclei.png"})
    (tiles / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"tokenizers": [], "max_reject_fraction": 0.5}
    manifest = crafts.pack(settings, tiles, tmp_path / "shards")
    assert (manifest.counts["used"], manifest.counts["rejected"]) == (2, 1)
    found = ShardReader(tmp_path / "shards").mask(0)
    assert found is not None and found.instances is not None
    assert found.instances.shape == (32, 40)
    rows, columns = np.nonzero(found.instances)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 12, 5, 24)


def write_turned(folder: Path, orientation: int, mask_orientation: int, size: tuple[int, int]):
    """An image that EXIF turns, and labels of its two nuclei with an orientation of their own."""
    folder.mkdir(exist_ok=True)
    exif, own = Image.Exif(), Image.Exif()
    exif[0x0112], own[0x0112] = orientation, mask_orientation
    Image.new("RGB", size, "pink").save(folder / "t.png", exif=exif)
    labels = np.zeros(size[::-1], np.uint16)
    labels[2:6, 3:9], labels[10:12, 1:4] = 1, 2
    Image.fromarray(labels).save(folder / "m.png", exif=own)
    (folder / "metadata.csv").write_text("file_name,text,mask\nt.png,one,m.png\n")
    return labels


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_image_turns_its_mask_or_is_rejected(tmp_path: Path, orientation: int) -> None:
    folder = tmp_path / "turned"
    labels = write_turned(folder, orientation, orientation, (24, 16))
    (item,) = list_items(folder)
    found = load_item(item, load_mask=load_tile_mask)
    assert not isinstance(found, str)
    turned = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned)) > 0
    assert (found.height, found.width) == expected.shape
    assert np.array_equal(decode_mask(found.mask).classes > 0, expected)
    write_turned(folder, orientation, 1, (16, 16))
    found = load_item(item, load_mask=load_tile_mask)
    assert isinstance(found, str) and "its mask is not; save both upright" in found


def test_an_oblong_mask_that_was_drawn_upright_fits(tmp_path: Path) -> None:
    write_turned(tmp_path, 6, 1, (24, 16))
    upright = np.zeros((24, 16), np.uint16)
    upright[3:9, 2:6] = 7
    Image.fromarray(upright).save(tmp_path / "m.png")
    (item,) = list_items(tmp_path)
    found = load_item(item, load_mask=load_tile_mask)
    assert not isinstance(found, str)
    assert np.array_equal(decode_mask(found.mask).classes > 0, upright > 0)


def test_outlines_left_out_are_counted_and_told(tmp_path: Path, capsys: Any) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    Image.new("RGB", (64, 64), "pink").save(tiles / "t.png")

    def square(x: int, y: int) -> dict[str, Any]:
        ring = [[x, y], [x + 4, y], [x + 4, y + 4], [x, y + 4], [x, y]]
        return {"type": "Polygon", "coordinates": [ring]}

    shapes: list[dict[str, Any]] = [square(x, y) for x in range(0, 60, 12) for y in (0, 20, 40)]
    deep: dict[str, Any] = {"type": "GeometryCollection", "geometries": [square(30, 54)]}
    shapes.append({"type": "GeometryCollection", "geometries": [square(20, 54), deep]})
    shapes.append({"type": "Point", "coordinates": [1, 1]})
    features = [{"type": "Feature", "geometry": one, "properties": {}} for one in shapes]
    (tiles / "m.geojson").write_text(json.dumps(features))
    (tiles / "metadata.csv").write_text("file_name,text,mask\nt.png,one,m.geojson\n")
    settings_ = {"tokenizers": []}
    manifest = crafts.pack(settings_, tiles, tmp_path / "out")
    assert manifest.counts["outlines_left_out"] == 1
    assert "an outline of its mask is left out (feature 16: no points)" in capsys.readouterr().err
    mask = ShardReader(tmp_path / "out").mask(0)
    assert mask is not None and len(np.unique(mask.instances)) == 1 + 16
    assert mask.instances[55, 21] == mask.instances[55, 31] > 0  # one nucleus in two parts
