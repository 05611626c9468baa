"""References of training: another tile of the same patient, with dropout, and only what is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import configure

from crafts.core.errors import ConfigError
from crafts.model.bundle import load_bundle
from crafts.training import train
from crafts.training.tasks.references import References
from fixtures_encoders import write_vit

ROWS = [{"patient": name} for name in ("a", "a", "b", "a", "c", "c", "")]


def number(row: int) -> torch.Tensor:
    return torch.tensor([float(row)])


def test_a_sample_is_told_of_another_tile_of_its_patient() -> None:
    found = References(ROWS, [0, 1, 2, 3, 4, 6], number, dropout=0.3, seed=1)
    told = [float(found.sample(0, position)) for position in range(600)]
    gone = sum(value != value for value in told) / 600
    assert {value for value in told if value == value} == {1.0, 3.0}
    assert abs(gone - 0.3) < 0.06
    for alone in (2, 4, 6):  # one tile, one in training, and nobody's
        assert all(torch.isnan(found.sample(alone, position)) for position in range(20))
    assert told == [
        pytest.approx(float(found.sample(0, position)), nan_ok=True) for position in range(600)
    ]


def test_references_train_alone_and_the_rest_stays(recipe: dict[str, Any], tmp_path: Path) -> None:
    before = load_bundle(recipe["stage"]["init_from"])
    told = configure(
        recipe, "stage.conditions=[scale, reference]", "stage.train=conditions", "num_steps=4"
    )
    train.run(told, {}, tmp_path / "run")
    after = load_bundle(tmp_path / "run" / "model")
    assert after.conditions is not None and after.conditions.numbers["reference"] == 12
    assert bool(after.conditions.reference_middle().any())
    moved = {
        name
        for name, value in after.denoiser.state_dict().items()
        if not torch.equal(value, before.denoiser.state_dict()[name])
    }
    assert moved and all(".attn2.to_k." in name or ".attn2.to_v." in name for name in moved)


def test_a_vision_model_describes_references_by_recipe(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    write_vit(tmp_path / "vit", pooler=False)
    told = configure(
        recipe,
        "stage.conditions=[reference]",
        f"stage.reference_from={tmp_path / 'vit'}",
        "num_steps=2",
    )
    train.run(told, {}, tmp_path / "run")
    recipe["stage"]["init_from"] = str(tmp_path / "run" / "model")
    train.run(configure(recipe, "num_steps=2"), {}, tmp_path / "next")
    after = load_bundle(tmp_path / "next" / "model").conditions
    assert after is not None and after.encoder is not None and after.encoder.is_dir()


def test_conditions_alone_need_some(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage\.train"):
        train.run(configure(recipe, "stage.train=conditions"), {}, tmp_path / "run")
