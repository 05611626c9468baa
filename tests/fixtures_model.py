"""Small networks for the tests of ``model``, and a folder laid out as Stable Diffusion 1.5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from crafts.model.bundle import Bundle
from crafts.model.codec import Codec, KLCodecConfig, build_codec
from crafts.model.denoiser import build_denoiser
from crafts.model.schedule import ScheduleConfig, build_schedule
from crafts.model.text import TextConditioner, TextConfig, build_text_encoder, train_tokenizer
from crafts.testing import tiny_codec_config, tiny_denoiser_config

SENTENCES = (
    "oral squamous cell carcinoma, low power view",
    "benign prostate glands with many lymphocytes",
    "colon adenocarcinoma, glands with wide lumens, high power view",
)
TINY_TEXT = TextConfig(width=16, num_layers=2, num_heads=2, intermediate=32)
TINY_DENOISER = tiny_denoiser_config()


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    return train_tokenizer(SENTENCES * 3, 600, folder)


def tiny_codec(width: int = 8, channels: int = 4) -> Codec:
    return build_codec(tiny_codec_config(width, channels))


def kl_codec() -> Codec:
    config = KLCodecConfig(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, sample_size=32
    )
    return build_codec(config)


def tiny_bundle(folder: Path, codec: Codec | None = None, **fields: Any) -> Bundle:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(folder)
    bundle = Bundle(
        codec=codec or tiny_codec(),
        text=TextConditioner(tokenizer, build_text_encoder(TINY_TEXT, tokenizer)),
        denoiser=build_denoiser(TINY_DENOISER),
        schedule=build_schedule(ScheduleConfig()),
        **fields,
    )
    for module in (bundle.codec.module, bundle.text.encoder, bundle.denoiser):
        module.eval()
    return bundle


_UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [16, 32, 32, 32],  # 320, 640, 1280, 1280
    "center_input_sample": False,
    "cross_attention_dim": 16,  # 768
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 8,  # 32
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [8, 8, 16, 16],  # 128, 256, 512, 512
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 4,  # 32
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_TEXT = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 16,  # 768
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 32,  # 3072
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 2,  # 12
    "num_hidden_layers": 2,  # 12
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
}
_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_FEATURES = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def write_sd15_folder(folder: Path) -> dict[str, Any]:
    """A folder as the hub holds it, files of 2022 and old weight names included, at tiny widths.

    Returns:
        The modules whose weights it holds: "unet", "vae", "text_encoder".
    """
    torch.manual_seed(1)
    _write_sd15_tokenizer(folder / "tokenizer")
    vocabulary = len(json.loads((folder / "tokenizer" / "vocab.json").read_text()))
    text_config = {**_TEXT, "vocab_size": vocabulary}
    unet = UNet2DConditionModel.from_config(_UNET)
    vae = AutoencoderKL.from_config(_VAE)
    encoder = CLIPTextModel(CLIPTextConfig(**text_config))
    text_weights = {f"text_model.{name}": value for name, value in encoder.state_dict().items()}
    text_weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    _write_part(folder / "unet", _UNET, unet.state_dict())
    _write_part(folder / "vae", _VAE, _old_names(vae.state_dict()))
    _write_part(folder / "text_encoder", text_config, text_weights, "model.safetensors")
    _write(folder / "scheduler" / "scheduler_config.json", _SCHEDULER)
    _write(folder / "feature_extractor" / "preprocessor_config.json", _FEATURES)
    _write(
        folder / "safety_checker" / "config.json",
        {"architectures": ["StableDiffusionSafetyChecker"]},
    )
    _write(folder / "model_index.json", _INDEX)
    card = "---\nlicense: creativeml-openrail-m\ntags:\n- stable-diffusion\n---\n# A card\n"
    (folder / "README.md").write_text(card)
    return {"unet": unet.eval(), "vae": vae.eval(), "text_encoder": encoder.eval()}


def _old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, value in weights.items():
        for new, old in _OLD_ATTENTION.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        renamed[name] = value
    return renamed


def _write_sd15_tokenizer(folder: Path) -> None:
    tiny_tokenizer(folder)

    def token(content: str, **more: Any) -> dict[str, Any]:
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        return {"content": content, **flags, **more}

    begin, end = token("<|startoftext|>"), token("<|endoftext|>")
    special = {"bos_token": begin, "eos_token": end, "pad_token": "<|endoftext|>", "unk_token": end}
    typed = {
        name: {"__type": "AddedToken", **value} if isinstance(value, dict) else value
        for name, value in special.items()
    }
    config = {
        "add_prefix_space": False,
        **typed,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14",
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
    }
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "tokenizer_config.json", config)


def _write_part(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    name: str = "diffusion_pytorch_model.safetensors",
) -> None:
    _write(folder / "config.json", config)
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
