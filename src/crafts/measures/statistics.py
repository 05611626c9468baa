"""Reference statistics as one file: what a set of real images says about its encoder's features.

The file is an npz with ``mu`` and ``sigma``, which pytorch-fid reads as well, and with what its
files lack: the number of images, the encoder, the split, where the prompts came from, and the hash
of the set. Without these a distance cannot be compared with anyone's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import sha256_bytes
from crafts.core.errors import ConfigError, IntegrityError
from crafts.core.records import FeatureSet
from crafts.core.runtime import seed_from
from crafts.measures.distances import (
    Moments,
    frechet_is_meaningful,
    moments,
)
from crafts.sets.files import (
    pack_json,
    read_arrays,
    unpack_json,
    write_arrays,
)

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ReferenceStatistics:
    """Gaussian of a set of features, with its origin.

    Attributes:
        mean: float64 [D].
        covariance: float64 [D, D], unbiased.
        num_images: N; None where the origin does not say.
        encoder: name, fingerprint, preprocessing and so on; fingerprint "unknown" where the origin
            does not say.
        split: of the images, or "unknown".
        prompts: where the prompts of the images came from, or "unknown".
        images_sha256: hash over the sorted hashes of the image files, or "unknown".
        sample: float32 [K, D], features kept for the kernel distance; None for none.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    num_images: int | None
    encoder: Mapping[str, Any]
    split: str = UNKNOWN
    prompts: str = UNKNOWN
    images_sha256: str = UNKNOWN
    sample: NDArray[np.float32] | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of the encoder, or "unknown"."""
        return str(self.encoder.get("fingerprint", UNKNOWN))

    @property
    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments(self.mean, self.covariance)


def compute_statistics(
    features: FeatureSet,
    *,
    split: str = UNKNOWN,
    prompts: str = UNKNOWN,
    num_kept: int = 0,
    seed: int = 0,
) -> ReferenceStatistics:
    """Statistics of a set.

    Args:
        features: N >= 2 rows.
        split: of the images; by default that of the rows where they agree on one.
        prompts: where the prompts came from, in words.
        num_kept: features stored beside, for the kernel distance; 0 for none.
        seed: decides which.

    Raises:
        DataError: fewer than two rows, or values that are not finite.
    """
    found = moments(features.features)
    if split == UNKNOWN:
        splits = {str(row.get("split") or UNKNOWN) for row in features.rows}
        split = splits.pop() if len(splits) == 1 else "mixed"
    hashes = sorted(str(row.get("sha256", "")) for row in features.rows)
    sample = None
    if num_kept > 0:
        rng = np.random.default_rng(seed_from("reference statistics", seed))
        kept = rng.permutation(len(features))[:num_kept]
        sample = features.features[np.sort(kept)]
    return ReferenceStatistics(
        mean=found.mean,
        covariance=found.covariance,
        num_images=len(features),
        encoder=dict(features.encoder),
        split=split,
        prompts=prompts,
        images_sha256=sha256_bytes("\n".join(hashes).encode()) if all(hashes) else UNKNOWN,
        sample=sample,
    )


def save_statistics(statistics: ReferenceStatistics, path: Path) -> None:
    """Write statistics as npz, aside and renamed.

    Args:
        statistics: of a set.
        path: ends in ``.npz``; its folder is made if absent.

    Raises:
        ConfigError: another suffix.
        RetryError: the disk is full.
    """
    if path.suffix != ".npz":
        raise ConfigError(
            str(path), came=f"suffix {path.suffix!r}", allowed=".npz", do="Rename the file."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "num_images": statistics.num_images,
        "encoder": dict(statistics.encoder),
        "split": statistics.split,
        "prompts": statistics.prompts,
        "images_sha256": statistics.images_sha256,
    }
    arrays: dict[str, NDArray[Any]] = {
        "mu": statistics.mean,
        "sigma": statistics.covariance,
        "facts": pack_json(facts),
    }
    if statistics.sample is not None:
        arrays["sample"] = statistics.sample
    write_arrays(path, arrays)


def load_statistics(path: Path) -> ReferenceStatistics:
    """Read a file of :func:`save_statistics`.

    Raises:
        ConfigError: no such file, or one of pytorch-fid, which says nothing of its origin.
        IntegrityError: the file is damaged.
    """
    arrays = _read(path)
    if "facts" not in arrays:
        raise ConfigError(
            str(path),
            came="mu and sigma alone",
            allowed="reference statistics with their origin",
            do="Read it with import_pytorch_fid, and say which encoder made it.",
        )
    mean, covariance = _gaussian(path, arrays)
    try:
        facts = unpack_json(arrays["facts"])
        return ReferenceStatistics(
            mean=mean, covariance=covariance, sample=arrays.get("sample"), **facts
        )
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from None


def open_statistics(path: Path, encoder: Mapping[str, Any]) -> ReferenceStatistics:
    """Statistics of either origin, if they belong to an encoder.

    Files of pytorch-fid do not name their encoder; they are taken for those of its Inception, and
    so compared with nothing else.

    Args:
        path: a file of :func:`save_statistics` or of pytorch-fid.
        encoder: facts of the one that is used now.

    Raises:
        ConfigError: no such file, or statistics of another encoder.
        IntegrityError: the file is damaged.
    """
    if "facts" in _read(path):
        found = load_statistics(path)
    else:
        found = import_pytorch_fid(path, encoder=encoder if _is_inception(encoder) else None)
    if len(found.mean) != encoder["width"] or found.fingerprint != encoder["fingerprint"]:
        raise ConfigError(
            str(path),
            came=f"statistics of {found.encoder.get('name')} "
            f"({found.fingerprint[:12]}, width {len(found.mean)})",
            allowed=f"of {encoder['name']} ({encoder['fingerprint'][:12]}, "
            f"width {encoder['width']})",
            do="Name the encoder that made them with --encoder; for files of pytorch-fid that is "
            "the weights file of its Inception.",
        )
    return found


def _is_inception(encoder: Mapping[str, Any]) -> bool:
    return encoder.get("kind") == "inception"


def import_pytorch_fid(
    path: Path, *, encoder: Mapping[str, Any] | None = None, num_images: int | None = None
) -> ReferenceStatistics:
    """Read the ``.npz`` of pytorch-fid: ``mu`` and ``sigma``, of unknown origin.

    Args:
        path: the file.
        encoder: facts of the encoder that made it (``FeatureSet.encoder``), where you know it;
            otherwise the statistics cannot be compared with any other.
        num_images: number of images, where you know it.

    Raises:
        ConfigError: no such file.
        IntegrityError: the file is damaged, or holds no such arrays.
    """
    arrays = _read(path)
    mean, covariance = _gaussian(path, arrays)
    facts = dict(encoder) if encoder else {"name": "pytorch-fid", "fingerprint": UNKNOWN}
    return ReferenceStatistics(mean, covariance, num_images, facts)


def supports_frechet(statistics: ReferenceStatistics) -> bool:
    """Whether a Fréchet distance against these may be reported: N, where known, is at least 2 D."""
    number = statistics.num_images
    return number is None or frechet_is_meaningful(number, len(statistics.mean))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ConfigError(
            str(path), came="no such file", allowed="a .npz of statistics", do="Check the path."
        )
    return read_arrays(path)


def _gaussian(
    path: Path, arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        mean = np.asarray(arrays["mu"], dtype=np.float64)
        covariance = np.asarray(arrays["sigma"], dtype=np.float64)
    except (KeyError, ValueError) as error:
        raise _damaged(path, f"at {error}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise _damaged(path, f"mu {list(mean.shape)} and sigma {list(covariance.shape)}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise _damaged(path, "values that are not finite")
    return mean, covariance


def _damaged(path: Path, reason: object) -> IntegrityError:
    return IntegrityError(
        str(path),
        came=f"no readable statistics ({' '.join(str(reason).split())[:160]})",
        allowed="mu [D] and sigma [D, D] of finite numbers",
        do="Compute the statistics again.",
    )
