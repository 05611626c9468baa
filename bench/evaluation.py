"""All measures on large sets of features: seconds and memory, beside other people's computations.

    python bench/evaluation.py [--rows 50000] [--width 512] [--reference-rows 5000] [--threads 2]

First every measure of two sets of ``--rows`` features, in turn in one process (t-SNE on its
stratified 5,000), then ours and theirs side by side on equal arrays, at ``--reference-rows`` where
theirs takes all pairs in memory. The features are Gaussian with a decaying spectrum, the second
set slightly off. Wall time is what a user waits; processor time is what the work costs, and suffers
less where the machine is busy with other things.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from crafts.measures.alignment import image_alignment, prompt_agreement
from crafts.measures.distances import (
    cmmd,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    normalised_frechet_distance,
)
from crafts.measures.neighbors import prdc_at
from crafts.measures.separation import separation_by_class, silhouettes
from crafts.measures.variety import vendi_score

CLASSES = 30


def draw(rows: int, width: int, *, offset: float, seed: int) -> tuple[Any, Any]:
    """Features float32 [rows, width] around class centres, and the labels."""
    rng = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(width))
    centres = np.random.default_rng(0).standard_normal((CLASSES, width)) * 0.5
    labels = rng.integers(0, CLASSES, rows)
    noise = rng.standard_normal((rows, width))
    features = (centres[labels] + noise * (1 + offset)) * spectrum + 0.1 + offset
    return features.astype(np.float32), labels


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall seconds and processor seconds of one call."""
    wall, cost = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cost


def peak() -> float:
    """Largest memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_all(rows: int, width: int) -> None:
    real, labels = draw(rows, width, offset=0.0, seed=1)
    generated, _ = draw(rows, width, offset=0.02, seed=2)
    names = [f"class {label}" for label in labels]
    measures: dict[str, Callable[[], Any]] = {
        "Fréchet": lambda: frechet_distance(real, generated),
        "Fréchet, normalised": lambda: normalised_frechet_distance(real, generated),
        "FD-infinity": lambda: frechet_infinity(real, generated),
        "kernel distance": lambda: kernel_distance(real, generated)[0],
        "CMMD": lambda: cmmd(real, generated),
        "PRDC, k = 3 and 5": lambda: prdc_at(real, generated)[5]["recall"],
        "Vendi": lambda: vendi_score(generated),
        "image alignment": lambda: image_alignment(generated, real),
        "prompt agreement": lambda: prompt_agreement(generated, real, names),
        "separation, embedding": lambda: separation_by_class(generated, labels).overall,
        "separation, t-SNE": lambda: separation_by_class(generated, labels, on="tsne").overall,
    }
    print(f"two sets of {rows} x {width}, {peak():.2f} GiB held before the first measure")
    print(f"{'measure':24}{'value':>12}{'wall s':>10}{'cpu s':>10}{'peak GiB':>10}")
    total = np.zeros(2)
    for name, work in measures.items():
        value, wall, cost = timed(work)
        total += wall, cost
        print(f"{name:24}{value:12.5g}{wall:10.1f}{cost:10.1f}{peak():10.2f}", flush=True)
    print(f"{'all':24}{'':12}{total[0]:10.1f}{total[1]:10.1f}{peak():10.2f}")


def scipy_frechet(real: Any, generated: Any) -> float:
    from scipy.linalg import sqrtm

    first, second = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    gap = real.mean(axis=0) - generated.mean(axis=0)
    return float(gap @ gap + np.trace(first + second - 2 * sqrtm(first @ second).real))


def torchmetrics_metric(kind: str, real: Any, generated: Any) -> float:
    """Torchmetrics' own class, with the features passed through in place of its network."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class AsGiven(torch.nn.Module):
        num_features = real.shape[1]

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric: Any = (
        FrechetInceptionDistance(feature=AsGiven())
        if kind == "fid"
        else KernelInceptionDistance(feature=AsGiven())
    )
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(generated), real=False)
    found = metric.compute()
    return float(found if kind == "fid" else found[0])


