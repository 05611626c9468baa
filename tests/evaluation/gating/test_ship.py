"""What is shipped: an encoder with its thresholds, a model with the decoder that belongs to it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from crafts.core.artifacts import verify
from crafts.data.painter import paint_tile
from crafts.evaluation.gating.gate import GATE, load_reference
from crafts.model.bundle import load_bundle
from crafts.model.codec import load_codec, save_codec
from crafts.model.vision.image_encoders import SHIPPED, open_encoder

RECIPES = Path(__file__).parents[3] / "recipes" / "mini"


@pytest.fixture
def ship(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    for name in ("gate", "ship"):  # other recipes may bear these names
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("ship")


def test_the_encoder_comes_with_its_thresholds(ship, tmp_path, capsys):
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


def test_a_model_takes_a_decoder_of_the_same_encoder_only(ship, tmp_path):
    mini, codec = SHIPPED.parent / "mini", load_codec(SHIPPED.parent / "mini")
    with torch.no_grad():
        codec.module.decoder.layers[-1].bias += 0.25
    save_codec(codec, tmp_path / "brighter")
    ship.ship_model(mini, tmp_path / "brighter", tmp_path / "model")
    verify(tmp_path / "model")
    made, latents = load_bundle(tmp_path / "model"), torch.zeros(1, codec.channels, 4, 4)
    with torch.inference_mode():
        torch.testing.assert_close(
            made.codec.decode(latents), codec.decode(latents), atol=0.01, rtol=0
        )
    assert made.licence == ship.LICENCE and made.extra["guidance"] == ship.GUIDANCE
    with torch.no_grad():
        codec.module.encoder.layers[0].weight += 0.1
    save_codec(codec, tmp_path / "other")
    with pytest.raises(SystemExit, match="another encoder"):
        ship.ship_model(mini, tmp_path / "other", tmp_path / "never")
    assert not (tmp_path / "never").exists()
