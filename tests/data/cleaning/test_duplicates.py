"""Copies are found under all symmetries and small changes; other tissue is left alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crafts.data.cleaning import duplicates
from crafts.data.cleaning.duplicates import (
    Duplicate,
    Print,
    find_duplicates,
    make_print,
    symmetries,
)
from crafts.data.painter import paint_tile


@pytest.fixture(scope="module")
def painted() -> list[np.ndarray]:
    return [paint_tile(seed=5, index=index, size=128).image for index in range(16)]


def test_the_symmetries_are_those_of_numpy():
    picture = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    wanted = [np.rot90(base, k) for base in (picture, picture[:, ::-1]) for k in range(4)]
    found = [part.tobytes() + bytes(part.shape) for part in symmetries(picture)]
    assert sorted(found) == sorted(part.tobytes() + bytes(part.shape) for part in wanted)


def test_signs_of_a_turned_picture_follow_from_those_of_the_first(painted):
    signs = make_print(painted[0]).signs[None]
    turned = duplicates._turned_signs(signs)
    for expected, picture in zip(turned, symmetries(painted[0]), strict=True):
        found = make_print(np.ascontiguousarray(picture)).signs
        assert (found != expected[0]).sum() <= 2  # rounding of a coefficient near zero


def test_exact_copies_under_all_symmetries(painted):
    pictures = [painted[0], painted[1], *symmetries(painted[0])]
    prints = [make_print(np.ascontiguousarray(picture)) for picture in pictures]
    assert len({one.exact for one in prints[2:]}) == 1
    assert find_duplicates(prints) == [Duplicate(index, 0, True) for index in range(2, 10)]


def test_near_copies_under_all_symmetries(painted):
    prints = [make_print(picture) for picture in painted]
    copies = []
    for number, picture in enumerate(painted):
        buffer = io.BytesIO()
        turned = list(symmetries(picture))[number % 8]
        Image.fromarray(turned).resize((100, 100)).save(buffer, "JPEG", quality=70)
        copies.append(make_print(np.asarray(Image.open(buffer))))
    found = find_duplicates([*prints, *copies])
    assert found == [Duplicate(16 + index, index, False) for index in range(16)]


def test_other_tissue_is_no_copy(painted):
    assert find_duplicates([make_print(picture) for picture in painted]) == []


def test_the_first_is_kept_and_chains_lead_to_it(painted):
    near = painted[0].copy()
    near[0, 0] ^= 1
    prints = [make_print(picture) for picture in (painted[0], near, near)]
    assert find_duplicates(prints) == [Duplicate(1, 0, False), Duplicate(2, 0, True)]
    assert find_duplicates(prints[:1]) == [] and find_duplicates([]) == []


def random_print(rng: np.random.Generator) -> Print:
    thumb = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Print(rng.bytes(32), rng.random((16, 16)) > 0.5, thumb)


def naive_duplicates(prints: list[Print], max_bits: int, max_difference: float) -> list[int]:
    """Every pair under every symmetry, one by one."""
    dropped: list[int] = []
    for later, one in enumerate(prints):
        for older in range(later):
            if older in dropped:
                continue
            other = prints[older]
            near = any(
                (signs[0] != other.signs).sum() <= max_bits
                and np.abs(thumb.astype(float) - other.thumb).mean() <= max_difference
                for signs, thumb in zip(
                    duplicates._turned_signs(one.signs[None]), symmetries(one.thumb), strict=True
                )
            )
            if near or one.exact == other.exact:
                dropped.append(later)
                break
    return dropped


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), flips=st.integers(0, 14), chunk=st.sampled_from([1, 7, 1000]))
def test_bands_find_what_comparing_all_pairs_finds(seed, flips, chunk):
    """With at most 15 flipped bits one of the 16 bands is left untouched: nothing is missed."""
    rng = np.random.default_rng(seed)
    prints = [random_print(rng) for _ in range(12)]
    for index in rng.integers(0, 12, 6):
        signs, thumb = prints[index].signs.copy(), prints[index].thumb
        which = int(rng.integers(0, 8))
        signs = list(duplicates._turned_signs(signs[None]))[which][0].copy()
        signs.ravel()[rng.choice(256, flips, replace=False)] ^= True
        prints.append(
            Print(rng.bytes(32), signs, np.ascontiguousarray(list(symmetries(thumb))[which]))
        )
    before = duplicates._CHUNK
    duplicates._CHUNK = chunk
    try:
        found = [one.index for one in find_duplicates(prints, max_bits=15)]
    finally:
        duplicates._CHUNK = before
    assert found == naive_duplicates(prints, 15, 6.0) == list(range(12, 18))


def test_a_crowd_of_like_pictures_costs_little(monkeypatch):
    """Bands that thousands share are left out; what differs there is found by the others."""
    rng = np.random.default_rng(0)
    prints = [random_print(rng) for _ in range(40)]
    signs = np.stack([one.signs for one in prints])
    bands = duplicates._pack(signs)
    assert bands.shape == (40, 16) and len(np.unique(bands[:, 0])) > 30
    monkeypatch.setattr(duplicates, "_CROWD", 2)
    one = prints[0]
    twin = Print(b"twin", one.signs, one.thumb)
    assert find_duplicates([*prints, twin]) == [Duplicate(40, 0, False)]
    triplet = Print(b"triplet", one.signs, one.thumb)
    assert find_duplicates([one, twin, triplet]) == []  # each band is a crowd of three now
