"""Do classes stay apart in feature space?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from crafts.core.errors import ConfigError, DataError
from crafts.evaluation.distances import check_features

_TSNE_PERPLEXITY = 30.0


def separation(
    features: Any,
    labels: Sequence[Any],
    *,
    on: Literal["embedding", "tsne"] = "embedding",
    seed: int = 0,
) -> float:
    """Mean silhouette coefficient with the cosine distance, in percent (-100 to 100).

    Args:
        features: [N, D].
        labels: N class labels, at least two classes and fewer than N.
        on: the features themselves, or a two-dimensional t-SNE map of them (PCA start, perplexity
            30, or a third of the set where that is less). A map flatters and depends on N: report
            both.
        seed: of the t-SNE; the embedding needs none.

    Raises:
        DataError: labels and rows differ in number, or the classes do not allow a silhouette.
        ConfigError: ``on`` is neither word.
    """
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    points = check_features(features, "features", min_rows=3)
    classes = np.asarray(labels)
    if classes.shape != (len(points),):
        raise DataError(
            "separation: labels",
            came=f"shape {list(classes.shape)}",
            allowed=f"[{len(points)}], one a row",
            do="Pass one label for each row of features.",
        )
    if not 2 <= len(np.unique(classes)) < len(points):
        raise DataError(
            "separation: labels",
            came=f"{len(np.unique(classes))} classes in {len(points)} rows",
            allowed="at least two classes, and fewer than rows",
            do="Add images or classes.",
        )
    if on == "tsne":
        perplexity = min(_TSNE_PERPLEXITY, (len(points) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    elif on != "embedding":
        raise ConfigError(
            "separation: on", came=repr(on), allowed="embedding or tsne", do="Correct the word."
        )
    return 100 * float(silhouette_score(points, classes, metric="cosine"))
