"""A ControlNet: a copy of the denoiser's first half that is told where things are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from crafts.core import artifacts
from crafts.core.artifacts import Manifest
from crafts.core.errors import ConfigError, refusal
from crafts.model.bundle import Bundle
from crafts.model.config import KINDS, UNKNOWN
from crafts.model.files.folders import load_diffusers_module, save_module

_READS_MAP = "controlnet_cond_embedding.conv_in."
# of a ControlNet, to be those of its denoiser: else its additions do not fit
_SHAPE = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")


@dataclass
class Control:
    """A ControlNet and what its maps are.

    Attributes:
        module: the network (Zhang et al. 2023, arXiv 2302.05543).
        kind: "nuclei" or "fluorescence".
        channels: names of the channels of its maps, in order.
        mapping: how a mask or an image becomes a map.
        denoiser: fingerprint of the checkpoint that it was trained beside.
        licence: of its weights, or "unknown".
        fingerprint: identity of the folder it was loaded from; "" for one never saved.
    """

    module: ControlNetModel
    kind: str
    channels: tuple[str, ...]
    mapping: dict[str, Any] = field(default_factory=dict)
    denoiser: str = ""
    licence: str = UNKNOWN
    fingerprint: str = ""

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the layers that bring a map to the size of the latents."""
        return tuple(self.module.config.conditioning_embedding_out_channels)

    @property
    def factor(self) -> int:
        """Pixels of a map for one latent cell along an edge."""
        return int(2 ** (len(self.widths) - 1))


def build_control(
    denoiser: UNet2DConditionModel,
    *,
    kind: str,
    channels: tuple[str, ...],
    widths: tuple[int, ...],
    factor: int,
    mapping: Mapping[str, Any] | None = None,
) -> Control:
    """A ControlNet that copies the first half of a denoiser and adds nothing to it yet.

    All that reaches the denoiser passes through convolutions that begin at zero, so an untrained
    ControlNet changes no image.

    Args:
        denoiser: of any size; is not changed.
        kind: one of ``KINDS``.
        channels: names of the channels of its maps.
        widths: of the layers that bring a map to the size of the latents, at its own size first;
            each further one halves it.
        factor: pixels of an image for one latent cell along an edge.
        mapping: how a mask or an image becomes a map, for the manifest.

    Raises:
        ConfigError: an unknown kind, or widths that do not halve a map to the size of the latents.
    """
    if kind not in KINDS:
        raise ConfigError(
            "control: kind", came=repr(kind), allowed=" or ".join(KINDS), do="Choose one of them."
        )
    needed = math.log2(factor) + 1
    if len(widths) != needed:
        raise ConfigError(
            "control: widths",
            came=f"{len(widths)} widths",
            allowed=f"{needed:g}, as one latent cell stands for {factor} x {factor} px",
            do="Give a width for the size of the image and one for each halving.",
        )
    module = ControlNetModel.from_unet(
        denoiser,
        conditioning_channels=len(channels),
        conditioning_embedding_out_channels=tuple(widths),
    )
    return Control(module, kind, tuple(channels), dict(mapping or {}))


def take_over(control: Control, source: Control) -> Control:
    """Give a ControlNet the weights of one of another kind.

    Only the layer that reads the map keeps its own: its channels mean something else. All behind
    it knows already how to lead a denoiser to where a map is bright.

    Args:
        control: of the same shape but for the channels of its maps; is changed.
        source: is not changed.

    Returns:
        ``control``.

    Raises:
        ConfigError: two weights differ in shape elsewhere.
    """
    own, weights = control.module.state_dict(), source.module.state_dict()
    taken = {name: value for name, value in weights.items() if not name.startswith(_READS_MAP)}
    unlike = [n for n, v in taken.items() if n not in own or own[n].shape != v.shape]
    if unlike or set(own) != set(weights):
        raise ConfigError(
            "control: weights to go on from",
            came=f"other layers, as {unlike[0]}" if unlike else "other layers",
            allowed="a ControlNet of the same widths and of the same denoiser",
            do="Choose another one to go on from.",
        )
    control.module.load_state_dict(own | taken)
    return control


