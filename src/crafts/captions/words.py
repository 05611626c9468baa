"""Words of prompts: which of them a model has met with pictures, and what it knows instead.

A text encoder gives every word some meaning, and a denoiser makes plausible tissue of it. Only a
list of the words that stood beside training pictures can tell what a model cannot know.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache

from crafts.captions.vocabulary import load_sections

_SENTENCES = """
a an the this that these those it its he she they we i you us our your their there here and or of
in on at by for from to into onto with within as is are was were be been being has have had do does
did can could will would shall should may might must which who whose what where when while than
then so such also but if both each every please show shows shown showing see seen give make
generate draw create depict depicts depicting render contain contains containing
"""
_PICTURES = """
image images picture pictures photo photos photograph photographs photomicrograph micrograph
micrographs tile tiles patch patches view field section sections slide slides sample samples
specimen tissue histology histological histopathology histopathological histologic pathology
microscopy microscopic microscope stain stained staining
"""
NEUTRAL = frozenset((_SENTENCES + _PICTURES).split())
"""Words that name nothing to be seen; they are never asked after."""

_WORD = re.compile(r"[^\W_]+(?:[&'\-][^\W_]+)*")
_DASHES = str.maketrans("‐‑‒–—−’‘´`", "------''''")
_QUIET = "©®°™"  # symbols of text, no pictures
_KINDS = {
    "organs and regions": "organ",
    "tissue and cells": "tissue",
    "diagnoses and heads of diagnoses": "diagnosis",
    "stains, markers and receptors": "stain",
}


@dataclass(frozen=True)
class UnknownWord:
    """A word that no training picture came with.

    Attributes:
        word: as it is written in the prompt.
        nearest: known words that are written almost so, else the most frequent of its kind.
    """

    word: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        near = f"nearest that it knows: {', '.join(self.nearest)}"
        return f"{self.word!r} ({near if self.nearest else 'nothing like it'})"


class KnownWords:
    """Words that stood beside training pictures.

    Args:
        counts: word, as :func:`words_of` gives it -> pictures with it.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self._forms = {form for word in counts for form in _forms(word)}
        named = [word for word in counts if not is_neutral(word)]
        self._ranked = sorted(named, key=lambda word: (-counts[word], word))

    def knows(self, word: str) -> bool:
        """Whether it, its other number or spelling, or all its parts, stood beside a picture."""
        if is_neutral(word) or not self._forms.isdisjoint(_forms(word)):
            return True
        parts = re.split(r"[&'\-]", word)
        return len(parts) > 1 and all(
            is_neutral(part) or base_form(part) in self._forms for part in parts
        )

    def unknown(self, text: str) -> tuple[UnknownWord, ...]:
        """Words of a text that are not known, each once, in their order."""
        strange = [word for word in words_of(text) if not self.knows(word)]
        return tuple(UnknownWord(word, self.nearest(word)) for word in dict.fromkeys(strange))

    def nearest(self, word: str, most: int = 3) -> tuple[str, ...]:
        """Known words for an unknown one; none where nothing is near."""
        plain = fold(word)
        close = [known for known in self._ranked if abs(len(known) - len(plain)) <= 3]
        close = [known for known in close if known[0] == plain[0] or known[-1] == plain[-1]]
        alike = get_close_matches(plain, close, n=1, cutoff=0.8)
        if alike and len(plain) > 3:  # of three letters all are alike
            return tuple(alike)
        kind = kind_of(plain)
        same = [known for known in self._ranked if kind and kind_of(known) == kind]
        return tuple(_apart(same, most))


def words_of(text: str) -> Iterator[str]:
    """Words of a text as they are written; a picture sign is one, too."""
    if text.isascii():  # as nearly all are, and the long way costs ten times as much
        yield from _WORD.findall(text)
        return
    text = unicodedata.normalize("NFKC", text).translate(_DASHES)
    end = 0
    for match in _WORD.finditer(text):
        yield from _signs(text[end : match.start()])
        yield match[0]
        end = match.end()
    yield from _signs(text[end:])


def count_words(texts: Iterable[Collection[str]]) -> dict[str, int]:
    """In how many pictures a word stands, the most frequent first.

    Args:
        texts: of each picture its captions; a word in several of them counts once.
    """
    counts: dict[str, int] = {}
    for captions in texts:
        for word in {fold(word) for caption in captions for word in _split(caption)}:
            counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """A word as it is compared and stored: without case and genitive."""
    return unicodedata.normalize("NFKC", word.casefold()).translate(_DASHES).removesuffix("'s")


@lru_cache(maxsize=65536)
def base_form(word: str) -> str:
    """What singular and plural, British and American spelling, -ed and -ing have in common."""
    word = fold(word)
    if len(word) > 4:
        word = _singular(word)
    word = re.sub(r"(tum|col|od|vap|behavi)our", r"\1or", word)
    word = re.sub(r"(?<=[a-z])ae|(?<=[a-z])oe(?=[a-z])|^oe|^ae", "e", word)
    word = re.sub(r"(fib|cent|lit)re$", r"\1er", word).replace("grey", "gray")
    stem = re.sub(r"(?<=[a-z]{4})(ed|ing|e)$", "", word)
    return stem if re.search(r"[aeiouy]", stem) else word


def _singular(word: str) -> str:
    for ending, instead in (
        *(("mata", "ma"), ("mina", "men"), ("ae", "a"), ("ies", "y")),
        *(("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ei", "eus")),
    ):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word[:-1] if re.search(r"[^su]s$", word) and not word.endswith("is") else word


def _forms(word: str) -> tuple[str, ...]:
    """Under which a word is looked up: as it is, and written together."""
    return base_form(word), base_form(re.sub(r"[&'\-]", "", word))


def is_neutral(word: str) -> bool:
    """Whether a word names nothing to be seen."""
    return fold(word) in NEUTRAL or base_form(word) in _neutral_forms()


@cache
def _neutral_forms() -> frozenset[str]:
    return frozenset(map(base_form, NEUTRAL))


def _split(caption: str) -> Iterator[str]:
    """Words of a caption, and the parts of those with a hyphen."""
    for word in words_of(caption):
        yield word
        if "-" in word:
            yield from word.split("-")


def _signs(text: str) -> Iterator[str]:
    return (sign for sign in text if sign not in _QUIET and unicodedata.category(sign) == "So")


def _apart(words: Iterable[str], most: int) -> list[str]:
    """The first few that do not begin alike: prostate, and not prostatic beside it."""
    chosen: list[str] = []
    for word in words:
        beginnings = {base_form(other)[:4] for other in chosen}
        if len(chosen) < most and base_form(word)[:4] not in beginnings:
            chosen.append(word)
    return chosen


@cache
def _kinds() -> dict[str, str]:
    return {
        base_form(word): kind
        for section, kind in _KINDS.items()
        for word in load_sections().get(section, ())
    }


def kind_of(word: str) -> str:
    """Organ, tissue, diagnosis or stain, by the words of reports; "" for any other."""
    parts = (word, *re.split(r"[&'\-]", word))
    return next((_kinds()[form] for form in map(base_form, parts) if form in _kinds()), "")
