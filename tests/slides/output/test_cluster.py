"""Tiling on Ray: the same bytes as on this machine; without Ray, a word of what to do.

`pip install "crafts[dist]"` brings Ray; without it the tests that need it are skipped.
"""

from __future__ import annotations

import importlib.util

import pytest

from crafts.core.errors import ConfigError
from crafts.slides.tile import run
from painted_slide import paint_slide

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_how_to_get_it(painted, tmp_path, config):
    with pytest.raises(ConfigError, match=r"runner: 'ray', which is not installed.*crafts\[dist\]"):
        run(config(runner="ray"), painted[0], tmp_path / "out")
    # the same folder goes on with processes
    run(config(), painted[0] / "sub", tmp_path / "out")


@pytest.mark.skipif(not HAS_RAY, reason="needs Ray (crafts[dist])")
def test_ray_gives_the_bytes_of_processes(painted, tiled, tmp_path, config, hashes):
    run(config(runner="ray"), painted[0], tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(tiled)


@pytest.mark.skipif(not HAS_RAY, reason="needs Ray (crafts[dist])")
def test_a_bad_slide_costs_itself_only(tmp_path, config):
    folder = tmp_path / "slides"
    folder.mkdir()
    paint_slide(folder / "good.tif", side=512, seed=1)
    (folder / "bad.tif").write_bytes(b"II*\0" + bytes(100))
    manifest = run(config(runner="ray", max_reject_fraction=0.5), folder, tmp_path / "out")
    assert (manifest.counts["slides_used"], manifest.counts["slides_rejected"]) == (1, 1)


@pytest.mark.skipif(not HAS_RAY, reason="needs Ray (crafts[dist])")
def test_what_takes_too_long_is_ended(painted, tmp_path, config):
    settings = config(runner="ray", seconds=0.01, max_reject_fraction=1)
    with pytest.raises(Exception, match="took longer than 0.01 s"):
        run(settings, painted[0] / "sub", tmp_path / "out")
