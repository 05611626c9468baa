"""Images to scaled latents and back. The codec owns its scaling; nobody else multiplies latents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F

from crafts.core import artifacts
from crafts.core.errors import ConfigError, DataError
from crafts.model.config import KLCodecConfig, TinyCodecConfig
from crafts.model.files.folders import check_safetensors, load_diffusers_module, save_module

_VOLATILE_KEYS = ("_diffusers_version", "_name_or_path", "_class_name", "_use_default_values")
_DECODER_KEYS = (  # of an AutoencoderTiny; its block_out_channels are those of the decoder
    "num_decoder_blocks",
    "decoder_block_out_channels",
    "block_out_channels",
    "out_channels",
    "upsample_fn",
    "upsampling_scaling_factor",
)
_MARGIN = 0.2  # room above zero for tiles unlike those of the initialisation, in feature units
_DAMPING = (
    0.03  # share of its random start that a layer keeps where it must carry a feature unchanged
)


CodecModule: TypeAlias = AutoencoderKL | AutoencoderTiny


class Codec:
    """A diffusers autoencoder together with its scaling.

    Args:
        module: the network; its ``scaling_factor`` is the one a diffusers pipeline applies.

    Attributes:
        factor: pixels per latent position along a side.
        channels: latent channels.

    Raises:
        ConfigError: the network shifts its latents, which the pipeline of SD-1.5 would ignore.
    """

    def __init__(self, module: CodecModule) -> None:
        shift = module.config.get("shift_factor")
        if shift:
            raise ConfigError(
                "vae/config.json: shift_factor",
                came=repr(shift),
                allowed="null or 0, as in Stable Diffusion 1.5",
                do="Use an autoencoder without a shift, or fold it into the network.",
            )
        self.module = module
        self.factor = 2 ** (len(module.config["block_out_channels"]) - 1)
        self.channels = int(module.config["latent_channels"])

    @property
    def deterministic(self) -> bool:
        """Whether the standard deviation of the latents is zero."""
        return isinstance(self.module, AutoencoderTiny)

    @property
    def fingerprint(self) -> str:
        """Identity of the latents: sha256 of configuration and encoder, rounded to float16.

        The decoder has no part in it: after a fine-tune of the decoder alone, or with a deeper one,
        cached latents stay valid. Nor has storage in half precision: latents are float16
        themselves. It is computed anew at each access.
        """
        return _hash_encoder(self.module, dict(self.module.config))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] in [-1, 1] -> mean and standard deviation [B, C, H/f, W/f], scaled.

        Raises:
            DataError: height or width is no multiple of ``factor``.
        """
        if images.shape[-1] % self.factor or images.shape[-2] % self.factor:
            raise DataError(
                "codec: image size",
                came=f"{images.shape[-1]}x{images.shape[-2]}",
                allowed=f"multiples of {self.factor} pixels",
                do="Crop or pad the images.",
            )
        scale = float(self.module.config["scaling_factor"])
        if isinstance(self.module, AutoencoderTiny):
            mean = self.module.encode(images).latents * scale
            return mean, torch.zeros_like(mean)
        posterior = self.module.encode(images).latent_dist
        return posterior.mean * scale, posterior.std * scale

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents [B, C, h, w] -> images [B, 3, h*f, w*f], about [-1, 1] and not clipped."""
        scale = float(self.module.config["scaling_factor"])
        return self.module.decode(latents.to(self.module.dtype) / scale).sample

    def to(self, *args: Any, **kwargs: Any) -> Codec:
        """Move or cast the network in place, as ``torch.nn.Module.to``."""
        self.module.to(*args, **kwargs)
        return self


def build_codec(config: TinyCodecConfig | KLCodecConfig) -> Codec:
    """A codec with random weights."""
    if isinstance(config, TinyCodecConfig):
        depth = len(config.num_encoder_blocks)
        return Codec(
            AutoencoderTiny(
                encoder_block_out_channels=(config.encoder_width,) * depth,
                decoder_block_out_channels=(config.decoder_width,) * depth,
                num_encoder_blocks=config.num_encoder_blocks,
                num_decoder_blocks=config.num_decoder_blocks,
                latent_channels=config.latent_channels,
            )
        )
    depth = len(config.block_out_channels)
    return Codec(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * depth,
            up_block_types=("UpDecoderBlock2D",) * depth,
            **config.model_dump(exclude={"kind"}),
        )
    )


def save_codec(codec: Codec, folder: Path, *, half: bool = False) -> None:
    """Write ``config.json`` and safetensors in the layout of diffusers (no manifest).

    Args:
        codec: is not changed.
        folder: made if absent.
        half: store float16 weights.
    """
    save_module(codec.module, folder, half=half)


def load_codec(folder: Path, *, verified: bool = False) -> Codec:
    """Read a folder of :func:`save_codec`, or the ``vae`` of a pipeline, in float32.

    The manifest is checked first; that there is none is said.

    Args:
        folder: as :func:`codec_folder` takes it.
        verified: it was checked as part of a pipeline.

    Raises:
        ConfigError: no such folder, not one of the two classes, or no safetensors in it.
        IntegrityError: a file differs from the manifest.
        DataError: the weights do not fit the configuration, or are not finite.
    """
    part = codec_folder(folder)
    if folder.is_dir() and not verified:
        artifacts.check(folder, ours=False, within="" if part == folder else "vae/")
    return Codec(load_diffusers_module(part, (AutoencoderKL, AutoencoderTiny)))


def codec_folder(folder: Path) -> Path:
    """An autoencoder's own folder, or that of the whole pipeline which the folder is."""
    return folder / "vae" if (folder / "model_index.json").is_file() else folder


