"""Put a trained and scored ControlNet into the package, as float16.

    python recipes/mini/ship_control.py CONTROL KIND SCORE

CONTROL is ``OUTPUT/model`` of ``control-KIND.yaml``, KIND nuclei or fluorescence, SCORE the output
of ``score_control.py`` for these very weights. Writes ``weights/control-KIND`` with the figures in
``heldout.json`` and on the card, whose text is ``recipes/mini/control-KIND.md``. Refused: a
ControlNet of another kind, figures of other weights or beside another model than the shipped one,
and weights that take the package beyond 40 MB. A ControlNet that was trained beside an earlier leg
of the denoiser may go on steering the later one, if the figures say so: the card names both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from control_tables import fluorescence_table, nuclei_tables, verdict

from crafts.core.artifacts import load_manifest, sha256_file, staging
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.control import KINDS, Control, load_control, save_control
from crafts.model.denoiser import count_parameters
from crafts.model.files.places import SHIPPED

HERE = Path(__file__).parent
LICENCE = "crafts-mini-research-only"
MOST_BYTES = 40_000_000  # of all weights in the package
TABLES = {"nuclei": nuclei_tables, "fluorescence": fluorescence_table}
HEADER = f"""---
license: other
license_name: {LICENCE}
license_link: ../LICENSE.md
tags: [pathology, histology, controlnet, crafts]
---

"""


def main(trained: Path, kind: str, score: Path, weights: Path = SHIPPED) -> None:
    """Check, then write the folder, manifest last."""
    control = load_control(trained)
    result = json.loads((score / "control.json").read_text(encoding="utf-8"))
    mini = check(control, kind, result)
    made = load_manifest(trained if (trained / "config.json").exists() else trained / "model")
    inputs = {**made.inputs, "trained": control.fingerprint}
    inputs["score"] = sha256_file(score / "control.json")
    inputs.setdefault("denoiser", control.denoiser)  # that of its training
    with staging(weights / f"control-{kind}") as folder:
        (folder / "heldout.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        save_control(
            replace(control, licence=LICENCE, denoiser=mini.fingerprint),
            folder,
            card=describe(control, result, trained=inputs["denoiser"]),
            half=True,
            stage="ship",
            inputs=inputs,
        )
        others = weights.rglob("*.safetensors")
        taken = [path for path in others if f"control-{kind}" not in str(path.relative_to(weights))]
        total = sum(path.stat().st_size for path in [*taken, *folder.glob("*.safetensors")])
        if total > MOST_BYTES:
            raise SystemExit(f"all weights would take {total / 1e6:.1f} MB; nothing written")
    print(f"{total / 1e6:.1f} MB of weights, with {weights / f'control-{kind}'}")
    print("\n".join(verdict(result)))


def check(control: Control, kind: str, result: dict[str, Any]) -> Bundle:
    """The shipped model; refuses what does not belong together."""
    if {control.kind, result["kind"]} != {kind}:
        raise SystemExit(
            f"a ControlNet for {control.kind}, figures for {result['kind']}; {kind} asked"
        )
    if result["control"] != control.fingerprint:
        raise SystemExit("the figures are those of other weights; run score_control.py again")
    mini = load_bundle("mini")
    if result["model"] != mini.fingerprint:
        raise SystemExit("scored beside another model than the shipped one")
    return mini


def describe(control: Control, result: dict[str, Any], *, trained: str) -> str:
    """The card; ``trained`` is the denoiser of the training."""
    text = (HERE / f"control-{control.kind}.md").read_text(encoding="utf-8")
    facts = {
        "num_channels": str(len(control.channels)),
        "channels": ", ".join(control.channels),
        "parameters": f"{count_parameters(control.module) / 1e6:.1f}",
        "trained": trained[:12],
        "denoiser": result["model"][:12],
        "figures": TABLES[control.kind](result).strip(),
    }
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value)
    return HEADER + text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("control", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("score", type=Path)
    given = parser.parse_args()
    main(given.control, given.kind, given.score)
