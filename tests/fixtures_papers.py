"""What the recipes at the papers' sizes start from, in the same files at tiny widths."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from fixtures_model import tiny_tokenizer, write_sd15_folder

SIDE = 64
"""Edge of a tile in pixels."""
CAPTIONS = (
    ("BRCA", "high tumor; low til; invasive ductal carcinoma of the breast, grade 2, necrosis"),
    ("LUAD", "low tumor; low til; lung adenocarcinoma"),
    ("COAD", "high tumor; high til; colon adenocarcinoma, glands with wide lumens and mucin"),
    ("", "benign prostate glands with many lymphocytes"),
)


def write_tiles(folder: Path, count: int = 12) -> Path:
    """Tiles of noise with captions of several lengths, labels, patients and splits."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for index in range(count):
        pixels = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8).repeat(8, 0)
        Image.fromarray(pixels.repeat(8, 1)).save(folder / f"{index}.png")
        label, text = CAPTIONS[index % len(CAPTIONS)]
        split = "validation" if index >= count - 2 else "train"
        rows.append([f"{index}.png", text, label, f"P{index:02d}", split, "noise"])
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file_name", "text", "label", "patient", "split", "set"])
        writer.writerows(rows)
    return folder


def write_sd15(folder: Path) -> Path:
    """The layout of SD-1.5 with latents of 8 instead of 64."""
    write_sd15_folder(folder)
    for part, size in (("unet", SIDE // 8), ("vae", SIDE)):
        path = folder / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "sample_size": size}))
    return folder


def write_clip(folder: Path) -> CLIPModel:
    """A CLIP with both halves and its tokenizer, as ViT-B/32 lies on a hub (there 512 wide)."""
    torch.manual_seed(2)
    vocabulary = len(tiny_tokenizer(folder))
    text = {
        "hidden_size": 16,  # 512
        "intermediate_size": 32,  # 2048
        "num_hidden_layers": 2,  # 12
        "num_attention_heads": 2,  # 8
        "max_position_embeddings": 77,
        "vocab_size": vocabulary,  # 49408
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "hidden_act": "quick_gelu",
    }
    vision = {
        "hidden_size": 16,  # 768
        "intermediate_size": 32,  # 3072
        "num_hidden_layers": 1,  # 12
        "num_attention_heads": 2,  # 12
        "image_size": 32,  # 224
        "patch_size": 16,  # 32
        "hidden_act": "quick_gelu",
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    model.save_pretrained(folder)
    return model


def write_f4_vae(folder: Path) -> AutoencoderKL:
    """An autoencoder of f = 4 with three channels (there 128, 256, 512 wide)."""
    torch.manual_seed(3)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=3,
        layers_per_block=2,
        norm_num_groups=4,
        sample_size=SIDE,
        scaling_factor=1.0,
    )
    vae.save_pretrained(folder)
    return vae.eval()
