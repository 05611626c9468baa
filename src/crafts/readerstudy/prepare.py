"""Step: tiles of two folders into a blinded study, with its plan fixed and its key sealed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import Manifest, finish, sha256_bytes, staging
from crafts.core.records import Ledger
from crafts.core.runtime import say, seed_from
from crafts.readerstudy.config import PrepareConfig
from crafts.readerstudy.items.drawing import Drawn, draw_pairs
from crafts.readerstudy.items.equalising import (
    Pixels,
    attention_picture,
    history_of_quality,
    pass_history,
    pass_quality,
    plain_fake,
    stored_png,
)
from crafts.readerstudy.items.ordering import order_items, shuffle
from crafts.readerstudy.items.traces import grid_traces, tell_apart
from crafts.readerstudy.protocol import (
    KEY,
    PROTOCOL,
    REGISTRATION,
    SERVED,
    Feedback,
    KeyRow,
    Kind,
    Protocol,
    Registration,
    Slot,
    write_json,
    write_key,
)
from crafts.readerstudy.statistics.estimates import Estimate
from crafts.sets.splits import refuse_same_images

STAGE = "study-prepare"


def run(config: PrepareConfig, inputs: Mapping[str, Path] | None, output: Path) -> Manifest:
    """Draw, match and blind items, order them for each reader, and fix the plan.

    Args:
        config: see :class:`crafts.readerstudy.config.PrepareConfig`.
        inputs: ``real`` and ``generated``: replace those of the configuration.
        output: gets ``served/`` (all that a server needs), ``sealed/key.csv`` (the answers; keep it
            apart while readers read), ``preregistration.json``, whose hash stands in what is
            served, and last ``manifest.json``.

    Raises:
        ConfigError: no such folder, or one folder for both classes.
        DataError: too few tiles that match, tiles of several sizes, or too many unusable ones.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    places = {"--real": (config.real, config.split), "--generated": (config.generated, "")}
    refuse_same_images("study prepare", places)
    ledger = Ledger("study prepare")
    with staging(output, STAGE, sources=[config.real, config.generated]) as folder:
        pairs = draw_pairs(config, config.per_class + math.ceil(config.training / 2), ledger)
        ledger.check(config.max_reject_fraction)
        ledger.write(folder / "rejects.jsonl")
        items = _build_items(config, pairs)
        traces = _write_pictures(folder, items)
        rows = [row for row, _, _ in items]
        write_key(folder / KEY, rows)
        registered = write_json(folder / REGISTRATION, _registration(config))
        texts = {row.picture: text for row, _, text in items}
        protocol = _protocol(config, rows, texts)
        size = items[0][1].shape[:2]
        protocol = protocol.model_copy(
            update={"registration": sha256_bytes(registered), "size": (size[0], size[1])}
        )
        write_json(folder / PROTOCOL, protocol)
        showings = sum(len(slots) for slots in protocol.readers.values())
        manifest = finish(
            folder,
            stage=STAGE,
            config=_settings(config),
            counts={
                **ledger.counts(),
                "items": 2 * config.per_class,
                "readers": config.readers,
                "showings": showings,
            },
            extra={"registration": protocol.registration, "traces": _told(traces)},
        )
    _warn(traces)
    return manifest


Item = tuple[KeyRow, Pixels, str]
"""The truth of an item, its pixels as they are served, and the words shown beside it."""


def _build_items(config: PrepareConfig, pairs: Sequence[tuple[Drawn, Drawn]]) -> list[Item]:
    """All pictures of the study, in an order that says nothing, with names that say nothing."""
    shown = config.match != "none" and "rating" in config.tasks
    rng = np.random.default_rng(seed_from("items", config.seed))
    items: list[Item] = []
    for number, pair in enumerate(pairs):
        block = "test" if number < config.per_class else "training"
        group = number % config.groups
        for tile, partner in (pair, pair[::-1]):
            pixels = _alike(config, tile, partner)
            row = _row("real" if tile is pair[0] else "synthetic", block, group, tile)
            items.append((row, pixels, tile.stratum if shown else ""))
    made = [item for item in items if item[0].kind == "synthetic"]
    made = [item for item in made if item[0].block == "training"] or made
    for number in range(config.plain_fakes):
        row, pixels, text = made[number % len(made)]
        fake = pass_quality(plain_fake(pixels, rng), config.last_quality)
        items.append((replace(row, kind="plain-fake", block="test", group=-1), fake, text))
    size = (items[0][1].shape[0], items[0][1].shape[1])
    for number in range(config.attention):
        synthetic = number % 2 == 0
        row = KeyRow("", "attention", "test", -1, "", "", "", "", int(synthetic))
        asked = pass_quality(attention_picture(size, synthetic=synthetic), config.last_quality)
        items.append((row, asked, items[number % len(items)][2]))
    order = rng.permutation(len(items))
    return [
        (replace(items[k][0], picture=_opaque(config.seed, place)), *items[k][1:])
        for place, k in enumerate(order)
    ]


