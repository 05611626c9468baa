"""Figures in, clean panels out; whatever is dropped has its reason and is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from crafts.core.artifacts import sha256_file, verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError
from crafts.data.config import CleanConfig, PackConfig
from crafts.data.loader import ShardReader
from crafts.data.pack import run
from crafts.data.painter import paint_tile

ALL = PackConfig(clean=CleanConfig(), max_reject_fraction=0.2)
TEXT = "Glands in a loose stroma with a few lymphocytes"


def tissue(index: int, size: int = 160) -> np.ndarray:
    return paint_tile(seed=9, index=index, size=size).image


def build_source(folder: Path) -> Path:
    """One figure of each kind."""
    first, second = tissue(0), tissue(1)
    halves = "Gut. (A) Glands here. (B) More glands."
    gray = np.repeat(tissue(2).mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
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
        "e-grey": (gray, TEXT),
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


def count_words(text: str) -> int:
    return len(text.split())


def test_every_figure_is_used_or_has_its_reason(tmp_path):
    source, output = build_source(tmp_path / "source"), tmp_path / "shards"
    manifest = run(ALL, source, output, count_tokens={"words": count_words})
    rejects = {
        row["item"]: row["reason"]
        for row in map(json.loads, (output / "rejects.jsonl").read_text().splitlines())
    }
    assert rejects.pop("k-broken.png").startswith("not an image")
    assert rejects == REASONS
    counts = {name: manifest.counts[name] for name in ("listed", "used", "rejected")}
    assert counts == {"listed": 12, "used": 4, "rejected": 8}
    assert sum(manifest.extra["reasons"].values()) == 8
    assert manifest.extra["reasons"]["near copy of an image"] == 1
    verify(output)
    card = json.loads((output / "card.json").read_text())
    assert card["images"] == 4 and card["rejects"] == manifest.extra["reasons"]
    assert card["title"] == "source" and card["tokens"]["words"]["max"] == 9
    assert (output / "card.html").is_file()
    assert not (output / ".panels").exists()


def test_what_is_left_lies_in_the_shards(tmp_path):
    source, output = build_source(tmp_path / "source"), tmp_path / "shards"
    run(ALL, source, output)
    reader = ShardReader(output)
    rows = {row["key"]: row for row in reader.rows}
    assert list(rows) == ["a-first", "b-second", "f-panels-1", "f-panels-2"]
    assert np.array_equal(reader.image(0), tissue(0)) and np.array_equal(reader.image(3), tissue(8))
    panel = rows["f-panels-2"]
    assert panel["text"] == "Gut. More glands." and (panel["panel"], panel["panels"]) == (2, 2)
    assert panel["patient"] == rows["f-panels-1"]["patient"] == "figure:f-panels"


def test_panels_of_a_figure_stay_in_one_split(tmp_path):
    source = build_source(tmp_path / "source")
    halves = ALL.model_copy(update={"heldout": 0.5, "min_heldout": 1})
    for seed in range(4):
        run(halves.model_copy(update={"seed": seed}), source, tmp_path / "shards")
        rows = {row["key"]: row["split"] for row in ShardReader(tmp_path / "shards").rows}
        assert rows["f-panels-1"] == rows["f-panels-2"]
        assert set(rows.values()) == {"train", "heldout"}


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = build_source(tmp_path / "source")
    sums = []
    for name in ("one", "two"):
        run(ALL, source, tmp_path / name, count_tokens={"words": count_words})
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        sums.append({path.relative_to(tmp_path / name): sha256_file(path) for path in files})
    assert sums[0] == sums[1]


def test_every_rule_can_be_switched_off(tmp_path):
    source = build_source(tmp_path / "source")
    config = PackConfig.model_validate(
        {
            "clean": {
                "min_side": 64, "panels": False, "histology": False, "letters": False,
                "duplicates": False, "wording": {"english": False, "min_words": 1},
            }
        }
    )  # fmt: skip
    counts = run(config, source, tmp_path / "shards").counts
    assert (counts["listed"], counts["used"], counts["rejected"]) == (11, 10, 1)


@pytest.mark.parametrize(
    ("given", "panels"), [(["clean=true"], True), (["clean=true", "clean.panels=false"], False)]
)
def test_cleaning_is_switched_on_by_one_word(given, panels):
    config = load_config(PackConfig, None, given)
    assert config.clean is not None and config.clean.panels is panels and config.clean.histology
    assert load_config(PackConfig, None, ["clean=false"]) == PackConfig()


def test_a_caption_beside_many_images_is_capped(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    rows = []
    for index in range(5):
        Image.fromarray(tissue(index)).save(source / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "text": "A case of fat necrosis."})
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules = {"wording": {"max_repeats": 2}, "histology": False}
    run(PackConfig.model_validate({"clean": rules}), source, tmp_path / "shards")
    lines = (tmp_path / "shards/rejects.jsonl").read_text().splitlines()
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
    config = PackConfig(corpus="arch", clean=CleanConfig(), max_reject_fraction=0.25)
    manifest = run(config, source, tmp_path / "shards")
    assert (manifest.counts["listed"], manifest.counts["used"]) == (4, 3)
    assert manifest.extra["reasons"] == {"no image of this name": 1}
    row = ShardReader(tmp_path / "shards").rows[0]
    assert row["set"] == "arch" and row["licence"].startswith("CC BY-NC-SA")


def test_a_table_of_projects_is_named_by_its_hash(tmp_path):
    source, table = tmp_path / "tiles", tmp_path / "projects.csv"
    source.mkdir()
    Image.fromarray(tissue(0)).save(source / "TCGA-BH-A0AU_1.png")
    table.write_text("patient,project\nTCGA-BH-A0AU,LUAD\n")
    rules = {"wording": {"min_words": 1}}
    config = PackConfig.model_validate({"corpus": "tcga", "studies": table, "clean": rules})
    with pytest.raises(DataError, match="no usable item of 1.*fewer than 1 words"):
        run(config, source, tmp_path / "shards")
    assert "fewer than 1" in (tmp_path / "shards.rejects.jsonl").read_text()
    rows = {"file_name": "TCGA-BH-A0AU_1.png", "text": "a gland"}
    (source / "metadata.jsonl").write_text(json.dumps(rows))
    manifest = run(config, source, tmp_path / "shards")
    assert manifest.inputs["studies"] == sha256_file(table)
    assert ShardReader(tmp_path / "shards").rows[0]["cancer"] == "LUAD"


def test_faults_count_towards_failing_and_what_the_rules_drop_does_not(tmp_path):
    source = build_source(tmp_path / "source")
    config = ALL.model_copy(update={"max_reject_fraction": 0.1})
    with pytest.raises(DataError, match="1 of 5 items rejected.*k-broken"):
        run(config, source, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    (source / "k-broken.png").unlink()
    lines = (source / "metadata.jsonl").read_text().splitlines()[:-1]
    (source / "metadata.jsonl").write_text("\n".join(lines))
    assert run(config, source, tmp_path / "shards").counts["rejected"] == 7


def test_a_panel_with_the_name_of_another_image_is_rejected(tmp_path):
    source = build_source(tmp_path / "source")
    Image.fromarray(tissue(7)).save(source / "f-panels-1.png")
    with (source / "metadata.jsonl").open("a") as handle:
        handle.write(json.dumps({"file_name": "f-panels-1.png", "text": TEXT}) + "\n")
    lenient = ALL.model_copy(update={"max_reject_fraction": 0.5})
    counts = run(lenient, source, tmp_path / "shards").counts
    assert counts["used"] + counts["rejected"] == counts["listed"]
    rejects = map(json.loads, (tmp_path / "shards/rejects.jsonl").read_text().splitlines())
    reasons = {row["item"]: row["reason"] for row in rejects}
    assert reasons["f-panels.png#1"].startswith("the same key as f-panels-1.png")


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="clean"):
        load_config(PackConfig, None, ["clean.photographs=true"])
