"""Prompt manifests: csv, jsonl or parquet; each row is checked, a bad one recorded and left out."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crafts.core.config import bounds_of
from crafts.core.errors import ConfigError, DataError
from crafts.core.paths import storage_fault, storage_key
from crafts.core.records import Ledger
from crafts.core.runtime import say
from crafts.core.tables import JSON_SUFFIXES, TABLE_SUFFIXES, open_table
from crafts.core.tabular.rows import TableRow, is_encodable
from crafts.generation.request import COLUMNS as FIELDS
from crafts.generation.request import (
    POWERS,
    SIZE,
    GenerateConfig,
    check_prompt,
    check_text,
    is_missing,
    parse_powers,
)

REQUIRED = ("id", "prompt")
OPTIONAL = (
    *(*FIELDS, "reference", "stain", "nuclei", "fluorescence"),
    *("inpaint", "inpaint_mask", "counterfactual"),
)
_MEANT = frozenset({*REQUIRED, *OPTIONAL})
MAX_ROWS = 1_000_000

COLUMNS = (
    *("file_name", "text", "id", "seed", "k", "negative_prompt", "guidance_scale"),
    *("num_steps", "preset", "cut", "sha256", "mpp", "model", "licence", "synthetic"),
    "unknown_words",
)
"""Columns of ``metadata.csv`` that are ours; a manifest's own of these names get another."""

# the latter would speak of other pictures
_OURS = frozenset({*COLUMNS, "mask", "captions", "before", "changed"})
_THEIRS = "manifest_"
_SEVERAL = {
    "negative_prompt": "negative prompts",
    "seed": "seeds",
    "num_images": "numbers of images",
    "guidance_scale": "guidance scales",
    "size": "sizes",
    "prompt_map": "prompt maps",
    "mpp": "microns per pixel",
}
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
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
    size: str | None = None
    prompt_map: str | None = None
    mpp: str | None = None
    reference: str | None = None
    stain: str | None = None
    nuclei: str | None = None
    fluorescence: str | None = None
    inpaint: str | None = None
    inpaint_mask: str | None = None
    counterfactual: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False

    @property
    def wishes(self) -> dict[str, str]:
        """Kind of control -> its image, of the columns that are filled."""
        found = {"nuclei": self.nuclei, "fluorescence": self.fluorescence}
        return {kind: text for kind, text in found.items() if text}


def read_rows(config: GenerateConfig, source: Path | None, ledger: Ledger) -> list[PromptRow]:
    """Usable rows of this shard; the ledger is checked here, before hours go into sampling.

    Args:
        config: of the run; its prompts come first.
        source: manifest of prompts, if there is one.
        ledger: gets the rows that are not usable.

    Raises:
        ConfigError: neither prompts nor a manifest.
        DataError: an unusable manifest, or too many bad rows.
    """
    require_prompts(config, source)
    raw: list[Any] = list(prompt_rows(config.prompts))
    if source is not None:
        raw += load_rows(source)
        unknown = unknown_columns(raw)
        if unknown:
            shown = ", ".join(unknown)
            say(f"generate: {source}: columns that mean nothing here go to metadata.csv: {shown}")
    shard, _, shards = (config.shard or "1/1").partition("/")
    rows = check_rows(raw, ledger, (int(shard), int(shards)), len(config.prompts))
    for reject in ledger.rejects:
        say(f"generate: {reject['item']} is left out: {reject['reason']}")
    _say_overruled(config, rows)
    if ledger.num_listed or not raw:  # a shard beyond the last row is empty and fine
        ledger.check(config.max_reject_fraction)
    return rows


def require_prompts(config: GenerateConfig, source: Path | None) -> None:
    """Refuse a run that asks for nothing.

    Raises:
        ConfigError: neither prompts nor a manifest.
    """
    if not config.prompts and source is None:
        raise ConfigError(
            "generate",
            came="no prompt",
            allowed="--prompt TEXT or --manifest FILE",
            do="Say what to generate.",
        )


