"""Prompt manifests: csv, jsonl or parquet; each row is checked, a bad one recorded and left out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crafts.core.errors import DataError
from crafts.core.paths import storage_fault, storage_key
from crafts.core.records import Ledger
from crafts.core.tables import JSON_SUFFIXES, TABLE_SUFFIXES, open_table
from crafts.core.tabular.rows import Row

REQUIRED = ("id", "prompt")
OPTIONAL = (
    *("negative_prompt", "seed", "num_images", "guidance_scale"),
    *("nuclei", "fluorescence"),
)
_MEANT = frozenset({*REQUIRED, *OPTIONAL})
MAX_PROMPT = 20_000
MAX_IMAGES = 100_000
MAX_ROWS = 1_000_000

COLUMNS = (
    *("file_name", "text", "id", "seed", "k", "negative_prompt", "guidance_scale"),
    *("num_steps", "preset", "cut", "sha256", "mpp", "model", "licence", "synthetic"),
    "unknown_words",
)
"""Columns of ``metadata.csv`` that are ours; a manifest's own of these names get another."""

_OURS = frozenset({*COLUMNS, "mask", "captions"})  # the latter two would speak of other pictures
_THEIRS = "manifest_"
_IMAGE = re.compile(r"\.(png|jpe?g|tiff?|bmp|webp|gif|ppm)$", re.IGNORECASE)
_ID = re.compile(r"[^\s./\\-][^/\\\x00-\x1f\x7f]{0,150}")


@dataclass(frozen=True)
class PromptRow:
    """One row: a prompt and what was said for it; None means the run's own value.

    Attributes:
        extra: further columns, under the names that they get in ``metadata.csv``.
        plain: given without a manifest; its id is only its place and decides nothing.
    """

    id: str
    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    num_images: int | None = None
    guidance_scale: float | None = None
    nuclei: str | None = None
    fluorescence: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False


