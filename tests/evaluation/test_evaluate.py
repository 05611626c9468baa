"""The stage on painted tissue with the encoder in the package: rows, marks, refusals, the gate."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from crafts import cli
from crafts.core.artifacts import MANIFEST, sha256_file, verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.evaluation.evaluate import EvaluateConfig, run
from crafts.evaluation.gate import GATE
from crafts.evaluation.results import Measured, Results
from crafts.model.vision.image_encoders import open_encoder

SIZE = 32
LABELS = ("glands", "stroma", "fat")
CAPTIONS = {"glands": "glands in stroma", "stroma": "fibrous stroma", "fat": "adipose tissue"}
SMALL = {"map_images": 40, "pixel_images": 60, "device": "cpu"}


def paint(folder: Path, count: int, number: int, **fields) -> Path:
    """Tiles in a folder with a table, four to a patient."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        tile = paint_tile(seed=number, index=index, size=SIZE, classes=LABELS)
        name = f"images/{number}-{index}.png"
        Image.fromarray(tile.image).save(folder / name)
        given = {key: value(index) if callable(value) else value for key, value in fields.items()}
        rows.append({"file_name": name, "text": CAPTIONS[label], "label": label, **given})
    return write_table(folder, rows)


def write_table(folder: Path, rows) -> Path:
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def encoder():
    return open_encoder("mini", device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """``generated`` (blurred, with seeds), ``real`` with both splits, by patient."""
    base = tmp_path_factory.mktemp("sets")
    paint(
        base / "real", 144, 1,
        patient=lambda k: f"p{k // 4}",
        split=lambda k: "heldout" if k < 72 else "train",
        power=lambda k: "low" if k // 4 % 2 else "high",
    )  # fmt: skip
    made = paint(base / "generated", 36, 2, seed=lambda k: k, k=0)
    for path in (made / "images").iterdir():
        image = Image.open(path)
        image.resize((8, 8)).resize((SIZE, SIZE)).save(path)
    rows = [{key: row[key] for key in row if key != "label"} for row in read_rows(made)]
    write_table(made, rows)
    return base


def config(base: Path, **values) -> EvaluateConfig:
    given = {"generated": base / "generated", "real": base / "real", **SMALL, **values}
    given.setdefault("cache", base.parent / "cache")
    return EvaluateConfig.model_validate(given)


@pytest.fixture(scope="module")
def evaluated(folders, encoder, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("out") / "evaluation"
    given = config(folders, train=folders / "real", filter=True, save_statistics=True)
    run(given, None, output, encoder=encoder)
    return output


@pytest.fixture(scope="module")
def results(evaluated) -> Results:
    return Results.model_validate_json((evaluated / "metrics.json").read_text())


def test_the_folder_is_whole_and_says_what_it_is(evaluated, folders, results):
    manifest = verify(evaluated)
    assert manifest.stage == "evaluate"
    counts = {"listed": 180, "used": 180, "rejected": 0, "compared": results.n}
    assert manifest.counts == counts
    assert {f"features/{name}.{end}" for name in ("generated", "heldout", "train")
            for end in ("npz", "h5")} <= set(manifest.files)  # fmt: skip
    assert {"metrics.json", "features/map.json", "report.html", GATE} <= set(manifest.files)
    assert set(manifest.inputs) == {"generated", "heldout", "train"}
    assert str(folders) not in (evaluated / MANIFEST).read_text()
    assert "<img" in (evaluated / "report.html").read_text()


def test_splits_are_told_apart_in_one_folder(results):
    facts = {one.name: one for one in results.sets}
    assert (facts["heldout"].split, facts["heldout"].listed) == ("heldout", 72)
    assert (facts["train"].split, facts["train"].groups) == ("train", 18)
    assert facts["generated"].classes == {"fat": 12, "glands": 12, "stroma": 12}  # from prompts


def test_all_rows_have_one_number_and_the_floor_lies_below(results):
    rows = {row.key: row for row in results.rows if row.scope == "all"}
    assert list(rows) == ["heldout", "floor", "nearest", "train", "heldout_train"]
    assert {row.n for row in rows.values()} == {results.n} and 30 <= results.n <= 36
    assert results.matching == "class"
    values = {key: row.measures["kernel_distance"].value for key, row in rows.items()}
    assert values["floor"] < values["nearest"] < values["heldout"]
    assert values["heldout_train"] < values["train"]
    assert results.lead == "kernel_distance" and results.width == 128
    assert rows["heldout"].measures["frechet_distance"].value is None
    scopes = {(row.scope, row.name) for row in results.rows}
    assert {("all", ""), *(("class", name) for name in LABELS)} <= scopes
    assert "power" not in {row.scope for row in results.rows}, "prompts do not tell it"


def test_stains_are_clustered_where_no_column_names_them(results):
    assert len(results.stain_clusters) == 3
    for name in ("generated", "heldout", "train"):
        total = sum(one.shares[name] for one in results.stain_clusters)
        assert total == pytest.approx(1)
    names = {one.name for one in results.stain_clusters}
    rows = {row.name for row in results.rows if row.scope == "stain_cluster"}
    left = {key.partition(": ")[2] for key in results.left_out if key.startswith("stain_cluster")}
    assert rows | left == names and not rows & left, "a row, or the reason why not"


def test_glands_of_every_set_and_class_stand_beside_each_other(results):
    rows = {(row.set, row.name): row for row in results.structure}
    assert [key for key in rows if not key[1]] == [
        ("generated", ""), ("heldout", ""), ("train", "")
    ]  # fmt: skip
    assert {name for of, name in rows if of == "generated" and name} == set(LABELS)
    assert all(0 <= row.glands <= 1 and row.n >= 10 for row in rows.values())


def test_the_diagnosis_says_that_it_was_made(results):
    found = results.diagnosed
    assert (found.done, found.generated, found.heldout) == (True, 36, 60)
    assert found.detail and found.why == ""
    assert {one["cause"] for one in results.diagnosis} <= {"blur", "compression"}
    assert results.diagnosis


def test_statistics_stand_in_for_the_folder_they_were_made_of(
    evaluated, folders, encoder, tmp_path
):
    path = evaluated / "statistics.npz"
    given = config(folders, real=path, train=folders / "real")
    manifest = run(given, None, tmp_path / "out", encoder=encoder)
    found = Results.model_validate_json((tmp_path / "out/metrics.json").read_text())
    assert manifest.inputs["statistics"] == found.statistics["sha256"] == sha256_file(path)
    assert (found.statistics["num_images"], found.statistics["split"]) == (72, "heldout")
    assert set(one.name for one in found.sets) == {"generated", "train"}
    rows = {row.key: row.measures for row in found.rows}
    assert list(rows) == ["heldout", "nearest", "train", "heldout_train"]
    assert rows["heldout"]["kernel_distance"].value > rows["nearest"]["kernel_distance"].value
    assert "statistics of 72 images, fewer than twice" in rows["heldout"]["frechet_distance"].why
    assert (found.repetition, found.repetitions, found.generations) == ("none", 1, [])
    assert found.diagnosed.why == "no held-out tiles to hold them against"
    assert not found.stains and not found.stain_clusters
    assert {mark.code for mark in found.marks if mark.loud} >= {"statistics"}
    assert {one.key for one in found.alignment} == {"generated", "shuffled", "nearest"}
    page = (tmp_path / "out/report.html").read_text()
    assert "there is no floor" in page and "<img" in page
    assert not (tmp_path / "out/features/heldout.npz").exists()


def test_statistics_that_do_not_fit_are_refused(evaluated, folders, encoder, tmp_path):
    path, output = evaluated / "statistics.npz", tmp_path / "out"
    with pytest.raises(ConfigError, match="--filter: statistics .* for --real; expected a folder"):
        run(config(folders, real=path, filter=True), None, output, encoder=encoder)
    np.savez(tmp_path / "fid.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(ConfigError, match="statistics of pytorch-fid .* expected of mini"):
        run(config(folders, real=tmp_path / "fid.npz"), None, output, encoder=encoder)
    with pytest.raises(ConfigError, match="no such file; expected a .npz of statistics"):
        run(config(folders, real=tmp_path / "absent.npz"), None, output, encoder=encoder)
    assert not output.exists()


def test_tiles_of_another_size_are_marked_and_not_judged_for_blur(folders, encoder, tmp_path):
    base = shutil.copytree(folders / "generated", tmp_path / "generated")
    for path in (base / "images").iterdir():
        Image.open(path).resize((2 * SIZE, 2 * SIZE)).save(path)
    run(config(folders, generated=base), None, tmp_path / "out", encoder=encoder)
    found = Results.model_validate_json((tmp_path / "out/metrics.json").read_text())
    loud = {mark.code: mark.text for mark in found.marks if mark.loud}
    assert "64 px at unknown µm a pixel, held-out tiles 32 px" in loud["scales_differ"]
    assert found.diagnosed.done and not found.diagnosed.detail
    assert "cannot be compared between two scales" in found.diagnosed.why
    assert not {"blur", "compression"} & {one["cause"] for one in found.diagnosis}


def test_marks_tell_what_misleads(results):
    marks = {mark.code: mark for mark in results.marks}
    assert {"shared_prompts", "few_images", "no_generations"} <= set(marks)
    assert results.prompts.both == 36 and "36 of 36 prompts" in marks["shared_prompts"].text


def test_the_gate_accounts_for_every_tile(evaluated, results):
    gate = results.gate
    assert gate.kept + gate.refused == gate.listed == 36
    assert sum(gate.reasons.values()) == gate.refused
    assert {name: one["listed"] for name, one in gate.classes.items()} == dict.fromkeys(LABELS, 12)
    rows = read_rows(evaluated / "kept") if gate.kept else []
    kept = sorted(path.name for path in (evaluated / "kept/images").iterdir())
    assert len(kept) == gate.kept == len(rows)
    with (evaluated / "refused.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == gate.refused
    assert gate.refused > 0, "blurred tiles"


def test_numbers_are_strict_json(evaluated, results):
    text = (evaluated / "metrics.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert Results.model_validate_json(text) == results
    assert Measured(value=float("nan")).value is None
    assert json.loads((evaluated / "features/map.json").read_text())["version"] == 1


def test_folders_of_generations_give_a_spread_of_their_own(folders, encoder, tmp_path):
    for seed in range(5):
        paint(tmp_path / f"many/run{seed}", 12, seed, seed=seed)
    given = config(folders, generated=tmp_path / "many")
    run(given, None, tmp_path / "out", encoder=encoder)
    found = Results.model_validate_json((tmp_path / "out/metrics.json").read_text())
    assert [one.name for one in found.generations] == [f"run{k}" for k in range(5)]
    assert found.repetition == "generations" and found.rows[0].n == 12
    assert found.rows[0].measures["kernel_distance"].kind == "generations"


def test_bad_images_are_counted_and_odd_ones_used(folders, encoder, tmp_path):
    base = shutil.copytree(folders / "generated", tmp_path / "generated")
    rows = read_rows(base)
    files = [base / row["file_name"] for row in rows]
    files[0].write_bytes(b"no image")
    files[1].write_bytes(files[1].read_bytes()[:200])
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(files[2])
    Image.open(files[3]).convert("L").save(files[3])
    Image.open(files[4]).convert("RGBA").save(files[4])
    Image.open(files[5]).resize((50, 40)).save(files[5])
    manifest = run(
        config(folders, generated=base, filter=True), None, tmp_path / "out", encoder=encoder
    )
    assert (manifest.counts["listed"], manifest.counts["rejected"]) == (108, 3)
    rejected = (tmp_path / "out/rejects.jsonl").read_text().splitlines()
    assert len(rejected) == 3 and all('"generated: ' in line for line in rejected)
    found = Results.model_validate_json((tmp_path / "out/metrics.json").read_text())
    assert found.gate.reasons["unreadable"] == 3 and found.gate.kept + found.gate.refused == 36
    assert {mark.code for mark in found.marks if mark.loud} == {"prompts_not_checked"}
    assert {row.key for row in found.rows} == {"heldout", "floor"}, "no training set was given"


def _only(folder: Path, count: int) -> Path:
    return write_table(folder, read_rows(folder)[:count])


def test_linked_tiles_are_read_where_the_user_allows_it(folders, encoder, link_tiles, tmp_path):
    base = [link_tiles(folders / name) for name in ("generated", "real")][0].parent
    with pytest.raises(DataError, match="columns.outside=true allows it"):
        run(config(base), None, tmp_path / "strict", encoder=encoder)
    given = config(base, columns={"outside": True})
    manifest = run(given, None, tmp_path / "out", encoder=encoder)
    assert manifest.counts["listed"] == manifest.counts["used"] == 36 + 72


def test_one_image_is_too_few_and_leaves_nothing(folders, encoder, tmp_path):
    base = _only(shutil.copytree(folders / "generated", tmp_path / "generated"), 1)
    with pytest.raises(DataError, match="1 generated images; expected at least 10"):
        run(config(folders, generated=base), None, tmp_path / "out", encoder=encoder)
    assert not (tmp_path / "out").exists()


def test_no_usable_image_and_an_empty_folder_are_refused(folders, encoder, tmp_path):
    base = shutil.copytree(folders / "generated", tmp_path / "generated")
    for row in read_rows(base):
        (base / row["file_name"]).write_bytes(b"")
    with pytest.raises(DataError, match="no usable image of 36"):
        run(config(folders, generated=base), None, tmp_path / "out", encoder=encoder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no tile in it"):
        run(config(folders, generated=tmp_path / "empty"), None, tmp_path / "o", encoder=encoder)
    with pytest.raises(ConfigError, match="no such file or folder"):
        run(config(folders, real=tmp_path / "absent"), None, tmp_path / "o", encoder=encoder)


def test_one_folder_for_two_sets_is_refused(folders, encoder, tmp_path):
    given = config(folders, real=folders / "generated")
    with pytest.raises(ConfigError, match="the same images for two of"):
        run(given, None, tmp_path / "out", encoder=encoder)
    given = config(folders, train=folders / "real", real_split="", train_split="")
    with pytest.raises(ConfigError, match="one folder whose rows name their split"):
        run(given, None, tmp_path / "out", encoder=encoder)


def test_generated_tiles_given_as_real_are_refused(folders, encoder, tmp_path):
    base = shutil.copytree(folders / "generated", tmp_path / "generated")
    first = next((base / "images").iterdir())
    first.write_bytes(first.read_bytes() + b"digitalsourcetype/trainedAlgorithmicMedia")
    swapped = config(folders, generated=folders / "real", real=base)
    with pytest.raises(ConfigError, match="--real .*: generated images; expected real tiles"):
        run(swapped, None, tmp_path / "out", encoder=encoder)


def test_patients_in_both_real_sets_are_refused(folders, encoder, tmp_path):
    base = shutil.copytree(folders / "real", tmp_path / "real")
    rows = read_rows(base)
    rows[-1]["patient"] = "p0"
    write_table(base, rows)
    given = config(folders, real=base, train=base)
    with pytest.raises(DataError, match="1 patients in both, the first is 'p0'"):
        run(given, None, tmp_path / "out", encoder=encoder)


def test_unknown_splits_and_fields_are_refused(folders, encoder, tmp_path):
    with pytest.raises(ConfigError, match="no image of split 'nonsense'"):
        run(config(folders, real_split="nonsense"), None, tmp_path / "out", encoder=encoder)
    with pytest.raises(ConfigError, match="repetitions: 4"):
        load_config(EvaluateConfig, {"generated": "g", "real": "r", "repetitions": 4})
    with pytest.raises(ConfigError, match="generated: .*required"):
        load_config(EvaluateConfig, {"real": "r"})


def test_the_command_prints_its_configuration_and_names_faults_in_one_line(
    folders, tmp_path, capsys
):
    made, real = str(folders / "generated"), str(folders / "real")
    given = ["evaluate", "--generated", made, "--real", real, "--output", str(tmp_path / "out")]
    assert cli.run([*given, "--filter", "--set", "tails.alignment=0.1", "--dry-run"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["filter"], shown["tails"]["alignment"], shown["train"]) == (True, 0.1, None)
    assert shown["generated"] == made and not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    for changed, code, text in (
        ({made: str(tmp_path / "absent")}, 2, "no such file or folder"),
        ({made: str(tmp_path / "empty")}, 3, "no tile in it"),
        ({real: made}, 2, "the same images for two of"),
    ):
        assert cli.run([changed.get(part, part) for part in given]) == code
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("crafts: ") and text in line
    assert not (tmp_path / "out").exists()
    assert cli.run(given) == 0
    counted, line = capsys.readouterr().out.splitlines()
    assert "used" in counted and "rejected" in counted and "listed" in counted
    assert line.startswith(("Take care: ", "Alarm: ")) and "kernel distance" in line
    assert line.endswith(f". Open {tmp_path / 'out/report.html'}")
