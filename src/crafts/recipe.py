"""Recipes: the YAML of a training run, its header, and what a run will cost, counted beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crafts.core.config import load_config

if TYPE_CHECKING:
    import torch

    from crafts.training.denoiser import DenoiserStage
    from crafts.training.train import TrainConfig

USUAL_SHARE = 0.3
"""Share of a machine's matrix-product peak that convolutional training usually reaches."""


@dataclass(frozen=True)
class Cost:
    """What a denoiser run takes, counted on the very network without running it.

    Attributes:
        parameters: of the denoiser.
        trained: parameters that get a gradient.
        step_flops: floating-point operations of one optimizer step; a multiply-add is two.
        state_bytes: weights of the denoiser; gradients, average and moments of what is trained.
        activation_bytes: what the backward pass of one micro-batch needs kept; with gradient
            checkpointing without those of the block that is computed again at a time.
        num_steps: of the run.
    """

    parameters: int
    trained: int
    step_flops: int
    state_bytes: int
    activation_bytes: int
    num_steps: int

    def lines(self, peak: float) -> list[str]:
        """Plain lines; ``peak`` is the machine's measured FLOP/s."""
        hours = self.step_flops * self.num_steps / peak / 3600
        gib = (self.state_bytes / 2**30, self.activation_bytes / 2**30)
        return [
            f"parameters: {self.parameters / 1e6:.2f} M, trained {self.trained / 1e6:.2f} M",
            f"operations: {self.step_flops / 1e12:.4g} TFLOP a step",
            f"memory: {gib[0]:.2f} GiB state + {gib[1]:.2f} GiB activations of a micro-batch "
            "(on top come codec, text encoder, the allocator's own need and, with gradient "
            "checkpointing, the block in work)",
            f"time: {hours / USUAL_SHARE:.3g} h at {USUAL_SHARE:.0%} of the {peak / 1e12:.3g} "
            f"TFLOP/s measured here; never under {hours:.3g} h",
        ]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe.

    Args:
        path: a YAML file.
        overrides: ``a.b=c`` strings.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown or out of bounds.
    """
    from crafts.training.train import TrainConfig

    return load_config(TrainConfig, Path(path), overrides)


def read_header(path: Path) -> str:
    """The comment lines that a recipe begins with, without their marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines)


def describe_cost(config: TrainConfig) -> list[str]:
    """The cost of a recipe on this machine, in lines.

    A model that is not on this disk is counted at the size of Stable Diffusion 1.5, and so it says.
    """
    from crafts.core.errors import ConfigError
    from crafts.core.runtime import pick_device
    from crafts.model.bundle import resolve_model
    from crafts.model.denoiser import SD15_DENOISER
    from crafts.training.denoiser import DenoiserStage
    from crafts.training.speed import measure_peak

    if not isinstance(config.stage, DenoiserStage):
        return [f"cost: counted for denoisers only; this recipe trains kind {config.stage.kind!r}"]
    notes = []
    source = config.stage.init_from or ""
    if not config.stage.denoiser:
        try:
            resolve_model(source)
        except ConfigError:
            notes = [f"model {source!r} is not here: counted as Stable Diffusion 1.5"]
            stage = config.stage.model_copy(update={"denoiser": SD15_DENOISER})
            config = config.model_copy(update={"stage": stage})
    return notes + count_cost(config).lines(measure_peak(pick_device(config.device)))


def count_cost(config: TrainConfig) -> Cost:
    """Count a denoiser run on tensors that have shapes and no content.

    Args:
        config: a recipe whose stage is a denoiser.

    Raises:
        ConfigError: the model that the recipe starts from is neither here nor in the recipe.
        TypeError: the stage is of another kind.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from crafts.training.denoiser import DenoiserStage

    if not isinstance(config.stage, DenoiserStage):
        raise TypeError("count_cost takes a recipe of kind denoiser")
    micro = config.micro_batch_size or config.global_batch_size
    network = _meta_denoiser(config.stage)
    parameters = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    flops = _count_operations(network, config.stage, micro)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
    # on the meta device attention keeps its whole matrix, which no device that trains does
    with FakeTensorMode(allow_non_fake_inputs=True), mixed:
        activations = _count_kept(network.to_empty(device="cpu"), config.stage, micro)
    return Cost(
        parameters=parameters,
        trained=trained,
        step_flops=flops * config.global_batch_size // micro,
        state_bytes=4 * parameters + (4 + 4 + 8) * trained,
        activation_bytes=activations,
        num_steps=config.num_steps,
    )


def _meta_denoiser(stage: DenoiserStage) -> Any:
    """The network of a stage without its weights, frozen and adapted as training would do it."""
    import torch

    from crafts.model.bundle import load_bundle
    from crafts.model.denoiser import add_lora, build_denoiser

    if stage.denoiser:
        with torch.device("meta"):
            network = build_denoiser(stage.denoiser)
    else:
        network = load_bundle(stage.init_from or "").denoiser.to("meta")
    network.requires_grad_(True)
    if stage.lora:
        add_lora(network, rank=stage.lora.rank, alpha=stage.lora.alpha)
        network.to("meta")
    if stage.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    return network.train()


def _forward(network: Any, stage: DenoiserStage, micro: int, device: str) -> torch.Tensor:
    """The sum of a prediction for inputs of the shapes of a micro-batch."""
    import torch

    shape = network.config
    side = min(stage.crop or shape.sample_size, shape.sample_size)
    x_t = torch.empty(micro, shape.in_channels, side, side, device=device)
    t = torch.empty(micro, device=device)
    tokens = torch.empty(micro, 77 * stage.max_chunks, shape.cross_attention_dim, device=device)
    return network(x_t, t, encoder_hidden_states=tokens, return_dict=False)[0].sum()


def _count_operations(network: Any, stage: DenoiserStage, micro: int) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _forward(network, stage, micro, "meta").backward()
    return int(counter.get_total_flops())


def _count_kept(network: Any, stage: DenoiserStage, micro: int) -> int:
    """Bytes kept for the backward pass: not the weights, but their copies in half precision."""
    import torch

    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _forward(network, stage, micro, "cpu")
    return sum(v.untyped_storage().nbytes() for k, v in kept.items() if k not in weights)
