"""Image to tensor as a model folder of transformers asks for it, in Pillow and plain torch.

The image processors of transformers choose their backend by what is installed, and the backends
resize differently. Here the steps are always the same: resize (Pillow), crop, scale, normalise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crafts.core.errors import ConfigError
from crafts.core.parsing import shorten
from crafts.model.files.folders import read_json

# image processors with exactly these steps, and whether a plain number as `size` means the
# shorter side (else it means both)
_SHORTER_SIDE = {
    "CLIP": True,
    "Bit": True,
    "ConvNext": True,
    "ViT": False,
    "DeiT": False,
    "Beit": False,
    "Siglip": False,
    "Blip": False,
}
_STEPS = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}
_SUFFIXES = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
_MOST_PIXELS = 4096  # along an edge
_SQUEEZED_FROM = 384  # ConvNeXt: from this size on, images are squeezed instead of cropped


@dataclass(frozen=True)
class Preprocessing:
    """Steps from pixels to tensor.

    Attributes:
        resize: length of the shorter side, (height, width), or None to keep the size.
        filter: of Pillow, as in "bicubic".
        crop: (height, width) of the centre, filled up with black; None for none.
        scale: factor of the 8-bit values.
        mean: of each channel, subtracted after scaling.
        std: of each channel, divided by.
    """

    resize: int | tuple[int, int] | None
    filter: str
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Pixels uint8 [H, W, 3] -> float32 [3, h, w]."""
        size = self._size_for(pixels.shape[0], pixels.shape[1])
        if size != pixels.shape[:2]:
            resample = Image.Resampling[self.filter.upper()]
            pixels = np.asarray(Image.fromarray(pixels).resize(size[::-1], resample))
        if self.crop:
            pixels = _center(pixels, *self.crop)
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() * self.scale
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (image - mean[:, None, None]) / std[:, None, None]

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        longer = int(self.resize * max(height, width) / min(height, width))
        return (longer, self.resize) if width <= height else (self.resize, longer)

    def facts(self) -> dict[str, Any]:
        """The steps in words and numbers, for reports."""
        resize = {"shorter_side": self.resize} if isinstance(self.resize, int) else self.resize
        return {
            "resize": list(resize) if isinstance(resize, tuple) else resize,
            "filter": f"Pillow {self.filter}, antialiased" if self.resize else None,
            "crop": list(self.crop) if self.crop else None,
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def read_preprocessing(folder: Path) -> Preprocessing:
    """The steps that a model folder asks for.

    Args:
        folder: with ``preprocessor_config.json``, or ``processor_config.json`` which holds it.

    Raises:
        ConfigError: neither is there, or it asks for steps that are not known here.
        DataError: the file is damaged.
    """
    path = folder / "preprocessor_config.json"
    newer = folder / "processor_config.json"
    if not path.is_file() and newer.is_file():
        values = read_json(newer).get("image_processor", {})
        path = newer
    else:
        values = read_json(path)
    name, family = _family(values, path)
    unknown = [key for key, on in values.items() if key[:3] == "do_" and on and key not in _STEPS]
    if unknown:
        raise _unfit(path, unknown[0], f"{unknown[0]} of {name}", "resize, crop, scale, normalise")
    resize, crop = _sizes(values, family, path)
    if crop is None and not isinstance(resize, tuple):
        came = "images left at sizes of their own"
        raise _unfit(path, "do_center_crop", came, "a crop, or a size of height and width")
    normalize = values.get("do_normalize", True)
    return Preprocessing(
        resize=resize,
        filter=_filter(values, path) if resize else "none",
        crop=crop,
        scale=_factor(values, path) if values.get("do_rescale", 1) else 1.0,
        mean=_channels(values, "image_mean", path) if normalize else (0.0,) * 3,
        std=_channels(values, "image_std", path) if normalize else (1.0,) * 3,
    )


def _family(values: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """The class that wrote the settings, and its name without the suffix."""
    name = str(values.get("image_processor_type") or values.get("feature_extractor_type") or "")
    family = name
    for suffix in _SUFFIXES:
        family = family.removesuffix(suffix)
    if family not in _SHORTER_SIDE:
        raise _unfit(path, "image_processor_type", repr(name), f"one of {', '.join(_SHORTER_SIDE)}")
    return name, family


def _sizes(
    values: Mapping[str, Any], family: str, path: Path
) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    """What to resize to and what to crop."""
    crop = None
    if values.get("do_center_crop", "crop_size" in values):
        side = _size(values, "crop_size", False, path)
        crop = (side, side) if isinstance(side, int) else side
    if not values.get("do_resize", True):
        return None, crop
    resize = _size(values, "size", _SHORTER_SIDE[family], path)
    if family == "ConvNext" and isinstance(resize, int):
        if resize >= _SQUEEZED_FROM:
            return (resize, resize), crop
        return int(resize / (values.get("crop_pct") or 224 / 256)), (resize, resize)
    return resize, crop


def _size(
    values: Mapping[str, Any], field: str, shorter: bool, path: Path
) -> int | tuple[int, int]:
    size = values.get(field)
    named = size if isinstance(size, Mapping) else {"pixels": size}
    given = {key: value for key, value in named.items() if value}
    if all(isinstance(value, int) and 0 < value <= _MOST_PIXELS for value in given.values()):
        if set(given) == {"pixels"}:
            return given["pixels"] if shorter else (given["pixels"], given["pixels"])
        if set(given) == {"shortest_edge"}:
            return int(given["shortest_edge"])
        if set(given) == {"height", "width"}:
            return int(given["height"]), int(given["width"])
    allowed = f"pixels, shortest_edge, or height and width, up to {_MOST_PIXELS}"
    raise _unfit(path, field, shorten(size), allowed)


def _filter(values: Mapping[str, Any], path: Path) -> str:
    try:
        return Image.Resampling(int(str(values.get("resample")))).name.lower()
    except ValueError:
        raise _unfit(
            path, "resample", repr(values.get("resample")), "the number of a filter of Pillow"
        ) from None


def _factor(values: Mapping[str, Any], path: Path) -> float:
    found = values.get("rescale_factor", 1 / 255)
    if not isinstance(found, int | float):
        raise _unfit(path, "rescale_factor", shorten(found), "a number")
    return float(found)


def _channels(values: Mapping[str, Any], field: str, path: Path) -> tuple[float, ...]:
    found = values.get(field)
    numbers = found if isinstance(found, list) else []
    if len(numbers) != 3 or not all(isinstance(value, int | float) for value in numbers):
        raise _unfit(path, field, shorten(found), "three numbers")
    return tuple(float(value) for value in numbers)


def _center(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The centre [height, width, 3]; a smaller image gets a black border first."""
    rows, columns = max(height - pixels.shape[0], 0), max(width - pixels.shape[1], 0)
    if rows or columns:
        border = ((math.ceil(rows / 2), rows // 2), (math.ceil(columns / 2), columns // 2), (0, 0))
        pixels = np.pad(pixels, border)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _unfit(path: Path, field: str, came: str, allowed: str) -> ConfigError:
    return ConfigError(
        f"{path}: {field}", came=came, allowed=allowed, do="Use an encoder with such settings."
    )
