"""A whole experiment with networks of a few weights: it ends, resumes and tells what it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from crafts import cli
from crafts.core.errors import ConfigError, DataError
from crafts.experiments import configure, run
from crafts.experiments.judging.measures import MEASURES
from killed_runs import leave_unfinished

SMALL = (
    "crop=4", "seeds=[0,1]", "num_steps=2", "base.num_steps=1", "batch_size=4", "num_prompts=8",
    "num_losses=4", "sampler_steps=2", "train_tiles=16", "painted_tiles=48", "second_steps=2",
    "warmup_steps=0", "ema_decay=0.5",
)  # fmt: skip


def small(name: str, model: Path, *more: str):
    return configure(name, [*SMALL, f"base.model={model}", *more], data="painted")


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("experiment") / "content"
    run(small("content", tiny_model, "arms=[no cells]"), output)
    return output


def test_results_hold_every_arm_seed_and_measure(finished):
    found = json.loads((finished / "results.json").read_text())
    assert list(found["runs"]) == ["all fields", "no cells"]
    for seeds in found["runs"].values():
        assert [set(one["measures"]) for one in seeds] == [set(MEASURES)] * 2
    assert set(found["references"]) == {"real tiles", "shuffled prompts", "shared checkpoint"}
    assert set(found["differences"]["no cells"]) == set(MEASURES)
    assert len(found["verdicts"]) == 3


def test_the_table_has_a_row_a_measure_and_the_picture_a_row_an_arm(finished):
    table = (finished / "table.md").read_text()
    for known in MEASURES.values():
        assert sum(known.title in line for line in table.splitlines()) >= 3
    assert "no cells: " in table and "by chance alone" in table
    with Image.open(finished / "montage.png") as sheet:
        assert sheet.height == 36 + 3 * (32 + 4)


def test_arms_of_a_seed_differ_in_their_words_only(finished):
    runs = finished / "runs"
    prompts = [
        [line.rsplit(",", 1)[1] for line in path.read_text().splitlines()]
        for path in sorted(runs.glob("*/seed-1/images-prompts.csv"))
    ]
    assert prompts[0] == prompts[1]  # the seeds of the images
    first = {
        path.parts[-3]: json.loads(path.read_text().splitlines()[0])["denoising"]
        for arm in ("all-fields", "no-cells")
        for path in (runs / arm).glob("seed-*/leg-1/metrics.jsonl")
        if arm == "all-fields" or path.parts[-3] == "seed-1"
    }
    own = json.loads((runs / "all-fields/seed-1/leg-1/metrics.jsonl").read_text().splitlines()[0])
    assert first["seed-1"] == pytest.approx(own["denoising"], rel=1e-3)  # words alone
    assert first["seed-0"] != pytest.approx(own["denoising"], rel=1e-2)


def test_a_stopped_experiment_goes_on_and_repeats_nothing(finished, tiny_model, tmp_path):
    output = tmp_path / "again"
    shutil.copytree(finished, output)
    leave_unfinished(output)
    lost = output / "runs" / "no-cells" / "seed-1"
    kept = output / "runs" / "no-cells" / "seed-0" / "measures.json"
    before, expected = kept.stat().st_mtime_ns, (lost / "measures.json").read_text()
    shutil.rmtree(lost)
    config = small("content", tiny_model, "arms=[no cells]")
    run(config, output)
    assert kept.stat().st_mtime_ns == before
    assert (lost / "measures.json").read_text() == expected
    assert (output / "results.json").read_text() == (finished / "results.json").read_text()


def test_a_damaged_image_of_a_finished_run_is_named(finished, tiny_model, tmp_path):
    output = tmp_path / "damaged"
    shutil.copytree(finished, output)
    leave_unfinished(output)
    image = min((output / "runs" / "all-fields" / "seed-0" / "images" / "images").glob("*.png"))
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{image.name}.*unreadable image"):
        run(small("content", tiny_model, "arms=[no cells]"), output)


def test_a_second_leg_draws_other_samples_than_the_first(tiny_model, tmp_path):
    output = tmp_path / "stages"
    run(small("stages", tiny_model, "arms=[both]"), output)
    seeds = [
        [line for line in path.read_text().splitlines() if line.startswith("seed: ")]
        for path in sorted((output / "runs/both/seed-1").glob("leg-*/config.yaml"))
    ]
    assert seeds == [["seed: 1"], ["seed: 100001"]]


def test_small_experiments_say_that_they_say_nothing():
    from crafts.experiments.judging.results import is_trial

    assert is_trial(configure("losses", fast=True)) and is_trial(configure("ood", data="painted"))
    assert not is_trial(configure("losses", ["num_steps=100"]))


def test_another_configuration_is_refused(finished, tiny_model, tmp_path):
    output = tmp_path / "other"
    shutil.copytree(finished, output)
    with pytest.raises(ConfigError, match="experiment.yaml: another configuration than this one"):
        run(small("content", tiny_model, "arms=[no cells]", "lr=0.1"), output)


def test_a_finished_experiment_is_left_alone(finished, tiny_model, capsys):
    run(small("content", tiny_model, "arms=[no cells]"), finished)
    assert "already finished" in capsys.readouterr().err


def test_a_judge_without_text_is_refused(tiny_model, tmp_path):
    from fixtures_encoders import write_vit

    write_vit(tmp_path / "vit", pooler=True)
    config = small("content", tiny_model, f"judge={tmp_path / 'vit'}")
    with pytest.raises(ConfigError, match="experiment: judge: .*which reads no text; expected a"):
        run(config, tmp_path / "o")


def test_the_command_prints_its_configuration_and_stops(capsys, tmp_path):
    code = cli.run(["experiment", "ood", "--output", str(tmp_path / "o"), "--fast", "--dry-run"])
    assert code == 0 and not (tmp_path / "o").exists()
    assert "name: ood" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("ood", "both"),  # worse pictures, a class left out, both losses
        ("caption-length", "154 tokens"),
    ],
)
def test_experiments_with_parts_of_their_own_end(name, arm, tiny_model, tmp_path):
    output = tmp_path / name
    run(small(name, tiny_model, f"arms=[{arm}]"), output)
    found = json.loads((output / "results.json").read_text())
    assert list(found["runs"])[1] == arm
    recorded = found["runs"][arm][0]["training"]
    if name == "ood":
        assert recorded["ratio_semantic"] > 0 and recorded["ratio_category"] > 0
        assert found["left_out"] == ["glands", "stroma"]
    if name == "caption-length":
        tokens = [(cost["tokens"], cost["saved_bytes"]) for cost in found["costs"]]
        assert [count for count, _ in tokens] == [35, 154]
        assert tokens[0][1] < tokens[1][1]


def test_guidance_is_chosen_without_training(tiny_model, tmp_path):
    output = tmp_path / "guidance"
    run(small("guidance", tiny_model, "base.num_steps=0", "arms=['1', '2.5']"), output)
    found = json.loads((output / "results.json").read_text())
    assert list(found["runs"]) == ["1", "2.5"] and not list(output.glob("runs/**/leg-*"))
    assert "no training, tiles of 32 px" in (output / "table.md").read_text()
    files = [sorted((output / "runs" / arm).rglob("images/images/*.png")) for arm in ("1", "2.5")]
    pixels = [[Image.open(path).tobytes() for path in paths] for paths in files]
    assert len(pixels[0]) == 16 and pixels[0] != pixels[1]
