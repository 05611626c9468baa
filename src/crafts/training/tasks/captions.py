"""Captions to text features for training, each caption by itself: batch neighbours never matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crafts.core.runtime import say
from crafts.model.text import TextConditioner
from crafts.training.order import choice, uniform
from crafts.training.sources import crop_place

CACHE_BYTES = 256 * 2**20
LOOKED_AT = 2000


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


def choose_wording(row: Mapping[str, Any], *, seed: int, position: int) -> str:
    """The caption that sample ``position`` sees: one of the row's ``captions``, or its ``text``."""
    wordings = row.get("captions") or [row.get("text", "")]
    return str(wordings[choice(seed, "wording", position, len(wordings))])


def conditions_of(
    row: Mapping[str, Any],
    *,
    cells: int,
    crop: int | None,
    pixels: int,
    dropout: float,
    seed: int,
    position: int,
) -> dict[str, list[float]]:
    """What sample ``position`` is told beside its text; NaN: nothing.

    Args:
        row: of the tile; its column ``field`` holds the microns that the tile is wide, or "".
        cells: width of the tile's latents.
        crop: width of the crop of them that is shown; None: the whole.
        pixels: width of the tile as the codec saw it.
        dropout: share of samples that are not told, each kind by itself.
        seed: of the run.
        position: global sample index.

    Returns:
        The numbers of each kind, see :data:`crafts.model.config.ConditionKind`.
    """
    region = [0.0, 0.0, 1.0]
    if crop is not None:
        top, left = crop_place(cells, cells, crop, seed=seed, position=position)
        region = [left / cells, top / cells, crop / cells]
    field = str(row.get("field") or "")
    told = {"scale": [float(field) / pixels if field else math.nan], "region": region}
    return {
        kind: [math.nan] * len(numbers)
        if uniform(seed, f"condition {kind}", position) < dropout
        else numbers
        for kind, numbers in told.items()
    }
