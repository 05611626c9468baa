"""Facts read back from captions are those that the captions were composed of."""

from __future__ import annotations

import random

import pytest

from crafts.captions.privacy import disallowed
from crafts.captions.prompts import TileFields, compose
from crafts.experiments.corpus.words import (
    as_figure,
    captions_without,
    compose_report,
    facts_of,
    summarize,
    summarize_whole,
)
from crafts.testing import count_words

FACTS = (
    TileFields("prostate", "adenocarcinoma", grade="Gleason 4", power="low"),
    TileFields("oral mucosa", "squamous cell carcinoma", power="high"),
    TileFields("colon", "polyp", power="high", features=("gland lumens",)),
    TileFields("colon", tissue="stroma", cells={"lymphocyte": "many", "plasma": "some"}),
    TileFields("bone", "necrotic osteosarcoma", power="low", features=("densely cellular",)),
)


def row_of(facts: TileFields, number: int = 24) -> dict:
    rng = random.Random(3)
    return {
        "key": "tile",
        "set": "some",
        "patient": "p1",
        "organ": facts.organ,
        "power": facts.power,
        "label": "a class",
        "captions": [compose(facts, rng) for _ in range(number)],
        "text": "a caption",
    }


@pytest.mark.parametrize("facts", FACTS)
def test_facts_are_read_back(facts):
    found = facts_of(row_of(facts))
    assert (found.organ, found.diagnosis, found.grade, found.power) == (
        facts.organ,
        facts.diagnosis,
        facts.grade,
        facts.power,
    )
    assert found.tissue == facts.tissue
    assert dict(found.cells) == dict(facts.cells)
    assert set(found.features) == set(facts.features)


def test_a_field_that_is_left_out_is_never_said():
    row = row_of(TileFields("colon", "polyp", power="high", features=("gland lumens",)))
    said = {name: " ".join(captions_without(name, row)).lower() for name in ("", "power", "cells")}
    assert "lumens" in said[""] and "lumens" in said["power"] and "lumens" not in said["cells"]
    for word in ("high", "strong", "close view"):
        assert word not in said["power"]
    assert any(word in said[""] for word in ("high", "strong", "close view"))


@pytest.mark.parametrize("tokens", [20, 35, 50])
def test_summaries_hold_their_budget_and_keep_the_diagnosis(tokens):
    facts = TileFields("colon", "adenocarcinoma", features=("gland lumens", "densely cellular"))
    summary = summarize(row_of(facts), facts, tokens, count_words)
    assert summary.startswith("Adenocarcinoma, colon.")
    assert count_words(summary) <= tokens and not disallowed(summary)


def test_a_longer_summary_says_more():
    facts = TileFields("colon", "adenocarcinoma", features=("gland lumens", "densely cellular"))
    short, long = (summarize(row_of(facts), facts, tokens, count_words) for tokens in (12, 154))
    assert count_words(long) > count_words(short)


@pytest.mark.parametrize("tokens", [20, 35, 50, 154])
def test_a_whole_summary_fills_its_budget_behind_what_the_tile_shows(tokens):
    facts = TileFields("colon", "adenocarcinoma", features=("gland lumens", "densely cellular"))
    row = row_of(facts)
    whole = summarize_whole(row, facts, tokens, count_words)
    assert whole.startswith(summarize(row, facts, tokens, count_words))
    assert count_words(whole) == tokens  # a word is a token here: not one more would fit
    assert whole == summarize_whole({**row, "key": "another tile"}, facts, tokens, count_words)
    assert "#" not in whole


def test_without_a_finding_the_caption_stands():
    assert summarize(row_of(TileFields()), TileFields(), 20, lambda text: 99) == "a caption"


def test_what_no_tile_shows_is_the_same_for_a_patient():
    facts = TileFields("colon", "adenocarcinoma")
    one, two = row_of(facts), {**row_of(facts), "key": "another tile"}
    assert compose_report(one, facts) == compose_report(two, facts)
    assert "Margins" in compose_report(one, facts)
    assert "Margins" not in compose_report(one, TileFields("colon", "normal"))


def test_a_figure_caption_keeps_most_words_and_their_order():
    text = "benign prostate glands with many lymphocytes at low power"
    said = as_figure(text, random.Random(1)).split()
    kept = [word for word in text.split() if word in said]
    assert len(kept) >= 5
    assert [word for word in said if word in kept] == kept
