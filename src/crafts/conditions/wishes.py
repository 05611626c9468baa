"""What is asked for as control: an image, its weight and its share of the steps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crafts.controls.fluorescence import MAX_CHANNELS, Fluorescence
from crafts.controls.intensity import ChannelRange, check_intensities
from crafts.controls.masks import mask_from_labels
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import relative_to
from crafts.core.errors import ConfigError, CraftsError
from crafts.model.config import KINDS

_NUMBER = r"\d+\.?\d*|\.\d+"
_WISH = re.compile(rf"(.+?)(?:@({_NUMBER})(?:,({_NUMBER})-({_NUMBER}))?)?")
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")  # what comes after the last @ of slide@20x.png ends so
_SAMPLE = "sample:"
_MOST_WEIGHT = 4.0


@dataclass(frozen=True)
class Invented:
    """A layout of nuclei that is sampled anew for each image.

    Attributes:
        tissue: whose statistics it follows.
    """

    tissue: str

    def __str__(self) -> str:
        return f"{_SAMPLE}{self.tissue}"


@dataclass(frozen=True)
class ControlInput:
    """A control image and how it is used.

    Attributes:
        kind: "nuclei" or "fluorescence".
        image: file, layout to be sampled, or what was loaded already.
        weight: factor of what the ControlNet adds.
        start: share of the steps after which it begins to act.
        stop: share of the steps after which it no longer acts.
    """

    kind: str
    image: Path | Invented | NucleiMask | Fluorescence
    weight: float = 1.0
    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights and shares out of range.

        Raises:
            ValueError: says in words what is wrong.
        """
        if not 0 <= self.weight <= _MOST_WEIGHT:
            raise ValueError(
                f"{self.kind} has weight {self.weight:g}; 0 (off) to {_MOST_WEIGHT:g} are allowed"
            )
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"{self.kind} acts from {self.start:g} to {self.stop:g}; "
                "both are shares of the steps, 0-1"
            )


def parse_input(kind: str, text: str, folder: Path) -> ControlInput:
    """``mask.png``, ``mask.png@0.8`` (weight) or ``mask.png@0.8,0-0.7`` (weight, start-stop).

    For nuclei ``sample:TISSUE`` stands in place of a file for a layout that is invented.

    Args:
        kind: one of ``KINDS``.
        text: as above.
        folder: that a relative path starts from.

    Raises:
        ValueError: says in words what is wrong.
    """
    found = _WISH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{kind} names no file; write for example mask.png@0.8,0-0.7")
    name, weight, start, stop = found.groups()
    _, sign, tail = name.rpartition("@")
    if sign and not _SUFFIX.search(tail) and not (folder / name).exists():
        raise ValueError(f"{kind} has '@{tail}', which is no weight with, or without, two shares")
    image: Path | Invented = folder / name
    if name.startswith(_SAMPLE):
        if kind != "nuclei":
            raise ValueError(f"{kind} cannot be invented; {_SAMPLE}TISSUE is for nuclei only")
        image = Invented(name.removeprefix(_SAMPLE).strip())
    return ControlInput(
        kind,
        image,
        1.0 if weight is None else float(weight),
        0.0 if start is None else float(start),
        1.0 if stop is None else float(stop),
    )


def move_option(option: str, folder: Path) -> str:
    """``KIND=IMAGE...`` with the path of its file as seen from another folder."""
    kind, _, text = option.partition("=")
    found = _WISH.fullmatch(text.strip())
    name = found[1] if found else ""
    if not Path(name).is_file():
        return option  # a layout that is invented
    return f"{kind}={relative_to(folder, name)}{text.strip()[len(name) :]}"


