"""Measure summaries on painted reports with known truth, and show them on real ones.

    python recipes/reports/summary_check.py [--number 1000] [--seed 5] [--reports FOLDER]

Needs the development tools (``pip install -e ".[dev]"``). Prints, at 20, 35, 50 and 154 tokens of
the shipped tokenizer (special tokens included): the share of summaries within the budget, the share
that keep the diagnosis with its side, planted identifiers and words of instructions that survive,
statements that the report does not support, and how often a field of the report is found again in
the summary. With ``--reports`` the summaries of a folder at 35 tokens are printed. A thousand
reports take about a minute on one core. Exits 1 where a bound is not held.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.fields import Fields
from crafts.captions.findings.support import find_unsupported
from crafts.captions.privacy import Scrubbed, disallowed, scrub
from crafts.captions.reports import iter_reports
from crafts.captions.summaries.extractive import extract_summary
from crafts.core.protocols import CountTokens
from crafts.core.records import Ledger
from crafts.model.bundle import resolve_model
from crafts.model.text import load_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from captions.painted_findings import Painted  # noqa: E402
from captions.painted_reports import FREE, INJECTED_WORDS, PATTERNED, paint_reports  # noqa: E402
from captions.painted_truth import COMPARED, compare  # noqa: E402

BUDGETS, MIN_KEPT = (20, 35, 50, 154), 0.95
Read = tuple[Painted, Scrubbed, Fields]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--reports", type=Path)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(resolve_model("mini") / "tokenizer")

    def count(text: str) -> int:
        return len(tokenizer(text, verbose=False)["input_ids"])

    held = show_real(arguments.reports, count) if arguments.reports else True
    read = []
    for report in paint_reports(arguments.number, arguments.seed):
        scrubbed = scrub(report.text)
        read.append((report, scrubbed, extract_fields(scrubbed.traced)))
    recall = {}
    print("tokens  within  diagnosis  identifiers  injected  unclean  unsupported  mean tokens")
    for tokens in BUDGETS:
        summaries = [
            extract_summary(scrubbed.text, fields, tokens=tokens, count=count)
            for _, scrubbed, fields in read
        ]
        held &= print_budget(read, summaries, tokens, count)
        found = [extract_fields(summary) for summary in summaries]
        recall[tokens] = compare([report for report, *_ in read], found)
    print(f"\n{'recall of':24s}" + "".join(f"{tokens:>8d}" for tokens in BUDGETS) + "   reports")
    for name in COMPARED:
        agreement = recall[BUDGETS[0]]
        number = agreement.right[name] + agreement.missed[name]
        shares = "".join(f"{recall[tokens].recall(name):8.3f}" for tokens in BUDGETS)
        print(f"{name:24s}{shares} {number:9d}")
    return 0 if held else 1


def print_budget(read: list[Read], summaries: list[str], tokens: int, count: CountTokens) -> bool:
    tally: Counter[str] = Counter()
    for (report, scrubbed, fields), summary in zip(read, summaries, strict=True):
        tally["within"] += bool(summary) and count(summary) <= tokens
        tally["kept"] += keeps_diagnosis(report, summary)
        tally["planted"] += bool(surviving(report, summary))
        tally["injected"] += bool(INJECTED_WORDS.search(summary))
        tally["unclean"] += bool(disallowed(summary))
        tally["unsupported"] += bool(find_unsupported(summary, scrubbed.text, fields))
        tally["tokens"] += count(summary)
    number = len(read)
    print(
        f"{tokens:6d} {tally['within'] / number:7.2%} {tally['kept'] / number:10.2%} "
        f"{tally['planted']:12d} {tally['injected']:9d} {tally['unclean']:8d} "
        f"{tally['unsupported']:12d} {tally['tokens'] / number:12.1f}"
    )
    faults = tally["planted"] + tally["injected"] + tally["unclean"]
    return not faults and tally["within"] == number and tally["kept"] >= MIN_KEPT * number


def keeps_diagnosis(report: Painted, summary: str) -> bool:
    """Whether the painted diagnosis stands in a summary, with its side, and is read there."""
    found = extract_fields(summary).diagnosis
    wanted = report.truth["diagnosis"], report.truth.get("laterality", "")
    words = all(word in summary.lower() for word in wanted)
    return words and found is not None and found.value == report.truth["diagnosis"]


def surviving(report: Painted, summary: str) -> list[str]:
    """Planted identifiers that stand in a summary as a whole."""
    kinds = (*PATTERNED, *FREE)
    return [
        plant.text
        for plant in report.plants
        if plant.kind in kinds and re.search(rf"\b{re.escape(plant.text)}\b", summary, re.I)
    ]


def show_real(folder: Path, count: CountTokens) -> bool:
    held = True
    for report in iter_reports(folder, Ledger("summary_check")):
        scrubbed = scrub(report.text)
        fields = extract_fields(scrubbed.traced)
        for tokens in BUDGETS:
            summary = extract_summary(scrubbed.text, fields, tokens=tokens, count=count)
            wanted, found = fields.diagnosis, extract_fields(summary).diagnosis
            kept = wanted is not None and found is not None and wanted.value == found.value
            held &= kept and count(summary) <= tokens and not disallowed(summary)
            if tokens == 35 or not kept:
                lost = "" if kept else "LOST "
                print(f"{report.report_id} {tokens} {count(summary)} {lost}{summary}")
    return held


if __name__ == "__main__":
    raise SystemExit(main())
