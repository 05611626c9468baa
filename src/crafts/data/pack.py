"""``crafts pack``: tiles with text into shards, in bytes that do not depend on the workers."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from crafts.core.artifacts import (
    MANIFEST,
    Manifest,
    fingerprint,
    finish,
    sha256_bytes,
    sha256_file,
    staging,
)
from crafts.core.crew import map_in_order
from crafts.core.errors import ConfigError, DataError
from crafts.core.marks import xmp_packet
from crafts.core.progress import Progress
from crafts.core.protocols import CountTokens, LoadMask
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.data.cleaning.card import count_reasons, write_card
from crafts.data.config import Columns, PackConfig
from crafts.data.corpus import clean_items
from crafts.data.listing.corpora import list_corpus, write_requests
from crafts.data.listing.items import ListedTile
from crafts.data.listing.loading import Loaded, all_stay_jpeg, load_item
from crafts.data.listing.tcga import load_studies
from crafts.data.listing.tilesets import list_items
from crafts.data.shards import (
    INDEX,
    iter_batches,
    plan_columns,
    rename_reserved,
    write_index,
    write_shards,
)
from crafts.data.splits import assign_splits, check_splits, read_splits
from crafts.imaging.stripping import add_xmp

_PANELS = ".panels"  # folder of what cleaning cut; gone before the end
_LONGEST = 1000  # characters of a name in a mark
_CHUNK = 16  # items a worker takes at once


def run(
    config: PackConfig,
    inputs: Path,
    output: Path,
    *,
    splits: Path | None = None,
    count_tokens: Mapping[str, CountTokens] | None = None,
    load_mask: LoadMask | None = None,
) -> Manifest:
    """Pack a source of tiles into shards with an index.

    Args:
        config: configuration.
        inputs: source, see :func:`crafts.data.listing.tilesets.list_items`; with ``config.corpus``
            what :func:`crafts.data.listing.corpora.import_corpus` reads.
        output: folder of the shards; an earlier artifact there is replaced.
        splits: csv with the columns ``split`` and ``patient`` (or ``key``).
        count_tokens: name of a tokenizer -> its counter, for the data card (``card.json`` and
            ``card.html``); without it no card is written.
        load_mask: reads the files that a column ``mask`` names; a module-level function (or a
            partial of one), since workers get it, too.

    Raises:
        ConfigError: a path or column does not exist, or there are masks and nothing to read them.
        DataError: a patient in two splits, too many rejects.
        RetryError: the disk is full, or a worker process was killed.
    """
    items = _with_titles(_list_source(config, inputs), config.untitled)
    source = fingerprint(inputs) if (inputs / MANIFEST).is_file() else ""
    ledger, dropped = Ledger("pack", rejects_beside(output)), Ledger("clean")
    with staging(output, "pack", sources=[inputs, *([splits] if splits else [])]) as folder:
        items = _cleaned(items, config, dropped, folder / _PANELS)
        items = assign_item_splits(items, config, splits)
        plan = plan_columns(rename_reserved(item.fields) for item in items)
        ledger.listed(len(items))
        counts = {"duplicates": 0, "duplicates_across_splits": 0}
        masks = _has_masks(items, load_mask, inputs)
        loaded = _keep_usable(items, config, ledger, counts, load_mask)
        size = config.samples_per_shard
        rows = write_shards(loaded, folder, plan=plan, samples_per_shard=size, masks=masks)
        shutil.rmtree(folder / _PANELS, ignore_errors=True)
        _settle(ledger, dropped, config, inputs, output)
        ledger.write(folder / "rejects.jsonl")
        write_index(rows, plan, folder / INDEX)
        reasons = count_reasons(ledger)
        if count_tokens is not None:
            write_card(rows, count_tokens, folder, rejects=reasons, title=inputs.stem)
        return finish(
            folder,
            stage="pack",
            config=config.model_dump(
                mode="json", exclude={"left_out", "num_workers", "studies", "worker_seconds"}
            ),
            inputs={"source": source or _source_hash(rows)}
            | _file_hash("splits", splits)
            | _file_hash("studies", config.studies),
            counts=ledger.counts() | counts,
            extra={"splits": _count_splits(rows, ledger), "reasons": reasons},
        )


def _has_masks(items: Sequence[ListedTile], load_mask: LoadMask | None, inputs: Path) -> bool:
    masks = any(item.mask for item in items)
    if masks and load_mask is None:
        raise ConfigError(
            f"{inputs}: mask",
            came="tiles with masks",
            allowed="a way to read them",
            do="Pass load_mask, as crafts.pack does.",
        )
    return masks


def _count_splits(rows: Sequence[Mapping[str, Any]], ledger: Ledger) -> dict[str, int]:
    """Tiles of each split, told to the user too."""
    tally = dict(sorted(Counter(row["split"] for row in rows).items()))
    splits = ", ".join(f"{number} {name}" for name, number in tally.items())
    say(f"pack: {ledger.in_words()}; splits {splits}")
    silent = sum(not row["text"] and not row.get("captions") for row in rows)
    if silent:
        what = "metadata.csv, or a .txt beside each, gives it"
        say(f"pack: {silent} of {len(rows)} tiles have no text; {what}")
    _say_strangers(rows)
    return tally


def _say_strangers(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say loudly of how many tiles no patient is known: their splits may share patients."""
    strangers = sum(not row.get("patient") for row in rows)
    if strangers:
        say(
            f"pack: WARNING: NO PATIENT is named of {strangers} of {len(rows)} tiles: tiles of one "
            "patient may stand in several splits, and no figure of held-out tiles can be trusted. "
            "Add a column patient (or patient_id, case, subject, ...), or name yours with "
            "--set columns.rename.patient=NAME."
        )


