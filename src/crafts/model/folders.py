"""Component folders of diffusers and transformers: safetensors only, no code executed."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from crafts.core.artifacts import retry_when_full
from crafts.core.errors import ConfigError, DataError

_ORIGINS = ("_name_or_path", "name_or_path")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ConfigError: there is no such file.
        DataError: it holds no JSON object.
    """
    if not path.is_file():
        raise ConfigError(
            str(path),
            came="no such file",
            allowed="a folder in the layout of diffusers",
            do="Check the path of the model.",
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            str(path),
            came=f"no valid JSON ({error})",
            allowed="a JSON object",
            do="Restore the file.",
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            str(path), came=type(value).__name__, allowed="a JSON object", do="Restore the file."
        )
    return value


def save_module(module: nn.Module, folder: Path, *, half: bool) -> None:
    """Write a network of diffusers or transformers as safetensors; the network is not changed.

    Args:
        module: any memory format.
        folder: made if absent.
        half: store float16 weights; a reader that names no dtype still gets float32.

    Raises:
        RetryError: the disk is full.
    """
    stored: Any = copy.deepcopy(module)
    nn.Module.to(stored, dtype=torch.float16 if half else torch.float32)
    stored.to(memory_format=torch.contiguous_format)
    with retry_when_full(folder):
        stored.save_pretrained(folder, safe_serialization=True)
    path = folder / "config.json"
    config = read_json(path)
    if "dtype" in config:
        config["dtype"] = (
            "float32"  # transformers would else build a float16 encoder beside a float32 U-Net
        )
    if config.get("_class_name") == "AutoencoderTiny":
        config.pop("block_out_channels", None)  # derived; reading it back would warn
    write_json(path, config)
    strip_origin(folder)


def strip_origin(folder: Path) -> None:
    """Remove from every ``*config.json`` of a folder the place its module was loaded from."""
    for path in sorted(folder.glob("*config.json")):
        config = read_json(path)
        kept = {key: value for key, value in config.items() if key not in _ORIGINS}
        if kept != config:
            write_json(path, kept)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys, its folder made if absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_diffusers_module(folder: Path, classes: tuple[type, ...]) -> Any:
    """Open one network of diffusers in float32, in evaluation mode.

    Raises:
        ConfigError: ``config.json`` names a class not among ``classes``, or no safetensors.
        DataError: the weights are damaged or do not fit the configuration.
    """
    name = read_json(folder / "config.json").get("_class_name")
    kind = next((kind for kind in classes if kind.__name__ == name), None)
    if kind is None:
        raise ConfigError(
            f"{folder / 'config.json'}: _class_name",
            came=repr(name),
            allowed=" or ".join(kind.__name__ for kind in classes),
            do="Use a model in the layout of SD-1.5.",
        )
    return load_module(folder, kind)


def load_module(folder: Path, kind: Any) -> Any:
    """Open a folder with ``kind.from_pretrained``: safetensors, float32, no weight missing.

    Raises:
        ConfigError: there are no safetensors (pickled weights are refused).
        DataError: the weights are damaged, incomplete or of another shape.
    """
    variant = check_safetensors(folder)
    try:
        module, report = kind.from_pretrained(
            folder,
            variant=variant,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            str(folder),
            came=f"unreadable weights ({reason})",
            allowed="weights that fit config.json",
            do="Download or make the model again.",
        ) from None
    faults = [
        str(name) for key in ("missing_keys", "mismatched_keys") for name in report.get(key, ())
    ]
    if faults:
        raise DataError(
            str(folder),
            came=f"{len(faults)} weights absent or of another shape, first {faults[0]!r}",
            allowed="every weight of config.json",
            do="Download or make the model again.",
        )
    return module.float().eval()


def check_safetensors(folder: Path) -> str | None:
    """The variant to open: None, or "fp16" where only that one is stored.

    Raises:
        ConfigError: the folder holds no safetensors.
    """
    names = [path.name for path in folder.glob("*.safetensors*")]
    if not names:
        pickled = sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix in {".bin", ".ckpt", ".pt", ".pth"}
        )
        raise ConfigError(
            str(folder),
            came=f"pickled weights only ({pickled[0]})" if pickled else "no weights",
            allowed="a *.safetensors file (opening a pickle can run code)",
            do="Convert the weights to safetensors where you trust them.",
        )
    return None if any(".fp16." not in name for name in names) else "fp16"
