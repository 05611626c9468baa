"""Captions as they come: in English, of a sound length, not the same over and over."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from crafts.data.config import WordingConfig

# Function words: they carry grammar, not content, so that they tell languages apart in any subject.
_ENGLISH = frozenset(
    """the of and to in is are was were be been with without by from as at this that these those
    which it its an a or not no there than then but for on into within between their they have has
    had may can both also show shows showing seen such other some most more only""".split()
)
_FOREIGN: Mapping[str, set[str]] = {
    # without what stands in English captions too: single letters, "non", "per field", "et al."
    name: {word for word in words.split() if len(word) > 1} - _ENGLISH - {"non", "per", "al", "die"}
    for name, words in {
        "German": "der die das und ist sind mit von zu den dem des ein eine einer eines im auf "
        "für nicht sich auch wird werden als bei aus durch nach wie zur zum oder es ich "
        "sie wir er",
        "French": "le la les des du et est sont dans avec une un par pour sur au aux qui que ne "
        "pas ce cette ces se plus ou il elle nous vous leur son sa ses à être avoir",
        "Spanish": "el la los las de del y es son en con una un por para que se no su sus al lo "
        "como más este esta o pero muy sin entre",
        "Italian": "il lo la gli le di del della dei delle e è sono in con una un per che si non "
        "al alla nel nella da dal come più o ma questo questa",
        "Portuguese": "o os as de do da dos das e é são em com uma um por para que se não no na "
        "nos nas ao como mais ou mas este esta",
        "Dutch": "de het een en is zijn van met voor op in te dat die niet ook aan er als bij "
        "door naar wordt worden of maar om",
    }.items()
}
_WORD = re.compile(r"[^\W\d_]+")


def wording_fault(text: str, limits: WordingConfig) -> str:
    """Why a caption is not of use; "" for one that is."""
    words = _WORD.findall(text.lower())
    if limits.english and (language := foreign_language(text)):
        return f"caption not in English ({language})"
    if len(words) < limits.min_words:
        return f"caption of fewer than {limits.min_words} words"
    if len(words) > limits.max_words:
        return f"caption of more than {limits.max_words} words"
    return ""


def foreign_language(text: str) -> str:
    """What speaks against English: a script, a language, or that function words are missing.

    Captions in catchwords have hardly a function word and pass, unless they are long. Languages are
    German, French, Spanish, Italian, Portuguese and Dutch; any other in Latin letters shows only by
    what is missing.

    Returns:
        "" for English.
    """
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters)
    if letters and latin < 0.7 * len(letters):
        return "another script"
    words = _WORD.findall(text.lower())
    english = sum(word in _ENGLISH for word in words)
    counts = {name: [word for word in words if word in table] for name, table in _FOREIGN.items()}
    language = max(counts, key=lambda name: len(counts[name]))
    if len(set(counts[language])) >= 2 and len(counts[language]) > english:
        return language
    return "no English function words" if len(words) >= 20 and english < 0.05 * len(words) else ""


class Repeats:
    """Counts captions without regard to case, spaces and marks.

    Args:
        limit: how often each may come.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._counts = limit, Counter[str]()

    def take(self, text: str) -> bool:
        """Count a caption; False where it came as often as it may."""
        plain = " ".join(_WORD.findall(text.lower()))
        self._counts[plain] += 1
        return self._counts[plain] <= self.limit


def split_caption(text: str, number: int) -> list[str]:
    """Captions of the panels of a figure: "Liver. (A) Fat. (B) Scar." for two of them.

    Args:
        text: caption of the whole figure.
        number: of panels, in reading order.

    Returns:
        What stands before the first label and the own part, where the text has exactly the labels
        (A), (B), ... or A., B., ... in order; else the whole text for each.
    """
    for pattern in (r"\(([A-Za-z])\)", r"(?:(?<=^)|(?<=[.;:]\s))([A-Z])[.:,)]"):
        marks = list(re.finditer(pattern, text))
        labels = [mark[1].lower() for mark in marks]
        if number > 1 and labels == [chr(ord("a") + index) for index in range(number)]:
            head = text[: marks[0].start()].strip()
            ends = [*(mark.start() for mark in marks[1:]), len(text)]
            own = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
            return [f"{head} {part.strip(' .;,:')}.".strip() for part in own]
    return [text] * number
