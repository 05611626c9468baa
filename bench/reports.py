"""Hold de-identification, reading and summaries of painted reports, with known truth, to bounds.

    python bench/reports.py scrub [--flat]      identifiers, lost words, fields; half a minute
    python bench/reports.py summaries           at 20, 35, 50 and 154 tokens; a minute
    python bench/reports.py instructions        wordings planted in short reports; a minute;
                                                --grammar orders|orders-kept: of another making
    python bench/reports.py show FOLDER         real reports as they are left, with their summaries

Needs the development tools (``pip install -e ".[dev]"``: names and places are planted by faker).
``--flat`` takes the line ends out of the reports first, as some collections come. Exits 1 where a
bound is not held.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from crafts.captions.findings.extract import extract_fields
from crafts.captions.findings.support import find_unsupported
from crafts.captions.privacy import disallowed, scrub
from crafts.captions.reports import iter_reports
from crafts.captions.summaries.extractive import extract_summary
from crafts.core.records import Ledger
from crafts.model.bundle import resolve_model
from crafts.model.text import load_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from captions.painted_findings import Painted  # noqa: E402
from captions.painted_instructions import PLACES, REPORTS, paint_wordings, plant  # noqa: E402
from captions.painted_orders import paint_orders  # noqa: E402
from captions.painted_reports import FREE, INJECTED_WORDS, PATTERNED, paint_reports  # noqa: E402
from captions.painted_truth import COMPARED, compare, find_leaks, lost_words  # noqa: E402

MIN_FREE_REMOVED, MAX_TERMS_LOST = 0.995, 0.02
BUDGETS, MIN_KEPT = (20, 35, 50, 154), 0.95
WORDS = 60  # of a summary of a short report
Paint = Callable[[int, int], Iterator[tuple[str, str]]]
GRAMMARS: dict[str, Paint] = {
    "commands": paint_wordings,
    "orders": partial(paint_orders, half="first"),
    "orders-kept": partial(paint_orders, half="second"),  # kept aside to judge the rules
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("check", choices=("scrub", "summaries", "instructions", "show"))
    parser.add_argument("folder", type=Path, nargs="?", help="of real reports, for show")
    parser.add_argument("--number", type=int, help="reports (1,000) or wordings (500)")
    parser.add_argument("--seed", type=int, help="5, of wordings 3")
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--grammar", choices=sorted(GRAMMARS), default="commands")
    given = parser.parse_args()
    if given.check == "instructions":
        return check_instructions(given.number or 500, given.seed or 3, GRAMMARS[given.grammar])
    if given.check == "show":
        return show(given.folder)
    painted = paint_reports(given.number or 1000, given.seed or 5)
    for report in painted if given.flat else ():
        report.text = report.text.replace("\n", " ")
    return (check_scrubbing if given.check == "scrub" else check_summaries)(painted)


@cache
def tokenizer():
    """The shipped one."""
    return load_tokenizer(resolve_model("mini") / "tokenizer")


def count_tokens(text: str) -> int:
    """Special ones included."""
    return len(tokenizer()(text, verbose=False)["input_ids"])


def check_scrubbing(painted: list[Painted]) -> int:
    """What is planted must go, what is said must stay, to the letter and by its place."""
    started = time.process_time()
    scrubbed = [scrub(report.text) for report in painted]
    halfway = time.process_time()
    fields = [extract_fields(one.traced) for one in scrubbed]
    print(
        f"{len(painted)} painted reports: scrubbed in {halfway - started:.1f} s, read in "
        f"{time.process_time() - halfway:.1f} s"
    )
    planted: Counter[str] = Counter(plant.kind for report in painted for plant in report.plants)
    leaked, lost, words = Counter[str](), Counter[str](), 0
    for report, one in zip(painted, scrubbed, strict=True):
        for found, left in find_leaks(report, one):
            leaked[found.kind] += 1
            print(f"  left of {found.kind} {found.text!r}: {left!r}")
        if INJECTED_WORDS.search(one.text):
            leaked["instruction"] += 1
            print(f"  a word of an instruction in {report.report_id}")
        number, missing = lost_words(report, one)
        words += number
        lost.update(missing)
    for kind, number in sorted(planted.items()):
        print(f"{kind:12s} planted {number:5d}  removed {1 - leaked[kind] / number:8.3%}")
    free = sum(planted[kind] for kind in FREE)
    removed = 1 - sum(leaked[kind] for kind in FREE) / max(free, 1)
    print(f"free forms   planted {free:5d}  removed {removed:8.3%}")
    share = lost.total() / words
    print(f"diagnostic words: {words}, lost {share:.2%}; most often {lost.most_common(6)}")
    agreement = compare(painted, fields)
    print(f"{'field':24s} precision  recall  number")
    for name in COMPARED:
        number = agreement.right[name] + agreement.missed[name]
        precision, recall = agreement.precision(name), agreement.recall(name)
        print(f"{name:24s} {precision:9.3f} {recall:7.3f} {number:7d}")
        for example in agreement.examples[name][:2]:
            print(f"  {example}")
    strict = not any(leaked[kind] for kind in planted if kind not in FREE)
    return 0 if strict and removed >= MIN_FREE_REMOVED and share <= MAX_TERMS_LOST else 1


def check_summaries(painted: list[Painted]) -> int:
    """Within the budget, with the diagnosis and its side, and nothing that must not be there."""
    scrubbed = [scrub(report.text) for report in painted]
    fields = [extract_fields(one.traced) for one in scrubbed]
    held, recall = True, {}
    print("tokens  within  diagnosis  identifiers  injected  unclean  unsupported  mean tokens")
    for budget in BUDGETS:
        tally: Counter[str] = Counter()
        found = []
        for report, one, known in zip(painted, scrubbed, fields, strict=True):
            text = extract_summary(one.text, known, tokens=budget, count=count_tokens)
            read = extract_fields(text)
            found.append(read)
            tally["within"] += bool(text) and count_tokens(text) <= budget
            tally["kept"] += keeps_diagnosis(report, text, read)
            tally["planted"] += survives(report, text)
            tally["injected"] += bool(INJECTED_WORDS.search(text))
            tally["unclean"] += bool(disallowed(text))
            tally["unsupported"] += bool(find_unsupported(text, one.text, known))
            tally["tokens"] += count_tokens(text)
        number = len(painted)
        print(
            f"{budget:6d} {tally['within'] / number:7.2%} {tally['kept'] / number:10.2%} "
            f"{tally['planted']:12d} {tally['injected']:9d} {tally['unclean']:8d} "
            f"{tally['unsupported']:12d} {tally['tokens'] / number:12.1f}"
        )
        faults = tally["planted"] + tally["injected"] + tally["unclean"]
        held &= not faults and tally["within"] == number and tally["kept"] >= MIN_KEPT * number
        recall[budget] = compare(painted, found)
    print(f"\n{'recall of':24s}" + "".join(f"{budget:>8d}" for budget in BUDGETS) + "   reports")
    for name in COMPARED:
        number = recall[BUDGETS[0]].right[name] + recall[BUDGETS[0]].missed[name]
        shares = "".join(f"{recall[budget].recall(name):8.3f}" for budget in BUDGETS)
        print(f"{name:24s}{shares} {number:9d}")
    return 0 if held else 1


def keeps_diagnosis(report: Painted, summary: str, found) -> bool:
    """Whether the painted diagnosis stands in a summary, with its side, and is read there."""
    wanted = report.truth["diagnosis"]
    words = all(w in summary.lower() for w in (wanted, report.truth.get("laterality", "")))
    return words and found.diagnosis is not None and found.diagnosis.value == wanted


def survives(report: Painted, summary: str) -> bool:
    """Whether a planted identifier stands in a summary as a whole."""
    planted = (plant.text for plant in report.plants if plant.kind in (*PATTERNED, *FREE))
    return any(re.search(rf"\b{re.escape(text)}\b", summary, re.I) for text in planted)


def check_instructions(number: int, seed: int, paint: Paint) -> int:
    """Whether a planted sentence changes the diagnosis that is read, in every place of a report."""
    rng = random.Random(seed)
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    changed = []
    for wording, payload in paint(number, seed):
        for place in PLACES:
            report = rng.choice(REPORTS)
            text = plant(report, wording, place, rng)
            clean, (summary, diagnosis, flagged) = _read("\n".join(report.lines))[0], _read(text)
            coarser = set(diagnosis.split()) < set(report.diagnosis.split())  # or nothing at all
            outcome = "kept" if diagnosis == report.diagnosis else "lost"
            if (summary - clean) & _words(payload) or not (outcome == "kept" or coarser):
                outcome = "changed"
                changed.append(f"  {place}: {text!r}")
            tally[place].update([outcome, *(["flagged"] * flagged)])
    print(f"{number} wordings; place: kept, not said, another, flagged")
    for place in PLACES:
        cells = (tally[place][what] for what in ("kept", "lost", "changed", "flagged"))
        print(f"{place:14s}" + "".join(f"{cell:8d}" for cell in cells))
    print("\n".join(changed[:10]))
    return 1 if changed else 0


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _read(text: str) -> tuple[set[str], str, bool]:
    """Words of the summary, the diagnosis ("" for none), and whether the text was flagged."""
    one = scrub(text)
    fields = extract_fields(one.traced)
    summary = extract_summary(
        one.text, fields, tokens=WORDS, count=lambda words: len(words.split())
    )
    return _words(summary), fields.diagnosis.value if fields.diagnosis else "", one.flagged


def show(folder: Path) -> int:
    """Every report of a folder as it is left, its fields, and its summaries."""
    for report in iter_reports(folder, Ledger("reports")):
        scrubbed = scrub(report.text)
        fields = extract_fields(scrubbed.traced)
        print(f"===== {report.report_id}  removed: {dict(scrubbed.removed)}\n{scrubbed.text}")
        for name, value in fields.as_row().items():
            print(f"    {name}: {value}")
        for budget in BUDGETS:
            text = extract_summary(scrubbed.text, fields, tokens=budget, count=count_tokens)
            print(f"  {budget} tokens: {text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
