"""Shipping an evaluation encoder ships the thresholds that belong to it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from PIL import Image

from crafts.core.artifacts import verify
from crafts.data.painter import paint_tile
from crafts.evaluation.gating.gate import GATE, load_reference
from crafts.model.image_encoders import SHIPPED, open_encoder

RECIPES = Path(__file__).parents[3] / "recipes" / "mini"


def test_the_encoder_comes_with_its_thresholds(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(RECIPES))
    for name in ("gate", "ship"):  # other recipes may bear these names
        monkeypatch.delitem(sys.modules, name, raising=False)
    ship = importlib.import_module("ship")
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    rows = ["file_name,text,label,patient,split"]
    for number in range(24):
        kind = ("glands", "fat")[number % 2]
        tile = paint_tile(seed=1, index=number, size=32, classes=(kind,))
        Image.fromarray(tile.image).save(tiles / f"{number}.png")
        rows.append(f"{number}.png,{kind} of a tile,{kind},p{number // 2},heldout")
    (tiles / "metadata.csv").write_text("\n".join(rows) + "\n")
    ship.ship_encoder(SHIPPED, tiles, tmp_path / "clip")
    made = verify(tmp_path / "clip")
    assert GATE in made.files and made.extra["licence"] == ship.LICENCE
    reference = load_reference(tmp_path / "clip" / GATE)
    assert reference.encoder == open_encoder(tmp_path / "clip", device="cpu").fingerprint
    assert (reference.tiles, reference.groups) == (24, 12)
    assert "24 tiles of 12 patients" in capsys.readouterr().out
