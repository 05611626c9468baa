"""Prompts to tokens in chunks of 77, nothing cut without saying so; and our own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from crafts.core.errors import ConfigError, DataError
from crafts.model.config import CHUNK_LENGTH, TextConfig
from crafts.model.files.folders import read_json, strip_origin

_BOS, _EOS = "<|startoftext|>", "<|endoftext|>"
_SUFFIX = "</w>"
_SMALLEST_VOCABULARY = 2 * 256 + 2
_LONGEST = 512  # tokens at once, of encoders that name no limit


@dataclass(frozen=True)
class TextFeatures:
    """What the denoiser is told.

    Attributes:
        tokens: [B, T, D], T = 77 times the largest number of chunks of the call.
        lengths: how many of the T tokens each prompt is told by, from the first: T where padding
            counts, else those up to its own last end token.
        pooled: [B, D], at the end-of-text token of the first chunk.
        chunks: chunks that each prompt fills by itself, >= 1.
        cut: the end of each prompt that did not fit, verbatim; "" where all was used.
    """

    tokens: Tensor
    lengths: list[int]
    pooled: Tensor
    chunks: list[int]
    cut: list[str]


class TextConditioner:
    """Tokenizer and text encoder of a Stable Diffusion checkpoint.

    Args:
        tokenizer: a CLIP tokenizer, or the fast one of another encoder; its length is pinned to
            that of the encoder.
        encoder: CLIP's text model, or another of transformers.
        padded: whether the padding up to 77 is part of what a denoiser is told, as SD-1.5 has it;
            without it, a short prompt has few tokens. The encoder is causal, so that the features
            of a prompt's own tokens are the same either way. Another encoder does not look at
            padding, and it is never told.

    Raises:
        ConfigError: the encoder has fewer embeddings than the tokenizer has tokens.
    """

    def __init__(
        self, tokenizer: CLIPTokenizer, encoder: CLIPTextModel, *, padded: bool = True
    ) -> None:
        if len(tokenizer) > encoder.config.vocab_size:
            raise ConfigError(
                "text_encoder/config.json: vocab_size",
                came=str(encoder.config.vocab_size),
                allowed=f"at least the {len(tokenizer)} tokens of the tokenizer",
                do="Pair the text encoder with its own tokenizer.",
            )
        self.foreign = not str(encoder.config.model_type).startswith("clip")
        self.tokenizer, self.encoder = tokenizer, encoder
        self.padded = padded and not self.foreign
        self.begin, self.end = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
        if self.foreign:
            self.begin, self.end = _frame(tokenizer)
        self.chunk_length = _chunk_length(tokenizer, encoder)
        self.width = int(encoder.config.hidden_size)
        tokenizer.model_max_length = (
            self.chunk_length
        )  # a folder without tokenizer_config.json says 1e30

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text with the begin and end token, not limited to one chunk."""
        return len(self._split(text)[0]) + len(self.begin) + len(self.end)

    def token_ids(
        self, text: str, max_chunks: int = 4, max_tokens: int | None = None
    ) -> tuple[list[list[int]], str]:
        """Chunks of ids, each begin + content + end + padding, and the text that did not fit.

        Args:
            text: one prompt.
            max_chunks: chunks that are kept, >= 1.
            max_tokens: tokens that are kept, begin and end of every chunk included, >= 3.
        """
        ids, starts = self._split(text)
        frame = len(self.begin) + len(self.end)
        content = self.chunk_length - frame
        limit = max_chunks * content
        if max_tokens is not None:
            whole, rest = divmod(max_tokens, self.chunk_length)
            limit = min(limit, whole * content + max(0, rest - frame))
        kept = ids[:limit]
        pieces = [kept[i : i + content] for i in range(0, len(kept), content)] or [[]]
        cut = text[starts[limit] :] if len(ids) > limit else ""
        return [self._close(piece) for piece in pieces], cut

    def encode(
        self, prompts: Sequence[str], max_chunks: int = 4, max_tokens: int | None = None
    ) -> TextFeatures:
        """Encode prompts together; up to 75 content tokens give what diffusers' pipeline computes.

        A longer prompt is split into chunks which are encoded one by one and joined along T.
        Shorter prompts of the same call are filled up with chunks of the empty prompt.

        Args:
            prompts: B texts.
            max_chunks: text beyond so many chunks is left out and returned in ``cut``.
            max_tokens: likewise, see :meth:`token_ids`.

        Raises:
            ConfigError: no prompt, or ``max_chunks`` below 1.
        """
        if not prompts or max_chunks < 1:
            raise ConfigError(
                "encode: prompts, max_chunks",
                came=f"{len(prompts)} prompts and {max_chunks} chunks",
                allowed="at least one of each",
                do="Pass a prompt.",
            )
        split = [self.token_ids(prompt, max_chunks, max_tokens) for prompt in prompts]
        chunks = [len(pieces) for pieces, _ in split]
        longest = max(chunks)
        empty = self._close([])
        rows = [
            piece for pieces, _ in split for piece in [*pieces, *[empty] * (longest - len(pieces))]
        ]
        hidden, pools = self._features(torch.tensor(rows, device=self.encoder.device))
        tokens = hidden.reshape(len(prompts), longest * self.chunk_length, self.width)
        pooled = pools.reshape(len(prompts), longest, self.width)[:, 0]
        lengths = [self._length(pieces) for pieces, _ in split]
        if self.padded:
            lengths = [tokens.shape[1]] * len(prompts)
        return TextFeatures(tokens, lengths, pooled, chunks, [cut for _, cut in split])

    def _features(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden states [R, T, D] of R chunks, and one feature each, [R, D]."""
        if not self.foreign:
            output = self.encoder(ids)
            return output.last_hidden_state, output.pooler_output
        lengths = [self._length([row]) for row in ids.tolist()]
        there = torch.arange(ids.shape[1], device=ids.device) < ids.new_tensor(lengths)[:, None]
        hidden = self.encoder(input_ids=ids, attention_mask=there.long()).last_hidden_state
        hidden = hidden * there[..., None]
        return hidden, hidden.sum(dim=1) / there.sum(dim=1, keepdim=True)

    def to(self, *args: Any, **kwargs: Any) -> TextConditioner:
        """Move or cast the encoder in place, as ``torch.nn.Module.to``."""
        self.encoder.to(*args, **kwargs)
        return self

    def _split(self, text: str) -> tuple[list[int], list[int]]:
        """Ids of all content tokens and the character at which each begins."""
        encoded = self.tokenizer(
            text,
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        return encoded["input_ids"], [start for start, _ in encoded["offset_mapping"]]

    def _length(self, pieces: list[list[int]]) -> int:
        """Tokens up to the first end token of the last chunk, which it includes."""
        before = self.chunk_length * (len(pieces) - 1)
        return before + pieces[-1].index(self.end[-1]) + 1

    def _close(self, content: list[int]) -> list[int]:
        ids = [*self.begin, *content, *self.end]
        return ids + [self.tokenizer.pad_token_id] * (self.chunk_length - len(ids))


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and after a text.

    Raises:
        ConfigError: nothing after it, or no padding: then the end of a text could not be told.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
    begin, end = whole[:start], whole[start + len(plain) :]
    if not end or tokenizer.pad_token_id is None:
        raise ConfigError(
            f"tokenizer {type(tokenizer).__name__}",
            came="no token that ends a text" if not end else "no token for padding",
            allowed="a tokenizer with both, as those of BERT, RoBERTa and T5",
            do="Choose another text encoder.",
        )
    return begin, end


def _chunk_length(tokenizer: Any, encoder: Any) -> int:
    """Tokens of a text that an encoder takes at once."""
    if str(encoder.config.model_type).startswith("clip"):
        return int(encoder.config.max_position_embeddings)
    most = getattr(encoder.config, "max_position_embeddings", None)
    spare = 2 if "roberta" in encoder.config.model_type else 0  # its positions begin at 2
    return int(min((most or _LONGEST) - spare, tokenizer.model_max_length, _LONGEST))


def build_text_encoder(config: TextConfig, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A text encoder with random weights whose special ids are those of the tokenizer."""
    return CLIPTextModel(text_model_config(config, tokenizer))


def text_model_config(config: TextConfig, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """The configuration of transformers for a text encoder of ours."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.intermediate,
        projection_dim=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        attention_dropout=config.dropout,
        max_position_embeddings=CHUNK_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: Path) -> CLIPTokenizer:
    """Learn a byte-pair encoding and write a folder that ``CLIPTokenizer.from_pretrained`` opens.

    Every byte is a token, inside and at the end of a word, so no text is ever unknown (CLIP's
    unknown token is its end token, which would end a prompt early). Ids: bytes, bytes with
    ``</w>``, merges in order, begin, end; the end token has the highest id, as in CLIP.

    Args:
        texts: captions; their order does not matter.
        vocab_size: upper bound of the vocabulary, >= 514; less when the texts hold fewer pairs.
        folder: receives vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json.

    Raises:
        ConfigError: ``vocab_size`` is too small.
        DataError: there is no text.
    """
    if vocab_size < _SMALLEST_VOCABULARY:
        raise ConfigError(
            "train_tokenizer: vocab_size",
            came=str(vocab_size),
            allowed=f"at least {_SMALLEST_VOCABULARY} (every byte twice, begin and end)",
            do="Raise vocab_size.",
        )
    lines = sorted(text for text in texts if text.strip())
    if not lines:
        raise DataError(
            "train_tokenizer: texts", came="no text", allowed="captions", do="Check the captions."
        )
    merges = _learn_merges(lines, vocab_size)[: vocab_size - _SMALLEST_VOCABULARY]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(letter + _SUFFIX for letter in alphabet), *(a + b for a, b in merges)]
    tokens = [*dict.fromkeys(words), _BOS, _EOS]  # two merges may spell the same token
    _write_tokenizer(folder, {token: number for number, token in enumerate(tokens)}, merges)
    return load_tokenizer(folder)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Open a tokenizer folder in CLIP's format, with or without ``tokenizer_config.json``.

    Raises:
        ConfigError: neither tokenizer.json nor vocab.json and merges.txt lie there.
        DataError: the files are damaged.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise ConfigError(
            str(folder),
            came="no tokenizer",
            allowed="vocab.json and merges.txt, or tokenizer.json",
            do="Check the path of the model.",
        )
    _check_tokenizer_files(folder, names)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            str(folder),
            came=f"an unreadable tokenizer ({reason})",
            allowed="a CLIP tokenizer",
            do="Restore its files.",
        ) from None
    tokenizer.model_max_length = CHUNK_LENGTH
    return tokenizer


def _check_tokenizer_files(folder: Path, names: set[str]) -> None:
    """Find damage before the tokenizer library does, which raises plain ``Exception`` for it."""
    for name in sorted(names & {"tokenizer.json", "vocab.json", "tokenizer_config.json"}):
        read_json(folder / name)
    if not {"vocab.json", "merges.txt"} <= names:
        return
    vocabulary = read_json(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        parts = line.split(" ")
        known = len(parts) == 2 and all(part in vocabulary for part in (*parts, "".join(parts)))
        if line and not line.startswith("#version") and not known:
            raise DataError(
                f"{folder / 'merges.txt'}: line {number}",
                came=repr(line[:40]),
                allowed="two tokens of vocab.json whose union is one, too",
                do="Restore the files of the tokenizer.",
            )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the four files of CLIP's format, which every release of transformers opens.

    A tokenizer with added tokens (textual inversion), or of another kind, is written in its own
    format instead.
    """
    if not isinstance(tokenizer, CLIPTokenizer):
        tokenizer.save_pretrained(folder)
        strip_origin(folder)
        return
    special = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token}
    if set(tokenizer.get_added_vocab()) - special:
        tokenizer.save_pretrained(folder)
        strip_origin(folder)
        return
    vocabulary = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    _write_tokenizer(folder, vocabulary, _pairs(tokenizer.backend_tokenizer), tokenizer.pad_token)


def _learn_merges(lines: list[str], vocab_size: int) -> list[tuple[str, str]]:
    clip = CLIPTokenizer().backend_tokenizer  # its normalizer and its way to split words
    learner = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    # Ties between pairs are broken by the ids of their letters, and letters with a suffix would get
    # theirs in the order of a hash map: as special tokens they come first, in a fixed order.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[letter + _SUFFIX for letter in alphabet],
        initial_alphabet=alphabet,
        end_of_word_suffix=_SUFFIX,
        show_progress=False,
        min_frequency=2,
    )
    learner.train_from_iterator(lines, trainer)
    return _pairs(learner)


def _pairs(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Merges in order; older releases of tokenizers wrote each as one text."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
    return [(first, second) for first, second in pairs]


def _write_tokenizer(
    folder: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]], pad_token: str = _EOS
) -> None:
    special = {"bos_token": _BOS, "eos_token": _EOS, "unk_token": _EOS, "pad_token": pad_token}
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CHUNK_LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, value in (
        ("vocab.json", vocabulary),
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", special),
    ):
        (folder / name).write_text(
            json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
