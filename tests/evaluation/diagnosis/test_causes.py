"""Planted failures of painted tissue get their name; whole tiles get none."""

import dataclasses

import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.data.painter import LABELS, TILES_PER_PATIENT, paint_tile
from crafts.evaluation.diagnosis.causes import CAUSES, diagnose, hidden_causes
from crafts.evaluation.diagnosis.evidence import Contrast, Evidence, compute_evidence
from crafts.evaluation.diagnosis.sides import Observed
from crafts.evaluation.diagnosis.thresholds import Thresholds
from crafts.imaging.stains import stain_vectors
from crafts.measures.appearance import appearance
from crafts.measures.structure import blur
from crafts.testing.damage import (
    compress,
    duplicate,
    shift_stain,
    shuffle_prompts,
    swap_class,
    wash_eosin,
)

PATIENTS = 24
NUM = PATIENTS * TILES_PER_PATIENT
WIDTH = 32


@dataclasses.dataclass
class Painted:
    """Tiles of patients, with features in which every class has its own place."""

    tiles: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    features: np.ndarray
    texts: np.ndarray


@pytest.fixture(scope="module")
def painted():
    found = [paint_tile(seed=5, index=k, size=64) for k in range(NUM)]
    rng = np.random.default_rng(0)
    centres = dict(zip(LABELS, rng.standard_normal((len(LABELS), WIDTH)), strict=True))
    labels = np.array([tile.fields["label"] for tile in found])
    place = np.stack([centres[label] for label in labels])
    return Painted(
        np.stack([tile.image for tile in found]),
        labels,
        np.array([tile.fields["patient"] for tile in found]),
        place + 0.6 * rng.standard_normal((NUM, WIDTH)),
        place + 0.1 * rng.standard_normal((NUM, WIDTH)),
    )


