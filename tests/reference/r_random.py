"""R's "L'Ecuyer-CMRG" generator with normal draws by inversion, slow and plain.

It makes the data that the golden results of iMRMC belong to, so that none of them is stored. The
recurrence is L'Ecuyer's MRG32k3a (Operations Research 47, 1999); how a seed is spread, a normal
drawn and a sample taken are R's documented choices (``?RNGkind``, "Inversion", "Rejection").
"""

from __future__ import annotations

import math

from scipy.special import ndtri

M1, M2 = 4294967087, 4294944443
A1 = ((0, 1, 0), (0, 0, 1), (-810728, 1403580, 0))
A2 = ((0, 1, 0), (0, 0, 1), (-1370589, 0, 527612))
NORM = 2.328306549295727688e-10
BIG = 134217728


class RRandom:
    """``RNGkind("L'Ecuyer-CMRG"); set.seed(seed)``, and ``nextRNGStream`` stream - 1 times."""

    def __init__(self, *, seed: int = 1, stream: int = 1) -> None:
        for _ in range(50):
            seed = (69069 * seed + 1) % 2**32
        self.state = []
        for _ in range(6):
            seed = (69069 * seed + 1) % 2**32
            while seed >= M2:
                seed = (69069 * seed + 1) % 2**32
            self.state.append(seed)
        for _ in range(stream - 1):
            first, second = self.state[:3], self.state[3:]
            self.state = _times(_power(A1, M1), first, M1) + _times(_power(A2, M2), second, M2)

    def uniform(self) -> float:
        s = self.state
        p1 = (1403580 * s[1] - 810728 * s[0]) % M1
        p2 = (527612 * s[5] - 1370589 * s[3]) % M2
        self.state = [s[1], s[2], p1, s[4], s[5], p2]
        return ((p1 - p2) if p1 > p2 else (p1 - p2 + M1)) * NORM

    def normal(self, sd: float = 1.0) -> float:
        coarse = math.floor(BIG * self.uniform())
        return float(sd * ndtri((coarse + self.uniform()) / BIG))

    def sample(self, items: list[int], number: int) -> list[int]:
        """Without replacement."""
        left, taken = list(items), []
        for _ in range(number):
            k = self._index(len(left))
            taken.append(left[k])
            left[k] = left[-1]
            left.pop()
        return taken

    def _index(self, below: int) -> int:
        bits = math.ceil(math.log2(below))
        while True:
            value = 0
            for _ in range(0, bits + 1, 16):
                value = 65536 * value + math.floor(self.uniform() * 65536)
            value %= 2**bits
            if value < below:
                return value


def _power(matrix, modulus):  # to the 2^127
    for _ in range(127):
        matrix = [
            [sum(matrix[i][k] * matrix[k][j] for k in range(3)) % modulus for j in range(3)]
            for i in range(3)
        ]
    return matrix


def _times(matrix, vector, modulus):
    return [sum(matrix[i][j] * vector[j] for j in range(3)) % modulus for i in range(3)]
