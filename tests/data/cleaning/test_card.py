"""The data card counts what is there; its shares are those of a plain loop."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.core.records import Ledger
from crafts.data.cleaning.card import (
    BUDGETS,
    count_reasons,
    measure_lengths,
    render_card,
    write_card,
)
from crafts.data.listing.corpora import import_corpus
from page_checks import Page

ROWS = [
    {"text": "a b c", "patient": "p1", "slide": "s1", "label": "fat", "licence": "CC0"},
    {"text": "a b c", "captions": ["a b c", "d"], "patient": "p1", "slide": "s2", "label": "fat"},
    {"text": "", "captions": '["e f"]', "patient": "p2", "label": "scar", "split": "train"},
    {"text": None, "captions": None, "patient": float("nan")},
]


def words(text: str) -> int:
    return len(text.split()) + 2


def test_a_card_counts_images_captions_patients(tmp_path):
    card = write_card(ROWS, {"words": words}, tmp_path, rejects={"small": 2, "grey": 5}, title="T")
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert (card["images"], card["captions"], card["distinct_captions"]) == (4, 4, 3)
    assert (card["patients"], card["slides"], card["without_text"]) == (2, 2, 1)
    assert card["groups"]["label"] == [
        {"value": "fat", "images": 2, "patients": 1},
        {"value": "", "images": 1, "patients": 0},
        {"value": "scar", "images": 1, "patients": 1},
    ]
    assert set(card["groups"]) == {"label", "licence", "split"}
    assert list(card["rejects"]) == ["grey", "small"]
    facts = card["tokens"]["words"]
    assert (facts["mean"], facts["median"], facts["max"]) == (4.25, 4.5, 5)
    assert facts["histogram"] == {"3": 1, "4": 1, "5": 2}


def test_the_page_is_sound_and_says_what_the_json_says(tmp_path):
    rows = [*ROWS, {"text": "<script>alert(1)</script> " + "x " * 80, "label": "<b>"}]
    write_card(rows, {"words": words, "signs": len}, tmp_path, rejects={"a & b": 3}, title="A & B")
    page = Page((tmp_path / "card.html").read_text())
    assert page.faults == []
    for text in (
        "A & B",
        "Captions 5 4 distinct",
        "By label",
        "not known",
        "a & b",
        "Above 77",
        "20.0 %",
    ):
        assert text in page.text.replace("\N{NO-BREAK SPACE}", " "), text
    assert "alert(1)" not in page.text  # captions themselves are not shown


def test_many_classes_are_folded(tmp_path):
    rows = [{"text": "a", "label": f"class {number:03d}"} for number in range(100)]
    card = write_card(rows, {"words": words}, tmp_path)
    assert len(card["groups"]["label"]) == 100
    text = Page(render_card(card)).text
    assert "class 059" in text and "class 060" not in text and "40 more" in text


@given(st.lists(st.integers(2, 300), min_size=1, max_size=60))
def test_shares_equal_a_plain_loop(lengths):
    facts = measure_lengths(lengths)
    for budget in BUDGETS:
        over = [length for length in lengths if length > budget]
        assert facts["above"][str(budget)] == pytest.approx(len(over) / len(lengths), abs=1e-5)
        lost = sum(length - budget for length in over) / len(over) if over else 0
        assert facts["lost"][str(budget)] == pytest.approx(lost, abs=1e-3)
    assert sum(facts["histogram"].values()) == len(lengths)
    assert facts["median"] == np.median(lengths)


def test_reasons_are_counted_without_what_they_name():
    ledger = Ledger("test")
    for reason in ("copy of an image: a", "copy of an image: b", "grey"):
        ledger.reject("x", reason)
    assert count_reasons(ledger) == {"copy of an image": 2, "grey": 1}


def test_nothing_gives_no_card(tmp_path):
    with pytest.raises(DataError, match="data card of none: no row"):
        write_card([], {"words": words}, tmp_path, title="none")


def test_rows_without_any_text_have_no_lengths(tmp_path):
    card = write_card([{"patient": "p"}], {"words": words}, tmp_path)
    assert card["tokens"] == {} and Page((tmp_path / "card.html").read_text()).faults == []


def build_clip_tokenizer(merges_file: Path):
    """The tokenizer of CLIP (and of ViT-L/14 in Stable Diffusion 1.5) from its published merges."""
    from transformers import CLIPTokenizer

    with gzip.open(merges_file, "rt", encoding="utf-8") as handle:
        lines = handle.read().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printed]
    signs = [chr(byte) for byte in printed] + [chr(256 + index) for index in range(len(rest))]
    tokens = signs + [sign + "</w>" for sign in signs] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)


@pytest.fixture(scope="module")
def pathgen_rows(shared_data) -> list[dict]:
    path = shared_data / "text/pathgen_sample.json"
    return list(import_corpus("pathgen", path, Ledger("test")))


def test_seven_in_ten_pathgen_captions_are_cut_by_clip(pathgen_rows, shared_data, tmp_path):
    tokenizer = build_clip_tokenizer(shared_data / "text/clip_bpe/bpe_simple_vocab_16e6.txt.gz")
    # ids that CLIP's own documentation shows for this sentence
    wanted = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("a photo of a cat")["input_ids"] == wanted
    card = write_card(
        pathgen_rows, {"CLIP": lambda text: len(tokenizer(text)["input_ids"])}, tmp_path
    )
    facts = card["tokens"]["CLIP"]
    assert card["captions"] == 4160
    assert facts["above"]["77"] == pytest.approx(0.69, abs=0.005)
    assert facts["above"]["154"] == 0 and facts["above"]["35"] == facts["above"]["50"] == 1
    assert facts["mean"] == pytest.approx(81.3, abs=0.1)
    assert facts["lost"]["77"] == pytest.approx(8.1, abs=0.1)


def test_the_shipped_tokenizer_cuts_few_of_them(pathgen_rows, tmp_path):
    import crafts

    count = crafts.load("mini").bundle.text.count_tokens
    card = write_card(pathgen_rows, {"mini": count}, tmp_path)
    facts = card["tokens"]["mini"]
    assert facts["above"]["154"] == 0 and facts["above"]["35"] == 1
    assert facts["above"]["77"] == pytest.approx(0.035, abs=0.002)
    assert facts["mean"] == pytest.approx(64.7, abs=0.1)