def weights_file(folder: Path) -> Path:
    """The file that :func:`load_codec` reads the weights of a folder from.

    Raises:
        ConfigError: the folder holds no safetensors.
    """
    folder = codec_folder(folder)
    variant = check_safetensors(folder)
    middle = f".{variant}" if variant else ""
    return folder / f"diffusion_pytorch_model{middle}.safetensors"


@torch.no_grad()
def initialize_linear(codec: Codec, images: Tensor) -> Codec:
    """Start the encoder of an ``AutoencoderTiny`` as a hierarchical PCA, in place.

    Each stride-2 convolution becomes the principal directions of 2x2 neighbourhoods of the features
    below, the blocks between pass them on (offset above zero, where a ReLU is the identity), and
    the last convolution scales them to unit deviation. Other channels keep their random start.
    Training then begins near the linear optimum instead of far below it.

    Args:
        codec: an ``AutoencoderTiny`` of :func:`build_codec`, changed in place and returned.
        images: [N, 3, H, W] in [-1, 1], some hundred training crops.

    Raises:
        ConfigError: another class, a level without blocks, or more latent channels than width.
    """
    levels = _check_linear(codec)
    layers = codec.module.encoder.layers
    _damp(layers)
    features, offset = (images.float() + 1) / 2, images.new_zeros(3)
    width = layers[0].out_channels
    for number, (conv, blocks) in enumerate(levels):
        last = number == len(levels) - 1
        rank = codec.channels if last else min(4 * len(offset), max(codec.channels, 2 * width // 3))
        features, offset = _set_level(conv, blocks, features, offset, rank)
    _set_output(layers[-1], features.std((0, 2, 3)), offset)
    return codec


def _check_linear(codec: Codec) -> list[tuple[Any, list[Any]]]:
    """The levels below the input: (stride-2 convolution, its blocks)."""
    levels: list[tuple[Any, list[Any]]] = []
    if isinstance(codec.module, AutoencoderTiny):
        for layer in codec.module.encoder.layers[:-1]:
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                levels.append((layer, []))
            elif levels:
                levels[-1][1].append(layer)
    width = levels[0][0].out_channels if levels else 0
    if not levels or not all(blocks for _, blocks in levels) or codec.channels > width:
        raise ConfigError(
            "initialize_linear: codec",
            came=f"{type(codec.module).__name__} of width {width}",
            allowed="an AutoencoderTiny with blocks at each level, at least as wide as its latents",
            do="Start this codec from random weights, or change its configuration.",
        )
    return levels


def _damp(layers: Any) -> None:
    """Make the first convolution hand the image on and shrink the random part of all blocks."""
    first = layers[0]
    first.weight.mul_(0.1)
    first.bias.zero_()
    for channel in range(3):
        first.weight[channel].zero_()
        first.weight[channel, channel, 1, 1] = 1.0
    for block in _blocks(layers):
        block.conv[-1].weight.mul_(0.3)
        block.conv[-1].weight[:3].mul_(_DAMPING)
        block.conv[-1].bias[:3].zero_()


def _set_level(
    conv: Any, blocks: list[Any], features: Tensor, offset: Tensor, rank: int
) -> tuple[Tensor, Tensor]:
    """Write one level; returns its centred features [N, rank, h/2, w/2] and their offset [rank]."""
    patches = F.pixel_unshuffle(features, 2)
    directions, mean = _principal_directions(patches, rank)
    projected = torch.einsum("rc,nchw->nrhw", directions, patches - mean[None, :, None, None])
    kernel = directions.reshape(rank, len(offset), 2, 2)
    conv.weight.mul_(0.5)
    conv.weight[:rank].zero_()
    conv.weight[:rank, : len(offset), 1:, 1:] = (
        kernel  # padding 1, stride 2: taps 1 and 2 are the pixels 2i, 2i+1
    )
    carried = directions @ mean + kernel.sum((2, 3)) @ offset
    raised = _MARGIN - projected.amin((0, 2, 3))
    for block in blocks:
        block.conv[-1].weight[:rank].mul_(_DAMPING)
        block.conv[-1].bias[:rank].zero_()
    blocks[0].conv[-1].bias[:rank] = (
        raised - carried
    )  # the stride-2 convolution has no bias of its own
    return projected, raised


def _set_output(conv: Any, deviation: Tensor, offset: Tensor) -> None:
    conv.weight.mul_(0.02)
    for channel in range(conv.out_channels):
        conv.weight[channel, channel].zero_()
        conv.weight[channel, channel, 1, 1] = 1 / deviation[channel]
        conv.bias[channel] = -offset[channel] / deviation[channel]


def _principal_directions(patches: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The leading directions [rank, C] and the mean [C] of maps [N, C, h, w]."""
    rows = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1]).double()
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
    return vectors[:, -rank:].flip(1).T.float(), mean.float()


def _blocks(layers: Any) -> Iterator[Any]:
    return (layer for layer in layers if not isinstance(layer, nn.Conv2d))


def _hash_encoder(module: nn.Module, config: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    skipped = _VOLATILE_KEYS + (_DECODER_KEYS if isinstance(module, AutoencoderTiny) else ())
    stable = {key: value for key, value in config.items() if key not in skipped}
    digest.update(json.dumps(stable, sort_keys=True, default=str).encode())
    for name, value in sorted(module.state_dict().items()):
        if name.startswith(("decoder.", "post_quant_conv.")):
            continue
        digest.update(name.encode())
        rounded = value.detach().float().half()
        digest.update(rounded.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
