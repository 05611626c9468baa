"""Every layout gives the same samples; every broken file is counted with its reason."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.data.config import Columns
from crafts.data.listing.items import clean_key
from crafts.data.listing.loading import load_item
from crafts.data.listing.tables import parse_fields, parse_mpp
from crafts.data.listing.tilesets import list_items
from crafts.data.tiles.images import MAX_PIXELS, RefusedImageError, check_image, decode_rgb


def collect(source: Path, columns: Columns | None = None, max_pixels: int = MAX_PIXELS):
    """Samples of a source, and the reason for each item that gives none."""
    found = [(item, load_item(item, max_pixels)) for item in list_items(source, columns)]
    rejects = {item.name: one for item, one in found if isinstance(one, str)}
    return [one.sample for _, one in found if not isinstance(one, str)], rejects


def save(mode: str, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (16, 16)).save(buffer, form, **options)
    return buffer.getvalue()


@given(st.text())
def test_clean_keys_are_safe_and_stable(text):
    key = clean_key(text)
    assert key and not set(key) & set('./\\ \n\0:*?"<>|')
    assert clean_key(key) == key
    key.encode()  # no lone surrogates


def test_every_layout_gives_the_same_pixels_and_texts(tmp_path, make_image):
    images = {f"a/t{i}.png": make_image(i) for i in range(3)}
    rows = [{"file_name": name, "text": f"text {name}"} for name in images]
    for name in ("csv", "jsonl", "parquet", "plain", "folders"):
        for file, data in images.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    write_csv(tmp_path / "csv/metadata.csv", rows)
    (tmp_path / "jsonl/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet/metadata.parquet")
    write_csv(
        tmp_path / "plain/my tiles.csv",
        [{"path": r["file_name"], "caption": r["text"]} for r in rows],
    )
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/x.tar", "w") as tar:
        for file, data in images.items():
            add(tar, file, data)
            add(tar, file.replace(".png", ".txt"), f"text {file}".encode())
    expected = [(f"a_t{i}", images[f"a/t{i}.png"], f"text a/t{i}.png") for i in range(3)]
    for name in ("csv", "jsonl", "parquet", "plain", "tars"):
        samples, rejects = collect(tmp_path / name)
        assert [(s.key, s.image, s.text) for s in samples] == expected, name
        assert not rejects
    samples, _ = collect(tmp_path / "folders")
    assert [(s.key, s.image, s.fields) for s in samples] == [
        (key, data, {"label": "a"}) for key, data, _ in expected
    ]


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_one_of_each_broken_kind_is_counted_with_its_reason(tmp_path, make_image):
    jpeg, png = make_image(1, (64, 64), "JPEG"), make_image(2, (64, 64))
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 1
    big = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    )
    broken = {
        "cut_j.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "no_end_j.jpg": (jpeg[:-2], "truncated"),
        "cut.png": (png[:-40], "truncated"),
        "no_end.png": (png[:-12], "truncated"),
        "flipped.png": (bytes(flipped), "checksum"),
        "text.png": (b"hello", "not an image"),
        "notes.md": (b"# notes", "not an image"),
        "empty.png": (b"", "empty"),
        "bomb.png": (big + chunk(b"IEND", b""), "larger than the limit"),
        "large.png": (make_image(3, (200, 200)), "larger than the limit"),
        "cmyk.jpg": (save("CMYK", "JPEG"), "CMYK"),
        "grey16.png": (save("I;16"), "I;16"),
        "float.tif": (save("F", "TIFF"), "'F'"),
        "frames.gif": (
            save("RGB", "GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
            "frames",
        ),
    }
    folder = tmp_path / "s"
    (folder / "class").mkdir(parents=True)
    for name, (data, _) in broken.items():
        (folder / "class" / name).write_bytes(data)
    (folder / "class" / "good.png").write_bytes(png)
    samples, rejects = collect(folder, max_pixels=20_000)
    assert [s.key for s in samples] == ["class_good"]
    assert len(rejects) == len(broken)
    for name, (_, reason) in broken.items():
        assert reason.lower() in rejects[f"class/{name}"].lower(), (name, rejects)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_modes_become_rgb_png(mode):
    found = check_image(save(mode))
    assert found.suffix == "png"
    assert Image.open(io.BytesIO(found.data)).mode == "RGB"


def test_transparent_pixels_become_white():
    assert (decode_rgb(check_image(save("RGBA")).data) == 255).all()


def test_sixteen_bit_rgb_png_is_brought_to_eight(tmp_path):
    row = b"\0" + struct.pack(">3H", 0x1234, 0xFF00, 0x0080) * 2
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * 2))
        + chunk(b"IEND", b"")
    )
    found = check_image(data)
    assert found.data != data
    assert decode_rgb(found.data)[0, 0].tolist() == [0x12, 0xFF, 0x00]


def test_a_turned_photograph_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    found = check_image(buffer.getvalue())
    assert (found.suffix, found.width, found.height) == ("png", 10, 20)


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"GIF89a", b"BM", b"P6 "]
    ),
)
def test_noise_is_refused_and_never_a_traceback(data, magic):
    try:
        check_image(magic + data)
    except RefusedImageError as refused:
        assert str(refused)


def test_rows_of_tables_are_rejected_one_by_one(tmp_path, make_image):
    (tmp_path / "a.png").write_bytes(make_image())
    lines = [
        {"file_name": "a.png", "text": "fine"},
        {"file_name": "a.png", "text": "again"},
        {"file_name": "gone.png"},
        {"text": "no path"},
        {"file_name": ""},
        {"file_name": "m.png", "mpp": "abc"},
        {"file_name": "n.png", "captions": "[1"},
        {"file_name": "o.png", "captions": [1]},
        {"file_name": "q.png", "split": "perhaps"},
        {"file_name": "u.png", "text": "\ud800"},
        {"file_name": "."},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join([*map(json.dumps, lines), "{", "[1]"]))
    samples, rejects = collect(tmp_path)
    assert [s.text for s in samples] == ["fine"]
    assert len(rejects) == 12
    reasons = " | ".join(rejects.values())
    for part in (
        "listed twice",
        "no such file",
        "no image path",
        "mpp 'abc'",
        "no JSON list",
        "no list of texts",
        "split 'perhaps'",
        "valid Unicode",
        "unreadable",
        "not JSON",
        "not a JSON object",
    ):
        assert part in reasons, part


def test_csv_rows_with_too_many_or_too_few_cells(tmp_path, make_image):
    (tmp_path / "a.png").write_bytes(make_image())
    (tmp_path / "t.csv").write_text("path,text\na.png,fine\na.png,x,y\na.png\n")
    samples, rejects = collect(tmp_path / "t.csv")
    assert len(samples) == 1 and len(rejects) == 2
    assert {"more cells than columns", "fewer cells than columns"} == set(rejects.values())


def test_named_columns_and_alternative_wordings(tmp_path, make_image):
    (tmp_path / "a.png").write_bytes(make_image())
    write_csv(
        tmp_path / "t.csv",
        [{"wo": "a.png", "case": "7", "id": "x.1", "captions": '["one", "two"]', "mpp": "0.25"}],
    )
    columns = Columns(image="wo", key="id", rename={"patient": "case"})
    (sample,), _ = collect(tmp_path, columns)
    assert (sample.key, sample.text) == ("x_1", "one")
    assert sample.fields == {"patient": "7", "captions": ["one", "two"], "mpp": 0.25}
    with pytest.raises(ConfigError, match="'nope'.*wo, case"):
        collect(tmp_path, Columns(image="wo", text="nope"))
    with pytest.raises(ConfigError, match="image path"):
        collect(tmp_path)


def test_split_folders(tmp_path, make_image):
    for split in ("train", "test"):
        (tmp_path / "a" / split / "gland").mkdir(parents=True)
        (tmp_path / "a" / split / "gland" / "x.png").write_bytes(make_image())
        (tmp_path / "b" / split).mkdir(parents=True)
        (tmp_path / "b" / split / "x.png").write_bytes(make_image())
        write_csv(tmp_path / "b" / split / "metadata.csv", [{"file_name": "x.png", "text": split}])
    samples, _ = collect(tmp_path / "a")
    assert [(s.key, s.fields) for s in samples] == [
        ("test_gland_x", {"split": "heldout", "label": "gland"}),
        ("train_gland_x", {"split": "train", "label": "gland"}),
    ]
    samples, _ = collect(tmp_path / "b")
    assert [(s.key, s.text, s.fields["split"]) for s in samples] == [
        ("test_x", "test", "heldout"),
        ("train_x", "train", "train"),
    ]


def test_tars_with_json_masks_and_faults(tmp_path, make_image):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "k1.mask.png", b"mask")
        add(tar, "k1.png", make_image(1))
        add(tar, "k1.json", json.dumps({"caption": "one", "patient": 3}).encode())
        add(tar, "k2.json", b"{}")
        add(tar, "k3.jpg", make_image(3, form="JPEG"))
        add(tar, "k3.json", b"{")
        add(tar, "k4.png", make_image(4))
        add(tar, "k4.txt", b"\xff")
    samples, rejects = collect(tmp_path)
    assert [(s.key, s.text, s.fields) for s in samples] == [("k1", "one", {"patient": "3"})]
    assert samples[0].image == make_image(1)
    assert "no image" in rejects["x.tar:k2"] and len(rejects) == 3


@pytest.mark.parametrize("cut", ["middle", "end", "empty", "noise"])
def test_a_truncated_tar_is_named(tmp_path, make_image, cut):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for index in range(4):
            add(tar, f"k{index}.png", make_image(index))
    data = (tmp_path / "x.tar").read_bytes()
    used = len(data.rstrip(b"\0"))
    new = {
        "middle": data[: used // 2],
        "end": data[: -(-used // 512) * 512],
        "empty": b"",
        "noise": b"x" * 2000,
    }
    (tmp_path / "x.tar").write_bytes(new[cut])
    samples, rejects = collect(tmp_path)
    assert "truncated" in rejects["x.tar"]
    assert len(samples) == {"middle": 1, "end": 4, "empty": 0, "noise": 0}[cut]


def test_faults_of_the_source_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        list_items(tmp_path / "gone")
    with pytest.raises(DataError, match="no tile in it"):
        list_items(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"a \.zip file"):
        list_items(tmp_path / "x.zip")
    (tmp_path / "1.csv").write_text("path\n")
    (tmp_path / "2.csv").write_text("path\n")
    with pytest.raises(DataError, match="2 csv files"):
        list_items(tmp_path)
    (tmp_path / "2.csv").write_bytes(b"path\n\xff\n")
    with pytest.raises(DataError, match="unreadable text"):
        list_items(tmp_path / "2.csv")
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged parquet"):
        list_items(tmp_path / "m.parquet")
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match="several metadata tables"):
        list_items(tmp_path)


def test_non_adjacent_keys_of_a_tar_collide(tmp_path, make_image):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for index, name in enumerate(("a.png", "b.png", "a.png")):
            add(tar, name, make_image(index))
    samples, rejects = collect(tmp_path)
    assert [(s.key, s.image) for s in samples] == [("a", make_image(0)), ("b", make_image(1))]
    assert rejects["x.tar:a"].startswith("the same key as x.tar:a")


def test_a_row_with_a_fault_takes_no_key(tmp_path, make_image):
    (tmp_path / "a.png").write_bytes(make_image())
    rows = [{"file_name": "a.png", "mpp": "abc"}, {"file_name": "a.png", "text": "fine"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    samples, rejects = collect(tmp_path)
    assert [s.text for s in samples] == ["fine"] and len(rejects) == 1


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "unknown"), ("unknown", "unknown"), ("0.5", 0.5), (1, 1.0)]
)
def test_mpp(value, expected):
    assert parse_mpp(value) == expected


@pytest.mark.parametrize("value", ["x", 0, -1, "inf", float("inf"), []])
def test_impossible_mpp_is_refused(value):
    with pytest.raises(ValueError, match="mpp"):
        parse_mpp(value)


def test_fields_of_numbers_become_texts_without_a_point():
    assert parse_fields({"patient": 12.0, "label": 3, "note": np.nan, "organ": None}) == {
        "patient": "12",
        "label": "3",
    }


def test_links_that_lead_out_of_the_folder_of_a_table_are_rejected(tmp_path, make_image):
    (tmp_path / "private").mkdir()
    (tmp_path / "set").mkdir()
    for place in ("private/secret.png", "set/a.png"):
        (tmp_path / place).write_bytes(make_image(0))
    (tmp_path / "set/b.png").symlink_to("../private/secret.png")
    (tmp_path / "set/c.png").symlink_to("a.png")
    (tmp_path / "set/folder").symlink_to("../private")
    names = ("a.png", "b.png", "c.png", "folder/secret.png")
    write_csv(tmp_path / "set/metadata.csv", [{"file_name": name} for name in names])
    samples, rejects = collect(tmp_path / "set")
    assert [sample.key for sample in samples] == ["a", "c"]
    assert set(rejects) == {"b.png", "folder/secret.png"}
    assert all("within the folder of the table" in reason for reason in rejects.values())
    samples, rejects = collect(tmp_path / "set", Columns(outside=True))
    assert len(samples) == 4 and not rejects
