"""Small files that announce large arrays are refused by their headers."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core import arrays
from crafts.core.arrays import LARGEST, check_archive, check_unpacked


def write(path, header: bytes, data: bytes = b"", version: bytes = b"\x01\x00"):
    body = b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", body)


def test_arrays_as_numpy_writes_them_pass(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", a=np.ones((3, 4)), b=np.array(["x", "yy"]), c=np.float32(1))
        check_archive(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }",
        b"{'descr': '<U100000000', 'fortran_order': False, 'shape': (100,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (9,), }",
    ],
)
def test_an_array_of_more_than_its_bytes_is_refused(tmp_path, header):
    write(tmp_path / "a.npz", header, b"\0" * 8)
    with pytest.raises(ValueError, match=r"features\.npy: an array of shape .* in too few bytes"):
        check_archive(tmp_path / "a.npz")


def test_zeros_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LARGEST", 2**20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**21))
    assert (tmp_path / "a.npz").stat().st_size < 2**14
    with pytest.raises(ValueError, match="arrays of 2097152 bytes announced by a file of"):
        check_archive(tmp_path / "a.npz")


def test_a_large_file_may_unpack_to_more():
    check_unpacked(LARGEST, 1)
    check_unpacked(10 * LARGEST, LARGEST)
    with pytest.raises(ValueError):
        check_unpacked(LARGEST + 1, 1)


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_header_is_read_or_refused_by_name(tmp_path_factory, header):
    from crafts.core.errors import IntegrityError
    from crafts.sets.files import read_arrays

    path = tmp_path_factory.mktemp("h") / "a.npz"
    write(path, header)
    try:
        read_arrays(path)
    except IntegrityError as error:
        assert "no readable arrays" in str(error)


def test_a_flipped_byte_is_found(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(100))
    data = bytearray(buffer.getvalue())
    from crafts.core.errors import IntegrityError
    from crafts.sets.files import read_arrays

    data[300] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(IntegrityError, match="no readable arrays"):
        read_arrays(tmp_path / "a.npz")
