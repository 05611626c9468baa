"""The page of an audit."""

import numpy as np
import pytest

from crafts.auditing import results as found
from crafts.auditing.page.report import (
    LEAST_PAIRS,
    MAX_PAIRS,
    frame_source,
    nearest,
    write_report,
)
from crafts.auditing.page.verdict import compose_verdict, sum_up
from crafts.data.painter import paint_tile
from page_checks import Page

HOSTILE = "<script>alert(1)</script>"
YELLOW = (255, 221, 51)


def share(count, of, low=0.0, high=0.1):
    return found.Share(count=count, of=of, share=count / of, low=low, high=high)


def build(**changes):
    """A small clean audit without held-out tiles and model."""
    sets = [
        found.SetFacts(name=name, folder=name, listed=9, used=9, rejected=0)
        for name in ("generated", "train")
    ]
    values = dict(
        seed=0,
        encoder={"name": "mini"},
        sets=sets,
        copies=copies(),
        authenticity=share(80, 100, 0.7, 0.9),
    )
    return found.Results(**{**values, **changes})


def copies(**changes):
    values = dict(
        copies=share(0, 100, 0.0, 0.036),
        near=share(0, 100),
        plain=0,
        kinds={},
        correlation_threshold=found.Threshold(value=0.5, source="default"),
    )
    return found.Copies(**{**values, **changes})


def test_what_was_not_judged_is_not_shown_as_none_found(tmp_path):
    results = build(copies=copies(near=None))
    write_report(results, tmp_path / "a.html")
    text = Page((tmp_path / "a.html").read_text()).text
    assert "Near a training tile" not in text and "Near in the features" not in text
    write_report(build(), tmp_path / "b.html")
    text = Page((tmp_path / "b.html").read_text()).text
    assert "Near a training tile" in text and "Near in the features only" in text


def attack(name, low, high):
    return found.Attack(
        name=name,
        auc=(low + high) / 2,
        auc_low=low,
        auc_high=high,
        tpr=0.02,
        tpr_low=0.0,
        tpr_high=0.1,
        members=50,
        nonmembers=50,
    )


def full():
    """An audit in which every section has something to say, all names hostile."""
    copied = found.TileVerdict(
        name=HOSTILE,
        verdict="copy",
        kind="part",
        how=f"shifted {HOSTILE}",
        source=HOSTILE,
        correlation=0.9,
        overlap=0.5,
        shift=(0.0, 0.5),
        text=HOSTILE,
    )
    near = found.TileVerdict(
        name=HOSTILE, verdict="near", neighbour=HOSTILE, ratio=0.4, distance=0.1
    )
    clear = found.TileVerdict(name="c", verdict="clear", correlation=0.1, ratio=1.0)
    results = build(
        copies=copies(
            copies=share(3, 100, 0.006, 0.085),
            near=share(1, 100),
            plain=2,
            kinds={"part": 3},
            ratio_threshold=found.Threshold(value=0.6, source="heldout", n=50, quantile=0.6),
            heldout=share(1, 50, 0.0005, 0.1),
            leaks=[copied],
        ),
        model={"name": HOSTILE},
        authenticity_heldout=share(90, 100, 0.8, 0.95),
        membership=[attack("loss", 0.6, 0.7), attack("blind", 0.45, 0.55)],
        extraction=found.Extraction(
            copies=share(1, 16, 0.0016, 0.3),
            captions=[
                found.Extracted(text=HOSTILE, repeats=9, images=16, copies=1, clique=2, largest=0.8)
            ],
            verdicts=[copied],
        ),
        notes=[HOSTILE],
        fail_above=0.01,
        passed=False,
    )
    return results, [copied, near, clear], [clear]


def open_tile(side, name):
    return paint_tile(seed=0, index=int(side == "train"), size=64).image


def test_the_full_page_is_whole_and_escaped(tmp_path):
    results, verdicts, heldout = full()
    write_report(
        results,
        tmp_path / "a.html",
        verdicts=verdicts,
        heldout=heldout,
        open_tile=open_tile,
    )
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == []
    wanted = "notes copies near calibration membership extraction leaks facts reading".split()
    assert [name for name in page.ids if name in wanted] == wanted
    assert page.text.count(HOSTILE) >= 10
    assert page.pictures == 2 * 4  # copy, near, drawn, leak
    assert "3 of 100 generated tiles are copies of training tiles: 3.0 %" in page.text.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def clear(name, **facts):
    return found.TileVerdict(name=name, verdict="clear", neighbour=f"{name}-source", **facts)


def test_an_audit_without_findings_shows_the_nearest_pairs(tmp_path):
    verdicts = [
        clear(f"t{i:02d}", distance=0.9 - i / 100, ratio=2 + i / 100, correlation=0.1)
        for i in range(40)
    ]
    write_report(build(), tmp_path / "a.html", verdicts=verdicts, open_tile=open_tile)
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == [] and page.pictures == 2 * LEAST_PAIRS
    assert "nearest" in page.ids and "near" not in page.ids
    assert "t00-source" in page.text and "t11-source" in page.text  # lowest ratio first
    assert "t12-source" not in page.text
    assert "ratio 2.00: cosine distance 0.900" in page.text
    without = [one.model_copy(update={"ratio": None}) for one in verdicts]
    write_report(build(), tmp_path / "b.html", verdicts=without, open_tile=open_tile)
    assert "t39-source" in Page((tmp_path / "b.html").read_text()).text  # then by distance


