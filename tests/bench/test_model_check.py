"""The guard of the shipped weights passes on what it was made from, and names what is worse."""

import sys

import pytest
import torch

from crafts.core.errors import IntegrityError
from crafts.model.bundle import load_bundle
from crafts.workflows.scorecards.judges import Judges
from fixtures_scorecards import write_labelled_tiles, write_models
from fixtures_scripts import load_script

model_check = load_script("bench/model_check.py")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_labelled_tiles(tmp_path_factory.mktemp("check") / "tiles")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


def test_model_check_passes_on_what_it_was_made_from_and_refuses_worse(
    tiles, models, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(model_check, "NUM", 8)
    base = ["model_check", str(models / "model"), "--reference", str(tmp_path / "check")]
    base += ["--encoder", str(models / "clip"), "--classifier", str(models / "classifier")]
    monkeypatch.setattr(sys, "argv", [*base, "--make", str(tiles)])
    assert model_check.main() == 0
    monkeypatch.setattr(sys, "argv", base)
    assert model_check.main() == 0, capsys.readouterr().err
    features = tmp_path / "check" / "features.safetensors"
    data = bytearray(features.read_bytes())
    data[-1] ^= 1
    features.write_bytes(bytes(data))
    assert model_check.main() == 3
    assert "features.safetensors: changed content" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"kernel_distance": 9.0, "structure": 1.0},
            r"kernel_distance: 9\.000; expected at most 5\.000",
        ),
        (
            {"kernel_distance": 1.0, "structure": 0.1},
            r"structure: 0\.100; expected at least 0\.500",
        ),
        ({"kernel_distance": float("nan"), "structure": 1.0}, "kernel_distance: nan"),
    ],
)
def test_model_check_names_the_number_that_fails(found, message):
    with pytest.raises(IntegrityError, match=message):
        model_check.refuse(found, {"kernel_distance": 5.0, "structure": 0.5}, "check")


def test_model_check_refuses_another_encoder(tiles, models, tmp_path, monkeypatch):
    monkeypatch.setattr(model_check, "NUM", 4)
    judges = Judges.load(str(models / "clip"), models / "classifier")
    bundle = load_bundle(models / "model")
    model_check.make(judges, bundle, tiles, tmp_path / "check")
    with torch.no_grad():
        judges.encoder.visual_projection.weight.add_(1)
    with pytest.raises(IntegrityError, match="features of another evaluation encoder"):
        model_check.check(judges, bundle, tmp_path / "check")
