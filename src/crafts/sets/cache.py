"""Features kept between runs: one SQLite file for each encoder, looked up by hash of the content.

SQLite keeps what was committed when a run is killed. It does not notice a changed byte, hence the
checksum of each row; what is damaged is thrown away and computed again, never trusted.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError, RetryError
from crafts.core.runtime import say

_TABLE = (
    "CREATE TABLE IF NOT EXISTS features ("
    "kind TEXT, hash TEXT, vector BLOB, checksum INTEGER, cut INTEGER, PRIMARY KEY (kind, hash))"
)
_SELECT = "SELECT hash, vector, checksum, cut FROM features"
_PATIENCE = 60.0  # seconds to wait for another run that writes
_AT_ONCE = 500  # hashes of one query


class FeatureCache:
    """Features of one encoder on disk; a context manager.

    Args:
        folder: made if absent; holds one file for each encoder.
        fingerprint: of the encoder.
        width: D of its features.

    Raises:
        ConfigError: the folder cannot be written.
        RetryError: another run holds the file for too long, or the disk is full.
    """

    def __init__(self, folder: Path, fingerprint: str, width: int) -> None:
        self.path = folder / f"{fingerprint[:32]}.sqlite"
        self.width = width
        self.num_damaged = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None
        self._connection = self._open()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def get(self, kind: str, hashes: Sequence[str]) -> dict[str, tuple[NDArray[np.float32], bool]]:
        """What is stored: hash -> features float32 [D] and whether the text was cut.

        Args:
            kind: "image" or "text".
            hashes: sha256 of image files or texts.
        """
        found: dict[str, tuple[NDArray[np.float32], bool]] = {}
        for start in range(0, len(hashes), _AT_ONCE):
            part = hashes[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"{_SELECT} WHERE kind = ? AND hash IN ({marks})"
            try:
                rows = self._connection.execute(query, (kind, *part)).fetchall()
            except sqlite3.DatabaseError as error:
                self._recover(error)
                return {}
            for key, blob, checksum, cut in rows:
                whole = isinstance(blob, bytes) and len(blob) == 4 * self.width
                if whole and checksum == _checksum(key, blob, cut):
                    found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32), bool(cut)
                else:
                    self.num_damaged += 1
        return found

    def put(
        self,
        kind: str,
        hashes: Sequence[str],
        features: NDArray[np.float32],
        cut: Iterable[bool] | None = None,
    ) -> None:
        """Store features and commit.

        Args:
            kind: "image" or "text".
            hashes: N sha256 of image files or texts.
            features: [N, D].
            cut: for each text, whether the encoder cut it.

        Raises:
            RetryError: another run holds the file for too long, or the disk is full.
        """
        blobs = [row.tobytes() for row in features.astype("<f4")]
        flags = list(cut) if cut is not None else [False] * len(blobs)
        rows = [
            (kind, key, blob, _checksum(key, blob, flag), int(flag))
            for key, blob, flag in zip(hashes, blobs, flags, strict=True)
        ]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", rows
                )
        except sqlite3.DatabaseError as error:
            self._recover(error)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            self._refuse(error)
            return self._rebuild()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_TABLE)
            connection.execute("SELECT count(*) FROM (SELECT 1 FROM features LIMIT 1)")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Start anew behind a damaged file; other errors are the user's to mend."""
        self._refuse(error)
        self._connection.close()
        self._connection = self._rebuild()

    def _rebuild(self) -> sqlite3.Connection:
        say(f"{self.path}: damaged; a new one is begun, features are computed again")
        for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
            path.unlink(missing_ok=True)
        return self._connect()

    def _refuse(self, error: sqlite3.DatabaseError) -> None:
        """Raise for what is no damage: a full disk, a lock, a folder without permission."""
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            raise RetryError(
                str(self.path),
                came="the disk is full",
                allowed="free space for the cache",
                do="Free space and run again.",
            ) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise RetryError(
                str(self.path),
                came="another run writes to it",
                allowed=f"a cache that is free within {_PATIENCE:.0f} s",
                do="Wait for the other run, or choose another cache.",
            ) from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> ConfigError:
        return ConfigError(
            str(self.path.parent),
            came=f"no place for a cache ({' '.join(str(error).split())})",
            allowed="a folder that can be written",
            do="Choose another folder for the cache.",
        )


def _checksum(key: str, blob: bytes, cut: bool | int) -> int:
    return zlib.crc32(f"{key} {int(cut)} ".encode() + blob)
