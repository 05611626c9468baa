"""A checkpoint: one folder in the layout of a StableDiffusionPipeline, opened and written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from crafts.captions.trained_on import FILE as TRAINED_ON
from crafts.captions.trained_on import TrainedOn, read_trained_on, write_trained_on
from crafts.core import artifacts
from crafts.core.artifacts import Manifest
from crafts.core.errors import ConfigError
from crafts.core.parsing import shorten
from crafts.core.protocols import CountTokens
from crafts.model.codec import Codec, load_codec, save_codec
from crafts.model.conditions import ConditionTokens, load_conditions, save_conditions
from crafts.model.config import UNKNOWN
from crafts.model.files.folders import (
    load_diffusers_module,
    read_json,
    read_licence,
    save_module,
    write_json,
)
from crafts.model.files.hub import HUB
from crafts.model.files.places import SHIPPED, find_tokenizer, is_shipped, resolve_model
from crafts.model.schedule import Schedule
from crafts.model.text import TextConditioner, load_tokenizer, save_tokenizer
from crafts.model.text_encoders import open_text

_MOST_CELLS = 1024  # along an edge; 8,192 pixels
_PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
_CONDITIONS = "conditions"  # beside what diffusers knows, which passes it over


@dataclass
class Bundle:
    """All that text-to-image generation needs, in float32 and in evaluation mode when loaded.

    Attributes:
        codec: images to latents and back.
        text: prompts to tokens.
        denoiser: the U-Net.
        schedule: its noise schedule; ``schedule.config`` builds samplers of diffusers.
        conditions: embeds what it can be told beside text; None: nothing.
        licence: of the weights, or "unknown".
        mpp: microns per pixel of its images, or "unknown".
        extra: further facts for the manifest; ``guidance`` maps presets to tuned scales.
        trained_on: what it was trained on; None where its folder does not say.
        name: under which it was loaded, which its images name; of a path only the last name, the
            rest is private, and of the ``model`` of a training run that of the run.
        fingerprint: identity of the weights and settings it was loaded from, whatever the card
            beside them says; "" for one never saved.
    """

    codec: Codec
    text: TextConditioner
    denoiser: UNet2DConditionModel
    schedule: Schedule
    conditions: ConditionTokens | None = None
    licence: str = UNKNOWN
    mpp: float | str = UNKNOWN
    extra: dict[str, Any] = field(default_factory=dict)
    trained_on: TrainedOn | None = None
    name: str = ""
    fingerprint: str = ""

    @property
    def native_size(self) -> int:
        """Pixels along a side of the images that the denoiser was trained for."""
        size = self.denoiser.config.sample_size
        return int(size if isinstance(size, int) else size[0]) * self.codec.factor

    def to(self, *args: Any, **kwargs: Any) -> Bundle:
        """Move or cast all networks in place, as ``torch.nn.Module.to``."""
        for part in (self.codec, self.text, self.denoiser, self.conditions):
            if part is not None:
                part.to(*args, **kwargs)
        return self


def load_bundle(source: str | Path, *, network: bool = False) -> Bundle:
    """Open a checkpoint.

    Args:
        source: "mini" for the shipped weights, a folder, or a hub id (``owner/name``, or without
            doubt ``hf:owner/name``; see :func:`crafts.model.files.hub.hub_id`).
        network: whether a hub id may be downloaded; without it only a copy on this disk is used.

    A folder with a manifest is verified file by file. Any other folder in the SD-1.5 layout is
    opened as it is, safety checker and feature extractor left aside, and it is said that nothing
    was verified. Only safetensors are read.

    Raises:
        ConfigError: no such model, another architecture, or pickled weights only.
        IntegrityError: a file differs from the manifest, or ``mini``, a checkpoint of a run or a
            model that lists what it was trained on has lost it.
        DataError: weights that are damaged, do not fit, or are not finite.
    """
    folder = resolve_model(source, network=network)
    ours = folder == SHIPPED / "mini" or any(
        (folder / m).exists() for m in ("training", TRAINED_ON)
    )
    manifest = artifacts.check(folder, ours=ours)
    _check_index(folder)
    codec = load_codec(folder / "vae", verified=True)
    extra = manifest.extra if manifest else {}
    padded = bool(extra.get("padded_text", True))
    text = open_text(folder / "text_encoder", folder / "tokenizer", padded=padded)
    denoiser = load_diffusers_module(folder / "unet", (UNet2DConditionModel,))
    _check_fit(folder, codec, text, denoiser)
    return Bundle(
        codec=codec,
        text=text,
        denoiser=denoiser,
        schedule=Schedule.from_config(read_json(folder / "scheduler" / "scheduler_config.json")),
        conditions=load_conditions(folder / _CONDITIONS),
        licence=extra.get("licence") or read_licence(folder / "README.md"),
        mpp=extra.get("mpp", UNKNOWN),
        extra={
            key: value
            for key, value in extra.items()
            if key not in ("licence", "mpp", "native_size", "padded_text")
        },
        trained_on=read_trained_on(folder),
        name=_name(source),
        fingerprint=_identify(manifest) if manifest else _hash_folder(folder),
    )


def _name(source: str | Path) -> str:
    path = Path(source)
    if is_shipped(str(source)) or not os.path.exists(source):
        return str(source).removeprefix(HUB)
    path = path.resolve()
    return path.parent.name if path.name == "model" else path.name


def load_token_counter(source: str | Path, *, network: bool = False) -> CountTokens:
    """Counter of the tokens of a text, begin and end token included and no limit on the length.

    Args:
        source: a model as :func:`load_bundle` takes it, or a tokenizer's own folder.
        network: a hub id may be downloaded.

    Raises:
        ConfigError: there is no such model, or no tokenizer in it.
        DataError: the tokenizer's files are damaged.
    """
    tokenizer = load_tokenizer(find_tokenizer(source, network=network))

    def count(text: str) -> int:
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])

    return count


def save_bundle(
    bundle: Bundle,
    folder: Path,
    *,
    card: str,
    half: bool = False,
    stage: str = "bundle",
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    beside: Callable[[Path], None] | None = None,
) -> Manifest:
    """Write a checkpoint that ``StableDiffusionPipeline.from_pretrained`` opens, manifest last.

    Args:
        bundle: is not changed.
        folder: new, empty, or an earlier checkpoint, which is replaced.
        card: text of README.md, with a YAML header that names the licence.
        half: store float16 weights.
        stage: name of the stage that made it, for the manifest.
        config: resolved configuration, for the manifest.
        inputs: fingerprints of what it was made from, for the manifest.
        beside: writes further files into the folder, which the manifest lists.

    Raises:
        ConfigError: ``folder`` holds files that no stage wrote.
        RetryError: the disk is full.
    """
    extra = {
        **bundle.extra,
        "licence": bundle.licence,
        "mpp": bundle.mpp,
        "native_size": bundle.native_size,
    }
    if not bundle.text.padded:
        extra["padded_text"] = False
    with artifacts.staging(folder) as temporary:
        save_codec(bundle.codec, temporary / "vae", half=half)
        save_module(bundle.text.encoder, temporary / "text_encoder", half=half)
        save_module(bundle.denoiser, temporary / "unet", half=half)
        save_tokenizer(bundle.text.tokenizer, temporary / "tokenizer")
        write_json(temporary / "scheduler" / "scheduler_config.json", bundle.schedule.config)
        if bundle.conditions is not None:
            save_conditions(bundle.conditions, temporary / _CONDITIONS, half=half)
        write_json(temporary / "model_index.json", _model_index(bundle))
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if bundle.trained_on is not None:
            write_trained_on(bundle.trained_on, temporary)
        if beside is not None:
            beside(temporary)
        return artifacts.finish(
            temporary, stage=stage, config=config or {}, inputs=inputs, extra=extra
        )


def _model_index(bundle: Bundle) -> dict[str, Any]:
    """``model_index.json``; no image processor: its class name changes between releases."""
    import diffusers

    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", bundle.schedule.config.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", _class_of(bundle.text.encoder, CLIPTextModel)],
        "tokenizer": ["transformers", _class_of(bundle.text.tokenizer, CLIPTokenizer)],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", type(bundle.codec.module).__name__],
    }


def _class_of(part: Any, usual: type) -> str:
    """The name under which a part is opened again; of CLIP's, which we may extend, their own."""
    foreign = not isinstance(part, usual) and type(part).__module__.startswith("transformers.")
    return (type(part) if foreign else usual).__name__


