"""HoVer-Net .mat and PanNuke .npy: written as their programs do, read back, refused when broken."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.io import savemat

from crafts.controls.masks import load_mask
from crafts.controls.nuclei import CLASSES, UNKNOWN
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask


def labels_of(mask, table):
    """Class number of each nucleus 1..N in the numbers of a source, as far as it has one."""
    return [
        table.get(CLASSES[mask.classes[mask.instances == number][0]], 0)
        for number in range(1, mask.num_nuclei + 1)
    ]


CONSEP = {"unknown": 1, "inflammatory": 2, "epithelial": 3, "neoplastic": 4, "connective": 5}


@pytest.mark.parametrize("lists", ["inst_type", "class", "type_map"])
def test_mat_files_of_three_programs(tmp_path, lists):
    mask = random_mask(2)
    types = np.array(labels_of(mask, CONSEP))
    content = {"inst_map": mask.instances.astype(np.float64)}
    if lists == "type_map":
        content["type_map"] = np.array([0, *types])[mask.instances].astype(np.float64)
    elif lists == "class":  # Lizard lists ids that need not rise
        order = np.random.default_rng(0).permutation(len(types))
        content |= {"id": (order + 1)[:, None], "class": types[order][:, None]}
    else:
        content["inst_type"] = types[:, None]
    savemat(tmp_path / "a.mat", content)
    found = load_mask(tmp_path / "a.mat", table="consep")
    expected = [
        CLASSES.index({v: k for k, v in CONSEP.items()}[t]) if t else UNKNOWN for t in types
    ]
    assert np.array_equal(found.instances, mask.instances)
    assert np.array_equal(found.classes, np.array([0, *expected])[mask.instances])
    with pytest.raises(ConfigError, match="nuclei with classes and no table"):
        load_mask(tmp_path / "a.mat")


def test_mat_without_classes_and_broken_ones(tmp_path):
    ids = random_mask(2).instances
    path = tmp_path / "a.mat"
    savemat(path, {"inst_map": ids})
    assert load_mask(path).num_nuclei == 25
    typed = {"inst_map": ids, "inst_type": np.ones((25, 1))}
    for content, reason in (
        ({"other": ids}, "the variables other; expected inst_map"),
        ({"inst_map": ids + 0.5}, "numbers with fractions"),
        ({"inst_map": np.where(ids > 3, np.nan, ids)}, "pixels NaN"),
        ({"inst_map": np.zeros((3, 3, 3))}, r"shape \(3, 3, 3\)"),
        ({"inst_map": ids, "inst_type": np.ones((3, 1))}, "3 classes for 25 ids"),
        ({"inst_map": ids, "type_map": np.ones((3, 3))}, "arrays of one size"),
        ({**typed, "id": np.full(25, np.nan)}, "ids: 25 pixels NaN"),
        ({**typed, "id": np.array(["a"] * 25, object)}, "ids: object; expected whole numbers"),
    ):
        savemat(path, content)
        with pytest.raises(DataError, match=reason):
            load_mask(path, table="consep")
    path.write_bytes(b"no mat file at all, but longer than its header would be" * 4)
    with pytest.raises(DataError, match="unreadable"):
        load_mask(path)


def pannuke_field(mask):
    """Channels with ids, and the background channel."""
    field = np.zeros((*mask.size, 6), np.float64)
    names = ["neoplastic", "inflammatory", "connective", "dead", "epithelial"]
    for channel, name in enumerate(names):
        own = mask.classes == CLASSES.index(name)
        field[..., channel] = mask.instances * own
    field[..., 5] = field[..., :5].sum(2) == 0
    return field


def test_pannuke_reads_one_field_of_many(tmp_path):
    masks = [random_mask(seed, (64, 64), 12) for seed in range(3)]
    np.save(tmp_path / "a.npy", np.stack([pannuke_field(mask) for mask in masks]))
    kept = np.isin(
        masks[1].classes,
        [
            CLASSES.index(n)
            for n in ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
        ],
    )
    found = load_mask(tmp_path / "a.npy", index=1)
    assert np.array_equal(found.classes, masks[1].classes * kept)
    pairs = set(zip(found.instances[kept].tolist(), masks[1].instances[kept].tolist(), strict=True))
    assert len(pairs) == found.num_nuclei == len(np.unique(masks[1].instances[kept]))
    for index in (None, 3, -1):
        with pytest.raises(ConfigError, match="expected 0 to 2"):
            load_mask(tmp_path / "a.npy", index=index)


def test_pannuke_nuclei_of_one_number_in_two_channels_stay_two_and_hidden_ones_are_listed(tmp_path):
    field = np.zeros((16, 16, 6))
    field[2:6, 2:6, 0] = 7
    field[8:12, 8:12, 2] = 7
    field[3:5, 3:5, 4] = 9  # under the first
    np.save(tmp_path / "a.npy", field)
    found = load_mask(tmp_path / "a.npy")
    assert found.num_nuclei == 2
    assert found.rejected == ("nucleus 3: hidden by a nucleus of another class",)


def test_npy_of_nuclei_and_of_nuclei_with_classes(tmp_path):
    mask = random_mask(4)
    np.save(tmp_path / "a.npy", mask.instances)
    assert np.array_equal(load_mask(tmp_path / "a.npy").instances, mask.instances)
    np.save(tmp_path / "b.npy", np.stack([mask.instances, mask.classes], axis=2))
    found = load_mask(tmp_path / "b.npy", table="crafts")
    assert np.array_equal(found.classes, mask.classes)
    assert np.array_equal(found.instances, mask.instances)


def test_arrays_larger_than_any_mask_are_refused_by_their_shape(tmp_path):
    path = tmp_path / "a.npy"
    head = {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)}
    with path.open("wb") as file:  # 3.6 GB that the file system does not store
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 60_000 * 60_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="60000 x 60000 px; expected at most 64 Mpx"):
        load_mask(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    zeros = np.zeros((8001, 8000), np.uint8)
    savemat(tmp_path / "a.mat", {"inst_map": zeros}, do_compression=True)
    with pytest.raises(DataError, match="8000 x 8001 px; expected at most 64 Mpx"):
        load_mask(tmp_path / "a.mat")


def test_npy_files_that_hold_no_masks(tmp_path):
    path = tmp_path / "a.npy"
    for array, reason in (
        (np.zeros((4, 8, 8, 3), np.uint8), "holds masks, not images"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.full((4, 4), np.inf), "16 pixels NaN or infinite"),
        (np.zeros((0, 4)), "an empty array"),
        (np.array([["a"]]), "<U1"),
    ):
        np.save(path, array)
        with pytest.raises(DataError, match=reason):
            load_mask(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="unreadable"):
        load_mask(path)
