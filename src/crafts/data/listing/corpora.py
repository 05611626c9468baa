"""Published corpora of histology with text, brought to rows that ``pack`` reads.

PathGen-1.6M, Quilt-1M, PathCap and ARCH as their authors publish them, and tiles of TCGA slides
that get their cancer from the slide's barcode. Nothing is downloaded, and no licence is granted:
each row names the terms under which its corpus is published.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.records import Ledger
from crafts.core.tables import csv_row_writer, open_table
from crafts.core.tabular.csv_rows import FEWER_CELLS
from crafts.core.tabular.rows import as_text, is_missing
from crafts.data.config import Columns, Kind
from crafts.data.listing.items import ListedTile, clean_key
from crafts.data.listing.listings import index_images, iter_members
from crafts.data.listing.tcga import find_cancer, patient_of
from crafts.data.listing.tilesets import list_items
from crafts.data.taxonomy import CANCERS

Row = dict[str, Any]

KINDS: tuple[Kind, ...] = get_args(Kind)
LICENCES: Mapping[Kind, str] = {
    "pathgen": "CC BY 4.0 and research use only (PathGen-1.6M)",
    "quilt": "research use under the data use agreement of Quilt-1M",
    "pathcap": "none stated; rights stay with the publishers of the figures (PathCap)",
    "arch": "CC BY-NC-SA 4.0 (ARCH)",
    "tcga": "GDC open access (TCGA)",
}
PATHGEN_SIZE = 672
"""Edge in pixels of a PathGen tile at level 0, whatever the resolution of the slide."""

REQUEST_COLUMNS = ("slide", "x", "y", "size", "level", "file_id", "text")
_LISTINGS: Mapping[Kind, str] = {
    "pathgen": "*.json", "quilt": "*.csv", "pathcap": "*.json", "arch": "**/captions.json",
}  # fmt: skip
_IMAGE_KEYS = ("image", "image_path", "img", "img_path", "file_name", "filename", "uuid", "id")
_TEXT_KEYS = ("caption", "text")


@dataclass(frozen=True)
class _Pair:
    """One listed pair of image and caption.

    Attributes:
        name: shown in rejects.
        images: names under which the image may lie, without suffix or with one.
        text: caption.
        fields: further columns.
        fault: reason for rejecting it.
    """

    name: str
    images: tuple[str, ...] = ()
    text: str = ""
    fields: Row = field(default_factory=dict)
    fault: str = ""


def import_corpus(
    kind: Kind,
    source: Path,
    ledger: Ledger,
    *,
    images: Path | None = None,
    studies: Mapping[str, str] | None = None,
    columns: Columns | None = None,
) -> Iterator[Row]:
    """All usable rows of a corpus, one an image, sorted by key.

    Several captions of one image become its ``captions``; every listed pair stands in the ledger.
    All rows are held in memory (PathGen: about 1.3 kB each).

    Args:
        kind: which corpus.
        source: its list (json, csv), the folder that holds it, or for "tcga" anything that
            :func:`crafts.data.listing.tilesets.list_items` reads.
        ledger: counts pairs: listed, used, rejected with the reason.
        images: folder of the images, searched as a whole; pairs without an image there are
            rejected. Without it figure rows keep the name that the list gives, and PathGen rows,
            whose images have to be cut from slides first, have none.
        studies: patient -> TCGA study, from :func:`crafts.data.listing.tcga.load_studies`; else the
            tissue source site of the barcode tells it.
        columns: names that the table of "tcga" uses; the other corpora have names of their own.

    Yields:
        key, text, set, licence, and where known file_name, captions, patient, slide, x, y, size,
        level, label (name of the cancer), cancer (its code), study, organ and what else the list
        says.

    Raises:
        ConfigError: an unknown kind, or a path that does not exist.
        DataError: a list that is no such corpus.
    """
    label = partial(_label, studies=studies)
    if _known(kind) == "tcga":
        pairs = _read_tcga(source, label, columns)
    else:
        pairs = _READERS[kind](source, label)
    index = index_images(images) if images else None
    rows: dict[str, Row] = {}
    for pair in pairs:
        ledger.listed()
        fault = pair.fault or _add(rows, pair, kind, index)
        if fault:
            ledger.reject(pair.name, fault)
        else:
            ledger.use(pair.name)
    yield from (rows[key] for key in sorted(rows))


def list_corpus(
    kind: Kind,
    source: Path,
    *,
    studies: Mapping[str, str] | None = None,
    columns: Columns | None = None,
) -> list[ListedTile]:
    """A corpus as items for ``pack``: its images lie in the folder of its list or below.

    Pairs that cannot be used come as items with a fault.

    Raises:
        ConfigError: an unknown kind, or a path that does not exist.
        DataError: a list that is no such corpus.
    """
    ledger = Ledger("pack")
    base = source if source.is_dir() else source.parent
    images = None if kind == "tcga" else base
    rows = import_corpus(kind, source, ledger, images=images, studies=studies, columns=columns)
    items = [_item(base, row) for row in rows]
    items += [
        ListedTile(row["item"], clean_key(row["item"]), "", fault=row["reason"])
        for row in ledger.rejects
    ]
    return sorted(items, key=lambda item: (item.key, item.name))


def write_requests(source: Path, path: Path) -> int:
    """Write which tiles of PathGen are still to be cut, for ``crafts tile --coordinates``.

    Args:
        source: its list, or the folder that holds it; tiles that lie there are left out.
        path: csv with the columns :data:`REQUEST_COLUMNS`; positions and size are in pixels of
            level 0.

    Returns:
        Number of tiles to cut.

    Raises:
        ConfigError: ``source`` does not exist.
        DataError: a list that is no such corpus.
        RetryError: the disk is full.
    """
    index = index_images(source if source.is_dir() else source.parent)
    wanted = [
        row
        for row in import_corpus("pathgen", source, Ledger("requests"))
        if index.keys().isdisjoint(_variants(_tile_names(row["slide"], row["x"], row["y"])))
    ]
    buffer = io.StringIO(newline="")
    writer = csv_row_writer(buffer, REQUEST_COLUMNS, ignore_others=True)
    writer.writerows(wanted)
    write_bytes(path, buffer.getvalue().encode())
    return len(wanted)


def _add(rows: dict[str, Row], pair: _Pair, kind: Kind, index: Mapping[str, str] | None) -> str:
    """Take a pair in, as a row or as a further caption of one; returns a fault."""
    fields = dict(pair.fields)
    if index is not None:
        found = [index[name] for name in _variants(pair.images) if name in index]
        if not found or not found[0]:
            return "two images of this name" if found else "no image of this name"
        fields["file_name"] = found[0]
    elif kind != "pathgen":
        fields["file_name"] = pair.images[0]
    # of PathGen the position is the key, whatever its image is called
    name = pair.images[0] if kind == "pathgen" else fields["file_name"].rsplit(".", 1)[0]
    key = clean_key(name)
    known = rows.get(key)
    if known is not None and kind != "pathgen" and known["file_name"] != fields["file_name"]:
        return f"the same key as {known['file_name']} (dots, slashes and spaces count as _)"
    if known is None:
        licence = fields.pop("licence", LICENCES[kind])
        rows[key] = {"key": key, "text": pair.text, "set": kind, **fields, "licence": licence}
        return ""
    captions = known.setdefault("captions", [known["text"]])
    if pair.text in captions:
        return "the same image with the same caption is listed before"
    captions.append(pair.text)
    return ""


def _variants(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        plain = name.lower().removeprefix("./")
        yield from (plain, plain.rsplit("/", 1)[-1])


def _item(base: Path, row: Row) -> ListedTile:
    fields = {name: value for name, value in row.items() if name not in ("key", "text")}
    name, mask = fields.pop("file_name"), fields.pop("mask", "")
    return ListedTile(
        name, row["key"], str(base / name), text=row["text"], fields=fields, mask=mask
    )


_Label = Callable[[str], "tuple[Row, str]"]


def _label(patient: str, *, studies: Mapping[str, str] | None) -> tuple[Row, str]:
    """Fields of a patient's cancer, and the fault where it has none."""
    study, cancer = find_cancer(patient, studies=studies)
    if cancer is None:
        known = f"study {study} is none of the {len(CANCERS)} cancers" if study else ""
        return {"study": study} if study else {}, known or f"no study is known of {patient}"
    fields = {"label": cancer.name, "cancer": cancer.code, "organ": cancer.organ, "study": study}
    return fields, ""


