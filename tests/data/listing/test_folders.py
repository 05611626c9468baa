"""A text beside an image is its caption; what else bears an image's name is left alone."""

from __future__ import annotations

import json

import pytest

from crafts.data.config import PackConfig
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.data.pack import run


@pytest.fixture
def folder(tmp_path, make_image):
    """Two classes of three images each; all but one have a caption beside them."""
    for index in range(6):
        path = tmp_path / "tiles" / "ab"[index % 2] / f"000{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_image(index))
        if index < 5:
            path.with_suffix(".txt").write_text(f"  tile {index}, gland\n")
    return tmp_path / "tiles"


def texts(folder):
    return {item.name: item.text for item in list_items(folder)}


def test_a_text_beside_an_image_is_its_caption(folder, tmp_path, capsys):
    expected = {f"{'ab'[i % 2]}/000{i}.png": f"tile {i}, gland" if i < 5 else "" for i in range(6)}
    assert texts(folder) == expected
    manifest = run(PackConfig(), folder, tmp_path / "out")
    assert {name: manifest.counts[name] for name in ("listed", "used", "rejected")} == {
        "listed": 6,
        "used": 6,
        "rejected": 0,
    }
    said = capsys.readouterr().err
    assert "1 of 6 tiles have no text; metadata.csv, or a .txt beside each, gives it" in said


def test_an_empty_caption_is_none_and_one_that_is_no_text_a_fault(folder):
    (folder / "a/0000.txt").write_text(" \n")
    (folder / "b/0001.txt").write_bytes("\ufeffnuclei".encode())
    (folder / "a/0002.txt").write_bytes(b"caf\xe9")
    found = {item.name: item for item in list_items(folder)}
    assert found["a/0000.png"].text == "" and not isinstance(load_item(found["a/0000.png"]), str)
    assert found["b/0001.png"].text == "nuclei"
    assert load_item(found["a/0002.png"]) == "its caption (.txt) is no UTF-8"


def test_other_files_of_an_image_do_not_stop_it(folder):
    expected = texts(folder)
    for path in list(folder.rglob("*.png")):
        path.with_suffix(".xml").write_text("<annotation/>")
        path.with_suffix(".json").write_text("{}")
    assert texts(folder) == expected
    (folder / "a/alone.txt").write_text("of no image")  # listed, and rejected as what it is
    (item,) = (item for item in list_items(folder) if item.name == "a/alone.txt")
    assert load_item(item) == "not an image that can be read"


def test_of_two_images_with_one_key_the_later_is_rejected(folder, tmp_path, make_image):
    (folder / "a/x 1.png").write_bytes(make_image(7))
    (folder / "a/x_1.png").write_bytes(make_image(8))
    (folder / "a/0000.jpg").write_bytes(make_image(9, form="JPEG"))
    manifest = run(PackConfig(max_reject_fraction=0.3), folder, tmp_path / "out")
    assert (manifest.counts["listed"], manifest.counts["used"]) == (9, 7)
    rejects = map(json.loads, (tmp_path / "out/rejects.jsonl").read_text().splitlines())
    reasons = {row["item"]: row["reason"] for row in rejects}
    assert reasons.keys() == {"a/0000.png", "a/x_1.png"}
    assert reasons["a/x_1.png"].startswith("the same key as a/x 1.png")
