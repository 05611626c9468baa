"""Networks that turn images (and some of them texts) into features, behind one interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, CLIPModel

from crafts.core import artifacts
from crafts.core.errors import ConfigError
from crafts.core.runtime import pick_device
from crafts.model.config import UNKNOWN
from crafts.model.encoders import DualEncoder, load_dual_encoder
from crafts.model.files.folders import has_only_bin, load_with_report, read_json, read_licence
from crafts.model.files.guards import check_config
from crafts.model.files.hub import hub_id
from crafts.model.files.places import find_encoder
from crafts.model.text import TextConditioner, load_tokenizer
from crafts.model.vision import efficientnet
from crafts.model.vision.inception import INPUT_SIZE, WIDTH, load_inception, prepare_image
from crafts.model.vision.preprocessing import Preprocessing, read_preprocessing

SHIPPED = find_encoder("mini")
_READ = ("config.json", "vocab.json", "merges.txt", "tokenizer.json")

Prepare = Callable[[NDArray[np.uint8]], Tensor]
EncodeImages = Callable[[Tensor], Tensor]
EncodeTexts = Callable[[Sequence[str]], tuple[Tensor, list[bool]]]


@dataclass(frozen=True)
class ImageEncoder:
    """An encoder of images, and of texts where ``encode_texts`` is there.

    Attributes:
        facts: name, kind, fingerprint, weights_sha256, width, licence, output (what is read from
            the network), preprocessing, text_tokens (limit of a text; None for no limit or texts).
        device: where the network lives.
        prepare: pixels uint8 [H, W, 3] -> float32 [3, h, w], of one size for all images.
        encode_images: prepared images [B, 3, h, w] on the device -> features [B, D].
        encode_texts: B texts -> features [B, D], and whether each text was cut.
    """

    facts: Mapping[str, Any]
    device: torch.device
    prepare: Prepare
    encode_images: EncodeImages
    encode_texts: EncodeTexts | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of the features: of weights, configuration, preprocessing and output."""
        return str(self.facts["fingerprint"])

    @property
    def width(self) -> int:
        """D."""
        return int(self.facts["width"])

    @torch.inference_mode()
    def images(self, batch: Tensor | Iterable[NDArray[np.uint8]]) -> Tensor:
        """Features of images.

        Args:
            batch: tiles uint8 [H, W, 3], also of several sizes, or a tensor [B, 3, h, w] of
                prepared images.

        Returns:
            Float32 [B, D], not normalised, on the CPU.
        """
        if not isinstance(batch, Tensor):
            batch = torch.stack([self.prepare(tile) for tile in batch])
        return self.encode_images(batch.to(self.device)).float().cpu()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> tuple[Tensor, list[bool]] | None:
        """Features float32 [B, D] of texts, not normalised, and whether each was cut; or None."""
        if self.encode_texts is None:
            return None
        features, cut = self.encode_texts(texts)
        return features.float().cpu(), cut


def open_encoder(
    source: str | Path, *, network: bool = False, device: torch.device | str = "auto"
) -> ImageEncoder:
    """Open an encoder in float32, in evaluation mode.

    Args:
        source: "mini" for the evaluation CLIP in the package; a folder or hub id with a CLIP
            (PLIP, QuiltNet, OpenAI's) or vision model (DINOv2, ViT) of transformers; a CLIP that
            crafts trained; a weights file of the FID Inception as pytorch-fid stores it; or
            "efficientnet-lite0", "efficientnet-lite1" from their packages.
        network: whether a hub id may be downloaded.
        device: where it shall compute.

    Raises:
        ConfigError: no such model, or one of another kind.
        IntegrityError: a file differs from the manifest.
        DataError: weights that are damaged or do not fit.
    """
    where = pick_device(device) if isinstance(device, str) else device
    path, name = _find(str(source), network)
    if name in efficientnet.SIDES:
        return _open_efficientnet(path, name, where)
    if path.is_file():
        return _open_inception(path, name, where)
    config = read_json(path / "config.json")
    kind = str(config.get("model_type"))
    if config.get("_class_name") == "DualEncoder":
        return _open_dual(path, name, where)
    check_config(config, path / "config.json")
    artifacts.check(path, ours=False)
    if kind == "clip":
        return _open_clip(path, name, where)
    if kind not in CONFIG_MAPPING:
        raise ConfigError(
            f"{path / 'config.json'}: model_type",
            came=repr(config.get("model_type")),
            allowed="a model of transformers, or a CLIP that crafts trained",
            do="Use a folder in one of these layouts.",
        )
    return _open_vision(path, name, where)


