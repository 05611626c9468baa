"""Further tokens beside those of the text: a field's size and place, and another picture's look.

Each kind is optional. A kind that is not known gives no token, so that a denoiser which was trained
with them draws without them what it always drew, in any pipeline of diffusers too.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from crafts.core.errors import ConfigError, DataError
from crafts.model.config import ConditionKind
from crafts.model.files.folders import check_safetensors, read_json, save_tensors, write_json
from crafts.model.files.guards import check_config, check_finite, check_size

NUMBERS: dict[str, int] = {"scale": 1, "region": 3}
REFERENCE_TOKENS = 4
WIDEST = 16.0  # microns per pixel at which the scale's number is 1; 1 / 16 is -1
FREQUENCIES = 4
_WEIGHTS, _ENCODER = "model.safetensors", "reference"
_COPIED = {".safetensors", ".json", ".txt"}


class Standard(nn.Module):
    """Numbers of an encoder brought to mean 0 and deviation 1 over the training tiles."""

    mean: Tensor
    spread: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    def forward(self, values: Tensor) -> Tensor:
        """[B, E] -> [B, E]."""
        return (values - self.mean) / self.spread


class ConditionTokens(nn.Module):
    """One learned token for each condition that is known; of a reference several.

    Args:
        kinds: conditions that this module embeds, in the order of their tokens.
        width: D of the text features beside which the tokens stand.
        reference_size: E, the numbers that describe a reference.
        encoder: folder of the vision model that gives them; None: the model's own codec.
    """

    def __init__(
        self,
        kinds: Sequence[ConditionKind],
        width: int,
        *,
        reference_size: int = 0,
        encoder: Path | None = None,
    ) -> None:
        super().__init__()
        self.kinds, self.width, self.encoder = tuple(kinds), width, encoder
        self.numbers: dict[str, int] = {kind: NUMBERS.get(kind, reference_size) for kind in kinds}
        self.embedders = nn.ModuleDict({kind: self._embedder(kind) for kind in kinds})

    def _embedder(self, kind: str) -> nn.Module:
        if kind == "reference":
            size = self.numbers[kind]
            return nn.Sequential(
                Standard(size),
                nn.Linear(size, self.width),
                nn.SiLU(),
                nn.Linear(self.width, REFERENCE_TOKENS * self.width),
            )
        inputs = 2 * FREQUENCIES * NUMBERS[kind]
        return nn.Sequential(
            nn.Linear(inputs, self.width), nn.SiLU(), nn.Linear(self.width, self.width)
        )

    def forward(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed what is known.

        Args:
            values: kind -> [B, its numbers]; a row with NaN is not known.

        Returns:
            Tokens [B, K, D] of all kinds, and which of them are known, bool [B, K]. The tokens of
            a kind that is not known are 0.
        """
        tokens, known = [], []
        for kind in self.kinds:
            there = ~values[kind].isnan().any(dim=1)
            numbers = values[kind].nan_to_num(1.0)
            if kind != "reference":
                numbers = fourier(normalise(kind, numbers))
            found = self.embedders[kind](numbers).reshape(len(there), -1, self.width)
            tokens.append(found * there[:, None, None])
            known.append(there[:, None].expand(-1, found.shape[1]))
        return torch.cat(tokens, dim=1), torch.cat(known, dim=1)

    def reference_middle(self) -> Tensor:
        """Numbers [E] of a reference in the middle of all training tiles."""
        first = self.embedders["reference"][0]  # type: ignore[index]
        assert isinstance(first, Standard)
        return first.mean.cpu()

    def tokens_of(self, values: Mapping[str, Sequence[float]]) -> Tensor:
        """Tokens [K', D] of the K' conditions that are given for one picture.

        Raises:
            ConfigError: a kind that this model was not trained with, or numbers outside its range.
        """
        for kind, numbers in values.items():
            self._check(kind, numbers)
        device = next(self.parameters()).device
        nothing = {kind: [math.nan] * self.numbers[kind] for kind in self.kinds}
        rows = {
            kind: torch.tensor([list(values.get(kind, empty))], device=device)
            for kind, empty in nothing.items()
        }
        tokens, known = self(rows)
        return tokens[known]

    def _check(self, kind: str, numbers: Sequence[float]) -> None:
        if kind not in self.kinds:
            raise ConfigError(
                f"condition {kind!r}",
                came="a kind that this model was not trained with",
                allowed=", ".join(self.kinds),
                do="Leave it out, or choose another model.",
            )
        bounds = {"region": (0.0, 1.0), "scale": (WIDEST**-1, WIDEST)}
        low, high = bounds.get(kind, (-1e6, 1e6))
        if len(numbers) != self.numbers[kind] or not all(low <= n <= high for n in numbers):
            raise ConfigError(
                f"condition {kind!r}",
                came=", ".join(f"{n:g}" for n in numbers),
                allowed=f"{self.numbers[kind]} number(s) from {low:g} to {high:g}",
                do="Correct the numbers.",
            )


