"""What of a reference picture a denoiser is told, in numbers: its look, not its layout.

By default the model's own codec describes it: mean, deviation and grain of each channel of its
latents. They say which colours, contrast and texture a tile has and not where anything lies, so
that a denoiser cannot copy by them. Any vision model may stand in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crafts.model.codec import Codec

if TYPE_CHECKING:
    from crafts.model.conditions import ConditionTokens
    from crafts.model.vision.image_encoders import ImageEncoder

_LEAST = 1e-3


def latent_statistics(latents: Tensor) -> Tensor:
    """Mean, log deviation and log deviation between neighbours of each channel, [B, 3 C].

    Args:
        latents: [B, C, h, w].
    """
    across = latents.diff(dim=3).flatten(2).std(dim=2)
    down = latents.diff(dim=2).flatten(2).std(dim=2)
    spread = latents.flatten(2).std(dim=2)
    logs = [(each + _LEAST).log() for each in (spread, (across + down) / 2)]
    return torch.cat([latents.mean(dim=(2, 3)), *logs], dim=1)


@dataclass(frozen=True)
class ReferenceEncoder:
    """Pictures to numbers.

    Attributes:
        codec: of the model.
        network: a vision model; None: the codec alone describes.
    """

    codec: Codec
    network: ImageEncoder | None = None

    @property
    def size(self) -> int:
        """Numbers of a picture."""
        return self.network.width if self.network else 3 * self.codec.channels

    @torch.no_grad()
    def of_pixels(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Numbers [E] of a picture uint8 [H, W, 3], of the size that the model makes."""
        if self.network is not None:
            return self.network.images([pixels])[0]
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1
        parameter = next(self.codec.module.parameters())
        return self.of_latents(self.codec.encode(image.to(parameter))[0][0])

    @torch.no_grad()
    def of_latents(self, latents: Tensor) -> Tensor:
        """Numbers [E] of the picture that latents [C, h, w] stand for."""
        if self.network is None:
            return latent_statistics(latents[None].float().cpu())[0]
        parameter = next(self.codec.module.parameters())
        image = self.codec.decode(latents[None].to(parameter))[0]
        pixels = ((image.float().cpu() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return self.of_pixels(pixels.permute(1, 2, 0).numpy())


def open_reference_encoder(codec: Codec, tokens: ConditionTokens) -> ReferenceEncoder:
    """The encoder whose numbers a model was trained with.

    Args:
        codec: of the model.
        tokens: of the model; know the folder of a vision model, if there is one.
    """
    from crafts.model.vision.image_encoders import open_encoder

    parameter = next(codec.module.parameters())
    folder = tokens.encoder
    return ReferenceEncoder(
        codec, open_encoder(folder, device=parameter.device) if folder else None
    )
