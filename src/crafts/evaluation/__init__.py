"""How good generated tiles are: distances, coverage, alignment, separation, structure.

What needs torch is imported on first use, so that ``import crafts.evaluation`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crafts.evaluation.alignment import image_alignment, prompt_alignment
from crafts.evaluation.coverage import prdc
from crafts.evaluation.distances import frechet_distance, kernel_distance

# `separation` is a function and the module that holds it: bound here, the name means the function
from crafts.evaluation.separation import separation

if TYPE_CHECKING:
    from crafts.evaluation.features import extract_features

__all__ = [
    "extract_features",
    "frechet_distance",
    "image_alignment",
    "kernel_distance",
    "prdc",
    "prompt_alignment",
    "separation",
]


def __getattr__(name: str) -> Any:
    if name == "extract_features":
        from crafts.evaluation.features import extract_features

        return extract_features
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
