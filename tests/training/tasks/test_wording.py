"""What training samples are told beside their captions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import configure

from crafts.model.bundle import load_bundle
from crafts.training import train
from crafts.training.sources import crop_place, random_crop
from crafts.training.tasks.wording import conditions_of

CROP = {"cells": 32, "crop": 16, "pixels": 256, "seed": 0}


def test_scale_is_the_field_over_the_pixels_that_show_it() -> None:
    found = conditions_of({"field": "128.0"}, **CROP, dropout=0.0, position=5)
    assert found["scale"] == [0.5]
    unknown = conditions_of({"field": ""}, **CROP, dropout=0.0, position=5)
    assert math.isnan(unknown["scale"][0])


@pytest.mark.parametrize("position", range(5))
def test_region_is_the_place_of_the_crop_that_is_shown(position: int) -> None:
    cells = torch.arange(32 * 32).reshape(1, 32, 32)
    crop = random_crop(cells, 16, seed=0, position=position)
    left, top, width = conditions_of({}, **CROP, dropout=0.0, position=position)["region"]
    assert (top, left) == tuple(n / 32 for n in crop_place(32, 32, 16, seed=0, position=position))
    assert int(crop[0, 0, 0]) == round(top * 32) * 32 + round(left * 32)
    assert width == 0.5
    whole = conditions_of({}, **{**CROP, "crop": None}, dropout=0.0, position=position)
    assert whole["region"] == [0.0, 0.0, 1.0]


def test_each_kind_is_dropped_by_itself() -> None:
    found = [conditions_of({"field": "256"}, **CROP, dropout=0.3, position=g) for g in range(2000)]
    gone = {kind: [math.isnan(one[kind][0]) for one in found] for kind in ("scale", "region")}
    both = sum(a and b for a, b in zip(*gone.values(), strict=True)) / 2000
    assert abs(sum(gone["scale"]) / 2000 - 0.3) < 0.04
    assert abs(both - 0.09) < 0.03


def test_conditions_are_trained_saved_and_gone_on_with(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    found = configure(recipe, "stage.conditions=[scale, region]", "stage.condition_dropout=0.2")
    train.run(found, {}, tmp_path / "first")
    first = load_bundle(tmp_path / "first" / "model")
    assert first.conditions is not None and first.conditions.kinds == ("scale", "region")
    recipe["stage"]["init_from"] = str(tmp_path / "first" / "model")
    train.run(configure(recipe, "num_steps=2"), {}, tmp_path / "second")
    second = load_bundle(tmp_path / "second" / "model").conditions
    assert second is not None
    region = "embedders.region.0.weight"  # painted tissue has no microns: scale is never told
    assert not torch.equal(second.state_dict()[region], first.conditions.state_dict()[region])
    train.run(configure(recipe, "num_steps=2", "stage.conditions=[]"), {}, tmp_path / "third")
    assert load_bundle(tmp_path / "third" / "model").conditions is None
