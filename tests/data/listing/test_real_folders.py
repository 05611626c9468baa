"""What folders and tables of other programs look like: links, spellings, unnamed columns."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crafts.core.errors import ConfigError, DataError
from crafts.data.config import Columns, PackConfig
from crafts.data.listing.items import ListedTile
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.pack import assign_item_splits
from crafts.data.splits import read_splits


def listed(source: Path, columns: Columns | None = None) -> dict[str, ListedTile]:
    return {item.name: item for item in list_items(source, columns)}


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_row_numbers_of_a_data_frame_are_no_caption_and_no_mask(tmp_path, make_image):
    for k in range(2):
        put(tmp_path / f"{k}.png", make_image(k))
    put(tmp_path / "metadata.csv", b",file_name,patient\n0,0.png,P1\n1,1.png,P2\n")
    items = listed(tmp_path)
    assert {item.text for item in items.values()} == {""}
    assert {item.mask for item in items.values()} == {""}
    assert items["1.png"].fields == {"patient": "P2"}
    put(tmp_path / "metadata.csv", b",name\n0,0.png\n")
    with pytest.raises(ConfigError, match="a column with the image path"):
        list_items(tmp_path)


@pytest.mark.parametrize(
    "header", ["file_name, text, patient, split", "File_Name,Text,Patient,Split"]
)
def test_spelling_of_headers_and_cells_makes_no_new_patient(tmp_path, make_image, header):
    for k in range(2):
        put(tmp_path / f"{k}.png", make_image(k))
    rows = "0.png, one, P1, train\n1.png,two,P1 ,test\n"
    put(tmp_path / "metadata.csv", f"{header}\n{rows}".encode())
    items = list_items(tmp_path)
    assert [item.fields["patient"] for item in items] == ["P1", "P1"]
    assert [item.text for item in items] == ["one", "two"]
    with pytest.raises(DataError, match="patient 'P1'"):
        assign_item_splits(items, PackConfig(), None)


def test_a_renamed_column_wins_over_one_that_has_the_name(tmp_path, make_image):
    put(tmp_path / "0.png", make_image(0))
    put(tmp_path / "metadata.csv", b"file_name,case_id,patient\n0.png,C1,tile0\n")
    (item,) = list_items(tmp_path, Columns(rename={"patient": "case_id"}))
    assert item.fields == {"patient": "C1", "source_patient": "tile0"}


@pytest.mark.parametrize("name", ["Test", "TEST", "testing"])
def test_split_folders_in_any_case(tmp_path, make_image, name):
    put(tmp_path / "Train/tumor/0.png", make_image(0))
    put(tmp_path / name / "tumor/1.png", make_image(1))
    splits = [item.fields for item in list_items(tmp_path)]
    assert {"split": "heldout", "label": "tumor"} in splits
    assert {"split": "train", "label": "tumor"} in splits
    put(tmp_path / "Train/metadata.csv", b"file_name,text\ntumor/0.png,one\n")
    put(tmp_path / name / "metadata.csv", b"file_name,text\ntumor/1.png,two\n")
    assert {(i.text, i.fields["split"]) for i in list_items(tmp_path)} == {
        ("one", "train"),
        ("two", "heldout"),
    }


def test_linked_folders_are_gone_into_and_loops_are_named(tmp_path, make_image):
    put(tmp_path / "store/1.png", make_image(1))
    put(tmp_path / "tiles/normal/0.png", make_image(0))
    (tmp_path / "tiles/tumor").symlink_to(tmp_path / "store")
    (tmp_path / "tiles/normal/again").symlink_to(tmp_path / "tiles")
    items = listed(tmp_path / "tiles")
    assert {name for name, item in items.items() if not item.fault} == {
        "normal/0.png",
        "tumor/1.png",
    }
    assert "a link to a folder that it lies in" in items["normal/again"].fault


def test_links_in_a_tar_are_rejected_by_name(tmp_path, make_image):
    put(tmp_path / "a.png", make_image(0))
    (tmp_path / "b.png").symlink_to("a.png")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.png", "b.png"):
            tar.add(tmp_path / name, name)
    faults = {item.name: item.fault for item in list_items(tmp_path / "x.tar")}
    assert faults["x.tar:a"] == "" and "a link inside a tar" in faults["x.tar:b.png"]


def test_class_numbers_of_datasets_become_names_and_lists_become_wordings(tmp_path, make_image):
    put(tmp_path / "0.png", make_image(0))
    rows = [{"file_name": "0.png", "label": 1, "caption": ["first", "second"], "captions": None}]
    features = {"label": {"names": ["normal", "tumor"], "_type": "ClassLabel"}}
    facts = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.replace_schema_metadata(facts), tmp_path / "metadata.parquet")
    (item,) = list_items(tmp_path)
    assert item.fields == {"label": "tumor", "captions": ["first", "second"]}
    assert item.text == "first"


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"])
def test_a_name_that_no_file_can_have_is_one_reject(tmp_path, make_image, name):
    put(tmp_path / "0.png", make_image(0))
    rows = [{"file_name": "0.png"}, {"file_name": name}]
    put(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    loaded = [load_item(item) for item in list_items(tmp_path)]
    assert sum(isinstance(one, str) for one in loaded) == 1


def test_a_row_of_a_splits_file_without_its_patient_is_refused(tmp_path):
    path = put(tmp_path / "splits.csv", b"patient,key,split\nP1,,train\n,tile,heldout\n")
    with pytest.raises(DataError, match="no patient, while other rows have one"):
        read_splits(path)
