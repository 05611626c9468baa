"""What a model was trained on: ``trained_on.json`` in its folder, and how it is collected.

It says nothing of the weights, so it is no part of a model's identity. It lists words of training
captions; captions that must not be read by others have no place in training either.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from crafts.captions.words import KnownWords, count_words
from crafts.core.artifacts import sha256_bytes
from crafts.core.config import Config, validate
from crafts.core.errors import DataError
from crafts.core.parsing import parse_json
from crafts.core.patients import patient_in

FILE = "trained_on.json"
MOST_WORDS = 20_000
_MOST_BYTES = 16 * 2**20
_NUMBER = re.compile(r"\d{4}")  # accession numbers and the like: never listed


class TrainedTiles(Config):
    """Tiles of a class or a set.

    Attributes:
        tiles: training tiles.
        groups: patients among them; 0 where none is named.
        licences: of these tiles.
        prompt: of a class, the wording that most of its tiles share; "" for none.
    """

    tiles: int = Field(ge=0)
    groups: int = Field(0, ge=0)
    licences: tuple[str, ...] = ()
    prompt: str = ""


class Corpus(Config):
    """One collection of tiles that a model was trained on.

    Attributes:
        tiles, groups: as in :class:`TrainedTiles`.
        classes: name of a class (the column ``label``) -> its share.
        sets: name of a source (the column ``set``) -> its share.
        words: word -> tiles in whose captions it stands, the most frequent first.
    """

    tiles: int = Field(ge=0)
    groups: int = Field(0, ge=0)
    classes: dict[str, TrainedTiles] = {}
    sets: dict[str, TrainedTiles] = {}
    words: dict[str, int] = {}


class TrainedOn(Config):
    """All that a model was trained on, a fine-tuned one also by its parent.

    Attributes:
        corpora: identity of the tiles -> what they are; the same tiles count once.
    """

    version: Literal[1] = 1
    corpora: dict[str, Corpus] = {}

    def known_words(self) -> KnownWords:
        """The words of all corpora."""
        counts: Counter[str] = Counter()
        for corpus in self.corpora.values():
            counts.update(corpus.words)
        return KnownWords(counts)

    def classes(self) -> dict[str, TrainedTiles]:
        """The classes of all corpora, by name."""
        return _sum(corpus.classes for corpus in self.corpora.values())

    def sets(self) -> dict[str, TrainedTiles]:
        """The sets of all corpora, by name."""
        return _sum(corpus.sets for corpus in self.corpora.values())

    def and_also(self, other: TrainedOn) -> TrainedOn:
        """Both; tiles that both name count once."""
        return TrainedOn(corpora={**self.corpora, **other.corpora})


def collect(rows: Sequence[Mapping[str, Any]]) -> TrainedOn:
    """What is told of training tiles.

    Args:
        rows: the fields of each: ``key``, ``text`` and ``captions``, ``label``, ``set``,
            ``patient``, ``licence``; any may be missing.
    """
    keys = sorted(f"{row.get('set') or ''}/{row.get('key') or ''}" for row in rows)
    words = count_words(_captions(row) for row in rows)
    words = {word: number for word, number in words.items() if not _NUMBER.search(word)}
    corpus = Corpus(
        tiles=len(rows),
        groups=_groups(rows),
        classes={name: _share(part, name) for name, part in _parts(rows, "label").items()},
        sets={name: _share(part) for name, part in _parts(rows, "set").items()},
        words=dict(list(words.items())[:MOST_WORDS]),
    )
    return TrainedOn(corpora={sha256_bytes("\n".join(keys).encode())[:12]: corpus})


def write_trained_on(found: TrainedOn, folder: Path) -> None:
    """Write ``trained_on.json``; nothing where nothing is known."""
    if found.corpora:
        text = json.dumps(found.model_dump(exclude_defaults=True), indent=1, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_trained_on(folder: Path) -> TrainedOn | None:
    """What a model folder says; None where it says nothing, as those of others do.

    Raises:
        DataError: the file is damaged.
        ConfigError: a field of it is unknown or has a value that cannot be.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, more than {_MOST_BYTES}")
        values = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            str(path),
            came=f"unreadable ({' '.join(str(error).split())[:200]})",
            allowed="the file as `crafts train` wrote it",
            do="Copy the model again, or remove the file: its words are then not checked.",
        ) from None
    return validate(TrainedOn, values if isinstance(values, dict) else {"corpora": values}, FILE)


def _captions(row: Mapping[str, Any]) -> list[str]:
    return [str(text) for text in (row.get("text"), *(row.get("captions") or ())) if text]


def _parts(rows: Iterable[Mapping[str, Any]], column: str) -> dict[str, list[Mapping[str, Any]]]:
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get(column):
            parts.setdefault(str(row[column]), []).append(row)
    return dict(sorted(parts.items()))


def _groups(rows: Iterable[Mapping[str, Any]]) -> int:
    return len({patient_in(row) for row in rows} - {""})


def _share(rows: Sequence[Mapping[str, Any]], name: str = "") -> TrainedTiles:
    licences = sorted({str(row["licence"]) for row in rows if row.get("licence")})
    return TrainedTiles(
        tiles=len(rows),
        groups=_groups(rows),
        licences=tuple(licences),
        prompt=_common_caption(rows) if name else "",
    )


def _common_caption(rows: Iterable[Mapping[str, Any]]) -> str:
    """The wording of most tiles; one of a single tile may be about one person, and is not told."""
    counts = Counter(text for row in rows for text in set(_captions(row)))
    best = min(counts, key=lambda text: (-counts[text], len(text), text), default="")
    return best if counts[best] > 1 else ""


def _sum(parts: Iterable[Mapping[str, TrainedTiles]]) -> dict[str, TrainedTiles]:
    found: dict[str, TrainedTiles] = {}
    for part in parts:
        for name, share in part.items():
            old = found.get(name, TrainedTiles(tiles=0))
            found[name] = TrainedTiles(
                tiles=old.tiles + share.tiles,
                groups=old.groups + share.groups,
                licences=tuple(sorted({*old.licences, *share.licences})),
                prompt=old.prompt or share.prompt,
            )
    return dict(sorted(found.items()))