def _alike(config: PrepareConfig, tile: Drawn, partner: Drawn) -> Pixels:
    """Pixels that passed what their partner had passed, and in the end what all pass."""
    pixels = tile.pixels
    if partner.history is not None:
        pixels = pass_history(pixels, partner.history)
    elif config.jpeg_quality is not None and partner.name.startswith("real/"):
        pixels = pass_history(pixels, history_of_quality(config.jpeg_quality))
    return pass_quality(pixels, config.last_quality)


def _row(kind: Kind, block: str, group: int, tile: Drawn) -> KeyRow:
    answer = int(kind != "real")
    place = (tile.label, tile.site, tile.patient)
    return KeyRow("", kind, block, group, *place, source=tile.name, answer=answer)


def _opaque(seed: int, place: int) -> str:
    return sha256_bytes(f"{seed}/{place}".encode())[:20] + ".png"


def _write_pictures(folder: Path, items: Sequence[Item]) -> Estimate | None:
    """Write what is served, and see whether its compression tells the classes apart."""
    place = folder / SERVED / "pictures"
    place.mkdir(parents=True)
    lengths: set[int] = set()
    for row, pixels, _ in items:
        data = stored_png(pixels)
        lengths.add(len(data))
        (place / row.picture).write_bytes(data)
    assert len(lengths) == 1, "pictures of one size are files of one length"
    main = [(row, pixels) for row, pixels, _ in items if row.is_main]
    features = np.array([grid_traces(pixels) for _, pixels in main])
    synthetic: NDArray[np.bool_] = np.array([row.answer == 1 for row, _ in main])
    return tell_apart(features, synthetic)


def _protocol(config: PrepareConfig, rows: Sequence[KeyRow], texts: Mapping[str, str]) -> Protocol:
    training = [row for row in rows if row.block == "training"][: config.training]
    extra = [row.picture for row in rows if row.group < 0]
    readers: dict[str, tuple[Slot, ...]] = {}
    for reader in range(config.readers):
        group = reader % config.groups
        main = [row.picture for row in rows if row.is_main and row.group == group]
        first = shuffle([row.picture for row in training], seed=config.seed, reader=reader)
        then = order_items(main, extra, repeats=config.repeats, seed=config.seed, reader=reader)
        readers[f"reader-{reader + 1:02d}"] = tuple(
            Slot(picture=name, text=texts[name], block=block)
            for block, names in (("training", first), ("test", then))
            for name in names
        )
    return Protocol(
        title=config.title,
        tasks=config.tasks,
        choices=config.choices,
        size=(0, 0),
        allow_changes=config.allow_changes,
        tell_share=config.tell_share,
        registration="",
        readers=readers,
        feedback={row.picture: Feedback(synthetic=row.answer == 1) for row in training},
    )


def _registration(config: PrepareConfig) -> Registration:
    figure = {"area": "the area under the ROC curve", "accuracy": "balanced accuracy"}
    made = (
        f"Readers do not tell synthetic tiles from real ones: {figure[config.endpoint]} lies within"
        f" {config.margin:g} of 0.5, for other readers and other tiles."
    )
    return Registration(
        hypothesis=config.hypothesis or made,
        null=0.5,
        **{
            name: getattr(config, name)
            for name in Registration.model_fields
            if name not in ("hypothesis", "null")
        },
    )


def _settings(config: PrepareConfig) -> dict[str, object]:
    values = config.model_dump(mode="json")
    for name in ("real", "generated"):
        values[name] = str(Path(values[name]).resolve())
    return values


def _told(traces: Estimate | None) -> dict[str, float] | None:
    if traces is None:
        return None
    return {"area": traces.value, "low": traces.low, "high": traces.high}


def _warn(traces: Estimate | None) -> None:
    if traces is not None and not traces.low <= 0.5 <= traces.high:
        say(
            f"TAKE CARE: traces of compression tell the classes apart (area {traces.value:.2f},"
            f" {traces.low:.2f} to {traces.high:.2f}); say how real tiles were compressed with"
            " --set jpeg_quality=80, or bring them as the JPEG files that they were"
        )
