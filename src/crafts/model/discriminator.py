"""The patch discriminator that teaches a decoder grain."""

from __future__ import annotations

from torch import Tensor, nn

from crafts.model.config import DiscriminatorConfig


def build_discriminator(config: DiscriminatorConfig) -> nn.Sequential:
    """Images [B, 3, H, W] in [-1, 1] -> one logit a square [B, 1, H / 2^n, W / 2^n].

    A PatchGAN (Isola et al. 2017) without normalisation: statistics of a batch would let it tell
    real from decoded by their company.
    """
    layers: list[nn.Module] = []
    channels, width = 3, config.width
    for _ in range(config.num_downsamples):
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels, width = width, 2 * config.width
    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))


def freeze(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module without their gradient, for ``torch.func.functional_call``."""
    return {name: value.detach() for name, value in module.named_parameters()}
