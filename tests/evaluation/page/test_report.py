"""The page of an evaluation."""

import numpy as np
import pytest

from crafts.core.page import CLASS_ROLES
from crafts.data.painter import paint_tile
from crafts.evaluation import results as found
from crafts.evaluation.page.pictures import MAX_PICTURES, build_montages, map_classes
from crafts.evaluation.page.report import write_report
from crafts.evaluation.page.tables import (
    comparison_tables,
    measured_cell,
    slice_tables,
    stain_tables,
)
from crafts.evaluation.page.verdict import compose_stats, compose_verdict, sum_up
from page_checks import Page

HOSTILE = "<script>alert(1)</script>"
TILE = paint_tile(seed=0, index=0, size=128).image


def measured(value, spread=0.01):
    return found.Measured(value=value, spread=spread, kind="halvings")


def rows(scope="all", name="", **kernel):
    """The three rows with their baseline; ``kernel`` replaces kernel distances by key."""
    distances = {"heldout": 0.3, "floor": 0.1, "nearest": 0.2, "train": 0.25, **kernel}
    return [
        found.Comparison(
            key=key,
            title=f"{key} row",
            scope=scope,
            name=name,
            n=100,
            groups=7,
            measures={
                "kernel_distance": measured(value),
                "frechet_distance": found.Measured(why="N is small"),
                "precision_k5": measured(0.8),
                "recall_k5": measured(0.7),
                "recall_k3": measured(0.6),
            },
        )
        for key, value in distances.items()
        if value is not None
    ]


def alignment(own=60.0, shuffled=20.0):
    values = {"generated": own, "shuffled": shuffled, "heldout": 65.0}
    return [
        found.AlignmentRow(key=key, title=f"{key} tiles", n=100, prompt_alignment=measured(value))
        for key, value in values.items()
    ]


def build(**changes):
    values = dict(
        lead="kernel_distance",
        n=100,
        width=512,
        seed=0,
        repetitions=5,
        repetition="halvings",
        matching="class",
        encoder={"name": "mini", "licence": "Apache-2.0"},
        sets=[
            found.ComparedSet(
                name=name, folder=name, fingerprint="ab" * 32, listed=9, used=9, rejected=0
            )
            for name in ("generated", "heldout")
        ],
        prompts=found.PromptSource(heldout=100, checked=True),
        rows=rows(),
        alignment=alignment(),
        diagnosed=found.Diagnosed(done=True, generated=90, heldout=80, detail=True),
    )
    return found.Results(**{**values, **changes})


def full():
    """An evaluation in which every section has something to say, all names hostile."""
    results = build(
        rows=rows() + rows("class", HOSTILE) + rows("power", HOSTILE),
        encoder={"name": HOSTILE},
        left_out={HOSTILE: HOSTILE},
        marks=[found.Mark(code="a", loud=loud, text=HOSTILE) for loud in (True, False)],
        separation={
            "generated": {
                "embedding": found.Separated(value=20.0, per_class={HOSTILE: 20.0}, floor=-3.0)
            }
        },
        generations=[
            found.Generation(name=HOSTILE, n=9, measures={"kernel_distance": measured(0.3)})
        ],
        stains=[
            found.StainRow(
                set="generated",
                name=HOSTILE,
                n=9,
                haematoxylin=0.3,
                haematoxylin_sd=0.1,
                eosin=0.2,
                eosin_sd=0.1,
            )
        ],
        stain_clusters=[
            found.StainCluster(
                name=HOSTILE, haematoxylin=0.3, eosin=0.2, shares={"generated": 0.25}
            )
        ],
        statistics={"file": HOSTILE, "num_images": None},
        gate=found.GateYield(
            listed=9,
            kept=6,
            refused=3,
            classes={HOSTILE: {"listed": 9, "kept": 6}},
            reasons={HOSTILE: 3},
            real_pass=0.925,
        ),
        diagnosis=[{"title": HOSTILE, "text": HOSTILE, "alarm": True, "examples": ["a", "b"]}],
    )
    pick = found.Pick(name="a", text=HOSTILE, alignment=50.0)
    gallery = found.Gallery(
        picks=[
            found.ClassPicks(name=HOSTILE, best=[pick], median=[pick], worst=[pick], real=["r"])
        ],
        nearest=[found.NearestPair(generated="a", train="t", cosine=0.99, text=HOSTILE)],
        points=[
            found.Point(set=name, name="a", label=HOSTILE, x=x, y=0.0)
            for x, name in enumerate(("generated", "heldout"))
        ],
        map_settings={"perplexity": 30},
    )
    return results, gallery


def test_the_full_page_is_whole_and_escaped(tmp_path):
    results, gallery = full()
    write_report(results, tmp_path / "a.html", gallery=gallery, open_tile=lambda *_: TILE)
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == []
    wanted = (
        "marks comparison diagnosis classes generations stains gate montages map nearest facts "
        "reading"
    ).split()
    assert [name for name in page.ids if name in wanted] == wanted
    assert page.text.count(HOSTILE) >= 20
    assert page.pictures == 2 + 4 + 2  # examples, montage, nearest pair
    assert "Each generation by itself" in page.text and "k = 3: 0.600" in page.text
    assert "Real held-out tiles (control) – – 92.5" in page.text