def _check_index(folder: Path) -> None:
    """Refuse what is not a text-to-image pipeline of SD-1.5's parts."""
    index = read_json(folder / "model_index.json")
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if missing:
        raise ConfigError(
            str(folder),
            came=f"no folder {missing[0]!r} (pipeline {index.get('_class_name')!r})",
            allowed="the parts of Stable Diffusion 1.5: " + ", ".join(_PARTS),
            do="Use a model of that layout.",
        )


def _check_fit(
    folder: Path, codec: Codec, text: TextConditioner, denoiser: UNet2DConditionModel
) -> None:
    size = denoiser.config.sample_size
    for side in size if isinstance(size, list | tuple) else [size]:
        if not isinstance(side, int) or not 1 <= side <= _MOST_CELLS:
            raise ConfigError(
                f"{folder / 'unet' / 'config.json'}: sample_size",
                came=shorten(size),
                allowed=f"1 to {_MOST_CELLS} latent cells",
                do="Restore the file of the model.",
            )
    pairs = (
        (
            "in_channels",
            denoiser.config.in_channels,
            codec.channels,
            "the latent channels of the vae",
        ),
        (
            "cross_attention_dim",
            denoiser.config.cross_attention_dim,
            text.width,
            "the width of the text encoder",
        ),
    )
    for key, came, allowed, what in pairs:
        if came != allowed:
            raise ConfigError(
                f"{folder / 'unet' / 'config.json'}: {key}",
                came=str(came),
                allowed=f"{allowed}, {what}",
                do="Use parts of one model (inpainting and SD-2 layouts are not supported).",
            )


def _identify(manifest: artifacts.Manifest) -> str:
    """Hash of all that an image depends on: a model whose card was rewritten is the same model."""
    pages = ("README.md", TRAINED_ON)
    files = {name: entry.sha256 for name, entry in manifest.files.items() if name not in pages}
    facts = json.dumps({"files": files, "extra": manifest.extra}, sort_keys=True)
    return artifacts.sha256_bytes(facts.encode())


def _hash_folder(folder: Path) -> str:
    """Identity of a folder without manifest: hash over names and hashes of the files in use."""
    wanted = [
        folder / "model_index.json",
        *(path for part in (*_PARTS, _CONDITIONS) for path in (folder / part).rglob("*")),
    ]
    names = sorted(path.relative_to(folder).as_posix() for path in wanted if path.is_file())
    names = [name for name in names if Path(name).suffix in {".safetensors", ".json", ".txt"}]
    lines = "".join(f"{name} {artifacts.sha256_file(folder / name)}\n" for name in names)
    return artifacts.sha256_bytes(lines.encode())
