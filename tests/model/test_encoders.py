from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from crafts.core import artifacts
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.losses.contrastive import contrastive_loss, language_loss
from crafts.model.config import ResNetVision
from crafts.model.encoders import (
    DualEncoder,
    DualEncoderConfig,
    RegNetVision,
    ViTVision,
    build_dual_encoder,
    identify_clip,
    load_dual_encoder,
    load_text_conditioner,
    read_text_config,
    save_dual_encoder,
)
from fixtures_model import SENTENCES, TINY_TEXT, tiny_tokenizer
from fixtures_papers import write_clip

VISION = {
    "resnet": ResNetVision(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1)),
    "regnet": RegNetVision(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1), groups_width=8),
    "vit": ViTVision(width=16, num_layers=1, num_heads=2, intermediate=32, patch_size=16),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return tiny_tokenizer(tmp_path_factory.mktemp("words"))


def small(tokenizer, kind: str = "resnet") -> DualEncoder:
    torch.manual_seed(0)
    config = DualEncoderConfig(
        vision=VISION[kind], text=TINY_TEXT, projection_dim=12, image_size=32
    )
    return build_dual_encoder(config, tokenizer)


@pytest.mark.parametrize("kind", VISION)
def test_a_training_step_reaches_every_part(tokenizer, kind: str) -> None:
    encoder = small(tokenizer, kind).train()
    images, texts = torch.rand(3, 3, 48, 48) * 2 - 1, list(SENTENCES)
    ids = encoder.token_ids(texts)
    loss = contrastive_loss(
        encoder.image_features(images), encoder.text_features(texts), encoder.logit_scale
    ) + language_loss(encoder.token_logits(ids), ids, eos_token_id=encoder.tokenizer.eos_token_id)
    loss.backward()
    assert all(p.grad is not None for n, p in encoder.named_parameters() if "pooler" not in n)


def test_it_learns_three_pairs(tokenizer) -> None:
    encoder = small(tokenizer).train()
    images = torch.zeros(3, 3, 32, 32)
    for k in range(3):
        images[k, k] = 1.0
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for _ in range(25):
        loss = contrastive_loss(
            encoder.image_features(images), encoder.text_features(SENTENCES), encoder.logit_scale
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@torch.no_grad()
def test_features_do_not_depend_on_the_rest_of_the_batch(tokenizer) -> None:
    encoder = small(tokenizer).eval()
    images = torch.rand(4, 3, 64, 64)
    torch.testing.assert_close(
        encoder.image_features(images)[:1], encoder.image_features(images[:1])
    )
    texts = ["oral", *SENTENCES, "1" * 160]
    together = encoder.text_features(texts)
    for k, text in enumerate(texts):
        torch.testing.assert_close(together[k], encoder.text_features([text])[0])


@torch.no_grad()
def test_a_long_text_is_the_mean_of_its_chunks(tokenizer) -> None:
    encoder = small(tokenizer).eval()
    both = encoder.text_features(["1" * 75 + " " + SENTENCES[0]])[0]
    parts = encoder.text_features(["1" * 75, SENTENCES[0]])
    torch.testing.assert_close(both, parts.mean(0))


@torch.no_grad()
def test_images_are_resized_with_antialiasing(tokenizer) -> None:
    encoder = small(tokenizer).eval()
    images = torch.rand(2, 3, 128, 128)
    resized = F.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder.image_features(images), encoder.image_features(resized))


@torch.no_grad()
def test_the_text_half_conditions_the_denoiser(tokenizer) -> None:
    encoder = small(tokenizer).eval()
    features = encoder.text_conditioner().encode(SENTENCES)
    projected = encoder.text_projection(features.pooled)
    torch.testing.assert_close(projected, encoder.text_features(SENTENCES))