def _find(source: str, network: bool) -> tuple[Path, str]:
    """Where an encoder lies and what it is called."""
    path = find_encoder(source, network=network)
    if source == "mini" or source in efficientnet.SIDES:
        return path, source
    return path, path.resolve().name if Path(source).exists() else hub_id(source)


def _open_dual(folder: Path, name: str, device: torch.device) -> ImageEncoder:
    network = load_dual_encoder(folder).to(device)
    licence = read_licence(folder / "README.md")
    if (folder / artifacts.MANIFEST).is_file():
        licence = str(artifacts.load_manifest(folder).extra.get("licence", licence))
    size = network.config.image_size
    steps = {
        "resize": [size, size],
        "filter": "torch bilinear, antialiased",
        "crop": None,
        "scale": 1 / 255,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    return ImageEncoder(
        facts=_facts(folder, name, kind="dual", licence=licence, steps=steps)
        | {"width": network.config.projection_dim, "text_tokens": None},
        device=device,
        prepare=lambda pixels: _prepare_dual(network, pixels),
        encode_images=network.image_features,
        # longer texts are the mean over their chunks: nothing is cut
        encode_texts=lambda texts: (network.text_features(texts), [False] * len(texts)),
    )


def _prepare_dual(network: DualEncoder, pixels: NDArray[np.uint8]) -> Tensor:
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1
    return network.resize(image[None])[0]


def _open_clip(folder: Path, name: str, device: torch.device) -> ImageEncoder:
    preprocessing = read_preprocessing(folder)
    tokenizer = load_tokenizer(folder)
    model = load_with_report(folder, CLIPModel, allow_bin=True)[0].to(device)
    words = TextConditioner(tokenizer, model.text_model)

    def encode_images(images: Tensor) -> Tensor:
        return model.visual_projection(model.vision_model(pixel_values=images).pooler_output)

    _try(encode_images, _probe(preprocessing).to(device), folder)

    def encode_texts(texts: Sequence[str]) -> tuple[Tensor, list[bool]]:
        split = [words.token_ids(text, max_chunks=1) for text in texts]
        ids = torch.tensor([chunks[0] for chunks, _ in split], device=device)
        pooled = model.text_model(input_ids=ids).pooler_output
        return model.text_projection(pooled), [bool(cut) for _, cut in split]

    facts = _facts(
        folder,
        name,
        kind="clip",
        licence=read_licence(folder / "README.md"),
        steps=preprocessing.facts(),
    )
    return ImageEncoder(
        facts=facts | {"width": model.config.projection_dim, "text_tokens": words.chunk_length},
        device=device,
        prepare=preprocessing,
        encode_images=encode_images,
        encode_texts=encode_texts,
    )


def _open_vision(folder: Path, name: str, device: torch.device) -> ImageEncoder:
    kind, model_type = _vision_class(folder)
    preprocessing = read_preprocessing(folder)
    model, missing = load_with_report(folder, kind, allow_bin=True, may_lack="pooler.")
    model.to(device)

    def forward(images: Tensor) -> Any:
        return model(pixel_values=images)

    probe = _probe(preprocessing).to(device)
    found = _try(forward, probe, folder)
    output, read = _readout(model, found, bool(missing))
    first, second = read(found), read(_try(forward, probe, folder))
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            f"encoder {name!r}",
            came=f"a network that draws at random ({model_type!r})",
            allowed="the same features at each call",
            do="Choose another encoder.",
        )
    facts = _facts(
        folder,
        name,
        kind="vision",
        licence=read_licence(folder / "README.md"),
        steps=preprocessing.facts(),
        output=output,
    )
    return ImageEncoder(
        facts=facts | {"width": first.shape[1], "text_tokens": None},
        device=device,
        prepare=preprocessing,
        encode_images=lambda images: read(forward(images)),
    )


def _vision_class(folder: Path) -> tuple[Any, str]:
    """The class of transformers that a folder names, and its ``model_type``.

    Raises:
        ConfigError: it takes something else than images alone.
    """
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = MODEL_MAPPING[type(settings)] if type(settings) in MODEL_MAPPING else None
    if kind is None or kind.main_input_name != "pixel_values":
        raise ConfigError(
            f"{folder / 'config.json'}: model_type",
            came=f"{settings.model_type!r}, which is no encoder of images alone",
            allowed="clip, or a vision model such as vit or dinov2",
            do="Choose another encoder.",
        )
    return kind, settings.model_type


