"""Questions on tiles: from what a table says of them, or brought along as PathVQA and Quilt-VQA."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crafts.core.errors import DataError
from crafts.core.runtime import seed_from
from crafts.core.tables import find_column, open_table
from crafts.sets.described import captions_of, even

_MALIGNANT = re.compile(r"carcinoma|cancer|tumou?r|malignan|sarcoma|lymphoma|glioma|melanoma", re.I)
_BENIGN = re.compile(r"\bnormal\b|\bbenign\b|without tumou?r|\breactive\b|no tumou?r", re.I)
_GRADE = re.compile(r"\b(?:grade|gleason(?: pattern| score)?)\s*([1-5](?:\s*\+\s*[1-5])?)\b", re.I)
_COUNTS = ("nuclei", "lymphocytes", "mitoses")
_COLUMNS = {
    "image": ("image", "file_name", "image_name", "image_path", "img"),
    "question": ("question",),
    "answer": ("answer",),
}


@dataclass(frozen=True)
class Question:
    """One question on one tile.

    Attributes:
        kind: what it asks for; questions and answers of one kind count alike.
        text: of the question.
        answer: yes, no, or words.
    """

    kind: str
    text: str
    answer: str

    @property
    def closed(self) -> bool:
        """Whether it is answered by yes or no."""
        return self.answer in ("yes", "no")


def ask_of(
    row: Mapping[str, Any],
    *,
    organs: Sequence[str],
    labels: Sequence[str],
    counts: Mapping[str, float],
) -> list[Question]:
    """Questions that the table itself answers.

    Args:
        row: of a tile; its organ, label, captions and counts are read.
        organs: all that occur, for a wrong one to ask about.
        labels: likewise.
        counts: field -> the number that is asked about, the median of the training tiles.
    """
    found = []
    organ, label = str(row.get("organ") or ""), str(row.get("label") or "")
    if organ and len(organs) > 1:
        found.append(Question("organ", "Which organ is this?", organ))
        for asked, yes in _true_and_false(organ, organs, row):
            found.append(Question("is organ", f"Is this {asked}?", yes))
    benign, malignant = _BENIGN.search(label), _MALIGNANT.search(label)
    if benign or malignant:
        found.append(Question("malignant", "Is this malignant?", "no" if benign else "yes"))
    if label:
        found.append(Question("finding", "What does the tile show?", label))
        if len(labels) > 1:
            for asked, yes in _true_and_false(label, labels, row):
                found.append(Question("is finding", f"Does the tile show {asked}?", yes))
    text = " ".join([label, str(row.get("grade") or ""), *sorted(captions_of(row))])
    grades = {"".join(one.split()) for one in _GRADE.findall(text)}
    if len(grades) == 1:
        found.append(Question("grade", "Which grade is this?", grades.pop()))
    for name, middle in counts.items():
        if (value := number_of(row.get(name))) is not None:
            yes = "yes" if value > middle else "no"
            found.append(Question(name, f"Are there more {name} than {middle:g}?", yes))
    return found


def _true_and_false(
    truth: str, known: Sequence[str], row: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The true value and another one to ask for, so that guessing is right in half of them."""
    rng = np.random.default_rng(seed_from("question", str(row.get("name")), truth))
    other = str(rng.choice([one for one in known if one != truth]))
    return [(truth, "yes"), (other, "no")]


def middles(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median of each count that the rows name, where not all are alike."""
    found = {}
    for name in _COUNTS:
        values = [one for row in rows if (one := number_of(row.get(name))) is not None]
        if len(set(values)) > 1:
            found[name] = float(np.median(values))
    return found


def number_of(value: Any) -> float | None:
    """A count; words such as few and many stand for 0 and 1."""
    words = {"few": 0.0, "none": 0.0, "many": 1.0}
    text = str("" if value is None else value).strip().lower()
    try:
        number = words[text] if text in words else float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def read_questions(path: Path) -> dict[str, list[Question]]:
    """Image name without folder and suffix -> its questions, from a table of one row a question.

    The columns are those of PathVQA and Quilt-VQA: ``image`` (or ``file_name``, ``image_name``),
    ``question``, ``answer``; csv, JSON lines or parquet.

    Raises:
        DataError: unreadable, or without these columns.
    """
    found: dict[str, list[Question]] = {}
    for row in open_table(path).rows:
        values = row.cells
        names = {key: find_column(values, wanted) for key, wanted in _COLUMNS.items()}
        if row.fault or not all(names.values()):
            raise DataError(
                f"{path}: row {row.number}",
                came=row.fault or f"columns {', '.join(values)}",
                allowed="image (or file_name), question, answer",
                do="Rename the columns, or mend the row.",
            )
        image = _name_of(values[names["image"]])
        text, answer = (even(str(values[names[key]] or "")) for key in ("question", "answer"))
        if not text or not answer:
            continue
        answer = answer.lower().rstrip(".")
        kind = "yes or no" if answer in ("yes", "no") else "open"
        found.setdefault(Path(image).stem, []).append(Question(kind, text, answer))
    return found


def _name_of(value: Any) -> str:
    """Name of an image; data sets of Hugging Face hold it as ``path`` beside the bytes."""
    return str(value.get("path") if isinstance(value, Mapping) else value)


def shared_words(said: str, truth: str) -> float:
    """F1 of the words of two answers, as of SQuAD (Rajpurkar et al., EMNLP 2016)."""
    one, two = (re.findall(r"\w+", text.lower()) for text in (said, truth))
    common = sum(min(one.count(word), two.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(two)) if common else 0.0
