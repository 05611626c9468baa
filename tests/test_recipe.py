"""Recipes: all that are shipped validate and name their command."""

from __future__ import annotations

import pytest

from crafts.core.errors import ConfigError
from crafts.recipe import load_recipe, read_header


def test_all_recipes_validate_and_name_their_command(root):
    paths = sorted((root / "recipes").rglob("*.yaml"))
    assert paths
    for path in paths:
        load_recipe(path)
        assert "crafts train" in read_header(path), path


def test_overrides_reach_nested_fields(root):
    config = load_recipe(root / "recipes/tiny.yaml", ["optim.lr=3e-4", "num_steps=7"])
    assert (config.optim.lr, config.num_steps) == (3e-4, 7)


def test_a_wrong_field_is_named(root):
    with pytest.raises(ConfigError, match="nonsense"):
        load_recipe(root / "recipes/tiny.yaml", ["nonsense=1"])
