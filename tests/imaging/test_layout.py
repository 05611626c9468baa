"""Distance in layout: none to a picture turned or recoloured, much to another."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.data.painter import paint_tile
from crafts.imaging.layout import layout_distance

TILE = paint_tile(seed=0, index=0, size=64).image


@pytest.mark.parametrize("turns", range(4))
def test_a_picture_turned_mirrored_and_recoloured_is_no_distance_away(turns: int) -> None:
    turned = np.rot90(TILE[:, ::-1], turns)
    pale = (255 - (255 - turned.astype(float)) * 0.5).astype(np.uint8)
    assert layout_distance(TILE, np.ascontiguousarray(turned)) < 1e-3  # rounding
    assert layout_distance(TILE, pale) < 0.02
    assert layout_distance(pale, TILE) == pytest.approx(layout_distance(TILE, pale), abs=1e-3)


def test_another_picture_is_far_away_and_an_empty_one_as_far_as_can_be() -> None:
    others = [paint_tile(seed=0, index=index, size=64).image for index in range(1, 9)]
    assert min(layout_distance(TILE, other) for other in others) > 0.3
    empty = np.full((64, 64, 3), 240, np.uint8)
    assert layout_distance(TILE, empty) == 1.0 and layout_distance(empty, empty) == 1.0
