"""The stage: folders in, verdicts and figures out."""

from __future__ import annotations

import csv
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from crafts import api, cli
from crafts.auditing.audit import run
from crafts.auditing.config import AuditConfig
from crafts.auditing.membership import Target
from crafts.auditing.results import Results
from crafts.core.artifacts import verify
from crafts.core.errors import ConfigError, DataError


@pytest.fixture
def folders(painted, write_tiles):
    """Twelve training tiles, twelve held-out ones, and six generated ones with two copies."""
    train = {f"t{k:02d}.png": painted(k) for k in range(12)}
    heldout = {f"h{k:02d}.png": painted(20 + k) for k in range(12)}
    mirrored = np.ascontiguousarray(painted(3)[:, ::-1])
    generated = {f"g{k}.png": painted(40 + k) for k in range(4)}
    generated |= {"g4.png": painted(1), "g5.png": mirrored}
    rows = ["file_name,text,patient,split,set"]
    rows += [f"t{k:02d}.png,a gland,p{k},train,painted" for k in range(12)]
    rows += [f"h{k:02d}.png,a gland,q{k},heldout,painted" for k in range(12)]
    real = write_tiles("real", {**train, **heldout}, rows)
    plain = ["file_name,text", *(f"{name},a gland" for name in generated)]
    return write_tiles("generated", generated, plain), real


def config_of(folders, **more):
    values = {"generated": folders[0], "train": folders[1], "heldout": folders[1], **more}
    return AuditConfig.model_validate(values)


def read(output):
    with (output / "copies.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    results = Results.model_validate_json((output / "audit.json").read_text(encoding="utf-8"))
    return results, {row["name"]: row for row in rows}


def test_one_folder_gives_both_splits_and_planted_copies_are_found(
    folders, plain_features, tmp_path
):
    output = tmp_path / "audit"
    manifest = run(config_of(folders), None, output, build=plain_features)
    results, rows = read(output)
    assert [(one.name, one.split, one.used) for one in results.sets] == [
        ("generated", "", 6),
        ("train", "train", 12),
        ("heldout", "heldout", 12),
    ]
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "g0.png": "clear",
        "g1.png": "clear",
        "g2.png": "clear",
        "g3.png": "clear",
        "g4.png": "copy",
        "g5.png": "copy",
    }
    assert (rows["g4.png"]["kind"], rows["g4.png"]["source"]) == ("exact pixels", "t01.png") or (
        rows["g4.png"]["kind"] == "exact file"
    )
    assert (rows["g5.png"]["kind"], rows["g5.png"]["how"]) == ("turned", "mirrored")
    assert rows["g5.png"]["source"] == "t03.png"
    assert rows["g4.png"]["neighbour"] == "t01.png"
    assert float(rows["g4.png"]["ratio"]) < 0.01
    assert rows["g4.png"]["authentic"] == "False"
    assert (results.copies.copies.count, results.copies.copies.of) == (2, 6)
    assert results.copies.heldout.count == 0
    assert [one.name for one in results.membership] == ["features", "blind"]
    assert results.passed and results.extraction is None
    assert manifest.counts == {"listed": 30, "used": 30, "rejected": 0, "copies": 2}
    verify(output)
    assert set(manifest.files) == {"audit.json", "copies.csv", "rejects.jsonl", "report.html"}
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "mirrored" in page and 'src="http' not in page


def test_a_copy_rate_above_the_limit_fails_after_everything_is_written(
    folders, plain_features, tmp_path
):
    output = tmp_path / "audit"
    with pytest.raises(DataError, match=r"2 copies .* among 6 .*at most 10 % .*report.html"):
        run(config_of(folders, fail_above=0.1), None, output, build=plain_features)
    results, rows = read(verify(output) and output)
    assert not results.passed and len(rows) == 6
    run(config_of(folders, fail_above=0.5), None, tmp_path / "other", build=plain_features)


def test_damaged_images_are_counted_with_their_reason(folders, plain_features, tmp_path):
    generated, real = folders
    (generated / "g0.png").write_bytes(b"no image")
    (real / "t05.png").write_bytes((real / "t05.png").read_bytes()[:500])
    Image.new("RGB", (20, 20)).save(generated / "g1.png")
    output = tmp_path / "audit"
    values = config_of(folders, max_reject_fraction=0.5)
    manifest = run(values, None, output, build=plain_features)
    results, rows = read(output)
    assert manifest.counts == {"listed": 30, "used": 27, "rejected": 3, "copies": 2}
    assert all(one.used + one.rejected == one.listed for one in results.sets)
    rejects = [json.loads(line) for line in (output / "rejects.jsonl").read_text().splitlines()]
    assert [one["item"] for one in rejects] == [
        "generated/g0.png",
        "generated/g1.png",
        "train/t05.png",
    ]
    assert rows["g0.png"]["verdict"] == rows["g1.png"]["verdict"] == "rejected"
    assert "shorter side must have 32" in rows["g1.png"]["reason"]
    with pytest.raises(DataError, match="audit: generated: input: 2 of 6 items rejected"):
        run(config_of(folders), None, tmp_path / "strict", build=plain_features)
    assert not (tmp_path / "strict").exists()


def test_without_held_out_tiles_the_page_says_so(folders, plain_features, tmp_path):
    output = tmp_path / "audit"
    values = config_of(folders, heldout=None)
    run(values, None, output, build=plain_features)
    results, rows = read(output)
    assert results.copies.correlation_threshold.source == "default"
    assert results.copies.ratio_threshold is None and results.membership == []
    assert any("No held-out tiles were given" in note for note in results.notes)
    assert rows["g0.png"]["ratio"] == "" and rows["g5.png"]["verdict"] == "copy"


