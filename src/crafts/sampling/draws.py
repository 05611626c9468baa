"""The images that are to be made, and which of them may share a batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from crafts.conditions.condition import Condition
from crafts.conditions.text import EncodesText, TextFeatures, encode_pair
from crafts.sampling.edits import Edit


@dataclass(frozen=True)
class Draw:
    """One image to be made; equal draws of one model give equal images.

    Attributes:
        prompt: text to follow.
        seed: the row's seed; together with ``k`` and ``row`` it decides the initial noise.
        k: index of the image among those of its row, from 0.
        negative_prompt: text that takes the place of the unconditional; "" is the unconditional.
        guidance_scale: 1.0 = off.
        conditions: what it is told beside the prompt.
        row: name of the row, so that rows of one seed differ; "" leaves it to seed and ``k``.
        wider: the same place at a lower power, from which it begins; None: from noise alone.
        edit: the picture that it is made from; None where it is made from noise alone.
    """

    prompt: str
    seed: int = 0
    k: int = 0
    negative_prompt: str = ""
    guidance_scale: float = 1.0
    conditions: tuple[Condition, ...] = ()
    row: str = ""
    wider: Draw | None = None
    edit: Edit | None = None

    @property
    def number(self) -> tuple[int | str, ...]:
        """What all that is drawn for the image depends on."""
        own: tuple[int | str, ...] = (self.seed, self.k)
        own = (*own, self.row) if self.row else own
        return (*own, f"power {self.depth}") if self.depth else own

    @property
    def depth(self) -> int:
        """Pictures at lower powers that come before it."""
        return 1 + self.wider.depth if self.wider else 0

    @property
    def mpp(self) -> float | None:
        """Microns per pixel that were asked for; None: the model's own."""
        found = [one.key[0] for one in self.conditions if one.kind == "scale"]
        return float(found[0]) if found else None

    @property
    def guided(self) -> bool:
        """Whether the unconditional is needed at all."""
        return self.guidance_scale != 1.0


@torch.inference_mode()
def encode_draws(text: EncodesText, draws: Sequence[Draw]) -> list[TextFeatures]:
    """Text features of every draw; each distinct prompt with its negative is encoded once."""
    known: dict[Hashable, TextFeatures] = {}
    for draw in draws:
        pair = draw.prompt, draw.negative_prompt if draw.guided else None
        if pair not in known:
            known[pair] = encode_pair(text, *pair)
    return [known[d.prompt, d.negative_prompt if d.guided else None] for d in draws]


def group_draws(draws: Sequence[Draw], features: Sequence[TextFeatures]) -> list[list[int]]:
    """Indices of draws that may share a batch.

    They have the same numbers of text tokens, the same guidance scale, conditions and edits of the
    same groups, and as many pictures at lower powers before them.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, (draw, item) in enumerate(zip(draws, features, strict=True)):
        without = 0 if item.unconditional is None else len(item.unconditional)
        told = tuple(condition.group for condition in draw.conditions)
        edited = draw.edit.group if draw.edit else None
        key = (len(item.tokens), without, draw.guidance_scale, told, edited, draw.depth)
        groups.setdefault(key, []).append(index)
    return list(groups.values())
