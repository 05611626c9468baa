"""Finished tiles are not lost to another input, another shard, or a folder that is half gone."""

from __future__ import annotations

import json
import shutil

import pytest

from crafts.core.errors import ConfigError
from crafts.slides.output.origin import ORIGIN, take_over
from crafts.slides.tile import run
from painted_slide import paint_slide


def make(output, *names):
    for name in names:
        (output / "tiles" / name).mkdir(parents=True)
    return output


def slides_of(output):
    return sorted(path.name for path in (output / "tiles").iterdir())


@pytest.fixture
def output(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "other").mkdir()
    return make(tmp_path / "out", "a", "b", "c")


def test_one_shard_after_another_loses_no_tile(tmp_path, config, hashes):
    slides = tmp_path / "slides"
    slides.mkdir()
    for number, name in enumerate("ab"):
        paint_slide(slides / f"{name}.tif", side=512, levels=1, seed=number)
    run(config(shard="1/2"), slides, tmp_path / "sh1")
    before = hashes(tmp_path / "sh1")
    with pytest.raises(ConfigError, match="tiles of 1 slides, made as shard 1/2; .*Choose another"):
        run(config(shard="2/2"), slides, tmp_path / "sh1")
    with pytest.raises(ConfigError, match=r"tiles of 1 slides of .*slides; .*\.made-from\.json"):
        run(config(shard="1/2"), slides / "b.tif", tmp_path / "sh1")
    after = hashes(tmp_path / "sh1")
    assert {k: v for k, v in after.items() if not k.startswith(".work")} == before
    run(config(shard="1/2"), slides, tmp_path / "sh1")
    assert hashes(tmp_path / "sh1") == before
    run(config(), slides, tmp_path / "sh1")
    assert slides_of(tmp_path / "sh1") == ["a", "b"]
    with pytest.raises(ConfigError, match="made as a run without --shard"):
        run(config(shard="1/2"), slides, tmp_path / "sh1")
    # a folder that moved: the way out that the message names
    slides.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="tiles of 2 slides of"):
        run(config(), tmp_path / "moved", tmp_path / "sh1")
    (tmp_path / "sh1" / ORIGIN).unlink()
    before = {path: path.stat().st_ino for path in tmp_path.glob("sh1/tiles/*/*.png")}
    run(config(), tmp_path / "moved", tmp_path / "sh1")
    assert before == {path: path.stat().st_ino for path in tmp_path.glob("sh1/tiles/*/*.png")}


def test_single_slides_that_were_taken_out_are_removed(output, tmp_path, capfd):
    take_over(output, tmp_path / "in", None, {"a", "b"})
    assert slides_of(output) == ["a", "b"]
    assert "c is not in the input any more; its tiles are removed" in capfd.readouterr().err


@pytest.mark.parametrize("left", [set(), {"a"}])
def test_most_of_the_slides_are_never_removed(output, tmp_path, left):
    message = f"{3 - len(left)} of 3 finished slides that are not in the input any more; .*tiles/"
    with pytest.raises(ConfigError, match=message):
        take_over(output, tmp_path / "in", None, left)
    assert slides_of(output) == ["a", "b", "c"]


def test_an_output_without_tiles_may_change_its_input(tmp_path):
    for name in ("in", "other"):
        (tmp_path / name).mkdir()
        take_over(make(tmp_path / "out", ""), tmp_path / name, None, {"a"})
        shutil.rmtree(tmp_path / "out" / "tiles")
    assert json.loads((tmp_path / "out" / ORIGIN).read_text())["input"] == "../other"


def test_both_may_be_moved_together(output, tmp_path):
    take_over(output, tmp_path / "in", None, {"a", "b", "c"})
    (tmp_path / "new").mkdir()
    for name in ("in", "out"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    take_over(tmp_path / "new" / "out", tmp_path / "new" / "in", None, {"a", "b", "c"})
    assert slides_of(tmp_path / "new" / "out") == ["a", "b", "c"]
    (tmp_path / "new" / "out" / ORIGIN).write_text("damaged")
    take_over(tmp_path / "new" / "out", tmp_path / "other", None, {"a", "b", "c"})
