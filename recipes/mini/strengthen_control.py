"""Make a ControlNet act as strongly at weight 1 as it did at another weight.

    python recipes/mini/strengthen_control.py CONTROL FACTOR OUTPUT

A ControlNet learns the mean of all tiles that fit a map, so at weight 1 it asks for less than a
tile should show, as a denoiser without guidance does. FACTOR is the weight that validation tiles
chose; it is folded into the layers through which everything leaves, so that users (and diffusers'
pipelines) need not know it. OUTPUT is a component folder like CONTROL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from crafts.core.artifacts import load_manifest, staging
from crafts.model.control import load_control, save_control, strengthen


def main(trained: Path, factor: float, output: Path) -> None:
    """Read, multiply, write."""
    control = strengthen(load_control(trained), factor)
    made = load_manifest(trained if (trained / "config.json").exists() else trained / "model")
    with staging(output) as folder:
        save_control(
            control,
            folder,
            card=f"A ControlNet whose additions were multiplied by {factor:g}.\n",
            stage="strengthen",
            config={"factor": factor},
            inputs={**made.inputs, "trained": control.fingerprint},
        )
    print(f"{output}: weight 1 is what weight {factor:g} was")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("control", type=Path)
    parser.add_argument("factor", type=float)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    main(given.control, given.factor, given.output)
