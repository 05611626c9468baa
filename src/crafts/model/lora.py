"""Low-rank adapters of a site or a stain: files that diffusers opens, put in by weight."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor

from crafts.core.artifacts import sha256_bytes, sha256_file
from crafts.core.errors import ConfigError, DataError
from crafts.core.runtime import say
from crafts.model.bundle import Bundle
from crafts.model.config import UNKNOWN
from crafts.model.denoiser import require_peft
from crafts.model.files.folders import read_licence
from crafts.model.files.guards import check_finite

FILE = "pytorch_lora_weights.safetensors"
INSIDE = "lora"
"""Where a checkpoint that was trained with adapters keeps them, beside the merged weights."""
MOST_WEIGHT = 4.0
_OPTION = re.compile(r"(.+?)(?:,(\d+\.?\d*|\.\d+))?")


@dataclass(frozen=True)
class Lora:
    """Adapters and how much of them counts.

    Attributes:
        name: of their folder.
        file: of their weights.
        weight: factor; 1 is as they were trained.
        licence: of their card, or "unknown".
    """

    name: str
    file: Path
    weight: float
    licence: str


def save_lora(denoiser: UNet2DConditionModel, folder: Path) -> None:
    """Write the adapters of a denoiser in float16, for ``load_lora_weights`` of diffusers.

    Args:
        denoiser: of :func:`crafts.model.denoiser.add_lora`; is not changed.
        folder: made if absent.
    """
    from peft.utils import get_peft_model_state_dict

    layers = {name: value.half() for name, value in get_peft_model_state_dict(denoiser).items()}
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=layers,
        unet_lora_adapter_metadata=denoiser.peft_config["default"].to_dict(),
    )
    (folder / FILE).chmod(0o644)  # written as 0600, which a shared folder would keep


def parse_loras(options: Sequence[str]) -> tuple[Lora, ...]:
    """``DIR`` or ``DIR,WEIGHT``: a folder of adapters, or of a run or model that has them.

    Raises:
        ConfigError: no adapters there, or a weight out of range.
    """
    found = []
    for option in options:
        match = _OPTION.fullmatch(option.strip())
        folder, weight = Path(match[1] if match else ""), float((match and match[2]) or 1)
        places = [folder, folder / INSIDE, folder / "model" / INSIDE]
        files = [place / FILE for place in places if (place / FILE).is_file()]
        if not files or weight > MOST_WEIGHT:
            raise ConfigError(
                f"generate: lora {option}",
                came=f"weight {weight:g}" if files else f"no {FILE} in {str(folder)!r}",
                allowed=f"DIR or DIR,WEIGHT with a weight from 0 to {MOST_WEIGHT:g}",
                do="Name a folder that training with stage.lora, or diffusers, wrote.",
            )
        licence = read_licence(files[0].parent / "README.md")
        found.append(Lora(folder.resolve().name, files[0], weight, licence))
    return tuple(found)


def with_loras(bundle: Bundle, loras: Sequence[Lora]) -> Bundle:
    """The model with adapters in its denoiser, several added up; the model itself is not changed.

    Raises:
        ConfigError: the package ``peft`` is not installed, or adapters do not fit the denoiser.
        DataError: a file is damaged.
    """
    if not loras:
        return bundle
    require_peft()
    denoiser = copy.deepcopy(bundle.denoiser)
    for number, lora in enumerate(loras):
        _add(denoiser, lora, f"lora{number}")
    names = [f"lora{number}" for number in range(len(loras))]
    denoiser.set_adapters(names, [lora.weight for lora in loras])
    denoiser.fuse_lora(adapter_names=names)
    denoiser.unload_lora()
    told = [describe_lora(lora) for lora in loras]
    licences = dict.fromkeys([bundle.licence, *(one.licence for one in loras)])
    return replace(
        bundle,
        denoiser=denoiser.eval(),
        name=" + ".join([bundle.name, *(lora.name for lora in loras)]),
        licence="; ".join(one for one in licences if one != UNKNOWN) or UNKNOWN,
        extra=bundle.extra | {"loras": told},
        fingerprint=sha256_bytes(json.dumps([bundle.fingerprint, told]).encode()),
    )


def describe_lora(lora: Lora) -> dict[str, Any]:
    """What a file says of adapters."""
    sha256 = sha256_file(lora.file)
    return {"kind": "lora", "source": lora.name, "source_sha256": sha256, "weight": lora.weight}


def _add(denoiser: UNet2DConditionModel, lora: Lora, name: str) -> None:
    where = f"generate: lora {lora.name}"
    try:
        state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(
            lora.file.parent, weight_name=FILE, return_lora_metadata=True, local_files_only=True
        )
        ours: dict[str, Tensor] = {k: v.float() for k, v in state.items() if k.startswith("unet.")}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataError(
            str(lora.file),
            came=f"unreadable adapters ({' '.join(str(error).split())[:120]})",
            allowed="what training with stage.lora, or diffusers, wrote",
            do="Restore the file.",
        ) from None
    check_finite(ours, lora.file.parent)
    if len(ours) < len(state):
        say(f"{where}: adapters of the text encoder are left aside")
    own = dict(denoiser.named_modules())
    strange = [key for key in ours if key.split(".lora", 1)[0].removeprefix("unet.") not in own]
    if strange or not ours:
        raise _misfit(where, strange[0] if strange else "no adapter of a denoiser")
    try:
        denoiser.load_lora_adapter(
            ours, prefix="unet", network_alphas=alphas, adapter_name=name, metadata=metadata
        )
    except (RuntimeError, ValueError, KeyError) as error:
        raise _misfit(where, " ".join(str(error).split())[:160]) from None


def _misfit(where: str, came: str) -> ConfigError:
    return ConfigError(
        where,
        came=came,
        allowed="adapters that were trained for this model",
        do="Choose others, or another --model.",
    )
