"""A server that cannot begin says why in one line."""

import socket
import sqlite3

import pytest

from crafts import cli
from crafts.core.errors import DataError
from crafts.core.locks import lock
from crafts.server.config import is_loopback
from crafts.server.store import MIGRATIONS, Store


def serve(capsys, *words):
    code = cli.run(["serve", *map(str, words)])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    return code, said


def test_two_servers_do_not_share_a_folder(tmp_path, capsys):
    with lock(tmp_path / "data"):
        code, said = serve(capsys, "--data", tmp_path / "data")
    assert (code, "lock" in said) == (75, True)


def test_a_model_that_is_not_there_is_told(tmp_path, capsys):
    code, said = serve(capsys, "--data", tmp_path / "data", "--model", tmp_path / "none")
    assert (code, "none" in said) == (2, True)


def test_a_port_that_is_taken_is_told(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = serve(capsys, "--data", tmp_path / "data", "--port", port)
    assert (code, "--port" in said) == (2, True)


def test_a_database_of_another_kind_or_of_a_later_version_is_refused(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "studio.sqlite").write_bytes(b"no database at all" * 99)
    code, said = serve(capsys, "--data", tmp_path / "data", "--port", free_port())
    assert (code, "studio.sqlite" in said) == (3, True)
    db = sqlite3.connect(tmp_path / "later.sqlite")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(DataError, match="newer"):
        Store(tmp_path / "later.sqlite")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def test_loopback_is_told_from_the_rest():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


def test_dry_run_prints_the_configuration(tmp_path, capsys):
    assert cli.run(["serve", "--dry-run", "--port", "8123"]) == 0
    assert "port: 8123" in capsys.readouterr().out
