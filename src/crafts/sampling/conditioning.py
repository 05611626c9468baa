"""Prompts to conditioning. Batch neighbours never change what an image is told."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from crafts.core.errors import ConfigError
from crafts.sampling.control import ControlUse


@dataclass(frozen=True)
class Draw:
    """One image to be made; equal draws of one model give equal images.

    Attributes:
        prompt: text to follow.
        seed: the row's seed; together with ``k`` and ``row`` it decides the initial noise.
        k: index of the image among those of its row, from 0.
        negative_prompt: text that takes the place of the unconditional; "" is the unconditional.
        guidance_scale: 1.0 = off.
        controls: what steers the image beside the prompt.
        conditions: kind and numbers of what else is told, see :mod:`crafts.model.conditions`.
        row: name of the row, so that rows of one seed differ; "" leaves it to seed and ``k``.
    """

    prompt: str
    seed: int = 0
    k: int = 0
    negative_prompt: str = ""
    guidance_scale: float = 1.0
    controls: tuple[ControlUse, ...] = ()
    conditions: tuple[tuple[str, tuple[float, ...]], ...] = ()
    row: str = ""

    @property
    def number(self) -> tuple[int | str, ...]:
        """What all that is drawn for the image depends on."""
        return (self.seed, self.k, self.row) if self.row else (self.seed, self.k)

    @property
    def guided(self) -> bool:
        """Whether the unconditional is needed at all."""
        return self.guidance_scale != 1.0


@dataclass(frozen=True)
class Conditioning:
    """All the denoiser is told about one image.

    Attributes:
        tokens: [T, D] text features of the prompt.
        unconditional: [U, D] text features of the negative prompt, U = T where padding counts;
            None without guidance.
        cut: end of the prompt that did not fit into the text encoder's limit, "" when all did.
        negative_cut: the same of the negative prompt.
    """

    tokens: torch.Tensor
    unconditional: torch.Tensor | None
    cut: str = ""
    negative_cut: str = ""


class EncodesText(Protocol):
    """The part of the text conditioner that is needed here."""

    def encode(self, prompts: Sequence[str]) -> Any:
        """Prompts -> ``tokens`` [B, T, D], and for each prompt ``lengths`` and ``cut``."""
        ...


class EmbedsConditions(Protocol):
    """What turns numbers into further tokens."""

    def tokens_of(self, values: Mapping[str, Sequence[float]]) -> torch.Tensor:
        """Kind -> numbers, to tokens [K, D]."""
        ...


@torch.inference_mode()
def encode_draws(
    text: EncodesText, draws: Sequence[Draw], embed: EmbedsConditions | None = None
) -> list[Conditioning]:
    """Conditioning of every draw; each distinct prompt with its negative prompt is encoded once.

    Every pair is encoded by itself, so that no other prompt decides how far it is padded. Tokens of
    further conditions follow those of the text, in the unconditional as well: guidance strengthens
    the text and leaves them alone.

    Args:
        text: the text conditioner.
        draws: images to be made.
        embed: of the model, for draws with conditions.

    Raises:
        ConfigError: a draw has conditions and the model knows none, or not these.
    """
    known: dict[Hashable, Conditioning] = {}
    found = []
    for draw in draws:
        negative = draw.negative_prompt if draw.guided else None
        key = (draw.prompt, negative, draw.conditions)
        if key not in known:
            known[key] = _tell(_encode(text, draw.prompt, negative), draw, embed)
        found.append(known[key])
    return found


def _tell(item: Conditioning, draw: Draw, embed: EmbedsConditions | None) -> Conditioning:
    """Add the tokens of a draw's further conditions."""
    if not draw.conditions:
        return item
    if embed is None:
        raise ConfigError(
            f"condition {draw.conditions[0][0]!r}",
            came="a model that knows no conditions beside text",
            allowed="a model that was trained with them (stage.conditions)",
            do="Leave it out, or choose another model.",
        )
    further = embed.tokens_of(dict(draw.conditions)).to(item.tokens)
    unconditional = item.unconditional
    if unconditional is not None:
        unconditional = torch.cat([unconditional, further])
    tokens = torch.cat([item.tokens, further])
    return replace(item, tokens=tokens, unconditional=unconditional)


def group_draws(draws: Sequence[Draw], conditionings: Sequence[Conditioning]) -> list[list[int]]:
    """Indices of draws that may share a batch.

    They have the same numbers of text tokens, the same guidance scale, and controls of the same
    kinds and weights.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, (draw, item) in enumerate(zip(draws, conditionings, strict=True)):
        without = 0 if item.unconditional is None else len(item.unconditional)
        steered = tuple((use.kind, use.weight, use.start, use.stop) for use in draw.controls)
        key = (len(item.tokens), without, draw.guidance_scale, steered)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _encode(text: EncodesText, prompt: str, negative_prompt: str | None) -> Conditioning:
    prompts = [prompt] if negative_prompt is None else [prompt, negative_prompt]
    features = text.encode(prompts)
    own = [row[:length] for row, length in zip(features.tokens, features.lengths, strict=True)]
    if negative_prompt is None:
        return Conditioning(own[0], None, features.cut[0])
    return Conditioning(own[0], own[1], *features.cut)
