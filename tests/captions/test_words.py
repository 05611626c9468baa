"""Words that a model cannot know: found in any spelling, and never where it knows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.captions.trained_on import read_trained_on
from crafts.captions.words import NEUTRAL, KnownWords, count_words, words_of
from crafts.shelf import find_model

LISTS = Path(__file__).parent / "words"
CAPTIONS = (
    ["Colon adenocarcinoma, H&E, high-power view.", "colonic tumour with many lymphocytes"],
    ["oral mucosa, hematoxylin and eosin stain; crowded nuclei"],
)


@pytest.fixture(scope="module")
def known() -> KnownWords:
    return KnownWords(count_words(CAPTIONS))


@pytest.fixture(scope="module")
def first() -> KnownWords:
    """What the first mini was trained on; the lists beside it were written for that one."""
    found = read_trained_on(LISTS)
    assert found is not None
    return found.known_words()


@pytest.fixture(scope="module")
def shipped() -> KnownWords:
    found = read_trained_on(find_model("mini"))
    assert found is not None
    return found.known_words()


def listed(name: str) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for line in (LISTS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            parts[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            parts.setdefault("", []) if not parts else None
            list(parts.values())[-1].append(line)
    return parts


@pytest.mark.parametrize(
    ("text", "strange"),
    [
        ("A colon, H&E", []),
        ("COLON ADENOCARCINOMAS", []),
        ("high power views; highpower", []),
        ("tumor with a lymphocyte, the nucleus of it", []),
        ("haematoxylin & eosin stained", []),
        ("the tumour's nuclei", []),
        ("A cat in the colon", ["cat"]),
        ("Ki-67, PD-L1 and p53", ["Ki-67", "PD-L1", "p53"]),
        ("colon melanoma melanoma", ["melanoma"]),
        ("Lunge, Niere", ["Lunge", "Niere"]),
        ("low-power", ["low-power"]),
        ("a 🐱 with 猫", ["🐱", "猫"]),
        ("200x ©", ["200x"]),
        ("", []),
        ("... --- !", []),
    ],
)
def test_unknown_words_are_found_as_they_are_written(
    known: KnownWords, text: str, strange: list[str]
) -> None:
    assert [found.word for found in known.unknown(text)] == strange


def test_a_word_counts_once_a_picture() -> None:
    counts = count_words(CAPTIONS)
    assert counts["colon"] == 1 and counts["power"] == 1 and counts["high-power"] == 1


def test_the_nearest_is_named(known: KnownWords) -> None:
    assert known.nearest("adenocarcinma") == ("adenocarcinoma",)
    assert known.nearest("liver") == ("colon", "mucosa", "oral")  # organs and the like
    assert known.nearest("Giemsa")[0] in ("eosin", "hematoxylin")
    assert known.nearest("bicycle") == ()
    assert str(known.unknown("bicycle")[0]) == "'bicycle' (nothing like it)"
    assert str(known.unknown("Giemsa")[0]).startswith("'Giemsa' (nearest that it knows: ")


@pytest.mark.parametrize("kind", ["organs", "stains", "objects", "diagnoses", "german", "marks"])
def test_what_a_model_never_saw_is_told(first: KnownWords, kind: str) -> None:
    words = listed("unknown.txt")[kind]
    missed = [word for word in words if not first.unknown(word)]
    assert len(missed) <= 0.05 * len(words), missed


def test_slips_of_the_pen_are_told(first: KnownWords) -> None:
    words = listed("unknown.txt")["typos"]
    assert sum(bool(first.unknown(word)) for word in words) >= 0.9 * len(words)


def test_what_a_model_knows_is_left_alone(first: KnownWords) -> None:
    words = listed("known.txt")[""]
    flagged = [word for word in words if first.unknown(word)]
    assert len(flagged) <= 0.05 * len(words), flagged


def test_a_grade_is_no_stain(shipped: KnownWords) -> None:
    assert shipped.knows("Gleason")
    assert set(shipped.nearest("Ki-67")).isdisjoint({"gleason", "score", "system"})


def test_the_shipped_model_knows_tissue_and_no_objects(shipped: KnownWords) -> None:
    strange = [word for kind in ("objects", "marks") for word in listed("unknown.txt")[kind]]
    missed = [word for word in strange if not shipped.unknown(word)]
    assert len(missed) <= 0.05 * len(strange), missed
    words = listed("known.txt")[""]
    flagged = [word for word in words if shipped.unknown(word)]
    assert len(flagged) <= 0.05 * len(words), flagged


def test_words_that_stood_with_text_alone_are_unknown(first: KnownWords) -> None:
    """PathGen's captions trained the text encoder; no picture of theirs was seen."""
    assert [found.word for found in first.unknown("hepatocytes with steatosis")] == [
        "hepatocytes",
        "steatosis",
    ]


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    known = KnownWords(count_words([[text]]))
    assert known.unknown(text) == ()
    empty = KnownWords({})
    found = [item.word for item in empty.unknown(text)]
    assert found == [w for w in dict.fromkeys(words_of(text)) if not empty.knows(w)]


@given(st.sampled_from(sorted(NEUTRAL)), st.sampled_from(["colon", "oral", "nuclei"]))
def test_neutral_words_are_no_matter(neutral: str, word: str) -> None:
    assert KnownWords(count_words(CAPTIONS)).unknown(f"{neutral.title()} {word}") == ()
