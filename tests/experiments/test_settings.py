"""Names, sizes and arms of the experiments; every arm's recipe is one that training takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from crafts.core.config import validate
from crafts.core.errors import ConfigError
from crafts.experiments import NAMES, configure
from crafts.experiments.arms.training import build_recipe
from crafts.experiments.catalogue import load_experiment
from crafts.experiments.judging.measures import MEASURES


def test_an_unknown_name_is_refused_with_all_names():
    with pytest.raises(ConfigError) as caught:
        configure("summaries")
    assert str(caught.value) == (
        "crafts experiment summaries: no such experiment; expected losses, ood, label-noise, "
        "stages, caption-length, text-encoder, content, guidance, screening. "
        "Choose one of these names."
    )


def test_overrides_go_before_fast_and_fast_before_defaults():
    assert configure("losses").num_steps == 300
    assert configure("losses", fast=True).num_steps == 12
    chosen = configure("losses", ["num_steps=7", "base.num_steps=3"], fast=True, data="painted")
    assert (chosen.num_steps, chosen.base.num_steps, chosen.data) == (7, 3, "painted")
    assert chosen.base.forget_text


def test_seeds_must_differ():
    with pytest.raises(ConfigError, match="seeds that differ"):
        configure("losses", ["seeds=[1, 1]"])


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_has_a_whole_recipe(name):
    from crafts.training.train import TrainConfig

    config = configure(name)
    experiment = load_experiment(config)
    screens = any(arm.levels for arm in experiment.arms)  # its effects rest on all runs together
    assert len(config.seeds) >= (2 if screens else 3)
    assert len({arm.name for arm in experiment.arms}) == len(experiment.arms) >= 3
    assert set(experiment.judged_by) <= set(MEASURES)
    for arm in experiment.arms:
        assert sum(leg.share for leg in arm.legs) == (1 if experiment.trains else 0)
        for leg in (*arm.legs, *experiment.base_legs):
            recipe = build_recipe(
                leg, config, start=Path("start"), data=Path("o/data/views/clean"), seed=0
            )
            validate(TrainConfig, recipe, name)


def test_arms_of_one_leg_share_steps_data_order_and_seed():
    config = configure("losses")
    recipes = [
        build_recipe(leg, config, start=Path("s"), data=Path("o/data/views/clean"), seed=3)
        for arm in load_experiment(config).arms
        for leg in arm.legs
    ]
    for recipe in recipes:
        recipe["stage"] = {"crop": recipe["stage"]["crop"]}
    assert all(recipe == recipes[0] for recipe in recipes)


def test_chosen_arms_keep_the_baseline():
    experiment = load_experiment(configure("losses", ["arms=[semc]"]))
    assert [arm.name for arm in experiment.arms] == ["none", "semc"]


def test_label_noise_asks_what_losses_give_with_right_labels_too():
    assert load_experiment(configure("label-noise")).also == (("clean-both", "clean"),)
    assert load_experiment(configure("label-noise", ["arms=[clean]"])).also == ()


def test_an_unknown_arm_is_refused():
    with pytest.raises(ConfigError, match="experiment: arms: 'some'; expected none, semc, catg"):
        load_experiment(configure("losses", ["arms=[some]"]))
