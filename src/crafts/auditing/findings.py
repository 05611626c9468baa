"""From what was found in pixels and features to the results of an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.config import AuditConfig
from crafts.auditing.extraction import Drawn, extract, most_repeated
from crafts.auditing.features import Features, ImageSet, Placed, place, ratio_limit
from crafts.auditing.matching.copies import Found, Limits, count_kinds, judge, share_of
from crafts.auditing.matching.library import Library
from crafts.auditing.membership import AttackSide, Target, attack_all
from crafts.auditing.page.verdict import compose_notes
from crafts.auditing.results import Attack, Copies, Results, Share, Threshold, TileVerdict
from crafts.core.errors import DataError
from crafts.data.collection import Tile
from crafts.measures.neighbors import nearest
from crafts.sets.source import SetFacts, SetName

_MAX_LEAKS = 50


@dataclass(frozen=True)
class Searched:
    """What the search for structure found, before features are looked at.

    Attributes:
        library: the training tiles.
        found: an entry for each generated and each held-out tile.
        limits: correlations above which a tile is a copy.
    """

    library: Library
    found: Mapping[SetName, list[Found]]
    limits: Limits


@dataclass(frozen=True)
class Findings:
    """All that an audit writes.

    Attributes:
        results: the numbers.
        verdicts: on every generated tile, in the order of its set.
        heldout: on every held-out tile, for the charts.
        drawn: images that were drawn from the model and are copies, by name.
    """

    results: Results
    verdicts: list[TileVerdict]
    heldout: list[TileVerdict]
    drawn: Mapping[str, NDArray[np.uint8]]


def conclude(
    config: AuditConfig,
    sets: Mapping[SetName, ImageSet],
    *,
    searched: Searched,
    usable: Mapping[SetName, Features],
    target: Target | None,
) -> Findings:
    """All results, and the verdict on every generated tile.

    Args:
        config: of the stage.
        sets: generated, train and perhaps heldout.
        searched: what lies in their pixels.
        usable: features of the images that are not rejected.
        target: the model to be attacked.
    """
    train_name = sets["train"].images.name
    verdicts = _judge(sets, searched, "generated")
    heldout = _judge(sets, searched, "heldout")
    apart = {k for k, verdict in enumerate(heldout) if verdict.verdict != "copy"}
    clean = usable["heldout"].keep(apart) if heldout else None
    placed, usual = place(usable["generated"], usable["train"], clean)
    near = ratio_limit(usual.ratio) if usual is not None and usual.ratio is not None else None
    verdicts = _complete(verdicts, usable, placed, near, train_name)
    if clean is not None and usual is not None:
        heldout = _complete(heldout, {**usable, "generated": clean}, usual, near, train_name)
    drawn = _extraction(config, sets, searched, usable["train"], target)
    results = Results(
        seed=config.seed,
        encoder=dict(usable["generated"].encoder),
        model={"name": target.name, "fingerprint": target.fingerprint} if target else {},
        sets=[_facts(one, usable[name]) for name, one in sets.items()],
        copies=_copies(verdicts, heldout, searched.limits, near),
        authenticity=_authentic(placed),
        authenticity_heldout=_authentic(usual) if usual is not None else None,
        membership=_membership(config, sets, usable, clean, target),
        extraction=drawn.extraction if drawn else None,
        fail_above=config.fail_above,
    )
    share = results.copies.copies.share or 0.0
    passed = config.fail_above is None or share <= config.fail_above
    notes = compose_notes(results, usable)
    results = results.model_copy(update={"passed": passed, "notes": notes})
    return Findings(results, verdicts, heldout, drawn.images if drawn else {})


def _judge(
    sets: Mapping[SetName, ImageSet], searched: Searched, name: SetName
) -> list[TileVerdict]:
    """Verdicts on a set by its pixels; empty when it was not given."""
    found = searched.found.get(name, [])
    train_name = sets["train"].images.name
    return [
        judge(sets[name].images.name(k), item, limits=searched.limits, sources=train_name)
        for k, item in enumerate(found)
    ]


def _complete(
    verdicts: Sequence[TileVerdict],
    usable: Mapping[SetName, Features],
    placed: Placed,
    near: Threshold | None,
    train_name: Callable[[int], str],
) -> list[TileVerdict]:
    """Add what the features say; images without features are rejected."""
    out, numbers = list(verdicts), usable["train"].numbers
    generated = usable["generated"]
    for number, reason in generated.faults.items():
        out[number] = TileVerdict(name=out[number].name, verdict="rejected", reason=reason)
    for row, number in enumerate(generated.numbers):
        verdict = out[number]
        ratio = float(placed.ratio[row]) if placed.ratio is not None else None
        word = verdict.verdict
        if word == "clear" and near is not None and ratio is not None and ratio < near.value:
            word = "near"
        facts = {
            "verdict": word,
            "neighbour": train_name(int(numbers[placed.neighbours.index[row]])),
            "distance": float(placed.neighbours.distance[row]),
            "ratio": ratio,
            "authentic": bool(placed.authentic[row]),
            "text": str(generated.rows[row].get("text") or ""),
        }
        out[number] = verdict.model_copy(update=facts)
    return out


def _copies(
    verdicts: Sequence[TileVerdict],
    heldout: Sequence[TileVerdict],
    limits: Limits,
    near: Threshold | None,
) -> Copies:
    words = [verdict.verdict for verdict in verdicts]
    used = len(words) - words.count("rejected")
    leaks = [verdict for verdict in heldout if verdict.verdict == "copy"]
    listed = len(heldout) - sum(verdict.verdict == "rejected" for verdict in heldout)
    leaks.sort(key=lambda verdict: -(verdict.correlation or 0.0))
    return Copies(
        copies=share_of(words.count("copy"), used),
        near=share_of(words.count("near"), used) if near is not None else None,
        plain=words.count("plain"),
        kinds=dict(count_kinds(verdicts)),
        correlation_threshold=limits.part,
        whole_threshold=limits.whole,
        ratio_threshold=near,
        heldout=share_of(len(leaks), listed) if heldout else None,
        leaks=leaks[:_MAX_LEAKS],
    )


def _authentic(placed: Placed) -> Share:
    return share_of(int(placed.authentic.sum()), len(placed.authentic))


def _facts(one: ImageSet, usable: Features) -> SetFacts:
    patients = usable.patients()
    groups = len(set(patients.tolist())) if patients is not None else 0
    return one.facts(len(one.images) - len(usable.numbers), groups)


def _membership(
    config: AuditConfig,
    sets: Mapping[SetName, ImageSet],
    usable: Mapping[SetName, Features],
    clean: Features | None,
    target: Target | None,
) -> list[Attack]:
    """Attacks on training tiles and on held-out tiles that share no tissue with them."""
    if clean is None:
        return []

    def side(one: Features, images: ImageSet) -> AttackSide:
        distances = nearest(one.units, usable["generated"].units).distance
        return AttackSide(one.rows, distances, partial(_tile, images, one.numbers))

    return attack_all(
        side(usable["train"], sets["train"]),
        side(clean, sets["heldout"]),
        target.losses_of if target is not None else None,
        number=config.members,
        seed=config.seed,
    )


def _tile(one: ImageSet, numbers: NDArray[np.int64], row: int) -> Tile:
    """The tile of a row.

    Raises:
        DataError: it could be opened before and now cannot.
    """
    tile = one.images.load(int(numbers[row]))
    if isinstance(tile, str):
        raise DataError(
            f"{one.path}/{one.images.name(int(numbers[row]))}",
            came=tile,
            allowed="the tile that was there when the audit began",
            do="Leave the folders alone while the audit runs, and run it again.",
        )
    return tile


def _extraction(
    config: AuditConfig,
    sets: Mapping[SetName, ImageSet],
    searched: Searched,
    train: Features,
    target: Target | None,
) -> Drawn | None:
    captions = most_repeated([str(row.get("text") or "") for row in train.rows], config.captions)
    if target is None or not captions:
        return None
    images = sets["train"].images
    return extract(
        captions,
        target.make_images,
        searched.library,
        seeds=config.seeds,
        limits=searched.limits,
        train_name=images.name,
    )
