"""Give an AutoencoderTiny more blocks, with the very same latents and pictures to begin with.

    python recipes/mini/deepen_codec.py CODEC OUTPUT [--decoder 6,5,3,1] [--encoder 1,3,3,5]

CODEC is a codec folder or a whole model. Both lists are the residual blocks at each resolution in
the order of the layers (decoder: from the latents upwards; encoder: from the pixels downwards),
none fewer than CODEC has. A new block adds nothing until it is trained, and stands behind the old
ones, whose output is not negative, so that its own ReLU changes nothing. Train the result with
recipes/mini/decoder.yaml or recipes/mini/codec.yaml; cached latents stay valid where only the
decoder is deepened and trained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

from crafts.core.artifacts import finish, staging
from crafts.core.errors import ConfigError, CraftsError
from crafts.model.codec import Codec, load_codec, save_codec

Blocks = Sequence[int]


def deepen(codec: Codec, *, decoder: Blocks | None = None, encoder: Blocks | None = None) -> Codec:
    """The same function with so many residual blocks at each resolution (None: as it has).

    Raises:
        ConfigError: another class of codec, or fewer blocks than it has.
    """
    old = codec.module
    if not isinstance(old, AutoencoderTiny):
        raise ConfigError(
            "deepen: codec",
            came=type(old).__name__,
            allowed="an AutoencoderTiny",
            do="Deepen a codec of crafts-mini.",
        )
    blocks = {
        half: _checked(half, wanted, list(old.config[f"num_{half}_blocks"]))
        for half, wanted in (("encoder", encoder), ("decoder", decoder))
    }
    numbers = {f"num_{half}_blocks": tuple(after) for half, (_, after) in blocks.items()}
    module = AutoencoderTiny(**{**_arguments(old), **numbers})
    for half, (had, _) in blocks.items():
        _copy(getattr(old, half).layers, getattr(module, half).layers, had)
    return Codec(module)


def _checked(half: str, wanted: Blocks | None, had: Blocks) -> tuple[Blocks, Blocks]:
    """Blocks before and after, where none are lost and none stands alone."""
    wanted = had if wanted is None else wanted
    if len(had) != len(wanted) or any(
        new < now or now == 0 < new for new, now in zip(wanted, had, strict=True)
    ):
        raise ConfigError(
            f"deepen: blocks of the {half}",
            came=",".join(map(str, wanted)),
            allowed=f"at least {','.join(map(str, had))}",
            do="Ask for as many blocks as there are, or more where there are any.",
        )
    return had, wanted


def _copy(old: nn.Sequential, new: nn.Sequential, had: Blocks) -> None:
    """Weights into a network that has more blocks behind those of each resolution."""
    source, level, seen = iter(old), 0, 0
    for layer in new:
        block = isinstance(layer, AutoencoderTinyBlock)
        if block and seen == had[level]:
            nn.init.zeros_(layer.conv[-1].weight)
            nn.init.zeros_(layer.conv[-1].bias)
            continue
        layer.load_state_dict(next(source).state_dict())
        seen += block
        if isinstance(layer, nn.Upsample) or getattr(layer, "stride", None) == (2, 2):
            level, seen = level + 1, 0


def _arguments(module: AutoencoderTiny) -> dict[str, object]:
    """What a network of this configuration is built with."""
    return {
        key: value
        for key, value in module.config.items()
        if not key.startswith("_") and key != "block_out_channels"
    }


def main(source: Path, output: Path, decoder: Blocks | None, encoder: Blocks | None) -> None:
    """Read, deepen, write."""
    codec = load_codec(source)
    inputs = {"codec": codec.fingerprint}
    deeper = deepen(codec, decoder=decoder, encoder=encoder)
    numbers = {
        half: list(deeper.module.config[f"num_{half}_blocks"]) for half in ("encoder", "decoder")
    }
    with staging(output) as folder:
        save_codec(deeper, folder)
        finish(folder, stage="deepen", config=numbers, inputs=inputs)
    print(f"{output}: " + ", ".join(f"{half} blocks {held}" for half, held in numbers.items()))


def _blocks(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("codec", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--decoder", type=_blocks, help="one number a resolution, as 6,5,3,1")
    parser.add_argument("--encoder", type=_blocks, help="one number a resolution, as 1,3,3,5")
    given = parser.parse_args()
    if not (given.decoder or given.encoder):
        parser.error("name --decoder, --encoder or both")
    try:
        main(given.codec, given.output, given.decoder, given.encoder)
    except CraftsError as error:
        sys.exit(str(error))
