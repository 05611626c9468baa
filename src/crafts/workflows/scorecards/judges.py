"""The two networks that judge a generator; it saw neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from crafts.measures.rows import unit_rows
from crafts.measures.structure import balanced_accuracy, chance_corrected
from crafts.model.encoders import DualEncoder, load_dual_encoder
from crafts.model.files.places import find_encoder
from crafts.model.vision.structure_judge import (
    CLASSES,
    TASKS,
    WEIGHTS,
    classify,
    load_structure_judge,
)
from crafts.sets.features import encode_tiles

if TYPE_CHECKING:
    from transformers import ResNetForImageClassification

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Judges:
    """Structure by one network, images and texts by the other.

    Attributes:
        classifier: of grey structure.
        encoder: of images and texts.
    """

    classifier: ResNetForImageClassification
    encoder: DualEncoder

    @classmethod
    def load(cls, encoder: str = "mini", classifier: Path = WEIGHTS) -> Judges:
        """Read them; by default those that are shipped."""
        return cls(load_structure_judge(classifier), load_dual_encoder(find_encoder(encoder)))

    def structure(
        self, tiles: NDArray[np.uint8], classes: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """:func:`judge_structure` of tiles uint8 [N, H, W, 3]."""
        return judge_structure(classify(self.classifier, tiles), classes)

    def image_features(self, tiles: NDArray[np.uint8]) -> Features:
        """Features [N, D] of length √D, so that the kernel distance has no scale of its own."""
        rows = encode_tiles(tiles, self.encoder.image_features).astype(np.float64)
        return (unit_rows(rows, "tiles") * np.sqrt(rows.shape[1])).astype(np.float32)

    def text_features(self, texts: Sequence[str]) -> Features:
        """Features [N, D]."""
        with torch.inference_mode():
            parts = [
                self.encoder.text_features(texts[k : k + 32]) for k in range(0, len(texts), 32)
            ]
        return torch.cat(parts).float().numpy()


def judge_structure(
    scores: NDArray[np.float32], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Per task: balanced and chance-corrected accuracy among its classes, and the recall of each.

    Args:
        scores: log-probabilities [N, K] of :func:`crafts.model.vision.structure_judge.classify`.
        classes: what each image shows or was asked to show.

    Returns:
        task -> {"tiles", "accuracy", "corrected", and a recall a class}; a task of which fewer than
        two classes occur is left out.
    """
    names, found = np.asarray(classes), {}
    for task, members in TASKS.items():
        columns = np.array([CLASSES.index(name) for name in members])
        rows = np.flatnonzero(np.isin(names, members))
        truth = np.array([members.index(name) for name in names[rows]], dtype=np.int64)
        if len(np.unique(truth)) < 2:
            continue
        guess = scores[np.ix_(rows, columns)].argmax(axis=1)
        accuracy = balanced_accuracy(truth, guess)
        recall = {members[k]: float((guess[truth == k] == k).mean()) for k in np.unique(truth)}
        corrected = chance_corrected(accuracy, len(recall))
        found[task] = {"tiles": len(rows), "accuracy": accuracy, "corrected": corrected, **recall}
    return found
