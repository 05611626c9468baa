"""SQLite files with numbered migrations: what must outlive a process and come one by one."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crafts.core.errors import DataError


class Database:
    """One file; every call is one transaction, from any thread.

    Args:
        path: of the file; made if absent, brought up to date if old.
        migrations: scripts, numbered from 1; the file remembers the last that it went through,
            and none is ever changed.
        remedy: what to do about a file that cannot be used.

    Raises:
        DataError: it is damaged, or of a later version of the program.
    """

    def __init__(self, path: Path, migrations: Sequence[str], *, remedy: str) -> None:
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # a power cut loses nothing accepted
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate(path, migrations)
        except sqlite3.DatabaseError as error:
            raise unusable(path, error, remedy) from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which an exception undoes."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """All rows that a query finds."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        """The first row that a query finds."""
        return next(iter(self.rows(query, *values)), None)

    def _migrate(self, path: Path, migrations: Sequence[str]) -> None:
        (done,) = self._db.execute("PRAGMA user_version").fetchone()
        if done > len(migrations):
            raise DataError(
                str(path),
                came=f"a database of version {done}",
                allowed=f"at most version {len(migrations)}, which this program knows",
                do="Use the version of crafts that wrote it, or a newer one.",
            )
        for number, script in enumerate(migrations[done:], done + 1):
            try:
                self._db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
            except sqlite3.DatabaseError:
                self._db.rollback()
                raise


def unusable(path: Path, error: sqlite3.DatabaseError, remedy: str) -> DataError:
    """The error of a file that is none of ours."""
    return DataError(
        str(path),
        came=f"a database that cannot be used ({error})",
        allowed="a database that crafts wrote",
        do=remedy,
    )