def test_real_tiles_on_both_sides_are_shown_as_leaks(folders, plain_features, painted, tmp_path):
    Image.fromarray(painted(7)[::-1]).save(folders[1] / "h02.png")
    output = tmp_path / "audit"
    run(config_of(folders), None, output, build=plain_features)
    results = read(output)[0]
    assert results.copies.heldout.count == 1
    assert [(one.name, one.source) for one in results.copies.leaks] == [("h02.png", "t07.png")]
    assert any("1 of 12 held-out tiles show the same structure" in one for one in results.notes)
    assert {one.nonmembers for one in results.membership} == {11}


def test_a_model_is_attacked(folders, plain_features, painted, tmp_path):
    def losses_of(images, texts):
        assert set(texts) == {"a gland"}
        return np.array([float(image.mean()) for image in images])

    def make_images(prompt, number):
        return [Image.fromarray(painted(6 if k % 2 else 50 + k)) for k in range(number)]

    target = Target("toy", "f00d", losses_of, make_images)
    output = tmp_path / "audit"
    values = config_of(folders, model="toy", seeds=4, captions=1)
    manifest = run(values, None, output, build=plain_features, target=target)
    results = read(output)[0]
    assert [one.name for one in results.membership] == ["loss", "features", "blind"]
    assert results.model == {"name": "toy", "fingerprint": "f00d"}
    assert (results.extraction.copies.count, results.extraction.copies.of) == (2, 4)
    assert results.extraction.captions[0].repeats == 12
    assert manifest.inputs == {"model": "f00d"}
    assert "extracted/0-1.png" in manifest.files
    for path in output.glob("extracted/*.png"):
        assert b"trainedAlgorithmicMedia" in path.read_bytes()


def test_tiles_of_other_folders_are_read_where_the_user_allows_it(
    folders, plain_features, tmp_path
):
    table = folders[0] / "metadata.csv"
    table.write_text(table.read_text() + "../real/t05.png,a gland\n")
    with pytest.raises(DataError, match="columns.outside=true allows it"):
        run(config_of(folders), None, tmp_path / "strict", build=plain_features)
    values = config_of(folders, columns={"outside": True})
    build = partial(plain_features, columns=values.columns.as_columns())
    run(values, None, tmp_path / "audit", build=build)
    results, rows = read(tmp_path / "audit")
    assert results.copies.copies.count == 3 and rows["../real/t05.png"]["source"] == "t05.png"


def test_the_same_images_twice_are_refused(folders, plain_features, tmp_path):
    for values in ({"generated": folders[1], "train_split": ""}, {"heldout_split": "train"}):
        with pytest.raises(ConfigError, match="the same images for two of .*different folders"):
            run(config_of(folders, **values), None, tmp_path / "audit", build=plain_features)


def test_a_patient_on_both_sides_is_refused_before_any_work(folders, plain_features, tmp_path):
    table = folders[1] / "metadata.csv"
    table.write_text(table.read_text().replace(",q7,heldout", ",p7,heldout"))
    with pytest.raises(DataError, match="--heldout and --train: 1 patients in both, .* 'p7'"):
        run(config_of(folders), None, tmp_path / "audit", build=plain_features)
    assert not (tmp_path / "audit").exists()
    table.write_text(table.read_text().replace(",p3,train", ",,train"))
    run(config_of(folders), None, tmp_path / "audit", build=plain_features)
    notes = read(tmp_path / "audit")[0].notes
    assert any(note.startswith("Patients are not named in both real sets") for note in notes)


def test_folders_that_are_not_there_are_refused(folders, plain_features, tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        run(config_of((tmp_path / "no", folders[1])), None, tmp_path / "a", build=plain_features)
    with pytest.raises(ConfigError, match="no image of split 'test2'"):
        run(config_of(folders, train_split="test2"), None, tmp_path / "a", build=plain_features)


def test_the_command_writes_a_page_and_leaves_with_3(folders, tmp_path, capsys):
    output = tmp_path / "audit"
    arguments = ["audit", "--generated", str(folders[0]), "--train", str(folders[1])]
    arguments += ["--heldout", str(folders[1]), "--output", str(output)]
    assert cli.run([*arguments, "--dry-run"]) == 0
    assert "fail_above: null" in capsys.readouterr().out
    assert not output.exists()
    assert cli.run([*arguments, "--fail-above", "0.2"]) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert "2 copies of training tiles among 6 generated tiles (33.33 %)" in message
    assert "at most 20 % (--fail-above)" in message
    assert (output / "report.html").is_file() and (output / "manifest.json").is_file()
    assert cli.run([*arguments, "--fail-above", "2"]) == 2
    assert "fail_above" in capsys.readouterr().err
    told = tmp_path / "told"
    assert cli.run([*arguments[:-1], str(told)]) == 0
    counted, line = capsys.readouterr().out.splitlines()
    assert "used" in counted and "rejected" in counted and "listed" in counted
    assert line.startswith("2 copies among 6 generated tiles (95 %: ")
    assert line.endswith(f"; open {told / 'report.html'}")


def test_the_target_of_the_api_answers_to_tiles_and_prompts(tiny_model, folders, painted):
    config = config_of(folders, model=str(tiny_model), timesteps=(10, 400))
    target = api._target(config)
    losses = target.losses_of([painted(0), painted(1)], ["a gland", ""])
    assert losses.shape == (2,) and np.isfinite(losses).all()
    images = target.make_images("a gland", 2)
    assert [image.size for image in images] == [(32, 32)] * 2
    assert np.asarray(images[0]).tolist() != np.asarray(images[1]).tolist()
