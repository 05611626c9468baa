"""Clean a corpus for the first stage: histology in single panels, each once, in English.

What is dropped stands in ``rejects.jsonl`` with its reason; used and rejected add up to listed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from crafts.core.artifacts import Manifest, finish, sha256_bytes, sha256_file, staging
from crafts.core.config import Config
from crafts.core.protocols import CountTokens
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.data.card import count_reasons, write_card
from crafts.data.corpora import Kind, list_corpus
from crafts.data.duplicates import Duplicate, Print, find_duplicates, make_print
from crafts.data.figures import LINE, count_letters, find_panels, measure_look, picture_fault
from crafts.data.images import MAX_PIXELS, decode_rgb
from crafts.data.importers import Item, Loaded, list_items, load_item
from crafts.data.tables import Columns
from crafts.data.tcga import load_studies
from crafts.data.wordings import Repeats, WordingConfig, split_caption, wording_fault

_SAY_EVERY = 5000


class CleanConfig(Config):
    """Configuration of the cleaning.

    Attributes:
        corpus: layout of the source; None for those that ``pack`` reads by itself.
        studies: csv of TCGA patients and projects.
        columns: names of columns in tables, for a source without ``corpus``.
        min_side: shortest side in pixels of an image or panel.
        panels: cut figures into their panels.
        histology: refuse radiology, charts, photographs, fluorescence.
        letters: refuse pictures with text over them.
        duplicates: refuse copies of an image, turned and mirrored ones too.
        max_bits: signs of a hash that may differ in a near copy, of 256.
        wording: limits of captions.
        max_pixels: largest width x height of an image.
        max_reject_fraction: share of rejects above which the run fails, in [0, 1].
    """

    corpus: Kind | None = None
    studies: Path | None = None
    columns: Columns = Columns()
    min_side: int = Field(128, ge=16)
    panels: bool = True
    histology: bool = True
    letters: bool = True
    duplicates: bool = True
    max_bits: int = Field(32, ge=0, le=64)
    wording: WordingConfig = WordingConfig()
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    max_reject_fraction: float = Field(0.95, ge=0, le=1)


@dataclass(frozen=True)
class _Panel:
    """A picture that passed alone; it may still be a copy or one of too many of a caption."""

    name: str
    file: str
    row: dict[str, Any]
    print: Print | None


def run(
    config: CleanConfig,
    inputs: Path,
    output: Path,
    *,
    count_tokens: Mapping[str, CountTokens] | None = None,
) -> Manifest:
    """Clean a corpus into a folder of images with ``metadata.jsonl``, which ``pack`` reads.

    Args:
        config: which rules apply.
        inputs: what :func:`crafts.data.importers.list_items` reads, or with ``config.corpus`` what
            :func:`crafts.data.corpora.import_corpus` reads.
        output: gets ``images/``, ``metadata.jsonl``, ``rejects.jsonl``, with ``count_tokens`` also
            ``card.json`` and ``card.html``, and last ``manifest.json``.
        count_tokens: name of a tokenizer -> its counter, for the data card.

    Raises:
        ConfigError: a path or column does not exist.
        DataError: the source is unusable, nothing is left, or too many were rejected.
        RetryError: the disk is full.
    """
    studies = load_studies(config.studies) if config.studies else None
    items = (
        list_corpus(config.corpus, inputs, studies=studies)
        if config.corpus
        else list_items(inputs, config.columns)
    )
    ledger = Ledger("clean")
    with staging(output) as folder:
        (folder / "images").mkdir()
        panels = list(_passed(items, config, ledger, folder))
        rows = _settle(panels, config, ledger, folder)
        ledger.check(config.max_reject_fraction)
        ledger.write(folder / "rejects.jsonl")
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
        reasons = count_reasons(ledger)
        if count_tokens:
            write_card(rows, count_tokens, folder, rejects=reasons, title=inputs.name)
        say(f"clean: {ledger.counts()}")
        hashes = "".join(f"{row['file_name']} {row['sha256']}\n" for row in rows)
        table = {"studies": sha256_file(config.studies)} if config.studies else {}
        return finish(
            folder,
            stage="clean",
            config=config.model_dump(mode="json", exclude={"studies"}),
            inputs={"source": sha256_bytes(hashes.encode())} | table,
            counts=ledger.counts(),
            extra={"reasons": reasons},
        )


def _passed(
    items: list[Item], config: CleanConfig, ledger: Ledger, folder: Path
) -> Iterator[_Panel]:
    """Panels that pass the rules on a single picture, their files written."""
    for number, item in enumerate(items, 1):
        if number % _SAY_EVERY == 0:
            say(f"clean: {number} of {len(items)} figures")
        found = load_item(item, config.max_pixels)
        fault = found if isinstance(found, str) else wording_fault(item.text, config.wording)
        if fault or isinstance(found, str):
            ledger.listed()
            ledger.reject(item.name, fault)
            continue
        yield from _panels_of(item, found, config, ledger, folder)


def _panels_of(
    item: Item, found: Loaded, config: CleanConfig, ledger: Ledger, folder: Path
) -> Iterator[_Panel]:
    pixels = decode_rgb(found.sample.image)
    whole = (0, 0, found.width, found.height)
    boxes = find_panels(pixels, min_side=config.min_side) if config.panels else [whole]
    ledger.listed(max(1, len(boxes)))
    if not boxes:
        ledger.reject(item.name, f"panels smaller than {config.min_side} px")
    captions = split_caption(item.text, len(boxes))
    for index, (box, caption) in enumerate(zip(boxes, captions, strict=True)):
        name = item.name if boxes == [whole] else f"{item.name}#{index + 1}"
        part = np.ascontiguousarray(pixels[box[1] : box[3], box[0] : box[2]])
        fault = _picture_fault(part, config) or wording_fault(caption, config.wording)
        if fault:
            ledger.reject(name, fault)
            continue
        key, row = item.key, dict(item.fields)
        data, suffix = found.sample.image, found.sample.suffix
        if box != whole:
            key = f"{item.key}-{index + 1}"
            data, suffix = _png(part), "png"
            row |= {"panel": index + 1, "panels": len(boxes)}
            row.pop("captions", None)  # they are of the whole figure
            row.setdefault("patient", f"figure:{item.key}")  # its panels stay in one split
        file = f"images/{key}.{suffix}"
        (folder / file).write_bytes(data)
        facts = {"file_name": file, "text": caption, **row, "sha256": sha256_bytes(data)}
        yield _Panel(name, file, facts, make_print(part) if config.duplicates else None)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _picture_fault(pixels: np.ndarray, config: CleanConfig) -> str:
    if min(pixels.shape[:2]) < config.min_side:
        return f"smaller than {config.min_side} px"
    if config.histology and (fault := picture_fault(measure_look(pixels))):
        return fault
    if config.letters and count_letters(pixels) >= LINE:
        return "text over the picture"
    return ""


def _settle(
    panels: list[_Panel], config: CleanConfig, ledger: Ledger, folder: Path
) -> list[dict[str, Any]]:
    """Drop copies and captions that come too often; the rows that are left."""
    prints = [panel.print for panel in panels if panel.print is not None]
    copies = {one.index: one for one in find_duplicates(prints, max_bits=config.max_bits)}
    repeats = Repeats(config.wording.max_repeats)
    rows = []
    for index, panel in enumerate(panels):
        fault = _copy_fault(copies.get(index), panels)
        if not fault and not repeats.take(panel.row["text"]):
            fault = f"caption that comes more than {config.wording.max_repeats} times"
        if fault:
            ledger.reject(panel.name, fault)
            (folder / panel.file).unlink()
        else:
            ledger.use(panel.name)
            rows.append(panel.row)
    return rows


def _copy_fault(copy: Duplicate | None, panels: list[_Panel]) -> str:
    if copy is None:
        return ""
    return f"{'copy' if copy.exact else 'near copy'} of an image: {panels[copy.of].name}"
