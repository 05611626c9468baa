"""Measure de-identification and reading of reports on painted reports, and show it on real ones.

    python recipes/reports/scrub_check.py [--number 1000] [--seed 5] [--flat] [--reports FOLDER]

Needs the development tools (``pip install -e ".[dev]"``: names and places are planted by faker).
Prints how many planted identifiers, marks and instructions survive (to the letter, by their place
in the source), how many diagnostic words are lost, precision and recall of every field, and the
time. With ``--reports`` every report of the folder is printed as it is left, with its fields.
``--flat`` takes the line ends out of the painted reports first, as some collections come. A
thousand reports take about half a minute on one core. Exits 1 where a bound is not held.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.fields import Fields
from crafts.captions.privacy import Scrubbed, scrub
from crafts.captions.reports import iter_reports
from crafts.core.records import Ledger

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from captions.painted_findings import Painted  # noqa: E402
from captions.painted_reports import FREE, INJECTED_WORDS, paint_reports  # noqa: E402
from captions.painted_truth import COMPARED, compare, find_leaks, lost_words  # noqa: E402

MIN_FREE_REMOVED, MAX_TERMS_LOST = 0.995, 0.02


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--reports", type=Path)
    arguments = parser.parse_args()
    if arguments.reports:
        show_real(arguments.reports)
    painted = paint_reports(arguments.number, arguments.seed)
    for report in painted if arguments.flat else ():
        report.text = report.text.replace("\n", " ")
    started = time.process_time()
    scrubbed = [scrub(report.text) for report in painted]
    halfway = time.process_time()
    fields = [extract_fields(one.traced) for one in scrubbed]
    seconds = (halfway - started, time.process_time() - halfway)
    print(
        f"{len(painted)} painted reports: scrubbed in {seconds[0]:.1f} s, read in "
        f"{seconds[1]:.1f} s"
    )
    held = print_leaks(painted, scrubbed) & print_losses(painted, scrubbed)
    print_fields(painted, fields)
    return 0 if held else 1


def print_leaks(painted: list[Painted], scrubbed: list[Scrubbed]) -> bool:
    planted: Counter[str] = Counter(plant.kind for report in painted for plant in report.plants)
    leaked: Counter[str] = Counter()
    for report, one in zip(painted, scrubbed, strict=True):
        for plant, left in find_leaks(report, one):
            leaked[plant.kind] += 1
            print(f"  left of {plant.kind} {plant.text!r}: {left!r}")
        if INJECTED_WORDS.search(one.text):
            leaked["instruction"] += 1
            print(f"  a word of an instruction in {report.report_id}")
    for kind, number in sorted(planted.items()):
        print(f"{kind:12s} planted {number:5d}  removed {1 - leaked[kind] / number:8.3%}")
    free = sum(planted[kind] for kind in FREE)
    share = 1 - sum(leaked[kind] for kind in FREE) / max(free, 1)
    print(f"free forms   planted {free:5d}  removed {share:8.3%}")
    return share >= MIN_FREE_REMOVED and not any(leaked[k] for k in planted if k not in FREE)


def print_losses(painted: list[Painted], scrubbed: list[Scrubbed]) -> bool:
    number, lost = 0, Counter[str]()
    for report, one in zip(painted, scrubbed, strict=True):
        words, missing = lost_words(report, one)
        number += words
        lost.update(missing)
    share = sum(lost.values()) / number
    print(f"diagnostic words: {number}, lost {share:.2%}; most often {lost.most_common(6)}")
    return share <= MAX_TERMS_LOST


def print_fields(painted: list[Painted], fields: list[Fields]) -> None:
    agreement = compare(painted, fields)
    print(f"{'field':24s} precision  recall  number")
    for name in COMPARED:
        number = agreement.right[name] + agreement.missed[name]
        print(
            f"{name:24s} {agreement.precision(name):9.3f} {agreement.recall(name):7.3f} {number:7d}"
        )
        for example in agreement.examples[name][:2]:
            print(f"  {example}")


def show_real(folder: Path) -> None:
    for report in iter_reports(folder, Ledger("scrub_check")):
        scrubbed = scrub(report.text)
        print(f"===== {report.report_id}  removed: {dict(scrubbed.removed)}")
        print(scrubbed.text)
        for name, value in extract_fields(scrubbed.traced).as_row().items():
            print(f"    {name}: {value}")


if __name__ == "__main__":
    raise SystemExit(main())
