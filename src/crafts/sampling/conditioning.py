"""Prompts to conditioning. Batch neighbours never change what an image is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Draw:
    """One image to be made; equal draws of one model give equal images.

    Attributes:
        prompt: text to follow.
        seed: the row's seed; together with ``k`` it decides the initial noise.
        k: index of the image among those of its row, from 0.
        negative_prompt: text that takes the place of the unconditional; "" is the unconditional.
        guidance_scale: 1.0 = off.
    """

    prompt: str
    seed: int = 0
    k: int = 0
    negative_prompt: str = ""
    guidance_scale: float = 1.0

    @property
    def guided(self) -> bool:
        """Whether the unconditional is needed at all."""
        return self.guidance_scale != 1.0


@dataclass(frozen=True)
class Conditioning:
    """All the denoiser is told about one image.

    Attributes:
        tokens: [T, D] text features of the prompt.
        unconditional: [T, D] text features of the negative prompt; None without guidance.
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
        """Prompts -> features with ``tokens`` [B, T, D] and ``cut``, one string a prompt."""
        ...


@torch.inference_mode()
def encode_draws(text: EncodesText, draws: Sequence[Draw]) -> list[Conditioning]:
    """Conditioning of every draw; each distinct prompt with its negative prompt is encoded once.

    Every pair is encoded by itself, so that no other prompt decides how far it is padded.

    Args:
        text: the text conditioner.
        draws: images to be made.
    """
    known: dict[tuple[str, str | None], Conditioning] = {}
    found = []
    for draw in draws:
        key = (draw.prompt, draw.negative_prompt if draw.guided else None)
        if key not in known:
            known[key] = _encode(text, *key)
        found.append(known[key])
    return found


def group_draws(draws: Sequence[Draw], conditionings: Sequence[Conditioning]) -> list[list[int]]:
    """Indices of draws that may share a batch: same number of text tokens, same guidance scale."""
    groups: dict[tuple[int, float], list[int]] = {}
    for index, (draw, conditioning) in enumerate(zip(draws, conditionings, strict=True)):
        groups.setdefault((conditioning.tokens.shape[0], draw.guidance_scale), []).append(index)
    return list(groups.values())


def _encode(text: EncodesText, prompt: str, negative_prompt: str | None) -> Conditioning:
    if negative_prompt is None:
        features = text.encode([prompt])
        return Conditioning(features.tokens[0], None, features.cut[0])
    features = text.encode([prompt, negative_prompt])
    return Conditioning(features.tokens[0], features.tokens[1], features.cut[0], features.cut[1])