def prompt_rows(prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of prompts given without a manifest; their ids are ``000``, ``001``, ..."""
    return [{"id": f"{index:03d}", "prompt": prompt} for index, prompt in enumerate(prompts)]


def load_rows(path: Path) -> list[Any]:
    """Raw rows of a prompt manifest; a line that cannot be read comes as a message (a string).

    Raises:
        DataError: no such file, an unknown kind, unreadable, or without the columns id and prompt.
    """
    if not path.is_file():
        raise _fault(
            path, "no such file", "a prompt manifest", "Check the path given to --manifest."
        )
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise _fault(
            path,
            f"kind {path.suffix!r}",
            ", ".join(TABLE_SUFFIXES),
            "Convert the manifest to one of these.",
        )
    table = open_table(path, _unreadable, max_rows=MAX_ROWS)
    if table.header:
        _check_columns(path, table.header)
    is_json = path.suffix.lower() in JSON_SUFFIXES
    rows = [_raw(row, is_json=is_json) for row in table.rows]
    if not table.header:
        _check_columns(path, {key for row in rows if isinstance(row, dict) for key in row})
    return rows


def _raw(row: Row, *, is_json: bool) -> Any:
    if row.fault:
        return f"line {row.number} is {row.fault}" if is_json else row.fault
    return _as_prompt(row.cells)


def _unreadable(where: str, came: str) -> DataError:
    return DataError(
        where,
        came=came,
        allowed=f"a prompt manifest in UTF-8, of at most {MAX_ROWS:,} rows",
        do="Save it again, or cut it in parts.",
    )


def unknown_columns(rows: Sequence[Any]) -> list[str]:
    """Columns that mean nothing here, so that a misspelt one can be named."""
    found = {str(key) for row in rows if isinstance(row, dict) for key in row}
    return sorted(found - _MEANT)


def _as_prompt(raw: Any) -> Any:
    """A row of a table of captions (``file_name,text``) as one of prompts: its file names it."""
    if not isinstance(raw, dict) or ("prompt" in raw and "id" in raw):
        return raw
    row = dict(raw)
    if "prompt" not in row and "text" in row:
        row["prompt"] = row.pop("text")
    if "file_name" in row:
        if "id" in row:
            row[f"{_THEIRS}id"] = row.pop("id")
        row["id"] = _id_of_file(row["file_name"])
    return row


def _id_of_file(value: Any) -> Any:
    """``images/a/1.png`` -> ``a-1``."""
    if not isinstance(value, str):
        return value
    path = value.strip().replace("\\", "/").removeprefix("images/").lstrip("/")
    return _IMAGE.sub("", path).replace("/", "-")


def check_rows(
    rows: Sequence[Any], ledger: Ledger, shard: tuple[int, int] = (1, 1), num_prompts: int = 0
) -> list[PromptRow]:
    """Usable rows of a shard, in order; the others go to the ledger with the reason.

    Args:
        rows: of :func:`load_rows` and :func:`prompt_rows`.
        ledger: counts the rows of this shard.
        shard: (K, N): rows whose index modulo N is K - 1.
        num_prompts: so many rows, the first, come from prompts and not from a manifest.
    """
    usable: list[PromptRow] = []
    taken: dict[str, str] = {}
    for index, raw in enumerate(rows):
        mine = index % shard[1] == shard[0] - 1
        item = _name(raw, index - num_prompts, index)
        try:
            row = _check_row(raw, plain=index < num_prompts)
            _take(row.id, taken)
        except ValueError as error:
            row = None
            reason = str(error)
        if mine:
            ledger.listed()
            if row is None:
                ledger.reject(item, reason)
            else:
                ledger.use(row.id)
                usable.append(row)
    return usable


def _name(raw: Any, row: int, prompt: int) -> str:
    """How the ledger calls a row; rows of the manifest are counted from 1, without its header."""
    if row < 0:
        return f"prompt {prompt + 1}"
    name = raw.get("id") if isinstance(raw, Mapping) else None
    if _missing(name):
        return f"row {row + 1}"
    shown = _text(name)[:60].encode(errors="backslashreplace").decode()
    return f"row {row + 1} ({shown})"


def _check_row(raw: Any, *, plain: bool) -> PromptRow:
    if isinstance(raw, str):
        raise ValueError(raw)
    return PromptRow(
        id=_id(raw.get("id")),
        prompt=check_prompt(raw.get("prompt")),
        negative_prompt=_optional_text("negative_prompt", raw.get("negative_prompt")),
        seed=_integer("seed", raw.get("seed"), 0, 2**63 - 1),
        num_images=_integer("num_images", raw.get("num_images"), 1, MAX_IMAGES),
        guidance_scale=_scale(raw.get("guidance_scale")),
        nuclei=_optional_text("nuclei", raw.get("nuclei")),
        fluorescence=_optional_text("fluorescence", raw.get("fluorescence")),
        extra=_extra(raw),
        plain=plain,
    )


def _take(name: str, taken: dict[str, str]) -> None:
    """Note an id, or say that its files would be those of an earlier row, be it on some disks."""
    earlier = taken.get(storage_key(name))
    if earlier == name:
        raise ValueError(f"id {name!r} stands in an earlier row")
    if earlier is not None:
        raise ValueError(
            f"id {name!r} differs from {earlier!r} of an earlier row only in what Windows and "
            "macOS do not tell apart"
        )
    taken[storage_key(name)] = name


def _extra(raw: Mapping[str, Any]) -> dict[str, str]:
    """The columns that mean nothing here, as text; a file in a cell is left out."""
    found: dict[str, str] = {}
    others = [name for name in raw if name not in _MEANT]
    for name in sorted(others, key=lambda name: name in _OURS):  # ours last: they give way
        value, called = raw[name], check_text("the name of a column", name)
        while called in _OURS or called in found:
            called = f"{_THEIRS}{called}"
        if _holds_bytes(value):
            continue
        if isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=False, default=str)
        found[called] = "" if _missing(value) else check_text(called, _text(value))
    return found


def _holds_bytes(value: Any) -> bool:
    """A file in a cell, as parquet tables of images have it."""
    inner = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(part, bytes) for part in inner)


def _missing(value: Any) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return True
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _id(value: Any) -> str:
    if _missing(value):
        raise ValueError("no id")
    name = _text(value)
    if (
        not _ID.fullmatch(name)
        or name != name.strip()
        or not _encodable(name)
        or len(name.encode()) > 200
    ):
        raise ValueError(
            f"id {name[:60]!r} cannot name a file: up to 150 characters without slashes, "
            "not starting with a dot or a dash"
        )
    if fault := storage_fault(name):
        raise ValueError(f"id {name[:60]!r} cannot name a file everywhere: {fault}")
    return name


def check_prompt(value: Any) -> str:
    """A usable prompt, or a :class:`ValueError` that says in words why it is none."""
    if _missing(value):
        raise ValueError("empty prompt")
    return check_text("prompt", value)


def _optional_text(column: str, value: Any) -> str | None:
    return None if _missing(value) else check_text(column, value)


def check_text(column: str, value: Any) -> str:
    """Text that an encoder and a file can hold, or a :class:`ValueError`."""
    if not isinstance(value, str):
        raise ValueError(f"{column} is {type(value).__name__}, not text")
    if len(value) > MAX_PROMPT:
        raise ValueError(f"{column} has {len(value)} characters; at most {MAX_PROMPT}")
    if "\x00" in value or not _encodable(value):
        raise ValueError(f"{column} is not valid Unicode text")
    # a line that was written under Windows ends in \r\n, and a shell leaves the \r
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, as from a command line in another encoding
        return False
    return True


def _integer(column: str, value: Any, least: int, most: int) -> int | None:
    if _missing(value):
        return None
    try:
        # through text, so that 2**53 + 1 is not rounded on the way
        number = int(_text(value).strip()) if not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise ValueError(f"{column} {value!r} is no integer from {least} to {most}")
    return number


def _scale(value: Any) -> float | None:
    if _missing(value):
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 1.0 <= number <= 100.0:
        raise ValueError(f"guidance_scale {value!r} is no number from 1 (off) to 100")
    return number


def _fault(path: Path, came: str, allowed: str, do: str) -> DataError:
    return DataError(str(path), came=came, allowed=allowed, do=do)


def _check_columns(path: Path, columns: Any) -> None:
    instead = {"id": "file_name", "prompt": "text"}  # of a table of captions
    absent = [n for n in REQUIRED if n not in columns and instead[n] not in columns]
    if absent:
        raise _fault(
            path,
            f"no column {' and no column '.join(absent)}",
            f"columns {', '.join(REQUIRED)} (or file_name, text) and, if wanted, "
            f"{', '.join(OPTIONAL)}",
            "Add the column.",
        )
