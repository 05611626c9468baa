"""Stage: tiles, summaries of their reports and scores in; the same tiles with captions out.

A caption is ``<scores> <summary>``: what this tile shows, then what its case is. Nothing is dropped
at random here: dropping captions for guidance is the training's business, and there it must not
look at the scores, or the unconditional branch never sees the tiles of one level.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crafts.captions.config import CaptionConfig, Kind
from crafts.captions.matching import Reports
from crafts.captions.scoring.scores import KINDS, Box, ScoreTable, say_scores
from crafts.captions.summarise import load_summaries
from crafts.core.artifacts import (
    MANIFEST,
    Manifest,
    fingerprint,
    finish,
    sha256_bytes,
    sha256_file,
    staging,
)
from crafts.core.errors import ConfigError, DataError
from crafts.core.paths import place_within
from crafts.core.protocols import CountTokens
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.core.tables import TableReader, csv_row_writer, find_metadata, open_table
from crafts.core.tabular.rows import as_text, is_missing

METADATA = "metadata.csv"
READ_KINDS: tuple[Kind, ...] = ("tumor", "til")
COMPUTED_KINDS: tuple[Kind, ...] = ("til", "stroma", "fat")
_OWN = ("report_id", "caption_tokens")
_TABLES = (METADATA, MANIFEST, "rejects.jsonl")  # the output has its own
_SAY_EVERY = 10_000


@dataclass(frozen=True)
class Sources:
    """What a caption is made of.

    Attributes:
        tiles: folder of images with metadata.csv.
        summaries: output of ``summarise``; None keeps the text that tiles have.
        scores: file or folder of scores; None for none.
    """

    tiles: Path
    summaries: Path | None = None
    scores: Path | None = None


@dataclass(frozen=True)
class _Work:
    """What every tile is judged with."""

    config: CaptionConfig
    count: CountTokens
    listing: Path
    reports: Reports | None
    scores: ScoreTable | None
    kinds: tuple[str, ...]
    claimed: dict[str, str]
    """Name in the table of scores -> the tile that has it."""


def run(
    config: CaptionConfig, inputs: Sources, output: Path, *, count_tokens: CountTokens
) -> Manifest:
    """Give tiles their captions.

    Args:
        config: see :class:`CaptionConfig`.
        inputs: tiles, and what is known of them.
        output: gets the images, ``metadata.csv`` (``file_name``, ``text``, the columns of the
            source, ``report_id``, ``caption_tokens``, ``score_<kind>``), ``rejects.jsonl`` and last
            ``manifest.json``, which lists the tables; ``pack`` hashes the images.
        count_tokens: tokens of a text by the tokenizer that ``config`` names.

    Raises:
        ConfigError: a path is wrong, there is nothing to make captions of, or ``output`` holds an
            input or what another stage made.
        DataError: unusable tables, no usable tile, or too many rejected ones.
        RetryError: the disk is full.
    """
    work = _prepare(config, inputs, count_tokens)
    ledger = Ledger("caption", rejects_beside(output))
    read = [path for path in (inputs.tiles, inputs.summaries, inputs.scores) if path]
    with staging(output, "caption", sources=read) as folder:
        _write_tiles(work, inputs.tiles, folder, ledger)
        ledger.write(folder / "rejects.jsonl")
        ledger.check(config.max_reject_fraction)
        return finish(
            folder,
            stage="caption",
            config=config.model_dump(mode="json"),
            inputs=_fingerprints(inputs),
            counts=ledger.counts(),
            only=[METADATA, "rejects.jsonl"],
        )


def _prepare(config: CaptionConfig, inputs: Sources, count: CountTokens) -> _Work:
    listing = _listing(inputs.tiles)
    if inputs.summaries is None and inputs.scores is None and not config.compute:
        raise ConfigError(
            "caption: --summaries, --scores",
            came="neither",
            allowed="at least one of them, or --set compute=true",
            do="Name what captions shall be made of.",
        )
    reports = Reports(load_summaries(inputs.summaries)) if inputs.summaries else None
    table = None
    if inputs.scores is not None:
        from crafts.captions.scoring.score_files import load_scores

        table = load_scores(inputs.scores)
    default = (READ_KINDS if table else ()) or (COMPUTED_KINDS if config.compute else ())
    return _Work(config, count, listing, reports, table, config.kinds or default, {})


def _listing(tiles: Path) -> Path:
    """The table of the tiles."""
    found = find_metadata(tiles) if tiles.is_dir() else []
    if len(found) != 1:
        came = ", ".join(path.name for path in found) or f"no {METADATA}"
        raise ConfigError(
            str(tiles),
            came=came if tiles.is_dir() else "no such folder",
            allowed="the output of `crafts tile`, or images with one metadata.csv",
            do="Check the path, or write metadata.csv with file_name and patient or slide.",
        )
    return found[0]


# ---- tiles -----------------------------------------------------------------------------------


def _write_tiles(work: _Work, source: Path, folder: Path, ledger: Ledger) -> None:
    listed = open_table(work.listing)
    if not listed.header:  # every row of JSON names its own columns
        rows = list(listed.rows)
        names = dict.fromkeys(name for row in rows for name in row.cells)
        listed = TableReader(work.listing, tuple(names), iter(rows))
    with (folder / METADATA).open("w", encoding="utf-8", newline="") as table:
        header = _header(listed)
        scores = [f"score_{kind}" for kind in work.kinds]
        kept = [name for name in header if name not in (*_OWN, *scores)]
        columns = ["file_name", "text", *kept, *_OWN, *scores]
        writer = csv_row_writer(table, columns, ignore_others=True)
        for number, row in enumerate(_rows(listed, source, ledger), 1):
            found = _caption(work, row, source / row["file_name"])
            fault = found if isinstance(found, str) else _place(work, row, source, folder)
            if fault or isinstance(found, str):
                ledger.reject(row["file_name"], str(fault))
                continue
            ledger.use(row["file_name"])
            writer.writerow(row | found)
            if number % _SAY_EVERY == 0:
                say(f"caption: {number} tiles")


def _header(listed: TableReader) -> list[str]:
    names = listed.header
    if "file_name" not in names:
        raise DataError(
            str(listed.path),
            came=", ".join(names) or "no header",
            allowed="a column file_name",
            do="Correct the table.",
        )
    # alternative wordings would stand beside the new caption as if they meant the same
    return [name for name in names if name and name not in ("file_name", "text", "captions")]


def _rows(listed: TableReader, source: Path, ledger: Ledger) -> Iterator[dict[str, str]]:
    """Rows of the listing; those that are broken or name no usable file are rejected here."""
    seen: set[str] = set()
    for found in listed.rows:
        ledger.listed()
        if found.fault:
            ledger.reject(f"row {found.number}", found.fault)
            continue
        cells = {name: found.cells.get(name) for name in listed.header if name}
        row = {n: "" if is_missing(value) else as_text(value) for n, value in cells.items()}
        name = row["file_name"]
        path = Path(name)
        if not name or path.is_absolute() or ".." in path.parts or path.as_posix() in _TABLES:
            ledger.reject(name or f"row {found.number}", "no path of an image within the folder")
            continue
        place = place_within(source, name)
        path = Path(place)
        if path.as_posix() in seen:
            ledger.reject(name, "listed before")
        elif "\0" in name or not (source / path).is_file():
            ledger.reject(name, "no such file")
        else:
            seen.add(path.as_posix())
            yield row | {"file_name": place}


def _caption(work: _Work, row: Mapping[str, str], image: Path) -> dict[str, Any] | str:
    """The new columns of a tile, or why it gets none."""
    config, report_id, text = work.config, "", row.get("text", "")
    if work.reports is not None:
        report_id, fault = work.reports.find(row, config.match)
        if fault:
            return fault
        if config.check and not work.reports.is_clean(report_id):
            return "a summary with words that may identify"
        text = work.reports.summary(report_id)
    scores = _scores(work, row, image)
    if isinstance(scores, str):
        return scores
    missing = [kind for kind in work.kinds if kind not in scores]
    if missing and config.missing_scores == "reject":
        wanting = f"no score of {', '.join(missing)}"
        return f"{wanting}; set kinds to those of the file, or missing_scores=omit"
    worded = say_scores(scores, kinds=work.kinds, levels=config.levels, grammar=config.grammar)
    caption = join_caption(worded, text, tokens=config.tokens, count=work.count)
    if not caption:
        return f"no caption within {config.tokens} tokens" if worded or text else "nothing to say"
    columns: dict[str, Any] = {f"score_{kind}": scores.get(kind, "") for kind in work.kinds}
    columns["report_id"] = report_id or row.get("report_id", "")
    return columns | {"text": caption, "caption_tokens": work.count(caption)}


_SENTENCE = re.compile(r"(?<=[a-z\d%)+]\.)\s+(?=[A-Z\d])")


def join_caption(
    worded: Sequence[str], summary: str, *, tokens: int | None, count: CountTokens
) -> str:
    """Scores and summary in one text within a budget.

    Args:
        worded: scores in words.
        summary: text behind them; loses sentences from its end first.
        tokens: budget; None for none.
        count: tokens of a text.

    Returns:
        The caption; "" where not even the first sentence of the summary fits alone.
    """
    scores, sentences = list(worded), _SENTENCE.split(summary.strip()) if summary.strip() else []
    least = 1 if sentences else 0
    while scores or sentences:
        text = " ".join([*scores, *sentences]).removesuffix(";")
        if tokens is None or count(text) <= tokens:
            return text
        if len(sentences) > least:
            sentences.pop()
        elif scores:
            scores.pop()
        else:
            return ""
    return ""


# ---- scores and images -----------------------------------------------------------------------


def _scores(work: _Work, row: Mapping[str, str], image: Path) -> dict[str, float] | str:
    scores: dict[str, float] = {}
    if work.scores is not None:
        name = row["file_name"]
        names = [name, Path(name).name, Path(name).stem, row.get("key", "")]
        slide = row.get("slide", "")
        key = work.scores.key_of(names, slide)
        if key and (other := work.claimed.setdefault(key, name)) != name:
            raise DataError(
                "caption: scores",
                came=f"{key!r}, which names {other} and {name}",
                allowed="a name of one tile",
                do="Add a column slide to the scores, or write names with their folders.",
            )
        scores = work.scores.of(names, slide, _box(row))
    wanting = any(kind not in scores for kind in work.kinds)
    # fluorescence has no dyes that absorb: what is computed of it would be invented
    if work.config.compute and wanting and row.get("imaging") != "fluorescence":
        from crafts.captions.scoring.estimates import estimate_file

        computed = estimate_file(image, row.get("mpp", ""))
        if computed is None:
            return "an image that does not open"
        if not computed and not scores and work.config.missing_scores == "reject":
            return "next to no tissue to compute scores of"
        scores = computed | scores
    return {kind: scores[kind] for kind in KINDS if kind in scores}


def _box(row: Mapping[str, str]) -> Box | None:
    """Where a tile lies on its slide, in pixels of level 0."""
    try:
        x, y, extent = (float(row[name]) for name in ("x", "y", "extent"))
    except (KeyError, ValueError):
        return None
    known = all(map(math.isfinite, (x, y, extent))) and extent > 0
    return Box(x, y, x + extent, y + extent) if known else None


def _place(work: _Work, row: Mapping[str, str], source: Path, folder: Path) -> str:
    """Bring an image to the output; returns why that failed."""
    target = folder / row["file_name"]
    origin = (source / row["file_name"]).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if work.config.place == "symlink":
        # the temporary folder lies beside the output: the way to the origin is the same
        os.symlink(os.path.relpath(origin, target.parent.resolve()), target)
        return ""
    if work.config.place == "link":
        try:
            os.link(origin, target)
            return ""
        except OSError:  # another disk, or a file system without links
            pass
    try:
        shutil.copyfile(origin, target)
    except PermissionError as error:
        return f"unreadable ({error.strerror})"
    return ""


def _fingerprints(inputs: Sources) -> dict[str, str]:
    tiles, scores = inputs.tiles, inputs.scores
    made = (tiles / MANIFEST).is_file()
    found = {"tiles": fingerprint(tiles) if made else sha256_file(_listing(tiles))}
    if inputs.summaries:
        found["summaries"] = sha256_file(inputs.summaries)
    if scores is not None:
        files = sorted(path for path in scores.rglob("*") if path.is_file()) or [scores]
        found["scores"] = sha256_bytes("".join(map(sha256_file, files)).encode())
    return found
