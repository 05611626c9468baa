"""What a stage may be handed from a sibling or from above; ``api.py`` passes the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from crafts.core.records import FeatureSet

CountTokens = Callable[[str], int]
"""Text -> number of conditioning tokens, special tokens included."""


Accept = Callable[["Image.Image", str], bool]
"""Quality gate: an RGB image and its prompt -> keep it?"""

UnknownTo = Callable[[str], Sequence[str]]
"""A prompt -> its words that a judge has met with no picture, so that it can pass none of them."""

ExtractFeatures = Callable[[Path], "FeatureSet"]
"""A folder of images -> their features and what is known of them."""

LossesOf = Callable[[Sequence["NDArray[np.uint8]"], Sequence[str]], "NDArray[np.float64]"]
"""N tiles uint8 [H, W, 3] and their captions -> how badly a model denoises each [N]."""

MakeImages = Callable[[str, int], Sequence["Image.Image"]]
"""A prompt and a number -> so many RGB images, each of another seed."""


class Nuclei(Protocol):
    """Nuclei of one field; :class:`crafts.controls.nuclei.NucleiMask` is one."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """Class numbers [H, W]; 0 is background."""
        ...

    @property
    def instances(self) -> NDArray[np.int32] | None:
        """A number for each nucleus [H, W]; None where only classes are known."""
        ...


class LoadedNuclei(Nuclei, Protocol):
    """Nuclei that a file holds."""

    @property
    def rejected(self) -> tuple[str, ...]:
        """Outlines of the file that could not be used, each with the reason."""
        ...


LoadMask = Callable[[Path, "tuple[int, int]"], LoadedNuclei]
"""A mask file, height and width of its tile -> its nuclei; a CraftsError where it is of no use."""

SegmentNuclei = Callable[["NDArray[np.uint8]"], Nuclei]
"""An RGB image [H, W, 3] -> its nuclei on the same pixels; ours, or InstanSeg, StarDist, ..."""


BuildExtractor = Callable[[str | None], ExtractFeatures]
"""Split, or None for all rows -> what turns a folder into features."""


class Codec(Protocol):
    """Images to scaled latents and back; the scaling is the codec's own business."""

    factor: int
    channels: int

    @property
    def fingerprint(self) -> str:
        """Identity of the latents it makes."""
        ...

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [B, 3, H, W] in [-1, 1] -> mean and deviation [B, C, H/f, W/f], scaled."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents [B, C, h, w] -> images [B, 3, h*f, w*f] in [-1, 1] (not clipped)."""
        ...
