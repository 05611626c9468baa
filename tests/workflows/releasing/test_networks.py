"""An encoder with its thresholds, a model with a decoder that fits, a ControlNet with figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from crafts.core.artifacts import load_manifest, staging, verify
from crafts.core.errors import ConfigError
from crafts.data.painter import paint_tile
from crafts.evaluation.gate import GATE, load_reference
from crafts.model.bundle import load_bundle
from crafts.model.codec import load_codec, save_codec
from crafts.model.control import load_control, save_control
from crafts.model.files.places import SHIPPED
from crafts.model.vision.image_encoders import open_encoder
from crafts.workflows.releasing import networks
from crafts.workflows.releasing.licence import LICENCE
from fixtures_steering import random_control, write_control

RECIPES = Path(__file__).parents[3] / "recipes" / "mini"
CARD, CARD_OF_NUCLEI = RECIPES / "card.md", RECIPES / "control-nuclei.md"
ENCODER = SHIPPED / "evaluation-clip"


def test_the_encoder_comes_with_its_thresholds(tmp_path):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    rows = ["file_name,text,label,patient,split"]
    for number in range(24):
        kind = ("glands", "fat")[number % 2]
        tile = paint_tile(seed=1, index=number, size=32, classes=(kind,))
        Image.fromarray(tile.image).save(tiles / f"{number}.png")
        rows.append(f"{number}.png,{kind} of a tile,{kind},p{number // 2},heldout")
    (tiles / "metadata.csv").write_text("\n".join(rows) + "\n")
    line = networks.release_encoder(ENCODER, tiles, tmp_path / "clip")
    made = verify(tmp_path / "clip")
    assert GATE in made.files and made.extra["licence"] == LICENCE
    reference = load_reference(tmp_path / "clip" / GATE)
    assert reference.encoder == open_encoder(tmp_path / "clip", device="cpu").fingerprint
    assert (reference.tiles, reference.groups) == (24, 12)
    assert "24 tiles of 12 patients" in line


def test_a_model_takes_a_decoder_of_the_same_encoder_only(tmp_path):
    mini, codec = SHIPPED / "mini", load_codec(SHIPPED / "mini")
    with torch.no_grad():
        codec.module.decoder.layers[-1].bias += 0.25
    save_codec(codec, tmp_path / "brighter")
    networks.release_model(mini, CARD, tmp_path / "brighter", output=tmp_path / "model")
    verify(tmp_path / "model")
    made, latents = load_bundle(tmp_path / "model"), torch.zeros(1, codec.channels, 4, 4)
    with torch.inference_mode():
        torch.testing.assert_close(
            made.codec.decode(latents), codec.decode(latents), atol=0.01, rtol=0
        )
    assert made.licence == LICENCE and made.extra["guidance"] == networks.GUIDANCE
    with torch.no_grad():
        codec.module.encoder.layers[0].weight += 0.1
    save_codec(codec, tmp_path / "other")
    with pytest.raises(ConfigError, match="another encoder"):
        networks.release_model(mini, CARD, tmp_path / "other", output=tmp_path / "never")
    assert not (tmp_path / "never").exists()


@torch.no_grad()
def test_a_factor_is_folded_in_and_told(tiny_model: Path, tmp_path: Path) -> None:
    trained = write_control(tiny_model, tmp_path / "trained")
    networks.strengthen_control(trained, 2.0, tmp_path / "strong")
    verify(tmp_path / "strong")
    before, after = load_control(trained), load_control(tmp_path / "strong")
    bundle, draws = load_bundle(tiny_model), torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(1, bundle.codec.channels, 4, 4, generator=draws),
        torch.tensor([300]),
        torch.randn(1, 5, bundle.text.width, generator=draws),
        torch.rand(1, 12, 32, 32, generator=draws),
    )
    one, two = (each.module(*inputs, return_dict=False)[1] for each in (before, after))
    torch.testing.assert_close(two, 2 * one)
    manifest = load_manifest(tmp_path / "strong")
    assert manifest.inputs["trained"] == before.fingerprint
    assert manifest.config == {"factor": 2.0} and after.denoiser == before.denoiser


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet beside the shipped denoiser."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    with staging(folder) as temporary:
        save_control(random_control(load_bundle("mini")), temporary, card="random\n", stage="train")
    return folder


def test_what_was_scored_is_shipped_with_its_figures(
    trained: Path, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, mini = load_control(trained), load_bundle("mini")
    figures = result | {"control": own.fingerprint, "model": mini.fingerprint}
    (tmp_path / "score").mkdir()
    (tmp_path / "score/control.json").write_text(json.dumps(figures))
    folder = tmp_path / "weights/control-nuclei"
    with monkeypatch.context() as small, pytest.raises(ConfigError, match="nothing is written"):
        small.setattr(networks, "MOST_BYTES", 5_000_000)
        networks.release_control(trained, tmp_path / "score", CARD_OF_NUCLEI, tmp_path / "weights")
    assert not folder.exists()
    networks.release_control(trained, tmp_path / "score", CARD_OF_NUCLEI, tmp_path / "weights")
    verify(folder)
    shipped = load_control(folder)
    assert shipped.licence == "crafts-mini-research-only" and shipped.denoiser == mini.fingerprint
    size = (folder / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < 0.6 * (trained / "diffusion_pytorch_model.safetensors").stat().st_size
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| painted | 8 | 1.00 ± 0.00 |" in card and "{" not in card
    assert json.loads((folder / "heldout.json").read_text())["sets"] == figures["sets"]
    assert load_manifest(folder).inputs["trained"] == own.fingerprint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "fluorescence"}, "kind: figures of another kind"),
        ({"control": "0"}, "figures of other weights"),
        ({"model": "0"}, "figures of a run beside another model"),
    ],
)
def test_what_does_not_belong_together_is_not_shipped(
    trained: Path, values: dict[str, str], message: str
) -> None:
    own = load_control(trained)
    figures = {"kind": "nuclei", "control": own.fingerprint, "model": own.denoiser}
    with pytest.raises(ConfigError, match=message):
        networks.check_figures(own, figures | values, where="score")
