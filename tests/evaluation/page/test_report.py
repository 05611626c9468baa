"""The page of an evaluation."""

import numpy as np
import pytest

from crafts.data.painter import paint_tile
from crafts.evaluation import results as found
from crafts.evaluation.page.pictures import MAX_PICTURES, build_montages
from crafts.evaluation.page.report import write_report
from evaluation.page.built_results import build, measured, rows
from page_checks import Page

HOSTILE = "<script>alert(1)</script>"

TILE = paint_tile(seed=0, index=0, size=128).image


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
