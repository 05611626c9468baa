"""Presets: solver, steps and guidance under one name. Free of torch, for who only tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from crafts.core.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """How to sample.

    Attributes:
        solver: ``ddim`` (eta 0; Song et al. 2021) or ``dpm++`` (DPM-Solver++ 2M; Lu et al. 2022).
        num_steps: sampler steps.
        guidance_scale: 1.0 = off.
        interval: (start, stop) fractions of the steps in which guidance acts; None = all.
    """

    solver: Literal["ddim", "dpm++"]
    num_steps: int
    guidance_scale: float
    interval: tuple[float, float] | None = None


PRESETS: dict[str, Preset] = {
    "paper": Preset("ddim", num_steps=50, guidance_scale=7.5),
    "balanced": Preset("dpm++", num_steps=20, guidance_scale=2.5),
    "fast": Preset("dpm++", num_steps=8, guidance_scale=2.5),
}


SOLVERS = {"ddim": "DDIM", "dpm++": "DPM-Solver++"}


def describe_presets() -> str:
    """Every preset in a few words; the scale is that of a model for which none was tuned."""
    told = (
        f"{name}: {SOLVERS[preset.solver]}, {preset.num_steps} steps, guidance "
        f"{preset.guidance_scale:g}"
        for name, preset in reversed(PRESETS.items())
    )
    return "; ".join(told)


def resolve_preset(
    name: str,
    *,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Preset:
    """A preset with the wishes of the user and of the model applied.

    Args:
        name: ``paper``, ``balanced`` or ``fast``.
        num_steps: replaces the preset's number.
        guidance_scale: replaces the preset's and the model's scale.
        extra: the bundle's further facts; ``extra["guidance"]`` maps names of presets to the scales
            that were tuned for this model. A preset that is not among them takes the scale of
            ``balanced``: how much guidance a model bears is the model's, not the solver's.

    Raises:
        ConfigError: no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            "preset", came=repr(name), allowed=", ".join(PRESETS), do="Choose one of these presets."
        )
    preset = PRESETS[name]
    tuned = (extra or {}).get("guidance") or {}
    scale = tuned.get(name, tuned.get("balanced", preset.guidance_scale))
    if guidance_scale is not None:
        scale = guidance_scale
    return replace(preset, num_steps=num_steps or preset.num_steps, guidance_scale=float(scale))
