"""What a model folder says of its training: collected, joined, written and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crafts.captions.trained_on import FILE, TrainedOn, collect, read_trained_on, write_trained_on
from crafts.core.errors import CraftsError

ROWS = [
    {"key": "a", "text": "Colon, benign.", "label": "benign", "set": "one", "patient": "P1"},
    {"key": "b", "text": "Colon, benign.", "label": "benign", "set": "one", "patient": "P1"},
    {"key": "c", "captions": ["case 20241234 lung"], "label": "lung", "set": "two"}
    | {"licence": "CC0"},
]


def test_classes_sets_groups_and_words_are_counted() -> None:
    (corpus,) = collect(ROWS).corpora.values()
    assert (corpus.tiles, corpus.groups) == (3, 1)
    assert {name: share.tiles for name, share in corpus.classes.items()} == {"benign": 2, "lung": 1}
    assert corpus.classes["benign"].prompt == "Colon, benign."
    assert corpus.classes["lung"].prompt == "", "a caption of one tile may be about one person"
    assert corpus.sets["two"].licences == ("CC0",)
    assert corpus.words == {"benign": 2, "colon": 2, "case": 1, "lung": 1}, "no number of a case"


def test_the_same_tiles_count_once_and_others_are_added() -> None:
    first = collect(ROWS[:2])
    assert first.and_also(collect(ROWS[1::-1])) == first
    both = first.and_also(collect(ROWS[2:]))
    assert both.known_words().unknown("benign lung") == ()
    assert list(both.classes()) == ["benign", "lung"]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = collect(ROWS)
    write_trained_on(found, tmp_path)
    assert read_trained_on(tmp_path) == found
    assert read_trained_on(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 2}', '{"corpora": {"a": {"tiles": -1}}}', "[" * 100_000,
     '{"corpora": {"a": {"tiles": 1, "words": {"x": "many"}}}}', "\ud800"],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(CraftsError, match=FILE):
        read_trained_on(tmp_path)


def test_nothing_is_written_where_nothing_is_known(tmp_path: Path) -> None:
    write_trained_on(TrainedOn(), tmp_path)
    assert not (tmp_path / FILE).exists()
    json.dumps(TrainedOn().model_dump())
