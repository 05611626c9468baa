"""A whole fine-tune with networks of a few weights: it ends, goes on, and says what it found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts import api, cli
from crafts.core.artifacts import load_manifest, verify
from crafts.core.errors import ConfigError
from crafts.data.painter import paint_tile
from crafts.generation.export import read_provenance
from crafts.workflows.finetuning.clock import Pace, Plan, describe_plan, plan_encoding
from crafts.workflows.finetuning.config import (
    FinetuneConfig,
    build_recipe,
    configure,
    settings_for,
)
from crafts.workflows.finetuning.finetune import run
from crafts.workflows.finetuning.tiles import NAMELESS, pack_tiles, write_prompts

SMALL = ["num_steps=4", "variants=1", "images=8", "batch_size=4", "heldout=0.4"]


def write_tiles(folder: Path, number: int, labels: tuple[str, ...] = ("gland_a", "stroma_b")):
    for index in range(number):
        path = folder / labels[index % len(labels)] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint_tile(seed=1, index=index, size=48).image).save(path)
    return folder


def small(model: Path, *more: str) -> FinetuneConfig:
    return configure({"model": str(model)}, [*SMALL, *more])


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("tiles") / "tiles", 24)


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finetune") / "mine"
    run(small(tiny_model), tiles, output)
    return output


def test_the_model_is_ready_and_keeps_its_parents_licence(finished, tiny_model):
    child = api.load(finished / "model")
    assert child.licence == "Apache-2.0"
    assert child.bundle.fingerprint != api.load(tiny_model).bundle.fingerprint
    (image,) = child.generate("gland a", preset="fast", num_steps=2)
    assert image.size == (32, 32)
    verify(finished)


def test_pictures_before_and_after_have_the_same_prompts_and_seeds(finished, tiny_model):
    pairs = [sorted((finished / name / "images").glob("*.png")) for name in ("before", "after")]
    assert len(pairs[0]) == len(pairs[1]) == 8
    for one, two in zip(*pairs, strict=True):
        before, after = read_provenance(one), read_provenance(two)
        assert (before.prompt, before.seed, before.k) == (after.prompt, after.seed, after.k)
        assert before.model_sha256 != after.model_sha256
        assert before.prompt in ("gland a", "stroma b")
    assert read_provenance(finished / "sheet.png").prompt == "gland a\nstroma b"


def test_the_judge_gives_its_word_with_its_floor(finished):
    found = json.loads((finished / "result.json").read_text())
    assert found["verdict"] in ("improved", "worse", "not shown")
    assert found["split"] == "heldout" and found["tiles"] == found["groups"] >= 8
    for name in ("colour_and_structure", "structure"):
        assert {"before", "after", "floor"} <= {k for k, v in found[name].items() if v is not None}
    assert found["loss_before"] > 0 and 0 <= found["loss_fell"] <= found["tiles"]
    page = (finished / "report.html").read_text()
    assert found["says"].partition(" (")[0] in page and "gland a" in page


def test_held_out_tiles_are_not_trained_on_and_are_none_of_the_audits_training_tiles(finished):
    audit = json.loads((finished / "audit" / "audit.json").read_text())
    sets = {one["name"]: one["used"] for one in audit["sets"]}
    splits = load_manifest(finished / "shards").extra["splits"]
    assert sets == {"generated": 8, "train": splits["train"], "heldout": splits["heldout"]}


def test_a_finished_run_is_not_made_again(finished, tiles, tiny_model):
    before = (finished / "manifest.json").stat().st_mtime_ns
    run(small(tiny_model), tiles, finished)
    assert (finished / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "lost",
    [
        ("manifest.json",),
        ("manifest.json", "result.json", "sheet.png", "audit"),
        ("manifest.json", "audit", "after"),
        ("manifest.json", "audit", "after", "model", "training", "latents"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_end(finished, tiles, tiny_model, tmp_path, lost):
    output = tmp_path / "mine"
    shutil.copytree(finished, output)
    for name in lost:
        path = output / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(small(tiny_model), tiles, output)
    for name in ("model", "after", "audit"):
        assert load_manifest(output / name).files == load_manifest(finished / name).files
    assert (output / "result.json").read_bytes() == (finished / "result.json").read_bytes()


def test_other_tiles_or_options_are_refused(finished, tiles, tiny_model, tmp_path):
    output, other = tmp_path / "mine", tmp_path / "tiles"
    shutil.copytree(finished, output)
    shutil.copytree(tiles, other)
    (output / "manifest.json").unlink()
    next(other.rglob("*.png")).unlink()
    with pytest.raises(ConfigError, match="other tiles than those"):
        run(small(tiny_model), other, output)
    with pytest.raises(ConfigError, match="another configuration"):
        run(small(tiny_model, "lr=0.1"), tiles, output)


def test_too_few_tiles_are_trained_on_and_the_judge_says_that_it_cannot_tell(tiny_model, tmp_path):
    source = write_tiles(tmp_path / "tiles", 6)
    manifest = run(small(tiny_model, "images=4"), source, tmp_path / "mine")
    assert manifest.extra["verdict"] == "too few"
    assert "Not judged" in json.loads((tmp_path / "mine" / "result.json").read_text())["says"]
    assert (tmp_path / "mine" / "model" / "model_index.json").is_file()


def test_low_rank_additions_are_merged_into_the_new_model(tiny_model, tmp_path):
    pytest.importorskip("peft")
    source = write_tiles(tmp_path / "tiles", 6)
    run(small(tiny_model, "images=2", "method=lora"), source, tmp_path / "mine")
    assert json.loads((tmp_path / "mine/model/manifest.json").read_text())["config"]["lora"]
    api.load(tmp_path / "mine" / "model")


def test_tiles_without_text_and_folder_get_a_prompt(tmp_path):
    source = tmp_path / "tiles"
    source.mkdir()
    for index in range(6):
        Image.fromarray(paint_tile(seed=1, index=index, size=48).image).save(
            source / f"{index}.png"
        )
    (tmp_path / "out").mkdir()
    found = pack_tiles(FinetuneConfig(), source, tmp_path / "out", most=None)
    assert {row["text"] for row in found.rows} == {NAMELESS}
    assert write_prompts(found, 3, tmp_path / "prompts.csv") == [NAMELESS] * 3


def test_of_many_tiles_all_classes_and_splits_are_kept(tmp_path):
    source = write_tiles(tmp_path / "tiles", 40, ("a", "a", "a", "b"))
    (tmp_path / "out").mkdir()
    found = pack_tiles(FinetuneConfig(), source, tmp_path / "out", most=16)
    assert len(found.rows) == 16
    counts = {
        key: 0 for key in [("a", "train"), ("a", "heldout"), ("b", "train"), ("b", "heldout")]
    }
    for row in found.rows:
        counts[row["label"], row["split"]] += 1
    assert counts["a", "train"] > counts["b", "train"] > 0
    assert counts["a", "heldout"] and counts["b", "heldout"]
    ledger = load_manifest(found.shards).counts
    assert ledger["used"] + ledger["rejected"] == ledger["listed"] == 40


def test_microns_per_pixel_follow_the_tiles_to_the_size_of_the_model(tmp_path):
    source = write_tiles(tmp_path / "tiles", 4)
    rows = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*.png"))]
    table = "file_name,text,mpp\n" + "".join(f"{name},tissue,0.5\n" for name in rows)
    (source / "metadata.csv").write_text(table)
    (tmp_path / "out").mkdir()
    found = pack_tiles(FinetuneConfig(heldout=0), source, tmp_path / "out", most=None)
    assert found.mpp(32) == pytest.approx(0.75) and found.judged == ""


def test_the_clock_leaves_tiles_out_only_where_encoding_them_once_takes_too_long(tiny_model):
    bundle = api.load(tiny_model).bundle
    assert plan_encoding(bundle, 10, 10.0).tiles is None
    plan = plan_encoding(bundle, 10**9, 0.01)
    assert plan.variants == 1 and plan.tiles is not None and plan.tiles >= 16


def test_what_was_left_out_for_time_is_said_to_be(tmp_path, capsys):
    source = write_tiles(tmp_path / "tiles", 20)
    (tmp_path / "out").mkdir()
    found = pack_tiles(FinetuneConfig(minutes=5), source, tmp_path / "out", most=16)
    rejects = (found.shards / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in rejects] == [
        "not used: no time within --minutes 5"
    ] * 4
    assert "pack: 20 listed, 16 used, 4 rejected; splits " in capsys.readouterr().err


def test_the_plan_says_what_fits_and_when_all_is_done():
    pace = Pace(minutes=10, around=210, step=3.0)
    (line,) = describe_plan(Plan(), 160, pace)
    assert line == "plan: 160 tiles, 100 steps, about 10 min in all"


def test_few_steps_are_warned_of_with_what_would_do():
    pace = Pace(minutes=5, around=780, step=20.0)
    line, warning = describe_plan(Plan(variants=1), 48, pace)
    assert line == "plan: 48 tiles, 1 step, about 14 min in all, 9.1 more than --minutes 5"
    assert "WARNING: TOO FEW STEPS: 1 step within --minutes 5" in warning
    assert "--minutes 55, or with --set num_steps=60 --set variants=1" in warning
    assert pace.minutes_for(60, 0.25) == 55
    encoded_anew = 0.25 * 55 * 60
    assert Pace(minutes=55, around=780 + encoded_anew, step=20.0).num_steps >= 60


def test_the_clock_sets_the_steps_once_and_a_stopped_run_keeps_them(tiny_model, tmp_path, capsys):
    source, output = write_tiles(tmp_path / "tiles", 6), tmp_path / "mine"
    config = configure({"model": str(tiny_model), "minutes": 0.2}, ["images=2", "batch_size=2"])
    run(config, source, output)
    plan = json.loads((output / "plan.json").read_text())
    assert plan["num_steps"] >= 1 and plan["shards"]
    number = plan["num_steps"]
    assert f"plan: 6 tiles, {number} step" in capsys.readouterr().err
    assert load_manifest(output / "model").config["kind"] == "denoiser"
    (output / "manifest.json").unlink()
    run(config, source, output)
    assert json.loads((output / "plan.json").read_text()) == plan


def test_a_sheet_has_more_rows_of_a_class_where_there_are_few():
    from crafts.workflows.finetuning.sheet import _rows

    assert _rows(["a"] * 5) == [("a", 0), ("a", 1), ("a", 2)]
    assert _rows(list("ab") * 2) == [("a", 0), ("b", 0)]
    assert len(_rows(list("abcdefgh"))) == 6


def test_settings_follow_the_size_of_the_model():
    config = FinetuneConfig()
    small_one, large = (settings_for(config, n, gpu=True) for n in (7_500_000, 859_000_000))
    assert (small_one.method, large.method) == ("full", "lora")
    assert large.gradient_checkpointing and large.micro_batch_size < large.batch_size
    recipe = build_recipe(large, config, data="latents", licence="openrail", mpp=None)
    api.configure("train", {**recipe, "num_steps": 3})


def test_the_command_prints_its_configuration_and_refuses_what_is_not_there(tmp_path, capsys):
    assert cli.run(["finetune", "tiles", "--output", str(tmp_path / "o"), "--dry-run"]) == 0
    assert "minutes: 10.0" in capsys.readouterr().out
    missing = ["finetune", str(tmp_path / "none"), "--output", str(tmp_path / "o")]
    assert cli.run(missing) == 2
    error = capsys.readouterr().err
    assert "none" in error and "Traceback" not in error


def test_pixels_of_the_judge_are_those_that_were_encoded(finished, tiny_model):
    from crafts.data.loader import ShardReader
    from crafts.workflows.finetuning.tiles import Tiles

    reader = ShardReader(finished / "shards")
    (image,) = Tiles(finished / "shards", reader.rows, "heldout").images([0], 48)
    assert np.array_equal(image, reader.image(0))