def test_findings_push_the_nearest_of_the_rest_aside():
    rest = [clear(f"t{i}", distance=0.5) for i in range(9)]
    assert nearest(rest, 3) == rest[:3] and nearest(rest, -2) == []
    rejected = found.TileVerdict(name="r", verdict="rejected", reason="broken")
    assert nearest([rejected, *rest], 1) == rest[:1]


def test_empty_sections_vanish_and_pictures_are_left_out_without_tiles(tmp_path):
    write_report(build(), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text())
    assert page.faults == [] and page.pictures == 0
    assert [name for name in page.ids if name != "verdict"] == ["copies", "facts", "reading"]
    results, verdicts, heldout = full()
    write_report(results, tmp_path / "b.html", verdicts=verdicts, open_tile=lambda *_: None)
    assert Page((tmp_path / "b.html").read_text()).pictures == 0


def test_many_pairs_stay_a_small_page(tmp_path):
    names = [f"{i:03d}" for i in range(200)]
    verdicts = [found.TileVerdict(name=n, verdict="copy", source=n, correlation=0.9) for n in names]
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tile = paint_tile(seed=0, index=0).image
    write_report(
        build(copies=copies(copies=share(200, 200))),
        tmp_path / "a.html",
        verdicts=verdicts,
        open_tile=lambda *_: tile // 2 + noise // 8,
    )
    page = Page((tmp_path / "a.html").read_text())
    assert page.pictures == 2 * MAX_PAIRS and f"{MAX_PAIRS} of 200 are shown" in page.text
    assert (tmp_path / "a.html").stat().st_size < 5e6


@pytest.mark.parametrize(
    "changes, level, words",
    [
        (
            {"copies": copies(heldout=share(0, 50, 0, 0.07))},
            "good",
            "at most 3.6 %, at 95 % confidence",
        ),
        ({}, "warn", "Without held-out tiles the thresholds are not calibrated"),
        ({"fail_above": 0.01, "passed": False}, "bad", "is above the 1.0 % that this audit allows"),
        (
            {"copies": copies(copies=share(9, 100, 0.04, 0.2), heldout=share(1, 50, 0, 0.03))},
            "bad",
            "9 of 100 generated tiles are copies",
        ),
        (
            {"copies": copies(copies=share(1, 100, 0.0, 0.05), heldout=share(1, 50, 0, 0.09))},
            "warn",
            "1 of 100 generated tiles is a copy",
        ),
        (
            {
                "copies": copies(
                    copies=share(1, 100, 0.0, 0.05),
                    kinds={"exact file": 1},
                    heldout=share(1, 50, 0, 0.09),
                )
            },
            "bad",
            "Kinds of copies: 1 exact file",
        ),
        ({"membership": [attack("loss", 0.8, 0.9)]}, "bad", "Training tiles can be told"),
        (
            {"membership": [attack("loss", 0.6, 0.7), attack("blind", 0.55, 0.65)]},
            "warn",
            "Training tiles cannot be told",
        ),
        (
            {"membership": [attack("features", 0.278, 0.498), attack("blind", 0.45, 0.55)]},
            "warn",
            "below chance: this points to a difference between the two sets, not to memory",
        ),
        (
            {"membership": [attack("loss", 0.4, 0.8), attack("blind", 0.45, 0.55)]},
            "warn",
            "with 50 tiles of each side, about 200 are needed",
        ),
        (
            {"extraction": found.Extraction(copies=share(1, 16), captions=[])},
            "bad",
            "gave 1 copies in 16 tries",
        ),
        ({"authenticity_heldout": share(95, 100, 0.92, 1)}, "warn", "fewer than an honest"),
    ],
)
def test_the_verdict_says_what_the_numbers_say(changes, level, words):
    verdict = compose_verdict(build(**changes))
    text = " ".join((verdict.headline, *verdict.reasons)).replace("\N{NO-BREAK SPACE}", " ")
    assert verdict.level == level
    assert words in text


@pytest.mark.parametrize(
    "found_copies, words",
    [
        (share(0, 8, 0, 0.369), "0 copies among 8 generated tiles (95 %: up to 36.9 %)"),
        (share(1, 50, 0.01, 0.1), "1 copy among 50 generated tiles (95 %: 1.0 % to 10.0 %)"),
    ],
)
def test_the_result_fits_one_line(found_copies, words):
    line = sum_up(build(copies=copies(copies=found_copies)))
    assert line.replace("\N{NO-BREAK SPACE}", " ") == words


def frame_of(verdict, tile=(64, 64), source=(128, 128)):
    image = frame_source(
        np.zeros((*tile, 3), np.uint8), np.full((*source, 3), 200, np.uint8), verdict
    )
    rows, columns = np.nonzero((np.asarray(image) == YELLOW).all(-1))
    return (rows.min(), columns.min(), rows.max(), columns.max()) if len(rows) else None


def test_the_frame_lies_around_the_part_that_was_copied():
    def placed(matrix, shift):
        return found.TileVerdict(name="a", verdict="copy", matrix=matrix, shift=shift)

    whole = placed((0.0, -1.0, 1.0, 0.0), (0.0, 0.0))  # turned as a whole: nothing to frame
    assert frame_of(whole) is None
    quarter = frame_of(placed((0.5, 0.0, 0.0, 0.5), (-0.25, 0.25)))
    assert np.allclose(quarter, (1, 64, 64, 126), atol=3)
    right = frame_of(placed((1.0, 0.0, 0.0, 1.0), (0.0, 0.5)))  # the right half lies on it
    assert np.allclose(right, (1, 64, 126, 126), atol=3)
