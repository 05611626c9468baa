"""What the page says first: the verdict and its reasons."""

import pytest

from crafts.evaluation import results as found
from crafts.evaluation.page.verdict import compose_stats, compose_verdict, sum_up
from evaluation.page.built_results import alignment, build, measured, rows


def text_of(verdict):
    return " ".join((verdict.headline, *verdict.warnings, *verdict.reasons)).replace(
        "\N{NO-BREAK SPACE}", " "
    )


LOUD = [found.Mark(code="training_prompts", loud=True, text="Training prompts.")]


@pytest.mark.parametrize(
    "changes, level, words",
    [
        ({}, "warn", "3.00 times the floor: outside the spread of what real tiles show"),
        ({"rows": rows(heldout=0.11)}, "good", "as near to held-out tiles (0.110) as real groups"),
        ({"rows": rows(heldout=0.11), "marks": LOUD}, "warn", "Training prompts."),
        ({"rows": rows(heldout=0.11, floor=None)}, "warn", "No floor"),
        ({"alignment": alignment(own=20.0)}, "bad", "Prompts are not followed"),
        ({}, "warn", "Prompts are followed: alignment 60.0 % with their own prompts, 20.0 %"),
        ({}, "warn", "would score 0.200, nearer to held-out tiles than the model"),
        ({"rows": rows(nearest=0.4)}, "warn", "would score 0.400, farther from held-out tiles"),
        ({"rows": rows(heldout_train=0.4)}, "warn", "nearer than new patients do"),
        ({"rows": rows(heldout=0.11)}, "good", "The diagnosis names no cause."),
        (
            {"rows": rows(heldout=0.11), "diagnosed": found.Diagnosed(why="12 tiles are few")},
            "warn",
            "Causes of failure were not looked for: 12 tiles are few.",
        ),
        (
            {"rows": rows(heldout=0.11), "diagnosed": found.Diagnosed(done=True, why="scales")},
            "warn",
            "Blur and block edges were not judged.",
        ),
        ({"diagnosis": [{"title": "Blur", "alarm": True}]}, "bad", "names a cause: Blur."),
        ({"diagnosis": [{"title": "Blur", "alarm": False}]}, "warn", "lie 0.300 from"),
    ],
)
def test_the_verdict_says_what_the_numbers_say(changes, level, words):
    verdict = compose_verdict(build(**changes))
    assert verdict.level == level
    assert words in text_of(verdict)


def few(spread, *, groups=7, got=0.11, floor=0.1):
    """Distances whose draws of real against real lie ``spread`` apart."""
    return [
        row.model_copy(
            update={
                "groups": groups,
                "measures": {"kernel_distance": measured(value, spread)},
            }
        )
        for row, value in zip(rows()[:2], (got, floor), strict=True)
    ]


@pytest.mark.parametrize(
    "distances, level, words",
    [
        (few(0.02), "good", "14 groups show a difference of 0.071 or more in four tries of five"),
        (few(0.06), "warn", "Too few to tell by kernel distance: 14 groups, at least about 54 are"),
        (few(0.06), "warn", "Too few to tell: 14 groups show a difference of 0.212 or more only"),
        (few(0.06), "warn", "needed to see a difference of 0.100; generated tiles lie 0.110"),
        (few(0.02, groups=2), "warn", "Too few to tell: 4 groups show a difference of 0.105"),
        (few(0.0, groups=1, got=0.5), "warn", "Too few to tell: 2 groups can be halved in one way"),
        (few(0.01, floor=-0.001, got=0.0), "warn", "real groups lie no measurable distance apart"),
        (few(0.01, groups=0), "warn", "Patients are not named"),
        (few(0.01, groups=0), "warn", "No difference was seen by kernel distance, but nothing"),
        (few(0.06, got=0.5), "warn", "Generated tiles can be told from real ones"),
    ],
)
def test_as_near_as_real_groups_needs_a_test_that_could_have_told(distances, level, words):
    verdict = compose_verdict(build(rows=distances))
    assert verdict.level == level
    assert words in text_of(verdict)
    assert ("lie as near" in text_of(verdict)) == (level == "good")


def used(generated, heldout):
    sizes = {"generated": generated, "heldout": heldout}
    return [
        found.ComparedSet(
            name=name, folder=name, fingerprint="ab" * 32, listed=size, used=size, rejected=0,
            groups=50 if name == "heldout" else 0,
        )
        for name, size in sizes.items()
    ]  # fmt: skip


@pytest.mark.parametrize(
    "generated, heldout, words, remedy",
    [
        (12, 200, "only 12 generated tiles a side: make 50 or more;", "Make 50 generated tiles"),
        (60, 200, "50 groups, more are needed;", "Give more held-out patients"),
        (12, 20, "50 groups, more are needed;", "Give more held-out patients"),
    ],
)
def test_the_smaller_limit_is_named_with_its_remedy(generated, heldout, words, remedy):
    results = build(rows=few(0.01, floor=-0.001, got=0.0), sets=used(generated, heldout), n=12)
    text = text_of(compose_verdict(results))
    assert f"Too few to tell by kernel distance: {words}" in text
    assert remedy in text


def test_a_distance_below_zero_is_said_to_be_none():
    results = build(rows=few(0.038, floor=0.1, got=-0.074))
    verdict = compose_verdict(results)
    assert "tiles lie about 0 (−0.074 ± 0.038) from held-out ones" in verdict.headline
    assert "A distance below 0 means: no difference seen." in verdict.reasons
    stat = compose_stats(results)[0]
    assert (stat.value, stat.note[:15]) == ("about 0", "−0.074 ± 0.038;")
    assert sum_up(results) == f"Take care: {verdict.headline}"
    assert "below 0" not in text_of(compose_verdict(build()))


@pytest.mark.parametrize(
    "spread, real, level, words",
    [
        (5.0, 65.0, "bad", "Prompts are not followed: alignment 25.0 %"),
        (25.0, 65.0, "warn", "Too few to tell whether prompts are followed (100 tiles show 50.0"),
        (25.0, 65.0, "warn", "at least about 124 are needed to see the 45.0 of real tiles)"),
        (None, 65.0, "warn", "Too few groups to tell whether prompts are followed (at least 8"),
        (25.0, None, "bad", "Prompts are not followed"),
    ],
)
def test_prompts_not_followed_needs_a_test_that_could_have_told(spread, real, level, words):
    values = {"generated": 25.0, "shuffled": 20.0, "heldout": real}
    rows_ = [
        found.AlignmentRow(key=key, title=key, n=100, prompt_alignment=measured(value, spread))
        for key, value in values.items()
        if value is not None
    ]
    verdict = compose_verdict(build(rows=rows(heldout=0.11), alignment=rows_))
    assert verdict.level == level
    assert words in text_of(verdict)


def test_numbers_that_are_missing_are_said_to_be():
    results = build(rows=[row for row in rows() if row.key == "floor"], alignment=[])
    assert "could not be measured" in text_of(compose_verdict(results))
    empty = build(lead="frechet_distance")
    assert "Fréchet distance: no value. N is small" in text_of(compose_verdict(empty))
    assert [stat.label for stat in compose_stats(results)] == ["Tiles on each side"]
