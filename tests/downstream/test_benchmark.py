"""The stage on painted tiles: planted truths, refusals, and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crafts import cli
from crafts.auditing.matching.pairs import find_pairs
from crafts.captions.trained_on import collect, write_trained_on
from crafts.core.artifacts import verify
from crafts.core.errors import ConfigError, DataError
from crafts.downstream.benchmark import run
from crafts.downstream.results import Results
from crafts.testing import FakeCodec
from page_checks import Page

TRAIN, TEST = 30, 24  # patients


def split(patient: int) -> str:
    return "train" if patient < TRAIN else "heldout"


def no_copies(suspects, known):
    return []


@pytest.fixture
def real(write_folder):
    return write_folder("real", range(3 * (TRAIN + TEST)), split=split)


@pytest.fixture
def perfect(write_folder):
    """Tiles of a third group of patients, in neither training nor test."""
    return write_folder("perfect", range(3 * 60, 3 * 90))


def test_planted_truths(real, perfect, write_folder, encoder, config_of, tmp_path):
    far = write_folder("far", range(3 * 110, 3 * 120))
    config = config_of(real, perfect, fractions=(0.05,), ratios=(1.0, 20.0), seeds=4, external=far)
    output = tmp_path / "out"
    manifest = run(config, None, output, encoder=encoder, find_copies=no_copies, codec=FakeCodec())
    verify(output)
    results = Results.model_validate_json((output / "metrics.json").read_text())
    probe = {r.arm: r for r in results.rows if (r.on, r.method) == ("test", "probe")}
    best = probe["real + generated, 20 x"]
    assert best.outcome == "helped" and best.low > 0
    useless = probe["real + noise of its colours"]
    assert useless.low < 0 and useless.outcome == "no difference seen"
    shuffled = probe["real + generated, 20 x, labels shuffled"]
    assert shuffled.accuracy < probe["real"].accuracy - 0.05
    assert (probe["real, twice"].gain, probe["real, twice"].outcome) == (0, "no difference seen")
    assert {r.arm for r in results.rows} >= {
        *("real + classic augmentation", "real, colour histogram only", "generated alone"),
        "real, through the codec",
    }
    assert {r.on for r in results.rows} == {"test", "external"}
    assert {(one.field, one.value) for one in results.slices} >= {("site", "site0")}
    assert results.controls == []
    assert manifest.counts["used"] == manifest.counts["listed"] == 3 * (54 + 30 + 10)
    page = Page((output / "report.html").read_text())
    assert page.faults == []
    assert "Generated tiles helped" in page.text and "smallest visible" in page.text.lower()


def test_a_test_patient_among_generated_tiles_is_refused_by_name(
    real, write_folder, encoder, config_of, tmp_path
):
    leaky = write_folder("leaky", [*range(3 * 60, 3 * 70), 3 * 40])
    with pytest.raises(DataError, match="1 test patients that were seen in training: p040"):
        run(
            *(config_of(real, leaky), None, tmp_path / "out"),
            encoder=encoder,
            find_copies=no_copies,
        )
    assert not (tmp_path / "out").exists()


def test_a_generator_trained_on_test_patients_is_refused(
    real, perfect, write_folder, encoder, config_of, tmp_path
):
    trained = write_folder("seen", range(3 * 28, 3 * 32))
    config = config_of(real, perfect, trained=trained)
    with pytest.raises(DataError, match="2 test patients .*: p030, p031"):
        run(config, None, tmp_path / "out", encoder=encoder, find_copies=no_copies)


def test_copies_are_refused_by_name(real, write_folder, encoder, config_of, tmp_path):
    made = write_folder(
        *("made", [*range(180, 186), 7, 100]),
        patients=False,
        pixels=lambda tile: np.ascontiguousarray(tile[:, ::-1]),
    )
    with pytest.raises(DataError, match="2 copies of real tiles: made0007.png shows real0007.png"):
        run(
            *(config_of(real, made), None, tmp_path / "out"),
            encoder=encoder,
            find_copies=find_pairs,
        )


def test_a_judge_that_is_a_part_of_the_generator_is_refused(
    real, perfect, encoder, config_of, tmp_path
):
    model = tmp_path / "model"
    model.mkdir()
    facts = {"sha256": encoder.facts["weights_sha256"], "size": 1}
    text = {"stage": "train", "files": {"text_encoder/model.safetensors": facts}}
    (model / "manifest.json").write_text(json.dumps(text))
    (model / "model_index.json").write_text("{}")
    config = config_of(real, perfect, model=str(model))
    with pytest.raises(ConfigError, match="holds the weights of the encoder 'squares'"):
        run(config, None, tmp_path / "out", encoder=encoder, find_copies=no_copies)


def test_a_model_trained_on_all_real_tiles_is_refused(real, perfect, encoder, config_of, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    write_trained_on(collect([{"key": path.name} for path in real.glob("*.png")]), model)
    config = config_of(real, perfect, model=str(model))
    with pytest.raises(DataError, match="a generator that was trained on all real tiles"):
        run(config, None, tmp_path / "out", encoder=encoder, find_copies=no_copies)


def test_too_few_test_tiles_are_refused_with_the_number_needed(
    real, perfect, encoder, config_of, tmp_path
):
    config = config_of(real, perfect, visible=0.05)
    with pytest.raises(DataError, match=r"24 test tiles of class .*; expected at least 210"):
        run(config, None, tmp_path / "out", encoder=encoder, find_copies=no_copies)


def test_generated_tiles_of_no_known_class_are_refused(
    real, write_folder, encoder, config_of, tmp_path
):
    other = write_folder("other", range(180, 186), labels=["bone"] * 6)
    with pytest.raises(DataError, match="no tile of 6 whose class is known"):
        run(
            *(config_of(real, other), None, tmp_path / "out"),
            encoder=encoder,
            find_copies=no_copies,
        )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--generated", "g"], "real"),
        (["--real", "absent", "--generated", "g"], "absent"),
        (["--real", "r", "--generated", "g", "--set", "fractions=[0]"], "fractions"),
    ],
)
def test_mistakes_are_answered_in_one_line(given, named, capsys, tmp_path):
    told = ["benchmark", "classification", *given, "--output", str(tmp_path / "out")]
    assert cli.run(told) == 2
    line = capsys.readouterr().err.strip().splitlines()
    assert len(line) == 1 and named in line[0]


def test_fast_is_a_set_of_fields_that_can_be_overruled(capsys):
    told = ["benchmark", "classification", "--real", "r", "--generated", "g", "--output", "o"]
    assert cli.run([*told, "--fast", "--set", "seeds=2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "seeds: 2" in shown and "max_synthetic: 500" in shown
