"""Component folders of diffusers and transformers: safetensors only, no code executed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from crafts.core.disk import retry_when_full
from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import parse_json, parse_yaml
from crafts.model.config import UNKNOWN
from crafts.model.files.guards import check_config, check_finite, check_index, check_size

WEIGHTS = "model.safetensors"
_ORIGINS = ("_name_or_path", "name_or_path")

N = TypeVar("N", bound=nn.Module)


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
        value = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
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
        # transformers would else build a float16 encoder beside a float32 U-Net
        config["dtype"] = "float32"
    if config.get("_class_name") == "AutoencoderTiny":
        config.pop("block_out_channels", None)  # derived; reading it back would warn
    write_json(path, config)
    strip_origin(folder)


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Args:
        tensors: by name, none sharing storage with another; any device and memory format.
        path: in a folder that exists.
        metadata: of the file.

    Raises:
        RetryError: the disk is full.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with retry_when_full(path):
        save_file(plain, path, metadata=dict(metadata) if metadata else None)


def load_network(folder: Path, build: Callable[[], N]) -> N:
    """A network of ours with the weights of its folder, in float32, in evaluation mode.

    Its size is checked before it is built, its weights afterwards.

    Args:
        folder: holds ``model.safetensors``, and the ``config.json`` that ``build`` follows.
        build: makes the network.

    Raises:
        ConfigError: the folder holds no safetensors.
        DataError: the weights are damaged, do not fit the configuration, or are not finite.
    """
    check_safetensors(folder)
    check_size(folder, build)
    network = build()
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(
            str(folder / WEIGHTS),
            came=f"unreadable weights ({shorten(str(error), 160, placeholder=' ...')})",
            allowed="weights that fit config.json",
            do="Restore the file, or train again.",
        ) from None
    check_finite(network.state_dict(), folder)
    return network.float().eval()


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
    module, missing = load_with_report(folder, kind)
    if missing:
        raise _incomplete(folder, missing)
    return module


def load_with_report(
    folder: Path, kind: Any, *, allow_bin: bool = False, may_lack: str = ""
) -> tuple[Any, list[str]]:
    """Open a folder as :func:`load_module`, also where an optional part was never stored.

    Its settings and size are checked first, its weights afterwards; see
    :mod:`crafts.model.files.guards`.

    Args:
        folder: holds ``config.json`` and weights.
        kind: class of the network.
        allow_bin: where there are no safetensors, read ``pytorch_model.bin``, tensors only.
        may_lack: prefix of names that may be absent; their values are then random.

    Returns:
        The network and the names that were absent.

    Raises:
        ConfigError: as :func:`load_module`, or settings that choose code.
        DataError: as :func:`load_module`, or a weight that is not finite.
    """
    pickled = allow_bin and has_only_bin(folder)
    variant = None if pickled else check_safetensors(folder)
    values = read_json(folder / "config.json")
    check_config(values, folder / "config.json")
    check_size(folder, lambda: _build(folder, kind, values))
    try:
        module, report = kind.from_pretrained(
            folder,
            variant=variant,
            dtype=torch.float32,
            use_safetensors=not pickled,
            local_files_only=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # two libraries, with files of anyone
        reason = shorten(str(error), 160, placeholder=" ...")
        raise DataError(
            str(folder),
            came=f"unreadable weights ({reason})",
            allowed="weights that fit config.json",
            do="Download or make the model again.",
        ) from None
    missing = [str(name) for name in report.get("missing_keys", ())]
    faults = [name for name in missing if not (may_lack and name.startswith(may_lack))]
    faults += [str(name) for name in report.get("mismatched_keys", ())]
    if faults:
        raise _incomplete(folder, faults)
    check_finite({n: v for n, v in module.state_dict().items() if n not in missing}, folder)
    return module.float().eval(), missing


def _build(folder: Path, kind: Any, values: Mapping[str, Any]) -> nn.Module:
    """A network of diffusers or of transformers from its settings, with random weights."""
    if hasattr(kind, "from_config"):
        return kind.from_config(values)
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True))


def has_only_bin(folder: Path) -> bool:
    """Whether the weights lie in ``pytorch_model.bin`` alone."""
    return (folder / "pytorch_model.bin").is_file() and not any(folder.glob("*.safetensors*"))


def _incomplete(folder: Path, faults: list[str]) -> DataError:
    return DataError(
        str(folder),
        came=f"{len(faults)} weights absent or of another shape, first {faults[0]!r}",
        allowed="every weight of config.json",
        do="Download or make the model again.",
    )


def check_safetensors(folder: Path) -> str | None:
    """The variant to open: None, or "fp16" where only that one is stored.

    Raises:
        ConfigError: the folder holds no safetensors.
    """
    names = [path.name for path in folder.glob("*.safetensors*") if path.is_file()]
    check_index(folder)
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


def read_licence(card: Path) -> str:
    """The ``license`` of a model card's YAML header, or "unknown"."""
    if not card.is_file():
        return UNKNOWN
    header = re.match(
        r"\A---\s*\n(.*?)\n---\s*(\n|\Z)",
        card.read_text(encoding="utf-8", errors="replace"),
        re.DOTALL,
    )
    try:
        values = parse_yaml(header.group(1)) if header else None
    except ValueError:
        return UNKNOWN
    licence = values.get("license") if isinstance(values, dict) else None
    return str(licence) if licence else UNKNOWN
