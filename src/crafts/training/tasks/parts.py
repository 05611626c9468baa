"""What a denoiser is built from, and the card of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from crafts.conditions.text import CaptionEncoder
from crafts.core.errors import ConfigError
from crafts.model.bundle import UNKNOWN, Bundle, load_bundle
from crafts.model.codec import load_codec
from crafts.model.conditions import extend_conditions
from crafts.model.config import ScheduleConfig
from crafts.model.control import Control
from crafts.model.denoiser import build_denoiser
from crafts.model.encoders import load_text_conditioner
from crafts.model.schedule import build_schedule
from crafts.model.vision.image_encoders import open_encoder
from crafts.training.objective.categories import build_categories
from crafts.training.objective.objective import Batches, Objective, ObjectiveOptions
from crafts.training.objective.wanted import Pixels, build_wanted
from crafts.training.sources import Row

if TYPE_CHECKING:
    from crafts.training.tasks.config import ControlStage, DenoiserStage


@dataclass(frozen=True)
class Shown:
    """What is trained on.

    Attributes:
        rows: all rows of the source.
        train: numbers of those that are trained on.
        pixels: the real tile of a row.
    """

    rows: list[Row]
    train: Sequence[int]
    pixels: Pixels


def build_bundle(stage: DenoiserStage) -> Bundle:
    """Join the parts that the recipe names.

    Raises:
        ConfigError: a part is missing, or two do not fit together.
    """
    parts: dict[str, Any] = {}
    if stage.codec_from:
        parts["codec"] = load_codec(Path(stage.codec_from))
    if stage.text_from:
        parts["text"] = load_text_conditioner(Path(stage.text_from))
    if stage.denoiser:
        parts["denoiser"] = build_denoiser(stage.denoiser)
    if stage.schedule or stage.init_from is None:
        parts["schedule"] = build_schedule(stage.schedule or ScheduleConfig())
    parts["mpp"] = stage.mpp or UNKNOWN  # that of init_from's tiles says nothing of these
    if stage.licence != UNKNOWN or stage.init_from is None:
        parts["licence"] = stage.licence  # else that of the weights it begins with stays
    if stage.denoiser:  # random weights: nobody tuned guidance for them, and they know nothing
        parts |= {"extra": {}, "trained_on": None}
    if stage.init_from is None and not {"codec", "text", "denoiser"} <= set(parts):
        raise ConfigError(
            "train: stage.init_from",
            came="null",
            allowed="a checkpoint, or all of codec_from, text_from and denoiser",
            do="Name the missing parts.",
        )
    bundle = replace(load_bundle(stage.init_from), **parts) if stage.init_from else Bundle(**parts)
    if stage.max_tokens:
        bundle.text.padded = False
    if stage.conditions is not None:
        encoder = Path(stage.reference_from) if stage.reference_from else None
        size = open_encoder(encoder).width if encoder else 3 * bundle.codec.channels
        bundle.conditions = extend_conditions(
            bundle.conditions,
            stage.conditions,
            bundle.text.width,
            reference_size=size,
            encoder=encoder,
        )
    if stage.train == "conditions" and (bundle.conditions is None or stage.lora):
        raise ConfigError(
            "train: stage.train",
            came="conditions with lora" if stage.lora else "conditions, of which there are none",
            allowed="stage.conditions that name some, without lora",
            do="Name them, or train all.",
        )
    needed, width = (
        bundle.denoiser.config.cross_attention_dim,
        bundle.text.encoder.config.hidden_size,
    )
    channels = bundle.denoiser.config.in_channels
    if needed != width or channels != bundle.codec.channels:
        raise ConfigError(
            "train: stage.denoiser",
            came=f"text width {needed} and {channels} latent channels",
            allowed=f"{width} and {bundle.codec.channels}, as text encoder and codec give them",
            do="Correct stage.denoiser, or choose other parts.",
        )
    return bundle


def build_objective(
    stage: DenoiserStage,
    bundle: Bundle,
    captions: CaptionEncoder,
    *,
    source: Shown,
    batches: Batches,
) -> Objective | None:
    """The CRAFTS losses, or None where both are off.

    Args:
        stage: of the recipe.
        bundle: with the schedule of the noise and the denoiser.
        captions: the frozen text encoder that conditions the denoiser.
        source: what is trained on.
        batches: how many samples come together.

    Raises:
        ConfigError: the recipe asks for what these samples or this schedule cannot give.
        DataError: the file of classes is unusable, or no training row has a class.
    """
    if not (stage.weights.semantic or stage.weights.category):
        return None
    categories = None
    if stage.weights.category:
        categories = build_categories(stage.category, source.rows, source.train, captions=captions)
    options = ObjectiveOptions(
        stage.weights.model_dump(),
        stage.relations,
        stage.text_relations,
        stage.category,
        stage.strength,
    )
    wanted = None
    if stage.weights.semantic:
        wanted = build_wanted(
            stage.text_relations, source.rows, column=stage.category.column, pixels=source.pixels
        )
    return Objective(
        options,
        bundle.schedule,
        categories=categories,
        batches=batches,
        wanted=wanted,
        projector=_build_projector(stage, bundle),
    )


def _build_projector(stage: DenoiserStage, bundle: Bundle) -> nn.Module | None:
    """Two layers behind the middle block; they are no part of what is saved."""
    options = stage.relations
    if not options.projector:
        return None
    if options.pool != "midblock":
        raise ConfigError(
            "train: stage.relations.projector",
            came=f"{options.projector} with pool: {options.pool}",
            allowed="pool: midblock, or projector: 0",
            do="Set stage.relations.pool=midblock.",
        )
    width = bundle.denoiser.config.block_out_channels[-1]
    return nn.Sequential(
        nn.Linear(width, options.projector),
        nn.SiLU(),
        nn.Linear(options.projector, options.projector),
    ).to(bundle.denoiser.device)


def describe(
    bundle: Bundle, stage: DenoiserStage, inputs: dict[str, str], objective: Objective | None
) -> str:
    """The card of a trained checkpoint."""
    seen = f"In training, {objective.describe()}.\n" if objective else ""
    if not bundle.text.padded:
        seen += (
            "Prompts are told without padding; a pipeline of diffusers pads them to 77 tokens, "
            "which this denoiser has not seen. Generate with crafts.\n"
        )
    start = Path(stage.init_from).name if stage.init_from else "random weights"
    return (
        f"---\nlicense: other\nlicense_name: {bundle.licence}\n"
        "tags: [pathology, text-to-image, crafts]\n---\n\n"
        "# A checkpoint trained with crafts\n\n"
        "Synthetic histology from text. Research use only; not a medical device.\n\n"
        f"Started from `{start}`; data `{inputs.get('data', '')}`. "
        f"The resolved recipe is in `manifest.json`.\n{seen}"
    )


def describe_control(control: Control, stage: ControlStage, inputs: dict[str, str]) -> str:
    """The card of a trained ControlNet."""
    start = ""
    if stage.control_from:
        start = f"Went on from the ControlNet `{inputs.get('control_from', '')}`.\n"
    return (
        f"---\nlicense: other\nlicense_name: {control.licence}\n"
        "tags: [pathology, controlnet, crafts]\n---\n\n"
        f"# A ControlNet for {control.kind}, trained with crafts\n\n"
        "Steers synthetic histology. Research use only; not a medical device.\n\n"
        f"Maps of {len(control.channels)} channels in [0, 1]: {', '.join(control.channels)}.\n"
        f"Trained beside the denoiser of `{Path(stage.init_from).name}` "
        f"(`{control.denoiser}`); data `{inputs.get('data', '')}`. "
        f"The resolved recipe is in `manifest.json`.\n{start}"
    )
