"""Encoders of all kinds against the forward pass of transformers on the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, BertConfig, BertModel, CLIPModel, ViTMAEConfig, ViTMAEModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from crafts.core.errors import ConfigError, DataError
from crafts.model.encoders import load_dual_encoder
from crafts.model.text import load_tokenizer
from crafts.model.vision.image_encoders import SHIPPED, open_encoder
from fixtures_encoders import SIDE, tiles, write_clip, write_dinov2, write_vit

SIZES = [(SIDE, SIDE), (50, 70), (64, 40)]
TEXTS = ["colon adenocarcinoma", "benign prostate glands " * 40, "oral mucosa"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "tiny-clip"
    write_clip(folder)
    return folder


def as_transformers(processor, images):
    pictures = [Image.fromarray(image) for image in images]
    return processor(images=pictures, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def test_clip_images_agree_with_transformers(clip: Path) -> None:
    encoder, images = open_encoder(clip, device="cpu"), tiles(*SIZES)
    model, processor = CLIPModel.from_pretrained(clip), CLIPImageProcessorPil.from_pretrained(clip)
    pixels = as_transformers(processor, images)
    expected = model.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(encoder.images(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.images(pixels), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected.norm(dim=1), torch.ones(3))  # nothing is normalised


@torch.inference_mode()
def test_clip_texts_agree_with_transformers_and_cuts_are_counted(clip: Path) -> None:
    encoder, model = open_encoder(clip, device="cpu"), CLIPModel.from_pretrained(clip)
    words = load_tokenizer(clip)(
        TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    expected = model.get_text_features(**words).pooler_output
    found = encoder.texts(TEXTS)
    assert found is not None
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    assert found[1] == [False, True, False]


def test_clip_says_what_it_is(clip: Path) -> None:
    facts = open_encoder(clip, device="cpu").facts
    assert (facts["name"], facts["kind"], facts["licence"]) == ("tiny-clip", "clip", "mit")
    assert (facts["width"], facts["text_tokens"]) == (12, 77)
    assert facts["preprocessing"]["resize"] == {"shorter_side": SIDE}
    assert facts["preprocessing"]["crop"] == [SIDE, SIDE]
    json.dumps(facts)


def test_the_fingerprint_knows_weights_settings_and_words(clip: Path, tmp_path: Path) -> None:
    first = open_encoder(clip, device="cpu").facts
    folder = tmp_path / "another-name"
    write_clip(folder, card="no licence")
    again = open_encoder(folder, device="cpu").facts
    assert again["fingerprint"] == first["fingerprint"]
    assert (again["name"], again["licence"]) == ("another-name", "unknown")
    path = folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"resample": 3', '"resample": 2'))
    other = open_encoder(folder, device="cpu").facts
    assert other["fingerprint"] != first["fingerprint"]
    assert other["weights_sha256"] == first["weights_sha256"]


@torch.inference_mode()
def test_weights_in_a_bin_file_are_read_as_tensors_only(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    model = write_clip(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    images = tiles(*SIZES)
    found, expected = open_encoder(folder, device="cpu"), open_encoder(clip, device="cpu")
    assert torch.equal(found.images(images), expected.images(images))
    torch.save({"weight": print}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="unreadable weights"):
        open_encoder(folder, device="cpu")


@torch.inference_mode()
def test_dinov2_gives_its_pooled_output(tmp_path: Path) -> None:
    write_dinov2(tmp_path / "dino")
    encoder, images = open_encoder(tmp_path / "dino", device="cpu"), tiles(*SIZES)
    pixels = as_transformers(BitImageProcessorPil.from_pretrained(tmp_path / "dino"), images)
    expected = AutoModel.from_pretrained(tmp_path / "dino")(pixel_values=pixels).pooler_output
    torch.testing.assert_close(encoder.images(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.facts["output"] == "pooled output" and encoder.facts["kind"] == "vision"
    assert encoder.texts(["a"]) is None and encoder.width == 16


@torch.inference_mode()
@pytest.mark.parametrize("pooler", [True, False])
def test_vit_gives_the_class_token_where_no_pooler_was_stored(tmp_path: Path, pooler: bool) -> None:
    model = write_vit(tmp_path / "vit", pooler=pooler)
    encoder, images = open_encoder(tmp_path / "vit", device="cpu"), tiles(*SIZES)
    pixels = as_transformers(ViTImageProcessorPil.from_pretrained(tmp_path / "vit"), images)
    found = model(pixel_values=pixels)
    expected = found.pooler_output if pooler else found.last_hidden_state[:, 0]
    torch.testing.assert_close(encoder.images(images), expected, rtol=1e-4, atol=1e-5)
    output = "pooled output" if pooler else "class token of the last layer"
    assert encoder.facts["output"] == output


@torch.inference_mode()
def test_mini_is_the_shipped_clip() -> None:
    encoder, images = open_encoder("mini", device="cpu"), tiles((128, 128), (256, 256))
    network = load_dual_encoder(SHIPPED)
    for tile, row in zip(images, encoder.images(images), strict=True):
        pixels = torch.from_numpy(tile).permute(2, 0, 1)[None].float() / 127.5 - 1
        torch.testing.assert_close(row, network.image_features(pixels)[0], rtol=1e-4, atol=1e-5)
    features, cut = encoder.texts(TEXTS)
    torch.testing.assert_close(features, network.text_features(TEXTS), rtol=1e-4, atol=1e-5)
    assert cut == [False] * 3
    assert encoder.facts["licence"] == "crafts-mini-research-only"
    assert (encoder.facts["name"], encoder.width) == ("mini", 128)


def test_what_is_no_encoder_is_refused(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"encoder 'nowhere': no such file or folder; expected mini"
    ):
        open_encoder("nowhere", device="cpu")
    with pytest.raises(ConfigError, match="allow the network for a hub id"):
        open_encoder("someone/some-encoder", device="cpu")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="no model; expected mini"):
        open_encoder(tmp_path / "notes.txt", device="cpu")
    (tmp_path / "config.json").write_text('{"architecture": "vit_large"}')
    with pytest.raises(ConfigError, match="model_type: None; expected a model of transformers"):
        open_encoder(tmp_path, device="cpu")


def test_networks_that_read_no_images_or_draw_are_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(intermediate_size=16, vocab_size=9, **sizes)).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(ConfigError, match="'bert', which is no encoder of images"):
        open_encoder(tmp_path / "bert", device="cpu")
    config = ViTMAEConfig(image_size=SIDE, patch_size=8, intermediate_size=16, **sizes)
    ViTMAEModel(config).save_pretrained(tmp_path / "mae")
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(tmp_path / "mae")
    with pytest.raises(ConfigError, match="draws at random"):
        open_encoder(tmp_path / "mae", device="cpu")
    ViTImageProcessorPil(size={"height": 40, "width": 40}).save_pretrained(tmp_path / "mae")
    with pytest.raises(ConfigError, match="refuses images as prepared .*preprocessor_config"):
        open_encoder(tmp_path / "mae", device="cpu")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    write_vit(tmp_path, pooler=False)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(DataError, match="weights absent or of another shape"):
        open_encoder(tmp_path, device="cpu")


def test_a_downloaded_snapshot_is_found_by_its_hub_id(tmp_path: Path, monkeypatch) -> None:
    """The cache of the hub, laid out by hand."""
    place = tmp_path / "models--someone--tiny"
    write_clip(place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    facts = open_encoder("someone/tiny", device="cpu").facts
    assert (facts["name"], facts["kind"]) == ("someone/tiny", "clip")


def test_features_do_not_depend_on_the_batch(clip: Path) -> None:
    encoder, images = open_encoder(clip, device="cpu"), tiles(*SIZES)
    alone = np.concatenate([encoder.images([image]).numpy() for image in images])
    np.testing.assert_allclose(encoder.images(images).numpy(), alone, atol=1e-5)
