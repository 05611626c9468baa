"""Files are written beside the network, and said to be made when they are whole."""

import numpy as np
import pytest

from crafts.core.errors import RetryError
from crafts.generation import images
from crafts.generation.generate import run
from crafts.generation.request import GenerateConfig


def make(tiny_model, output):
    given = {"prompts": ("colon", "lung"), "num_images": 5, "num_steps": 1, "batch_size": 4}
    return run(GenerateConfig(model=str(tiny_model), **given), None, output)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_file_is_whole_when_it_is_said_to_be_made(
    tiny_model, tmp_path, capsys, monkeypatch, ahead
):
    there = []

    def say(line):
        there.append((line, len(list((tmp_path / "out/images").glob("*.png")))))

    monkeypatch.setattr(images, "_ahead", lambda plan: ahead)
    monkeypatch.setattr(images, "say", say)
    manifest = make(tiny_model, tmp_path / "out")
    assert manifest.counts["images"] == 10
    told = [(int(line.split()[1]), count) for line, count in there if " s an image" in line]
    assert [number for number, _ in told] == [4, 8, 10]
    assert all(count >= number for number, count in told)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_full_disk_ends_the_run(tiny_model, tmp_path, monkeypatch, ahead):
    def full(image, path, provenance):
        assert np.asarray(image).shape == (32, 32, 3)
        raise RetryError("out", came="the disk is full", allowed="space", do="Free space.")

    monkeypatch.setattr(images, "_ahead", lambda plan: ahead)
    monkeypatch.setattr(images, "save_png", full)
    with pytest.raises(RetryError, match="disk is full"):
        make(tiny_model, tmp_path / "out")
    assert not list((tmp_path / "out/images").iterdir())
