"""``crafts models``: what a model was trained on, without opening its weights."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from crafts import cli
from crafts.captions.trained_on import collect, read_trained_on, write_trained_on
from crafts.core.errors import ConfigError
from crafts.shelf import (
    describe_model,
    describe_models,
    describe_sampling,
    example_prompts,
    find_model,
)

ROWS = [{"key": k, "text": "Colon, benign.", "label": "benign", "set": "mine", "patient": k,
         "licence": "CC0"} for k in "ab"]  # fmt: skip


def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    write_trained_on(collect(ROWS), tmp_path / "model")
    return tmp_path


def test_the_shipped_model_tells_its_classes_sets_and_words() -> None:
    text = "\n".join(describe_model("mini"))
    assert "crafts-mini-research-only" in text
    assert "paper 50 steps, guidance 3.5" in text, "and not 7.5, which burns it"
    for word in ("colon adenocarcinoma", "prostate_gleason_NC", "CC BY-NC-SA", "adenocarcinoma"):
        assert word in text
    assert describe_models()[0].startswith("mini: ")


def test_examples_ask_for_every_class_in_words_that_it_knows() -> None:
    found = read_trained_on(find_model("mini"))
    assert found is not None
    prompts = example_prompts("mini")
    assert len(prompts) >= 0.9 * len(found.classes())
    assert [prompt for prompt in prompts if found.known_words().unknown(prompt)] == []


def test_a_folder_of_a_run_is_described(tmp_path: Path) -> None:
    text = "\n".join(describe_model(str(folder(tmp_path))))
    assert "trained on 2 tiles of 2 patients" in text
    assert "benign" in text and "CC0" in text and "colon 2" in text
    assert "not tuned" in text and "paper 50 steps, guidance 7.5" in text
    assert example_prompts(str(tmp_path)) == ("Colon, benign.",)


def test_a_folder_that_says_nothing_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    assert "not known here" in "\n".join(describe_model(str(tmp_path)))
    with pytest.raises(ConfigError, match="names no classes"):
        example_prompts(str(tmp_path))


def test_mistakes_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["models", "maxi"]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert "models maxi: no such folder; expected mini, mini@1, or a folder" in printed[0]


@pytest.mark.parametrize(
    ("model", "wish", "told"),
    [
        ("mini", None, "paper: DDIM, 50 steps, guidance 3.5 (tuned for the model)"),
        ("mini", 7.5, "guidance 7.5 (as asked for)"),
        ("owner/name", None, "guidance 7.5 (of the preset, where the model says no other)"),
    ],
)
def test_what_a_preset_comes_to_is_said(model: str, wish: float | None, told: str) -> None:
    assert told in describe_sampling(model, "paper", guidance_scale=wish)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from crafts import cli; cli.run(['models', 'mini']);"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_demo_asks_for_what_the_model_knows(root: Path) -> None:
    found = read_trained_on(find_model("mini"))
    assert found is not None
    with (root / "docs/demo-prompts.csv").open(newline="", encoding="utf-8") as handle:
        prompts = [row["prompt"] for row in csv.DictReader(handle)]
    strange = [found.known_words().unknown(prompt) for prompt in prompts]
    assert len(prompts) == 8 and not any(strange), strange