def _readout(model: nn.Module, found: Any, no_pooler: bool) -> tuple[str, Callable[[Any], Tensor]]:
    """What to read from a network: its pooled output, else the class token, else the mean."""
    if getattr(found, "pooler_output", None) is not None and not no_pooler:
        return "pooled output", lambda output: output.pooler_output.flatten(1)
    if found.last_hidden_state.ndim == 4:
        return "mean over positions", lambda output: output.last_hidden_state.mean((2, 3))
    if any(key.endswith(("cls_token", "class_embedding")) for key, _ in model.named_parameters()):
        return "class token of the last layer", lambda output: output.last_hidden_state[:, 0]
    return "mean over tokens", lambda output: output.last_hidden_state.mean(1)


def _probe(preprocessing: Preprocessing) -> Tensor:
    """A prepared image [1, 3, h, w] of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 3), dtype=np.uint8)
    return preprocessing(noise)[None]


@torch.inference_mode()
def _try(network: Callable[[Tensor], Any], probe: Tensor, folder: Path) -> Any:
    """What a network says to the probe; one of another input size says no."""
    try:
        return network(probe)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            str(folder),
            came=f"a network that refuses images as prepared ({reason})",
            allowed="preprocessing that fits the network",
            do="Restore preprocessor_config.json of this model.",
        ) from None


def _open_inception(path: Path, name: str, device: torch.device) -> ImageEncoder:
    network = load_inception(path).to(device)
    steps = {
        "resize": [INPUT_SIZE, INPUT_SIZE],
        "filter": "torch bilinear, not antialiased (as pytorch-fid)",
        "crop": None,
        "scale": 1 / 255,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    output = "pool3, mean over positions"
    return ImageEncoder(
        facts=_facts_of_file(path, name, kind="inception", steps=steps, output=output)
        | {"width": WIDTH, "licence": UNKNOWN},
        device=device,
        prepare=prepare_image,
        encode_images=network,
    )


def _open_efficientnet(path: Path, name: str, device: torch.device) -> ImageEncoder:
    network: Any = efficientnet.load_efficientnet(path, name).to(device)
    preprocessing = efficientnet.preprocessing_of(name)
    facts = _facts_of_file(
        path,
        name,
        kind="efficientnet",
        steps=preprocessing.facts(),
        output=efficientnet.OUTPUT,
    )
    return ImageEncoder(
        facts=facts | {"width": efficientnet.WIDTH, "licence": "apache-2.0"},
        device=device,
        prepare=preprocessing,
        encode_images=lambda images: network.extract_features(images).mean((2, 3)),
    )


def _facts_of_file(
    path: Path, name: str, *, kind: str, steps: Mapping[str, Any], output: str
) -> dict[str, Any]:
    """What is known of an encoder of images whose weights are one file."""
    weights = artifacts.sha256_file(path)
    return {
        "name": name,
        "kind": kind,
        "fingerprint": _identity(weights, steps, output),
        "weights_sha256": weights,
        "output": output,
        "preprocessing": dict(steps),
        "text_tokens": None,
    }


def _facts(
    folder: Path,
    name: str,
    *,
    kind: str,
    licence: str,
    steps: Mapping[str, Any],
    output: str = "projection into the space of images and texts",
) -> dict[str, Any]:
    """What is known of an encoder in a folder; files are hashed, as names of weights may change."""
    suffix = ".bin" if has_only_bin(folder) else ".safetensors"
    weights = {
        path.name: artifacts.sha256_file(path) for path in sorted(folder.glob(f"*model*{suffix}"))
    }
    used = [path for path in sorted(folder.rglob("*")) if path.name in _READ and path.is_file()]
    files = {
        path.relative_to(folder).as_posix(): artifacts.sha256_file(path) for path in used
    } | weights
    only = next(iter(weights.values())) if len(weights) == 1 else _identity(weights)
    return {
        "name": name,
        "kind": kind,
        "fingerprint": _identity(files, steps, output),
        "weights_sha256": only,
        "licence": licence,
        "output": output,
        "preprocessing": dict(steps),
    }


def _identity(*parts: Any) -> str:
    return artifacts.sha256_bytes(json.dumps(parts, sort_keys=True).encode())
