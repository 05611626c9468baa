"""What the images of an arm are measured by, always beside real tiles and shuffled prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.errors import ConfigError
from crafts.evaluation import (
    frechet_distance,
    kernel_distance,
    prompt_agreement,
    prompt_alignment,
    vendi_score,
)
from crafts.experiments.corpus.tiles import Tiles
from crafts.experiments.judging.judges import CopySearch, GreyClassifier, to_grey
from crafts.experiments.settings import ExperimentConfig
from crafts.measures.rows import unit_rows
from crafts.measures.separation import separation
from crafts.measures.structure import balanced_accuracy
from crafts.model.bundle import load_bundle
from crafts.model.vision.image_encoders import ImageEncoder, open_encoder
from crafts.sampling.losses import compute_losses
from crafts.sets.features import read_image

Pixels = NDArray[np.uint8]
Measures = dict[str, float | None]
_TIMESTEPS = (100, 300, 500, 700, 900)
_PER_AXIS = 4  # images for each direction in which the Fréchet distance looks
_BATCH = 64


@dataclass(frozen=True)
class Measure:
    """One number of an arm.

    Attributes:
        title: as tables have it.
        says: what it is, for the foot of the table.
        higher: whether more is better; None where neither is.
        digits: after the point.
        unit: of its differences.
    """

    title: str
    says: str
    higher: bool | None
    digits: int = 1
    unit: str = ""


MEASURES: Mapping[str, Measure] = {
    "kernel_distance": Measure(
        "kernel distance",
        "KID to held-out tiles of other patients, unit features, x 100; its estimate has no bias, "
        "so that real tiles may come out below zero", False),
    "frechet_distance": Measure(
        "Fréchet distance",
        "to the same tiles, in the directions in which they vary most (one for four tiles), x 100; "
        "so few images raise it, those of real tiles alike", False),
    "class_agreement": Measure(
        "class agreement", "images nearest to the texts of their own class, mean of the classes, %",
        True, unit="points"),
    "grey_accuracy": Measure(
        "grey accuracy",
        "images that a classifier of grey structure takes for their class, mean of the classes, %; "
        "it is fitted on features of real training tiles, all of one mean and contrast", True,
        unit="points"),
    "prompt_alignment": Measure(
        "prompt alignment", "cosine with the full caption of the tile, %", True, 2, "points"),
    "caption_retrieval": Measure(
        "caption retrieval", "images nearest to their own full caption of all, %", True,
        unit="points"),
    "separation": Measure(
        "separation", "silhouette of the classes, %", True, 2, "points"),
    "relation_agreement": Measure(
        "relation agreement", "correlation of image and text likeness over pairs, x 100", True),
    "diversity": Measure(
        "diversity", "Vendi score: as many different images as this", True, 2),
    "likeness": Measure(
        "likeness", "cosine of images of different classes, %; a collapse raises it", None, 2,
        "points"),
    "copy_rate": Measure(
        "copies", "images that show a part of a training tile, %", False, unit="points"),
    "denoising_loss": Measure(
        "denoising loss", "of held-out tiles with the arm's own words, x 1000", False, 2),
    "text_use": Measure(
        "text use", "how much that loss grows with another class's words, %", True, 2, "points"),
}  # fmt: skip


class Judge:
    """An encoder, held-out tiles, and the texts that images should agree with.

    Args:
        config: of the experiment.
        tiles: of the experiment.

    Raises:
        ConfigError: no such encoder, or one without a text half.
    """

    def __init__(self, config: ExperimentConfig, tiles: Tiles) -> None:
        self.encoder: ImageEncoder = open_encoder(config.judge, network=True, device=config.device)
        if self.encoder.encode_texts is None:
            raise ConfigError(
                "experiment: judge",
                came=f"{config.judge!r}, which reads no text",
                allowed="a CLIP",
                do="Choose an encoder of images and texts.",
            )
        self.rows = tiles.rows(tiles.prompts)
        self.labels = [str(row["label"]) for row in self.rows]
        self.captions = [str(row["text"]) for row in self.rows]
        self.texts = self._texts(self.captions)
        self.classes = sorted(tiles.classes)
        means = [unit_rows(self._texts(tiles.classes[name]), "texts") for name in self.classes]
        self._class_texts = np.stack([rows.mean(axis=0) for rows in means])
        self._tiles = tiles
        self._real = self._features(tiles.images(tiles.others))
        self._axes = np.linalg.svd(self._real - self._real.mean(axis=0))[2]
        self._axes = self._axes[: max(1, len(self._real) // _PER_AXIS)].T
        self._classifier = self._fit_classifier()
        self._copies = CopySearch(tiles)
        self._loss_images, self._loss_rows = self._held_out(config.num_losses)

    def measure(self, sets: Sequence[Sequence[Path]]) -> list[Measures]:
        """All measures of sets of images, one of each prompt, in the order of the prompts."""
        images = [[read_image(path) for path in files] for files in sets]
        return self._measure_sets(images)

    def references(self, baseline: Sequence[Path]) -> dict[str, Measures]:
        """Rows to read the others by: real tiles, and the baseline's images with wrong prompts."""
        (real,) = self._measure_sets([self._tiles.images(self._tiles.prompts)])
        turned = _turned(self.labels)
        images = [read_image(path) for path in baseline]
        captions = [self.captions[i] for i in turned]
        shuffled = self._measure(images, captions, [self.labels[i] for i in turned])
        of_prompts = (
            "class_agreement", "grey_accuracy", "prompt_alignment", "caption_retrieval",
            "separation", "relation_agreement",
        )  # fmt: skip
        return {
            "real tiles": real,
            "shuffled prompts": {name: shuffled[name] for name in of_prompts},
        }

    def losses(self, model: Path, texts: Sequence[str], *, seed: int) -> Measures:
        """Denoising loss of held-out tiles, and how much it grows with words of other classes.

        Args:
            model: checkpoint folder.
            texts: what the arm says of :attr:`loss_rows`.
            seed: of the noise.
        """
        bundle = load_bundle(model).to(self.encoder.device)
        turned = _turned([str(row["label"]) for row in self._loss_rows])
        own, other = (
            float(
                compute_losses(
                    bundle, self._loss_images, list(words), timesteps=_TIMESTEPS, seed=seed
                ).mean()
            )
            for words in (texts, [texts[i] for i in turned])
        )
        return {"denoising_loss": 1000 * own, "text_use": 100 * (other / own - 1)}

    @property
    def loss_rows(self) -> list[dict[str, Any]]:
        """Rows of the tiles of :meth:`losses`."""
        return self._loss_rows

    def _measure_sets(self, sets: Sequence[Sequence[Pixels]]) -> list[Measures]:
        rates = self._copies.rates(sets)
        return [
            self._measure(images, self.captions, self.labels) | {"copy_rate": rate}
            for images, rate in zip(sets, rates, strict=True)
        ]

    def _measure(
        self, images: Sequence[Pixels], captions: Sequence[str], labels: Sequence[str]
    ) -> Measures:
        features = self._features(images)
        texts = self.texts if list(captions) == self.captions else self._texts(captions)
        wide = np.sqrt(features.shape[1])
        distance, _ = kernel_distance(wide * self._real, wide * features, num_subsets=1)
        grey = self._features(to_grey(images))
        several = 2 <= len(set(labels)) < len(labels)
        return {
            "kernel_distance": 100 * distance,
            "frechet_distance": 100
            * frechet_distance(self._real @ self._axes, features @ self._axes),
            "class_agreement": self._agreement(features, labels),
            "grey_accuracy": self._classifier.accuracy(grey, labels),
            "prompt_alignment": prompt_alignment(features, texts),
            "caption_retrieval": (
                prompt_agreement(features, texts, captions) if len(set(captions)) > 1 else None
            ),
            "separation": separation(features, labels) if several else None,
            "relation_agreement": relation_agreement(features, texts),
            "diversity": vendi_score(features),
            "likeness": likeness(features, labels) if several else None,
        }

    def _agreement(self, features: NDArray[np.float64], labels: Sequence[str]) -> float:
        nearest = (features @ self._class_texts.T).argmax(axis=1)
        truth = np.array([self.classes.index(label) for label in labels])
        return 100 * balanced_accuracy(truth, nearest)

    def _fit_classifier(self) -> GreyClassifier:
        rows = self._tiles.shards.rows
        known = [i for i in self._tiles.training if rows[i]["label"] in self._tiles.classes]
        parts = [
            self._features(to_grey(self._tiles.images(known[start : start + _BATCH])))
            for start in range(0, len(known), _BATCH)
        ]
        return GreyClassifier(np.concatenate(parts), [str(rows[i]["label"]) for i in known])

    def _held_out(self, most: int) -> tuple[list[Pixels], list[dict[str, Any]]]:
        numbers = (*self._tiles.prompts, *self._tiles.others)[:most]
        return self._tiles.images(numbers), self._tiles.rows(numbers)

    def _features(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """Unit features [N, D] of images."""
        parts = [
            self.encoder.images(images[start : start + _BATCH]).numpy()
            for start in range(0, len(images), _BATCH)
        ]
        return unit_rows(np.concatenate(parts).astype(np.float64), "images")

    def _texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Unit features [N, D] of texts."""
        found = self.encoder.texts(list(texts))
        assert found is not None  # the judge has a text half
        return unit_rows(found[0].numpy().astype(np.float64), "texts")


def relation_agreement(images: NDArray[np.float64], texts: NDArray[np.float64]) -> float:
    """Pearson correlation over pairs of how alike two images and their two texts are, x 100.

    Args:
        images: unit features [N, D].
        texts: unit features [N, D], row for row.

    Returns:
        In [-100, 100]; 0 where all texts or all images are alike.
    """
    above = np.triu_indices(len(images), k=1)
    one, two = ((rows @ rows.T)[above] for rows in (images, texts))
    one, two = one - one.mean(), two - two.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    return 100 * float(one @ two) / length if length > 1e-12 else 0.0


def likeness(features: NDArray[np.float64], labels: Sequence[str]) -> float:
    """Mean cosine of unit rows [N, D] of different classes, in percent."""
    names = np.asarray(labels)
    return 100 * float((features @ features.T)[names[:, None] != names[None]].mean())


def _turned(labels: Sequence[str]) -> list[int]:
    """For each row another one, of another class where there is one; each is taken once."""
    order = np.argsort(np.asarray(labels), kind="stable")
    most = int(np.unique(np.asarray(labels), return_counts=True)[1].max())
    turned = np.empty(len(labels), dtype=int)
    turned[order] = np.roll(order, min(most, len(labels) - 1))
    return [int(i) for i in turned]
