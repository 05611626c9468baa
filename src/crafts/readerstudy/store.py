"""Answers in SQLite: rows are added and never changed, so that nothing that was saved is lost."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crafts.core.database import Database, unusable
from crafts.core.errors import DataError
from crafts.readerstudy.protocol import Protocol
from crafts.readerstudy.readings import Reading

LEAD = "lead"
"""Name under which the token of the study's lead is kept."""

MIGRATIONS = (
    # 1: as it began
    """
    CREATE TABLE study (id TEXT NOT NULL);
    CREATE TABLE tokens (name TEXT PRIMARY KEY, sha256 TEXT UNIQUE NOT NULL);
    CREATE TABLE consents (
        number INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT UNIQUE NOT NULL,
        experience TEXT NOT NULL, at REAL NOT NULL
    );
    CREATE TABLE answers (
        number INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT NOT NULL, position INTEGER NOT NULL,
        answer TEXT NOT NULL, done INTEGER NOT NULL, seconds REAL NOT NULL, idle REAL NOT NULL,
        key TEXT NOT NULL, at REAL NOT NULL, UNIQUE (reader, key)
    );
    CREATE INDEX answers_by_place ON answers (reader, position, number);
    CREATE TABLE closings (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL);
    CREATE TRIGGER no_change BEFORE UPDATE ON answers
        BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
    CREATE TRIGGER no_loss BEFORE DELETE ON answers
        BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
    CREATE TRIGGER closed BEFORE INSERT ON answers WHEN (SELECT count(*) FROM closings) > 0
        BEGIN SELECT RAISE(ABORT, 'the study is closed'); END;
    """,
)


class ClosedError(Exception):
    """An answer to a study that is closed."""


