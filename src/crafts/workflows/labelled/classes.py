"""Classes of a set and their prompts: from a table, a fine-tuned model, or those of mini."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crafts.core.artifacts import hold_text
from crafts.core.errors import ConfigError, DataError
from crafts.core.runtime import seed_from
from crafts.core.tables import csv_writer, read_columns
from crafts.data.listing.tables import SPLIT_NAMES
from crafts.model.files.places import is_shipped

COLUMNS = {"label": ("label", "class"), "prompt": ("prompt", "text"), "tissue": ("tissue",)}
_SHIPPED = Path(__file__).with_name("mini-classes.csv")
_UNSAFE = re.compile(r"[\W_]+")
_MOST = 40  # letters; some take four bytes, and a name of a tar has room for a hundred
_PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
_RESERVED = {"con", "prn", "aux", "nul"} | _PORTS  # no files under Windows
_SEEDS = 2**53  # readers that take numbers for floats keep every seed


@dataclass(frozen=True)
class Wording:
    """One prompt of a class.

    Attributes:
        label: of the class.
        prompt: that asks for it.
        tissue: whose layouts of nuclei steer it, where they shall; "" for none.
    """

    label: str
    prompt: str
    tissue: str = ""


def load_classes(path: Path | None, model: str) -> list[Wording]:
    """The wordings of all classes.

    Args:
        path: csv with the columns ``label`` and ``prompt``, several rows a class if wanted, and
            ``tissue``; None: ``classes.csv`` beside a model of ``crafts finetune``, or for
            ``mini`` the classes that its card has measured.
        model: that makes the pictures.

    Raises:
        ConfigError: no table and a model whose classes are not known, or two labels that files
            cannot tell apart.
        DataError: an unusable table.
    """
    beside = Path(model).parent / "classes.csv"
    source = path or (_SHIPPED if is_shipped(model) else beside)
    if path is None and not source.is_file():
        raise ConfigError(
            "dataset: classes",
            came=f"none, and model {model!r} does not say what it was trained on",
            allowed="a csv with the columns label,prompt",
            do="Pass --classes FILE.",
        )
    rows = read_columns(source, COLUMNS, _bad, optional=("tissue",))
    found = []
    for where, row in rows:
        if not row["label"] or not row["prompt"]:
            raise _bad(where, "no label" if not row["label"] else "no prompt")
        found.append(Wording(row["label"], row["prompt"], row["tissue"]))
    if not found:
        raise _bad(str(source), "no class")
    _refuse_alike(found)
    return found


def slug(label: str) -> str:
    """A label as names of files and folders have it; no system or reader takes it for another."""
    plain = unicodedata.normalize("NFC", label).lower()
    name = _UNSAFE.sub("-", plain)[:_MOST].strip("-")
    if not set(name.split("-")).isdisjoint(SPLIT_NAMES):  # taken for a split by `datasets`
        name = "class" + name.replace("-", "")
    return f"class-{name}" if name in _RESERVED or not name else name


def write_requests(
    classes: Sequence[Wording], path: Path, *, per_class: int, seed: int, layouts: bool
) -> dict[str, Wording]:
    """The manifest of all pictures: each a row with a seed of its own, wordings in turn.

    Args:
        classes: all wordings.
        path: of the manifest.
        per_class: pictures of each class.
        seed: of the set.
        layouts: nuclei are steered by invented layouts of the tissue.

    Returns:
        Id -> what is asked for.

    Raises:
        ConfigError: layouts are wanted for a class without tissue, or the set was begun with other
            classes.
    """
    by_label: dict[str, list[Wording]] = {}
    for wording in classes:
        by_label.setdefault(wording.label, []).append(wording)
    asked: dict[str, Wording] = {}
    table = io.StringIO(newline="")
    writer = csv_writer(table)
    writer.writerow(("id", "prompt", "seed", "nuclei") if layouts else ("id", "prompt", "seed"))
    for label, wordings in by_label.items():
        for number in range(per_class):
            wording = wordings[number % len(wordings)]
            name = f"{slug(label)}-{number:05d}"
            asked[name] = wording
            row = (name, wording.prompt, seed_from(seed, label, number) % _SEEDS)
            writer.writerow((*row, f"sample:{_tissue(wording)}") if layouts else row)
    hold_text(table.getvalue(), path, "another table of classes than this one")
    return asked


def _tissue(wording: Wording) -> str:
    if not wording.tissue:
        raise ConfigError(
            "dataset: masks",
            came=f"layouts for class {wording.label!r}, which names no tissue",
            allowed="a column tissue (crafts generate --control nuclei=sample:TISSUE names them)",
            do="Fill the column, or leave masks to the segmenter: --set masks=segmenter.",
        )
    return wording.tissue


def _refuse_alike(classes: Sequence[Wording]) -> None:
    known: dict[str, str] = {}
    for wording in classes:
        other = known.setdefault(slug(wording.label), wording.label)
        if other != wording.label:
            raise ConfigError(
                "dataset: classes",
                came=f"labels {other!r} and {wording.label!r}",
                allowed="labels that differ in their letters and digits, which files are named by",
                do="Rename one.",
            )


def _bad(where: str, came: str) -> DataError:
    return DataError(
        where,
        came=came,
        allowed="columns label and prompt, and if wanted tissue; a value in both in every row",
        do="Correct the table of classes.",
    )
