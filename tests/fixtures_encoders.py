"""Folders of tiny image encoders in the real formats, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from fixtures_model import tiny_tokenizer

SIDE = 32
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


def tiles(*sizes: tuple[int, int], seed: int = 0) -> list[NDArray[np.uint8]]:
    """Smooth random images, one for each (height, width)."""
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (-(-h // 8), -(-w // 8), 3), dtype=np.uint8) for h, w in sizes]
    grown = [image.repeat(8, axis=0).repeat(8, axis=1) for image in coarse]
    return [image[:h, :w] for image, (h, w) in zip(grown, sizes, strict=True)]


def write_clip(folder: Path, *, card: str = "---\nlicense: mit\n---\n# Tiny\n") -> CLIPModel:
    """A CLIP in the layout of PLIP: weights, settings of images, tokenizer, card."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(folder)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(intermediate_size=32, **_SIZES)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    (folder / "README.md").write_text(card)
    return model


def write_vit(folder: Path, *, pooler: bool) -> ViTModel:
    """A ViT with or without the weights of its pooler."""
    torch.manual_seed(1)
    model = ViTModel(ViTConfig(intermediate_size=32, **_SIZES), add_pooling_layer=pooler).eval()
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return model


def write_dinov2(folder: Path, **more: Any) -> Dinov2Model:
    """A DINOv2, whose images are resized to a larger size than they are cropped to."""
    torch.manual_seed(2)
    model = Dinov2Model(Dinov2Config(mlp_ratio=2, **_SIZES)).eval()
    model.save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": SIDE + 6}, crop_size={"height": SIDE, "width": SIDE}, **more
    ).save_pretrained(folder)
    return model
