"""Plain sentences on what the numbers of an evaluation say, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from crafts.core.page import WORDS, Stat, Verdict, number
from crafts.evaluation import results as found
from crafts.evaluation.page.tables import LABELS, alignment_of, rows_of
from crafts.measures.intervals import (
    LEAST_GROUPS,
    Power,
    power_of,
    power_of_interval,
    widen_for_few,
)
from crafts.report.facts import Sentence, judge_sentences
from crafts.report.tables import is_spread

_SHARE_LOST = 0.5  # of the floor's recall or precision; below it a sentence takes care
_FEW_GENERATED = 50  # tiles; with fewer, making more is cheaper than finding more patients


def compose_verdict(results: found.Results) -> Verdict:
    """The first thing a reader sees.

    Alarm: the diagnosis found a cause, or prompts are followed no better than shuffled ones. Take
    care: a loud mark, a distance above the floor by more than both spreads, too few tiles or groups
    to see one (:mod:`crafts.measures.intervals`), or no diagnosis. These are no thresholds of
    fitness for a purpose; the page says what they are.
    """
    sentences = [*_distance(results), *_alignment(results), *_baseline(results)]
    sentences += [*_neighbors(results), *_training(results), *_diagnosis(results)]
    warnings = tuple(mark.text for mark in results.marks if mark.loud)
    alarms = [str(item["title"]) for item in results.diagnosis if is_alarm(item)]
    if alarms:
        sentences.insert(0, ("bad", f"The diagnosis names a cause: {'; '.join(alarms)}."))
    return judge_sentences(_headline(results), sentences, warnings)


def sum_up(results: found.Results) -> str:
    """The verdict in one line, for a terminal."""
    verdict = compose_verdict(results)
    return f"{WORDS[verdict.level]}: {verdict.headline}"


def is_alarm(finding: Mapping[str, object]) -> bool:
    """Whether a finding of the diagnosis names a fault."""
    return bool(finding.get("alarm", finding.get("found", False)))


def compose_stats(results: found.Results) -> list[Stat]:
    """The few numbers to look at first, each with what to hold it against."""
    rows, alignment = rows_of(results), alignment_of(results)
    heldout, floor = rows.get("heldout"), rows.get("floor")
    stats = []
    for name in (results.lead, "precision_k5", "recall_k5"):
        got = heldout.measures.get(name) if heldout else None
        if got is None:
            continue
        limit = floor.measures.get(name) if floor else None
        floor_note = f"floor {_with_spread(limit)}" if limit else "no floor measured"
        spread = f"± {number(got.spread)}; " if is_spread(got) else ""
        value = number(got.value)
        if _below_zero(got):
            value, spread = "about 0", f"{_with_spread(got)}; "
        stats.append(Stat(LABELS[name][0], value, spread + floor_note))
    if generated := alignment.get("generated"):
        others = [
            f"{label} {number(alignment[key].prompt_alignment.value)}"
            for key, label in (("heldout", "real tiles"), ("shuffled", "shuffled prompts"))
            if key in alignment
        ]
        value = number(generated.prompt_alignment.value)
        stats.append(Stat("Prompt alignment, %", value, ", ".join(others)))
    stats.append(Stat("Tiles on each side", number(results.n), _repetitions(results)))
    return stats


def _repetitions(results: found.Results) -> str:
    if results.repetition == "none":
        return "one draw"
    what = {"generations": "generations", "halvings": "halvings of the held-out groups"}
    return f"{results.repetitions} {what[results.repetition]}"


def _with_spread(measured: found.Measured) -> str:
    spread = f" ± {number(measured.spread)}" if is_spread(measured) else ""
    return number(measured.value) + spread


def _below_zero(measured: found.Measured | None) -> bool:
    return measured is not None and measured.value is not None and measured.value < 0


def _lying(measured: found.Measured) -> str:
    """A distance in words; an estimate without bias can fall below 0, where no distance lies."""
    if _below_zero(measured):
        return f"about 0 ({_with_spread(measured)})"
    return number(measured.value)


def _headline(results: found.Results) -> str:
    rows, name = rows_of(results), LABELS[results.lead][0].replace("Kernel", "kernel")
    got, floor = _value(rows, "heldout", results.lead), _value(rows, "floor", results.lead)
    if got is None or got.value is None:
        return f"The {name} to held-out tiles could not be measured."
    if floor is None or floor.value is None:
        return f"Generated and held-out tiles lie {_lying(got)} apart in {name}."
    if _is_apart(results, got, floor):
        return (
            f"Generated tiles can be told from real ones: they lie {_lying(got)} from "
            f"held-out tiles in {name}; real groups lie {_lying(floor)} from each other."
        )
    between = (
        f"generated tiles lie {_lying(got)} from held-out ones, real groups "
        f"{_lying(floor)} from each other"
    )
    power = _power(results)
    if power is None:
        return (
            f"No difference was seen by {name}, but nothing tells what would have been: {between}."
        )
    if not power.enough:
        wanted = _tiles_wanted(results, power)
        lacking = (
            f"only {results.n:,} generated tiles a side: make {wanted:,} or more"
            if wanted
            else _needs(power)
        )
        return f"Too few to tell by {name}: {lacking}; {between}."
    return (
        f"By {name}, generated tiles lie as near to held-out tiles ({_lying(got)}) as real "
        f"groups to each other ({_lying(floor)})."
    )


def _tiles_wanted(results: found.Results, power: Power) -> int:
    """Generated tiles to make first, where they are scarcer than patients and real tiles; else 0.

    Draws are as large as the smaller side, so that more patients would not make them larger.
    """
    used = {item.name: item.used for item in results.sets}
    made, half = used.get("generated", 0), used.get("heldout", 0) / 2
    return max(_FEW_GENERATED, power.groups) if made < min(power.groups, half) else 0


def _needs(power: Power) -> str:
    """How many groups there are, and how many would be enough."""
    have = f"{power.groups:,} groups"
    if power.needed is None:
        return f"{have}, more are needed"
    return (
        f"{have}, at least about {power.needed:,} are needed to see a difference of "
        f"{number(power.wanted)}"
    )


def _power(results: found.Results) -> Power | None:
    """What the leading distance could have shown; None where patients or draws are not known.

    The difference that matters is as large as the distance between real groups: generated tiles
    that lie twice as far from real ones as real groups do.
    """
    rows = rows_of(results)
    floor, groups = _value(rows, "floor", results.lead), _count_groups(results)
    if floor is None or floor.value is None or floor.spread is None or not groups:
        return None
    if not is_spread(floor):  # two groups can be halved in one way: nothing varies, nothing is told
        return Power(groups, math.inf, max(floor.value, 0.0), None)
    return power_of(floor.spread, groups, max(floor.value, 0.0))


def _is_apart(results: found.Results, got: found.Measured, floor: found.Measured) -> bool:
    """Whether a distance lies above the floor by more than both spreads, widened for few groups."""
    groups, power = _count_groups(results), _power(results)
    if power is None or got.value is None or floor.value is None:
        return _apart(got, floor)
    if math.isinf(power.visible):
        return False
    spreads = (got.spread or 0.0) + (floor.spread or 0.0)
    return got.value - floor.value > spreads * widen_for_few(groups - 1, 2.0)


def _count_groups(results: found.Results) -> int:
    """Groups of held-out tiles that the draws rest on; 0 where none are named."""
    named = next((item.groups for item in results.sets if item.name == "heldout"), 0)
    row = rows_of(results).get("floor")
    return named or (2 * row.groups if row else 0)


def _value(rows: Mapping[str, found.Comparison], key: str, name: str) -> found.Measured | None:
    return rows[key].measures.get(name) if key in rows else None


def _apart(got: found.Measured, floor: found.Measured) -> bool:
    """Whether a distance lies above the floor by more than both spreads together."""
    if got.value is None or floor.value is None:
        return False
    return got.value - floor.value > (got.spread or 0.0) + (floor.spread or 0.0)


def _distance(results: found.Results) -> Iterator[Sentence]:
    rows, name = rows_of(results), LABELS[results.lead][0]
    got, floor = _value(rows, "heldout", results.lead), _value(rows, "floor", results.lead)
    if got is None or got.value is None:
        yield "warn", f"{name}: no value. {got.why if got else ''}".strip()
    elif floor is None or floor.value is None:
        yield "warn", "No floor: real groups could not be compared with each other."
    else:
        apart, power = _is_apart(results, got, floor), _power(results)
        ratio = f", {number(got.value / floor.value)} times the floor" if floor.value > 0 else ""
        verdict = "outside" if apart else "within"
        yield (
            "warn" if apart else "good" if power and power.enough else "plain",
            f"{name} to held-out tiles {_with_spread(got)}, between real groups "
            f"{_with_spread(floor)}{ratio}: {verdict} the spread of what real tiles show.",
        )
        if _below_zero(got) or _below_zero(floor):
            yield "plain", "A distance below 0 means: no difference seen."
        if not apart:
            yield from _limits(results, power, floor)


def _limits(
    results: found.Results, power: Power | None, floor: found.Measured
) -> Iterator[Sentence]:
    """How small a difference would have been seen, where none was."""
    if power is None:
        yield (
            "warn",
            "Patients are not named, or were drawn once only: how far groups of real patients lie "
            "apart is not known, and how small a difference would show is not either.",
        )
        return
    if math.isinf(power.visible):
        yield "warn", f"Too few to tell: {power.groups:,} groups can be halved in one way only."
        return
    seen = f"{power.groups:,} groups show a difference of {number(power.visible)} or more"
    if power.enough:
        yield "plain", f"{seen} in four tries of five: one as large as the floor would be seen."
    elif power.wanted > 0:
        yield "warn", f"Too few to tell: {seen} only, and the floor is {number(power.wanted)}."
    else:
        wanted = _tiles_wanted(results, power)
        more = (
            f"Make {wanted:,} generated tiles or more" if wanted else "Give more held-out patients"
        )
        yield (
            "warn",
            f"Too few to tell: {seen} only, and real groups lie no measurable distance apart "
            f"({_with_spread(floor)}). {more}.",
        )


def _alignment(results: found.Results) -> Iterator[Sentence]:
    rows = alignment_of(results)
    if "generated" not in rows or "shuffled" not in rows:
        return
    got, shuffled = rows["generated"].prompt_alignment, rows["shuffled"].prompt_alignment
    if got.value is None or shuffled.value is None:
        return
    real = rows["heldout"].prompt_alignment.value if "heldout" in rows else None
    beside = (
        f", {number(real, unit='%')} for real tiles with their captions" if real is not None else ""
    )
    own, others = (number(one.value, unit="%") for one in (got, shuffled))
    level, sentence = _followed(rows, rows["generated"].n)
    yield (
        level,
        f"{sentence}: alignment {own} with their own prompts, {others} with each other's{beside}.",
    )


def _followed(rows: Mapping[str, found.AlignmentRow], n: int) -> Sentence:
    """Whether prompts are followed, are not, or too few tiles can tell.

    What real tiles with their captions lie above shuffled prompts is the difference that matters.
    """
    got, shuffled = rows["generated"].prompt_alignment, rows["shuffled"].prompt_alignment
    if got.spread is None or shuffled.spread is None:
        least = f"at least {LEAST_GROUPS} are needed for an interval"
        return "warn", f"Too few groups to tell whether prompts are followed ({least})"
    if _apart(got, shuffled):
        return "good", "Prompts are followed"
    real = rows["heldout"].prompt_alignment.value if "heldout" in rows else None
    if real is None or shuffled.value is None:
        return "bad", "Prompts are not followed"
    power = power_of_interval(got.spread + shuffled.spread, n, real - shuffled.value)
    if power.enough:
        return "bad", "Prompts are not followed"
    more = f"about {power.needed:,}" if power.needed else "more than 100,000"
    return (
        "warn",
        f"Too few to tell whether prompts are followed ({n:,} tiles show {number(power.visible)} "
        f"or more, at least {more} are needed to see the {number(power.wanted)} of real tiles)",
    )


def _baseline(results: found.Results) -> Iterator[Sentence]:
    rows = rows_of(results)
    got, copy = _value(rows, "heldout", results.lead), _value(rows, "nearest", results.lead)
    if got is None or copy is None or got.value is None or copy.value is None:
        return
    nearer = "nearer to" if copy.value < got.value else "farther from"
    yield (
        "plain",
        f"Handing out the nearest training tile in place of each generated one would score "
        f"{number(copy.value)}, {nearer} held-out tiles than the model; a distance alone does not "
        "tell a generator from a copier, the copy audit does.",
    )


def _neighbors(results: found.Results) -> Iterator[Sentence]:
    rows = rows_of(results)
    meanings = {
        "precision_k5": "generated tiles lie among real ones",
        "recall_k5": "real tiles have generated ones near",
    }
    for name, meaning in meanings.items():
        got, floor = _value(rows, "heldout", name), _value(rows, "floor", name)
        if got is None or floor is None or got.value is None or not floor.value:
            continue
        yield (
            "warn" if got.value < _SHARE_LOST * floor.value else "plain",
            f"{LABELS[name][0]} {number(got.value)} ({meaning}), real groups among each other "
            f"{number(floor.value)}.",
        )


def _training(results: found.Results) -> Iterator[Sentence]:
    rows = rows_of(results)
    train = _value(rows, "train", results.lead)
    real = _value(rows, "heldout_train", results.lead)
    if train is None or real is None or train.value is None or real.value is None:
        return
    nearer = _apart(real, train)
    yield (
        "warn" if nearer else "plain",
        f"To training tiles generated ones lie {number(train.value)}, held-out ones "
        f"{number(real.value)}"
        + (": nearer than new patients do, which is how memorised tiles look." if nearer else "."),
    )


def _diagnosis(results: found.Results) -> Iterator[Sentence]:
    judged = results.diagnosed
    if not judged.done:
        yield "warn", f"Causes of failure were not looked for: {judged.why or 'not asked for'}."
    elif not results.diagnosis:
        rest = "" if judged.detail else " Blur and block edges were not judged."
        if judged.hidden:
            rest += f" Too few groups to tell for {len(judged.hidden)} of the causes."
        yield "warn" if rest else "plain", f"The diagnosis names no cause.{rest}"
