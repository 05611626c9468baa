"""The numbers of the evidence in words, each beside its threshold and what real halves show."""

from __future__ import annotations

import math

from crafts.evaluation.diagnosing.evidence import Measured

_WORDS = {
    "sharpness": "fine detail is {ratio:.0%} of that of real tiles",
    "blockiness": "steps across the 8-pixel grid are {ratio:.0%} of those of real tiles",
    "eosin": "eosin is {ratio:.0%} of that of real tiles",
    "hematoxylin": "hematoxylin is {ratio:.0%} of that of real tiles",
    "glands": "{lost:.0%} fewer tiles than real ones show a gland",
    "hue": "{value:+.0%} of the density lies aside of both stains",
    "duplicates": "{value:.0%} of the tiles repeat another one",
    "variety": "near neighbours lie {ratio:.0%} as far apart as among real tiles",
    "coverage": "{value:.0%} of the neighbourhoods of real tiles hold a generated one",
    "distance": "the kernel distance is {value:.3g}",
    "agreement": "{value:.0%} fewer tiles than real ones look like their class",
    "following": "tiles follow their prompts {times:.2f} times as closely as real ones",
}


def say_number(name: str, found: Measured, limit: float | None) -> str:
    """One number in words, beside its threshold and that of real halves."""
    words = _WORDS[name].format(
        value=found.value,
        lost=-found.value,
        ratio=math.exp(min(found.value, 50)),
        times=1 + found.value,
    )
    value, centre, noise = (round(v, 4) + 0.0 for v in (found.value, found.centre, found.noise))
    beside = f"{name} {value:.3g}"
    if limit is not None:
        beside += f", threshold {limit:.3g}"
    return f"{words} ({beside}; real halves {centre:.3g} ± {noise:.2g})"
