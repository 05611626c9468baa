"""How good generated tiles are: distances, coverage, alignment, separation, structure.

What needs torch is imported on first use, so that ``import crafts.evaluation`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crafts.evaluation.alignment import image_alignment, prompt_agreement, prompt_alignment
from crafts.evaluation.coverage import prdc, prdc_at
from crafts.evaluation.distances import (
    cmmd,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    normalised_frechet_distance,
)
from crafts.evaluation.diversity import vendi_score
from crafts.evaluation.rows import Generated, Real

# `separation` is a function and the module that holds it: bound here, the name means the function
from crafts.evaluation.separation import separation
from crafts.evaluation.statistics import (
    compute_statistics,
    frechet_from_statistics,
    import_pytorch_fid,
    kernel_from_statistics,
    load_statistics,
    save_statistics,
)
from crafts.evaluation.storage.feature_files import read_features, write_features

if TYPE_CHECKING:
    from crafts.evaluation.features import build_extractor, extract_features

__all__ = [
    "Generated",
    "Real",
    "build_extractor",
    "cmmd",
    "compute_statistics",
    "extract_features",
    "frechet_distance",
    "frechet_from_statistics",
    "frechet_infinity",
    "image_alignment",
    "import_pytorch_fid",
    "kernel_distance",
    "kernel_from_statistics",
    "load_statistics",
    "normalised_frechet_distance",
    "prdc",
    "prdc_at",
    "prompt_agreement",
    "prompt_alignment",
    "read_features",
    "save_statistics",
    "separation",
    "vendi_score",
    "write_features",
]


def __getattr__(name: str) -> Any:
    if name in ("build_extractor", "extract_features"):
        from crafts.evaluation import features

        return getattr(features, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