REAL, MADE = np.arange(NUM // 2), np.arange(NUM // 2, NUM)


def observe(painted, *, tiles=None, shown=MADE, real=False):
    """Real patients, or the others as if they were generated."""
    rows = REAL if real else MADE
    shown = REAL if real else shown
    pixels = painted.tiles[shown] if tiles is None else tiles
    return Observed(
        painted.features[shown],
        appearance(pixels),
        painted.labels[rows],
        painted.groups[rows] if real else None,
        painted.texts[rows],
    )


def judge(painted, **changed):
    stains = stain_vectors(painted.tiles[REAL])
    return compute_evidence(
        observe(painted, real=True), observe(painted, **changed), stains=stains, seed=1
    )


def causes(painted, **changed):
    return [(found.cause, found.scope) for found in diagnose(judge(painted, **changed))]


def test_whole_tiles_of_other_patients_have_no_fault(painted):
    assert causes(painted) == []


@pytest.mark.parametrize(
    ("cause", "damage"),
    [
        ("blur", lambda tiles, stains: blur(tiles, 1.0)),
        ("washed eosin", lambda tiles, stains: wash_eosin(tiles, 0.7, stains)),
        ("washed eosin and blur", lambda tiles, stains: blur(wash_eosin(tiles, 0.7, stains), 1.5)),
        ("stain shift", lambda tiles, stains: shift_stain(tiles, 0.4)),
        ("compression", lambda tiles, stains: compress(tiles, 30)),
    ],
)
def test_names_what_was_done_to_the_pixels(painted, cause, damage):
    stains = stain_vectors(painted.tiles[REAL])
    found = causes(painted, tiles=damage(painted.tiles[MADE], stains))
    assert found == [(cause, "")]


def test_strong_compression_is_not_called_blur_and_a_blurred_codec_not_compression(painted):
    assert causes(painted, tiles=compress(painted.tiles[MADE], 8)) == [("compression", "")]
    evidence = judge(painted, tiles=blur(painted.tiles[MADE], 2.0))
    faint = {**evidence.overall, "blockiness": Contrast(0.06)}
    found = diagnose(dataclasses.replace(evidence, overall=faint))
    assert [finding.cause for finding in found] == ["blur"]


def test_names_repeated_tiles(painted):
    shown = MADE[duplicate(len(MADE), 0.3, seed=2)]
    assert causes(painted, shown=shown) == [("duplicates", "")]


def test_names_collapse_where_no_two_tiles_are_equal(painted):
    shown = np.resize(MADE[:4], len(MADE))  # one tile of each class, again and again
    made = observe(painted, shown=shown)
    noise = 0.1 * np.random.default_rng(1).standard_normal(made.features.shape)
    made = dataclasses.replace(
        made, features=made.features + noise, labels=painted.labels[shown], texts=None
    )
    stains = stain_vectors(painted.tiles[REAL])
    evidence = compute_evidence(observe(painted, real=True), made, stains=stains)
    assert "collapse" in [found.cause for found in diagnose(evidence)]
    assert evidence.overall["duplicates"].value == 0


def test_names_the_class_that_shows_another(painted):
    labels = painted.labels[MADE]
    shown = MADE.copy()
    hit = np.flatnonzero(labels == "glands")
    extra = np.flatnonzero(painted.labels[REAL] == "stroma")[: len(hit)]
    shown[hit] = REAL[extra]
    evidence = judge(painted, shown=shown)
    (finding,) = diagnose(evidence)
    assert (finding.cause, finding.scope) == ("wrong class", "glands")
    assert "show 'stroma'" in finding.text
    assert set(labels[list(finding.examples)]) == {"glands"}
    assert evidence.shown["glands"]["stroma"] > 0.9


def test_every_class_shown_as_one_other_is_wrong_class_and_not_poor_alignment(painted):
    order = {name: LABELS[(k + 1) % len(LABELS)] for k, name in enumerate(LABELS)}
    labels = painted.labels[MADE]
    shown = np.empty_like(MADE)
    for name, other in order.items():
        shown[labels == name] = MADE[labels == other]
    found = causes(painted, shown=shown)
    assert [cause for cause, _ in found] == ["wrong class"] * len(LABELS)


@pytest.mark.parametrize("labelled", [True, False])
def test_names_tiles_that_ignore_their_prompts(painted, labelled):
    shown = MADE[shuffle_prompts(len(MADE), 0.9, seed=4)]
    real, made = observe(painted, real=True), observe(painted, shown=shown)
    if not labelled:
        real, made = (dataclasses.replace(side, labels=None) for side in (real, made))
    stains = stain_vectors(painted.tiles[REAL])
    found = diagnose(compute_evidence(real, made, stains=stains))
    assert [finding.cause for finding in found] == ["poor alignment"]


def test_names_what_spoils_one_class_only(painted):
    tiles = painted.tiles[MADE].copy()
    fat = painted.labels[MADE] == "fat"
    tiles[fat] = blur(tiles[fat], 3)
    assert causes(painted, tiles=tiles) == [("blur", "fat")]


def with_glands(side, share, of="glands"):
    """Scores above 0 for a share of the tiles of one class, and for no others."""
    mine = np.flatnonzero(side.labels == of)
    scores = np.full(len(side), -2.0)
    scores[mine[: round(share * len(mine))]] = 2.0
    return dataclasses.replace(side, glands=scores)


def test_missing_glands_come_before_the_stain_that_goes_with_them(painted):
    """A set that lost its glands, and is darker for it, is told so in this order."""
    real = with_glands(observe(painted, real=True), 0.9)
    stains = stain_vectors(painted.tiles[REAL])
    dark = shift_stain(painted.tiles[MADE], 0.4)
    made = with_glands(observe(painted, tiles=dark), 0.0)
    found = diagnose(compute_evidence(real, made, stains=stains, seed=1))
    assert [finding.cause for finding in found] == ["missing glands", "stain shift"]
    assert "fewer tiles than real ones show a gland" in found[0].text
    blurred = with_glands(observe(painted, tiles=blur(painted.tiles[MADE], 2)), 0.0)
    (finding,) = diagnose(compute_evidence(real, blurred, stains=stains, seed=1))
    assert finding.cause == "blur"  # nothing is said of glands where no nuclei can be seen
    kept = with_glands(observe(painted), 0.9)
    assert diagnose(compute_evidence(real, kept, stains=stains, seed=1)) == []


def test_glands_that_one_class_lost_are_found_in_it(painted):
    everywhere = np.full(len(REAL), 2.0)
    real = dataclasses.replace(observe(painted, real=True), glands=everywhere)
    lost = np.where(painted.labels[MADE] == "stroma", -2.0, 2.0)
    made = dataclasses.replace(observe(painted), glands=lost)
    stains = stain_vectors(painted.tiles[REAL])
    evidence = compute_evidence(real, made, stains=stains, seed=1)
    (finding,) = diagnose(evidence, dataclasses.replace(Thresholds(), glands=-0.3))
    assert (finding.cause, finding.scope) == ("missing glands", "stroma")
    assert all(painted.labels[MADE][row] == "stroma" for row in finding.examples)


def test_causes_that_few_patients_hide_are_named(painted):
    evidence = judge(painted)
    assert evidence.halves == 20
    noisy = {name: dataclasses.replace(one, noise=0.0) for name, one in evidence.overall.items()}
    assert hidden_causes(dataclasses.replace(evidence, overall=noisy)) == []
    noisy["sharpness"] = Contrast(0.0, 0.0, 0.3)
    assert hidden_causes(dataclasses.replace(evidence, overall=noisy)) == [
        "blur (sharpness 0.82 in place of 0.45)"
    ]


def test_a_class_of_few_patients_is_not_judged_by_its_looks(painted):
    real = observe(painted, real=True)
    few = np.isin(real.groups, np.unique(real.groups)[:9])
    parts = {name: value[few] for name, value in vars(real).items() if value is not None}
    stains = stain_vectors(painted.tiles[REAL])
    evidence = compute_evidence(Observed(**parts), observe(painted), stains=stains)
    assert all(set(numbers) == {"agreement", "following"} for numbers in evidence.classes.values())
    assert "sharpness" in evidence.overall


def test_far_away_without_a_known_cause_is_said(painted):
    real, made = observe(painted, real=True), observe(painted)
    made = dataclasses.replace(made, features=-made.features, labels=None, texts=None)
    stains = stain_vectors(painted.tiles[REAL])
    (finding,) = diagnose(compute_evidence(real, made, stains=stains))
    assert finding.cause == "unexplained"


def test_examples_are_the_most_telling_tiles(painted):
    tiles = painted.tiles[MADE].copy()
    worst = np.array([3, 40, 77])
    tiles = blur(tiles, 1)
    tiles[worst] = blur(tiles[worst], 6)
    (finding,) = diagnose(judge(painted, tiles=tiles))
    assert set(worst) <= set(finding.examples)


def test_a_finding_says_numbers_thresholds_and_what_to_do(painted):
    (finding,) = diagnose(judge(painted, tiles=blur(painted.tiles[MADE], 2)))
    row = finding.as_row([f"tile-{k}" for k in range(len(MADE))])
    assert row["alarm"] is True
    assert row["title"] == "blur"
    assert row["numbers"]["sharpness"] < -1
    assert "threshold" in row["text"]
    assert "real halves" in row["text"]
    assert CAUSES["blur"][1] in row["text"]
    assert len(row["examples"]) == 6
    assert row["examples"][0].startswith("tile-")


def test_noise_of_real_halves_can_silence_a_threshold(painted):
    evidence = judge(painted, tiles=blur(painted.tiles[MADE], 1))
    assert [found.cause for found in diagnose(evidence)] == ["blur"]
    assert diagnose(evidence, Thresholds(noise=1e6)) == []


def invent(**numbers):
    """Evidence over all with these numbers and hardly any noise."""
    overall = {"sharpness": 0.0, "blockiness": 0.0, "eosin": 0.0, "hematoxylin": 0.0, "hue": 0.0}
    overall |= {"distance": 0.0, "following": 0.0} | numbers
    measured = {name: Contrast(value, 0.0, 0.01) for name, value in overall.items()}
    return Evidence(measured, {}, {}, {}, 20, 20, np.full(20, ""))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"eosin": -0.6}, ["washed eosin"]),
        ({"eosin": -0.6, "hematoxylin": -0.3}, ["washed eosin"]),  # both fade, eosin the more
        ({"eosin": -0.6, "hematoxylin": 0.2}, ["stain shift"]),  # washing adds no hematoxylin
        ({"eosin": -0.4, "hue": 0.2}, ["stain shift"]),  # the hue moved more than eosin went
        ({"eosin": 0.6}, ["stain shift"]),
        ({"hematoxylin": -0.4}, ["stain shift"]),
        ({"sharpness": -2.0, "blockiness": 0.05}, ["blur"]),
        ({"sharpness": -0.6, "blockiness": 0.5}, ["compression"]),
        ({"sharpness": -2.0, "hue": 0.15}, ["blur", "stain shift"]),
        ({"sharpness": -2.0, "hue": 0.05}, ["blur"]),  # less than half as heavy
        ({"sharpness": -0.5, "following": -0.9}, ["poor alignment"]),
        ({"sharpness": -2.0, "following": -0.5}, ["blur"]),  # what is blurred is recognised less
        ({"following": 0.5, "sharpness": 2.0, "blockiness": -0.5}, []),
        ({"distance": 1.5}, ["unexplained"]),
        ({"distance": 1.5, "hue": -0.1}, ["stain shift"]),
    ],
)
def test_the_rules(numbers, expected):
    assert [found.cause for found in diagnose(invent(**numbers))] == expected


def test_the_same_seed_gives_the_same_evidence(painted):
    assert judge(painted).overall == judge(painted).overall


def test_works_without_pixels_labels_or_texts(painted):
    real, made = Observed(painted.features[REAL]), Observed(painted.features[MADE])
    evidence = compute_evidence(real, made, stains=np.eye(3)[:2])
    assert set(evidence.overall) == {"duplicates", "variety", "coverage", "distance"}
    assert diagnose(evidence) == []


def test_refuses_parts_of_other_lengths_and_small_sets(painted):
    real = Observed(painted.features[REAL], labels=painted.labels)
    with pytest.raises(DataError, match="labels of real: 192 rows; expected 96"):
        compute_evidence(real, observe(painted), stains=np.eye(3)[:2])
    with pytest.raises(DataError, match="at least 16 rows"):
        compute_evidence(Observed(painted.features[:5]), observe(painted), stains=np.eye(3)[:2])


def test_swap_class_is_what_the_diagnosis_sees_as_repeated_when_tiles_lie_twice(painted):
    shown = MADE[swap_class(painted.labels[MADE], "fat", "glands", 1.0)]
    assert causes(painted, shown=shown)[0] == ("duplicates", "")
