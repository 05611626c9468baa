"""Shipped fakes: what stands behind a ``Protocol`` in tests of ours and of yours.

Real code at a size where a test takes a second; nothing here has learned anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from crafts.model.config import DenoiserConfig, TinyCodecConfig

WORDS = (
    "colon lung breast bone benign carcinoma glands nuclei lymphocytes stroma low high power view"
)


class FakeCodec:
    """A codec without weights: the mean colour of each square, and squares of one colour back.

    Args:
        factor: edge of a square in pixels.
    """

    channels = 3
    deterministic = True

    def __init__(self, factor: int = 8) -> None:
        self.factor = factor
        self.fingerprint = f"fake-codec-{factor}"

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [B, 3, H, W] in [-1, 1] -> mean [B, 3, H/f, W/f] and a standard deviation of 0."""
        from torch.nn.functional import avg_pool2d

        mean = avg_pool2d(images, self.factor)
        return mean, mean.new_zeros(mean.shape)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, 3, h, w] -> images [B, 3, h*f, w*f]; the inverse on squares of one colour."""
        return latents.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)


def count_words(text: str) -> int:
    """A token counter: one a word, and two at the ends."""
    return len(text.split()) + 2


def tiny_codec_config(width: int = 8, channels: int = 4) -> TinyCodecConfig:
    """An autoencoder of one block a level, eight pixels a latent cell."""
    from crafts.model.config import TinyCodecConfig

    return TinyCodecConfig(
        encoder_width=width,
        decoder_width=width,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=channels,
    )


def tiny_denoiser_config(size: int = 32) -> DenoiserConfig:
    """A denoiser of two levels for images of ``size`` px by :func:`tiny_codec_config`."""
    from crafts.model.config import DenoiserConfig

    return DenoiserConfig(
        sample_size=size // 8,
        channels=4,
        block_out_channels=(16, 32),
        attention=(False, True),
        num_heads=2,
        cross_attention_dim=16,
        norm_num_groups=8,
    )


def write_tiny_model(folder: Path, *, size: int = 32, seed: int = 0) -> Path:
    """Write a whole checkpoint folder of very small networks with random weights.

    Args:
        folder: new.
        size: edge of its images in pixels, a multiple of 16.
        seed: of the weights.

    Returns:
        The folder.
    """
    import tempfile

    import torch

    from crafts.model.bundle import Bundle, save_bundle
    from crafts.model.codec import build_codec
    from crafts.model.config import ScheduleConfig, TextConfig
    from crafts.model.denoiser import build_denoiser
    from crafts.model.schedule import build_schedule
    from crafts.model.text import TextConditioner, build_text_encoder, train_tokenizer

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as words:
        torch.manual_seed(seed)
        tokenizer = train_tokenizer([WORDS], 600, Path(words))
        text = TextConfig(width=16, num_layers=1, num_heads=2, intermediate=32)
        bundle = Bundle(
            codec=build_codec(tiny_codec_config()),
            text=TextConditioner(tokenizer, build_text_encoder(text, tokenizer)),
            denoiser=build_denoiser(tiny_denoiser_config(size)),
            schedule=build_schedule(ScheduleConfig()),
            licence="Apache-2.0",
        )
        save_bundle(bundle, folder, card="---\nlicense: apache-2.0\n---\nRandom weights.\n")
    return folder
