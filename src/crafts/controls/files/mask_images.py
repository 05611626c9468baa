"""Masks that are images: label PNG and TIFF, class maps in grey or in colours, foreground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.controls.nuclei import (
    UNKNOWN,
    ClassTable,
    NucleiMask,
    connected_nuclei,
    label_classes,
    resolve_table,
)
from crafts.core.errors import ConfigError, DataError, first_line, refusal
from crafts.imaging.opening import DAMAGE, is_deep_color, open_header, upright
from crafts.imaging.shapes import marked_shape
from crafts.imaging.stripping import RefusedImageError

Values = Literal["instances", "classes", "foreground"]
"""What the numbers of a mask mean: a nucleus each, a class each, or nucleus and not."""

MAX_PIXELS = 64_000_000
_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "JPEG")
_MODES = {"1", "L", "P", "RGB", "I", "I;16", "I;16B", "F"}
_SHARE_OFF, _FAR = 0.1, 64  # of a coloured or lossy mask: pixels far from every level allowed
_NEAR, _SHARE_GRAY = 16, 0.6  # blurred edges stay below 0.6 of the marked pixels, labels do not


def read_image_mask(
    path: Path, *, values: Values | None, table: ClassTable | None, mpp: float | None
) -> NucleiMask:
    """Read a mask from an image file.

    Without ``values``: more than 8 bits are instances; 8 bits with a table are classes; two levels,
    or JPEG, are foreground; anything else is refused, for it could mean either.

    Raises:
        DataError: no mask, damaged, too large, or ids that 8 bits or a lossy format cannot hold.
        ConfigError: what the numbers mean is unclear, or classes come without a table.
    """
    pixels, lossy = read_pixels(path)
    if values is None:
        values = _guess(pixels, lossy, table is not None, path)
    if values == "foreground":
        return _foreground(pixels, path, mpp)
    if values == "classes":
        if table is None:
            raise ConfigError(
                f"{path}: table",
                came="classes without a table",
                allowed="the meaning of each number or colour",
                do='Pass for example table="lizard" or table={"1": "lymphocyte"} '
                "(crafts generate: --set masks.table=lizard; pack: --set mask_table=lizard).",
            )
        return NucleiMask(_classes(pixels, lossy, table, path), None, mpp, str(path))
    ids = _instances(pixels, lossy, path)
    return NucleiMask(np.where(ids > 0, UNKNOWN, 0).astype(np.uint8), ids, mpp, str(path))


def read_pixels(path: Path) -> tuple[NDArray[np.integer], bool]:
    """Pixels of an image [H, W] or [H, W, 3] without any conversion, and whether it is lossy.

    Palette images give their indices, or their greys where they have no other colours; grey stored
    as RGB gives one channel. What EXIF turns is turned.

    Raises:
        DataError: unreadable, larger than 64 Mpx by its header, several frames, a transparent or
            16-bit colour image, a palette whose indices and colours mark different areas, or
            numbers that are not whole.
    """
    try:
        with open_header(path, math.inf, _FORMATS) as image:
            _check_header(image, path)
            return _to_array(image, path), image.format == "JPEG"
    except (RefusedImageError, *DAMAGE) as error:
        raise DataError(
            str(path),
            came=f"unreadable ({first_line(error)})",
            allowed="an image in PNG, TIFF, BMP, GIF or JPEG",
            do="Check the path, or write the mask again.",
        ) from None


def _check_header(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width} x {image.height} px")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(
            str(path), came=f"{frames} frames", allowed="one", do="Save the mask as one image."
        )
    deep = is_deep_color(image)
    if image.mode not in _MODES or deep:
        raise DataError(
            str(path),
            came=f"colour mode {image.mode!r}" + " of 16 bits" * deep,
            allowed="grey, palette or 8-bit RGB",
            do="Save the label of each nucleus as 16-bit grey.",
        )


def check_area(shape: Sequence[int], path: Path) -> None:
    """Refuse an array that is larger than any mask, before it is read.

    Args:
        shape: of the array, [H, W] or [H, W, channels].
        path: of the file.

    Raises:
        DataError: more than 64 Mpx.
    """
    if len(shape) >= 2 and shape[0] * shape[1] > MAX_PIXELS:
        raise _too_large(path, f"{shape[1]} x {shape[0]} px")


def _to_array(image: Image.Image, path: Path) -> NDArray[np.integer]:
    image.load()
    image = upright(image)
    if image.mode == "P" or image.has_transparency_data:
        marked_shape(image)  # refuses what could mean two things
    pixels = np.array(image.convert("L") if _is_gray_palette(image) else image)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return whole_numbers(pixels, str(path))


def _is_gray_palette(image: Image.Image) -> bool:
    """A palette of greys is what programs that save space make of a grey image."""
    if image.mode != "P":
        return False
    colors = np.asarray(image.convert("RGB"))
    return bool((colors == colors[..., :1]).all())


def whole_numbers(array: NDArray[np.generic], where: str) -> NDArray[np.integer]:
    """The array as integers.

    Raises:
        DataError: it holds NaN, fractions, or no numbers.
    """
    if array.size == 0:
        raise DataError(
            where, came=f"an empty array {array.shape}", allowed="pixels", do="Check the file."
        )
    if np.issubdtype(array.dtype, np.integer):
        return np.asarray(array)
    if np.issubdtype(array.dtype, np.bool_):
        return np.asarray(array).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(where, came=f"{array.dtype}", allowed="whole numbers", do="Check the file.")
    if (wrong := int((~np.isfinite(array)).sum())) or (array != np.rint(array)).any():
        raise DataError(
            where,
            came=f"{wrong} pixels NaN or infinite" if wrong else "numbers with fractions",
            allowed="whole numbers",
            do="Save labels, not probabilities or a picture of them.",
        )
    return np.asarray(array).astype(np.int64)


def instance_ids(labels: NDArray[np.integer], where: str) -> NDArray[np.int32]:
    """Labels as int32 [H, W].

    Raises:
        DataError: a negative label, or one that int32 cannot hold.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.int32).max:
        raise DataError(
            where,
            came=f"labels {low} to {high}",
            allowed="0 to 2147483647",
            do="Renumber the nuclei from 1.",
        )
    return labels.astype(np.int32)


