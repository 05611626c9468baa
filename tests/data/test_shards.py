"""Shards are read back whole by webdataset, by datasets and by our own importer."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import IntegrityError
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.loader import ShardReader
from crafts.data.shards import (
    INDEX,
    conform,
    iter_batches,
    plan_columns,
    read_index,
    rename_reserved,
    write_index,
)
from crafts.data.tiles.images import decode_rgb


def test_rows_keep_every_field_and_type(packed):
    reader = ShardReader(packed)
    row = reader.rows[3]
    assert len(reader) == 12
    assert {
        name: row[name] for name in ("key", "shard", "suffix", "text", "patient", "split", "label")
    } == {
        "key": "images_case_03",
        "shard": "shard-00000.tar",
        "suffix": "png",
        "text": "tile 3, gland",
        "patient": "p1",
        "split": "validation",
        "label": "0",
    }
    assert row["captions"] == ["tile 3", "a gland"]
    assert row["cells"] == {"lymphocyte": pytest.approx(0.3)}
    assert (row["mpp"], reader.rows[2]["mpp"]) == (0.5, "unknown")
    assert (row["fresh"], row["count"], row["source_width"], row["width"]) == (True, 3, "wide", 16)
    assert row["set"] == ""  # well-known fields are there always


def test_tar_members_are_sorted_contiguous_and_without_clock_or_owner(packed):
    keys = []
    for shard in sorted(packed.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                keys.append(member.name.split(".")[0])
        assert shard.stat().st_size % 10_240 == 0
    assert keys == sorted(keys) and len(set(keys)) == 12 and len(keys) == 36


def test_offsets_of_the_index_point_at_the_images(packed, tiles):
    reader = ShardReader(packed)
    for index, row in enumerate(reader.rows):
        with tarfile.open(packed / row["shard"]) as tar:
            stored = tar.extractfile(f"{row['key']}.{row['suffix']}").read()
        assert reader.image_bytes(index) == stored
        (source,) = (tiles / "images").glob(f"case.{index:02d}.*")
        if source.suffix == ".png":
            assert stored == source.read_bytes()
        else:  # a mixed source becomes PNG, pixel for pixel
            assert (reader.image(index) == decode_rgb(source.read_bytes())).all()


def test_webdataset_reads_everything(packed):
    wds = pytest.importorskip("webdataset")
    reader = ShardReader(packed)
    shards = [str(path) for path in sorted(packed.glob("*.tar"))]
    seen = list(wds.WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in seen] == [row["key"] for row in reader.rows]
    for index, sample in enumerate(seen):
        assert sample[reader.rows[index]["suffix"]] == reader.image_bytes(index)
        assert (
            sample["txt"].decode()
            == json.loads(sample["json"])["text"]
            == reader.rows[index]["text"]
        )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_datasets_reads_everything(tiles, tmp_path, suffix):
    datasets = pytest.importorskip("datasets")
    from crafts.data.config import PackConfig
    from crafts.data.pack import run

    if suffix == "jpg":
        for path in (tiles / "images").glob("*.png"):
            path.unlink()
    run(PackConfig(samples_per_shard=4, max_reject_fraction=0.5), tiles, tmp_path / "shards")
    reader = ShardReader(tmp_path / "shards")
    files = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    table = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table["__key__"] == [row["key"] for row in reader.rows]
    assert table["txt"] == [row["text"] for row in reader.rows]
    for index, row in enumerate(table):
        assert (reader.image(index) == row[suffix].convert("RGB")).all()
        assert row["json"]["patient"] == reader.rows[index]["patient"]


def test_our_importer_reads_shards_back(packed):
    samples = [load_item(item).sample for item in list_items(packed)]
    reader = ShardReader(packed)
    assert len(samples) == len(reader) == 12
    for index, sample in enumerate(samples):
        assert (sample.key, sample.image) == (reader.rows[index]["key"], reader.image_bytes(index))
        assert sample.fields["cells"] == reader.rows[index]["cells"]
        assert sample.fields["captions"] == reader.rows[index]["captions"]


def test_keys_longer_than_a_tar_header_and_non_latin_texts(tmp_path, make_image):
    from crafts.data.config import PackConfig
    from crafts.data.pack import run

    name = "é" * 90 + ".png"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / name).write_bytes(make_image())
    (tmp_path / "s" / "metadata.jsonl").write_text(
        json.dumps({"file_name": name, "text": "Drüse 腺"})
    )
    run(PackConfig(), tmp_path / "s", tmp_path / "o")
    reader = ShardReader(tmp_path / "o", how="full")
    assert reader.rows[0]["text"] == "Drüse 腺"
    assert reader.image(0).shape == (16, 16, 3)
    with tarfile.open(tmp_path / "o/shard-00000.tar") as tar:
        assert tar.getnames()[0] == name


def test_mixed_columns_become_text_and_reserved_names_are_renamed():
    rows = [
        {"a": 1, "b": 1, "c": [1], "d": True, "n": 2**70},
        {"a": "x", "b": 0.5, "c": ["y"], "e": {"f": 1}},
    ]
    plan = plan_columns(rows)
    picked = {name: plan[name] for name in "abcden"}
    assert picked == {
        "a": "text",
        "b": "number",
        "c": "json",
        "d": "flag",
        "e": "json",
        "n": "text",
    }
    assert list(plan) == sorted(plan)
    first = conform(rows[0], plan)
    assert (first["a"], first["b"], first["e"], first["mpp"], first["captions"]) == (
        "1",
        1.0,
        None,
        "unknown",
        [],
    )
    assert rename_reserved({"size": 1, "b": 2}) == {"source_size": 1, "b": 2}


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8")),
    st.lists(st.text(st.characters(codec="utf-8")), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.integers(), max_size=2),
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "organ"]), values), min_size=1, max_size=4)
)
def test_any_fields_survive_the_index(tmp_path_factory, raw):
    plan = plan_columns(raw)
    rows = [conform(row, plan) for row in raw]
    path = tmp_path_factory.mktemp("index") / INDEX
    write_index(rows, plan, path)
    assert read_index(path) == (rows, plan)


def test_a_damaged_index_is_refused(tmp_path):
    (tmp_path / INDEX).write_bytes(b"PAR1 and noise PAR1")
    with pytest.raises(IntegrityError, match=r"index\.parquet: damaged parquet"):
        read_index(tmp_path / INDEX)


@given(st.integers(0, 50), st.integers(1, 9))
def test_batches_cover_in_order(total, size):
    parts = list(iter_batches(total, size))
    assert [i for part in parts for i in part] == list(range(total))
    assert all(0 < len(part) <= size for part in parts)


def test_json_of_a_sample_holds_text_and_fields(packed: Path):
    with tarfile.open(packed / "shard-00000.tar") as tar:
        row = json.load(io.BytesIO(tar.extractfile("images_case_01.json").read()))
    assert row["text"] == "tile 1, gland"
    assert row["cells"] == {"lymphocyte": 0.1}