def _cleaned(
    items: list[ListedTile], config: PackConfig, dropped: Ledger, folder: Path
) -> list[ListedTile]:
    if config.clean is None:
        return items
    folder.mkdir()
    return clean_items(items, config.clean, dropped, folder=folder, max_pixels=config.max_pixels)


def _list_source(config: PackConfig, inputs: Path) -> list[ListedTile]:
    if config.corpus is None:
        return list_items(inputs, config.columns)
    if config.corpus != "tcga" and config.columns != Columns():
        raise ConfigError(
            "pack: columns",
            came=f"names of columns for corpus={config.corpus}",
            allowed="none, as the list of this corpus has names of its own",
            do="Leave columns out, or pack without corpus.",
        )
    studies = load_studies(config.studies) if config.studies else None
    return list_corpus(config.corpus, inputs, studies=studies, columns=config.columns)


def _with_titles(items: list[ListedTile], untitled: str) -> list[ListedTile]:
    """Give tiles without text what ``untitled`` makes of their class, and say how many."""
    if not untitled:
        return items
    titled = [_with_title(item, untitled) for item in items]
    number = sum(old.text != new.text for old, new in zip(items, titled, strict=True))
    if number:
        example = next(new.text for old, new in zip(items, titled, strict=True) if new is not old)
        say(f"pack: {number} of {len(items)} tiles have no text and get one: {example!r}, ...")
    return titled


def _with_title(item: ListedTile, untitled: str) -> ListedTile:
    label = str(item.fields.get("label") or "")
    if item.text or item.fields.get("captions") or ("{label}" in untitled and not label):
        return item
    return replace(item, text=untitled.replace("{label}", label.replace("_", " ").strip()))


def assign_item_splits(
    items: Sequence[ListedTile], config: PackConfig, splits: Path | None
) -> list[ListedTile]:
    """Give every item its split: from the file, else from the source, else by fractions.

    Items that a splits file or a source with splits leaves out get a fault and are rejected later.

    Raises:
        DataError: a patient stands in two splits, or the file is unusable.
    """
    if splits is not None:
        column, table = read_splits(splits)
        found: list[str | None] = [
            table.get(item.key if column == "key" else item.fields.get("patient", ""))
            for item in items
        ]
        missing = config.left_out or f"no entry in {splits.name}"
    elif any("split" in item.fields for item in items):
        found = [item.fields.get("split") for item in items]
        missing = "no split, while other tiles of the source have one"
    else:
        found, missing = list(_by_fractions(items, config)), ""
    assigned = [
        replace(item, fields={**item.fields, "split": split})
        if split
        else replace(item, fault=item.fault or missing)
        for item, split in zip(items, found, strict=True)
    ]
    check_splits([item.fields for item in assigned if not item.fault])
    return assigned


