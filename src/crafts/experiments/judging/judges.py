"""Two judges of an arm's pictures: structure that colour cannot lead, parts of training tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crafts.auditing.matching.copies import Found, calibrate, find_copies, judge
from crafts.auditing.matching.library import Library
from crafts.core.artifacts import sha256_bytes
from crafts.core.runtime import seed_from
from crafts.data.collection import Tile
from crafts.experiments.corpus.tiles import Tiles
from crafts.imaging.grey import grey_match
from crafts.measures.structure import balanced_accuracy

_GREY = (170.0, 45.0)  # mean and deviation of grey tiles; nothing of the class is in them
_PENALTY = 100.0  # of the weights: few tiles a class, more features than that
_ROUNDS = 500


class GreyClassifier:
    """Logistic regression from features of grey tiles to classes, fitted on real training tiles.

    Args:
        features: of grey tiles [N, D], see :func:`to_grey`.
        labels: class of each; at least two classes.
    """

    def __init__(self, features: NDArray[np.float64], labels: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        network = LogisticRegression(
            C=1 / _PENALTY, class_weight="balanced", max_iter=_ROUNDS, random_state=0
        )
        self._fitted = make_pipeline(StandardScaler(), network).fit(features, list(labels))

    def accuracy(self, features: NDArray[np.float64], labels: Sequence[str]) -> float:
        """Images taken for their own class, mean of the classes, in percent.

        Args:
            features: of grey images [N, D].
            labels: what each was asked to show.
        """
        names = sorted({*labels, *map(str, self._fitted.classes_)})
        guess = [names.index(name) for name in self._fitted.predict(features)]
        truth = [names.index(name) for name in labels]
        return 100 * balanced_accuracy(np.array(truth), np.array(guess))


def to_grey(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Grey images of one mean and contrast, in three equal channels.

    Args:
        images: uint8 [S, S, 3], all of one size.

    Returns:
        uint8 [S, S, 3] each.
    """
    grey = np.clip(grey_match(np.stack(list(images)), *_GREY), 0, 255).round().astype(np.uint8)
    return [np.repeat(image[..., None], 3, axis=2) for image in grey]


Pixels = NDArray[np.uint8]
_CALIBRATING = 400  # held-out tiles that say how alike other patients' tissue is by chance


class CopySearch:
    """The training tiles as a library, and how alike a copy must be.

    Args:
        tiles: of the experiment; those that are held out set the limit.
    """

    def __init__(self, tiles: Tiles) -> None:
        training = tiles.training
        self._library = Library(
            len(training), lambda number: _tile(tiles.shards.image(training[number]))
        )
        rows = tiles.shards.rows
        held = [i for i, row in enumerate(rows) if row.get("split") in ("heldout", "validation")]
        held = sorted(held, key=lambda i: seed_from("copies", rows[i]["key"]))[:_CALIBRATING]
        self._limits = calibrate(self._search("held-out tiles", tiles.images(held)))

    def rates(self, sets: Sequence[Sequence[Pixels]]) -> list[float]:
        """Share of the images of each set that are copies, in percent.

        Args:
            sets: of images uint8 [S, S, 3].
        """
        found = iter(self._search("images", [image for images in sets for image in images]))
        return [100 * sum(self._is_copy(next(found)) for _ in one) / len(one) for one in sets]

    def _search(self, what: str, images: Sequence[Pixels]) -> list[Found]:
        return find_copies(
            what,
            len(images),
            open_tile=lambda number: _tile(images[number]),
            library=self._library,
        )

    def _is_copy(self, found: Found) -> bool:
        return judge("", found, limits=self._limits, sources=str).verdict == "copy"


def _tile(pixels: Pixels) -> Tile:
    return Tile("", pixels, sha256_bytes(pixels.tobytes()))
