"""A small U-Net that finds nuclei in H&E tiles: pixels, depth, classes, and nuclei of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crafts.controls.nuclei import CLASSES, PARENTS, UNKNOWN, NucleiMask
from crafts.core import artifacts
from crafts.core.config import validate
from crafts.core.errors import ConfigError, DataError
from crafts.model.config import NORM_GROUP, SegmenterConfig
from crafts.model.files.folders import (
    WEIGHTS,
    load_network,
    read_json,
    save_tensors,
    write_json,
)
from crafts.model.files.guards import check_config
from crafts.model.files.places import SHIPPED

_SHIPPED = SHIPPED / "segmenter"
_KIND = "crafts nuclei segmenter"
_SMOOTH = 1.5  # pixels; ripples of the depth make no middles


class Prediction(NamedTuple):
    """What the network says of images.

    Attributes:
        nucleus: logits [B, H, W] that a pixel lies in a nucleus.
        distance: logits [B, H, W]; their sigmoid is the depth, 1 in the middle of a nucleus.
        classes: logits [B, K, H, W] of the classes of the configuration.
    """

    nucleus: Tensor
    distance: Tensor
    classes: Tensor


class SegmenterNetwork(nn.Module):
    """A residual U-Net (Ronneberger et al. 2015) that works at half the edge and below.

    Its head gives each pixel of the image its own numbers, so that edges stay sharp.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.middle = nn.Sequential(_Block(widths[-1]), _Block(widths[-1]))
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up_blocks = nn.ModuleList(_Block(width) for width in widths[:-1])
        outputs = 2 + len(config.classes)
        self.head = nn.Sequential(
            _normalize(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 4 * outputs, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Prediction:
        """Images [B, 3, H, W] in [-1, 1] of any size."""
        height, width = images.shape[-2:]
        step = 2 ** len(self.config.widths)
        padding = (0, -width % step, 0, -height % step)
        hidden = self.stem(F.pixel_unshuffle(F.pad(images, padding, mode="replicate"), 2))
        kept = []
        for block, down in zip(self.down_blocks, self.downs, strict=True):
            kept.append(block(hidden))
            hidden = down(kept[-1])
        hidden = self.middle(hidden)
        for number in reversed(range(len(kept))):
            above = F.interpolate(self.ups[number](hidden), scale_factor=2.0, mode="nearest")
            hidden = self.up_blocks[number](above + kept[number])
        maps = F.pixel_shuffle(self.head(hidden), 2)[..., :height, :width]
        return Prediction(maps[:, 0], maps[:, 1], maps[:, 2:])


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _normalize(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            _normalize(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.layers(hidden)


def _normalize(width: int) -> nn.Module:
    # statistics of a batch would make a sample depend on its company
    return nn.GroupNorm(width // NORM_GROUP, width)


class Segmenter:
    """Finds nuclei in images; an :data:`crafts.core.protocols.SegmentNuclei`.

    Args:
        network: in evaluation mode.
        threshold: probability from which on a pixel is nucleus.
        core: depth from which on a pixel is the middle of a nucleus, in (0, 1).
        min_area: pixels of the smallest nucleus.
        fingerprint: identity of the weights, for reports.
    """

    def __init__(
        self,
        network: SegmenterNetwork,
        *,
        threshold: float = 0.5,
        core: float = 0.4,
        min_area: int = 24,
        fingerprint: str = "",
    ) -> None:
        self.network = network
        self.threshold, self.core, self.min_area = threshold, core, min_area
        self.fingerprint = fingerprint

    def __call__(self, image: NDArray[np.uint8]) -> NucleiMask:
        """Nuclei of an image [H, W, 3], with the class that each most likely has."""
        return self.segment([image])[0]

    @torch.no_grad()
    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[NucleiMask]:
        """Nuclei of images [H, W, 3] of one size, in one pass.

        Raises:
            DataError: an image is no uint8 RGB, or sizes differ.
        """
        _check_images(images)
        weight = next(self.network.parameters())
        pixels = torch.from_numpy(np.stack(images)).movedim(-1, 1).to(weight.device, weight.dtype)
        found = self.network(pixels / 127.5 - 1)
        nucleus = found.nucleus.sigmoid().float().cpu().numpy()
        depth = found.distance.sigmoid().float().cpu().numpy()
        classes = found.classes.softmax(1).float().cpu().numpy()
        return [
            self._mask(*maps, f"image {number}")
            for number, maps in enumerate(zip(nucleus, depth, classes, strict=True))
        ]

    def _mask(
        self,
        nucleus: NDArray[np.float32],
        depth: NDArray[np.float32],
        classes: NDArray[np.float32],
        name: str,
    ) -> NucleiMask:
        instances = split_nuclei(
            nucleus >= self.threshold, depth, core=self.core, min_area=self.min_area
        )
        labels = label_nuclei(instances, classes, self.network.config.classes)
        return NucleiMask(labels, instances, source=name)


def split_nuclei(
    inside: NDArray[np.bool_], depth: NDArray[np.float32], *, core: float, min_area: int
) -> NDArray[np.int32]:
    """Nuclei [H, W] out of foreground and depth: each pixel goes to the nearest middle.

    A connected part without a middle, or with one, is one nucleus. Holes inside of a nucleus are
    filled, nuclei below ``min_area`` are dropped.

    Args:
        inside: bool [H, W], foreground.
        depth: [H, W] in [0, 1], high in the middle of a nucleus.
        core: depth from which on a pixel is middle.
        min_area: pixels.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(depth, _SMOOTH, mode="nearest")
    parts, _ = ndimage.label(inside)
    middles, count = ndimage.label((smooth >= core) & inside)
    nuclei = np.zeros(inside.shape, np.int64)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        within = parts[box] == number
        own = np.where(within, middles[box], 0)
        if len(np.unique(own[own > 0])) > 1:
            _, nearest = ndimage.distance_transform_edt(own == 0, return_indices=True)
            nuclei[box][within] = own[tuple(nearest)][within]
        else:
            nuclei[box][within] = count + number
    _fill_holes(nuclei)
    numbers, inverse, areas = np.unique(nuclei, return_inverse=True, return_counts=True)
    keep = (numbers > 0) & (areas >= min_area)
    return (np.cumsum(keep) * keep)[inverse].reshape(inside.shape).astype(np.int32)


def _fill_holes(nuclei: NDArray[np.int64]) -> None:
    """Give each nucleus the background that it encloses: pale nuclei have an empty middle."""
    from scipy import ndimage

    for number, box in enumerate(ndimage.find_objects(nuclei), 1):
        if box is not None:
            filled = ndimage.binary_fill_holes(nuclei[box] == number)
            nuclei[box][filled & (nuclei[box] == 0)] = number


def label_nuclei(
    instances: NDArray[np.int32], classes: NDArray[np.float32], names: Sequence[str]
) -> NDArray[np.uint8]:
    """Class of each nucleus, by the mean of its pixels [H, W]; "unknown" without any class.

    Args:
        instances: [H, W].
        classes: probabilities [K, H, W].
        names: of the K classes.
    """
    from scipy import ndimage

    count = int(instances.max())
    if not names or count == 0:
        return np.where(instances > 0, UNKNOWN, 0).astype(np.uint8)
    numbers = np.arange(1, count + 1)
    means = np.stack([ndimage.mean(plane, instances, numbers) for plane in classes])
    of_class = np.array([CLASSES.index(name) for name in names], np.uint8)
    return np.concatenate([[0], of_class[means.argmax(0)]]).astype(np.uint8)[instances]


def allowed_classes(names: Sequence[str]) -> NDArray[np.bool_]:
    """Which classes of a segmenter each class of a mask allows, bool [L, K].

    A mask's class allows itself and the classes that belong to it (inflammatory: all kinds); a
    class that the segmenter lacks allows its wider class (neoplastic: epithelial).

    Args:
        names: the K classes of the segmenter.
    """
    table = np.zeros((len(CLASSES), len(names)), bool)
    for number, label in enumerate(CLASSES):
        wanted: str | None = label
        while wanted is not None and not table[number].any():
            table[number] = [name == wanted or PARENTS.get(name) == wanted for name in names]
            wanted = PARENTS.get(wanted)
    return table


def build_segmenter(config: SegmenterConfig) -> SegmenterNetwork:
    """A network with random weights."""
    return SegmenterNetwork(config)


def save_segmenter(network: SegmenterNetwork, folder: Path, *, half: bool = False) -> None:
    """Write ``config.json`` and ``model.safetensors`` (no manifest).

    Args:
        network: is not changed.
        folder: made if absent.
        half: store float16 weights.
    """
    write_json(folder / "config.json", {"kind": _KIND, **network.config.model_dump(mode="json")})
    dtype = torch.float16 if half else torch.float32
    tensors = {name: value.to(dtype) for name, value in network.state_dict().items()}
    save_tensors(tensors, folder / WEIGHTS)


def open_segmenter(name: str) -> Segmenter:
    """A segmenter by name.

    Args:
        name: "mini" for the shipped weights, or a folder.

    Raises:
        ConfigError: there is none, or as :func:`load_segmenter`.
    """
    if name == "mini" and not has_shipped():
        raise ConfigError(
            "segmenter 'mini'",
            came="this installation holds no shipped segmenter",
            allowed="the shipped one, or a folder",
            do="Train recipes/mini/segmenter.yaml and pass its folder `model`.",
        )
    return load_segmenter(_SHIPPED if name == "mini" else Path(name))


def has_shipped() -> bool:
    """Whether this installation holds a segmenter."""
    return (_SHIPPED / "config.json").is_file()


def load_segmenter(folder: Path) -> Segmenter:
    """Read a folder of :func:`save_segmenter` in float32, for evaluation.

    Its manifest is checked first.

    Raises:
        ConfigError: no such folder, no segmenter, a configuration of another version, or no
            safetensors in it.
        IntegrityError: a file differs from the manifest, or the manifest was lost.
        DataError: the weights do not fit the configuration, or are not finite.
    """
    stored = read_json(folder / "config.json")
    if stored.pop("kind", None) != _KIND:
        raise ConfigError(
            str(folder),
            came="another kind of model",
            allowed="a segmenter that crafts trained",
            do="Pass the folder `model` of a run of recipes/mini/segmenter.yaml.",
        )
    artifacts.check(folder, ours=True)  # only crafts writes such a folder
    check_config(stored, folder / "config.json")
    config = validate(SegmenterConfig, stored, str(folder / "config.json"))
    network = load_network(folder, lambda: build_segmenter(config)).requires_grad_(False)
    return Segmenter(network, fingerprint=artifacts.sha256_file(folder / WEIGHTS))


def _check_images(images: Sequence[NDArray[np.uint8]]) -> None:
    shapes = {image.shape for image in images}
    right = all(i.dtype == np.uint8 and i.ndim == 3 and i.shape[-1] == 3 for i in images)
    if len(shapes) != 1 or not right:
        raise DataError(
            "segmenter: images",
            came=f"{len(images)} of shapes {', '.join(map(str, sorted(shapes))) or 'none'}",
            allowed="uint8 [H, W, 3] of one size",
            do="Open them as RGB, and segment those of one size together.",
        )