def _by_fractions(items: Sequence[ListedTile], config: PackConfig) -> list[str]:
    """Splits by patient within each label; a tile without patient stands for itself."""
    if config.heldout == 0 and config.validation == 0:
        return ["train"] * len(items)
    groups = [item.fields.get("patient") or f"key:{item.key}" for item in items]
    strata: dict[str, set[str]] = {}
    for item, group in zip(items, groups, strict=True):
        strata.setdefault(str(item.fields.get("label", "")), set()).add(group)
    table = assign_splits(
        strata,
        heldout=config.heldout,
        validation=config.validation,
        min_heldout=config.min_heldout if config.heldout else 0,
        seed=config.seed,
    )
    return [table[group] for group in groups]


def _keep_usable(
    items: Sequence[ListedTile],
    config: PackConfig,
    ledger: Ledger,
    counts: dict[str, int],
    load_mask: LoadMask | None,
) -> Iterator[Loaded]:
    first: dict[str, ListedTile] = {}
    left_out = 0
    tiles = _load_all(items, config, load_mask)
    progress = Progress("pack", len(items), "tiles")
    for number, (item, found) in enumerate(zip(items, tiles, strict=True), 1):
        progress.report(number)
        if isinstance(found, str):
            ledger.reject(item.name, found)
            continue
        same = first.setdefault(sha256_bytes(found.sample.image), item)
        if same is not item:
            counts["duplicates"] += 1
            counts["duplicates_across_splits"] += same.fields["split"] != item.fields["split"]
            if config.duplicates == "reject":
                ledger.reject(item.name, f"the same image as {same.name}")
                continue
        ledger.use(item.name)
        if found.left_out:
            if not left_out:
                say(f"pack: {item.name}: an outline of its mask is left out ({found.left_out[0]})")
            left_out += len(found.left_out)
            counts["outlines_left_out"] = left_out
        yield _marked(found) if found.synthetic else found
    if left_out:
        say(f"pack: {left_out} outlines of masks left out")


def _marked(found: Loaded) -> Loaded:
    """A generated tile that says so again: its own mark went with the rest of its metadata."""
    model, licence = (str(found.sample.fields.get(name) or "") for name in ("model", "licence"))
    packet = xmp_packet(system=model[:_LONGEST], licence=licence[:_LONGEST] or "unknown")
    return replace(found, sample=replace(found.sample, image=add_xmp(found.sample.image, packet)))


def _load_all(
    items: Sequence[ListedTile], config: PackConfig, load_mask: LoadMask | None
) -> Iterator[Loaded | str]:
    """Decode in order, in this process or in workers."""
    work = partial(
        _load_chunk,
        max_pixels=config.max_pixels,
        as_png=_wants_png(items, config),
        load_mask=load_mask,
    )
    chunks = ([items[i] for i in part] for part in iter_batches(len(items), _CHUNK))
    if config.num_workers == 1:
        for chunk in chunks:
            yield from work(chunk)
        return
    results = map_in_order(work, chunks, config.num_workers, config.worker_seconds)
    for several in results:
        yield from several


def _wants_png(items: Sequence[ListedTile], config: PackConfig) -> bool:
    if config.image_format == "auto":
        return not all_stay_jpeg(items)
    return config.image_format == "png"


def _load_chunk(
    items: Sequence[ListedTile], max_pixels: int, as_png: bool, load_mask: LoadMask | None
) -> list[Loaded | str]:
    return [load_item(item, max_pixels, as_png=as_png, load_mask=load_mask) for item in items]


def _settle(
    ledger: Ledger, dropped: Ledger, config: PackConfig, inputs: Path, output: Path
) -> None:
    """Check the ledger and add what cleaning dropped.

    A run that fails here leaves its rejects beside the output, and of PathGen the list of tiles
    that are still to be cut from slides.
    """
    try:
        if ledger.num_listed:
            ledger.check(config.max_reject_fraction)
        ledger.listed(dropped.num_listed)
        ledger.rejects += dropped.rejects
        ledger.check(1.0)
    except DataError:
        if config.corpus == "pathgen":
            path = output.parent / f"{output.name}.requests.csv"
            number = write_requests(inputs, path)
            say(f"pack: {number} tiles to be cut from slides: {path} (crafts tile --coordinates)")
        raise


def _source_hash(rows: Sequence[dict[str, Any]]) -> str:
    """Identity of a plain folder: keys and hashes of what was taken from it."""
    return sha256_bytes("".join(f"{row['key']} {row['sha256']}\n" for row in rows).encode())


def _file_hash(name: str, path: Path | None) -> dict[str, str]:
    return {name: sha256_file(path)} if path else {}