class Store:
    """The database of a study; every method is one transaction, from any thread.

    Args:
        path: of the file; made if absent, brought up to date if old.
        study: identity of the study that it belongs to.

    Raises:
        DataError: it is damaged, of a later version of the program, or of another study.
    """

    def __init__(self, path: Path, study: str) -> None:
        remedy = "Restore it from a copy, or choose another --output."
        self._db = Database(path, MIGRATIONS, remedy=remedy)
        try:
            with self._db.writing() as db:
                db.execute(
                    "INSERT INTO study SELECT ? WHERE NOT EXISTS (SELECT * FROM study)", (study,)
                )
            found = self._db.rows("SELECT id FROM study")[0]["id"]
        except sqlite3.DatabaseError as error:
            raise unusable(path, error, remedy) from None
        if found != study:
            raise DataError(
                str(path),
                came="answers to another study",
                allowed="a new folder, or the one of this study",
                do="Choose another --output.",
            )

    def close_file(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add_tokens(self, tokens: Mapping[str, str]) -> None:
        """Remember who may come in: name -> token, of which only the hash is kept."""
        with self._db.writing() as db:
            db.executemany(
                "INSERT INTO tokens VALUES (?, ?)",
                [(name, hash_token(token)) for name, token in tokens.items()],
            )

    def names(self) -> set[str]:
        """Who has a token."""
        return {row["name"] for row in self._db.rows("SELECT name FROM tokens")}

    def who(self, token: str) -> str | None:
        """The name that a token belongs to; None for none."""
        rows = self._db.rows("SELECT name FROM tokens WHERE sha256 = ?", hash_token(token))
        return str(rows[0]["name"]) if rows else None

    def consent(self, reader: str, experience: str) -> None:
        """Record that a reader agreed; the first time counts."""
        with self._db.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO consents (reader, experience, at) VALUES (?, ?, ?)",
                (reader, experience, time.time()),
            )

    def consents(self) -> dict[str, str]:
        """Reader -> experience, of those who agreed."""
        rows = self._db.rows("SELECT reader, experience FROM consents")
        return {row["reader"]: row["experience"] for row in rows}

    def save(
        self, reader: str, position: int, answer: Mapping[str, Any], *, key: str, done: bool
    ) -> None:
        """Add an answer; one that comes twice with the same key is there once.

        Args:
            reader: name.
            position: of the showing.
            answer: what was answered so far, with ``seconds`` and ``idle_seconds``.
            key: of this very message.
            done: the reader went on.

        Raises:
            ClosedError: the study is closed.
        """
        values = dict(answer)
        seconds, idle = values.pop("seconds", 0.0), values.pop("idle_seconds", 0.0)
        row = (reader, position, json.dumps(values), int(done), seconds, idle, key, time.time())
        try:
            with self._db.writing() as db:
                db.execute(
                    "INSERT INTO answers (reader, position, answer, done, seconds, idle, key, at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (reader, key) DO NOTHING",
                    row,
                )
        except sqlite3.IntegrityError as error:
            raise ClosedError(str(error)) from None

    def has(self, reader: str, key: str) -> bool:
        """Whether this very message was taken before."""
        query = "SELECT 1 FROM answers WHERE reader = ? AND key = ?"
        return bool(self._db.rows(query, reader, key))

    def last(self, reader: str, position: int) -> dict[str, Any] | None:
        """What stands as the answer to a showing; ``done`` says whether the reader went on."""
        rows = self._db.rows(
            "SELECT answer, seconds, idle, (SELECT max(done) FROM answers WHERE reader = a.reader"
            " AND position = a.position) AS done FROM answers a WHERE reader = ? AND position = ?"
            " ORDER BY number DESC LIMIT 1",
            reader,
            position,
        )
        if not rows:
            return None
        times = {"seconds": rows[0]["seconds"], "idle_seconds": rows[0]["idle"]}
        return {**json.loads(rows[0]["answer"]), **times, "done": bool(rows[0]["done"])}

    def done(self, reader: str) -> set[int]:
        """Positions that a reader went on from."""
        query = "SELECT DISTINCT position FROM answers WHERE reader = ? AND done = 1"
        return {int(row["position"]) for row in self._db.rows(query, reader)}

    def close(self) -> None:
        """Close the study for good; no answer is taken after it."""
        with self._db.writing() as db:
            if not db.execute("SELECT 1 FROM closings").fetchone():
                db.execute("INSERT INTO closings (at) VALUES (?)", (time.time(),))

    def is_closed(self) -> bool:
        """Whether the study is closed."""
        return bool(self._db.rows("SELECT 1 FROM closings"))

    def readings(self, protocol: Protocol) -> Iterator[Reading]:
        """The answers that stand, of showings from which the reader went on."""
        rows = self._db.rows(
            "SELECT reader, position, answer, done, seconds, idle FROM answers ORDER BY number"
        )
        standing: dict[tuple[str, int], Reading] = {}
        for row in rows:
            place = (row["reader"], int(row["position"]))
            if not row["done"]:
                continue
            earlier = standing.get(place)
            slot = protocol.readers[place[0]][place[1]]
            standing[place] = _reading(
                place, slot.picture, slot.block, row, changes=earlier.changes + 1 if earlier else 0
            )
        yield from standing.values()


def hash_token(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _reading(
    place: tuple[str, int], picture: str, block: str, row: sqlite3.Row, *, changes: int
) -> Reading:
    answer = json.loads(row["answer"])
    realness, confidence, rating = (
        math.nan if answer.get(name) is None else float(answer[name])
        for name in ("realness", "confidence", "rating")
    )
    return Reading(
        *place,
        picture,
        block,
        diagnosis=answer.get("diagnosis", ""),
        remark=answer.get("remark", ""),
        artefacts=tuple((float(x), float(y)) for x, y in answer.get("artefacts", ())),
        seconds=float(row["seconds"]),
        idle_seconds=float(row["idle"]),
        changes=changes,
        realness=realness,
        confidence=confidence,
        rating=rating,
    )
