"""Image files that say of themselves what they are (text chunks, XMP), and the contact sheet."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngImageFile

from crafts.core.artifacts import sha256_bytes, write_bytes
from crafts.core.errors import ConfigError, DataError
from crafts.core.locks import refuse_unwritable
from crafts.core.marks import png_bytes, xmp_packet

PROVENANCE = "crafts"
"""Key of ``Image.info`` under which an image in memory carries its provenance."""
VARIOUS = "various"
"""What a contact sheet says of what its images do not share."""

_PLAIN = str.maketrans("–—‐‘’“”µμ×", "---''\"\"uux")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Provenance:
    """Where a synthetic image comes from.

    Attributes:
        prompt: the text it was made from.
        negative_prompt: the text it was steered away from.
        seed: seed of the row; None on a contact sheet.
        k: index of the image of that row; None on a contact sheet.
        unknown_words: words of both prompts that stood beside no training picture; "" = none, or
            the model does not say.
        row: name of the row, where it enters the noise; "" = seed and k alone decide.
        model: name under which the model was loaded.
        model_sha256: fingerprint of the checkpoint.
        licence: licence of the weights.
        preset: name of the sampler's preset.
        num_steps: sampler steps.
        guidance_scale: 1.0 = off; None on a contact sheet of several scales.
        mpp: microns per pixel; None = unknown, and then nothing is invented.
        software: program and version.
        request: hash of all that decides the pixels; equal requests need not be made twice.
        cut: end of the prompt that the text encoder did not see.
        control: JSON that tells what steered the image beside the prompt; "" = nothing did.
        reference_distance: from the nearest of its references in layout, 0 (the same) to 1; None =
            no reference, or not known yet.
        edit: JSON that tells from which picture it was made, and which pixels are not generated;
            "" = from noise alone.
    """

    prompt: str
    negative_prompt: str
    seed: int | None
    k: int | None
    model: str
    model_sha256: str
    licence: str
    preset: str
    num_steps: int
    guidance_scale: float | None
    mpp: float | None
    software: str
    request: str = ""
    cut: str = ""
    control: str = ""
    unknown_words: str = ""
    row: str = ""
    reference_distance: float | None = None
    edit: str = ""


def save_png(image: Image.Image, path: Path, provenance: Provenance) -> str:
    """Write an image with its provenance; equal input gives equal bytes.

    Args:
        image: RGB.
        path: target, replaced in one step.
        provenance: written as text chunks and as an XMP packet; pHYs only when ``mpp`` is known.

    Returns:
        sha256 of the file.

    Raises:
        RetryError: the disk is full.
    """
    options = {} if provenance.mpp is None else {"dpi": (25400 / provenance.mpp,) * 2}
    packet = xmp_packet(
        system=f"{provenance.model} {provenance.model_sha256}",
        prompt=provenance.prompt,
        software=provenance.software,
        licence=provenance.licence,
    )
    data = png_bytes(image, describe_provenance(provenance), packet, **options)
    write_bytes(path, data)
    return sha256_bytes(data)


def save_made(image: Image.Image, path: Path) -> None:
    """Write an image that carries its provenance, as those of ``generate_images`` do.

    Raises:
        ConfigError: it carries none, or nothing can be written there.
        RetryError: the disk is full.
    """
    provenance = image.info.get(PROVENANCE)
    if not isinstance(provenance, Provenance):
        raise ConfigError(
            "save: image",
            came="an image of which nothing is known",
            allowed="one that Model.generate returned, or a copy of it",
            do="Save other images with Pillow.",
        )
    with refuse_unwritable(path):
        save_png(image, path, provenance)


def read_provenance(path: Path) -> Provenance:
    """The provenance that an image of ours carries; the pixels are decoded as a check of the file.

    Raises:
        DataError: the file is missing, damaged, or carries none.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            texts = dict(image.text) if isinstance(image, PngImageFile) else {}
        return _provenance(texts)
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise DataError(
            str(path),
            came=f"an image without readable provenance ({reason})",
            allowed="a PNG that crafts wrote",
            do="Use the file as `crafts generate` left it.",
        ) from None


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    columns: int = 4,
    cell: int = 256,
    footer: str = "",
) -> Image.Image:
    """A grid with a caption under each image.

    Args:
        images: at least one; shown at most ``cell`` pixels wide and high.
        captions: one an image; wrapped, and shortened after four lines.
        columns: images a row.
        cell: width and height in pixels of one image.
        footer: stands below all of them, in grey; shortened after two lines.
    """
    gap, font = 10, ImageFont.load_default(size=13)
    lines = [_wrap(_plain(text), font, cell, most=4) for text in captions]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = cell + 16 * max(len(item) for item in lines) + 4
    across, down = columns * (cell + gap) + gap, rows * (height + gap) + gap
    below = _wrap(_plain(footer), font, across - 2 * gap, most=2) if footer else []
    sheet = Image.new("RGB", (across, down + 16 * len(below)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, lines, strict=True)):
        left = gap + index % columns * (cell + gap)
        top = gap + index // columns * (height + gap)
        shown = image.convert("RGB")
        shown.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        sheet.paste(shown, (left, top))
        for number, line in enumerate(caption):
            pen.text((left, top + cell + 4 + 16 * number), line, fill="black", font=font)
    for number, line in enumerate(below):
        pen.text((gap, down - gap + 16 * number), line, fill="dimgray", font=font)
    return sheet


