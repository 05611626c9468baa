"""How well a model denoises given tiles: what membership inference asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from crafts.core.errors import ConfigError
from crafts.core.runtime import generator_for
from crafts.losses.denoising import denoising_loss
from crafts.sampling.draws import Draw, encode_draws, group_draws
from crafts.sampling.network import network_denoiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crafts.model.bundle import Bundle


@torch.no_grad()  # not inference mode: weights laid out anew in it could never be trained again
def compute_losses(
    bundle: Bundle,
    images: Sequence[NDArray[np.uint8]],
    texts: Sequence[str],
    *,
    timesteps: Sequence[int],
    seed: int = 0,
) -> NDArray[np.float64]:
    """Denoising loss of each tile with its own text, at fixed timesteps and with fixed noise.

    The noise of a timestep is the same for every tile, so that losses differ by the tiles alone
    (Carlini et al. 2023, section 5: the loss threshold attack on diffusion models).

    Args:
        bundle: the model, on its device.
        images: N tiles uint8 [H, W, 3], of any size; brought to the size of the model.
        texts: N captions, possibly empty.
        timesteps: each in [0, T); losses are averaged over them.
        seed: of the noise.

    Returns:
        float64 [N].

    Raises:
        ConfigError: no timestep, or one that the schedule does not have.
    """
    schedule = bundle.schedule
    last = schedule.num_timesteps - 1
    if not timesteps or not all(0 <= t <= last for t in timesteps):
        raise ConfigError(
            "timesteps",
            came=str(list(timesteps)),
            allowed=f"at least one, each from 0 to {last}",
            do="Choose timesteps of this model's schedule.",
        )
    device = next(bundle.denoiser.parameters()).device
    latents = bundle.codec.encode(_as_batch(images, bundle.native_size).to(device))[0]
    draws = [Draw(text) for text in texts]
    features = encode_draws(bundle.text, draws)
    denoiser = network_denoiser(bundle.denoiser)
    losses = torch.zeros(len(images), dtype=torch.float64)
    for group in group_draws(draws, features):
        x0 = latents[group]
        tokens = torch.stack([features[i].tokens for i in group]).to(device)
        for t in timesteps:
            draw = torch.randn(x0.shape[1:], generator=generator_for("losses", seed, t))
            noise = draw.to(x0).expand_as(x0)
            steps = torch.full((len(group),), t, device=device)
            loss = denoising_loss(
                denoiser(schedule.add_noise(x0, noise, steps), steps[0], tokens),
                schedule.target(x0, noise, steps),
                schedule.snr(steps),
                prediction_type=schedule.prediction_type,
            )
            losses[group] += loss.double().cpu()
    return (losses / len(timesteps)).numpy()


def _as_batch(images: Sequence[NDArray[np.uint8]], size: int) -> torch.Tensor:
    """Float [N, 3, size, size] in [-1, 1]."""
    import numpy as np
    from PIL import Image

    tiles = []
    for pixels in images:
        if pixels.shape[:2] != (size, size):
            picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture)
        tiles.append(torch.from_numpy(np.array(pixels)))
    return torch.stack(tiles).permute(0, 3, 1, 2).float() / 127.5 - 1
