"""What a training step costs, counted from the configuration before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from crafts.model.codec import Codec, build_codec
from crafts.model.config import (
    CHUNK_LENGTH,
    DenoiserConfig,
    DualEncoderConfig,
    KLCodecConfig,
    TextConfig,
    TinyCodecConfig,
)
from crafts.model.denoiser import add_lora, build_denoiser, count_parameters
from crafts.model.encoders import build_dual_encoder
from crafts.model.files.folders import read_json
from crafts.model.files.guards import check_config

SD15_VOCABULARY = 49408
Countable = DenoiserConfig | TinyCodecConfig | KLCodecConfig | TextConfig | Path
_FLOAT = 4
_TINY_SIDE = 64  # pixels; a tiny codec names no size of its own


@dataclass(frozen=True)
class Cost:
    """Size and cost of one network in the passes of one micro batch; bytes for one process.

    Attributes:
        parameters: number of weights.
        trained: those among them that get a gradient.
        forward_flops: a multiply-add counted as two.
        step_flops: forward and backward, and what is computed again.
        weights: bytes of the float32 weights.
        gradients: bytes of the gradients.
        moments: bytes of AdamW's two moments.
        ema: bytes of the averaged weights.
        activations: bytes that autograd keeps, attention fused.
    """

    parameters: int
    trained: int
    forward_flops: int
    step_flops: int
    weights: int
    gradients: int
    moments: int
    ema: int
    activations: int

    @property
    def memory(self) -> int:
        """Sum of all bytes; working space of kernels comes on top."""
        return self.weights + self.gradients + self.moments + self.ema + self.activations


@dataclass(frozen=True)
class Passes:
    """What is run through a network, and what of it is trained.

    Attributes:
        batch_size: samples of one forward pass in one process.
        size: latent side of a denoiser, pixels of a codec; by default its sample size, or 64 px
            for a tiny codec.
        num_tokens: conditioning tokens that a denoiser sees.
        part: "all"; of a codec "encoder" (no decoding) or "decoder" (the encoder is frozen).
        frozen: forward only, without gradients, moments, average and stored activations.
        lora_rank: a denoiser's own weights are frozen, and low-rank additions trained.
        checkpointing: a denoiser's activations are computed again in the backward pass.
        bf16: under bfloat16 autocast.
        vocab_size: of a text encoder that is given as ``TextConfig``.
        control: channels of the maps and widths of a ControlNet that is trained beside a denoiser,
            which is frozen.
    """

    batch_size: int = 1
    size: int | None = None
    num_tokens: int = CHUNK_LENGTH
    part: Literal["all", "encoder", "decoder"] = "all"
    frozen: bool = False
    lora_rank: int | None = None
    checkpointing: bool = False
    bf16: bool = False
    vocab_size: int = SD15_VOCABULARY
    control: tuple[int, tuple[int, ...]] | None = None


def count_training(config: Countable, passes: Passes) -> Cost:
    """Count parameters, operations and memory, without weights or data.

    Operations are counted on the meta device. Memory of activations is the sum of the distinct
    storages that autograd saves, under fake tensors, where attention is fused as on a GPU.

    Args:
        config: a denoiser, a codec, a text encoder, or the folder of one with its ``config.json``.
        passes: what is run through it.

    Raises:
        ConfigError: the folder has no ``config.json``, or low-rank additions lack their package.
    """
    with torch.device("meta"):
        module = _build(config, passes)
        call = _pass(module, passes)
    parameters, trained = count_parameters(module), 0
    forward = step = _count(call, backward=False)
    activations = 0
    if not passes.frozen:
        trained = count_parameters(module, trainable_only=True)
        step = _count(call, backward=True)
        activations = _saved_bytes(module, passes)
    return Cost(
        parameters=parameters,
        trained=trained,
        forward_flops=forward,
        step_flops=step,
        weights=parameters * _FLOAT,
        gradients=trained * _FLOAT,
        moments=2 * trained * _FLOAT,
        ema=trained * _FLOAT,
        activations=activations,
    )


def count_dual_encoder(config: DualEncoderConfig, vocab_size: int) -> int:
    """Parameters of a dual encoder whose tokenizer has ``vocab_size`` tokens."""
    tokenizer = CLIPTokenizer()  # only begin and end; each further token is one more embedding
    with torch.device("meta"):
        least = count_parameters(build_dual_encoder(config, tokenizer))
    return least + (vocab_size - len(tokenizer)) * config.text.width


def _count(call: Callable[[], Tensor], *, backward: bool) -> int:
    with (
        torch.enable_grad() if backward else torch.no_grad(),
        FlopCounterMode(display=False) as counter,
    ):
        output = call()
        if backward:
            output.sum().backward()
    return int(counter.get_total_flops())


def _saved_bytes(module: nn.Module, passes: Passes) -> int:
    """Bytes of the storages that autograd keeps between forward and backward, weights left out.

    The network comes on the meta device, where autocast does nothing, and is moved to fake tensors.
    """
    stored: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        stored.setdefault(
            storage._cdata, storage
        )  # holding it keeps the address from being used again
        return tensor

    autocast: AbstractContextManager[Any] = (
        torch.autocast("cpu", dtype=torch.bfloat16) if passes.bf16 else nullcontext()
    )
    with FakeTensorMode():
        for part in module.modules():
            for name, value in part.named_parameters(recurse=False):
                fake = torch.empty(value.shape, dtype=value.dtype)
                part.register_parameter(name, nn.Parameter(fake, value.requires_grad))
            for name, buffer in part.named_buffers(recurse=False):
                part.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))
        call = _pass(module, passes)
        own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
        with autocast, saved_tensors_hooks(keep, lambda tensor: tensor):
            output = call()
        total = sum(storage.nbytes() for address, storage in stored.items() if address not in own)
        del output
    return int(total)


def _build(config: Countable, passes: Passes) -> nn.Module:
    """The network in training mode; what is frozen asks for no gradient."""
    module = _read(config) if isinstance(config, Path) else _fresh(config, passes.vocab_size)
    if isinstance(module, UNet2DConditionModel):
        if passes.lora_rank:
            add_lora(module, rank=passes.lora_rank)
        if passes.checkpointing:
            module.enable_gradient_checkpointing()
        if passes.control:
            return _Steered(module, passes).train()
    elif passes.part == "decoder":
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name.startswith(("decoder", "post_quant_conv")))
    return module.train()


class _Steered(nn.Module):
    """A frozen denoiser with the ControlNet that is trained beside it."""

    def __init__(self, denoiser: UNet2DConditionModel, passes: Passes) -> None:
        super().__init__()
        assert passes.control is not None
        channels, widths = passes.control
        self.denoiser = denoiser.requires_grad_(False)
        self.control = ControlNetModel.from_unet(
            denoiser,
            load_weights_from_unet=False,
            conditioning_channels=channels,
            conditioning_embedding_out_channels=widths,
        )
        if passes.checkpointing:
            self.control.enable_gradient_checkpointing()

    @property
    def config(self) -> Any:
        return self.denoiser.config

    def forward(self, maps: Tensor, **inputs: Tensor) -> Any:
        down, middle = self.control(**inputs, controlnet_cond=maps, return_dict=False)
        added = {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }
        return self.denoiser(**inputs, **added)


def _read(folder: Path) -> Any:
    values = read_json(folder / "config.json")
    check_config(values, folder / "config.json")
    kinds = (UNet2DConditionModel, AutoencoderKL, AutoencoderTiny)
    kind = {kind.__name__: kind for kind in kinds}.get(values.get("_class_name", ""))
    return kind.from_config(values) if kind else CLIPTextModel(CLIPTextConfig(**values))


def _fresh(
    config: DenoiserConfig | TinyCodecConfig | KLCodecConfig | TextConfig, vocab_size: int
) -> Any:
    if isinstance(config, DenoiserConfig):
        return build_denoiser(config)
    if not isinstance(config, TextConfig):
        return build_codec(config).module
    sizes = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=config.width,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
    )
    return CLIPTextModel(sizes)


def _pass(module: Any, passes: Passes) -> Callable[[], Tensor]:
    """A forward pass with inputs on the ambient device or in the ambient fake mode."""
    number, values = passes.batch_size, module.config
    if isinstance(module, UNet2DConditionModel | _Steered):
        side = passes.size or values.sample_size
        inputs = {
            "sample": torch.empty(number, values.in_channels, side, side),
            "timestep": torch.ones(number),
            "encoder_hidden_states": torch.empty(
                number, passes.num_tokens, values.cross_attention_dim
            ),
        }
        if passes.control:
            channels, widths = passes.control
            edge = side * 2 ** (len(widths) - 1)
            inputs["maps"] = torch.empty(number, channels, edge, edge)
        return lambda: module(**inputs).sample
    if isinstance(module, CLIPTextModel):
        ids = torch.zeros(number, CHUNK_LENGTH, dtype=torch.long)
        return lambda: module(ids).last_hidden_state
    codec = Codec(module)
    side = passes.size or values.get("sample_size") or _TINY_SIDE
    images = torch.empty(number, 3, side, side)
    if passes.part == "encoder":
        return lambda: codec.encode(images)[0]
    return lambda: codec.decode(codec.encode(images)[0])
