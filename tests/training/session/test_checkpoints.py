"""Checkpoints: whole or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crafts.core.errors import DataError, IntegrityError
from crafts.training.session.checkpoints import (
    Progress,
    State,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)


def write(checkpoints: Path, step: int, objective: dict[str, torch.Tensor] | None = None) -> Path:
    folder = checkpoints / f"step-{step:07d}"
    tensors = {"a": torch.full((64,), float(step))}
    state = State(
        Progress(step=step, skipped=1),
        tensors,
        tensors,
        {"a/step": torch.tensor(float(step))},
        objective or {},
    )
    save_checkpoint(
        folder,
        state,
        config={},
        inputs={"data": "abc"},
        write_model=lambda target: (target / "model.txt").write_text("weights"),
    )
    return folder


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))


def test_round_trip(tmp_path: Path) -> None:
    state = load_checkpoint(write(tmp_path, 3))
    assert state.progress == Progress(step=3, skipped=1) and state.inputs == {"data": "abc"}
    assert torch.equal(state.weights["a"], torch.full((64,), 3.0))


def test_what_the_losses_keep_goes_along_where_there_is_any(tmp_path: Path) -> None:
    assert load_checkpoint(write(tmp_path, 1)).objective == {}
    kept = {"queue.text": torch.ones(3, 2), "queue.filled": torch.tensor(2)}
    state = load_checkpoint(write(tmp_path, 2, objective=kept))
    assert all(torch.equal(state.objective[name], value) for name, value in kept.items())


@pytest.mark.parametrize("name", ["weights", "average", "optimizer"])
def test_a_flipped_bit_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, 3)
    flip_a_bit(folder / "training" / f"{name}.safetensors")
    with pytest.raises(IntegrityError, match=rf"{name}\.safetensors: changed content"):
        load_checkpoint(folder)


def test_a_truncated_and_a_missing_file_are_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path, 3)
    path = folder / "training" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: \d+ bytes"):
        load_checkpoint(folder)
    (folder / "model.txt").unlink()
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"model\.txt: missing"):
        load_checkpoint(folder)


def test_a_damaged_newest_is_named_and_the_one_before_it_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path, 1)
    flip_a_bit(write(tmp_path, 2) / "training" / "weights.safetensors")
    state = newest_checkpoint(tmp_path)
    assert state is not None and state.progress.step == 1
    printed = capsys.readouterr().err
    assert "REFUSED" in printed and "step-0000002/training/weights.safetensors" in printed


def test_all_damaged_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    flip_a_bit(write(tmp_path, 1) / "training" / "average.safetensors")
    with pytest.raises(DataError, match="1 checkpoints, all damaged"):
        newest_checkpoint(tmp_path)


def test_pruning_keeps_the_newest_and_clears_interrupted_saves(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path, step)
    (tmp_path / ".step-0000004.99.tmp").mkdir()
    prune_checkpoints(tmp_path, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-0000002", "step-0000003"]
    assert not list(tmp_path.glob(".step*"))
