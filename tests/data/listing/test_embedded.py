"""Images inside a parquet are used like files, in the order of the rows."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crafts.core.artifacts import sha256_file
from crafts.data.config import Columns, PackConfig
from crafts.data.listing.embedded import read_embedded
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.pack import run


@pytest.fixture
def images(make_image):
    return [make_image(index) for index in range(7)]


def write(path, rows, group=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def as_structs(images):
    """As `datasets` writes them: names may come twice."""
    return [
        {"image": {"bytes": data, "path": f"{i % 2}.png"}, "text": f"tile {i}", "label": i % 2}
        for i, data in enumerate(images)
    ]


def samples_of(source, columns=None):
    return [load_item(item).sample for item in list_items(source, columns)]


@pytest.mark.parametrize("plain", [False, True])
def test_images_of_a_column_are_used(tmp_path, images, plain):
    rows = as_structs(images)
    if plain:
        rows = [row | {"image": row["image"]["bytes"]} for row in rows]
    found = samples_of(write(tmp_path / "train.parquet", rows))
    assert [sample.image for sample in found] == images
    assert [sample.text for sample in found] == [f"tile {i}" for i in range(7)]
    assert [sample.fields for sample in found] == [{"label": str(i % 2)} for i in range(7)]
    assert found[0].key == "train-00000001"


def test_broken_rows_are_rejected_and_all_are_counted(tmp_path, images):
    rows = as_structs(images)
    rows[1]["image"] = {"bytes": None, "path": None}
    rows[2]["image"]["bytes"] = b""
    rows[3]["image"]["bytes"] = images[3][:-20]
    rows[4]["image"] = {"bytes": None, "path": "beside.png"}
    (tmp_path / "beside.png").write_bytes(images[4])
    source = write(tmp_path / "train.parquet", rows)
    packed = []
    for workers in (1, 2):
        config = PackConfig(max_reject_fraction=0.5, num_workers=workers)
        manifest = run(config, source, tmp_path / f"out{workers}")
        assert (manifest.counts["listed"], manifest.counts["used"]) == (7, 4)
        packed.append(sha256_file(tmp_path / f"out{workers}" / "shard-00000.tar"))
    assert packed[0] == packed[1]
    rejects = map(json.loads, (tmp_path / "out1/rejects.jsonl").read_text().splitlines())
    assert {row["item"]: row["reason"] for row in rejects} == {
        "train.parquet row 2": "no image path",
        "train.parquet row 3": "empty file",
        "train.parquet row 4": "truncated image (PNG without its end chunk)",
    }


def test_an_image_in_a_cell_wins_over_a_file_name_and_files_are_no_fields(tmp_path, images):
    rows = [
        row | {"file_name": f"{i}.png", "id": f"k{i}", "thumbnail": b"small"}
        for i, row in enumerate(as_structs(images))
    ]
    path = write(tmp_path / "t.parquet", rows)
    found = samples_of(path, Columns(key="id"))
    assert [sample.image for sample in found] == images
    assert found[2].key == "k2"
    assert found[2].fields == {"label": "0", "file_name": "2.png"}
    named = Columns(image="file_name")
    assert {load_item(item) for item in list_items(path, named)} == {"no such file"}


def test_a_mask_inside_the_table_is_a_fault(tmp_path, images):
    rows = [row | {"mask": row["image"]} for row in as_structs(images)]
    faults = {item.fault for item in list_items(write(tmp_path / "t.parquet", rows))}
    assert faults == {"its mask lies inside the table; save it as a file"}


def test_parts_of_a_data_set_name_its_splits(tmp_path, images):
    rows = as_structs(images)
    write(tmp_path / "data/train-00000-of-00002.parquet", rows[:3])
    write(tmp_path / "data/train-00001-of-00002-0a1b.parquet", rows[3:5])
    found = samples_of(tmp_path / "data")
    assert [sample.image for sample in found] == images[:5]
    assert not any("split" in sample.fields for sample in found)  # free for --set validation=0.1
    write(tmp_path / "data/test-00000-of-00001.parquet", rows[5:])
    splits = {sample.text: sample.fields["split"] for sample in samples_of(tmp_path / "data")}
    assert splits == {f"tile {i}": "train" if i < 5 else "heldout" for i in range(7)}


def test_split_folders_do_not_share_keys(tmp_path, images):
    for split, part in (("train", images[:4]), ("test", images[4:])):
        write(tmp_path / split / "metadata.parquet", as_structs(part))
    found = samples_of(tmp_path)
    assert sorted(sample.image for sample in found) == sorted(images)
    assert {sample.fields["split"] for sample in found} == {"train", "heldout"}


def test_a_table_that_changed_after_it_was_listed_is_never_a_wrong_image(tmp_path, images):
    path = write(tmp_path / "t.parquet", as_structs(images))
    assert read_embedded(path, "image", 6) == images[6]
    items = list_items(path)
    write(path, as_structs(images[:2]))
    assert "unreadable (parquet" in str(load_item(items[6]))
    write(path, [{"image": "0.png", "text": ""} for _ in images])
    assert load_item(items[6]) == "unreadable (parquet that changed after it was listed)"
    path.write_bytes(b"PAR1")
    assert "unreadable (parquet" in str(load_item(items[6]))
