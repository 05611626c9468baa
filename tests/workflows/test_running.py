"""Functions as commands: what they give is printed, what they refuse ends with its exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crafts.workflows.running import run_functions

FUNCTIONS = {
    "codec": "crafts.workflows.scorecards.codec:score_codec",
    "never": "crafts.no_such_module:nothing",  # loaded only where it is asked for
}


def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["prog", *given])
    with pytest.raises(SystemExit) as end:
        run_functions(**FUNCTIONS)
    return end.value.code


def test_a_function_is_a_command_whose_result_is_printed(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fixtures_scorecards import write_labelled_tiles

    tiles = str(write_labelled_tiles(tmp_path / "tiles"))
    assert run(monkeypatch, "codec", str(tiny_model), tiles, "--tiles-per-set", "2") == 0
    assert "| mean over sets | 6 |" in capsys.readouterr().out
    assert run(monkeypatch, "codec", str(tiny_model), tiles, "--split", "none") == 2
    error = capsys.readouterr().err
    assert "no row of split 'none'; expected heldout, train." in error
    assert run(monkeypatch, "codec", "--wrong") == 2
