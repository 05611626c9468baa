"""Text encoders of others (BERT, RoBERTa, T5) in place of CLIP's, with their own tokenizers.

Their features are those of the last layer. A prompt longer than they take is told in chunks, as
with CLIP; padding is never told, because they do not look at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoTokenizer,
    CLIPTextModel,
)

from crafts.core.errors import ConfigError, DataError
from crafts.model.config import TextConfig
from crafts.model.files.folders import load_module, load_with_report, read_json
from crafts.model.files.guards import check_config
from crafts.model.text import TextConditioner, load_tokenizer


def encodes_text(values: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a text encoder of transformers other than CLIP's."""
    kind = str(values.get("model_type", ""))
    known = CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else None
    return known in MODEL_FOR_TEXT_ENCODING_MAPPING and not kind.startswith("clip")


def open_text(folder: Path, tokenizer: Path, *, padded: bool = True) -> TextConditioner:
    """Encoder and tokenizer of a checkpoint, CLIP's or another's.

    Args:
        folder: of the encoder.
        tokenizer: of its tokenizer.
        padded: as for :class:`TextConditioner`.

    Raises:
        ConfigError: no such folder, or pickled weights only.
        DataError: the files are damaged.
    """
    if not encodes_text(read_json(folder / "config.json")):
        encoder = load_module(folder, CLIPTextModel)
        return TextConditioner(load_tokenizer(tokenizer), encoder, padded=padded)
    return TextConditioner(_open_tokenizer(tokenizer), _open_encoder(folder), padded=padded)


def text_sizes(values: dict[str, Any]) -> TextConfig:
    """The sizes of another's text encoder, to count what it costs."""
    sizes = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    width = int(sizes.hidden_size)
    inner: Any = getattr(sizes, "intermediate_size", None) or getattr(sizes, "d_ff", 4 * width)
    return TextConfig(
        width=width,
        num_layers=int(sizes.num_hidden_layers),
        num_heads=int(sizes.num_attention_heads),
        intermediate=int(inner),
    )


def _open_encoder(folder: Path) -> Any:
    values = read_json(folder / "config.json")
    check_config(values, folder / "config.json")
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = MODEL_FOR_TEXT_ENCODING_MAPPING[type(settings)]
    # a pooler is not read, and many checkpoints have none
    return load_with_report(folder, kind, allow_bin=True, may_lack="pooler.")[0]


def _open_tokenizer(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        read_json(folder / "tokenizer.json")
    try:
        found = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # a library, with files of anyone
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            str(folder),
            came=f"an unreadable tokenizer ({reason})",
            allowed="the tokenizer of the text encoder, with tokenizer.json",
            do="Save it again with transformers.",
        ) from None
    if not found.is_fast:
        raise ConfigError(
            str(folder),
            came=f"{type(found).__name__}, which does not say where tokens begin",
            allowed="a fast tokenizer, with tokenizer.json",
            do="Save it again with transformers.",
        )
    return found
