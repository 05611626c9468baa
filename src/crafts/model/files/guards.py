"""What a model folder must pass before a network is built from it: no code, no absurd size, no NaN.

A ``config.json`` of a few lines can ask for more memory than any machine has, or for attention code
of someone else. So its fields are looked at first, then the network is counted on the meta device
and compared with the weights that lie there, and only then is anything allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import parse_json, shorten

# fields by which a folder would choose code, and the values that choose none
_CODE: dict[str, tuple[Any, ...]] = {
    "_attn_implementation": (None, "eager", "sdpa"),
    "attention_backend": (None,),
    "attn_implementation": (None, "eager", "sdpa"),
    "attn_processor": (None,),
    "attn_processors": (None,),
    "auto_map": (None, {}),
    "custom_pipelines": (None, {}),
    "experts_implementation": (None, "eager"),
    "quantization_config": (None,),
    "trust_remote_code": (None, False),
}
_DEEP = ("layer", "depth", "num_stages", "encoder_blocks", "decoder_blocks")
_MOST_LAYERS = 512
_MOST_LEVELS = 64  # entries of a list with one for each block
_LARGEST = 10**9
_SLACK = 1_000_000  # weights that a folder may leave out: a pooler, tied embeddings
_LONGEST_HEADER = 100_000_000  # bytes; that of the safetensors library


def check_config(values: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that choose code, or numbers that no network has.

    Args:
        values: of a ``config.json``.
        path: of the file, for the message.

    Raises:
        ConfigError: names the field.
    """
    for key, value in _walk(values):
        if key in _CODE and value not in _CODE[key]:
            raise ConfigError(
                f"{path}: {key}",
                came=shorten(value),
                allowed="a network of diffusers or transformers as it is: no code of the folder's "
                "choice is run",
                do="Remove the field if the model works without it, or use another model.",
            )
        if fault := _fault(key, value):
            raise ConfigError(
                f"{path}: {key}",
                came=shorten(value),
                allowed=fault,
                do="Restore the file of the model.",
            )


def _walk(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field at every level, without recursion; entries of lists under the list's name."""
    waiting: list[tuple[str, Any]] = list(values.items())
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, Mapping):
            waiting += [(str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]


def _fault(key: str, value: Any) -> str:
    """What would have been allowed in place of a number or list that no network has; or ""."""
    if isinstance(value, bool):
        return ""
    deep = any(word in key for word in _DEEP) and "channels" not in key
    if isinstance(value, int) and deep and value > _MOST_LAYERS:
        return f"at most {_MOST_LAYERS}"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"at most {_LARGEST}"
    if isinstance(value, list) and ("block" in key or deep) and len(value) > _MOST_LEVELS:
        return f"at most {_MOST_LEVELS} entries"
    return ""


def check_size(folder: Path, build: Callable[[], nn.Module]) -> None:
    """Compare the size of a network with the weights in its folder before anything is allocated.

    Args:
        folder: holds ``*.safetensors``, or ``*.bin``.
        build: makes the network; it is called on the meta device.

    Raises:
        DataError: no network can be built, or it has far more weights than the files.
    """
    stored = count_stored(folder)
    try:
        with torch.device("meta"):
            module = build()
    except Exception as error:  # constructors of two libraries, with settings of anyone
        raise DataError(
            str(folder / "config.json"),
            came=f"settings that no network can be built from ({type(error).__name__} "
            f"{' '.join(str(error).split())[:120]})",
            allowed="the settings of its weights",
            do="Restore the file of the model.",
        ) from None
    built = sum(parameter.numel() for parameter in module.parameters())
    if built > 2 * stored + _SLACK:
        raise DataError(
            str(folder / "config.json"),
            came=f"a network of {built} weights, beside files of {stored}",
            allowed="the settings of these weights",
            do="Download or make the model again.",
        )


def count_stored(folder: Path) -> int:
    """Numbers in the weights of a folder, by the headers of its files.

    Raises:
        DataError: a header is damaged or says more than its file holds.
    """
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    if not files:
        pickled = [path for path in folder.glob("*.bin") if path.is_file()]
        return sum(path.stat().st_size for path in pickled) // 2  # two bytes a number or more
    return sum(_count_file(path) for path in files)


def _count_file(path: Path) -> int:
    size = path.stat().st_size
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > min(size, _LONGEST_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = parse_json(handle.read(length))
        parts = [entry for name, entry in header.items() if name != "__metadata__"]
        held = sum(int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]) for entry in parts)
        if held > size:
            raise ValueError(f"tensors of {held} bytes in a file of {size}")
        return sum(_product(entry["shape"]) for entry in parts)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            str(path),
            came=f"unreadable weights ({' '.join(str(error).split())[:160]})",
            allowed="a whole file of safetensors",
            do="Download or make the model again.",
        ) from None


def _product(shape: Iterable[Any]) -> int:
    number = 1
    for side in shape:
        number *= int(side)
    return number


def check_index(folder: Path) -> None:
    """Refuse an index of weights that names files outside its folder, or such as are not there.

    Raises:
        DataError: names the file.
    """
    for path in folder.glob("*.safetensors.index.json"):
        try:
            names = set(parse_json(path.read_bytes())["weight_map"].values())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            names, fault = set(), f"no readable list of files ({error})"
        else:
            absent = [str(n) for n in names if Path(str(n)).name != n or not (folder / n).is_file()]
            fault = f"the file {sorted(absent)[0]!r}" if absent else ""
        if fault:
            raise DataError(
                str(path),
                came=fault,
                allowed="names of files beside it",
                do="Download or make the model again.",
            )


def check_finite(tensors: Mapping[str, Tensor], where: Path | str) -> None:
    """Refuse weights of which one is NaN or infinite: all pictures would be black.

    Args:
        tensors: by name.
        where: folder or file, for the message.

    Raises:
        DataError: names the first such tensor.
    """
    for name, value in tensors.items():
        # a sum in float64 cannot overflow, and takes no memory, unlike a mask of each weight
        if value.is_floating_point() and not torch.isfinite(value.sum(dtype=torch.float64)):
            number = int((~torch.isfinite(value)).sum())
            raise DataError(
                f"{where}: {name}",
                came=f"{number} of {value.numel()} weights not finite",
                allowed="finite weights",
                do="Download or make the model again; training may have diverged.",
            )