def parse_options(options: Sequence[str]) -> dict[str, ControlInput]:
    """``KIND=IMAGE`` of the command line, by kind; relative paths start from the working folder.

    Raises:
        ConfigError: an unknown kind, a kind given twice, or a wrong weight or share.
    """
    found: dict[str, ControlInput] = {}
    for option in options:
        kind, separator, text = option.partition("=")
        if not separator or kind not in KINDS or kind in found:
            raise ConfigError(
                f"--control {option}",
                came=_fault_of(kind, separator, found),
                allowed=f"KIND=IMAGE, each kind once: {', '.join(KINDS)}",
                do="Write for example --control nuclei=mask.png@0.8,0-0.7.",
            )
        try:
            found[kind] = parse_input(kind, text, Path())
        except ValueError as error:
            raise ConfigError(
                f"--control {option}",
                came=str(error),
                allowed="IMAGE, IMAGE@WEIGHT or IMAGE@WEIGHT,START-STOP",
                do="Correct the option.",
            ) from None
    return found


def _fault_of(kind: str, separator: str, found: Mapping[str, ControlInput]) -> str:
    if not separator:
        return "no '='"
    return "a second image of one kind" if kind in found else f"kind {kind!r}"


def parse_given(control: Mapping[str, Any]) -> dict[str, ControlInput]:
    """Controls as Python gives them, by kind.

    Args:
        control: kind -> image, or (image, weight[, start, stop]). An image is a text as on the
            command line, a path, a :class:`NucleiMask` or labels [H, W] (a number for each
            nucleus), a :class:`Fluorescence` or its values [H, W] or [C, H, W] in [0, 1].

    Raises:
        ConfigError: an unknown kind, or something that is no such image.
    """
    _check_kinds(control)
    found = {}
    for kind, given in control.items():
        image, *rest = given if isinstance(given, tuple) and given else (given,)
        try:
            if len(rest) > 3:
                raise ValueError(f"{len(rest) + 1} values")
            if isinstance(image, str):
                found[kind] = parse_input(kind, image, Path())
                image = found[kind].image
            if rest or not isinstance(given, str):
                found[kind] = ControlInput(kind, _image(kind, image), *map(float, rest))
        except (CraftsError, TypeError, ValueError) as error:
            raise ConfigError(
                f"generate: control {kind!r}",
                came=error.came if isinstance(error, CraftsError) else str(error),
                allowed="an image, (image, weight) or (image, weight, start, stop); an image is a "
                "path, a NucleiMask or labels, or a Fluorescence or its values",
                do="Correct it.",
            ) from None
    return found


def _check_kinds(control: Mapping[str, Any]) -> None:
    if not isinstance(control, Mapping):
        raise ConfigError(
            "generate: control",
            came=f"a {type(control).__name__}",
            allowed=f"kinds ({', '.join(KINDS)}) and their images",
            do='Pass for example control={"nuclei": "mask.png"}.',
        )
    for kind in control:
        if kind not in KINDS:
            raise ConfigError(
                f"generate: control {kind!r}",
                came="an unknown kind",
                allowed=", ".join(KINDS),
                do="Choose one of them.",
            )


def _image(kind: str, image: Any) -> Path | Invented | NucleiMask | Fluorescence:
    """A control image of Python in one of the forms that a run knows.

    Raises:
        TypeError: it has none of them.
        ValueError: values that are no map.
    """
    if isinstance(image, Path | Invented):
        return image
    fits = kind == "nuclei"
    if isinstance(image, NucleiMask | Fluorescence) and isinstance(image, NucleiMask) == fits:
        return image
    if not isinstance(image, np.ndarray):
        raise TypeError(f"a {type(image).__name__}")
    if kind == "nuclei":
        return mask_from_labels(image)
    check_intensities(image, "values")
    values = image[None] if image.ndim == 2 else image
    if values.ndim != 3 or not 1 <= len(values) <= MAX_CHANNELS:
        raise ValueError(f"values of shape {image.shape}")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"values from {values.min():g} to {values.max():g}, not in [0, 1]")
    height, width = values.shape[1:]
    ranges = tuple(ChannelRange(str(place), 0.0, 1.0) for place in range(len(values)))
    region = (0, 0, width, height)
    return Fluorescence(values.astype(np.float32), ranges, None, region, 0, "an array")
