"""What an output was made from, so that another input or shard cannot take its tiles away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any

from crafts.core.artifacts import write_bytes
from crafts.core.errors import ConfigError
from crafts.core.parsing import parse_json
from crafts.core.runtime import say
from crafts.slides.output.publish import TILES

ORIGIN = ".made-from.json"
_MOVED = f" If the slides have only moved, delete {ORIGIN} in it."
_UNWANTED = f" If nobody needs them, delete their folders in {TILES}/."


def take_over(output: Path, inputs: Path, shard: str | None, names: Set[str]) -> None:
    """Make sure that an output is of this input and shard, note both, and remove single slides.

    A whole run may go on in the output of a shard: so shards are joined.

    Args:
        output: with its folder of tiles.
        inputs: folder of slides, or one slide.
        shard: K/N; None for a whole run.
        names: of the slides of this run; tiles of others are removed.

    Raises:
        ConfigError: there are finished slides, and they were made from another input or as another
            shard, or more than half of them would be removed. Nothing is changed then.
    """
    made = sorted(path.name for path in (output / TILES).iterdir() if not path.name.startswith("."))
    origin = {"input": _relative(inputs, output), "shard": shard}
    earlier = _read(output / ORIGIN)
    if made and earlier:
        if earlier["input"] != origin["input"]:
            raise _refusal(output, f"tiles of {len(made)} slides of {earlier['input']}", _MOVED)
        if earlier["shard"] != shard and (shard or not earlier["shard"]):
            came = f"shard {earlier['shard']}" if earlier["shard"] else "a run without --shard"
            raise _refusal(output, f"tiles of {len(made)} slides, made as {came}", "")
    stale = [name for name in made if name not in names]
    if 2 * len(stale) > len(made):
        came = f"{len(stale)} of {len(made)} finished slides that are not in the input any more"
        raise _refusal(output, came, _UNWANTED)
    write_bytes(output / ORIGIN, json.dumps(origin).encode())
    for name in stale:
        say(f"tile: {name} is not in the input any more; its tiles are removed")
        shutil.rmtree(output / TILES / name)


def _relative(inputs: Path, output: Path) -> str:
    """Relative to the output: both may be moved together."""
    return Path(os.path.relpath(os.path.realpath(inputs), os.path.realpath(output))).as_posix()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(path.read_bytes())
        return {"input": str(found["input"]), "shard": found["shard"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refusal(output: Path, came: str, way_out: str) -> ConfigError:
    return ConfigError(
        str(output),
        came=came,
        allowed="the input and the shard that it was made with, or no --shard to join shards",
        do=f"Choose another --output, so that finished tiles are not lost.{way_out}",
    )
