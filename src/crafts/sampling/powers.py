"""One place at several powers: each picture begins as the enlarged middle of the one before it.

What the wider picture shows is kept by what noise leaves of it (SDEdit, Meng et al. 2022); the
steps that remain add the detail that a higher power would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from crafts.conditions.condition import Condition
from crafts.core.errors import ConfigError

if TYPE_CHECKING:
    from crafts.sampling.draws import Draw

SHARE = 0.6
"""Share of the steps, at the end, in which a picture grows out of the wider one."""


def at_powers(draw: Draw, powers: Sequence[float]) -> Iterator[Draw]:
    """The draws of one place; the draw itself where no power is asked for.

    Args:
        draw: knows of no power.
        powers: microns per pixel, falling.
    """
    if not powers:
        yield draw
    wider = None
    for mpp in powers:
        told = (*draw.conditions, Condition("scale", (mpp,)))
        wider = replace(draw, conditions=told, wider=wider)
        yield wider


def check_powers(powers: Sequence[float], kinds: Sequence[str]) -> None:
    """Refuse powers that a model was not trained with.

    Args:
        powers: that are asked for.
        kinds: of conditions that the model knows.

    Raises:
        ConfigError: says what to do.
    """
    if powers and "scale" not in kinds:
        raise ConfigError(
            "generate: mpp",
            came="a model that was not trained with powers",
            allowed="a model that knows the condition scale",
            do="Leave mpp out, or train one with stage.conditions [scale].",
        )


def enlarge_middle(codec: Any, latents: torch.Tensor, zooms: Sequence[float]) -> torch.Tensor:
    """Latents of the middles of pictures at a higher power, as far as the pictures tell.

    Args:
        codec: of the model.
        latents: [B, C, h, w] of the wider pictures.
        zooms: how much higher the power of each is.
    """
    found = []
    for one, zoom in zip(latents.split(1), zooms, strict=True):
        image = codec.decode(one).clamp(-1, 1)
        height, width = image.shape[-2:]
        rows, columns = round(height / zoom), round(width / zoom)
        top, left = (height - rows) // 2, (width - columns) // 2
        middle = image[..., top : top + rows, left : left + columns]
        large = interpolate(middle, (height, width), mode="bicubic", align_corners=False)
        found.append(codec.encode(large.clamp(-1, 1))[0])
    return torch.cat(found)
