"""Scorecard of prompts: on which families could an experiment show a gain at all?

Where a plain model follows its prompts as well as real tiles do, no arm can be better. A family is
a class of an evaluation; whatever prompts are to be one carry its name in the column ``label``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crafts.core.errors import DataError
from crafts.core.markdown import table
from crafts.evaluation.results import AlignmentRow, Results

WANTED = 10.0  # points that the plain model must lie below real tiles
MEASURES = {"class_agreement": "class agreement", "prompt_alignment": "prompt alignment"}
UNTESTABLE = "untestable at this size"


@dataclass(frozen=True)
class Gap:
    """How far generated tiles of a family lie below real ones, in points.

    Attributes:
        family: class, or "all".
        measure: by which.
        generated: tiles.
        real: tiles.
        points: real less generated.
        half: half the width of its 95 % interval; None of fewer than five groups on a side.
    """

    family: str
    measure: str
    generated: int
    real: int
    points: float
    half: float | None

    @property
    def verdict(self) -> str:
        """Room to gain only where the gap is wide enough and its interval excludes zero."""
        if self.points < WANTED:
            return UNTESTABLE
        if self.half is None or self.points <= self.half:
            return f"{UNTESTABLE}: chance could explain the gap"
        return "room to gain"


def find_room(evaluation: Path) -> str:
    """Families of prompts on which a plain model leaves room, from what `crafts evaluate` found.

    Args:
        evaluation: output of ``crafts evaluate`` for tiles of the plain model.

    Returns:
        The table for people.

    Raises:
        DataError: no evaluation, or one without texts.
    """
    path = evaluation / "metrics.json"
    try:
        results = Results.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            str(path),
            came="no evaluation",
            allowed="what `crafts evaluate` wrote",
            do="Evaluate tiles of the plain model beside held-out real ones.",
        ) from error
    gaps = list(iter_gaps(results.alignment))
    if not gaps:
        raise DataError(
            str(path),
            came="no family with prompts or classes on both sides",
            allowed="generated and held-out tiles with texts and labels",
            do="Give both sides a column `text` and a column `label`.",
        )
    rows = [
        [one.family, MEASURES[one.measure], one.generated, one.real, _interval(one), one.verdict]
        for one in gaps
    ]
    head = ["family", "measure", "generated", "real", "real less generated, points", "verdict"]
    return "\n".join(table(head, rows)) + "\n"


def iter_gaps(rows: list[AlignmentRow]) -> Iterator[Gap]:
    """Gaps of all tiles together and of each class, by each measure that both sides have."""
    real = {(row.scope, row.name): row for row in rows if row.key == "heldout"}
    for row in rows:
        other = real.get((row.scope, row.name))
        if row.key != "generated" or other is None:
            continue
        for measure in MEASURES:
            own, theirs = getattr(row, measure), getattr(other, measure)
            if own.value is None or theirs.value is None:
                continue
            half = None
            if own.spread is not None and theirs.spread is not None:
                half = math.hypot(own.spread, theirs.spread)
            points = theirs.value - own.value
            yield Gap(row.name or "all", measure, row.n, other.n, points, half)


def _interval(gap: Gap) -> str:
    if gap.half is None:
        return f"{gap.points:+.1f}"
    return f"{gap.points:+.1f} ({gap.points - gap.half:+.1f} to {gap.points + gap.half:+.1f})"
