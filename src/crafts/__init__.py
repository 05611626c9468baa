"""Text-to-image generation of histology tiles: data, training, sampling, evaluation and audit.

For research only; not a medical device. The public names are those of ``__all__``; they are
imported when first used, so that ``import crafts`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crafts.core.version import __version__

if TYPE_CHECKING:
    from crafts.api import (
        Model,
        audit,
        benchmark,
        caption,
        encode,
        evaluate,
        generate,
        load,
        pack,
        save,
        study,
        summarise,
        tile,
        train,
    )

__all__ = [
    "Model",
    "__version__",
    "audit",
    "benchmark",
    "caption",
    "encode",
    "evaluate",
    "generate",
    "load",
    "pack",
    "save",
    "study",
    "summarise",
    "tile",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from crafts import api

        return getattr(api, name)
    raise AttributeError(f"module 'crafts' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