def _say_overruled(config: GenerateConfig, rows: Sequence[PromptRow]) -> None:
    """Say where a row's own value holds before one that was given for the run."""
    for name in FIELDS:
        number = sum(getattr(row, name) is not None for row in rows)
        if number and name in config.model_fields_set:
            option = f"--{name.replace('_', '-')} {shlex.quote(str(getattr(config, name)))}"
            say(
                f"generate: {_SEVERAL[name]} come from the table ({number} of {len(rows)} rows), "
                f"not from {option}"
            )


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


def _raw(row: TableRow, *, is_json: bool) -> Any:
    if row.fault:
        return f"line {row.number} is {row.fault}" if is_json else row.fault
    return _as_prompt(row.cells)


def _unreadable(where: str, came: str) -> DataError:
    return DataError(
        where,
        came=came,
        allowed=f"a prompt manifest in UTF-8, of at most {MAX_ROWS:,} rows",
        do="Save it again as CSV UTF-8; cut one with too many rows in parts.",
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
        if "mpp" in row:  # it tells of that picture, and asks for nothing
            row[f"{_THEIRS}mpp"] = row.pop("mpp")
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
    if is_missing(name):
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
        seed=_number("seed", raw.get("seed")),
        num_images=_number("num_images", raw.get("num_images")),
        guidance_scale=_number("guidance_scale", raw.get("guidance_scale")),
        size=_size(raw.get("size")),
        prompt_map=_optional_text("prompt_map", raw.get("prompt_map")),
        mpp=_powers(raw.get("mpp")),
        reference=_optional_text("reference", raw.get("reference")),
        stain=_optional_text("stain", raw.get("stain")),
        nuclei=_optional_text("nuclei", raw.get("nuclei")),
        fluorescence=_optional_text("fluorescence", raw.get("fluorescence")),
        inpaint=_optional_text("inpaint", raw.get("inpaint")),
        inpaint_mask=_optional_text("inpaint_mask", raw.get("inpaint_mask")),
        counterfactual=_optional_text("counterfactual", raw.get("counterfactual")),
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
        found[called] = "" if is_missing(value) else check_text(called, _text(value))
    return found


def _holds_bytes(value: Any) -> bool:
    """A file in a cell, as parquet tables of images have it."""
    inner = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(part, bytes) for part in inner)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _id(value: Any) -> str:
    if is_missing(value):
        raise ValueError("no id")
    name = _text(value)
    if (
        not _ID.fullmatch(name)
        or name != name.strip()
        or not is_encodable(name)
        or len(name.encode()) > 200
    ):
        raise ValueError(
            f"id {name[:60]!r} cannot name a file: up to 150 characters without slashes, "
            "not starting with a dot or a dash"
        )
    if fault := storage_fault(name):
        raise ValueError(f"id {name[:60]!r} cannot name a file everywhere: {fault}")
    return name


def _optional_text(column: str, value: Any) -> str | None:
    return None if is_missing(value) else check_text(column, value)


def _number(column: str, value: Any) -> Any:
    """A number within the bounds of the request's field of this name."""
    if is_missing(value):
        return None
    field = GenerateConfig.model_fields[column]
    least, most = bounds_of(field)
    whole = field.annotation is int
    try:
        # whole numbers through text, so that 2**53 + 1 is not rounded on the way
        number = int(_text(value).strip()) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not least <= number <= most:
        kind = "integer" if whole else "number"
        comma = not whole and isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip())
        hint = f" (write {value.strip().replace(',', '.')} with a point)" if comma else ""
        raise ValueError(f"{column} {value!r} is no {kind} from {least} to {most}{hint}")
    return number


def _size(value: Any) -> str | None:
    if is_missing(value):
        return None
    size = _text(value).strip()
    if not re.fullmatch(SIZE, size):
        raise ValueError(f"size {value!r} is neither PX nor WxH, in pixels")
    return size


def _powers(value: Any) -> str | None:
    text = "" if is_missing(value) else str(value).replace(" ", "")
    if text in ("", "unknown"):
        return None
    if not re.fullmatch(POWERS, text):
        raise ValueError(f"mpp {value!r} is no number of microns per pixel, nor several: 1.0,0.5")
    parse_powers(text)
    return text


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
