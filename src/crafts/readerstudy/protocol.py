"""A prepared study: what is served, and apart from it the sealed key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crafts.core.artifacts import load_manifest, sha256_bytes, verify, write_bytes
from crafts.core.config import C, Config, validate
from crafts.core.errors import DataError, IntegrityError
from crafts.core.parsing import parse_json
from crafts.core.tables import csv_row_writer, open_table
from crafts.readerstudy.config import Endpoint, Task

SERVED, SEALED = "served", "sealed"
PROTOCOL, REGISTRATION = f"{SERVED}/protocol.json", "preregistration.json"
KEY = f"{SEALED}/key.csv"

Kind = Literal["real", "synthetic", "plain-fake", "attention"]
KEY_COLUMNS = ("picture", "kind", "block", "group", "label", "site", "patient", "source", "answer")


class Slot(Config):
    """One showing of one item to one reader."""

    picture: str
    text: str = ""
    block: Literal["training", "test"] = "test"


class Feedback(Config):
    """What is said after a training item; nothing of it concerns the test."""

    synthetic: bool


class Protocol(Config):
    """What the server knows: no answer of a test item stands in it."""

    title: str
    tasks: tuple[Task, ...]
    choices: tuple[str, ...]
    size: tuple[int, int]
    allow_changes: bool
    tell_share: bool
    registration: str  # sha256 of the pre-registration
    readers: dict[str, tuple[Slot, ...]]
    feedback: dict[str, Feedback]


class Registration(Config):
    """What is fixed before the first answer."""

    hypothesis: str
    endpoint: Endpoint
    null: float
    margin: float
    rating_margin: float
    alpha: float
    readers: int
    per_class: int
    groups: int
    repeats: float
    tasks: tuple[Task, ...]
    min_seconds: float
    stopping: str
    seed: int


@dataclass(frozen=True)
class KeyRow:
    """The truth of one item; ``answer`` is 1 for synthetic, 0 for real."""

    picture: str
    kind: Kind
    block: str
    group: int
    label: str
    site: str
    patient: str
    source: str
    answer: int

    @property
    def is_main(self) -> bool:
        """Whether it counts: a real or synthetic item of the test block."""
        return self.block == "test" and self.kind in ("real", "synthetic")


@dataclass(frozen=True)
class Study:
    """A prepared study with its sealed key: what an analysis holds readings against."""

    id: str
    protocol: Protocol
    plan: Registration
    key: Mapping[str, KeyRow]


def load_study(folder: Path) -> Study:
    """All of a study.

    Raises:
        DataError: no prepared study, or its key was taken away.
        IntegrityError: a file of it was changed.
    """
    protocol = load_protocol(folder)
    return Study(study_id(folder), protocol, load_registration(folder), load_key(folder))


def study_id(folder: Path) -> str:
    """Identity of a study: the hash of what is served, which holds that of the registration."""
    return sha256_bytes((folder / PROTOCOL).read_bytes())


def write_json(path: Path, value: Config | Mapping[str, Any]) -> bytes:
    """Write one JSON document and return its bytes."""
    values = value.model_dump(mode="json") if isinstance(value, Config) else dict(value)
    data = json.dumps(values, indent=1, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return data


def load_protocol(folder: Path) -> Protocol:
    """What is served of a study; the sealed key is not needed for it, and not looked at.

    Raises:
        DataError: no prepared study.
        IntegrityError: a served file was changed.
    """
    names = [name for name in _of_study(folder) if name.startswith(f"{SERVED}/")]
    verify(folder, names)
    return _load(folder / PROTOCOL, Protocol)


def load_registration(folder: Path) -> Registration:
    """The pre-registration, held against the hash in what was served.

    Raises:
        IntegrityError: it is not the one that the study was prepared with.
    """
    data = (folder / REGISTRATION).read_bytes()
    wanted = _load(folder / PROTOCOL, Protocol).registration
    if sha256_bytes(data) != wanted:
        raise IntegrityError(
            str(folder / REGISTRATION),
            came="another text than the study was prepared with (sha256 differs)",
            allowed="the pre-registration as it was written",
            do="Restore the file; a changed plan needs a new study.",
        )
    return _load(folder / REGISTRATION, Registration)


def write_key(path: Path, rows: Iterable[KeyRow]) -> None:
    """Write the sealed key, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        path.chmod(0o600)
        writer = csv_row_writer(handle, KEY_COLUMNS)
        writer.writerows(vars(row) for row in rows)


def load_key(folder: Path) -> dict[str, KeyRow]:
    """Picture -> its truth.

    Raises:
        DataError: the key was taken away.
        IntegrityError: it was changed.
    """
    _of_study(folder)
    if not (folder / KEY).is_file():
        raise DataError(
            str(folder / KEY),
            came="no such file",
            allowed="the sealed key of the study",
            do="Bring the folder `sealed` back from where it was kept.",
        )
    verify(folder, [KEY])
    rows = [row.cells for row in open_table(folder / KEY).rows]
    return {
        row["picture"]: KeyRow(**{**row, "group": int(row["group"]), "answer": int(row["answer"])})
        for row in rows
    }


def _of_study(folder: Path) -> Iterable[str]:
    manifest = load_manifest(folder)
    if manifest.stage != "study-prepare":
        raise DataError(
            str(folder),
            came=f"an artifact of stage {manifest.stage!r}",
            allowed="the output of `crafts study prepare`",
            do="Fix the path.",
        )
    return manifest.files


def _load(path: Path, kind: type[C]) -> C:
    return validate(kind, parse_json(path.read_bytes()), str(path))
