"""The categories of a run: which row belongs to which, and the text features of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crafts.conditions.text import CaptionEncoder
from crafts.core.errors import DataError
from crafts.core.runtime import say
from crafts.data.taxonomy import category_numbers, load_categories
from crafts.losses.category import class_features
from crafts.training.objective.config import CategoryOptions


@dataclass(frozen=True)
class Categories:
    """Categories of all rows of a source.

    Attributes:
        numbers: of each row, negative where its label means none.
        features: [K, D], text features of the categories.
    """

    numbers: list[int]
    features: Tensor


def build_categories(
    options: CategoryOptions,
    rows: Sequence[Mapping[str, Any]],
    train: Sequence[int],
    *,
    captions: CaptionEncoder,
) -> Categories:
    """Read the classes, find that of each row, and encode the prompts of each class.

    Args:
        options: of the recipe.
        rows: all rows of the source; the class stands in the column that the options name.
        train: the rows that are trained on.
        captions: the frozen text encoder that conditions the denoiser.

    Raises:
        DataError: the file of classes is unusable, or no training row has a class.
    """
    path = Path(options.classes) if options.classes else None
    categories = load_categories(path)
    numbers = category_numbers([row.get(options.column) for row in rows], categories)
    known = [numbers[row] for row in train if numbers[row] >= 0]
    if not known:
        seen = sorted({str(rows[row].get(options.column)) for row in train})[:3]
        raise DataError(
            "train: stage.weights.category",
            came=f"no training row with a class in column {options.column!r}, which has {seen}",
            allowed=f"labels such as {[category.name for category in categories[:3]]}",
            do="Set stage.category.column, or give a file of classes as stage.category.classes.",
        )
    say(
        f"{len(known)} of {len(train)} training rows belong to {len(set(known))} of the "
        f"{len(categories)} categories; the others take no part in the category loss"
    )
    prompts = [prompt for category in categories for prompt in category.prompts]
    classes = [number for number, category in enumerate(categories) for _ in category.prompts]
    features = class_features(
        captions.pooled(prompts),
        torch.tensor(classes, device=captions.device),
        len(categories),
    )
    return Categories(numbers, features)
