"""How good generated tiles are: distances, coverage, alignment, separation, structure.

The measures themselves lie in :mod:`crafts.measures`, features on disk in :mod:`crafts.sets`; the
names here are those that users rely on. What needs torch is imported on first use, so that
``import crafts.evaluation`` stays light.
"""

from __future__ import annotations

from typing import Any

from crafts.measures.alignment import image_alignment, prompt_agreement, prompt_alignment
from crafts.measures.distances import (
    cmmd,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    normalised_frechet_distance,
)
from crafts.measures.neighbors import prdc, prdc_at
from crafts.measures.rows import Generated, Real
from crafts.measures.separation import separation
from crafts.measures.statistics import (
    compute_statistics,
    import_pytorch_fid,
    load_statistics,
    save_statistics,
)
from crafts.measures.variety import vendi_score
from crafts.sets.files import read_features, write_features

__all__ = [
    "Generated",
    "Real",
    "build_extractor",
    "cmmd",
    "compute_statistics",
    "frechet_distance",
    "frechet_infinity",
    "image_alignment",
    "import_pytorch_fid",
    "kernel_distance",
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
    if name == "build_extractor":
        from crafts.sets.features import build_extractor

        return build_extractor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
