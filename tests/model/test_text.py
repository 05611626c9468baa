from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError
from crafts.model.text import (
    TextConditioner,
    TextConfig,
    build_text_encoder,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)
from fixtures_model import SENTENCES, TINY_TEXT, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    tiny_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def conditioner(folder: Path) -> TextConditioner:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(folder)
    return TextConditioner(tokenizer, build_text_encoder(TINY_TEXT, tokenizer).eval())


def reference_embedding(
    conditioner: TextConditioner, text: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What diffusers' pipeline does: pad to 77, truncate, encode."""
    ids = conditioner.tokenizer(
        text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    output = conditioner.encoder(ids)
    return output.last_hidden_state, output.pooler_output


def words(number: int) -> str:
    """A text of so many tokens: digits are tokens of their own."""
    return "1" * number


@torch.no_grad()
@pytest.mark.parametrize("text", ["", "Benign  prostate GLANDS", words(75)])
def test_a_short_prompt_gives_the_embedding_of_diffusers(conditioner: TextConditioner, text: str):
    features = conditioner.encode([text])
    tokens, pooled = reference_embedding(conditioner, text)
    assert torch.equal(features.tokens, tokens) and torch.equal(features.pooled, pooled)
    assert features.chunks == [1] and features.cut == [""]


@torch.no_grad()
def test_long_prompts_fill_chunks_and_short_ones_are_padded(conditioner: TextConditioner) -> None:
    long = words(75) + " " + SENTENCES[0]
    features = conditioner.encode([long, SENTENCES[1]])
    assert features.tokens.shape == (2, 154, 16) and features.chunks == [2, 1]
    for row, parts in ((0, (words(75), SENTENCES[0])), (1, (SENTENCES[1], ""))):
        for k, part in enumerate(parts):
            tokens, pooled = reference_embedding(conditioner, part)
            torch.testing.assert_close(features.tokens[row, 77 * k : 77 * k + 77], tokens[0])
            if k == 0:
                torch.testing.assert_close(features.pooled[row], pooled[0])


@torch.no_grad()
def test_what_is_cut_is_said_verbatim(conditioner: TextConditioner) -> None:
    text = words(75) + " Oral CARCINOMA, café."
    assert conditioner.encode([text, "x"], max_chunks=1).cut == ["Oral CARCINOMA, café.", ""]
    assert conditioner.encode([text]).cut == [""]
    five = words(75 * 4 + 3)
    features = conditioner.encode([five])
    assert features.chunks == [4] and features.cut == ["111"]


def test_count_tokens_includes_both_ends(conditioner: TextConditioner) -> None:
    assert conditioner.count_tokens("") == 2
    assert conditioner.count_tokens(words(200)) == 202
    for text in SENTENCES:
        assert conditioner.count_tokens(text) == len(conditioner.tokenizer(text).input_ids)


def test_bad_calls_are_refused(conditioner: TextConditioner) -> None:
    with pytest.raises(ConfigError, match="0 prompts"):
        conditioner.encode([])
    with pytest.raises(ConfigError, match="0 chunks"):
        conditioner.encode(["a"], max_chunks=0)


def test_the_length_is_pinned_without_tokenizer_config(folder: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.model_max_length == 77
    assert tokenizer(SENTENCES[0]).input_ids == load_tokenizer(folder)(SENTENCES[0]).input_ids


def test_transformers_opens_what_was_trained(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert tokenizer.eos_token_id == len(vocabulary) - 1 == tokenizer.pad_token_id
    ids = tokenizer("Oral carcinoma").input_ids
    assert tokenizer.convert_ids_to_tokens(ids)[1:-1] == ["oral</w>", "carcinoma</w>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "oral carcinoma"


def test_no_text_is_unknown(folder: Path) -> None:
    """CLIP's unknown token is its end token: one unseen letter would end the prompt."""
    tokenizer = load_tokenizer(folder)
    text = "µm ≥ 3 日本 \U0001f52c Größe naïve ÿ ~^|"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", "")


def test_training_does_not_depend_on_order_and_is_repeatable(tmp_path: Path) -> None:
    """Many pairs here are equally frequent; by itself the library breaks ties in hash order."""
    train_tokenizer(SENTENCES * 3, 600, tmp_path / "0")
    for k in range(1, 8):
        train_tokenizer(sorted(SENTENCES * 3, reverse=k % 2 == 1), 600, tmp_path / str(k))
        for path in (tmp_path / "0").iterdir():
            assert path.read_bytes() == (tmp_path / str(k) / path.name).read_bytes()


def test_vocab_size_is_an_upper_bound(tmp_path: Path) -> None:
    assert len(train_tokenizer(SENTENCES * 3, 540, tmp_path / "a")) == 540
    assert len(train_tokenizer(["ab ab"], 5000, tmp_path / "b")) == 515


@pytest.mark.parametrize("added", [[], ["<tissue>"]])
def test_save_tokenizer_round_trip(folder: Path, tmp_path: Path, added: list[str]) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(added)
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "oral <tissue> view 12"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.get_vocab() == tokenizer.get_vocab()
    for path in tmp_path.glob("*.json"):
        assert str(folder) not in path.read_text()


def test_training_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 514"):
        train_tokenizer(SENTENCES, 500, tmp_path)
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([" "], 600, tmp_path)


def test_loading_refuses(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer"):
        load_tokenizer(tmp_path / "absent")
    (tmp_path / "merges.txt").write_bytes((folder / "merges.txt").read_bytes())
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(DataError, match=r"vocab\.json: no valid JSON"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_bytes((folder / "vocab.json").read_bytes())
    (tmp_path / "merges.txt").write_text("#version: 0.2\no r</w>\nqq zz\n")
    with pytest.raises(DataError, match=r"merges\.txt: line [23]: '"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_another_encoder_is_refused(folder: Path) -> None:
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    with pytest.raises(ConfigError, match="vocab_size: 20"):
        TextConditioner(load_tokenizer(folder), encoder)


@torch.no_grad()
def test_pooling_is_at_the_end_token_of_our_vocabulary(conditioner: TextConditioner) -> None:
    features = conditioner.encode([SENTENCES[0]])
    end = conditioner.count_tokens(SENTENCES[0]) - 1
    torch.testing.assert_close(features.pooled[0], features.tokens[0, end])


def test_configuration_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ConfigError, match="multiple of num_heads"):
        load_config(TextConfig, {"width": 10, "num_heads": 4})


def test_files_are_plain_clip(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == 77 and config["pad_token"] == "<|endoftext|>"


@torch.no_grad()
def test_without_padding_a_prompt_has_its_own_tokens_only(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(folder)
    encoder = build_text_encoder(TINY_TEXT, tokenizer).eval()
    bare = TextConditioner(tokenizer, encoder, padded=False)
    texts = ["", words(5), words(80)]
    features = bare.encode(texts)
    assert features.lengths == [2, 7, 77 + 7]
    for text, row, length in zip(texts[:2], features.tokens, features.lengths, strict=False):
        ids = tokenizer(text, return_tensors="pt").input_ids  # begin, content, end, no padding
        assert ids.shape[1] == length
        torch.testing.assert_close(row[:length], encoder(ids).last_hidden_state[0])
    padded = TextConditioner(tokenizer, encoder).encode(texts)
    assert torch.equal(padded.tokens, features.tokens) and padded.lengths == [154] * 3


@pytest.mark.parametrize(
    ("max_tokens", "kept"), [(20, 18), (77, 75), (78, 75), (79, 75), (80, 76), (154, 150)]
)
def test_a_limit_of_tokens_counts_begin_and_end_of_each_chunk(
    conditioner: TextConditioner, max_tokens: int, kept: int
) -> None:
    chunks, cut = conditioner.token_ids(words(200), 4, max_tokens)
    content = [piece[1 : piece.index(conditioner.tokenizer.eos_token_id)] for piece in chunks]
    assert sum(map(len, content)) == kept and cut == words(200 - kept)
    assert sum(len(piece) + 2 for piece in content) <= max_tokens
    assert conditioner.token_ids(words(kept), 4, max_tokens)[1] == ""