def _guess(pixels: NDArray[np.integer], lossy: bool, has_table: bool, path: Path) -> Values:
    if lossy:
        return "foreground"
    if pixels.ndim == 3 or (has_table and pixels.dtype.itemsize == 1):
        return "classes"
    if pixels.dtype.itemsize > 1:
        return "instances"
    if len(np.unique(pixels)) <= 2:
        return "foreground"
    raise ConfigError(
        f"{path}: values",
        came=f"8-bit grey with {len(np.unique(pixels))} different numbers",
        allowed="instances, classes or foreground: these numbers could be ids or classes",
        do='Pass values="instances", or values="classes" with a table '
        "(crafts generate: --set masks.values=instances; pack: --set mask_values=instances).",
    )


def _foreground(pixels: NDArray[np.integer], path: Path, mpp: float | None) -> NucleiMask:
    if pixels.ndim == 3:  # JPEG may tint grey a little
        if int(np.ptp(pixels.astype(np.int16), axis=2).max()) > _FAR:
            raise DataError(
                str(path),
                came="a coloured image",
                allowed="black and white for a mask of foreground",
                do='Pass values="classes" and a table with the colours.',
            )
        pixels = pixels.mean(axis=2).round().astype(np.uint8)
    low, high = int(pixels.min()), int(pixels.max())
    two = len(np.unique(pixels)) <= 2
    middle = (pixels > low + _FAR) & (pixels < high - _FAR)
    if not two and (middle.mean() > _SHARE_OFF or high - low < 2 * _FAR):
        raise DataError(
            str(path),
            came=f"{100 * middle.mean():.0f} % of the pixels neither dark nor bright",
            allowed="two levels",
            do="This looks like a picture, not a mask; check the path.",
        )
    marked = pixels > low + _NEAR
    if not two and (pixels[marked] < high - _FAR).mean() > _SHARE_GRAY:
        raise DataError(
            str(path),
            came="many levels of grey in most of the nuclei",
            allowed="two levels for a mask of foreground",
            do="This looks like labels; save them as 16-bit grey PNG or TIFF.",
        )
    threshold = (low if high > low else 0) if two else 127
    classes = np.where(pixels > threshold, UNKNOWN, 0).astype(np.uint8)
    return NucleiMask(classes, None, mpp, str(path))


