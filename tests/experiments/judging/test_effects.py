"""Effects of a screening design: against least squares, and against truths that were planted."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from crafts.experiments import configure
from crafts.experiments.catalogue import FACTORS, load_experiment
from crafts.experiments.judging.effects import ANY, estimate_effects, factor_effects, say_effect


@pytest.fixture(scope="module")
def screening():
    return load_experiment(configure("screening"))


def test_the_design_is_balanced_and_its_columns_stand_at_right_angles(screening):
    runs = [list(arm.levels.values()) for arm in screening.arms[1:]]
    signs = np.array(runs)
    assert signs.shape == (8, 5) and len({tuple(run) for run in runs}) == 8
    assert (signs.T @ signs == 8 * np.eye(5)).all() and (signs.sum(0) == 0).all()
    assert not screening.baseline.levels


def test_each_run_has_the_changes_of_its_levels(screening):
    for arm in screening.arms[1:]:
        changes = arm.legs[0].changes
        strength = changes["stage.strength.semantic"]
        assert (changes["stage.relations.pool"] == "midblock") == (arm.levels["place"] > 0)
        assert (changes["stage.relations.noise"] == "floor") == (arm.levels["timesteps"] > 0)
        assert (strength == 0.1) == (arm.levels["strength"] > 0)
        assert all(FACTORS[name][level > 0][0] in arm.says for name, level in arm.levels.items())


def test_effects_are_those_of_least_squares(screening):
    rng = np.random.default_rng(3)
    levels = [arm.levels for arm in screening.arms[1:]]
    table = rng.normal(size=(8, 3)) + rng.normal(size=3) * 5
    found = estimate_effects(levels, table, np.zeros(3))
    signs = np.repeat([list(run.values()) for run in levels], 3, axis=0)
    blocks = np.tile(np.eye(3), (8, 1))
    fitted = sm.OLS(table.ravel(), np.hstack([signs, blocks])).fit()
    for column, name in enumerate(FACTORS):
        low, high = 2 * fitted.conf_int()[column]
        assert found[name].mean == pytest.approx(2 * fitted.params[column])
        assert (found[name].low, found[name].high) == pytest.approx((low, high))
        assert found[name].p_value == pytest.approx(fitted.pvalues[column])


def test_intervals_hold_what_is_not_there_in_95_of_100(screening):
    rng = np.random.default_rng(1)
    levels = [arm.levels for arm in screening.arms[1:]]
    held = []
    for _ in range(300):
        found = estimate_effects(levels, rng.normal(size=(8, 2)), rng.normal(size=2))
        held += [not one.excludes_zero for one in found.values()]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_a_planted_effect_is_found(screening):
    rng = np.random.default_rng(0)
    values = {"none": {name: [10.0, 20.0] for name in screening.judged_by}}
    for arm in screening.arms[1:]:
        value = 14 + 3 * arm.levels["form"] + rng.normal(scale=0.1, size=2)
        values[arm.name] = {
            "kernel_distance": [value[0], value[1] + 10], "class_agreement": [None, 1.0],
        }  # fmt: skip
    found = factor_effects(screening, values)
    assert list(found) == ["kernel_distance"]  # the other has a missing value
    effects = found["kernel_distance"]
    assert effects["form"].mean == pytest.approx(6, abs=0.2)
    assert effects[ANY].mean == pytest.approx(4, abs=0.2)
    assert effects["form"].excludes_zero
    assert all(abs(effects[name].mean) < 0.3 for name in FACTORS if name != "form")
    said = say_effect("form", "none", "kernel_distance", effect=effects["form"], runs=16)
    assert said.startswith("form centred: harms, kernel distance +") and "literal" in said
    assert said.endswith("over 16 runs.")


def test_other_experiments_have_no_effects():
    losses = load_experiment(configure("losses"))
    assert factor_effects(losses, {}) == {}
