"""Pictures made from pictures, as wrappers around a denoiser; the sampler does not know of them.

What is kept is not put in by force: wherever the clean latents are known, so is what a perfect
denoiser would predict, and that stands in place of the network's answer. Known latents then go down
their own path on the noise of the draw, at every step as noisy as what is made beside them (the
known-region replacement of Lugmayr et al. 2022, without their leaps back).

A counterfactual takes the picture as it is along in the same batch, and adds to its known path only
what two texts differ in (after Kulikov et al. 2024, FlowEdit). Equal texts leave it where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from crafts.sampling.guidance import Denoise

if TYPE_CHECKING:
    from crafts.imaging.sources import Source
    from crafts.model.schedule import Schedule


@dataclass(frozen=True)
class Edit:
    """What of another picture goes into a draw; equal edits of equal draws give equal pictures.

    Attributes:
        strength: share of the steps, at the end, in which the draw's prompt holds; before that the
            picture goes its own way.
        before: text of the picture as it is; None where nothing is compared with it.
        key: hash of the picture and its mask; "" where the picture is that of ``before``, from the
            same noise.
        read: gives that picture; None where it is made.
    """

    strength: float = 1.0
    before: str | None = None
    key: str = ""
    read: Callable[[], Source] | None = field(default=None, compare=False, repr=False)

    @property
    def group(self) -> tuple[Any, ...]:
        """Draws whose edits have equal groups may share a batch."""
        return self.strength, self.before, self.read is None


def first_step(num_steps: int, strength: float) -> int:
    """Number of the step from which on a prompt holds; one step at least is left to it."""
    return min(num_steps - round(strength * num_steps), num_steps - 1)


def free_latents(region: Tensor, factor: int) -> Tensor:
    """Which latents are made anew: those with a pixel of the region, and one more each way.

    Args:
        region: [B, H, W], true where pixels are made anew.
        factor: pixels a latent.

    Returns:
        Bool [B, 1, H / factor, W / factor].
    """
    cells = max_pool2d(region[:, None].float(), factor)
    return max_pool2d(cells, 3, stride=1, padding=1) > 0


def keeping(denoise: Denoise, x0: Tensor, free: Tensor, schedule: Schedule) -> Denoise:
    """Leave known latents on their way, and the rest to the denoiser, which sees both.

    Args:
        denoise: as a sampler calls it.
        x0: [B, C, h, w] known latents.
        free: [B, 1, h, w], true where latents are made anew.
        schedule: of the model.
    """

    def denoise_free(x_t: Tensor, t: Tensor) -> Tensor:
        return torch.where(free, denoise(x_t, t), schedule.prediction_of(x0, x_t, t))

    return denoise_free


def beside(
    denoise: Denoise, before: Denoise, x0: Tensor, free: Tensor, schedule: Schedule
) -> Denoise:
    """Take a picture as it is and its counterfactual, [2B, C, h, w], through the steps together.

    Args:
        denoise: under the new text, for B pictures.
        before: under the text of the picture as it is.
        x0: [B, C, h, w] latents of the picture as it is.
        free: [B, 1, h, w], true where it may change.
        schedule: of the model.
    """

    def denoise_both(x_t: Tensor, t: Tensor) -> Tensor:
        own, other = x_t.chunk(2)
        known = schedule.prediction_of(x0, own, t)
        change = denoise(other, t) - before(own, t)
        return torch.cat([known, torch.where(free, known + change, known)])

    return denoise_both


def load_sources(edits: Sequence[Edit | None]) -> list[Source]:
    """The pictures that a batch is made from; [] where there are none."""
    return [edit.read() for edit in edits if edit is not None and edit.read is not None]


def encode_sources(codec: Any, sources: Sequence[Source], device: torch.device) -> Tensor:
    """Latents [B, C, h, w] of the windows of pictures."""
    pixels = np.stack([source.pixels for source in sources])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents: Tensor = codec.encode(images.to(device, _dtype_of(codec)))[0]
    return latents.float()


def _dtype_of(codec: Any) -> torch.dtype:
    module = getattr(codec, "module", None)
    return torch.float32 if module is None else next(module.parameters()).dtype