def extend_conditions(
    known: ConditionTokens | None,
    kinds: Sequence[ConditionKind],
    width: int,
    *,
    reference_size: int = 0,
    encoder: Path | None = None,
) -> ConditionTokens | None:
    """Tokens of these kinds: those that are known go on as they are, others begin anew.

    Args:
        known: of the model that is begun with.
        kinds: wanted.
        width: of the tokens.
        reference_size: numbers of a reference, where these begin anew.
        encoder: folder of the vision model that gives them.
    """
    if not kinds:
        return None
    if known is not None and "reference" in known.kinds:
        reference_size, encoder = known.numbers["reference"], known.encoder
    fresh = ConditionTokens(kinds, width, reference_size=reference_size, encoder=encoder)
    for kind in set(kinds) & set(known.kinds if known else ()):
        fresh.embedders[kind] = known.embedders[kind]  # type: ignore[union-attr]
    return fresh


def normalise(kind: str, values: Tensor) -> Tensor:
    """Numbers of a kind, [B, N], in [-1, 1]; microns per pixel by their logarithm."""
    return values.log() / math.log(WIDEST) if kind == "scale" else 2 * values - 1


def fourier(values: Tensor) -> Tensor:
    """Sines and cosines [B, 2 * FREQUENCIES * N] of numbers [B, N] in [-1, 1]."""
    powers = torch.arange(FREQUENCIES, device=values.device)
    angles = (values[..., None] * (math.pi / 2) * 2.0**powers).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def save_conditions(module: ConditionTokens, folder: Path, *, half: bool) -> None:
    """Write ``config.json`` and ``model.safetensors``, and the encoder of references beside."""
    config = {"kinds": list(module.kinds), "width": module.width}
    if "reference" in module.kinds:
        config["reference_size"] = module.numbers["reference"]
    write_json(folder / "config.json", config)
    if module.encoder is not None:
        for path in sorted(module.encoder.rglob("*")):
            if path.suffix in _COPIED:
                target = folder / _ENCODER / path.relative_to(module.encoder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    dtype = torch.float16 if half else torch.float32
    tensors = {name: value.to("cpu", dtype) for name, value in module.state_dict().items()}
    save_tensors(tensors, folder / _WEIGHTS)


def load_conditions(folder: Path) -> ConditionTokens | None:
    """Read a folder of :func:`save_conditions`, in float32; None where there is none.

    Raises:
        DataError: kinds that this version does not know, or weights that do not fit or are not
            finite.
    """
    if not folder.is_dir():
        return None
    config = read_json(folder / "config.json")
    kinds = [str(kind) for kind in config.get("kinds", [])]
    known = get_args(ConditionKind)
    unknown = [kind for kind in kinds if kind not in known]
    if unknown or not kinds:
        raise DataError(
            str(folder / "config.json"),
            came=f"condition {unknown[0]!r}" if unknown else "no conditions",
            allowed=", ".join(known),
            do="Use a model of this version, or copy the folder again.",
        )
    check_safetensors(folder)
    check_config(config, folder / "config.json")

    def build() -> ConditionTokens:
        return ConditionTokens(
            cast(Sequence[ConditionKind], kinds),
            int(config["width"]),
            reference_size=int(config.get("reference_size", 0)),
            encoder=folder / _ENCODER if (folder / _ENCODER).is_dir() else None,
        )

    check_size(folder, build)
    module = build()
    try:
        weights = load_file(folder / _WEIGHTS)
        module.load_state_dict({name: value.float() for name, value in weights.items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(
            str(folder / _WEIGHTS),
            came="weights that do not fit config.json",
            allowed="the files of one model",
            do="Copy the folder again.",
        ) from error
    check_finite(weights, folder)
    return module.eval()
