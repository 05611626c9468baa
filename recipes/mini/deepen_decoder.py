"""Give the decoder of an AutoencoderTiny more blocks, with the very same pictures to begin with.

    python recipes/mini/deepen_decoder.py CODEC OUTPUT --blocks 6,5,3,1

CODEC is a codec folder or a whole model. --blocks are the residual blocks at each resolution, from
the latents upwards, none fewer than CODEC has. A new block adds nothing until it is trained, and
stands behind the old ones, whose output is not negative, so that its own ReLU changes nothing.
The encoder is copied: cached latents stay valid. Train it with recipes/mini/decoder.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock

from crafts.core.artifacts import finish, staging
from crafts.core.errors import ConfigError, CraftsError
from crafts.model.codec import Codec, load_codec, save_codec


def deepen(codec: Codec, blocks: Sequence[int]) -> Codec:
    """The same function with ``blocks`` residual blocks at each resolution of the decoder.

    Raises:
        ConfigError: another class of codec, or fewer blocks than it has.
    """
    old = codec.module
    had = list(old.config["num_decoder_blocks"]) if isinstance(old, AutoencoderTiny) else []
    if len(had) != len(blocks) or any(new < now for new, now in zip(blocks, had, strict=True)):
        raise ConfigError(
            "deepen: blocks",
            came=",".join(map(str, blocks)),
            allowed=f"at least {','.join(map(str, had))}" if had else "an AutoencoderTiny",
            do="Ask for as many blocks as there are, or more, at each resolution.",
        )
    module = AutoencoderTiny(**{**_arguments(old), "num_decoder_blocks": tuple(blocks)})
    module.encoder.load_state_dict(old.encoder.state_dict())
    source, level, seen = iter(old.decoder.layers), 0, 0
    layer = next(source)
    for new in module.decoder.layers:
        if isinstance(new, AutoencoderTinyBlock) and seen == had[level]:
            torch.nn.init.zeros_(new.conv[-1].weight)
            torch.nn.init.zeros_(new.conv[-1].bias)
            continue
        new.load_state_dict(layer.state_dict())
        seen += isinstance(new, AutoencoderTinyBlock)
        if isinstance(new, torch.nn.Upsample):
            level, seen = level + 1, 0
        layer = next(source, layer)
    return Codec(module)


def _arguments(module: AutoencoderTiny) -> dict[str, object]:
    """What a network of this configuration is built with."""
    return {
        key: value
        for key, value in module.config.items()
        if not key.startswith("_") and key != "block_out_channels"
    }


def main(source: Path, output: Path, blocks: Sequence[int]) -> None:
    """Read, deepen, write."""
    codec = load_codec(source)
    inputs = {"codec": codec.fingerprint}
    with staging(output) as folder:
        save_codec(deepen(codec, blocks), folder)
        finish(folder, stage="deepen", config={"num_decoder_blocks": list(blocks)}, inputs=inputs)
    print(f"{output}: decoder blocks {', '.join(map(str, blocks))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("codec", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--blocks", required=True, help="one number a resolution, as 6,5,3,1")
    given = parser.parse_args()
    try:
        main(given.codec, given.output, [int(number) for number in given.blocks.split(",")])
    except CraftsError as error:
        sys.exit(str(error))
