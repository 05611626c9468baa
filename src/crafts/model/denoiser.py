"""The U-Net that predicts noise or velocity, its size, and low-rank adapters for it."""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import nn

from crafts.core.errors import ConfigError
from crafts.model.config import DenoiserConfig

_LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def build_denoiser(config: DenoiserConfig) -> UNet2DConditionModel:
    """A denoiser with random weights.

    ``attention_head_dim`` of diffusers is, for historical reasons, the number of heads: SD-1.5 says
    8 and means heads.
    """
    down = tuple(
        "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in config.attention
    )
    up = tuple(
        "CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(config.attention)
    )
    denoiser = UNet2DConditionModel(
        sample_size=config.sample_size,
        in_channels=config.channels,
        out_channels=config.channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        attention_head_dim=config.num_heads,
        cross_attention_dim=config.cross_attention_dim,
        norm_num_groups=config.norm_num_groups,
    )
    if config.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    return denoiser


def count_parameters(module: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of parameters, tied ones once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def add_lora(
    denoiser: UNet2DConditionModel, *, rank: int, alpha: float | None = None
) -> UNet2DConditionModel:
    """Freeze the denoiser and add trainable low-rank adapters to its attention, in place.

    Args:
        denoiser: its own weights no longer get gradients.
        rank: of the adapters, >= 1.
        alpha: the adapters' output is scaled by ``alpha / rank``; ``rank`` by default.

    Raises:
        ConfigError: the package ``peft`` is not installed, or the rank is below 1.
    """
    if rank < 1:
        raise ConfigError(
            "lora: rank", came=str(rank), allowed="an integer >= 1", do="Use for example 16."
        )
    require_peft()
    from peft import LoraConfig

    denoiser.requires_grad_(False)
    denoiser.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=alpha or rank,
            target_modules=list(_LORA_TARGETS),
            init_lora_weights="gaussian",
        )
    )
    return denoiser


def require_peft() -> None:
    """Refuse to go on without the package that adapters need.

    Raises:
        ConfigError: says the command that adds it.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise ConfigError(
            "lora",
            came="the package peft is not installed",
            allowed="crafts with the extra `lora`",
            do="Run: pip install 'crafts[lora]'.",
        ) from None


def merge_lora(denoiser: UNet2DConditionModel) -> UNet2DConditionModel:
    """Fold the adapters of :func:`add_lora` into the weights and remove them, in place."""
    denoiser.fuse_lora()
    denoiser.unload_lora()
    return denoiser
