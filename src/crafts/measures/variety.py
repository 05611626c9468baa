"""How many kinds of tiles a set holds."""

from __future__ import annotations

import numpy as np

from crafts.measures.rows import Features, check_features, unit_rows


def vendi_score(features: Features) -> float:
    """Vendi score with the cosine kernel: the effective number of distinct rows, from 1 to N.

    Exponential of the entropy of the eigenvalues of K / N, K the cosines of all rows (Friedman and
    Dieng 2023, definition 3.1). Those eigenvalues other than zero are also those of XᵀX / N for
    rows X of length one, so that the smaller of the two matrices is taken. The value grows with N:
    compare sets of one size only.

    Args:
        features: [N, D], no row zero.

    Raises:
        DataError: not [rows, D], a row is zero, or values are not finite.
    """
    rows = unit_rows(check_features(features, "features", min_rows=1), "features")
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    values = np.linalg.eigvalsh(gram / len(rows))
    values = values[values > 0]  # rounding leaves some just below, whose entropy is none
    return float(np.exp(-(values * np.log(values)).sum()))
