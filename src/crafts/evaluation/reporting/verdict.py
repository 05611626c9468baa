"""Plain sentences on what the numbers of an evaluation say, each with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crafts.core.page import Level, Stat, Verdict, number
from crafts.evaluation import results as found
from crafts.evaluation.reporting.tables import LABELS, alignment_of, is_spread, rows_of

_SHARE_LOST = 0.5  # of the floor's recall or precision; below it a sentence takes care


def compose_verdict(results: found.Results) -> Verdict:
    """The first thing a reader sees.

    Alarm: the diagnosis found a cause, or prompts are followed no better than shuffled ones. Take
    care: a loud mark, a distance above the floor by more than both spreads, or no diagnosis. These
    are no thresholds of fitness for a purpose; the page says what they are.
    """
    sentences = [*_distance(results), *_alignment(results), *_baseline(results)]
    sentences += [*_neighbours(results), *_training(results), *_diagnosis(results)]
    warnings = tuple(mark.text for mark in results.marks if mark.loud)
    alarms = [str(item["title"]) for item in results.diagnosis if is_alarm(item)]
    if alarms:
        sentences.insert(0, ("bad", f"The diagnosis names a cause: {'; '.join(alarms)}."))
    levels = {"warn" if warnings else "good", *(level for level, _ in sentences)}
    level: Level = "bad" if "bad" in levels else "warn" if "warn" in levels else "good"
    reasons = tuple(text for _, text in sentences)
    return Verdict(level, _headline(results), reasons, warnings)


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
        stats.append(Stat(LABELS[name][0], number(got.value), spread + floor_note))
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


def _headline(results: found.Results) -> str:
    rows, name = rows_of(results), LABELS[results.lead][0].replace("Kernel", "kernel")
    got, floor = _value(rows, "heldout", results.lead), _value(rows, "floor", results.lead)
    if got is None or got.value is None:
        return f"The {name} to held-out tiles could not be measured."
    if floor is None or floor.value is None:
        return f"Generated and held-out tiles lie {number(got.value)} apart in {name}."
    if _apart(got, floor):
        return (
            f"Generated tiles can be told from real ones: they lie {number(got.value)} from "
            f"held-out tiles in {name}; real groups lie {number(floor.value)} from each other."
        )
    return (
        f"By {name}, generated tiles lie as near to held-out tiles ({number(got.value)}) as real "
        f"groups to each other ({number(floor.value)})."
    )


def _value(rows: Mapping[str, found.Row], key: str, name: str) -> found.Measured | None:
    return rows[key].measures.get(name) if key in rows else None


def _apart(got: found.Measured, floor: found.Measured) -> bool:
    """Whether a distance lies above the floor by more than both spreads together."""
    if got.value is None or floor.value is None:
        return False
    return got.value - floor.value > (got.spread or 0.0) + (floor.spread or 0.0)


Sentence = tuple[Level, str]


def _distance(results: found.Results) -> Iterator[Sentence]:
    rows, name = rows_of(results), LABELS[results.lead][0]
    got, floor = _value(rows, "heldout", results.lead), _value(rows, "floor", results.lead)
    if got is None or got.value is None:
        yield "warn", f"{name}: no value. {got.why if got else ''}".strip()
    elif floor is None or floor.value is None:
        yield "warn", "No floor: real groups could not be compared with each other."
    else:
        apart = _apart(got, floor)
        ratio = f", {number(got.value / floor.value)} times the floor" if floor.value > 0 else ""
        verdict = "outside" if apart else "within"
        yield (
            "warn" if apart else "good",
            f"{name} to held-out tiles {_with_spread(got)}, between real groups "
            f"{_with_spread(floor)}{ratio}: {verdict} the spread of what real tiles show.",
        )


def _alignment(results: found.Results) -> Iterator[Sentence]:
    rows = alignment_of(results)
    if "generated" not in rows or "shuffled" not in rows:
        return
    got, shuffled = rows["generated"].prompt_alignment, rows["shuffled"].prompt_alignment
    if got.value is None or shuffled.value is None:
        return
    followed = _apart(got, shuffled)
    real = rows["heldout"].prompt_alignment.value if "heldout" in rows else None
    beside = (
        f", {number(real, unit='%')} for real tiles with their captions" if real is not None else ""
    )
    said = "Prompts are followed" if followed else "Prompts are not followed"
    own, others = (number(one.value, unit="%") for one in (got, shuffled))
    yield (
        "good" if followed else "bad",
        f"{said}: alignment {own} with their own prompts, {others} with each other's{beside}.",
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


def _neighbours(results: found.Results) -> Iterator[Sentence]:
    rows = rows_of(results)
    told = {
        "precision_k5": "generated tiles lie among real ones",
        "recall_k5": "real tiles have generated ones near",
    }
    for name, meaning in told.items():
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
        yield "plain" if judged.detail else "warn", f"The diagnosis names no cause.{rest}"