def strengthen(control: Control, factor: float) -> Control:
    """Multiply what a ControlNet adds, so that its weight 1 is what weight ``factor`` was.

    Everything leaves it through convolutions without anything behind them: their weights and
    biases take the factor.

    Args:
        control: is changed.
        factor: above 0.

    Returns:
        ``control``.

    Raises:
        ConfigError: a factor that is not above 0.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(
            "control: factor", came=f"{factor:g}", allowed="above 0", do="1 changes nothing."
        )
    exits = [*control.module.controlnet_down_blocks, control.module.controlnet_mid_block]
    with torch.no_grad():
        for layer in exits:
            for value in layer.parameters():
                value.mul_(factor)
    return control


def save_control(
    control: Control,
    folder: Path,
    *,
    card: str,
    half: bool = False,
    stage: str = "control",
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Manifest:
    """Write a component checkpoint that ``ControlNetModel.from_pretrained`` opens, manifest last.

    Args:
        control: is not changed.
        folder: of a component; made if absent.
        card: text of README.md.
        half: store float16 weights.
        stage: name of the stage that made it, for the manifest.
        config: resolved configuration, for the manifest.
        inputs: fingerprints of what it was made from, for the manifest.

    Raises:
        RetryError: the disk is full.
    """
    save_module(control.module, folder, half=half)
    (folder / "README.md").write_text(card, encoding="utf-8")
    facts = {
        "kind": control.kind,
        "channels": list(control.channels),
        "mapping": control.mapping,
        "denoiser": control.denoiser,
        "licence": control.licence,
    }
    return artifacts.finish(
        folder,
        stage=stage,
        config=config or {},
        inputs=inputs,
        extra={"kind": "control", "control": facts},
    )


def load_control(folder: Path) -> Control:
    """Open what :func:`save_control` wrote, in float32 and in evaluation mode.

    Raises:
        ConfigError: no such folder, or one that holds no ControlNet of ours: what the channels of
            another one mean is not known.
        IntegrityError: a file differs from the manifest.
        DataError: weights that are damaged or do not fit.
    """
    folder = Path(folder)
    inside = folder / "model"
    if not (folder / "config.json").is_file() and (inside / "config.json").is_file():
        folder = inside  # the folder of a run
    if not (folder / artifacts.MANIFEST).is_file():
        raise _no_control(folder, "no manifest.json" if folder.exists() else "no such folder")
    manifest = artifacts.verify(folder)
    facts = manifest.extra.get("control")
    if not isinstance(facts, dict):
        raise _no_control(folder, f"an artifact of another kind ({manifest.stage})")
    module = load_diffusers_module(folder, (ControlNetModel,))
    return Control(
        module=module,
        kind=str(facts["kind"]),
        channels=tuple(facts["channels"]),
        mapping=dict(facts["mapping"]),
        denoiser=str(facts["denoiser"]),
        licence=str(facts["licence"]),
        fingerprint=artifacts.fingerprint(folder),
    )


def check_control(control: Control, bundle: Bundle, *, where: str) -> None:
    """Refuse a ControlNet that cannot steer this model.

    One of the same shape that was trained beside other weights is let through: a denoiser that was
    only trained further may well be steered by it.

    Args:
        control: the ControlNet.
        bundle: the model.
        where: for the message.

    Raises:
        ConfigError: names the first size that differs.
    """
    own, its = control.module.config, bundle.denoiser.config
    pairs = [(name, getattr(own, name), getattr(its, name)) for name in _SHAPE]
    pairs.append(("pixels of a latent cell", control.factor, bundle.codec.factor))
    for name, came, allowed in pairs:
        came, allowed = (list(v) if isinstance(v, list | tuple) else v for v in (came, allowed))
        if came != allowed:
            raise ConfigError(
                f"{where}: {name}",
                came=str(came),
                allowed=f"{allowed}, as in the denoiser",
                do="Choose a ControlNet that was trained for this model.",
            )


def trained_beside(control: Control, bundle: Bundle) -> bool:
    """Whether a ControlNet was trained beside the very weights of a model."""
    return bool(control.denoiser) and control.denoiser == bundle.fingerprint


_no_control = refusal(
    ConfigError,
    allowed="a ControlNet that `crafts train` wrote (stage.kind control)",
    do="Check the path.",
)