def _classes(
    pixels: NDArray[np.integer], lossy: bool, table: ClassTable, path: Path
) -> NDArray[np.uint8]:
    if lossy:
        raise _lossy(path)
    if pixels.ndim == 2:
        return label_classes(pixels, table, where=str(path))
    known = resolve_table(table)
    colors = {label: number for label, number in known.items() if label.startswith("#")}
    if not colors:
        raise DataError(
            str(path),
            came="a coloured mask",
            allowed="a table with colours (#rrggbb), or one grey channel",
            do="Save the label of each nucleus as 16-bit grey, or add the colours to the table.",
        )
    return _nearest_color(pixels, {"#000000": 0, **colors}, path)


def _nearest_color(
    pixels: NDArray[np.integer], colors: dict[str, int], path: Path
) -> NDArray[np.uint8]:
    """Class of the nearest colour: resampled masks have mixed colours along the edges."""
    palette = np.array([tuple(bytes.fromhex(color[1:])) for color in colors], np.int64)
    numbers = np.array(list(colors.values()), np.uint8)
    packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    codes, inverse = np.unique(packed, return_inverse=True)
    flat = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    distance = np.abs(flat[:, None] - palette[None]).max(axis=2)
    off = distance.min(axis=1)[inverse.reshape(-1)] > _FAR
    if off.mean() > _SHARE_OFF:
        raise DataError(
            str(path),
            came=f"{100 * off.mean():.0f} % of the pixels in colours that the table lacks",
            allowed=f"{', '.join(colors)}",
            do="Save the label of each nucleus as 16-bit grey, or pass the table of this source.",
        )
    nearest = numbers[distance.argmin(axis=1)]
    return np.asarray(nearest[inverse.reshape(-1)].reshape(pixels.shape[:2]), np.uint8)


def _instances(pixels: NDArray[np.integer], lossy: bool, path: Path) -> NDArray[np.int32]:
    if lossy:
        raise _lossy(path)
    if pixels.ndim == 3:
        raise DataError(
            str(path),
            came="a coloured image",
            allowed="one number for each nucleus",
            do="Save the label of each nucleus as 16-bit grey.",
        )
    ids = instance_ids(pixels, str(path))
    if pixels.dtype.itemsize <= 2:
        _refuse_lost_ids(ids, np.iinfo(pixels.dtype).max, path)
    return ids


def _refuse_lost_ids(ids: NDArray[np.int32], limit: int, path: Path) -> None:
    """An 8-bit file holds 255 nuclei: more are clipped to 255, or start again at 1."""
    bits = 8 if limit <= 255 else 16
    parts = int(connected_nuclei((ids > 0).astype(np.uint8)).max())
    if int(ids.max()) >= (255 if bits == 8 else 65535) or parts > (1 << bits) - 1:
        raise DataError(
            str(path),
            came=f"{bits}-bit labels up to {int(ids.max())} in {parts} separate parts",
            allowed=f"fewer nuclei than {bits} bits can number",
            do=f"Ids were lost; write the mask again with {2 * bits} bits.",
        )


_too_large = refusal(
    DataError,
    allowed=f"at most {MAX_PIXELS // 10**6} Mpx",
    do="Cut the mask into tiles first.",
)


def _lossy(path: Path) -> DataError:
    return DataError(
        str(path),
        came="labels in a JPEG",
        allowed="a lossless format (PNG, TIFF) for labels; JPEG for foreground only",
        do='Take the original labels, or pass values="foreground".',
    )
