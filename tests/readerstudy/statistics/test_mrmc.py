"""Variances over readers and cases against published results and slow loops."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.core.tables import open_table
from crafts.readerstudy.statistics import obuchowski, ustatistics
from crafts.readerstudy.statistics.estimates import p_value
from crafts.readerstudy.statistics.resampling import bootstrap
from reference import roe_metz

GOLDEN = Path(__file__).parents[2] / "golden"
IMRMC = json.loads((GOLDEN / "imrmc.json").read_text())
VANDYKE = json.loads((GOLDEN / "vandyke.json").read_text())
DESIGNS = list(IMRMC["auc"])


def kernels(design):
    scores = [one for one in roe_metz.study(design) if one is not None]
    return [ustatistics.success_kernel(one, roe_metz.SYNTHETIC) for one in scores]


@pytest.mark.parametrize("design", DESIGNS)
def test_areas_agree_with_imrmc(design):
    pair = kernels(design)
    for row in IMRMC["auc"][design]:
        plug_in = row["variance"] == "plug-in"
        if row["figure"] == "A-B":
            found = ustatistics.difference(*pair, plug_in=plug_in)
        else:
            found = ustatistics.estimate(pair["AB".index(row["figure"])], plug_in=plug_in)
        null = 0.0 if row["figure"] == "A-B" else 0.5
        ours = (found.value, found.se**2, found.df, found.low, found.high, p_value(found, null))
        theirs = [row[name] for name in ("value", "var", "df", "low", "high", "p")]
        if theirs[0] is None:  # they leave the difference out in one design
            theirs[0] = ours[0]
        assert ours == pytest.approx(theirs, abs=1e-6), row


@pytest.mark.parametrize("design", list(IMRMC["means"]))
def test_means_agree_with_imrmc(design):
    first, second = roe_metz.means(design)
    golden = IMRMC["means"][design]
    one, two = ustatistics.moments(first), ustatistics.moments(second)
    both = ustatistics.moments(first, second)
    ours = (one.variance, two.variance, one.variance + two.variance - 2 * both.variance)
    assert ours == pytest.approx([golden[k]["var"] for k in ("A", "B", "A-B")], abs=1e-6)
    values = ustatistics.mean_of(first), ustatistics.mean_of(second)
    assert values == pytest.approx([golden[k]["value"] for k in "AB"], abs=1e-6)


def test_degrees_of_hillis_agree_with_imrmc():
    pair = kernels("crossed")
    for row in IMRMC["auc"]["crossed"]:
        used = pair if row["figure"] == "A-B" else [pair["AB".index(row["figure"])]]
        found = obuchowski.components(used, "unbiased")
        figure = obuchowski.difference if len(used) == 2 else obuchowski.estimate
        assert figure(found).df == pytest.approx(row["df_hillis"], abs=1e-6)


def test_degrees_of_hillis_of_imrmc_count_readers_who_read_nothing():
    """Split by readers, it takes -1 as the area of each reader of the other modality; we do not."""
    for row in IMRMC["auc"]["split by readers"]:
        if row["figure"] == "A-B":
            continue
        kernel = kernels("split by readers")["AB".index(row["figure"])]
        read = ~np.isnan(kernel).any(axis=(1, 2))
        ours = obuchowski.components([kernel[read]], "unbiased")
        figures = np.full((1, len(read)), -1.0)
        figures[0, read] = ours.figures[0]
        square = np.mean((figures - ours.figures.mean()) ** 2) * len(read) / (len(read) - 1)
        theirs = (len(read) - 1) * (1 + len(read) * ours.cov2 / square) ** 2
        assert theirs == pytest.approx(row["df_hillis"], abs=1e-6)
        assert obuchowski.estimate(ours).df > row["df_hillis"]


def test_intervals_from_components_agree_with_the_published_digits():
    figures = np.array(VANDYKE["figures"])
    found = obuchowski.Components(figures, *(VANDYKE[k] for k in ("error", "cov1", "cov2", "cov3")))
    check_published(obuchowski.difference(found), VANDYKE["difference"], 1e-5)
    for k, row in enumerate(VANDYKE["single"]):
        single = obuchowski.Components(figures[k : k + 1], 0.0, 0.0, row["cov2"], 0.0)
        check_published(obuchowski.estimate(single), row, 1e-7)


def check_published(found, row, digits):
    assert found.df == pytest.approx(row["df"], abs=0.006)
    ours = found.value, found.se, found.low, found.high
    assert ours == pytest.approx([row[k] for k in ("value", "se", "low", "high")], abs=digits)


@pytest.mark.skipif("VANDYKE_CSV" not in os.environ, reason="needs the published ratings")
def test_ratings_of_van_dyke_give_the_published_digits():
    """VANDYKE_CSV: the public ratings as csv with reader, treatment, case, truth, rating."""
    rows = [row.cells for row in open_table(Path(os.environ["VANDYKE_CSV"])).rows]
    cases = {row["case"]: k for k, row in enumerate({r["case"]: r for r in rows}.values())}
    scores, synthetic = np.full((2, 5, 114), np.nan), np.zeros(114, bool)
    for row in rows:
        place = int(row["treatment"]) - 1, int(row["reader"]) - 1, cases[row["case"]]
        scores[place] = float(row["rating"])
        synthetic[place[2]] = float(row["truth"]) == 1
    pair = [ustatistics.success_kernel(one, synthetic) for one in scores]
    found = obuchowski.components(pair)
    assert found.figures == pytest.approx(np.array(VANDYKE["figures"]), abs=1e-8)
    parts = found.error, found.cov1, found.cov2, found.cov3
    names = "error", "cov1", "cov2", "cov3"
    assert parts == pytest.approx([VANDYKE[name] for name in names], abs=1e-8)
    check_published(obuchowski.difference(found), VANDYKE["difference"], 1e-5)
    for kernel, row in zip(pair, VANDYKE["single"], strict=True):
        check_published(obuchowski.estimate(obuchowski.components([kernel])), row, 1e-8)


def test_moments_are_means_over_pairs_that_share_exactly_that():
    rng = np.random.default_rng(0)
    kernel = rng.random((3, 4, 2))
    kernel[1, 2], kernel[0, 0, 1] = np.nan, np.nan
    sums: dict[tuple[int, ...], list[float]] = {}
    terms = list(product(*(range(n) for n in kernel.shape)))
    for a, b in product(terms, terms):
        value = kernel[a] * kernel[b]
        if not np.isnan(value):
            shared = tuple(axis for axis in range(3) if a[axis] == b[axis])
            sums.setdefault(shared, []).append(value)
    found = ustatistics.moments(kernel)
    number = np.isfinite(kernel).sum() ** 2
    for axes, values in sums.items():
        assert found.exact[axes] == pytest.approx(np.mean(values))
        share = len(values) / number - (axes == ())
        assert found.coefficients[axes] == pytest.approx(share)


def test_jackknife_is_a_loop_over_cases():
    rng = np.random.default_rng(1)
    scores, synthetic = rng.normal(size=(2, 3, 12)), np.repeat([False, True], [7, 5])
    pair = [ustatistics.success_kernel(one, synthetic) for one in scores]
    left_out = []
    for gone in range(12):
        kept = np.arange(12) != gone
        rows = [
            ustatistics.success_kernel(one[:, kept], synthetic[kept]).mean(axis=(1, 2))
            for one in scores
        ]
        left_out.append(np.concatenate(rows))
    deviations = np.array(left_out) - np.mean(left_out, axis=0)
    covariance = 11 / 12 * deviations.T @ deviations
    found = obuchowski.components(pair)
    assert found.error == pytest.approx(np.trace(covariance) / 6)
    assert found.cov1 == pytest.approx(np.diag(covariance[:3, 3:]).mean())
    blocks = covariance[:3, :3], covariance[3:, 3:]
    assert found.cov2 == pytest.approx(np.mean([b[np.triu_indices(3, 1)].mean() for b in blocks]))


def test_obuchowski_refuses_a_missing_answer():
    kernel = np.ones((2, 3, 3))
    kernel[0, 0] = np.nan
    with pytest.raises(DataError, match="every item"):
        obuchowski.components([kernel])


def test_sum_kernel_is_the_balanced_accuracy():
    correct = np.array([[1, 0, 1, 1.0], [0, 0, 1, 0]])
    synthetic = np.array([False, False, True, True])
    kernel = ustatistics.sum_kernel(correct, synthetic, (0.5, 0.5))
    assert ustatistics.mean_of(kernel) == pytest.approx((0.25 + 0.75) / 2)


def test_bootstrap_is_near_the_u_statistic():
    kernel = kernels("crossed")[1]
    exact, drawn = ustatistics.estimate(kernel), bootstrap(kernel)
    assert drawn.value == exact.value
    assert drawn.se == pytest.approx(exact.se, rel=0.25)
    few = bootstrap(kernel[:3])
    assert few.df == 2 and few.half_width > 4 * few.se  # t of 2 degrees, not the normal quantile


def test_one_reader_has_no_interval_over_readers():
    found = ustatistics.estimate(kernels("crossed")[0][:1])
    assert np.isnan(found.low) and np.isnan(found.high) and 0 < found.value < 1
