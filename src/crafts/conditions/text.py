"""Text to features: prompts with their negatives for sampling, captions for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from crafts.core.runtime import say
from crafts.model.text import TextConditioner

CACHE_BYTES = 256 * 2**20
LOOKED_AT = 2000


@dataclass(frozen=True)
class TextFeatures:
    """What the text of one image tells.

    Attributes:
        tokens: [T, D] of the prompt.
        unconditional: [U, D] of the negative prompt, U = T where padding counts;
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


def encode_pair(text: EncodesText, prompt: str, negative_prompt: str | None) -> TextFeatures:
    """Features of a prompt and, under guidance, of what stands in its negative.

    A pair is encoded by itself, so that no other prompt decides how far it is padded.
    """
    prompts = [prompt] if negative_prompt is None else [prompt, negative_prompt]
    features = text.encode(prompts)
    own = [row[:length] for row, length in zip(features.tokens, features.lengths, strict=True)]
    if negative_prompt is None:
        return TextFeatures(own[0], None, features.cut[0])
    return TextFeatures(own[0], own[1], *features.cut)


class CaptionEncoder:
    """A frozen text encoder that remembers recent captions.

    Args:
        text: the conditioner; not trained. Where it says that padding does not count, a caption
            brings its own tokens only, and a batch is as long as its longest caption.
        max_chunks: 77-token chunks of a caption that are kept; what is longer is cut.
        device: where features are wanted.
        dtype: of the features.
        max_tokens: tokens of a caption that are kept, begin and end included; None: whole chunks.
    """

    def __init__(
        self,
        text: TextConditioner,
        max_chunks: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
        max_tokens: int | None = None,
    ) -> None:
        self.text, self.max_chunks, self.max_tokens = text, max_chunks, max_tokens
        self.device, self.dtype = device, dtype
        self._known: dict[str, Tensor] = {}
        self._pooled: dict[str, Tensor] = {}
        self._bytes = 0

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Features of a batch.

        Returns:
            ``tokens`` [B, T, D], padded with zeros to the longest, and ``mask`` [B, T], true
            where a token belongs to its caption; the denoiser does not look at the others.
        """
        self._meet(captions)
        parts = [self._known[caption] for caption in captions]
        longest = max(len(part) for part in parts)
        tokens = torch.zeros(len(parts), longest, parts[0].shape[1], dtype=self.dtype)
        mask = torch.zeros(len(parts), longest, dtype=torch.bool)
        for row, part in enumerate(parts):
            tokens[row, : len(part)], mask[row, : len(part)] = part, True
        return {"tokens": tokens.to(self.device), "mask": mask.to(self.device)}

    @torch.no_grad()
    def pooled(self, captions: Sequence[str]) -> Tensor:
        """One feature a caption, [B, D]: what the encoder says at the end of its first chunk."""
        self._meet(captions)
        return torch.stack([self._pooled[caption] for caption in captions]).to(self.device)

    def _meet(self, captions: Sequence[str]) -> None:
        """See to it that the features of these captions are known."""
        wanted = set(captions)
        missing = sorted(caption for caption in wanted if caption not in self._known)
        if self._bytes > CACHE_BYTES:
            self._known = {c: t for c, t in self._known.items() if c in wanted}
            self._pooled = {c: t for c, t in self._pooled.items() if c in wanted}
            self._bytes = sum(t.nbytes for t in self._known.values())
        by_chunks: dict[int, list[str]] = {}
        for caption in missing:
            chunks, _ = self._token_ids(caption)
            by_chunks.setdefault(len(chunks), []).append(caption)
        for group in by_chunks.values():
            self._remember(group)

    def _remember(self, captions: list[str]) -> None:
        """Encode captions of equally many chunks; autocast must not decide what the cache holds."""
        with torch.autocast(self.device.type, enabled=False):
            features = self.text.encode(captions, self.max_chunks, self.max_tokens)
        rows = features.tokens.to("cpu", self.dtype)
        for caption, value, length in zip(captions, rows, features.lengths, strict=True):
            self._known[caption] = value[:length].clone()
            self._bytes += self._known[caption].nbytes
        for caption, value in zip(captions, features.pooled.to("cpu", self.dtype), strict=True):
            self._pooled[caption] = value.clone()

    def _token_ids(self, caption: str) -> tuple[list[list[int]], str]:
        return self.text.token_ids(caption, self.max_chunks, self.max_tokens)

    def say_what_is_cut(self, captions: Sequence[str]) -> None:
        """Tell how many of the first captions are longer than what is kept, and what is lost."""
        looked = list(captions[:LOOKED_AT])
        cut = [self._token_ids(caption)[1] for caption in looked]
        lost = [text for text in cut if text]
        if lost:
            say(
                f"{len(lost)} of {len(looked)} captions looked at are longer than {self._limit()} "
                f"and lose their end, the first {lost[0]!r}; raise it to keep them whole"
            )

    def _limit(self) -> str:
        if self.max_tokens is None:
            return f"stage.max_chunks = {self.max_chunks}"
        return f"stage.max_tokens = {self.max_tokens}"
