"""Tiles get the summary of their report and their scores, or a reason why not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crafts
from crafts import cli
from crafts.captions.caption import Sources, join_caption, run
from crafts.captions.config import CaptionConfig
from crafts.captions.matching import Reports
from crafts.core import artifacts
from crafts.core.errors import ConfigError, DataError

TILES = (
    # file_name, slide, patient, x: two patients with one report, one without, one with two
    ("tiles/S1/0.png", "S1", "P1", 0),
    ("tiles/S1/1.png", "S1", "P1", 64),
    ("tiles/S2/0.png", "S2", "TCGA-AB-0001", 0),
    ("tiles/S3/0.png", "S3", "P3", 0),
    ("tiles/S4/0.png", "S4", "P4", 0),
)
SUMMARIES = (
    ("P1", "Invasive ductal carcinoma, left breast. Nottingham grade 3. Necrosis."),
    ("TCGA-AB-0001.1f2e", "Adenocarcinoma, colon. Poorly differentiated."),
    ("P4.a", "Oncocytoma, left kidney."),
    ("P4.b", "Oncocytoma, right kidney."),
)
LOOSE = {"max_reject_fraction": 0.9}


def count(text: str) -> int:
    return len(text.split()) + 2


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    folder = tmp_path / "tiles"
    with_header = ["file_name,slide,patient,x,y,extent,mpp,text,captions"]
    for number, (name, slide, patient, x) in enumerate(TILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 40 * number, np.uint8)).save(path)
        with_header.append(f"{name},{slide},{patient},{x},0,64,0.5,old,")
    (folder / "metadata.csv").write_text("\n".join(with_header) + "\n")
    return folder


@pytest.fixture
def summaries(tmp_path: Path) -> Path:
    path = tmp_path / "s.jsonl"
    rows = [json.dumps({"report_id": name, "summary": text}) for name, text in SUMMARIES]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(
        "slide,x,y,width,tumor,til\nS1,0,0,64,1.0,0.1\nS1,64,0,64,0.2,0.9\nS2,0,0,64,0.7,\n"
    )
    return path


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "metadata.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def rejects_of(output: Path) -> dict[str, str]:
    lines = (output / "rejects.jsonl").read_text().splitlines()
    return {row["item"]: row["reason"] for row in map(json.loads, lines)}


def test_summaries_find_their_tiles(tiles, summaries, tmp_path):
    output = tmp_path / "out"
    config = CaptionConfig(**LOOSE)
    manifest = run(config, Sources(tiles, summaries), output, count_tokens=count)
    assert manifest.counts == {"listed": 5, "used": 3, "rejected": 2}
    rows = rows_of(output)
    assert [row["text"] for row in rows] == [SUMMARIES[0][1]] * 2 + [SUMMARIES[1][1]]
    assert [row["report_id"] for row in rows] == ["P1", "P1", "TCGA-AB-0001.1f2e"]
    assert list(rows[0])[:2] == ["file_name", "text"] and "captions" not in rows[0]
    assert rejects_of(output) == {
        "tiles/S3/0.png": "no summary for S3",
        "tiles/S4/0.png": "2 reports of P4, none of them named for this slide",
    }
    for row in rows:
        assert (output / row["file_name"]).read_bytes() == (tiles / row["file_name"]).read_bytes()


def test_scores_come_first_and_one_is_in_the_top_bin(tiles, summaries, scores, tmp_path):
    output = tmp_path / "out"
    config = CaptionConfig(**LOOSE)
    run(config, Sources(tiles, summaries, scores), output, count_tokens=count)
    rows = rows_of(output)
    assert [row["text"].rpartition(";")[0] for row in rows] == [
        "high tumor; low til", "low tumor; high til",
    ]  # fmt: skip
    assert rows[0]["score_tumor"] == "1.0"
    assert rejects_of(output)["tiles/S2/0.png"] == (
        "no score of til; set kinds to those of the file, or missing_scores=omit"
    )


def test_missing_scores_may_be_omitted(tiles, summaries, scores, tmp_path):
    output = tmp_path / "out"
    config = CaptionConfig(**LOOSE, missing_scores="omit", grammar="sentences", levels=3)
    run(config, Sources(tiles, summaries, scores), output, count_tokens=count)
    assert [row["text"].partition(",")[0] for row in rows_of(output)] == [
        "Much tumor. Few lymphocytes. Invasive ductal carcinoma",
        "Little tumor. Many lymphocytes. Invasive ductal carcinoma",
        "Much tumor. Adenocarcinoma",
    ]


def test_scores_alone_stand_before_the_text_that_a_tile_has(tiles, scores, tmp_path):
    output = tmp_path / "out"
    run(CaptionConfig(**LOOSE), Sources(tiles, scores=scores), output, count_tokens=count)
    assert rows_of(output)[0]["text"] == "high tumor; low til; old"


def test_computed_scores(tiles, tmp_path):
    output = tmp_path / "out"
    (tiles / "tiles/S3/0.png").write_bytes(b"no image")
    config = CaptionConfig(**LOOSE, compute=True)
    run(config, Sources(tiles), output, count_tokens=count)
    assert len(rows_of(output)) == 4
    assert rows_of(output)[0]["text"].startswith("low til; low stroma; low fat; old")
    assert rejects_of(output) == {"tiles/S3/0.png": "an image that does not open"}


def test_nothing_is_computed_of_fluorescence(tiles, tmp_path):
    rows = rows_of(tiles)
    for number, row in enumerate(rows):
        row["imaging"] = "brightfield" if number else "fluorescence"
    with (tiles / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    config = CaptionConfig(**LOOSE, compute=True)
    run(config, Sources(tiles), tmp_path / "out", count_tokens=count)
    assert rejects_of(tmp_path / "out") == {
        rows[0]["file_name"]: "no score of til, stroma, fat; set kinds to those of the file, or "
        "missing_scores=omit"
    }


def test_the_budget_takes_sentences_then_scores():
    said, summary = ["high tumor;", "low til;"], "Adenocarcinoma, colon. Grade 2. Necrosis."
    found = {n: join_caption(said, summary, tokens=n, count=count) for n in (11, 10, 8, 7, 6, 4, 3)}
    assert found == {
        11: "high tumor; low til; Adenocarcinoma, colon. Grade 2. Necrosis.",
        10: "high tumor; low til; Adenocarcinoma, colon. Grade 2.",
        8: "high tumor; low til; Adenocarcinoma, colon.",
        7: "high tumor; Adenocarcinoma, colon.",
        6: "high tumor; Adenocarcinoma, colon.",
        4: "Adenocarcinoma, colon.",
        3: "",
    }


def test_captions_within_the_budget_only(tiles, summaries, tmp_path):
    output = tmp_path / "out"
    config = CaptionConfig(**LOOSE, tokens=7)
    run(config, Sources(tiles, summaries), output, count_tokens=count)
    assert all(count(row["text"]) == int(row["caption_tokens"]) <= 7 for row in rows_of(output))


def test_summaries_that_identify_are_not_used(tiles, summaries, tmp_path):
    rows = [{"report_id": "P1", "summary": "Carcinoma, seen by Dr. Quillfeather."}]
    rows.append({"report_id": "P3", "summary": "Carcinoma of the colon."})
    summaries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "out"
    run(CaptionConfig(**LOOSE), Sources(tiles, summaries), output, count_tokens=count)
    assert rejects_of(output)["tiles/S1/0.png"] == "a summary with words that may identify"
    assert "Quillfeather" not in (output / "metadata.csv").read_text()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside.png", "no path of an image within the folder"),
        ("/etc/passwd", "no path of an image within the folder"),
        ("", "no path of an image within the folder"),
        ("tiles/S1/0.png", "listed before"),
        ("./tiles//S1/0.png", "listed before"),
        ("./metadata.csv", "no path of an image within the folder"),
        ("rejects.jsonl", "no path of an image within the folder"),
        ("tiles/none.png", "no such file"),
    ],
)
def test_bad_rows_are_rejected(tiles, summaries, tmp_path, name, reason):
    with (tiles / "metadata.csv").open("a") as handle:
        handle.write(f"{name},S1,P1,0,0,64,0.5,,\n")
    output = tmp_path / "out"
    manifest = run(CaptionConfig(**LOOSE), Sources(tiles, summaries), output, count_tokens=count)
    assert manifest.counts["listed"] == 6
    assert rejects_of(output)[name or "row 6"] == reason


def test_scores_of_tiles_with_one_name_need_a_slide(tiles, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("slide,file_name,tumor\nS1,0.png,0.9\nS2,0.png,0.1\n")
    config = CaptionConfig(**LOOSE, kinds=("tumor",))
    run(config, Sources(tiles, None, table), tmp_path / "out", count_tokens=count)
    said = {row["file_name"]: row["text"] for row in rows_of(tmp_path / "out")}
    assert said["tiles/S1/0.png"].startswith("high tumor")
    assert said["tiles/S2/0.png"].startswith("low tumor")
    assert len(said) == 2
    table.write_text("file_name,tumor\n0.png,0.9\n")
    with pytest.raises(DataError, match=r"'0.png', which names tiles/S1/0.png and tiles/S2/0.png"):
        run(config, Sources(tiles, None, table), tmp_path / "o", count_tokens=count)


def test_a_place_that_is_no_number_is_no_place(tiles, tmp_path):
    text = (tiles / "metadata.csv").read_text().replace("S1,P1,64", "S1,P1,nan")
    (tiles / "metadata.csv").write_text(text)
    square = {"type": "Polygon", "coordinates": [[[0, 0], [64, 0], [64, 64], [0, 64]]]}
    feature = {"geometry": square, "properties": {"classification": {"name": "Tumor"}}}
    (tmp_path / "S1.geojson").write_text(json.dumps({"features": [feature]}))
    config = CaptionConfig(**LOOSE, kinds=("tumor",))
    run(config, Sources(tiles, None, tmp_path / "S1.geojson"), tmp_path / "o", count_tokens=count)
    assert rejects_of(tmp_path / "o")["tiles/S1/1.png"].startswith("no score of tumor;")


def test_a_slide_names_its_report_before_the_patient_does():
    reports = Reports(iter([{"report_id": n, "summary": n} for n in ("P4.a", "P4.b", "S4")]))
    assert reports.find({"slide": "S4", "patient": "P4"}, "auto") == ("S4", "")
    assert reports.find({"report_id": "P4.b", "patient": "P4"}, "auto") == ("P4.b", "")
    assert reports.find({"slide": "S4", "patient": "P9"}, "patient")[1] == "no summary for P9"
    assert reports.find({}, "slide")[1] == "no slide to find a report by"


@pytest.mark.parametrize("place", ["link", "copy", "symlink"])
def test_pack_reads_the_output(tiles, summaries, tmp_path, place):
    output, shards = tmp_path / "deep" / "out", tmp_path / "shards"
    run(CaptionConfig(**LOOSE, place=place), Sources(tiles, summaries), output, count_tokens=count)
    manifest = crafts.pack({}, output, shards)
    assert manifest.counts["used"] == 3 and manifest.counts["rejected"] == 0


def test_the_same_input_gives_the_same_bytes(tiles, summaries, scores, tmp_path):
    for name in ("a", "b"):
        run(
            CaptionConfig(**LOOSE), Sources(tiles, summaries, scores), tmp_path / name,
            count_tokens=count,
        )  # fmt: skip
    for file in ("metadata.csv", "rejects.jsonl", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_errors_name_what_to_do(tiles, summaries, tmp_path):
    with pytest.raises(ConfigError, match="neither"):
        run(CaptionConfig(), Sources(tiles), tmp_path / "o", count_tokens=count)
    with pytest.raises(ConfigError, match=r"no metadata\.csv"):
        run(CaptionConfig(), Sources(tmp_path, summaries), tmp_path / "o", count_tokens=count)
    with pytest.raises(DataError, match="2 of 5 items rejected"):
        run(
            CaptionConfig(max_reject_fraction=0.1), Sources(tiles, summaries), tmp_path / "o",
            count_tokens=count,
        )  # fmt: skip
    assert (tmp_path / "o.rejects.jsonl").is_file() and not (tmp_path / "o").exists()
    summaries.write_text(summaries.read_text() * 2)
    with pytest.raises(DataError, match="two rows of report 'P1'"):
        run(CaptionConfig(), Sources(tiles, summaries), tmp_path / "o", count_tokens=count)
    summaries.write_bytes(b'{"report_id": "\xff", "summary": ""}')
    with pytest.raises(DataError, match="line 1: no row of summaries"):
        run(CaptionConfig(), Sources(tiles, summaries), tmp_path / "o", count_tokens=count)
    (tiles / "metadata.csv").write_bytes(b"file_name\n\xe9.png\n")
    with pytest.raises(DataError, match="byte 10 is not UTF-8"):
        run(CaptionConfig(compute=True), Sources(tiles), tmp_path / "o", count_tokens=count)
    (tiles / "metadata.csv").write_text("name\na.png\n")
    with pytest.raises(DataError, match="a column file_name"):
        run(CaptionConfig(compute=True), Sources(tiles), tmp_path / "o", count_tokens=count)


def test_the_command(tiles, summaries, scores, tmp_path, tiny_model, capsys):
    output = tmp_path / "out"
    arguments = ["caption", str(tiles), "--output", str(output), "--summaries", str(summaries)]
    arguments += ["--scores", str(scores), "--set", "max_reject_fraction=0.9"]
    arguments += ["--set", f"tokenizer={tiny_model}"]
    assert cli.run([*arguments, "--dry-run"]) == 0 and not output.exists()
    assert "grammar: pathldm" in capsys.readouterr().out
    assert cli.run(arguments) == 0
    assert rows_of(output)[0]["text"].startswith("high tumor; low til; Invasive")


@pytest.mark.parametrize("name", ["tiles", "link", "here/../tiles"])
def test_the_folder_of_the_tiles_is_never_the_output(tiles, summaries, tmp_path, name):
    (tmp_path / "link").symlink_to("tiles")
    (tmp_path / "here").mkdir()
    artifacts.finish(tiles, stage="caption", config={})
    before = {file: file.read_bytes() for file in tiles.rglob("*") if file.is_file()}
    output = tmp_path / name
    with pytest.raises(ConfigError, match="the folder of the input"):
        run(CaptionConfig(**LOOSE), Sources(tiles, summaries), output, count_tokens=count)
    assert {file: file.read_bytes() for file in tiles.rglob("*") if file.is_file()} == before


def test_the_output_of_another_stage_is_not_replaced(tiles, summaries, tmp_path):
    other = tmp_path / "shards"
    with artifacts.staging(other, "pack") as folder:
        artifacts.finish(folder, stage="pack", config={})
    with pytest.raises(ConfigError, match="a finished artifact of stage 'pack'"):
        run(CaptionConfig(**LOOSE), Sources(tiles, summaries), other, count_tokens=count)


def test_a_tile_of_glass_gets_no_computed_scores(tiles, tmp_path):
    Image.new("RGB", (64, 64), (250, 250, 250)).save(tiles / TILES[0][0])
    output = tmp_path / "out"
    config = CaptionConfig(**LOOSE, compute=True)
    run(config, Sources(tiles), output, count_tokens=count)
    assert rejects_of(output)[TILES[0][0]] == "next to no tissue to compute scores of"
