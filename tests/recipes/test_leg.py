"""A leg of training comes back from its int8 differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crafts.core.errors import DataError
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.conditions import ConditionTokens
from fixtures_scripts import load_script

leg = load_script("recipes/mini/leg.py")


def test_a_leg_comes_back(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leg, "BASE", str(tiny_model))
    torch.manual_seed(0)
    trained = replace(load_bundle(tiny_model), conditions=ConditionTokens(("scale",), 16))
    with torch.no_grad():
        for parameter in trained.denoiser.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    save_bundle(trained, tmp_path / "trained", card="---\nlicense: other\n---\n")
    leg.save(tmp_path / "trained", tmp_path / "leg.safetensors")
    leg.restore(tmp_path / "leg.safetensors", tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    before = load_bundle(tiny_model).denoiser.state_dict()
    for name, value in trained.denoiser.state_dict().items():
        change = value - before[name]
        left = (again.denoiser.state_dict()[name] - value).abs().max()
        assert left <= 0.51 / 127 * change.abs().max() + 1e-6, name
    assert again.conditions is not None
    given = {"scale": (0.5,)}
    torch.testing.assert_close(
        again.conditions.tokens_of(given), trained.conditions.tokens_of(given), atol=1e-2, rtol=1e-2
    )
    monkeypatch.setattr(leg, "BASE", str(tmp_path / "trained"))
    with pytest.raises(DataError, match="differences from model"):
        leg.restore(tmp_path / "leg.safetensors", tmp_path / "other")