def _read_pathgen(source: Path, label: _Label) -> Iterator[_Pair]:
    for path in _listings("pathgen", source):
        for number, (_, row) in enumerate(iter_members(path), 1):
            name = f"{path.name} row {number}"
            if isinstance(row, dict):
                yield _pathgen_pair(name, row, label)
            else:
                yield _Pair(name, fault="not a JSON object")


def _pathgen_pair(name: str, row: Mapping[str, Any], label: _Label) -> _Pair:
    # the list says wsi_id, the code that its authors print beside it says WSI_id
    slide = next((row[key] for key in ("wsi_id", "WSI_id", "WSI_ID") if row.get(key)), None)
    position, text = row.get("position"), row.get("caption")
    if not isinstance(slide, str):
        return _Pair(name, fault="no wsi_id")
    if not isinstance(text, str) or not text.strip():
        return _Pair(name, fault="no caption")
    if not isinstance(position, list) or len(position) != 2:
        return _Pair(name, fault="no position of two numbers")
    try:
        x, y = (int(value) for value in position)
    except (TypeError, ValueError):
        return _Pair(name, fault=f"position {position!r} is no pair of whole numbers")
    if x < 0 or y < 0:
        return _Pair(name, fault=f"position {x}, {y} lies outside the slide")
    patient = patient_of(slide)
    # a study outside of the taxonomy is no fault here: the caption is of use without a label
    known = label(patient)[0] if patient else {}
    fields = {"patient": patient, "slide": slide, "x": x, "y": y, "size": PATHGEN_SIZE, "level": 0}
    fields |= {key: row[key] for key in ("file_id",) if row.get(key)}
    fields = {k: v for k, v in fields.items() if v != ""} | known
    return _Pair(name, _tile_names(slide, x, y), text.strip(), fields)


