"""h5 files as TRIDENT and CLAM write them; N = 0 is legal, damage is one error."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from crafts.core.errors import DataError
from crafts.slides.grid import choose_view
from crafts.slides.siting.coordinates import (
    clam_attributes,
    read_coordinates,
    trident_attributes,
    write_coordinates,
)

VIEW = choose_view(((4000, 3000), (1000, 750)), (0.25, 0.25), 1.0)
TRIDENT = trident_attributes("s", slide=(4000, 3000), mpp=0.25, view=VIEW, size=256, overlap=16)
CLAM = clam_attributes("s", slide=(4000, 3000), level_size=(1000, 750), view=VIEW, size=256)


def test_attributes_are_exactly_theirs():
    assert TRIDENT == {
        "patch_size": 256,
        "patch_size_level0": 1024,
        "level0_magnification": 40,
        "target_magnification": 10,
        "overlap": 16,
        "name": "s",
        "savetodir": ".",
        "level0_width": 4000,
        "level0_height": 3000,
    }
    assert {name: np.asarray(value).tolist() for name, value in CLAM.items()} == {
        "patch_size": 256,
        "patch_level": 1,
        "downsample": [4.0, 4.0],
        "downsampled_level_dim": [1000, 750],
        "level_dim": [4000, 3000],
        "name": "s",
        "save_path": ".",
    }


@pytest.mark.parametrize(("layout", "attributes"), [("trident", TRIDENT), ("clam", CLAM)])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip(tmp_path, layout, attributes, count):
    coords = np.arange(2 * count).reshape(count, 2)
    write_coordinates(tmp_path / "a.h5", coords, attributes)
    found = read_coordinates(tmp_path / "a.h5")
    assert found.coords.dtype == np.int64 and found.coords.shape == (count, 2)
    assert np.array_equal(found.coords, coords)
    assert (found.layout, found.extent) == (layout, 1024)
    assert set(found.attributes) == set(attributes)
    first = (tmp_path / "a.h5").read_bytes()
    write_coordinates(tmp_path / "a.h5", coords, attributes)
    assert (tmp_path / "a.h5").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_coordinates(tmp_path / "a.h5", np.zeros((2, 2)), TRIDENT)
    with pytest.raises(TypeError):
        write_coordinates(tmp_path / "a.h5", np.zeros((3, 2)), {"name": object()})
    assert len(read_coordinates(tmp_path / "a.h5").coords) == 2


def broken(path, how):
    if how == "text":
        path.write_bytes(b"no h5 at all")
    elif how == "cut":
        write_coordinates(path, np.zeros((500, 2)), TRIDENT)
        path.write_bytes(path.read_bytes()[:1000])
    elif how != "missing":
        with h5py.File(path, "w") as file:
            shape = (5, 3) if how == "shape" else (5, 2)
            dataset = file.create_dataset("other" if how == "name" else "coords", shape, np.int64)
            if how == "shape":
                dataset.attrs.update({"patch_size_level0": 3})


@pytest.mark.parametrize(
    ("how", "came"),
    [
        ("text", "signature"),
        ("cut", "trunc"),
        ("missing", "no such file"),
        ("name", "coords"),
        ("shape", r"coords of shape \(5, 3\)"),
        ("attributes", "attributes none"),
    ],
)
def test_damage_is_refused(tmp_path, how, came):
    broken(tmp_path / "a.h5", how)
    with pytest.raises(DataError, match=f"a.h5: .*{came}.*TRIDENT or CLAM"):
        read_coordinates(tmp_path / "a.h5")
