"""Figures in, clean panels out; whatever is dropped has its reason and is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError

from crafts.core.artifacts import sha256_file, verify
from crafts.core.errors import ConfigError, DataError
from crafts.data.corpus import CleanConfig, run
from crafts.data.importers import list_items
from crafts.data.painter import paint_tile

TEXT = "Glands in a loose stroma with a few lymphocytes"


def tissue(index: int, size: int = 160) -> np.ndarray:
    return paint_tile(seed=9, index=index, size=size).image


def build_source(folder: Path) -> Path:
    """One figure of each kind."""
    first, second = tissue(0), tissue(1)
    halves = "Gut. (A) Glands here. (B) More glands."
    grey = np.repeat(tissue(2).mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    gutter = np.full((160, 8, 3), 255, np.uint8)
    written = Image.fromarray(tissue(5, 320))
    ink = ImageFont.load_default(24)
    ImageDraw.Draw(written).text((20, 150), "TUMOR STROMA", "black", ink)
    near = np.asarray(Image.fromarray(np.rot90(second).copy()).resize((150, 150)))
    pictures = {
        "a-first": (first, TEXT),
        "b-second": (second, "Bundles of fibres with thin nuclei"),
        "c-mirrored": (first[:, ::-1], TEXT),
        "d-turned": (near, TEXT),
        "e-grey": (grey, TEXT),
        "f-panels": (np.hstack([tissue(4), gutter, tissue(8)]), halves),
        "g-written": (np.asarray(written), TEXT),
        "h-small": (tissue(1, 100), TEXT),
        "i-short": (tissue(6), "Glands"),
        "j-german": (tissue(6), "Die Drüsen sind von einem Stroma umgeben"),
    }  # fmt: skip
    folder.mkdir()
    rows = []
    for name, (pixels, text) in pictures.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{name}.png")
        rows.append({"file_name": f"{name}.png", "text": text, "set": "made"})
    (folder / "k-broken.png").write_bytes(b"\x89PNG")
    rows.append({"file_name": "k-broken.png", "text": TEXT})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


REASONS = {
    "c-mirrored.png": "copy of an image: a-first.png",
    "d-turned.png": "near copy of an image: b-second.png",
    "e-grey.png": "no colour (radiology, electron microscopy, drawing)",
    "g-written.png": "text over the picture",
    "h-small.png": "smaller than 128 px",
    "i-short.png": "caption of fewer than 3 words",
    "j-german.png": "caption not in English (German)",
}


def test_every_figure_is_used_or_has_its_reason(tmp_path):
    source, output = build_source(tmp_path / "source"), tmp_path / "clean"
    manifest = run(CleanConfig(), source, output, count_tokens={"words": lambda t: len(t.split())})
    rejects = {
        row["item"]: row["reason"]
        for row in map(json.loads, (output / "rejects.jsonl").read_text().splitlines())
    }
    assert rejects.pop("k-broken.png").startswith("not an image")
    assert rejects == REASONS
    assert manifest.counts == {"listed": 12, "used": 4, "rejected": 8}
    assert sum(manifest.extra["reasons"].values()) == 8
    assert manifest.extra["reasons"]["near copy of an image"] == 1
    verify(output)
    card = json.loads((output / "card.json").read_text())
    assert card["images"] == 4 and card["rejects"] == manifest.extra["reasons"]
    assert (output / "card.html").is_file()


def test_what_is_left_is_a_source_for_pack(tmp_path):
    source, output = build_source(tmp_path / "source"), tmp_path / "clean"
    run(CleanConfig(), source, output)
    items = {item.name: item for item in list_items(output)}
    assert list(items) == [
        "images/a-first.png", "images/b-second.png", "images/f-panels-1.png",
        "images/f-panels-2.png",
    ]  # fmt: skip
    assert len(list((output / "images").iterdir())) == 4
    assert (output / "images/a-first.png").read_bytes() == (source / "a-first.png").read_bytes()
    panel = items["images/f-panels-2.png"]
    assert panel.text == "Gut. More glands." and panel.fields["panel"] == 2
    assert panel.fields["patient"] == items["images/f-panels-1.png"].fields["patient"]
    with Image.open(panel.path) as image:
        assert (np.asarray(image) == tissue(8)).all()


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = build_source(tmp_path / "source")
    sums = []
    for name in ("one", "two"):
        run(CleanConfig(), source, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        sums.append({path.relative_to(tmp_path / name): sha256_file(path) for path in files})
    assert sums[0] == sums[1]


def test_every_rule_can_be_switched_off(tmp_path):
    source = build_source(tmp_path / "source")
    config = CleanConfig.model_validate(
        {
            "min_side": 64, "panels": False, "histology": False, "letters": False,
            "duplicates": False, "wording": {"english": False, "min_words": 1},
        }
    )  # fmt: skip
    manifest = run(config, source, tmp_path / "clean")
    assert manifest.counts == {"listed": 11, "used": 10, "rejected": 1}


def test_a_caption_beside_many_images_is_capped(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    rows = []
    for index in range(5):
        Image.fromarray(tissue(index)).save(source / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "text": "A case of fat necrosis."})
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CleanConfig.model_validate({"wording": {"max_repeats": 2}, "histology": False})
    run(config, source, tmp_path / "clean")
    lines = (tmp_path / "clean/rejects.jsonl").read_text().splitlines()
    tally = Counter(json.loads(line)["reason"] for line in lines)
    assert tally == {"caption that comes more than 2 times": 3}


def test_a_published_corpus_is_read(tmp_path):
    source = tmp_path / "arch"
    (source / "images").mkdir(parents=True)
    listing = {}
    for index in range(3):
        Image.fromarray(tissue(index)).save(source / f"images/u{index}.png")
        listing[str(index)] = {"uuid": f"u{index}", "caption": f"A gland, number {index}."}
    listing["3"] = {"uuid": "gone", "caption": "A gland."}
    (source / "captions.json").write_text(json.dumps(listing))
    manifest = run(CleanConfig(corpus="arch"), source, tmp_path / "clean")
    assert manifest.counts == {"listed": 4, "used": 3, "rejected": 1}
    assert manifest.extra["reasons"] == {"no image of this name": 1}
    row = json.loads((tmp_path / "clean/metadata.jsonl").read_text().splitlines()[0])
    assert row["set"] == "arch" and row["licence"].startswith("CC BY-NC-SA")


def test_a_table_of_projects_is_named_by_its_hash(tmp_path):
    source, table = tmp_path / "tiles", tmp_path / "projects.csv"
    source.mkdir()
    Image.fromarray(tissue(0)).save(source / "TCGA-BH-A0AU_1.png")
    table.write_text("patient,project\nTCGA-BH-A0AU,LUAD\n")
    config = CleanConfig.model_validate(
        {"corpus": "tcga", "studies": table, "wording": {"min_words": 1}}
    )
    with pytest.raises(DataError, match="no usable item of 1.*fewer than 1 words"):
        run(config, source, tmp_path / "clean")
    rows = {"file_name": "TCGA-BH-A0AU_1.png", "text": "a gland"}
    (source / "metadata.jsonl").write_text(json.dumps(rows))
    manifest = run(config, source, tmp_path / "clean")
    assert manifest.inputs["studies"] == sha256_file(table)
    assert json.loads((tmp_path / "clean/metadata.jsonl").read_text())["cancer"] == "LUAD"


def test_a_run_that_loses_too_much_fails(tmp_path):
    source = build_source(tmp_path / "source")
    with pytest.raises(DataError, match="8 of 12 items rejected"):
        run(CleanConfig(max_reject_fraction=0.5), source, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_what_is_not_there_and_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        run(CleanConfig(), tmp_path / "nowhere", tmp_path / "clean")
    with pytest.raises(ValidationError):
        CleanConfig(corpus="laion")
