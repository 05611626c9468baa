"""A denoiser of diffusers as a plain function, without work that is done twice.

Under guidance a picture goes through the network with two texts. All that comes before the first
attention to text is the same for both and is computed once, and so are keys and values of a text,
which no step changes. The numbers are those of the network's own ``forward``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from crafts.conditions.condition import Bound, additions, extend
from crafts.sampling.guidance import TextDenoiser

_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"}
_BLOCKS |= {"UNetMidBlock2DCrossAttn"}
_ABSENT = (  # parts of a U-Net that the models of this house do not have
    *("center_input_sample", "class_embed_type", "addition_embed_type", "encoder_hid_dim_type"),
    *("time_embedding_act_fn", "resnet_skip_time_act", "num_class_embeds"),
)


def network_denoiser(network: nn.Module, bound: Sequence[Bound] = ()) -> TextDenoiser:
    """A diffusers U-Net as a plain function; works in its type, answers in the caller's.

    Args:
        network: the U-Net.
        bound: what the batch to come is told beside its text.
    """
    parameter = next(network.parameters())
    dtype, on_cpu = parameter.dtype, parameter.device.type == "cpu"
    layout = torch.channels_last if on_cpu else torch.preserve_format
    if on_cpu:  # convolutions on the CPU are faster so; the numbers of the weights stay
        with torch.inference_mode(False):  # weights laid out anew in it could never be trained
            network.to(memory_format=layout)  # type: ignore[call-overload]
    known = is_known(network)
    if known:
        _remember_texts(network)
    told: list[Tensor] = []  # the last text, and the same with what is told beside it

    def denoiser(x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        if not told or told[0] is not tokens:
            told[:] = tokens, extend(tokens.to(dtype), bound)
        text, inputs = told[1], x_t.to(dtype=dtype, memory_format=layout)
        times = len(text) // len(inputs)
        added = additions(bound, _several(inputs, times), t, text) if bound else {}
        if known:
            return forward(network, inputs, t, text, added).to(x_t.dtype)
        many = _several(inputs, times)
        answer = network(many, t, encoder_hidden_states=text, return_dict=False, **added)
        return answer[0].to(x_t.dtype)

    return denoiser


def is_known(network: Any) -> bool:
    """Whether :func:`forward` does what the network's own does."""
    if type(network).__name__ != "UNet2DConditionModel":
        return False
    blocks = [*network.down_blocks, *network.up_blocks, network.mid_block]
    return {type(block).__name__ for block in blocks} <= _BLOCKS and not any(
        network.config.get(name) for name in _ABSENT
    )


def forward(network: Any, x_t: Tensor, t: Tensor, tokens: Tensor, added: dict[str, Any]) -> Tensor:
    """Predictions [kB, C, h, w] of a U-Net for B pictures, each with k texts.

    Args:
        network: one that :func:`is_known`.
        x_t: [B, C, h, w], h and w multiples of what the network halves them by.
        t: [].
        tokens: [kB, T, D]; all pictures with their first texts, then with their second ones.
        added: residuals of :func:`crafts.conditions.condition.additions`.
    """
    times = len(tokens) // len(x_t)
    time = network.time_embedding(network.get_time_embed(sample=x_t, timestep=t))
    hidden = network.conv_in(x_t)
    skips = [hidden]
    for block in network.down_blocks:
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            hidden = resnet(hidden, time)
            if attention is not None:
                if len(hidden) < len(tokens):
                    hidden, time, *skips = (_several(x, times) for x in (hidden, time, *skips))
                hidden = attention(hidden, encoder_hidden_states=tokens, return_dict=False)[0]
            skips.append(hidden)
        for downsampler in block.downsamplers or ():
            hidden = downsampler(hidden)
            skips.append(hidden)
    if added:
        more = added["down_block_additional_residuals"]
        skips = [a + b for a, b in zip(skips, more, strict=True)]
    hidden = network.mid_block(hidden, time, encoder_hidden_states=tokens)
    if added:
        hidden = hidden + added["mid_block_additional_residual"]
    for block in network.up_blocks:
        number = len(block.resnets)
        skips, taken = skips[:-number], tuple(skips[-number:])
        text = {"encoder_hidden_states": tokens} if hasattr(block, "attentions") else {}
        hidden = block(hidden, res_hidden_states_tuple=taken, temb=time, **text)
    if network.conv_norm_out:
        hidden = network.conv_act(network.conv_norm_out(hidden))
    prediction: Tensor = network.conv_out(hidden)
    return prediction


def _several(values: Tensor, times: int) -> Tensor:
    """The rows so many times over, in the memory format they have."""
    return torch.cat([values] * times)


def _remember_texts(network: Any) -> None:
    """Let attention to text keep keys and values; where it is of an unusual kind, nothing is."""
    for name, module in network.named_modules():
        if name.endswith("attn2") and _is_plain(module):
            module.set_processor(_RememberedText())


def _is_plain(attention: Any) -> bool:
    unusual = (attention.spatial_norm, attention.group_norm, attention.norm_q, attention.norm_k)
    return (
        type(attention.processor).__name__ == "AttnProcessor2_0"
        and not any(unusual)
        and not attention.norm_cross
        and not attention.residual_connection
        and attention.rescale_output_factor == 1
    )


class _RememberedText:
    """Attention to text whose keys and values are computed when the text is another one."""

    def __init__(self) -> None:
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        text = encoder_hidden_states
        if self.last is not None and self.last[0] is text:
            _, key, value = self.last
        else:
            key, value = (_heads(project(text), attn.heads) for project in (attn.to_k, attn.to_v))
            if torch.is_inference_mode_enabled():  # in training the next step has other weights
                self.last = text, key, value
        query = _heads(attn.to_q(hidden_states), attn.heads)
        found = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        joined = found.transpose(1, 2).flatten(2).to(query.dtype)
        out: Tensor = attn.to_out[1](attn.to_out[0](joined))
        return out


def _heads(values: Tensor, number: int) -> Tensor:
    """[B, T, D] -> [B, number, T, D / number]."""
    return values.unflatten(2, (number, -1)).transpose(1, 2)
