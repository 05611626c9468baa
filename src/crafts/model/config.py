"""Sizes of the networks; free of them, so that a recipe is read without loading torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from crafts.controls.nuclei import CLASSES
from crafts.core.config import Config


class TinyCodecConfig(Config):
    """A norm-free, deterministic ``AutoencoderTiny``; one width per half, as its layout demands."""

    kind: Literal["tiny"] = "tiny"
    encoder_width: int = Field(default=48, ge=4, description="channels of every encoder layer")
    decoder_width: int = Field(default=48, ge=4, description="channels of every decoder layer")
    num_encoder_blocks: tuple[int, ...] = Field(default=(1, 3, 3, 3), min_length=2, max_length=6)
    num_decoder_blocks: tuple[int, ...] = Field(default=(3, 3, 3, 1), min_length=2, max_length=6)
    latent_channels: int = Field(default=8, ge=1, le=64)

    @model_validator(mode="after")
    def _same_depth(self) -> TinyCodecConfig:
        if len(self.num_encoder_blocks) != len(self.num_decoder_blocks):
            raise ValueError("as many entries in num_encoder_blocks as in num_decoder_blocks")
        return self


class KLCodecConfig(Config):
    """An ``AutoencoderKL``; the defaults are those of Stable Diffusion 1.5."""

    kind: Literal["kl"] = "kl"
    block_out_channels: tuple[int, ...] = Field(
        default=(128, 256, 512, 512), min_length=1, max_length=6
    )
    layers_per_block: int = Field(default=2, ge=1)
    latent_channels: int = Field(default=4, ge=1, le=64)
    norm_num_groups: int = Field(default=32, ge=1)
    scaling_factor: float = Field(default=0.18215, gt=0, description="latents are multiplied by it")
    sample_size: int = Field(default=512, ge=8, description="training size in pixels")

    @model_validator(mode="after")
    def _groups_divide(self) -> KLCodecConfig:
        if any(width % self.norm_num_groups for width in self.block_out_channels):
            raise ValueError("block_out_channels that are multiples of norm_num_groups")
        return self


CodecConfig = Annotated[TinyCodecConfig | KLCodecConfig, Field(discriminator="kind")]


class ScheduleConfig(Config):
    """Betas in the words of diffusers; the defaults are those of SD-1.5 with v-prediction."""

    num_timesteps: int = Field(default=1000, ge=2)
    beta_start: float = Field(default=0.00085, gt=0, lt=1)
    beta_end: float = Field(default=0.012, gt=0, lt=1)
    beta_schedule: str = Field(
        default="scaled_linear", pattern="^(linear|scaled_linear|squaredcos_cap_v2)$"
    )
    prediction_type: str = Field(default="v_prediction", pattern="^(epsilon|v_prediction|sample)$")
    zero_terminal_snr: bool = Field(
        default=False, description="rescale so that the last timestep is pure noise"
    )

    @model_validator(mode="after")
    def _signal_for_epsilon(self) -> ScheduleConfig:
        if self.zero_terminal_snr and self.prediction_type == "epsilon":
            raise ValueError(
                "v_prediction or sample with zero_terminal_snr, as no clean latents follow from "
                "the noise alone"
            )
        return self


class DenoiserConfig(Config):
    """A ``UNet2DConditionModel``; the defaults are those of ``crafts-mini``."""

    sample_size: int = Field(
        default=32, ge=4, description="latent side at which it makes images by default"
    )
    channels: int = Field(default=8, ge=1, description="latent channels, in and out")
    block_out_channels: tuple[int, ...] = Field(default=(64, 96, 160), min_length=1, max_length=6)
    attention: tuple[bool, ...] = Field(
        default=(False, True, True), description="cross-attention per level, top first"
    )
    layers_per_block: int = Field(default=1, ge=1, le=4)
    num_heads: int = Field(default=4, ge=1, description="attention heads at every level")
    cross_attention_dim: int = Field(default=160, ge=8, description="width of the text tokens")
    norm_num_groups: int = Field(default=16, ge=1)
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations to save memory"
    )

    @model_validator(mode="after")
    def _fits(self) -> DenoiserConfig:
        if len(self.attention) != len(self.block_out_channels):
            raise ValueError("one entry of attention per entry of block_out_channels")
        if any(
            width % self.norm_num_groups or width % self.num_heads
            for width in self.block_out_channels
        ):
            raise ValueError(
                "block_out_channels that are multiples of norm_num_groups and of num_heads"
            )
        if self.sample_size % 2 ** (len(self.block_out_channels) - 1):
            raise ValueError("a sample_size that halves evenly at every level")
        return self


SD15_DENOISER = DenoiserConfig(
    sample_size=64,
    channels=4,
    block_out_channels=(320, 640, 1280, 1280),
    attention=(True, True, True, False),
    layers_per_block=2,
    num_heads=8,
    cross_attention_dim=768,
    norm_num_groups=32,
)


CHUNK_LENGTH = 77


class TextConfig(Config):
    """A ``CLIPTextModel``; vocabulary and special ids come from the tokenizer."""

    width: int = Field(default=160, ge=8, description="channels of a token")
    num_layers: int = Field(default=4, ge=1)
    num_heads: int = Field(default=4, ge=1)
    intermediate: int = Field(default=640, ge=8, description="channels inside the MLP")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="of the attention weights while training"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> TextConfig:
        if self.width % self.num_heads:
            raise ValueError("a width that is a multiple of num_heads")
        return self


SD15_TEXT = TextConfig(width=768, num_layers=12, num_heads=12, intermediate=3072)


class ResNetVision(Config):
    """A ResNet with batch normalisation, which a few thousand tiles are enough for."""

    kind: Literal["resnet"] = "resnet"
    embedding_size: int = Field(default=32, ge=4, description="channels of the stem")
    hidden_sizes: tuple[int, ...] = Field(default=(32, 64, 128, 160), min_length=1)
    depths: tuple[int, ...] = Field(default=(1, 1, 2, 1), min_length=1)

    @model_validator(mode="after")
    def _same_length(self) -> ResNetVision:
        if len(self.depths) != len(self.hidden_sizes):
            raise ValueError("as many depths as hidden_sizes")
        return self


class RegNetVision(Config):
    """A RegNet-Y: grouped convolutions with squeeze and excitation."""

    kind: Literal["regnet"] = "regnet"
    embedding_size: int = Field(default=32, ge=4, description="channels of the stem")
    hidden_sizes: tuple[int, ...] = Field(default=(48, 96, 160, 256), min_length=1)
    depths: tuple[int, ...] = Field(default=(1, 2, 3, 1), min_length=1)
    groups_width: int = Field(default=16, ge=1, description="channels of a group")

    @model_validator(mode="after")
    def _fits(self) -> RegNetVision:
        if len(self.depths) != len(self.hidden_sizes):
            raise ValueError("as many depths as hidden_sizes")
        if any(width % self.groups_width for width in self.hidden_sizes):
            raise ValueError("hidden_sizes that are multiples of groups_width")
        return self


class ViTVision(Config):
    """A vision transformer, for larger sets of tiles."""

    kind: Literal["vit"] = "vit"
    width: int = Field(default=192, ge=8)
    num_layers: int = Field(default=6, ge=1)
    num_heads: int = Field(default=3, ge=1)
    intermediate: int = Field(default=768, ge=8)
    patch_size: int = Field(default=16, ge=2, description="pixels")

    @model_validator(mode="after")
    def _heads_divide(self) -> ViTVision:
        if self.width % self.num_heads:
            raise ValueError("a width that is a multiple of num_heads")
        return self


VisionConfig = Annotated[ResNetVision | RegNetVision | ViTVision, Field(discriminator="kind")]


class DualEncoderConfig(Config):
    """An image and a text encoder with linear projections into one space."""

    vision: VisionConfig = ResNetVision()
    text: TextConfig = TextConfig()
    projection_dim: int = Field(default=128, ge=2)
    image_size: int = Field(
        default=128, ge=32, description="pixels; images are resized to it inside"
    )


KINDS = ("nuclei", "fluorescence")


MINI_WIDTHS = (8, 16, 32, 64)


class DiscriminatorConfig(Config):
    """A small convolutional net that judges overlapping squares of an image."""

    width: int = Field(32, gt=0, description="channels of the first layer; doubled once")
    num_downsamples: int = Field(2, ge=1, le=4, description="halvings of the edge")


NORM_GROUP = 8  # channels that are normalised together


class SegmenterConfig(Config):
    """The network; 0.4 M parameters as it stands."""

    widths: tuple[int, ...] = Field(
        (16, 32, 64, 96), min_length=2, max_length=6, description="channels at 1/2, 1/4, ..."
    )
    classes: tuple[str, ...] = Field(
        ("epithelial", "lymphocyte", "plasma", "neutrophil", "eosinophil", "connective"),
        description="classes that are told apart; none: nuclei only",
    )

    @field_validator("widths")
    @classmethod
    def _whole_groups(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < NORM_GROUP or width % NORM_GROUP for width in widths):
            raise ValueError(f"widths must be multiples of {NORM_GROUP}")
        return widths

    @field_validator("classes")
    @classmethod
    def _known_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        allowed = CLASSES[1:-1]
        if set(classes) - set(allowed) or len(set(classes)) < len(classes):
            raise ValueError(f"each at most once, of {', '.join(allowed)}")
        return classes


UNKNOWN = "unknown"

ConditionKind = Literal["scale", "region", "reference"]
"""``scale``: microns per pixel, one number > 0. ``region``: left and top of the picture's field in
a larger field, and its width, all as fractions of that field's width in [0, 1]. ``reference``: what
an encoder says of another picture (:mod:`crafts.model.references`)."""
