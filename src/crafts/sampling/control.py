"""What steers a denoiser beside the prompt: control maps, ControlNets, and when they act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from crafts.controls.hematoxylin import hematoxylin_map
from crafts.controls.intensity import PERCENTILES
from crafts.controls.maps import CHANNELS, check_fit, nuclei_map
from crafts.controls.nuclei import NECK, NucleiMask, separate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAP_CHANNELS: Mapping[str, tuple[str, ...]] = {
    "nuclei": CHANNELS,
    "fluorescence": ("hematoxylin",),
}
"""Kind of control -> names of the channels of a map that training makes."""

MAPPINGS: Mapping[str, Mapping[str, Any]] = {
    "nuclei": {"values": "0 or 1; distance in [0, 1]", "neck": NECK},
    "fluorescence": {
        "values": "[0, 1] between two percentiles",
        "percentiles": list(PERCENTILES),
        "training": "hematoxylin by colour deconvolution",
    },
}
"""Kind of control -> how a mask or an image becomes a map."""


@dataclass(frozen=True)
class ControlUse:
    """One control of one image; equal uses give equal images.

    Attributes:
        kind: "nuclei" or "fluorescence".
        sha256: of the map.
        weight: factor of what the ControlNet adds; 0 = off.
        start: share of the steps after which it begins to act.
        stop: share of the steps after which it no longer acts.
        source: where the map comes from; decides nothing.
    """

    kind: str
    sha256: str
    weight: float = 1.0
    start: float = 0.0
    stop: float = 1.0
    source: str = ""


@dataclass(frozen=True)
class Controls:
    """ControlNets by kind, and the maps of uses.

    Attributes:
        networks: on the device of the denoiser.
        map_of: use -> map float32 [C, H, W] in [0, 1].
    """

    networks: Mapping[str, Any]
    map_of: Callable[[ControlUse], NDArray[np.float32]]


@dataclass(frozen=True)
class BoundControl:
    """A ControlNet with the maps of one batch.

    Attributes:
        network: of diffusers.
        maps: [B, C, H, W].
        weight: factor of what it adds.
        active: timesteps at which it acts.
    """

    network: Any
    maps: torch.Tensor
    weight: float
    active: frozenset[int]


def mask_map(
    mask: NucleiMask,
    *,
    size: tuple[int, int] | None = None,
    mpp: float | None = None,
    resize: bool = False,
) -> NDArray[np.float32]:
    """The map of a mask as a ControlNet is shown it, in training and in use.

    Nuclei that touch are told apart first where a mask knows their classes only. Arguments and
    errors are those of :func:`crafts.controls.maps.nuclei_map`.
    """
    check_fit(mask, size=size, mpp=mpp, resize=resize)  # separating a large mask takes a minute
    return nuclei_map(separate(mask), size=size, mpp=mpp, resize=resize)


def image_map(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The pseudo-fluorescence [1, H, W] of an H&E image [H, W, 3], with which training is fed."""
    return hematoxylin_map(image)[0]


def render_map(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map [C, H, W] as a picture [H, W, 3]: fluorescence in grey, nuclei by class and depth."""
    import numpy as np

    if len(values) != len(CHANNELS):
        shown = np.repeat(values[:1], 3, axis=0) if len(values) == 1 else values[:3]
        if len(shown) == 2:
            shown = np.concatenate([shown, np.zeros_like(shown[:1])])
        return np.asarray(np.moveaxis(shown, 0, -1) * 255, np.uint8)
    channel = {name: values[place] for place, name in enumerate(CHANNELS)}
    depth = 0.35 + 0.65 * channel["distance"]
    colour = np.stack(
        [
            0.6 * channel["nucleus"] + 0.4 * channel["epithelial"],
            0.6 * channel["nucleus"] + 0.4 * channel["connective"] - 0.4 * channel["epithelial"],
            0.6 * channel["nucleus"] + 0.4 * channel["inflammatory"],
        ]
    )
    return np.asarray(np.moveaxis(np.clip(colour * depth, 0, 1), 0, -1) * 255, np.uint8)


def bind_controls(
    controls: Controls,
    uses: Sequence[Sequence[ControlUse]],
    timesteps: torch.Tensor,
    device: torch.device,
) -> list[BoundControl]:
    """ControlNets with the maps of one batch.

    A use acts in step i of n if ``start <= i / n`` and ``(i + 1) / n <= stop``, as in diffusers.

    Args:
        controls: networks and maps.
        uses: of each image; kind, weight, start and stop are the same for all of a batch.
        timesteps: [S] of the sampler, in the order they are taken.
        device: of the denoiser.
    """
    number, bound = len(timesteps), []
    for place, use in enumerate(uses[0]):
        steps = [
            int(t)
            for i, t in enumerate(timesteps)
            if use.start <= i / number and (i + 1) / number <= use.stop
        ]
        maps = [torch.from_numpy(controls.map_of(own[place])) for own in uses]
        network = controls.networks[use.kind]
        bound.append(
            BoundControl(network, torch.stack(maps).to(device), use.weight, frozenset(steps))
        )
    return bound


def additions(
    bound: Sequence[BoundControl], x_t: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor
) -> dict[str, Any]:
    """What the ControlNets that act at ``t`` add to the denoiser, as arguments of its call.

    Under guidance a batch holds each image twice, without and with its prompt; both halves get the
    same map.

    Args:
        bound: ControlNets with their maps.
        x_t: [B, C, h, w] or [2B, C, h, w].
        t: [], the timestep.
        tokens: [B or 2B, T, D].
    """
    down: list[torch.Tensor] = []
    middle: torch.Tensor | None = None
    for control in bound:
        if control.weight == 0 or int(t) not in control.active:
            continue
        maps = control.maps.to(x_t.dtype).repeat(len(x_t) // len(control.maps), 1, 1, 1)
        more, most = control.network(
            x_t, t, tokens, maps, conditioning_scale=control.weight, return_dict=False
        )
        down = [a + b for a, b in zip(down, more, strict=True)] if down else list(more)
        middle = most if middle is None else middle + most
    if middle is None:
        return {}
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
