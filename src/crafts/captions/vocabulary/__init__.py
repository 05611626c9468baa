"""The words of pathology reports, read from the plain text files beside this module.

``terms.txt`` are words of pathology, ``common.txt`` and ``verbs.txt`` the English around them,
``also_names.txt`` those of both that are names as well, ``eponyms.txt`` names that are terms in
company, and ``parts.txt`` the beginnings and endings that medical words are composed of. Nothing
here comes from a list of people or places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent
MIN_REPAIR_LENGTH = 8

Kind = Literal["term", "common", ""]


@dataclass(frozen=True)
class Lexicon:
    """What may stand in a de-identified text; all words in lower case.

    Attributes:
        terms: words of pathology.
        common: English words of reports that carry no finding of their own.
        also_names: words of both that are names of people or places too.
        eponyms: name -> words of its company; "<word" comes before it, "*" is any term and "#" any
            number after it.
        composed: pattern of a word that is built from medical parts.
    """

    terms: frozenset[str]
    common: frozenset[str]
    also_names: frozenset[str]
    eponyms: dict[str, frozenset[str]]
    composed: re.Pattern[str] = field(repr=False)

    def kind(self, word: str) -> Kind:
        """What a word is by itself; "" for what is not in the lexicon (eponyms among them)."""
        return _kind(self, word.lower())

    def __hash__(self) -> int:
        """Lexicons are compared by identity in caches."""
        return id(self)


@lru_cache(maxsize=65536)
def _kind(lexicon: Lexicon, word: str) -> Kind:
    if word in lexicon.terms:
        return "term"
    if word in lexicon.common:
        return "common"
    if len(word) >= 7 and lexicon.composed.fullmatch(word):
        return "term"
    return ""


@cache
def load_lexicon() -> Lexicon:
    """The lexicon of the package, read once."""
    terms = set(_words("terms.txt"))
    common = {form for verb in _words("verbs.txt") for form in inflect(verb)}
    common |= set(_words("common.txt"))
    terms |= {plural for word in terms for plural in _plurals(word)}
    return Lexicon(
        terms=frozenset(terms),
        common=frozenset(common - terms),
        also_names=frozenset(_words("also_names.txt")),
        eponyms=dict(_eponyms()),
        composed=_composed(),
    )


def inflect(verb: str) -> tuple[str, ...]:
    """A verb and its regular forms: show -> show, shows, showed, showing."""
    if verb.endswith("e"):
        return verb, verb + "s", verb + "d", verb[:-1] + "ing"
    if re.search(r"[^aeiou]y$", verb):
        return verb, verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"
    sibilant = verb + ("es" if re.search(r"(s|x|z|ch|sh)$", verb) else "s")
    stem = verb + verb[-1] if re.fullmatch(r"[a-z]*[^aeiou][aeiou][bgmnprt]", verb) else verb
    return verb, sibilant, verb + "ed", verb + "ing", stem + "ed", stem + "ing"


@cache
def load_verbs() -> frozenset[str]:
    """Words of the lexicon that are verbs in their bare form, by the forms beside them."""
    lexicon = load_lexicon()
    words = lexicon.terms | lexicon.common
    return frozenset(
        word for word in words if words.intersection(inflect(word)[2:]) and not word.endswith("ed")
    )


@cache
def load_function_words() -> frozenset[str]:
    """Words that only join others: the first part of ``common.txt``."""
    text = (FOLDER / "common.txt").read_text(encoding="utf-8")
    return frozenset(text.partition("# function words\n")[2].partition("\n#")[0].split())


@cache
def _repair_index() -> dict[str, frozenset[str]]:
    """Long terms by what is left of them when one letter is dropped."""
    index: dict[str, set[str]] = {}
    lexicon = load_lexicon()
    for word in lexicon.terms | lexicon.common:
        if len(word) >= MIN_REPAIR_LENGTH:
            for form in _with_one_less(word):
                index.setdefault(form, set()).add(word)
    return {form: frozenset(words) for form, words in index.items()}


@lru_cache(maxsize=65536)
def repair_word(word: str) -> str:
    """The only long word of the lexicon that is one letter away from a misread one; "" if none.

    Optical readers take ``rn`` for ``m`` and ``1`` for ``l``; these are tried first. A first letter
    is never changed, and a word of fewer than eight letters is never arrived at.
    """
    word = word.lower()
    lexicon = load_lexicon()
    letters = word.translate(str.maketrans("015|", "olsl"))
    for guess in (letters, letters.replace("rn", "m"), letters.replace("vv", "w")):
        if len(guess) >= 6 and guess != word and lexicon.kind(guess):
            return guess
    if len(letters) < MIN_REPAIR_LENGTH - 1 or not letters.isalpha():
        return ""
    index = _repair_index()
    found = {
        candidate
        for form in _with_one_less(letters)
        for candidate in index.get(form, ())
        if candidate[0] == letters[0] and _within_one(candidate, letters)
    }
    return found.pop() if len(found) == 1 else ""


def _within_one(left: str, right: str) -> bool:
    """One letter replaced, missing or too many, or two neighbours exchanged."""
    if len(left) != len(right):
        return abs(len(left) - len(right)) == 1
    differing = [i for i in range(len(left)) if left[i] != right[i]]
    if len(differing) == 2:
        i, j = differing
        return j == i + 1 and left[i] == right[j] and left[j] == right[i]
    return len(differing) <= 1


def _with_one_less(word: str) -> set[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _plurals(word: str) -> Iterable[str]:
    if len(word) < 4 or word.endswith("s"):
        return ()
    return (word + "es",) if word.endswith(("x", "ch", "sh")) else (word + "s",)


def _lines(name: str) -> Iterator[str]:
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def _words(name: str) -> Iterator[str]:
    for line in _lines(name):
        yield from line.split()


def _eponyms() -> Iterator[tuple[str, frozenset[str]]]:
    for line in _lines("eponyms.txt"):
        name, _, company = line.partition("=")
        yield name.strip(), frozenset(company.split())


def _composed() -> re.Pattern[str]:
    groups: dict[str, list[str]] = {}
    current = ""
    for line in _lines("parts.txt"):
        if line.startswith("["):
            current = line.strip("[]")
        else:
            groups.setdefault(current, []).extend(line.split())
    longest_first = {name: sorted(set(g), key=len, reverse=True) for name, g in groups.items()}
    beginnings, endings = longest_first["beginnings"], longest_first["endings"]
    return re.compile(f"(?:{'|'.join(beginnings)}){{1,4}}(?:{'|'.join(endings)})s?")


@cache
def load_sections() -> dict[str, tuple[str, ...]]:
    """The words of pathology by the headings that they stand under ("organs and regions", ...)."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in (FOLDER / "terms.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            heading = line.removeprefix("# ")
        else:
            sections.setdefault(heading, []).extend(line.split())
    return {name: tuple(words) for name, words in sections.items()}
