"""Every recipe loads, has a header with its command, and names only fields that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from crafts.recipe import load_recipe, read_header

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_loads_and_says_how_to_run_it(path: Path) -> None:
    assert load_recipe(path).num_steps > 0
    assert f"crafts train {path.relative_to(ROOT)}" in read_header(path)


def test_the_permissive_recipes_name_no_restricted_set() -> None:
    restricted = {"prostate_gleason_NC", "lizard128_NC", "monuseg_NC", "monusac_NC", "pannuke_NC"}
    unclear = {"lc25000", "breakhis400", "mopadi_tiles"}
    for path in (ROOT / "recipes" / "mini-permissive").glob("*.yaml"):
        recipe = load_recipe(path)
        used = set(recipe.data.sets)  # type: ignore[union-attr]
        # the denoiser's second leg reads latents of the same sets
        assert used and not used & (restricted | unclear), path.name
