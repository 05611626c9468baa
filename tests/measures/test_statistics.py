"""Reference statistics: the same distance as from features, files, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.core.records import FeatureSet
from crafts.measures.distances import frechet_distance, frechet_from_moments, kernel_distance
from crafts.measures.statistics import (
    compute_statistics,
    import_pytorch_fid,
    load_statistics,
    open_statistics,
    save_statistics,
    supports_frechet,
)
from reference.frechet import root_frechet


def feature_set(num: int = 60, *, seed: int = 0, shift: float = 0.0, **more) -> FeatureSet:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(6, 6))
    return FeatureSet(
        features=(rng.normal(size=(num, 6)) @ mixing + shift).astype(np.float32),
        rows=tuple({"sha256": f"{seed}-{i}", "split": "heldout"} | more for i in range(num)),
        rejected=(),
        encoder={"name": "mini", "fingerprint": "ab" * 32, "preprocessing": {"crop": [8, 8]}},
    )


def test_the_distance_is_that_of_the_features(tmp_path: Path) -> None:
    real, generated = feature_set(), feature_set(seed=1, shift=0.3)
    save_statistics(compute_statistics(real), tmp_path / "real.npz")
    first, second = load_statistics(tmp_path / "real.npz"), compute_statistics(generated)
    found = frechet_from_moments(first.moments, second.moments)
    assert found == pytest.approx(frechet_distance(real.features, generated.features), rel=1e-9)
    gaussians = [
        (rows.mean(0), np.cov(rows, rowvar=False))
        for rows in (real.features.astype(np.float64), generated.features.astype(np.float64))
    ]
    assert found == pytest.approx(root_frechet(*gaussians), rel=1e-4)


def test_the_file_says_where_it_came_from(tmp_path: Path) -> None:
    made = compute_statistics(feature_set(), prompts="captions of held-out patients", num_kept=40)
    save_statistics(made, tmp_path / "new" / "real.npz")
    found = load_statistics(tmp_path / "new" / "real.npz")
    assert (found.num_images, found.split) == (60, "heldout")
    assert found.prompts == "captions of held-out patients"
    assert found.encoder == made.encoder and found.images_sha256 == made.images_sha256
    np.testing.assert_array_equal(found.sample, made.sample)
    np.testing.assert_array_equal(found.covariance, made.covariance)
    assert supports_frechet(found)


def test_the_hash_of_the_set_does_not_depend_on_order() -> None:
    made = feature_set()
    turned = FeatureSet(made.features[::-1], made.rows[::-1], (), made.encoder)
    first, second = compute_statistics(made), compute_statistics(turned)
    assert first.images_sha256 == second.images_sha256 != "unknown"
    other = compute_statistics(feature_set(seed=1))
    assert other.images_sha256 != first.images_sha256
    assert compute_statistics(feature_set(sha256="")).images_sha256 == "unknown"
    assert compute_statistics(feature_set(split="")).split == "unknown"
    assert compute_statistics(made, split="test").split == "test"


def test_kept_features_give_the_kernel_distance() -> None:
    real, generated = feature_set(), feature_set(seed=1, shift=0.5)
    first, second = (compute_statistics(each, num_kept=1000) for each in (real, generated))
    assert first.sample is not None and second.sample is not None
    found = kernel_distance(first.sample, second.sample)
    assert found == pytest.approx(kernel_distance(real.features, generated.features))
    few = compute_statistics(real, num_kept=7, seed=3)
    assert few.sample is not None and few.sample.shape == (7, 6)
    assert {tuple(row) for row in few.sample} <= {tuple(row) for row in real.features}
    assert compute_statistics(generated).sample is None


def test_files_of_pytorch_fid_are_read_and_ours_are_read_by_it(tmp_path: Path) -> None:
    real, generated = feature_set(), feature_set(seed=1)
    rows = real.features.astype(np.float64)
    np.savez(tmp_path / "theirs.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    bare = import_pytorch_fid(tmp_path / "theirs.npz")
    assert bare.num_images is None and supports_frechet(bare), "their N is not known"
    assert not supports_frechet(import_pytorch_fid(tmp_path / "theirs.npz", num_images=11))
    known = import_pytorch_fid(tmp_path / "theirs.npz", encoder=real.encoder, num_images=60)
    expected = frechet_distance(real.features, generated.features)
    found = frechet_from_moments(known.moments, compute_statistics(generated).moments)
    assert found == pytest.approx(expected, rel=1e-6) and supports_frechet(known)
    with pytest.raises(ConfigError, match=r"mu and sigma alone.*import_pytorch_fid"):
        load_statistics(tmp_path / "theirs.npz")
    save_statistics(compute_statistics(real), tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as file:
        np.testing.assert_allclose(file["mu"][:], rows.mean(0))
        np.testing.assert_allclose(file["sigma"][:], np.cov(rows, rowvar=False))


def test_statistics_are_opened_for_their_own_encoder_only(tmp_path: Path) -> None:
    real = feature_set()
    save_statistics(compute_statistics(real), tmp_path / "ours.npz")
    facts = {**real.encoder, "kind": "dual", "width": 6}
    assert open_statistics(tmp_path / "ours.npz", facts).num_images == 60
    with pytest.raises(ConfigError, match=r"statistics of mini \(abab.*of other \(cd"):
        open_statistics(tmp_path / "ours.npz", {**facts, "name": "other", "fingerprint": "cd" * 32})
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(6), sigma=np.eye(6))
    with pytest.raises(ConfigError, match="statistics of pytorch-fid .*weights file of its Incep"):
        open_statistics(tmp_path / "theirs.npz", facts)
    found = open_statistics(tmp_path / "theirs.npz", {**facts, "kind": "inception"})
    assert found.num_images is None and found.fingerprint == facts["fingerprint"]
    with pytest.raises(ConfigError, match="width 6.*width 2048"):
        open_statistics(tmp_path / "theirs.npz", {**facts, "kind": "inception", "width": 2048})


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "real.npz"
    with pytest.raises(ConfigError, match="no such file"):
        load_statistics(path)
    with pytest.raises(ConfigError, match=r"suffix '\.txt'; expected \.npz"):
        save_statistics(compute_statistics(feature_set()), tmp_path / "a.txt")
    save_statistics(compute_statistics(feature_set()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match="no readable arrays"):
        load_statistics(path)
    for mu, sigma, message in (
        (np.zeros(3), np.zeros((2, 2)), r"mu \[3\] and sigma \[2, 2\]"),
        (np.full(2, np.nan), np.eye(2), "values that are not finite"),
    ):
        np.savez(path, mu=mu, sigma=sigma)
        with pytest.raises(IntegrityError, match=message):
            import_pytorch_fid(path)
    np.savez(path, mean=np.zeros(3))
    with pytest.raises(IntegrityError, match="no readable statistics .at 'mu'"):
        import_pytorch_fid(path)
    facts = np.frombuffer(b'{"colour": 1}', dtype=np.uint8)
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), facts=facts)
    with pytest.raises(IntegrityError, match="no readable statistics"):
        load_statistics(path)


def test_two_rows_are_needed() -> None:
    with pytest.raises(DataError, match="at least 2 rows"):
        compute_statistics(feature_set(1))
