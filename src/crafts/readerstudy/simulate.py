"""Step: simulated readers answer a prepared study, for planning and for trying a report out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from crafts.core.artifacts import Manifest, staging
from crafts.core.runtime import seed_from
from crafts.readerstudy.config import SimulateConfig
from crafts.readerstudy.protocol import (
    KeyRow,
    Protocol,
    Slot,
    load_key,
    load_protocol,
    study_id,
)
from crafts.readerstudy.readers import to_scores
from crafts.readerstudy.readings import STAGE, Reading, write_readings
from crafts.readerstudy.statistics.detection import LEVELS

_PLAIN = 4.0  # d' that a plainly bad fake adds
_EXPERIENCE = ("under 5 years", "5 to 15 years", "over 15 years")


def run(config: SimulateConfig, inputs: Mapping[str, Path] | None, output: Path) -> Manifest:
    """Answer every showing of a study with readers of one population.

    Args:
        config: the study and its readers.
        inputs: ``study``: replaces that of the configuration.
        output: gets ``readings.csv``, ``readers.csv`` and last ``manifest.json``, which says that
            they are simulated; ``analyze`` takes it.

    Raises:
        DataError: no prepared study, or its key was taken away.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    protocol, key = load_protocol(config.study), load_key(config.study)
    with staging(output, STAGE, sources=[config.study]) as folder:
        readings = list(_answer(config, protocol, key))
        readers = [
            {"reader": name, "experience": _EXPERIENCE[k % 3], "consent": "simulated"}
            for k, name in enumerate(protocol.readers)
        ]
        return write_readings(
            folder,
            readings,
            readers,
            study=study_id(config.study),
            extra={"simulated": config.model_dump(mode="json", exclude={"study"})},
        )


def _answer(
    config: SimulateConfig, protocol: Protocol, key: Mapping[str, KeyRow]
) -> Iterator[Reading]:
    cases = np.random.default_rng(seed_from("cases", config.seed))
    shared = {name: cases.normal(size=2) for name in sorted(key)}
    for number, (reader, slots) in enumerate(protocol.readers.items()):
        yield from _session(config, number, reader, slots, key=key, shared=shared)


def _session(
    config: SimulateConfig,
    number: int,
    reader: str,
    slots: tuple[Slot, ...],
    *,
    key: Mapping[str, KeyRow],
    shared: Mapping[str, np.ndarray],
) -> Iterator[Reading]:
    """One reader from first to last item."""
    who = config.readers
    rng = np.random.default_rng(seed_from("reader", config.seed, number))
    distance, bias = rng.normal(who.d_prime, who.d_prime_sd), rng.normal(who.bias, who.bias_sd)
    leniency = rng.normal(0, 0.2)
    one_answer = number < who.one_answer
    hasty = who.one_answer <= number < who.one_answer + who.hasty
    own: dict[str, float] = {}
    for position, slot in enumerate(slots):
        if slot.block == "test" and rng.random() < who.missing:
            continue
        row, time = key[slot.picture], position / max(len(slots) - 1, 1)
        view = own.setdefault(slot.picture, rng.normal())
        noise = math.sqrt(who.steadiness) * view + math.sqrt(1 - who.steadiness) * rng.normal()
        far = distance + who.learning * (time - 0.5) + (_PLAIN if row.kind == "plain-fake" else 0)
        impression = (far / 2 if row.answer else -far / 2) + bias + who.drift * (time - 0.5)
        impression += math.sqrt(who.correlation) * shared[slot.picture][0]
        impression += math.sqrt(1 - who.correlation) * noise
        if row.kind == "attention" and not hasty:
            impression = 9.0 if row.answer else -9.0
        step = float(rng.integers(1, 11) if hasty else to_scores(np.array(impression)))
        step = 9.0 if one_answer else step
        mean = who.rating + (0.0 if row.answer else who.rating_gap) + leniency
        rating = mean + 0.3 * shared[slot.picture][1] + 0.4 * rng.normal()
        yield Reading(
            reader,
            position,
            slot.picture,
            slot.block,
            realness=float(step > LEVELS),
            confidence=step - LEVELS if step > LEVELS else LEVELS + 1 - step,
            rating=float(np.clip(np.rint(rating), 1, 4)),
            seconds=float(rng.lognormal(-1.2 if hasty else 2.0 - 0.3 * time, 0.5)),
            idle_seconds=0.0,
        )
