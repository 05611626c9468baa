"""Plain sentences on what an audit found, each with its numbers, and what to know before them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from crafts.auditing import results as found
from crafts.auditing.features import Features
from crafts.auditing.results import Results
from crafts.core.page import Level, Stat, Verdict, number
from crafts.report.facts import Sentence, judge_sentences
from crafts.sets.source import SetName

EXPOSED = 0.7
"""Area under the ROC curve from which an attack is called strong ("acceptable discrimination" of
Hosmer and Lemeshow); an alarm when even the low end of its interval lies above."""

NEAR_EXPECTED = 0.001
"""Share of real tiles of other patients that the threshold for ``near`` marks by construction."""

ATTACKS = {
    "loss": "by the loss of the model",
    "features": "by likeness to generated tiles",
    "blind": "without the model (control)",
}


def compose_verdict(results: found.Results) -> Verdict:
    """The first thing a reader sees.

    Alarm: the allowed share of copies is passed, copies of whole files, more copies than real tiles
    of other patients show, a training tile drawn from the model, or a strong membership attack.
    """
    sentences = [
        *_copies(results),
        *_near(results),
        *_membership(results),
        *_extraction(results),
        *_authenticity(results),
    ]
    return judge_sentences(_headline(results.copies.copies), sentences)


def sum_up(results: found.Results) -> str:
    """The share of copies in one line, for a terminal."""
    copies = results.copies.copies
    if copies.of == 0:
        return _headline(copies).rstrip(".")
    word = "copy" if copies.count == 1 else "copies"
    bound = interval(copies) if copies.count else f"up to {number(copies.high, percent=True)}"
    return f"{copies.count:,} {word} among {copies.of:,} generated tiles (95 %: {bound})"


def compose_stats(results: found.Results) -> list[Stat]:
    """The few numbers to look at first, each with what to hold it against."""
    copies = results.copies
    stats = [
        Stat("Copies of training tiles", share(copies.copies), _range(copies.copies)),
    ]
    if copies.near:
        stats.append(Stat("Near a training tile", share(copies.near), _range(copies.near)))
    if copies.heldout:
        note = f"of {copies.heldout.of:,} real tiles of other patients, the same search"
        stats.append(Stat("Control", share(copies.heldout), note))
    strongest = [attack for attack in results.membership if attack.name != "blind"]
    if strongest:
        attack = max(strongest, key=lambda attack: attack.auc)
        note = f"AUC {ATTACKS[attack.name]}; 0.5 is chance"
        stats.append(Stat("Membership", number(attack.auc), note))
    stats.append(Stat("Authentic tiles", share(results.authenticity), _authentic_note(results)))
    return stats


def _authentic_note(results: found.Results) -> str:
    real = results.authenticity_heldout
    return f"real tiles of other patients: {share(real)}" if real else ""


def share(value: found.Share) -> str:
    """A share in percent."""
    return number(value.share, percent=True)


def interval(value: found.Share) -> str:
    """Its 95 % interval in percent."""
    return f"{number(value.low, percent=True)} to {number(value.high, percent=True)}"


def _range(value: found.Share) -> str:
    return f"{value.count:,} of {value.of:,}; 95 %: {interval(value)}"


def _headline(copies: found.Share) -> str:
    if copies.of == 0:
        return "No generated tile could be judged."
    if copies.count == 0:
        return (
            f"No copy of a training tile was found among {copies.of:,} generated tiles; "
            f"the true share is at most {number(copies.high, percent=True)}, at 95 % confidence."
        )
    verb = "is a copy of a training tile" if copies.count == 1 else "are copies of training tiles"
    return (
        f"{copies.count:,} of {copies.of:,} generated tiles {verb}: {share(copies)}, "
        f"95 % interval {interval(copies)}."
    )


def _copies(results: found.Results) -> Iterator[Sentence]:
    part = results.copies
    if results.fail_above is not None:
        allowed = number(results.fail_above, percent=True)
        word = "is not above" if results.passed else "is above"
        level: Level = "plain" if results.passed else "bad"
        yield level, f"The share of copies {word} the {allowed} that this audit allows."
    real = part.heldout
    if part.copies.count:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in part.kinds.items() if count)
        beyond = real is None or (part.copies.low or 0.0) > (real.high or 0.0)
        exact = any(part.kinds.get(kind) for kind in ("exact file", "exact pixels"))
        yield "bad" if beyond or exact else "warn", f"Kinds of copies: {kinds}."
    if real:
        yield (
            "warn" if real.count else "plain",
            f"The same search marks {real.count:,} of {real.of:,} real tiles of other patients "
            f"({share(real)}, up to {number(real.high, percent=True)})"
            + (": false alarms, or tissue on both sides of the split." if real.count else "."),
        )
    else:
        yield "warn", "Without held-out tiles the thresholds are not calibrated on this tissue."


def _near(results: found.Results) -> Iterator[Sentence]:
    near = results.copies.near
    if near is None:
        return
    more = (near.low or 0.0) > NEAR_EXPECTED
    yield (
        "warn" if more else "plain",
        f"{near.count:,} of {near.of:,} tiles are no copies but nearer to a training tile than "
        f"real tiles of other patients are ({share(near)}; about "
        f"{number(NEAR_EXPECTED, percent=True)} is expected).",
    )


def _membership(results: found.Results) -> Iterator[Sentence]:
    blind = next((attack for attack in results.membership if attack.name == "blind"), None)
    chance = max(0.5, blind.auc_high if blind else 0.5)
    for attack in results.membership:
        if attack.name == "blind":
            continue
        apart = attack.auc_low > chance
        level: Level = "bad" if apart and attack.auc_low > EXPOSED else "warn" if apart else "plain"
        if not apart and attack.auc_high > EXPOSED:
            yield "warn", _too_few(attack, chance)
            continue
        beside = f", control {number(blind.auc)}" if blind else ""
        auc = (
            f"{ATTACKS[attack.name]}: AUC {number(attack.auc)} ({number(attack.auc_low)} to "
            f"{number(attack.auc_high)}{beside})"
        )
        if attack.auc_high < 0.5:
            yield (
                "warn",
                f"Training tiles against held-out ones {auc}, below chance: this points to a "
                "difference between the two sets, not to memory.",
            )
            continue
        yield (
            level,
            f"Training tiles {'can' if apart else 'cannot'} be told from held-out ones {auc}, "
            f"{number(attack.tpr, percent=True)} of them found at 1 % false positives.",
        )


def _too_few(attack: found.Attack, chance: float) -> str:
    """A strong attack is neither seen nor excluded; the interval shrinks as the root of the units.

    The half of it must become smaller than the way from the AUC to chance, or to a strong attack.
    """
    half = (attack.auc_high - attack.auc_low) / 2
    way = max(EXPOSED - attack.auc, attack.auc - chance, 0.01)
    units = attack.groups or min(attack.members, attack.nonmembers)
    needed = number(math.ceil(round(units * (half / way) ** 2, 6)))
    what = "patients" if attack.groups else "tiles of each side"
    return (
        f"Too few to tell whether training tiles can be told from held-out ones "
        f"{ATTACKS[attack.name]}: AUC {number(attack.auc)} ({number(attack.auc_low)} to "
        f"{number(attack.auc_high)}) with {units:,} {what}, about {needed} are needed to exclude "
        f"or to see one of {number(EXPOSED)}."
    )


def _extraction(results: found.Results) -> Iterator[Sentence]:
    if results.extraction is None:
        return
    copies = results.extraction.copies
    yield (
        "bad" if copies.count else "plain",
        f"Drawing from the {len(results.extraction.captions):,} most repeated captions gave "
        f"{copies.count:,} copies in {copies.of:,} tries ({share(copies)}, up to "
        f"{number(copies.high, percent=True)}).",
    )


def _authenticity(results: found.Results) -> Iterator[Sentence]:
    got, real = results.authenticity, results.authenticity_heldout
    if real is None:
        return
    less = (got.high or 0.0) < (real.low or 0.0)
    yield (
        "warn" if less else "plain",
        f"{share(got)} of the generated tiles are authentic, of real tiles of other patients "
        f"{share(real)}" + (": fewer than an honest generator would reach." if less else "."),
    )


def compose_notes(results: Results, usable: Mapping[SetName, Features]) -> list[str]:
    """What the numbers rest on, the gravest first; empty when there is nothing to say."""
    notes = [*_leaks(results), *_patients(usable)]
    copies = results.copies
    if "heldout" not in usable:
        notes.append(
            "No held-out tiles were given: the limit for copies was measured on other tiles, no "
            "tile could be marked as near, and membership inference was not possible."
        )
    elif copies.correlation_threshold.source == "default":
        notes.append(
            f"Only {copies.correlation_threshold.n} held-out tiles could set the limit for copies; "
            "it was measured on other tiles instead."
        )
    if copies.plain:
        notes.append(
            f"{copies.plain} generated tiles have too little structure to be judged; they count as "
            "no copies."
        )
    if "heldout" in usable and not results.membership:
        notes.append("Too few tiles of the same kind on both sides for membership inference.")
    return notes


def _leaks(results: Results) -> list[str]:
    found = results.copies.heldout
    if not found or not found.count:
        return []
    return [
        f"{found.count} of {found.of} held-out tiles show the same structure as a training tile. "
        "Look at the pairs: as a rule the same tissue stands on both sides of the split, and then "
        "figures on held-out tiles are too good. These tiles set no limit and are no non-members."
    ]


def _patients(usable: Mapping[SetName, Features]) -> list[str]:
    if "heldout" not in usable:
        return []
    train, heldout = (usable[name].patients() for name in ("train", "heldout"))
    if train is None or heldout is None:
        return [
            "Patients are not named in both real sets: intervals are over single tiles, and only "
            "the pixels could tell whether a patient stands on both sides."
        ]
    return []
