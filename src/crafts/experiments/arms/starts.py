"""What the arms begin with: the shared checkpoint, with one text encoder or another."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from crafts.core import artifacts
from crafts.core.errors import ConfigError
from crafts.core.runtime import say
from crafts.experiments.settings import ExperimentConfig
from crafts.model.bundle import Bundle, load_bundle, save_bundle
from crafts.model.encoders import load_dual_encoder
from crafts.model.text import TextConditioner

Encoder = TypeVar("Encoder", bound=nn.Module)
_CARD = "---\nlicense: other\n---\n\n# A checkpoint of an experiment\n\nNot for any other use.\n"
_SEED = 20  # of all that is random here; arms of all seeds begin alike


def build_base(config: ExperimentConfig, output: Path) -> Path:
    """The model that the experiment begins with, made for tiles of a crop's size.

    With ``base.forget_text`` its cross-attention gets random weights and adds nothing at first, so
    that it knows tissue and no word of it.

    Args:
        config: of the experiment.
        output: of the experiment; gets ``base/start``.

    Raises:
        ConfigError: no such model, or one that cannot make tiles of this size.
    """
    target = output / "base" / "start"
    if (target / artifacts.MANIFEST).is_file():
        return target
    bundle = load_bundle(config.base.model, network=True)
    levels = len(bundle.denoiser.config.block_out_channels)
    if config.crop % 2 ** (levels - 1):
        raise ConfigError(
            "experiment: crop",
            came=str(config.crop),
            allowed=f"a multiple of {2 ** (levels - 1)}, as the denoiser halves it",
            do="Choose another crop.",
        )
    bundle.denoiser.register_to_config(sample_size=config.crop)
    if config.base.forget_text:
        forget_text(bundle.denoiser)
    return _save(bundle, target)


def forget_text(denoiser: nn.Module) -> None:
    """Set every cross-attention back to random weights with an output of zero, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        for name, module in denoiser.named_modules():
            if not name.endswith("attn2"):
                continue
            for part in module.modules():
                if isinstance(part, nn.Linear):
                    part.reset_parameters()
            last = module.to_out[0]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def with_text(kind: str, base: Path, output: Path, *, second: Path | None = None) -> Path:
    """The shared checkpoint with the text encoder of an arm.

    Args:
        kind: ``own``; ``bag`` (the token embeddings of the own one, without order or context);
            ``untrained`` (its shape with random weights); ``second`` (of another CLIP).
        base: the shared checkpoint.
        output: of the experiment; gets ``starts/KIND``.
        second: folder of the CLIP for ``second``.

    Raises:
        ConfigError: no such kind, or another width.
    """
    target = output / "starts" / kind
    if kind == "own":
        return base
    if (target / artifacts.MANIFEST).is_file():
        return target
    bundle = load_bundle(base)
    text = _text(kind, bundle.text, second)
    if text.width != bundle.text.width:
        raise ConfigError(
            "experiment: text encoder",
            came=f"width {text.width}",
            allowed=f"{bundle.text.width}, as the denoiser was built for",
            do="Use another base.model.",
        )
    return _save(replace(bundle, text=text), target)


def _text(kind: str, own: TextConditioner, second: Path | None) -> TextConditioner:
    if kind == "second" and second is not None:
        return load_dual_encoder(second).text_conditioner()
    if kind == "bag":
        return TextConditioner(own.tokenizer, bag_of_words(own.encoder))
    if kind == "untrained":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return TextConditioner(own.tokenizer, type(own.encoder)(own.encoder.config).eval())
    raise ConfigError(
        "experiment: text", came=repr(kind), allowed="own, bag, untrained, second", do="Name one."
    )


def bag_of_words(encoder: Encoder) -> Encoder:
    """A copy whose token features are its token embeddings, whatever stands before or behind.

    Positions and all layers add nothing; the last normalisation brings embeddings to one length.
    """
    bag = copy.deepcopy(encoder)
    with torch.no_grad():
        for name, value in bag.named_parameters():
            if "position_embedding" in name or ".out_proj." in name or ".fc2." in name:
                value.zero_()
            if "final_layer_norm.weight" in name:
                value.fill_(1.0)
            if "final_layer_norm.bias" in name:
                value.zero_()
    return bag


def _save(bundle: Bundle, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(bundle, target, card=_CARD, stage="experiment")
    say(f"{target}: written")
    return target
