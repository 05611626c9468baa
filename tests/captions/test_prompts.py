"""Captions: only what is known, in many wordings; held-back words stay held back."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crafts.captions import prompts
from crafts.captions.prompts import VOCABULARY, TileFields, compose, describe_class, tile_fields
from crafts.core.errors import DataError

CANCER = {"organ": "prostate", "diagnosis": "adenocarcinoma", "grade": "Gleason 4", "power": "low"}
COLON = {"organ": "colon", "power": "high", "cells": {"lymphocyte": "many", "neutrophil": "none"}}


def captions_of(row, count=300, **options):
    return {compose(row, random.Random(seed), **options) for seed in range(count)}


def known(kind):
    return st.sampled_from(["", *VOCABULARY[kind]])


tiles = st.builds(
    TileFields,
    organ=known("organ"),
    diagnosis=known("diagnosis"),
    grade=known("grade"),
    tissue=known("tissue"),
    power=st.sampled_from(prompts.POWERS),
    cells=st.dictionaries(
        st.sampled_from(["lymphocyte", "epithelial", "plasma"]), st.sampled_from(prompts.LEVELS)
    ),
    features=st.lists(st.sampled_from(list(VOCABULARY["feature"])), max_size=2).map(tuple),
)


@given(tiles, st.integers(0, 10_000), st.booleans())
def test_every_caption_is_clean_text(tile, seed, held_back):
    text = compose(tile, random.Random(seed), held_back=held_back)
    assert text and text == text.strip()
    assert not re.search(r"[{}]|  |,,|, ?\.|\(\)|\.\.", text), text
    assert not re.search(r"\d+ ?x\b|\b[1-9]\d+\b", text), "a magnification that nobody stated"
    assert text == compose(tile, random.Random(seed), held_back=held_back)


@given(tiles, st.integers(0, 10_000))
def test_a_caption_fits_one_chunk_of_the_text_encoder(tile, seed):
    # CLIP's own tokenizer needs about 1.4 tokens a word here; 75 content tokens are one chunk
    assert len(re.findall(r"\w+|[^\w\s]", compose(tile, random.Random(seed)))) < 55


def test_wording_varies_and_registers_differ():
    texts = captions_of(CANCER)
    assert len(texts) > 150
    assert any(text.count(". ") >= 1 for text in texts), "report style"
    assert any(text.startswith(("This ", "Image ")) for text in texts), "sentence style"
    assert any(text[0].islower() and not text.endswith(".") for text in texts), "keyword style"


@pytest.mark.parametrize("kind", sorted(VOCABULARY))
def test_held_back_names_exist_and_are_no_training_names(kind):
    training = {name for words in VOCABULARY[kind].values() for name in words.training}
    for key, words in VOCABULARY[kind].items():
        assert words.training and words.held_back, key
        assert not training & set(words.held_back), key


def test_held_back_captions_never_occur_in_training():
    for row in (CANCER, COLON):
        assert not captions_of(row) & captions_of(row, held_back=True)
        held_back = [w for key in ("organ", "power") for w in VOCABULARY[key][row[key]].held_back]
        for text in captions_of(row):
            assert not any(re.search(rf"\b{re.escape(w)}\b", text) for w in held_back), text


def test_every_fact_is_said_somewhere_and_unknown_ones_never():
    every = " ".join(captions_of(CANCER)).lower()
    for kind, key in (("organ", "prostate"), ("grade", "Gleason 4"), ("power", "low")):
        assert all(name.lower() in every for name in VOCABULARY[kind][key].training)
    assert "lymphocyte" not in every and "lumens" not in every
    bare = " ".join(captions_of({"organ": "lung"})).lower()
    assert "power" not in bare and "magnification" not in bare and "carcinoma" not in bare


def test_many_and_few_lymphocytes_share_no_wording():
    many, few = (
        set(VOCABULARY["cell"][f"lymphocyte/{level}"].training) for level in ("many", "few")
    )
    assert not many & few
    assert "neutrophil" not in " ".join(captions_of(COLON)), "their absence is not remarkable"


def test_words_outside_the_vocabulary_are_used_as_they_are():
    assert all(
        "gallbladder" in text.lower() and "infarct" in text.lower()
        for text in captions_of({"organ": "gallbladder", "diagnosis": "infarct"})
    )


def test_describe_class_is_canonical():
    assert describe_class(CANCER) == ("prostate, adenocarcinoma, Gleason pattern 4, low power, H&E")
    assert describe_class(COLON) == "colon, many lymphocytes, high power, H&E"
    assert describe_class({"organ": "oral mucosa", "diagnosis": "normal", "power": "high"}) == (
        "oral mucosa, normal tissue, high power, H&E"
    )


def test_other_columns_of_a_row_are_left_alone():
    row = {**CANCER, "patient": "p1", "split": "train", "features": ["pen mark"]}
    assert tile_fields(row) == TileFields(**CANCER, features=("pen mark",))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"power": "40x"}, ("captions: power", "'40x'", "'low' or 'medium' or 'high'", "Correct")),
        ({"cells": {"plasma": "lots"}}, ("cells.plasma", "'lots'", "'none' or 'few'", "Correct")),
    ],
)
def test_a_wrong_field_is_refused_by_name(row, words):
    with pytest.raises(DataError) as error:
        tile_fields(row)
    assert all(word in str(error.value) for word in words)
