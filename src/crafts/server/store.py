"""What must outlive the process: jobs, pictures and uploads in SQLite."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crafts.core.database import Database

MIGRATIONS = (
    # 1: as it began
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
        kind TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL, total INTEGER NOT NULL,
        created REAL NOT NULL, started REAL, ended REAL, deadline REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, error TEXT, key TEXT, facts TEXT NOT NULL DEFAULT '{}',
        UNIQUE (owner, key)
    );
    CREATE INDEX jobs_by_state ON jobs (state, number);
    CREATE INDEX jobs_by_owner ON jobs (owner, number);
    CREATE TABLE pictures (
        job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, name TEXT NOT NULL,
        facts TEXT NOT NULL, PRIMARY KEY (job, name)
    );
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, created REAL NOT NULL,
        bytes INTEGER NOT NULL
    );
    """,
    # 2: owners whose jobs wait until they say so
    "CREATE TABLE pauses (owner TEXT PRIMARY KEY)",
)

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)


@dataclass(frozen=True)
class Job:
    """One job as it stands in the database; times are seconds since 1970."""

    number: int
    id: str
    owner: str
    kind: str
    request: Mapping[str, Any]
    state: str
    total: int
    created: float
    started: float | None
    ended: float | None
    deadline: float
    attempts: int
    error: Mapping[str, str] | None
    key: str | None
    facts: Mapping[str, Any]
    read: float = field(default_factory=time.time)


class Store:
    """The jobs of a data folder; every method is one transaction, from any thread.

    Args:
        path: of the file; made if absent.

    Raises:
        DataError: it is damaged, or of a later version of the program.
    """

    def __init__(self, path: Path) -> None:
        remedy = "Move it away; finished pictures lie in jobs/ beside it."
        self.db = Database(path, MIGRATIONS, remedy=remedy)

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def add(self, job: Mapping[str, Any]) -> Job:
        """Store a new job with its columns ``id, owner, kind, request, total, deadline, key``."""
        with self.db.writing() as db:
            db.execute(
                "INSERT INTO jobs (id, owner, kind, request, state, total, created, deadline, key) "
                "VALUES (:id, :owner, :kind, :request, 'queued', :total, :created, :deadline,"
                " :key)",
                {**job, "request": json.dumps(job["request"]), "created": time.time()},
            )
        found = self.get(job["id"])
        assert found is not None
        return found

    def get(self, job: str, owner: str | None = None) -> Job | None:
        """A job by id; None where there is none, or not of this owner."""
        row = self.db.row("SELECT * FROM jobs WHERE id = ?", job)
        return _job(row) if row and owner in (None, row["owner"]) else None

    def by_key(self, owner: str, key: str) -> Job | None:
        """The job that was sent under an idempotency key."""
        row = self.db.row("SELECT * FROM jobs WHERE owner = ? AND key = ?", owner, key)
        return _job(row) if row else None

    def newest(self, owner: str, *, before: int | None = None, most: int = 50) -> list[Job]:
        """Jobs of an owner, the newest first."""
        rows = self.db.rows(
            "SELECT * FROM jobs WHERE owner = ? AND number < ? ORDER BY number DESC LIMIT ?",
            owner,
            2**62 if before is None else before,
            most,
        )
        return [_job(row) for row in rows]

    def take(self) -> Job | None:
        """The next job that waits, now running; None where none waits."""
        with self.db.writing() as db:
            row = db.execute(
                "SELECT id FROM jobs WHERE state = 'queued' "
                "AND owner NOT IN (SELECT owner FROM pauses) ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', started = COALESCE(started, ?), "
                "attempts = attempts + 1 WHERE id = ?",
                (time.time(), row["id"]),
            )
        return self.get(row["id"])

    def end(self, job: str, state: str, error: Mapping[str, str] | None = None) -> None:
        """Bring a job that has not ended to its end."""
        with self.db.writing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, ended = ?, error = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, time.time(), json.dumps(error) if error else None, job),
            )

    def hand_back(self, job: str) -> None:
        """Let a running job wait again; it was not at fault."""
        with self.db.writing() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1 "
                "WHERE id = ? AND state = 'running'",
                (job,),
            )

    def wake(self) -> list[Job]:
        """Let jobs wait again that ran when the process was killed; returns them."""
        rows = self.db.rows("SELECT * FROM jobs WHERE state = 'running'")
        with self.db.writing() as db:
            db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
        return [_job(row) for row in rows]

    def pause(self, owner: str, paused: bool) -> None:
        """Let the jobs of an owner wait, also over a restart, or go on."""
        with self.db.writing() as db:
            db.execute("DELETE FROM pauses WHERE owner = ?", (owner,))
            if paused:
                db.execute("INSERT INTO pauses VALUES (?)", (owner,))

    def is_paused(self, owner: str) -> bool:
        """Whether the jobs of an owner wait."""
        return self.db.row("SELECT 1 FROM pauses WHERE owner = ?", owner) is not None

    def tell(self, job: str, facts: Mapping[str, Any]) -> None:
        """Keep what else is known of a job."""
        with self.db.writing() as db:
            db.execute("UPDATE jobs SET facts = ? WHERE id = ?", (json.dumps(facts), job))

    def remove(self, job: str) -> None:
        """Forget a job and its pictures."""
        with self.db.writing() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def add_picture(self, job: str, name: str, facts: Mapping[str, Any]) -> None:
        """Note a finished picture; once more changes nothing."""
        with self.db.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO pictures (job, name, facts) VALUES (?, ?, ?)",
                (job, name, json.dumps(facts)),
            )
            db.execute("UPDATE jobs SET attempts = 1 WHERE id = ?", (job,))  # it gets on

    def pictures(self, job: str) -> dict[str, dict[str, Any]]:
        """Name -> facts of the finished pictures of a job."""
        rows = self.db.rows("SELECT name, facts FROM pictures WHERE job = ? ORDER BY rowid", job)
        return {row["name"]: json.loads(row["facts"]) for row in rows}

    def waiting(self) -> list[tuple[str, int]]:
        """Id and number of pictures of the jobs that wait, the next first."""
        rows = self.db.rows("SELECT id, total FROM jobs WHERE state = 'queued' ORDER BY number")
        return [(row["id"], row["total"]) for row in rows]

    def counts(self) -> dict[str, int]:
        """State -> jobs in it."""
        rows = self.db.rows("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    def add_upload(self, upload: str, owner: str, kind: str, size: int) -> None:
        """Note an uploaded file."""
        with self.db.writing() as db:
            db.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
                (upload, owner, kind, time.time(), size),
            )

    def upload_kind(self, upload: str, owner: str) -> str | None:
        """What an upload is; None where there is none of this owner."""
        row = self.db.row("SELECT * FROM uploads WHERE id = ? AND owner = ?", upload, owner)
        return str(row["kind"]) if row else None

    def used(self, owner: str) -> int:
        """Bytes of uploads of an owner."""
        row = self.db.row("SELECT COALESCE(SUM(bytes), 0) AS n FROM uploads WHERE owner = ?", owner)
        return int(row["n"]) if row else 0


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["request"] = json.loads(values["request"])
    values["error"] = json.loads(values["error"]) if values["error"] else None
    values["facts"] = json.loads(values["facts"])
    return Job(**values)
