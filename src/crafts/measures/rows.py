"""Features as the measures take them: checked rows of one width, each set in its own place.

The order of two sets decides what precision and recall mean, and nothing in two arrays tells which
is which. Whoever marks them, ``prdc(Real(rows), Generated(rows))``, gets an error instead of
reversed numbers when they are passed the wrong way round. Bare arrays are taken by position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crafts.core.errors import ConfigError, DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Real:
    """Marks features (or :class:`~crafts.measures.distances.Moments`) as the reference.

    The mark says where a set stands in a comparison. Real tiles that stand in for generated ones,
    as in a floor of real against real, are marked as :class:`Generated`.
    """

    features: ArrayLike


@dataclass(frozen=True)
class Generated:
    """Marks features (or moments) as those that are judged against a reference."""

    features: ArrayLike


Features = ArrayLike | Real | Generated
"""Rows of features [N, D], bare or marked."""

_PLACES: dict[type, str] = {Real: "real", Generated: "generated"}


def unmark(features: Features, name: str) -> ArrayLike:
    """What a mark holds; anything unmarked as it is.

    Args:
        features: marked or bare.
        name: the argument's name. ``real`` and ``generated`` refuse the other mark.

    Raises:
        ConfigError: the mark names the other place.
    """
    if not isinstance(features, Real | Generated):
        return features
    mark = _PLACES[type(features)]
    if name in _PLACES.values() and name != mark:
        raise ConfigError(
            f"features: {name}",
            came=f"a set marked as {mark}",
            allowed=f"one marked as {name}, or no mark",
            do="Swap the arguments.",
        )
    return features.features


def check_pair(real: Features, generated: Features) -> tuple[Array, Array]:
    """Both sets as float64 [rows, D] with one width.

    Raises:
        DataError: a set is not [rows, D] with at least two rows, widths differ, or values are
            not finite.
        ConfigError: sets marked as real and generated were swapped.
    """
    first, second = check_features(real, "real"), check_features(generated, "generated")
    require_one_width(first.shape[1], second.shape[1])
    return first, second


def require_one_width(real: int, generated: int) -> None:
    """Refuse to compare the features of two encoders.

    Raises:
        DataError: the widths differ.
    """
    if real != generated:
        raise DataError(
            "features",
            came=f"width {real} for real and {generated} for generated",
            allowed="one width for both",
            do="Extract both sets with the same encoder.",
        )


def check_features(features: Features, name: str, *, min_rows: int = 2) -> Array:
    """A set of features as float64 [rows, D].

    Raises:
        DataError: wrong shape, too few rows, or a value that is not finite.
        ConfigError: as :func:`unmark`.
    """
    array = np.asarray(unmark(features, name), dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < min_rows or array.shape[1] == 0:
        raise DataError(
            f"features: {name}",
            came=f"shape {list(array.shape)}",
            allowed=f"[rows, width] with at least {min_rows} rows",
            do="Pass one row of features for each image.",
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise DataError(
            f"features: {name}",
            came=f"{int(bad.sum())} rows that are not finite (first: row {int(bad.argmax())})",
            allowed="finite numbers",
            do="Look at these images; remove or mend them.",
        )
    return array


def unit_rows(features: NDArray[Any], name: str | None = None) -> NDArray[Any]:
    """Rows divided by their length, in the precision that they have.

    Args:
        features: [N, D].
        name: of the set, for the message. None: a row of zeros stays zero and nothing is refused.

    Raises:
        DataError: a row of a named set is zero, so that it has no direction.
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    zero = length == 0
    if name is not None and zero.any():
        raise DataError(
            f"features: {name}",
            came=f"row {int(zero.argmax())} is all zero",
            allowed="rows with a direction",
            do="Look at this item; the encoder saw nothing in it.",
        )
    return np.asarray(features / np.where(zero, 1, length))
