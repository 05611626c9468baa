"""Measure whether sentences planted in reports change the diagnosis that is read.

    python recipes/reports/instruction_check.py [--number 500] [--seed 3] [--show 10]

Each wording stands in every place of a short report with a known diagnosis (a line of its own
before, among and behind the others; in a line; a report of one line). Prints, a place each: how
often the diagnosis stays, is not said, or is another one, and how many reports are flagged. 500
wordings take about a minute on one core. Exits 1 where a planted disease is said.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

from crafts.captions.findings.extract import extract_fields
from crafts.captions.privacy import scrub
from crafts.captions.summaries.extractive import extract_summary

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from captions.painted_instructions import (  # noqa: E402
    PLACES,
    REPORTS,
    Plain,
    paint_wordings,
    plant,
)

TOKENS = 60


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--show", type=int, default=10)
    arguments = parser.parse_args()
    tally, examples = measure(arguments.number, arguments.seed)
    print(f"{arguments.number} wordings; place: kept, not said, another, flagged")
    for place in PLACES:
        found = tally[place]
        print(f"{place:14s}" + "".join(
            f"{found[what]:8d}" for what in ("kept", "lost", "changed", "flagged")
        ))  # fmt: skip
    for example in examples[: arguments.show]:
        print(example)
    return 1 if examples else 0


def measure(number: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Place -> what became of the diagnosis; and the reports in which it was changed."""
    rng = random.Random(seed)
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    examples = []
    for wording, payload in paint_wordings(number, seed):
        for place in PLACES:
            report = rng.choice(REPORTS)
            text = plant(report, wording, place, rng)
            outcome, flagged = judge(report, payload, text)
            tally[place][outcome] += 1
            tally[place]["flagged"] += flagged
            if outcome == "changed":
                examples.append(f"  {place}: {text!r}")
    return tally, examples


def judge(report: Plain, payload: str, text: str) -> tuple[str, bool]:
    scrubbed = scrub(text)
    fields = extract_fields(scrubbed.traced)
    summary = extract_summary(
        scrubbed.text, fields, tokens=TOKENS, count=lambda words: len(words.split())
    )
    found = fields.diagnosis
    if payload.split()[-1].lower() in summary.lower() and payload.split()[-1] not in (
        report.diagnosis
    ):
        return "changed", scrubbed.flagged
    if found is None:
        return "lost", scrubbed.flagged
    return ("kept" if found.value == report.diagnosis else "changed"), scrubbed.flagged


if __name__ == "__main__":
    raise SystemExit(main())