@torch.no_grad()
@pytest.mark.parametrize("kind", VISION)
def test_feature_maps(tokenizer, kind: str) -> None:
    maps = small(tokenizer, kind).eval().feature_maps(torch.rand(2, 3, 64, 64))
    assert len(maps) >= 2 and all(len(m) == 2 and m.shape[1] in (8, 16) for m in maps)


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("half", [False, True])
def test_save_and_load(tokenizer, kind: str, half: bool, tmp_path: Path) -> None:
    encoder = small(tokenizer, kind)
    encoder.image_features(torch.rand(2, 3, 32, 32))  # moves the running statistics
    save_dual_encoder(encoder, tmp_path, half=half)
    artifacts.finish(tmp_path, stage="clip", config={})
    loaded = load_dual_encoder(tmp_path)
    encoder.eval()
    images = torch.rand(2, 3, 40, 40)
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if half else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(
        loaded.image_features(images), encoder.image_features(images), **tolerance
    )
    torch.testing.assert_close(
        loaded.text_features(SENTENCES), encoder.text_features(SENTENCES), **tolerance
    )
    assert not loaded.training and loaded.logit_scale.dtype == torch.float32
    assert (loaded.fingerprint == encoder.fingerprint) != half


def test_a_manifest_is_verified(tokenizer, tmp_path: Path) -> None:
    save_dual_encoder(small(tokenizer), tmp_path)
    artifacts.finish(tmp_path, stage="clip", config={})
    load_dual_encoder(tmp_path)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"model\.safetensors: changed content"):
        load_dual_encoder(tmp_path)


def test_loading_refuses(tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: no such file"):
        load_dual_encoder(tmp_path)
    save_dual_encoder(small(tokenizer), tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    artifacts.finish(tmp_path, stage="clip", config={})
    with pytest.raises(DataError, match="unreadable weights"):
        load_dual_encoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "CLIPModel"}))
    with pytest.raises(ConfigError, match="another model"):
        load_dual_encoder(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(DataError, match="list"):
        load_dual_encoder(tmp_path)


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({"kind": "resnet", "depths": (1,)}, "as many depths"),
        ({"kind": "regnet", "depths": (1,)}, "as many depths"),
        ({"kind": "regnet", "groups_width": 7}, "multiples of groups_width"),
        ({"kind": "vit", "num_heads": 5}, "multiple of num_heads"),
        ({"kind": "mlp"}, "vision"),
    ],
)
def test_configuration_refuses(vision: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(DualEncoderConfig, {"vision": vision})


@torch.no_grad()
def test_the_text_half_of_a_clip_of_transformers(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    text = load_text_conditioner(tmp_path / "clip")
    ids = torch.tensor(text.token_ids("benign glands")[0])
    output = clip.text_model(input_ids=ids)
    features = text.encode(["benign glands"])
    assert torch.equal(features.tokens, output.last_hidden_state)
    assert torch.equal(features.pooled, output.pooler_output)
    assert read_text_config(tmp_path / "clip") == TINY_TEXT
    # as older repositories hold it: a pickle of tensors, under other names of files
    old = tmp_path / "old"
    shutil.copytree(tmp_path / "clip", old, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(clip.state_dict(), old / "pytorch_model.bin")
    assert torch.equal(load_text_conditioner(old).encode(["benign glands"]).tokens, features.tokens)
    assert identify_clip(tmp_path / "clip") != identify_clip(old)
    assert identify_clip(old) == identify_clip(shutil.copytree(old, tmp_path / "copy"))


def test_the_text_half_of_our_own_clip(tokenizer, tmp_path: Path) -> None:
    encoder = small(tokenizer).eval()
    save_dual_encoder(encoder, tmp_path)
    artifacts.finish(tmp_path, stage="clip", config={})
    ours = load_text_conditioner(tmp_path).encode(["benign"])
    assert torch.equal(ours.tokens, encoder.text_conditioner().encode(["benign"]).tokens)
    assert read_text_config(tmp_path) == encoder.config.text
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match="or for text alone a CLIP of transformers"):
        read_text_config(tmp_path)
