"""What a recipe will cost, counted before anything is allocated."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from crafts.core.runtime import pick_device
from crafts.model.codec import KLCodecConfig
from crafts.model.count import Cost, count_training
from crafts.model.denoiser import SD15_DENOISER, DenoiserConfig
from crafts.model.text import SD15_TEXT
from crafts.training.denoiser import DenoiserStage
from crafts.training.sources import LatentData
from crafts.training.speed import measure_peak
from crafts.training.train import TrainConfig

A100_PEAK = 312e12  # FLOP/s, dense bf16, by its data sheet


def describe_cost(config: TrainConfig) -> list[str]:
    """Lines with parameters, operations, memory and hours of a recipe; [] if nothing is counted.

    The denoiser's operations and stored activations are counted on empty tensors. Hours follow
    from the operations and the peak of this machine, measured by a matrix product: what training
    reaches is printed by the run itself as its share of that peak.
    """
    if not isinstance(config.stage, DenoiserStage):
        return []
    stage, known = config.stage, _denoiser_config(config.stage)
    denoiser = known or SD15_DENOISER
    micro = config.micro_batch_size or config.global_batch_size
    passes = config.global_batch_size // micro
    cost = count_training(
        denoiser.model_copy(update={"gradient_checkpointing": stage.gradient_checkpointing}),
        micro_batch_size=micro,
        num_micro_batches=passes,
        size=stage.crop,
        bf16=config.precision == "bf16",
    )
    online = (
        0.0
        if isinstance(config.data, LatentData)
        else _online_flops(denoiser, config.global_batch_size)
    )
    text = (
        count_training(SD15_TEXT, micro_batch_size=1, frozen=True).forward_flops
        if known is None
        else 0
    )
    total = cost.step_flops + online + text * config.global_batch_size
    trained = _trained(stage, cost)
    lines = [
        f"denoiser: {cost.parameters / 1e6:.2f} M parameters, {trained / 1e6:.2f} M of them trained"
        + (
            ""
            if known
            else f" ({stage.init_from!r} is not here: counted with the shapes of SD-1.5)"
        ),
        f"operations: {cost.forward_flops / micro / 1e9:.1f} GFLOP per sample forward, "
        f"{total / 1e12:.2f} TFLOP per step",
        f"memory per process: {_memory(cost, trained) / 2**30:.1f} GiB "
        f"(weights {cost.weights / 2**30:.1f}, gradients, AdamW and average "
        f"{4 * 4 * trained / 2**30:.1f}, activations of a micro-batch of {micro} "
        f"{cost.activations / 2**30:.1f})",
    ]
    return lines + _hours(config, total)


def _memory(cost: Cost, trained: float) -> float:
    return cost.weights + 4 * 4 * trained + cost.activations


def _hours(config: TrainConfig, flops: float) -> list[str]:
    peak = measure_peak(pick_device(config.device))
    here = config.num_steps * flops / peak / 3600
    card = config.num_steps * flops / (A100_PEAK * 0.4) / 3600
    return [
        f"hours for {config.num_steps} steps: {here:.1f} at this machine's whole measured peak "
        f"({peak / 1e12:.2f} TFLOP/s), "
        f"{here / 0.4:.1f} at 40 % of it; {card:.1f} on one A100 at 40 % of its 312 TFLOP/s in bf16"
    ]


def _online_flops(denoiser: DenoiserConfig, samples: int) -> float:
    """Encoding images as they come, without cached latents, counted for the codec of SD-1.5."""
    if denoiser.channels != 4:
        return 0.0
    codec = KLCodecConfig(sample_size=8 * denoiser.sample_size)
    both = count_training(
        codec, micro_batch_size=1, frozen=True, size=codec.sample_size
    ).forward_flops
    return (
        samples * both * 0.31
    )  # the encoder's share of encoder and decoder: 1,117 of 3,631 GFLOP at 512 px


def _denoiser_config(stage: DenoiserStage) -> DenoiserConfig | None:
    """Sizes from the recipe or from the checkpoint on disk; None when that is not here."""
    if stage.denoiser:
        return stage.denoiser
    from crafts.core.errors import ConfigError
    from crafts.model.bundle import resolve_model

    try:
        folder = resolve_model(stage.init_from or "")
    except ConfigError:
        return None
    return _read_denoiser(folder / "unet" / "config.json")


def _read_denoiser(path: Path) -> DenoiserConfig:
    values = json.loads(path.read_text())
    return DenoiserConfig(
        sample_size=values["sample_size"],
        channels=values["in_channels"],
        block_out_channels=tuple(values["block_out_channels"]),
        attention=tuple(name.startswith("CrossAttn") for name in values["down_block_types"]),
        layers_per_block=values["layers_per_block"],
        num_heads=values["attention_head_dim"],
        cross_attention_dim=values["cross_attention_dim"],
        norm_num_groups=values["norm_num_groups"],
    )


def _trained(stage: DenoiserStage, cost: Cost) -> float:
    """Parameters that get a gradient: all, or those of the low-rank additions."""
    if stage.lora is None:
        return float(cost.parameters)
    from crafts.model.denoiser import add_lora, build_denoiser, count_parameters

    with torch.device("meta"):
        denoiser = build_denoiser(_denoiser_config(stage) or SD15_DENOISER)
        add_lora(denoiser, rank=stage.lora.rank, alpha=stage.lora.alpha)
    return float(count_parameters(denoiser, trainable_only=True))
