"""Keep a leg of training between stretches: int8 differences from the shipped model, 8 MB.

    python recipes/mini/leg.py save runs/whole-fields/checkpoints/step-0000500 recipes/mini/leg.safetensors
    python recipes/mini/leg.py open recipes/mini/leg.safetensors runs/leg

``save`` takes a checkpoint (its averaged weights), ``open`` writes a model folder from which the
next leg starts (``stage.init_from``). A difference is rounded to 1/127 of the largest in its row,
far below what a step of training moves; what was not in the shipped model is kept in float16.
"""  # noqa: E501

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from crafts.core.errors import DataError
from crafts.model.bundle import load_bundle, save_bundle
from crafts.model.conditions import ConditionTokens
from crafts.model.files.folders import save_tensors

BASE = "mini"
CARD = "---\nlicense: other\nlicense_name: {licence}\n---\n\nA leg of training on its way.\n"


def save(checkpoint: Path, path: Path) -> None:
    """Write what a checkpoint has learnt beyond the shipped model."""
    base, leg = load_bundle(BASE), load_bundle(checkpoint)
    before, tensors = base.denoiser.state_dict(), {}
    for name, after in leg.denoiser.state_dict().items():
        tensors[f"{name}.steps"], tensors[f"{name}.scale"] = to_steps(after - before[name])
    facts = {"base": base.fingerprint, "kinds": ""}
    if leg.conditions is not None:
        facts["kinds"] = ",".join(leg.conditions.kinds)
        for name, value in leg.conditions.state_dict().items():
            tensors[f"conditions.{name}"] = value.half()
    save_tensors(tensors, path, metadata=facts)


def restore(path: Path, folder: Path) -> None:
    """Write the model folder that a file of :func:`save` stands for.

    Raises:
        DataError: it was written beside another shipped model.
    """
    base = load_bundle(BASE)
    with safe_open(path, "pt") as file:
        facts, stored = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if facts["base"] != base.fingerprint:
        raise DataError(
            str(path),
            came=f"differences from model {facts['base'][:12]}",
            allowed=f"those from {BASE}, {base.fingerprint[:12]}",
            do="Check out the version it was written with.",
        )
    weights = base.denoiser.state_dict()
    for name, value in weights.items():
        value += stored[f"{name}.steps"].float() * stored[f"{name}.scale"]
    conditions = None
    if facts["kinds"]:
        conditions = ConditionTokens(facts["kinds"].split(","), base.text.width)  # type: ignore[arg-type]
        conditions.load_state_dict(
            {name: stored[f"conditions.{name}"].float() for name in conditions.state_dict()}
        )
    bundle = replace(base, conditions=conditions)
    save_bundle(bundle, folder, card=CARD.format(licence=base.licence))


def to_steps(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps, int8 of the same shape, and the size of a step for each entry of the first axis."""
    rows = change.float().flatten(1) if change.ndim > 1 else change.float()[:, None]
    largest = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
    scale = largest.reshape(-1, *[1] * (change.ndim - 1))
    return (change / scale).round().to(torch.int8), scale


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("verb", choices=("save", "open"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    (save if given.verb == "save" else restore)(given.source, given.target)
