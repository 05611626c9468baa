"""Features on disk: round trips, the layout of TRIDENT, damage and foreign files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import ConfigError, IntegrityError
from crafts.core.records import FeatureSet
from crafts.sets.files import coordinates, read_features, write_features

SUFFIXES = (".npz", ".h5")


def feature_set(num: int = 5, *, seed: int = 0, texts: bool = True, **fields) -> FeatureSet:
    rng = np.random.default_rng(seed)
    rows = tuple(
        {"name": f"tile-{i}.png", "sha256": f"{i:064x}", "text": "a text", "x": 256 * i, "y": 7}
        | fields
        for i in range(num)
    )
    return FeatureSet(
        features=rng.normal(size=(num, 4)).astype(np.float32),
        rows=rows,
        rejected=(("broken.png", "truncated image"),),
        encoder={"name": "mini", "fingerprint": "ab" * 32, "width": 4},
        texts=rng.normal(size=(num, 4)).astype(np.float32) if texts else None,
        truncated=0.25,
    )


def same(found: FeatureSet, expected: FeatureSet) -> None:
    np.testing.assert_array_equal(found.features, expected.features)
    assert found.features.dtype == np.float32
    assert found.rows == expected.rows and found.rejected == expected.rejected
    assert found.encoder == expected.encoder and found.truncated == expected.truncated
    if expected.texts is None:
        assert found.texts is None
    else:
        np.testing.assert_array_equal(found.texts, expected.texts)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("texts", [True, False])
def test_round_trip(tmp_path: Path, suffix: str, texts: bool) -> None:
    path = tmp_path / "new" / f"set{suffix}"
    expected = feature_set(texts=texts, label="Zylinderepithel µ", captions=["a", "b"])
    write_features(expected, path)
    same(read_features(path), expected)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@settings(max_examples=15)
@given(num=st.integers(0, 40), text=st.text(max_size=20), suffix=st.sampled_from(SUFFIXES))
def test_any_number_of_rows_and_any_text(tmp_path_factory, num: int, text: str, suffix: str):
    path = tmp_path_factory.mktemp("any") / f"set{suffix}"
    expected = feature_set(num, texts=False, text=text)
    write_features(expected, path)
    same(read_features(path), expected)


def test_numbers_of_numpy_become_plain(tmp_path: Path) -> None:
    write_features(feature_set(2, texts=False, mpp=np.float32(0.5)), tmp_path / "a.npz")
    assert read_features(tmp_path / "a.npz").rows[0]["mpp"] == 0.5


def test_npz_opens_in_numpy_without_pickles(tmp_path: Path) -> None:
    write_features(feature_set(), tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz", allow_pickle=False) as file:
        assert file["features"].shape == (5, 4)
        assert file["names"].tolist() == [f"tile-{i}.png" for i in range(5)]
        assert file["hashes"][3] == f"{3:064x}"


def test_h5_is_laid_out_as_trident_does(tmp_path: Path) -> None:
    expected = feature_set()
    write_features(expected, tmp_path / "slide-7.h5")
    with h5py.File(tmp_path / "slide-7.h5") as file:
        assert file["features"].dtype == np.float32 and file["features"].shape == (5, 4)
        assert file["coords"].dtype == np.int64
        assert file["coords"][:].tolist() == [[256 * i, 7] for i in range(5)]
        assert file["features"].attrs["encoder"] == file.attrs["encoder"] == "mini"
        assert file["features"].attrs["name"] == file.attrs["name"] == "slide-7"


def test_coordinates_only_where_every_row_has_them(tmp_path: Path) -> None:
    rows = [{"x": 1, "y": 2}, {"x": 3}]
    assert coordinates(rows) is None and coordinates([{"x": None, "y": 2}]) is None
    write_features(feature_set(2, x=None), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert "coords" not in file


def test_reads_what_another_tool_wrote(tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    with h5py.File(tmp_path / "slide.h5", "w") as file:
        file["features"], file["coords"] = features, np.array([[0, 0], [256, 0], [512, 256]])
        file["features"].attrs["encoder"] = "uni_v1"
    found = read_features(tmp_path / "slide.h5")
    np.testing.assert_array_equal(found.features, features)
    assert found.encoder == {"name": "uni_v1", "fingerprint": "unknown"}
    assert found.rows[2] == {"name": "2", "sha256": "", "text": "", "x": 512, "y": 256}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_found_or_harmless(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"set{suffix}"
    expected = feature_set()
    write_features(expected, path)
    data, rng, num_refused = path.read_bytes(), np.random.default_rng(1), 0
    for place in rng.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(changed))
        try:
            same(read_features(path), expected)
        except IntegrityError as error:
            num_refused += 1
            assert "no readable" in str(error) and " again." in str(error)
    assert num_refused > 30
    for length in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(IntegrityError, match="no readable"):
            read_features(path)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"suffix '\.pt'; expected \.npz or \.h5"):
        write_features(feature_set(), tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="no such file"):
        read_features(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", mu=np.zeros(3))
    with pytest.raises(IntegrityError, match="no readable features"):
        read_features(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", features=np.array([{}], dtype=object))  # a pickle
    with pytest.raises(IntegrityError, match="allow_pickle=False"):
        read_features(tmp_path / "b.npz")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["coords"] = np.zeros((0, 2))
    with pytest.raises(IntegrityError, match="no readable features"):
        read_features(tmp_path / "c.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["features"] = np.zeros(4)
    with pytest.raises(IntegrityError, match=r"features \[4\]"):
        read_features(tmp_path / "d.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_features(feature_set(), path)
    before = path.read_bytes()
    circle: list = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        write_features(feature_set(captions=circle), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