def test_empty_sections_vanish(tmp_path):
    write_report(build(alignment=[]), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == [] and page.pictures == 0
    wanted = ["comparison", "diagnosis", "facts", "reading"]
    assert [name for name in page.ids if name != "verdict"] == wanted


def test_tiles_that_cannot_be_opened_leave_no_hole(tmp_path):
    results, gallery = full()
    write_report(results, tmp_path / "a.html", gallery=gallery, open_tile=lambda *_: None)
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == [] and page.pictures == 0
    assert not {"montages", "nearest"} & set(page.ids)


@pytest.mark.parametrize("classes", [1, 30])
def test_many_classes_stay_a_small_page(tmp_path, classes):
    noise = np.random.default_rng(0).integers(0, 64, (256, 256, 3), dtype=np.uint8)
    tile = paint_tile(seed=0, index=0).image // 2 + noise
    chosen = [found.Pick(name=str(i), text="a prompt", alignment=50.0) for i in range(6)]
    picks = [
        found.ClassPicks(name=str(i), best=chosen, median=chosen, worst=chosen, real=list("abcdef"))
        for i in range(classes)
    ]
    montages = build_montages(picks, lambda *_: tile)
    shown = sum(len(pictures) for montage in montages for _, pictures in montage.groups)
    assert len(montages) == classes
    assert 8 * classes <= shown <= max(MAX_PICTURES, 8 * classes)
    gallery = found.Gallery(picks=picks)
    write_report(build(), tmp_path / "a.html", gallery=gallery, open_tile=lambda *_: tile)
    assert (tmp_path / "a.html").stat().st_size < 5e6


def said(verdict):
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
    assert words in said(verdict)


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
    assert words in said(verdict)
    assert ("lie as near" in said(verdict)) == (level == "good")


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
    text = said(compose_verdict(results))
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
    assert "below 0" not in said(compose_verdict(build()))


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
    assert words in said(verdict)


def test_numbers_that_are_missing_are_said_to_be():
    results = build(rows=[row for row in rows() if row.key == "floor"], alignment=[])
    assert "could not be measured" in said(compose_verdict(results))
    empty = build(lead="frechet_distance")
    assert "Fréchet distance: no value. N is small" in said(compose_verdict(empty))
    assert [stat.label for stat in compose_stats(results)] == ["Tiles on each side"]


def test_every_measure_of_every_row_stands_in_a_table_or_is_said_to_be_missing(tmp_path):
    extra = rows()
    extra[0].measures["new_measure"] = measured(0.5)
    tables = comparison_tables(build(rows=extra))
    labels = [column.label for table in tables for column in table.columns]
    assert labels == ["Kernel distance", "Precision", "Recall", "new measure"]
    heads = [row.head for row in tables[0].rows]
    assert heads == ["Heldout row", "Train row", "Floor row", "Nearest row"]
    write_report(build(), tmp_path / "a.html")
    text = Page((tmp_path / "a.html").read_text()).text
    assert "Without a value: Fréchet distance (N is small)." in text


def test_stains_of_a_class_stand_beside_each_other():
    stains = [
        found.StainRow(
            set=name,
            name=label,
            n=9,
            haematoxylin=density,
            haematoxylin_sd=0.1,
            eosin=0.2,
            eosin_sd=0.1,
        )
        for name, label, density in (
            ("generated", "", 0.3),
            ("generated", "gland", 0.4),
            ("heldout", "gland", 0.5),
            ("heldout", "fat", 0.6),
        )
    ]
    whole, classes = stain_tables(build(stains=stains))
    assert [row.head for row in whole.rows] == ["Generated"]
    shown = {row.head: [cell.text for cell in row.cells] for row in classes.rows}
    assert [column.note for column in classes.columns] == ["generated", "held-out"] * 2
    assert shown == {
        "fat": ["–", "0.600", "–", "0.200"],
        "gland": ["0.400", "0.500", "0.200", "0.200"],
    }


def test_small_slices_show_a_distance_that_they_have():
    measures = {
        "frechet_distance": found.Measured(why="too few"),
        "kernel_distance": measured(0.4),
    }
    row = found.Comparison(
        key="heldout", title="x", scope="organ", name="lung", n=10, measures=measures
    )
    (table,) = slice_tables(build(lead="frechet_distance", rows=[*rows(), row]))
    labels = [column.label for column in table.columns]
    assert labels == ["Tiles", "Kernel distance"]  # columns without any value are left out
    assert [cell.text for cell in table.rows[0].cells] == ["10", "0.400"]


def test_a_spread_that_is_mere_rounding_is_not_shown():
    assert measured_cell(measured(6.4, spread=3e-15)).note == ""
    assert measured_cell(measured(6.4, spread=0.1)).note == "± 0.100"


def test_the_map_names_as_many_classes_as_it_has_colours():
    points = [
        found.Point(set="heldout", name="a", label=f"class {i}", x=0.0, y=0.0)
        for i in range(14)
        for _ in range(20 - i)
    ]
    legend = map_classes(points)
    assert [role for role, _, _ in legend] == [*CLASS_ROLES, "rest"]
    assert legend[0][1:] == ("class 0", 20)
    assert sum(count for _, _, count in legend) == len(points)
