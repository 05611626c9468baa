"""Views of the rows: the same tiles in the same order, with other words, labels or splits.

A view leaves the number and the order of the rows as they are, so that sample g of a seed shows the
same crop with the same noise in every arm. Training draws classes by the column ``stratum``, which
no view changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crafts.core.errors import ConfigError
from crafts.core.protocols import CountTokens
from crafts.experiments.corpus.words import (
    Row,
    as_figure,
    captions_without,
    facts_of,
    rng_for,
    summarize,
    summarize_whole,
)

LEFT_OUT = "left out"
"""Split of rows that a view keeps from training."""


@dataclass(frozen=True)
class Wishes:
    """What views depend on.

    Attributes:
        wrong_labels: share of flipped rows.
        wrong_captions: share of rows whose figure caption is another row's.
        leave_out: classes that the view ``seen`` does not train on.
        count_tokens: of the model's tokenizer.
    """

    wrong_labels: float
    wrong_captions: float
    leave_out: tuple[str, ...]
    count_tokens: CountTokens


def view_rows(view: str, rows: Sequence[Row], wishes: Wishes) -> list[Row]:
    """Rows as a view shows them.

    Args:
        view: ``clean``; ``seen`` (classes left out of training); ``flipped`` (label and captions
            of another class for some); ``figures`` (noisy captions, some of another tile);
            ``summary:N`` (summaries of at most N tokens of composed reports); ``whole:N`` (the
            same, filled up with what reports say of the patient); ``without:FIELD`` (captions
            composed anew, FIELD never said; none where it is empty).
        rows: index rows with key, text, captions, label, split.
        wishes: shares, classes and the tokenizer.

    Raises:
        ConfigError: no such view.
    """
    kind, _, detail = view.partition(":")
    builders: dict[str, Callable[[], list[Row]]] = {
        "clean": lambda: list(rows),
        "seen": lambda: _seen(rows, wishes.leave_out),
        "flipped": lambda: _flipped(rows, wishes.wrong_labels),
        "figures": lambda: _figures(rows, wishes.wrong_captions),
        "summary": lambda: [_summary(row, int(detail), wishes, summarize) for row in rows],
        "whole": lambda: [_summary(row, int(detail), wishes, summarize_whole) for row in rows],
        "without": lambda: [_captioned(row, captions_without(detail, row)) for row in rows],
    }
    if kind not in builders:
        raise ConfigError(
            "experiment: view", came=repr(view), allowed=", ".join(builders), do="Name a view."
        )
    return [
        {**row, "stratum": old["label"]} for row, old in zip(builders[kind](), rows, strict=True)
    ]


def _captioned(row: Row, captions: list[str]) -> Row:
    return {**row, "text": captions[0], "captions": captions}


def _summary(row: Row, tokens: int, wishes: Wishes, write: Callable[..., str]) -> Row:
    return _captioned(row, [write(row, facts_of(row), tokens, wishes.count_tokens)])


def _seen(rows: Sequence[Row], leave_out: tuple[str, ...]) -> list[Row]:
    """Rows of a class, and of classes named after it (carcinoma, carcinoma high), do not train."""

    def is_out(row: Row) -> bool:
        label = str(row["label"])
        return any(label == name or label.startswith(f"{name} ") for name in leave_out)

    return [{**row, "split": LEFT_OUT} if is_out(row) else dict(row) for row in rows]


def _flipped(rows: Sequence[Row], share: float) -> list[Row]:
    """A share of the training rows gets label and captions of a training row of another class."""
    training = [row for row in rows if row["split"] == "train"]
    found = []
    for row in rows:
        rng = rng_for("flip", row["key"])
        others = [other for other in training if other["label"] != row["label"]]
        if row["split"] != "train" or rng.random() >= share or not others:
            found.append(dict(row))
            continue
        other = rng.choice(others)
        found.append({**_captioned(row, list(_captions(other))), "label": other["label"]})
    return found


def _figures(rows: Sequence[Row], share: float) -> list[Row]:
    """Captions as figures have them; a share of the rows gets those of any other row."""
    found = []
    for row in rows:
        rng = rng_for("figure", row["key"])
        source = rng.choice(rows) if rng.random() < share else row
        captions = [as_figure(text, rng) for text in _captions(source)]
        found.append({**_captioned(row, captions), "label": source["label"]})
    return found


def _captions(row: Row) -> list[str]:
    return [str(text) for text in (row.get("captions") or [row.get("text", "")])]