def _tile_names(slide: str, x: int, y: int) -> tuple[str, ...]:
    """As its authors' code, other tools, and ``crafts tile`` call the tile of a position."""
    return f"{slide}_{x}_{y}", f"{slide}/{x}_{y}", f"{slide}/x{x:07d}-y{y:07d}"


def _read_quilt(source: Path, label: _Label) -> Iterator[_Pair]:
    for path in _listings("quilt", source):
        for listed in open_table(path).rows:
            name, row = f"{path.name} row {listed.number}", listed.cells
            if listed.fault or listed.short:
                yield _Pair(name, fault=listed.fault or FEWER_CELLS)
                continue
            _require(path, row, ("image_path", "caption"))
            fields = {"subset": row.get("subset"), "magnification": row.get("magnification")}
            fields |= {"source_split": row.get("split"), "pathology": row.get("pathology")}
            image = as_text(row["image_path"] or "")
            # frames of one video show the same slides: it takes the place of the patient
            video, found, _ = image.rsplit("/", 1)[-1].rpartition("_image_")
            if found:
                fields["patient"] = f"quilt:{video}"
            yield _figure_pair(name, image, row["caption"], fields)


def _read_figures(source: Path, label: _Label, *, kind: Kind) -> Iterator[_Pair]:
    """PathCap and ARCH: a list of objects, or an object of objects."""
    for path in _listings(kind, source):
        part = path.parent.name if path.parent.name in ("books_set", "pubmed_set") else ""
        for name, row in iter_members(path):
            shown = f"{part}/{path.name} {name}".lstrip("/")
            if not isinstance(row, dict):
                yield _Pair(shown, fault="not a JSON object")
                continue
            image = next((row[key] for key in _IMAGE_KEYS if row.get(key)), "")
            text = next((row[key] for key in _TEXT_KEYS if row.get(key)), "")
            fields: Row = {"letter": row.get("letter"), "figure": row.get("figure_id")}
            article = row.get("pmcid") or row.get("pmid") or fields["figure"]
            if article:  # figures of one article or plate show the same case: never split them
                fields["patient"] = f"{kind}:{part}:{as_text(article)}"
            yield _figure_pair(shown, as_text(image), text, fields)


