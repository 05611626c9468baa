"""Changes of a file's bytes, as hypothesis draws them: flipped, cut, doubled, overwritten."""

from __future__ import annotations

import struct
import zlib

from hypothesis import strategies as st

WORDS = (b"", b"\0", b"\xff\xff\xff\xff", b"-", b"1e999", b"NaN", b"null", b"true", b"[[", b'"',
         b"9" * 5000, b"0.5", b"{}", b"\n", b"\xe9", b"../x", b"Polygon", b"<f8",
         b"|O")  # fmt: skip
KINDS = ("flip", "cut", "end", "double", "word")
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.floats(0, 1, exclude_max=True),  # where, of the whole
        st.integers(1, 40),  # how many bytes
        st.sampled_from(WORDS),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=3,
)

Mutation = tuple[str, float, int, bytes, int]


def mutate(data: bytes, mutations: list[Mutation]) -> bytes:
    """The bytes after each of the changes."""
    for kind, share, length, word, bit in mutations:
        at = int(share * len(data))
        end = at + length
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[end:]
        elif kind == "end":
            data = data[:at]
        elif kind == "double":
            data = data[:end] + data[at:]
        elif kind == "word":
            data = data[:at] + word + data[end:]
    return data


def reseal_png(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks set right, so that what is in them is read."""
    at, parts = 8, [data[:8]]
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            break
        parts += [data[at:end], struct.pack(">I", zlib.crc32(data[at + 4 : end]))]
        at = end + 4
    return b"".join([*parts, data[at:]])
