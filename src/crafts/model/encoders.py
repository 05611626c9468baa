"""Our own CLIP: a convolutional image encoder and a causal text encoder that share a space."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    RegNetConfig,
    RegNetModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from crafts.core import artifacts
from crafts.core.config import validate
from crafts.core.errors import ConfigError
from crafts.model.config import (
    DualEncoderConfig,
    RegNetVision,
    TextConfig,
    ViTVision,
)
from crafts.model.files.folders import (
    WEIGHTS,
    load_network,
    load_with_report,
    read_json,
    save_tensors,
)
from crafts.model.files.guards import check_config
from crafts.model.text import TextConditioner, build_text_encoder, load_tokenizer, save_tokenizer
from crafts.model.text_encoders import encodes_text, open_text, text_sizes


class DualEncoder(nn.Module):
    """Image and text encoder with projections and a learnt logit scale.

    Args:
        config: sizes of both halves.
        tokenizer: decides the vocabulary of the text half.
    """

    def __init__(self, config: DualEncoderConfig, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.config = config
        self.vision_model, vision_width = _build_vision(config)
        self.text_model = build_text_encoder(config.text, tokenizer)
        self.visual_projection = nn.Linear(vision_width, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text.width, config.projection_dim, bias=False)
        self.language_head = nn.Linear(config.text.width, config.text.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._conditioner = TextConditioner(tokenizer, self.text_model)

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the text half."""
        return self._conditioner.tokenizer

    @property
    def fingerprint(self) -> str:
        """sha256 of configuration and weights (as float32); computed anew at each access."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def image_features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1], any size -> features [B, D], not normalised."""
        pooled = self.vision_model(self.resize(images)).pooler_output
        return self.visual_projection(pooled.flatten(1))

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Outputs of stem and stages, for a feature loss on images [B, 3, H, W] in [-1, 1].

        Convolutional nets see the images at their own size.
        """
        if isinstance(self.config.vision, ViTVision):
            states = self.vision_model(self.resize(images), output_hidden_states=True).hidden_states
            return [state.transpose(1, 2) for state in states]
        return list(self.vision_model(images, output_hidden_states=True).hidden_states)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> features [B, D], not normalised.

        A text of several chunks gives the mean over its chunks, so that nothing of it is lost.
        """
        split = [self._conditioner.token_ids(text, max_chunks=len(text) + 1)[0] for text in texts]
        ids = self.trim(torch.tensor([piece for pieces in split for piece in pieces]))
        features = self.text_projection(
            self.text_model(ids.to(self.logit_scale.device)).pooler_output
        )
        if len(features) == len(split):
            return features
        return torch.stack(
            [part.mean(0) for part in features.split([len(pieces) for pieces in split])]
        )

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Ids [B, T] of the first chunk of each text, trimmed, for :meth:`token_logits`."""
        return self.trim(torch.tensor([self._conditioner.token_ids(text)[0][0] for text in texts]))

    def trim(self, ids: Tensor) -> Tensor:
        """Drop columns [B, T] that are padding in all rows; a causal encoder does not see them."""
        ended = (ids == self.tokenizer.eos_token_id).int().argmax(1)
        return ids[:, : int(ended.max()) + 1]

    def token_logits(self, ids: Tensor) -> Tensor:
        """Next-token logits [B, T, V] of ids [B, T]: a linear head tied to the token embedding."""
        hidden = self.text_model(ids).last_hidden_state
        return self.language_head(hidden) @ self.text_model.get_input_embeddings().weight.T

    def text_conditioner(self) -> TextConditioner:
        """Tokenizer and text half as conditioning; the weights are shared, not copied."""
        return self._conditioner

    def resize(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] at the size [B, 3, S, S] that the image half works on."""
        size = (self.config.image_size, self.config.image_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def build_dual_encoder(config: DualEncoderConfig, tokenizer: CLIPTokenizer) -> DualEncoder:
    """A dual encoder with random weights."""
    return DualEncoder(config, tokenizer)


def save_dual_encoder(encoder: DualEncoder, folder: Path, *, half: bool = False) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``tokenizer/``; no manifest.

    Args:
        encoder: is not changed.
        folder: made if absent.
        half: store weights as float16; they are read back as float32.

    Raises:
        RetryError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in encoder.state_dict().items()
    }
    save_tensors(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = {"_class_name": "DualEncoder", **encoder.config.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_tokenizer(encoder.tokenizer, folder / "tokenizer")


def load_dual_encoder(folder: Path) -> DualEncoder:
    """Read a folder of :func:`save_dual_encoder` in float32, in evaluation mode.

    Its manifest is checked first.

    Raises:
        ConfigError: no such folder, or the configuration is of something else.
        IntegrityError: a file differs from the manifest, or the manifest was lost.
        DataError: the weights are damaged or do not fit the configuration.
    """
    config = read_dual_encoder_config(folder)
    artifacts.check(folder, ours=True)  # only crafts writes such a folder
    tokenizer = load_tokenizer(folder / "tokenizer")
    return load_network(folder, lambda: build_dual_encoder(config, tokenizer))


def load_text_conditioner(folder: Path) -> TextConditioner:
    """Tokenizer and text half of a CLIP folder; its image half is left aside.

    Args:
        folder: of :func:`save_dual_encoder`, or in the layout of transformers (OpenAI's CLIP,
            PLIP, QuiltNet), where ``pytorch_model.bin`` is read for its tensors if nothing better
            is there; or a text encoder of transformers (BERT, RoBERTa, T5) with its tokenizer.

    Raises:
        ConfigError: no such folder, or another model.
        IntegrityError: a file differs from the manifest.
        DataError: the weights are damaged or do not fit the configuration.
    """
    values = read_json(folder / "config.json")
    if encodes_text(values):
        artifacts.check(folder, ours=False)
        return open_text(folder, folder)
    if values.get("model_type") != "clip":
        return load_dual_encoder(folder).text_conditioner()
    artifacts.check(folder, ours=False)
    both = load_with_report(folder, CLIPModel, allow_bin=True)[0]
    return TextConditioner(load_tokenizer(folder), both.text_model)


def identify_clip(folder: Path) -> str:
    """Identity of a folder of :func:`load_text_conditioner`: its manifest's, or its files'.

    Raises:
        IntegrityError: the manifest cannot be read.
    """
    if (folder / artifacts.MANIFEST).is_file():
        return artifacts.fingerprint(folder)
    kinds = {".safetensors", ".bin", ".json", ".txt"}
    names = sorted(path.name for path in folder.iterdir() if path.suffix in kinds)
    lines = "".join(f"{name} {artifacts.sha256_file(folder / name)}\n" for name in names)
    return artifacts.sha256_bytes(lines.encode())


def read_text_config(folder: Path) -> TextConfig:
    """Sizes of the text half of a folder of :func:`load_text_conditioner`, which says what fails.

    Raises:
        ConfigError: no such folder, or another model.
    """
    values = read_json(folder / "config.json")
    if encodes_text(values):
        return text_sizes(values)
    if values.get("model_type") != "clip":
        return read_dual_encoder_config(folder).text
    sizes = CLIPTextConfig(**(values.get("text_config") or {}))
    return TextConfig(
        width=sizes.hidden_size,
        num_layers=sizes.num_hidden_layers,
        num_heads=sizes.num_attention_heads,
        intermediate=sizes.intermediate_size,
    )


def read_dual_encoder_config(folder: Path) -> DualEncoderConfig:
    """The sizes of a dual encoder that was saved.

    Raises:
        ConfigError: no such folder, or the configuration is of something else.
    """
    values = read_json(folder / "config.json")
    if values.pop("_class_name", None) != "DualEncoder":
        raise ConfigError(
            f"{folder / 'config.json'}: _class_name",
            came="another model",
            allowed="'DualEncoder', or for text alone a CLIP of transformers",
            do="Pass an image-text encoder that crafts trained.",
        )
    check_config(values, folder / "config.json")
    return validate(DualEncoderConfig, values, str(folder / "config.json"))


def _build_vision(config: DualEncoderConfig) -> tuple[Any, int]:
    """The image model of transformers and the width of its pooled output."""
    vision = config.vision
    if isinstance(vision, ViTVision):
        sizes = ViTConfig(
            hidden_size=vision.width,
            num_hidden_layers=vision.num_layers,
            num_attention_heads=vision.num_heads,
            intermediate_size=vision.intermediate,
            patch_size=vision.patch_size,
            image_size=config.image_size,
        )
        return ViTModel(sizes), vision.width
    if isinstance(vision, RegNetVision):
        regnet = RegNetConfig(**vision.model_dump(exclude={"kind"}))
        return RegNetModel(regnet), vision.hidden_sizes[-1]
    sizes = ResNetConfig(layer_type="basic", **vision.model_dump(exclude={"kind"}))
    return ResNetModel(sizes), vision.hidden_sizes[-1]