def _figure_pair(name: str, image: str, text: Any, fields: Row) -> _Pair:
    if not image:
        return _Pair(name, fault="no image name")
    if not isinstance(text, str) or not text.strip():
        return _Pair(name, fault="no caption")
    known = {key: value for key, value in fields.items() if not is_missing(value)}
    return _Pair(name, (image,), " ".join(text.split()), known)


def _read_tcga(source: Path, label: _Label, columns: Columns | None) -> Iterator[_Pair]:
    for item in list_items(source, columns):
        fields = item.fields | ({"mask": item.mask} if item.mask else {})
        pair = _Pair(item.name, (item.name,), item.text, fields, item.fault)
        if item.offset >= 0 and not pair.fault:
            pair = replace(pair, fault="inside a tar or table; save it as a file first")
        yield pair if pair.fault else _labeled(pair, label)


def _labeled(pair: _Pair, label: _Label) -> _Pair:
    asked = (str(pair.fields.get(name, "")) for name in ("slide", "patient"))
    patient = next(filter(None, map(patient_of, (*asked, pair.name))), "")
    if not patient:
        return replace(pair, fault="no TCGA barcode in slide, patient or path")
    fields, fault = label(patient)
    if fault:
        return replace(pair, fault=fault)
    own = {"source_label": pair.fields["label"]} if "label" in pair.fields else {}
    return replace(pair, fields={**pair.fields, **own, "patient": patient, **fields})


_READERS: Mapping[Kind, Callable[[Path, _Label], Iterator[_Pair]]] = {
    "pathgen": _read_pathgen,
    "quilt": _read_quilt,
    "pathcap": partial(_read_figures, kind="pathcap"),
    "arch": partial(_read_figures, kind="arch"),
}


def _known(kind: Kind) -> Kind:
    if kind not in KINDS:
        raise ConfigError(
            "corpus",
            came=repr(kind),
            allowed=f"one of {', '.join(KINDS)}",
            do="Name one of them; other layouts need no importer, see `crafts pack`.",
        )
    return kind


def _listings(kind: Kind, source: Path) -> list[Path]:
    """The list itself, or the lists in a folder; ARCH has two, the others one."""
    if source.is_file():
        return [source]
    if not source.exists():
        raise _missing(source, "the list of the corpus, or its folder")
    found = sorted(source.glob(_LISTINGS[kind]))
    if not found or (len(found) > 1 and kind != "arch"):
        raise DataError(
            str(source),
            came=f"{len(found)} files {_LISTINGS[kind]}",
            allowed="one list of the corpus",
            do="Give the path of the list itself.",
        )
    return found


def _require(path: Path, row: Mapping[str, Any], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise DataError(
            f"{path}: column {missing[0]!r}",
            came=f"columns {', '.join(map(str, row))}",
            allowed="the lookup table of Quilt-1M",
            do="Give the path of quilt_1M_lookup.csv.",
        )


def _missing(path: Path, allowed: str) -> ConfigError:
    return ConfigError(str(path), came="not there", allowed=allowed, do="Check the path.")