def describe_provenance(provenance: Provenance) -> dict[str, str]:
    """Name -> text of all that is known, as files hold it."""
    texts = {
        "prompt": provenance.prompt,
        "negative_prompt": provenance.negative_prompt,
        "seed": _optional(provenance.seed, ""),
        "k": _optional(provenance.k, ""),
        "model": provenance.model,
        "model_sha256": provenance.model_sha256,
        "licence": provenance.licence,
        "preset": provenance.preset,
        "num_steps": str(provenance.num_steps),
        "guidance_scale": _optional(provenance.guidance_scale, VARIOUS),
        "mpp": _optional(provenance.mpp, "unknown"),
        "Software": provenance.software,
        "request": provenance.request,
        "cut": provenance.cut,
    }
    optional = {
        "control": provenance.control,
        "row": provenance.row,
        "unknown_words": provenance.unknown_words,
        "reference_distance": _optional(provenance.reference_distance, ""),
        "edit": provenance.edit,
    }
    return texts | {name: value for name, value in optional.items() if value}


def _provenance(texts: dict[str, str]) -> Provenance:
    return Provenance(
        prompt=str(texts["prompt"]),
        negative_prompt=str(texts["negative_prompt"]),
        seed=int(texts["seed"]) if texts["seed"] else None,
        k=int(texts["k"]) if texts["k"] else None,
        model=str(texts["model"]),
        model_sha256=str(texts["model_sha256"]),
        licence=str(texts["licence"]),
        preset=str(texts["preset"]),
        num_steps=int(texts["num_steps"]),
        guidance_scale=None if (scale := texts["guidance_scale"]) == VARIOUS else float(scale),
        mpp=None if texts["mpp"] == "unknown" else float(texts["mpp"]),
        software=str(texts["Software"]),
        request=str(texts["request"]),
        cut=str(texts["cut"]),
        control=str(texts.get("control", "")),  # absent where nothing steered
        row=str(texts.get("row", "")),
        unknown_words=str(texts.get("unknown_words", "")),
        reference_distance=float(found) if (found := texts.get("reference_distance")) else None,
        edit=str(texts.get("edit", "")),
    )


def _optional(value: float | None, absent: str) -> str:
    return absent if value is None else repr(value)


def _plain(text: str) -> str:
    """What Pillow's own font can draw: letters lose their accents, other scripts become ``?``."""
    letters = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    return "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c))


def _wrap(text: str, font: Font, width: int, most: int) -> list[str]:
    """Break at spaces, inside a word only when it alone is too wide."""
    lines: list[str] = []
    line = ""
    for word in text[: (most + 1) * width].split():  # no letter is narrower than a pixel
        while font.getlength(word) > width:
            starts = range(1, len(word) + 1)
            fits = bisect_right(starts, width, key=lambda n: int(font.getlength(word[:n])))
            fits = max(1, fits)
            lines, line = [*lines, *([line] if line else []), word[:fits]], ""
            word = word[fits:] or " "
        joined = f"{line} {word}".strip()
        if line and font.getlength(joined) > width:
            lines.append(line)
            joined = word
        line = joined
    lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: max(1, len(lines[most - 1]) - 2)] + "…"]
    return lines
