"""Text encoders of others: features as transformers gives them, chunks, and training by recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from tests.training.conftest import configure
from tests.training.conftest import recipe as recipe  # a fixture
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from crafts.core.errors import ConfigError
from crafts.model.bundle import load_bundle
from crafts.model.encoders import load_text_conditioner, read_text_config
from crafts.training import train

WORDS = "colon lung kidney breast with many few glands and lymphocytes high low power view".split()


def tokenizer(begin: str, end: str) -> PreTrainedTokenizerFast:
    names = ["[PAD]", "[UNK]", *dict.fromkeys([begin, end]), *WORDS, "a"]
    words = {name: number for number, name in enumerate(name for name in names if name)}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}".strip(),
        special_tokens=[(name, words[name]) for name in (begin, end) if name],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )


def write_bert(folder: Path, width: int = 16) -> BertModel:
    torch.manual_seed(0)
    sizes = BertConfig(
        vocab_size=32, hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    model = BertModel(sizes, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    tokenizer("[CLS]", "[SEP]").save_pretrained(folder)
    return model


def write_t5(folder: Path) -> T5EncoderModel:
    torch.manual_seed(0)
    sizes = T5Config(vocab_size=32, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2)
    model = T5EncoderModel(sizes).eval()
    model.save_pretrained(folder)
    tokenizer("", "</s>").save_pretrained(folder)
    return model


@pytest.mark.parametrize("write", [write_bert, write_t5])
@torch.no_grad()
def test_features_are_those_of_transformers(write: Any, tmp_path: Path) -> None:
    model = write(tmp_path)
    found = load_text_conditioner(tmp_path)
    texts = ["colon with many glands", "lung"]
    features = found.encode(texts)
    for text, tokens, length in zip(texts, features.tokens, features.lengths, strict=True):
        ids = found.tokenizer(text, return_tensors="pt")["input_ids"]
        assert length == ids.shape[1] == found.count_tokens(text)
        alone = model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(tokens[:length], alone, atol=1e-5, rtol=1e-4)
        assert not tokens[length:].any()
    assert read_text_config(tmp_path).width == 16


def test_longer_texts_are_told_in_chunks_and_what_is_cut_is_named(tmp_path: Path) -> None:
    write_bert(tmp_path)
    found = load_text_conditioner(tmp_path)
    text = " ".join(WORDS * 3)  # 42 tokens in chunks of 14
    pieces, cut = found.token_ids(text, 2)
    assert [len(piece) for piece in pieces] == [16, 16] and cut == " ".join(WORDS)
    assert found.encode([text], 3).lengths == [48]


@pytest.mark.parametrize("write", [write_bert, write_t5])
def test_a_denoiser_trains_and_samples_under_it(
    recipe: dict[str, Any], write: Any, tmp_path: Path
) -> None:
    write(tmp_path / "text")
    told = configure(recipe, f"stage.text_from={tmp_path / 'text'}", "num_steps=2")
    train.run(told, {}, tmp_path / "run")
    folder = tmp_path / "run" / "model"
    bundle = load_bundle(folder)
    assert type(bundle.text.encoder).__name__ == type(write(tmp_path / "again")).__name__
    assert UNet2DConditionModel.from_pretrained(folder, subfolder="unet") is not None
    from crafts.generation.generate import generate_images

    first, second = generate_images(bundle, ["colon", "lung with many glands"], num_steps=2)
    assert first.tobytes() != second.tobytes()


def test_what_does_not_fit_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    write_bert(tmp_path / "wide", width=24)
    with pytest.raises(ConfigError, match="text width"):
        train.run(configure(recipe, f"stage.text_from={tmp_path / 'wide'}"), {}, tmp_path / "run")
    write_bert(tmp_path / "endless")
    tokenizer("[CLS]", "").save_pretrained(tmp_path / "endless")
    with pytest.raises(ConfigError, match="no token that ends a text"):
        load_text_conditioner(tmp_path / "endless")
