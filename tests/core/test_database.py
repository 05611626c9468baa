"""Databases: migrated in order, whole or not at all, and refused where they are none of ours."""

import sqlite3

import pytest

from crafts.core.database import Database
from crafts.core.errors import DataError

FIRST = "CREATE TABLE words (word TEXT UNIQUE NOT NULL)"
SECOND = "ALTER TABLE words ADD COLUMN seen INTEGER NOT NULL DEFAULT 7"


def open_database(path, *migrations):
    return Database(path, migrations, remedy="Move it away.")


def test_an_old_file_goes_through_what_it_has_not_seen(tmp_path):
    first = open_database(tmp_path / "a.sqlite", FIRST)
    with first.writing() as db:
        db.execute("INSERT INTO words VALUES ('gland')")
    first.close()
    second = open_database(tmp_path / "a.sqlite", FIRST, SECOND)
    assert [tuple(row) for row in second.rows("SELECT * FROM words")] == [("gland", 7)]
    assert second.row("SELECT * FROM words WHERE word = ?", "no") is None
    second.close()
    with pytest.raises(DataError, match="a database of version 2"):
        open_database(tmp_path / "a.sqlite", FIRST)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    open_database(tmp_path / "a.sqlite", FIRST).close()
    with pytest.raises(DataError, match="cannot be used"):
        open_database(tmp_path / "a.sqlite", FIRST, SECOND + "; SELECT * FROM nowhere")
    again = open_database(tmp_path / "a.sqlite", FIRST, SECOND)
    assert again.rows("SELECT seen FROM words") == []


def test_what_fails_in_the_middle_is_undone(tmp_path):
    database = open_database(tmp_path / "a.sqlite", FIRST)
    with pytest.raises(sqlite3.IntegrityError), database.writing() as db:
        db.execute("INSERT INTO words VALUES ('gland')")
        db.execute("INSERT INTO words VALUES ('gland')")
    assert database.rows("SELECT * FROM words") == []


def test_no_database_is_told_with_its_remedy(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="Move it away"):
        open_database(tmp_path / "a.sqlite", FIRST)
