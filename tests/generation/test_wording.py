"""Prompts that a model cannot know: said, refused under ``strict``, told by every file."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from crafts.captions.trained_on import collect
from crafts.core.artifacts import load_manifest
from crafts.core.errors import ConfigError, DataError
from crafts.generation.export import read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle

CAPTIONS = ["colon, benign glands, H&E", "lung carcinoma, high power"]
FEW = {"num_steps": 1, "batch_size": 1}


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> Bundle:
    told = collect([{"key": str(k), "text": text} for k, text in enumerate(CAPTIONS)])
    return replace(load_bundle(tiny_model), trained_on=told)


def config(*prompts: str, **values: object) -> GenerateConfig:
    return GenerateConfig.model_validate({"prompts": prompts, **FEW, **values})


def test_unknown_words_are_said_and_stand_in_every_file(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ("Colon, benign", "lung melanoma, a cat", "lung carcinma")
    run(config(*prompts), None, tmp_path, bundle=bundle)
    told = capsys.readouterr().err
    assert "has met no picture of 'melanoma'" in told and "'cat'" in told
    assert "'carcinma' (nearest that it knows: carcinoma)" in told
    assert "in 2 of 3 prompts" in told
    found = [read_provenance(tmp_path / f"images/00{k}-0.png").unknown_words for k in range(3)]
    assert found == ["", "melanoma, cat", "carcinma"]
    assert read_provenance(tmp_path / "grid.png").unknown_words == "melanoma, cat, carcinma"
    with (tmp_path / "metadata.csv").open(newline="") as handle:
        assert [row["unknown_words"] for row in csv.DictReader(handle)] == found
    extra = load_manifest(tmp_path).extra
    assert extra["words_checked"] is True
    assert extra["unknown_words"]["carcinma"] == {"nearest": ["carcinoma"], "rows": ["002"]}
    stamp = (tmp_path / "images/001-0.png").stat().st_mtime_ns
    run(config(*prompts), None, tmp_path, bundle=bundle)
    assert (tmp_path / "images/001-0.png").stat().st_mtime_ns == stamp, "not made again"


def test_strict_refuses_before_anything_is_drawn(bundle: Bundle, tmp_path: Path) -> None:
    given = config("colon", "a glomerulus", "the liver", strict=True)
    with pytest.raises(
        ConfigError, match="prompts of 2 of 3 rows: words that .* 'glomerulus'"
    ) as error:
        run(given, None, tmp_path / "out", bundle=bundle)
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    run(config("Benign colon", strict=True), None, tmp_path / "out", bundle=bundle)


def test_a_negative_prompt_is_a_prompt_too(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'blurry'"):
        run(config("colon", negative_prompt="blurry", strict=True), None, tmp_path, bundle=bundle)
    (tmp_path / "m.csv").write_text("id,prompt,negative_prompt\na,colon,a cat\n")
    with pytest.raises(ConfigError, match="'cat'"):
        run(config(strict=True), tmp_path / "m.csv", tmp_path / "out", bundle=bundle)


def test_a_model_that_does_not_say_is_unchecked_once_and_quietly(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(tiny_model)
    run(config("a cat", "a dog", num_images=2), None, tmp_path / "out", bundle=bundle)
    told = capsys.readouterr().err
    assert told.count("prompts are not checked") == 1
    assert load_manifest(tmp_path / "out").extra["words_checked"] is False
    with pytest.raises(ConfigError, match="strict: model .* does not say what it was trained on"):
        run(config("a cat", strict=True), None, tmp_path / "strict", bundle=bundle)


def test_images_in_memory_are_checked_too(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    (image,) = generate_images(bundle, "a cat", num_steps=1)
    assert image.info["crafts"].unknown_words == "cat"
    assert "'cat'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="'cat'"):
        generate_images(bundle, "a cat", strict=True)


def test_what_a_gate_cannot_judge_is_left_out_and_never_drawn(
    bundle: Bundle, tmp_path: Path
) -> None:
    seen: list[str] = []

    def accept(image: object, prompt: str) -> bool:
        seen.append(prompt)
        return True

    def unknown_to(prompt: str) -> list[str]:
        return ["spleen"] if "spleen" in prompt else []

    gate = {"accept": accept, "unknown_to": unknown_to}
    manifest = run(config("colon", "spleen", keep=1), None, tmp_path, bundle=bundle, **gate)
    assert manifest.counts == {"listed": 2, "used": 1, "rejected": 1, "images": 1}
    assert seen == ["colon"]
    reject = json.loads((tmp_path / "rejects.jsonl").read_text())
    assert reject["item"] == "001" and "has met no picture of spleen" in reject["reason"]
    with pytest.raises(DataError, match="no usable item of 1"):
        run(config("spleen", keep=1), None, tmp_path / "none", bundle=bundle, **gate)


def test_the_gate_of_the_package_knows_what_it_does_not_know() -> None:
    from crafts.evaluation.gate import shipped_gate_words

    unknown_to = shipped_gate_words()
    assert unknown_to("Colon adenocarcinoma, H&E, high power view.") == []
    assert unknown_to("a bicycle in the kidney, Ziehl-Neelsen") == ["bicycle", "Ziehl-Neelsen"]
