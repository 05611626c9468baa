"""From readings to figures: what is counted, flagged, refused and written."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from crafts.core.artifacts import staging
from crafts.core.errors import DataError
from crafts.readerstudy import analyze, power, simulate
from crafts.readerstudy.analysis import printing
from crafts.readerstudy.config import AnalyzeConfig, PowerConfig, Readers, SimulateConfig
from crafts.readerstudy.protocol import load_key, load_study
from crafts.readerstudy.readers import draw_session, true_accuracy, true_area
from crafts.readerstudy.readings import (
    STAGE,
    build_matrix,
    build_repeats,
    load_readings,
    write_readings,
)
from crafts.readerstudy.statistics import ustatistics
from page_checks import Page


@pytest.fixture(scope="module")
def report(study, readings, tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "report"
    config = AnalyzeConfig(study=study, readings=readings, resamples=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(printing, "BROWSERS", ())
        analyze.run(config, None, output)
    return output


@pytest.fixture(scope="module")
def results(report):
    return json.loads((report / "results.json").read_text())


def test_the_rater_of_one_answer_is_flagged_and_kept(results):
    first, second, third = results["readers"]
    assert "one answer for nearly all items: nothing was told apart" in first["flags"]
    assert any("straight-lining" in flag for flag in first["flags"]) == (
        len({(r["sensitivity"]["value"]) for r in results["readers"]}) < 0
    )  # its ratings differ, so it is no straight line
    assert any("faster than 1 s" in flag for flag in second["flags"])
    assert third["flags"] == []
    assert first["f1"][0] == pytest.approx(2 / 3)
    assert len(results["readers"]) == 3 and results["without_flagged"]["name"].startswith("Without")


def test_the_report_says_that_f1_is_useless(report):
    page = Page((report / "report.html").read_text())
    assert page.faults == []
    assert "says “synthetic” every time without looking scores 0.667" in page.text
    assert "has no place in a claim" in page.text
    assert "The readers of this report are simulated" in page.text
    assert "odd" in page.text


def test_repeats_controls_and_training_are_not_counted(study, readings, results):
    key = load_key(study)
    rows, _, _ = load_readings(readings, load_study(study).id)
    matrix = build_matrix([row for row in rows if row.block == "test"], key)
    assert matrix.answers.shape == (3, 48) and results["items"] == [24, 24]
    pairs = build_repeats([row for row in rows if row.block == "test"], key)
    assert {len(some) for some in pairs.values()} == {round(0.2 * 48)}
    reader = matrix.readers[2]
    for first, second in pairs[reader]:
        assert first.position < second.position
        place = matrix.pictures.index(first.picture)
        assert matrix.answers[2, place] == first.realness


def test_imrmc_rows_give_the_same_area(report, results):
    with (report / "imrmc.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    truth = {row["caseID"]: row["score"] == "1" for row in rows if row["readerID"] == "truth"}
    cases, readers = sorted(truth), sorted({row["readerID"] for row in rows} - {"truth"})
    scores = np.full((len(readers), len(cases)), np.nan)
    for row in rows:
        if row["readerID"] != "truth":
            place = readers.index(row["readerID"]), cases.index(row["caseID"])
            scores[place] = float(row["score"])
    kernel = ustatistics.success_kernel(scores, np.array([truth[case] for case in cases]))
    found = ustatistics.over_readers(kernel)
    primary = results["primary"]["estimate"]
    assert (found.value, found.se) == pytest.approx((primary["value"], primary["se"]))


def test_every_figure_has_an_interval_or_none_of_the_kind(report):
    with (report / "figures.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {"real or synthetic", "check", "rating", "agreement"} <= {row["theme"] for row in rows}
    assert all(row["low"] and row["high"] for row in rows if row["theme"] != "experience")


def test_readings_of_an_open_or_another_study_are_refused(study, readings, tmp_path):
    (tmp_path / "open").mkdir()
    with pytest.raises(DataError, match="nobody sees results before its end"):
        load_readings(tmp_path / "open", load_study(study).id)
    with pytest.raises(DataError, match="readings of another study"):
        load_readings(readings, "another")


def test_a_study_without_answers_is_refused(study, tmp_path):
    place = tmp_path / "readings"
    with staging(place, STAGE) as folder:
        write_readings(folder, [], [], study=load_study(study).id, extra={})
    with pytest.raises(DataError, match="0 readings"):
        analyze.run(AnalyzeConfig(study=study, readings=place), None, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_simulated_readings_read_back_as_written(study, readings):
    config = SimulateConfig(study=study, readers=Readers(d_prime=1.5, one_answer=1, hasty=1))
    _, key = load_study(study), load_key(study)
    protocol = load_study(study).protocol
    made = sorted(simulate._answer(config, protocol, key), key=lambda r: (r.reader, r.position))
    read, readers, manifest = load_readings(readings, load_study(study).id)
    for one, other in zip(made, read, strict=True):
        values = vars(one) | {"seconds": round(one.seconds, 3)}
        for name, value in values.items():
            both_missing = isinstance(value, float) and math.isnan(value)
            assert both_missing or getattr(other, name) == pytest.approx(value, abs=1e-3)
    assert len(readers) == 3 and "simulated" in manifest.extra


def test_population_figures_are_those_of_many_readers():
    who = Readers(d_prime=1.0, bias=0.3)
    rng = np.random.default_rng(0)
    synthetic = np.repeat([False, True], 150)
    areas, accuracies = [], []
    for _ in range(10):
        scores = draw_session(who, synthetic, number=60, rng=rng).scores
        areas.append(ustatistics.success_kernel(scores, synthetic).mean())
        right = (scores > 5) == synthetic
        accuracies.append((right[:, synthetic].mean() + right[:, ~synthetic].mean()) / 2)
    assert np.mean(areas) == pytest.approx(true_area(who), abs=0.015)
    assert np.mean(accuracies) == pytest.approx(true_accuracy(who), abs=0.015)


def test_power_predicts_the_spread_of_simulated_studies(tmp_path):
    config = PowerConfig(half_width=0.1, margin=0.1, num_readers=(3, 6), per_class=(20, 40))
    power.run(config, None, tmp_path / "power")
    found = json.loads((tmp_path / "power" / "power.json").read_text())
    plans = {(one["readers"], one["per_class"]): one for one in found["plans"]}
    rng, synthetic = np.random.default_rng(1), np.repeat([False, True], 40)
    areas = [
        ustatistics.success_kernel(
            draw_session(config.readers, synthetic, number=6, rng=rng).scores, synthetic
        ).mean()
        for _ in range(400)
    ]
    assert plans[6, 40]["se"] == pytest.approx(np.std(areas), rel=0.12)
    assert found["truth"] == pytest.approx(0.5)
    widths = [one["half_width"] for one in found["plans"]]
    assert widths[0] > widths[1] and widths[0] > widths[2]
    assert plans[3, 20]["power"] < plans[6, 40]["power"] <= 1
