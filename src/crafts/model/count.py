"""What a training step costs, counted from the configuration before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from crafts.model.codec import KLCodecConfig, TinyCodecConfig, build_codec
from crafts.model.denoiser import DenoiserConfig, build_denoiser, count_parameters
from crafts.model.text import CHUNK_LENGTH, TextConfig

SD15_VOCABULARY = 49408
Countable = DenoiserConfig | TinyCodecConfig | KLCodecConfig | TextConfig
_FLOAT = 4


@dataclass(frozen=True)
class Cost:
    """Size and cost of one network in one optimizer step; bytes for one process.

    Attributes:
        parameters: number of weights.
        forward_flops: of one micro batch, a multiply-add counted as two.
        step_flops: forward and backward (and recomputation) of all micro batches of a step.
        weights: bytes of the float32 weights.
        gradients: bytes of their gradients.
        moments: bytes of AdamW's two moments.
        ema: bytes of the averaged weights.
        activations: bytes that autograd keeps of one micro batch, attention fused.
    """

    parameters: int
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

    def hours(self, num_steps: int, flops_per_second: float) -> float:
        """Hours of ``num_steps`` steps where ``flops_per_second`` is reached in practice."""
        return num_steps * self.step_flops / flops_per_second / 3600

    def __add__(self, other: Cost) -> Cost:
        """The cost of two networks in the same step."""
        return Cost(
            *(getattr(self, name) + getattr(other, name) for name in Cost.__dataclass_fields__)
        )


def count_training(
    config: Countable,
    *,
    micro_batch_size: int,
    num_micro_batches: int = 1,
    size: int | None = None,
    frozen: bool = False,
    ema: bool = True,
    bf16: bool = False,
    vocab_size: int = SD15_VOCABULARY,
) -> Cost:
    """Count parameters, operations and memory of a training step, without weights or data.

    Operations are counted on the meta device. Memory of activations is the sum of the distinct
    storages that autograd saves, under fake tensors, where attention is fused as on a GPU.

    Args:
        config: a denoiser, a codec (encoder and decoder) or a text encoder.
        micro_batch_size: samples of one forward pass in one process.
        num_micro_batches: passes accumulated into one step.
        size: latent side of a denoiser, pixels of a codec; by default its sample size, or 64 px
            for a tiny codec.
        frozen: forward only, without gradients, moments, EMA and stored activations.
        ema: whether averaged weights are kept.
        bf16: whether the passes run under bfloat16 autocast.
        vocab_size: of a text encoder.
    """
    with torch.device("meta"):
        module, call = _prepare(config, micro_batch_size, size, vocab_size)
    parameters = count_parameters(module)
    forward = _count(call, backward=False)
    step = forward if frozen else _count(call, backward=True)
    activations = 0 if frozen else _saved_bytes(config, micro_batch_size, size, vocab_size, bf16)
    bytes_trained = 0 if frozen else parameters * _FLOAT
    return Cost(
        parameters=parameters,
        forward_flops=forward,
        step_flops=step * num_micro_batches,
        weights=parameters * _FLOAT,
        gradients=bytes_trained,
        moments=2 * bytes_trained,
        ema=bytes_trained if ema else 0,
        activations=activations,
    )


def _count(call: Callable[[], Tensor], *, backward: bool) -> int:
    with (
        torch.enable_grad() if backward else torch.no_grad(),
        FlopCounterMode(display=False) as counter,
    ):
        output = call()
        if backward:
            output.sum().backward()
    return int(counter.get_total_flops())


def _saved_bytes(
    config: Countable, batch_size: int, size: int | None, vocab_size: int, bf16: bool
) -> int:
    """Bytes of the storages that autograd keeps between forward and backward, weights left out."""
    stored: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        stored.setdefault(
            storage._cdata, storage
        )  # holding it keeps the address from being used again
        return tensor

    autocast: AbstractContextManager[Any] = (
        torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()
    )
    with FakeTensorMode():
        module, call = _prepare(config, batch_size, size, vocab_size)
        own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
        with autocast, saved_tensors_hooks(keep, lambda tensor: tensor):
            output = call()
        total = sum(storage.nbytes() for address, storage in stored.items() if address not in own)
        del output
    return int(total)


def _prepare(
    config: Countable, batch_size: int, size: int | None, vocab_size: int
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """The network in training mode and a forward pass of it, on the ambient device or fake mode."""
    if isinstance(config, DenoiserConfig):
        side = size or config.sample_size
        denoiser = build_denoiser(config).train()
        inputs = {
            "sample": torch.empty(batch_size, config.channels, side, side),
            "timestep": torch.ones(batch_size),
            "encoder_hidden_states": torch.empty(
                batch_size, CHUNK_LENGTH, config.cross_attention_dim
            ),
        }
        return denoiser, lambda: denoiser(**inputs).sample
    if isinstance(config, TextConfig):
        sizes = CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=config.width,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
        )
        encoder = CLIPTextModel(sizes).train()
        ids = torch.zeros(batch_size, CHUNK_LENGTH, dtype=torch.long)
        return encoder, lambda: encoder(ids).last_hidden_state
    codec = build_codec(config)
    side = size or (config.sample_size if isinstance(config, KLCodecConfig) else 64)
    images = torch.empty(batch_size, 3, side, side)
    return codec.module.train(), lambda: codec.decode(codec.encode(images)[0])
