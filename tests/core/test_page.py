"""One page that holds all it shows."""

import base64
import io
import re
import subprocess
import sys

import jinja2
import numpy as np
import pytest
from PIL import Image

from crafts.core import page as pages
from crafts.core.page import (
    INK,
    Cell,
    Column,
    Pair,
    Picture,
    Row,
    Stat,
    Table,
    Verdict,
    chart,
    data_uri,
    fact_text,
    number,
    render_page,
)
from crafts.report.figures import build_strip
from page_checks import Page

HOSTILE = "<script>alert('x')</script>\"'&{{ 7*7 }}"


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def put_template(monkeypatch, text):
    """A template ``trial/page.html`` beside those that are shipped."""
    shipped = pages._template
    monkeypatch.setattr(
        pages,
        "_template",
        lambda name: text if name == "trial/page.html" else shipped(name),
    )


PARTS = """{% extends "core/page.html" %}{% import "core/parts.html" as parts with context %}
{% block title %}{{ name }}{% endblock %}{% block kicker %}k{% endblock %}
{% block subject %}s{% endblock %}
{% block content %}{{ parts.verdict(verdict, stats) }}{{ parts.contents([("facts", name)]) }}
{{ parts.table(table) }}{{ parts.tiles([picture]) }}{{ parts.pairs([pair]) }}
{{ parts.strips([strip], [("real", name)]) }}{{ chart }}
<section id="facts">{{ parts.facts([(name, name)]) }}</section>{% endblock %}"""


def test_every_part_escapes_what_it_is_given_and_the_page_is_whole(monkeypatch):
    put_template(monkeypatch, PARTS)
    picture = Picture(data_uri(np.zeros((8, 8, 3), np.uint8)), HOSTILE, HOSTILE, HOSTILE, "bad")
    page = Page(
        render_page(
            "trial/page.html",
            {
                "name": HOSTILE,
                "verdict": Verdict("bad", HOSTILE, (HOSTILE,)),
                "stats": [Stat(HOSTILE, HOSTILE, HOSTILE)],
                "table": Table(
                    HOSTILE,
                    (Column(HOSTILE, HOSTILE),),
                    (Row(HOSTILE, (Cell(HOSTILE, HOSTILE),), HOSTILE, "real"),),
                ),
                "picture": picture,
                "pair": Pair(picture, picture, HOSTILE, HOSTILE, "warn"),
                "strip": build_strip(HOSTILE, {"real": (HOSTILE, 1.0, 0.5)}, note=HOSTILE),
                "chart": chart(lambda figure: figure.subplots(), alt=HOSTILE, name="a"),
            },
        )
    )
    assert page.faults == []
    assert page.text.count(HOSTILE) >= 20
    assert page.pictures == 3


def test_a_value_that_the_template_misses_is_an_error(monkeypatch):
    put_template(monkeypatch, "{{ nothing }}")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        render_page("trial/page.html", {})
    with pytest.raises(jinja2.TemplateNotFound):
        render_page("trial/absent.html", {})


@pytest.mark.parametrize(
    "name, base",
    [
        ("evaluation/report.html", "report/results.html"),
        ("auditing/report.html", "report/results.html"),
        ("report/results.html", "core/page.html"),
    ],
)
def test_templates_are_found_in_their_packages(name, base):
    assert f'{{% extends "{base}" %}}' in pages._template(name)
    assert pages._template("core/../core/absent.css") is None


@pytest.mark.parametrize(
    "value, percent, text",
    [
        (None, False, "–"),
        (float("nan"), False, "–"),
        (float("inf"), False, "∞"),
        (float("-inf"), False, "−∞"),
        (0, False, "0"),
        (1234567, False, "1,234,567"),
        (1234.5, False, "1,234"),
        (12.34, False, "12.3"),
        (1.234, False, "1.23"),
        (-0.0125, False, "−0.013"),
        (0.00001234, False, "1.2e-05"),
        (0.5, True, "50.0\N{NO-BREAK SPACE}%"),
        (0.1234, True, "12.3\N{NO-BREAK SPACE}%"),
        (0.00166, True, "0.17\N{NO-BREAK SPACE}%"),
        (1, True, "100\N{NO-BREAK SPACE}%"),
        (0.0, True, "0\N{NO-BREAK SPACE}%"),
    ],
)
def test_numbers_read_well(value, percent, text):
    assert number(value, percent=percent) == text


def test_facts_of_any_kind_stand_on_one_line():
    value = {"resize": [128, 128], "crop_size": None, "scale": 1 / 255, "on": True}
    assert fact_text(value) == "resize 128, 128; scale 0.00392157; on True"
    assert fact_text(None) == ""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK"])
def test_any_picture_becomes_a_small_jpeg(mode):
    wide = Image.new("L", (300, 150), 90).convert("RGB")
    image = Image.new("I;16", (300, 150)) if mode == "I;16" else wide.convert(mode)
    got = opened(data_uri(image, edge=100))
    assert (got.format, got.size, got.mode) == ("JPEG", (100, 50), "RGB")


def test_pictures_from_arrays_and_files_are_not_enlarged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    got = opened(data_uri(pixels, lossless=True))
    assert got.format == "PNG" and np.array_equal(np.asarray(got), pixels)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert data_uri(tmp_path / "a.png", lossless=True) == data_uri(pixels, lossless=True)
    with pytest.raises(OSError):
        data_uri(tmp_path / "absent.png")


def test_a_chart_follows_the_page_and_is_the_same_each_time():
    def draw(figure):
        axes = figure.subplots()
        axes.scatter([1, 2], [3, 4], c=INK["generated"])
        axes.set_xlabel("distance & more")

    first, second = (chart(draw, alt="two dots", name="dots") for _ in range(2))
    assert first == second
    page = Page(f"<main>{first}{chart(draw, alt='again', name='others')}</main>")
    assert page.faults == []
    assert "distance & more" in page.text  # text stays text
    assert "var(--generated)" in first and "var(--muted)" in first
    assert not any(color in first for color in INK.values())
    assert not re.search(r"<style|<metadata|DOCTYPE|https?:", first)


def test_nothing_heavy_is_imported_for_a_page_without_charts():
    code = "import sys, crafts.core.page; print([m for m in sys.modules if m in set(sys.argv[1:])])"
    heavy = ["matplotlib", "jinja2", "PIL", "numpy", "torch"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
