"""What a reader sees next, what may be answered, and when a study is over; no web framework."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from crafts.core.artifacts import Manifest, staging
from crafts.core.config import Config
from crafts.core.errors import DataError
from crafts.core.tables import csv_row_writer
from crafts.readerstudy.protocol import SERVED, Protocol, Slot, load_protocol, study_id
from crafts.readerstudy.readings import STAGE, write_readings
from crafts.readerstudy.store import LEAD, ClosedError, Store

DATABASE, LINKS, READINGS = "study.sqlite", "links.csv", "readings"
EXPERIENCE = ("not said", "in training", "under 5 years", "5 to 15 years", "over 15 years")

Share = Annotated[float, Field(ge=0, le=1)]


class Answer(Config):
    """What a page sends; all of it may be missing until the reader goes on."""

    realness: int | None = Field(None, ge=0, le=1)
    confidence: int | None = Field(None, ge=1, le=5)
    rating: int | None = Field(None, ge=1, le=4)
    diagnosis: str = Field("", max_length=200)
    remark: str = Field("", max_length=2000)
    artefacts: tuple[tuple[Share, Share], ...] = Field((), max_length=50)
    seconds: float = Field(0.0, ge=0, le=1e6)
    idle_seconds: float = Field(0.0, ge=0, le=1e6)


class RefusedError(Exception):
    """An answer that is not taken; the message says why."""


@dataclass(frozen=True)
class Session:
    """A study that is being served.

    Attributes:
        folder: the prepared study; only what is served is read.
        protocol: what is shown to whom.
        store: the answers.
    """

    folder: Path
    protocol: Protocol
    store: Store

    def reader(self, token: str) -> str | None:
        """The reader of a token; None for a token of nobody, and for the lead's."""
        name = self.store.who(token)
        return name if name in self.protocol.readers else None

    def is_lead(self, token: str) -> bool:
        """Whether a token is the lead's."""
        return self.store.who(token) == LEAD

    def slots(self, reader: str) -> tuple[Slot, ...]:
        """All showings of a reader."""
        return self.protocol.readers[reader]

    def position(self, reader: str) -> int:
        """The first showing that is not done; their number when all are."""
        done = self.store.done(reader)
        return next(
            (k for k in range(len(self.slots(reader))) if k not in done), len(self.slots(reader))
        )

    def may_see(self, reader: str, position: int) -> bool:
        """Whether a reader may look at a showing: the present one, and done ones by protocol."""
        now = self.position(reader)
        if not 0 <= position < len(self.slots(reader)) or position > now:
            return False
        slot = self.slots(reader)[position]
        return position == now or (self.protocol.allow_changes and slot.block == "test")

    def picture(self, reader: str, position: int) -> Path:
        """File of a showing that the reader may see."""
        return self.folder / SERVED / "pictures" / self.slots(reader)[position].picture

    def save(self, reader: str, position: int, sent: Mapping[str, Any]) -> None:
        """Take an answer.

        Args:
            reader: name.
            position: of the showing.
            sent: fields of :class:`Answer`, ``key`` of the message, and ``done``.

        Raises:
            RefusedError: not in turn, not changeable, not complete, malformed, or closed.
        """
        values = dict(sent)
        key, done = str(values.pop("key", ""))[:64], bool(values.pop("done", False))
        try:
            answer = Answer.model_validate(values)
        except ValidationError as error:
            raise RefusedError(f"no answer that is known ({error.error_count()} faults)") from None
        if not key:
            raise RefusedError("a message without a key")
        if self.store.has(reader, key):
            return  # its acknowledgement was lost on the way
        if reader not in self.store.consents() or not self.may_see(reader, position):
            raise RefusedError("not the item that is shown")
        if done and (open_task := self.missing(answer)):
            raise RefusedError(f"please answer: {open_task}")
        try:
            self.store.save(reader, position, answer.model_dump(), key=key, done=done)
        except ClosedError:
            raise RefusedError("the study is closed") from None

    def missing(self, answer: Answer) -> str:
        """The first task without an answer; remarks and marks may be left out."""
        tasks = self.protocol.tasks
        if "realness" in tasks and (answer.realness is None or answer.confidence is None):
            return "real or synthetic, and how sure"
        if "rating" in tasks and answer.rating is None:
            return "the rating"
        if "diagnosis" in tasks and answer.diagnosis not in self.protocol.choices:
            return "the diagnosis"
        return ""

    def progress(self) -> list[tuple[str, bool, int, int]]:
        """Reader, whether they agreed, showings done and asked; no answer is among it."""
        consents = self.store.consents()
        return [
            (name, name in consents, len(self.store.done(name)), len(slots))
            for name, slots in self.protocol.readers.items()
        ]


def open_session(study: Path, data: Path, address: str) -> Session:
    """Open a study for its readers; the first time, links with fresh tokens are written.

    Args:
        study: output of ``prepare``; its key is not read.
        data: folder of the answers and of ``links.csv``.
        address: how readers reach the server.

    Raises:
        DataError: no prepared study, or answers to another one.
        IntegrityError: a served file was changed.
    """
    protocol = load_protocol(study)
    data.mkdir(parents=True, exist_ok=True)
    store = Store(data / DATABASE, study_id(study))
    session = Session(study, protocol, store)
    if not store.names():
        tokens = {name: secrets.token_urlsafe(18) for name in (LEAD, *protocol.readers)}
        path = data / LINKS
        with path.open("w", encoding="utf-8", newline="") as handle:
            path.chmod(0o600)
            writer = csv_row_writer(handle, ("name", "link"))
            for name, token in tokens.items():
                kind = "lead" if name == LEAD else "r"
                writer.writerow({"name": name, "link": f"{address}/{kind}/{token}/"})
        store.add_tokens(tokens)
    return session


def close_study(study: Path, data: Path) -> Manifest:
    """Close a study for good and write its readings, which until then nobody gets.

    Args:
        study: output of ``prepare``.
        data: output of ``serve``; gets the folder ``readings``.

    Raises:
        DataError: nothing was served there, or answers to another study.
    """
    if not (data / DATABASE).is_file():
        raise DataError(
            str(data),
            came=f"no {DATABASE}",
            allowed="the output of `crafts study serve`",
            do="Fix the path.",
        )
    session = open_session(study, data, "")
    session.store.close()
    consents = session.store.consents()
    with staging(data / READINGS, STAGE) as folder:
        manifest = write_readings(
            folder,
            session.store.readings(session.protocol),
            [
                {"reader": name, "experience": text, "consent": "yes"}
                for name, text in sorted(consents.items())
            ],
            study=study_id(study),
            extra={},
        )
    session.store.close_file()
    return manifest
