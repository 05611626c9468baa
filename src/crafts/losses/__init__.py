"""Losses as pure functions of tensors; none knows the loop, a network or a schedule object.

The functions of the CRAFTS objective (arXiv 2512.13164) are imported when first used, so that the
package itself does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crafts.losses.category import category_guidance_loss, category_weights
    from crafts.losses.relations import relation_matrix
    from crafts.losses.semantic import semantic_consistency_loss

__all__ = [
    "category_guidance_loss",
    "category_weights",
    "relation_matrix",
    "semantic_consistency_loss",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'crafts.losses' has no attribute {name!r}")
    from crafts.losses import category, relations, semantic

    home = next(module for module in (category, relations, semantic) if hasattr(module, name))
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