def scipy_recall(real: Any, generated: Any) -> float:
    """Recall at k = 5 from scipy's matrices of all distances; one of the eight that ours gives."""
    from scipy.spatial.distance import cdist

    radii = np.partition(cdist(generated, generated), 5, axis=1)[:, 5]
    np.partition(cdist(real, real), 5, axis=1)  # precision, density and coverage need these too
    return float((cdist(real, generated) < radii).any(axis=1).mean())


def scipy_cmmd(real: Any, generated: Any) -> float:
    from scipy.spatial.distance import cdist

    one, two = (rows / np.linalg.norm(rows, axis=1)[:, None] for rows in (real, generated))
    pairs = ((one, one, 1), (two, two, 1), (one, two, -2))
    return float(
        1000 * sum(sign * np.exp(cdist(a, b, "sqeuclidean") / -200).mean() for a, b, sign in pairs)
    )


def scipy_vendi(features: Any) -> float:
    from scipy.linalg import eigvalsh

    unit = features / np.linalg.norm(features, axis=1)[:, None]
    values = eigvalsh(unit @ unit.T / len(unit))
    values = values[values > 1e-15]
    return float(np.exp(-(values * np.log(values)).sum()))


def sklearn_silhouette(features: Any, labels: Any) -> float:
    from sklearn.metrics import silhouette_score

    return 100 * float(silhouette_score(features, labels, metric="cosine"))


Work = Callable[[], Any]


def side_by_side(rows: int, few: int, width: int) -> list[tuple[str, int, Work, Work]]:
    """Name, rows, our computation and theirs of the same quantity."""
    real, _ = (part.astype(np.float64) for part in draw(rows, width, offset=0.0, seed=1))
    generated, labels = draw(rows, width, offset=0.02, seed=2)
    generated = generated.astype(np.float64)
    a, b, names = real[:few], generated[:few], labels[:few]
    return [
        (
            "Fréchet / scipy sqrtm",
            rows,
            lambda: frechet_distance(real, generated),
            lambda: scipy_frechet(real, generated),
        ),
        (
            "Fréchet / torchmetrics",
            rows,
            lambda: frechet_distance(real, generated),
            lambda: torchmetrics_metric("fid", real, generated),
        ),
        (
            "kernel / torchmetrics",
            rows,
            lambda: kernel_distance(real, generated)[0],
            lambda: torchmetrics_metric("kid", real, generated),
        ),
        (
            "PRDC / scipy cdist",
            few,
            lambda: prdc_at(a, b, ks=(5,))[5]["recall"],
            lambda: scipy_recall(a, b),
        ),
        ("CMMD / scipy cdist", few, lambda: cmmd(a, b), lambda: scipy_cmmd(a, b)),
        ("Vendi / scipy eigvalsh", few, lambda: vendi_score(b), lambda: scipy_vendi(b)),
        (
            "silhouette / sklearn",
            few,
            lambda: float(silhouettes(b, names).mean()),
            lambda: sklearn_silhouette(b, names),
        ),
    ]


def compare(rows: int, few: int, width: int) -> None:
    print(
        f"\n{'side by side':24}{'rows':>8}{'ours':>14}{'theirs':>14}{'cpu s':>8}{'cpu s':>8}  ratio"
    )
    for name, number, ours, theirs in side_by_side(rows, few, width):
        mine, _, cost = timed(ours)
        other, _, their_cost = timed(theirs)
        print(
            f"{name:24}{number:8}{mine:14.8g}{other:14.8g}{cost:8.1f}{their_cost:8.1f}"
            f"{their_cost / max(cost, 1e-9):7.1f}",
            flush=True,
        )
    print("  ratio: their processor time over ours; kernel distances draw other subsets")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--reference-rows", type=int, default=5_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        run_all(options.rows, options.width)
        compare(options.rows, options.reference_rows, options.width)


if __name__ == "__main__":
    main()
