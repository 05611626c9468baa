"""Trained networks into a folder of weights, in half precision, manifest last.

What does not belong together is refused and nothing is written: a decoder of another encoder,
figures of other weights, or weights that take the folder beyond its size.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crafts.captions.trained_on import TrainedOn, collect, write_trained_on
from crafts.core.artifacts import finish, load_manifest, sha256_file, staging, write_bytes
from crafts.core.errors import ConfigError
from crafts.evaluation.filtering import calibrate_on
from crafts.evaluation.gate import GATE
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.codec import load_codec, weights_file
from crafts.model.control import Control, load_control, save_control, strengthen
from crafts.model.denoiser import count_parameters
from crafts.model.encoders import load_dual_encoder, save_dual_encoder
from crafts.model.files.places import SHIPPED
from crafts.model.vision.image_encoders import open_encoder
from crafts.sets.described import describe
from crafts.sets.features import build_extractor
from crafts.sets.source import open_source
from crafts.sets.splits import AUTO
from crafts.workflows.releasing.licence import LICENCE, header
from crafts.workflows.scorecards.control import compose, verdict

GUIDANCE = {"balanced": 3.5, "fast": 3.5}  # balanced: chosen on validation patients, see LOG.md
MOST_BYTES = 40_000_000  # of all weights in the package
_MOST_TILES = 100_000  # that set thresholds


def release_model(
    denoiser: Path,
    card: Path,
    codec: Path | None = None,
    tiles: Path | None = None,
    output: Path = SHIPPED / "mini",
) -> str:
    """Write a text-to-image model.

    Args:
        denoiser: pipeline folder as trained.
        card: its text.
        codec: with the same encoder and a better decoder; None keeps its own.
        tiles: ``metadata.csv`` tells what it was trained on, where its folder does not.
        output: replaced as a whole.

    Raises:
        ConfigError: the codec's encoder is not that of the latents the denoiser learnt.
    """
    bundle, inputs = load_bundle(denoiser), dict(load_manifest(denoiser).inputs)
    if codec is not None:
        other = load_codec(codec)
        if other.fingerprint != bundle.codec.fingerprint:
            raise ConfigError(
                str(codec),
                came="another encoder",
                allowed=f"that of {denoiser}",
                do="Train the decoder alone, or the denoiser on its latents; nothing is written.",
            )
        bundle = replace(bundle, codec=other)
        inputs["codec"] = sha256_file(weights_file(codec))
    bundle = replace(bundle, licence=LICENCE, extra={"guidance": GUIDANCE})
    if tiles is not None:
        bundle.trained_on = _trained_on(tiles)
    text = card.read_text(encoding="utf-8")
    save_bundle(bundle, output, card=text, half=True, stage="ship", inputs=inputs)
    return str(output)


def release_encoder(clip: Path, tiles: Path, output: Path = SHIPPED / "evaluation-clip") -> str:
    """Write an evaluation CLIP, with the thresholds of the quality gate that belong to it.

    Args:
        clip: as trained.
        tiles: real tiles; the held-out ones set the thresholds.
        output: replaced as a whole, once the thresholds are there.
    """
    encoder, inputs = load_dual_encoder(clip), load_manifest(clip).inputs
    with staging(output) as folder:
        save_dual_encoder(encoder, folder, half=True)
        finish(folder, stage="ship", config={}, inputs=inputs, extra={"licence": LICENCE})
        limits = write_gate(tiles, folder)
        write_trained_on(_trained_on(tiles), folder)
    return limits


def write_gate(tiles: Path, folder: Path = SHIPPED / "evaluation-clip") -> str:
    """Thresholds of the gate behind ``generate --keep`` beside an encoder, listed in its manifest.

    Args:
        tiles: real tiles with captions, labels, patients and splits; the held-out ones count.
        folder: of the encoder, a finished artifact.

    Returns:
        How many tiles they are from, and how many of those pass.
    """
    encoder = open_encoder(folder)
    source = open_source("heldout", tiles, split=AUTO, wanted="heldout")
    found = source.features(lambda split: build_extractor(encoder, split=split))
    reference = calibrate_on(describe(found, {}), source, most=_MOST_TILES)
    write_bytes(folder / GATE, (reference.model_dump_json(indent=1) + "\n").encode())
    made = load_manifest(folder)
    finish(folder, stage=made.stage, config=made.config, inputs=made.inputs, extra=made.extra)
    return (
        f"{reference.tiles} tiles of {reference.groups} patients; real tiles of other patients "
        f"that pass: {100 * (reference.real_pass or 0):.1f} %"
    )


def strengthen_control(trained: Path, factor: float, output: Path) -> str:
    """Make a ControlNet act as strongly at weight 1 as it did at another weight.

    A ControlNet learns the mean of all tiles that fit a map, so at weight 1 it asks for less than a
    tile should show, as a denoiser without guidance does. The weight that validation tiles chose is
    folded into the layers through which everything leaves, so that users need not know it.

    Args:
        trained: folder of the ControlNet.
        factor: that weight.
        output: a component folder like ``trained``.
    """
    control = load_control(trained)
    inputs = {**_manifest_of(trained).inputs, "trained": control.fingerprint}
    card = f"A ControlNet whose additions were multiplied by {factor:g}.\n"
    with staging(output) as folder:
        save_control(
            strengthen(control, factor),
            folder,
            card=card,
            stage="strengthen",
            config={"factor": factor},
            inputs=inputs,
        )
    return f"{output}: weight 1 is what weight {factor:g} was"


def release_control(trained: Path, score: Path, card: Path, weights: Path = SHIPPED) -> str:
    """Write a scored ControlNet into ``weights/control-KIND``, with its figures on the card.

    One that was trained beside an earlier leg of the denoiser may go on steering the later one, if
    the figures say so: the card names both.

    Args:
        trained: folder of the ControlNet.
        score: scorecard of these very weights.
        card: its text, with names in braces for the facts.
        weights: folder of all weights.

    Raises:
        ConfigError: figures of another kind, of other weights, or beside another model than the
            shipped one; or too many bytes.
    """
    control = load_control(trained)
    found = json.loads((score / "control.json").read_text(encoding="utf-8"))
    check_figures(control, found, where=str(score))
    inputs = {**_manifest_of(trained).inputs, "trained": control.fingerprint}
    inputs["score"] = sha256_file(score / "control.json")
    inputs.setdefault("denoiser", control.denoiser)  # that of its training
    output = weights / f"control-{control.kind}"
    with staging(output) as folder:
        (folder / "heldout.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        save_control(
            replace(control, licence=LICENCE, denoiser=found["model"]),
            folder,
            card=_fill(card, control, found, trained=inputs["denoiser"]),
            half=True,
            stage="ship",
            inputs=inputs,
        )
        others = [path for path in weights.rglob("*.safetensors") if output not in path.parents]
        kept = [path for path in others if folder not in path.parents]
        total = sum(path.stat().st_size for path in [*kept, *folder.glob("*.safetensors")])
        if total > MOST_BYTES:
            raise ConfigError(
                str(weights),
                came=f"{total / 1e6:.1f} MB with {output.name}",
                allowed=f"{MOST_BYTES / 1e6:g} MB",
                do="Make it smaller; nothing is written.",
            )
    return "\n".join([f"{total / 1e6:.1f} MB of weights, with {output}", *verdict(found)])


def check_figures(control: Control, found: Mapping[str, Any], *, where: str) -> None:
    """Hold a scorecard against the ControlNet that it should be of.

    Raises:
        ConfigError: another kind, other weights, or beside another model than the shipped one.
    """
    for name, own, of in (
        ("kind", control.kind, "another kind"),
        ("control", control.fingerprint, "other weights"),
        ("model", load_bundle("mini").fingerprint, "a run beside another model"),
    ):
        if found[name] != own:
            raise ConfigError(
                f"{where}: {name}",
                came=f"figures of {of}",
                allowed=own,
                do="Score the ControlNet again; nothing is written.",
            )


def _fill(card: Path, control: Control, found: Mapping[str, Any], *, trained: str) -> str:
    """The card; ``trained`` is the denoiser of the training."""
    text = card.read_text(encoding="utf-8")
    facts = {
        "num_channels": str(len(control.channels)),
        "channels": ", ".join(control.channels),
        "parameters": f"{count_parameters(control.module) / 1e6:.1f}",
        "trained": trained[:12],
        "denoiser": found["model"][:12],
        "figures": compose(found).strip(),
    }
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value)
    return header("pathology", "histology", "controlnet", "crafts") + text


def _manifest_of(trained: Path) -> Any:
    return load_manifest(trained if (trained / "config.json").exists() else trained / "model")


def _trained_on(tiles: Path) -> TrainedOn:
    """Classes, sets and words of the training rows of ``metadata.csv``."""
    with (tiles / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "train"]
    return collect(
        [{**row, "key": row["file_name"], "captions": json.loads(row["captions"])} for row in rows]
    )
