"""PNG and JPEG files without what no decoder needs: EXIF, XMP, comments, profiles, thumbnails.

Pixels stay as they are, bit for bit: compressed data are copied, never made lossy once more.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from crafts.core.marks import XMP_KEY

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
_PNG_TABLES = {b"PLTE", b"tRNS"}  # of true colour they are hints only
_PNG_SIZES = {b"IHDR": 13, b"pHYs": 9, b"IEND": 0}  # bytes; more would be something else
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of a PNG
_PNG_HEADER_END = 33
_PNG_XMP = XMP_KEY.encode() + b"\0\0\0\0\0"  # not compressed, no language, no translation
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip  # of Adam7: first x, first y, step in x, step in y
# Frames (SOF), tables (DHT, DAC, DQT), number of lines and restart interval; SOS is met apart.
_JPEG_KEPT = ({*range(0xC0, 0xD0)} - {0xC8}) | {0xDB, 0xDC, 0xDD}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_SOS, _EOI, _APP0, _APP1, _APP14 = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN_END = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # 00 is stuffing, D0 to D7 restart


class RefusedImageError(Exception):
    """An image that cannot be used; the message is the reason, for the ledger."""


def strip_png(data: bytes) -> bytes:
    """A PNG of the chunks that make its pixels, and its physical size.

    Raises:
        RefusedImageError: damaged by its checksums, or cut short.
    """
    header, pixels, kept = b"", [], []
    for kind, content in _png_chunks(data):
        if len(content) != _PNG_SIZES.get(kind, len(content)):
            if kind != b"pHYs":
                raise RefusedImageError(f"damaged image (PNG chunk {kind.decode('latin-1')})")
            continue
        if kind == b"IHDR":
            header = content
        if kind == b"IDAT":
            pixels.append(content)
        if kind in _PNG_KEPT or (kind in _PNG_TABLES and header[9:10] != b"\x02"):
            kept.append((kind, content))
    if (only := _pixels_only(b"".join(pixels), header)) is not None:
        first = next(place for place, (kind, _) in enumerate(kept) if kind == b"IDAT")
        kept = [pair for pair in kept if pair[0] != b"IDAT"]
        kept.insert(first, (b"IDAT", only))
    return _PNG_START + b"".join(_png_chunk(*pair) for pair in kept)


def strip_jpeg(data: bytes) -> bytes:
    """A JPEG of its frame, its tables and its scans; of JFIF and Adobe what colours need.

    Raises:
        RefusedImageError: cut short.
    """
    kept, at = [data[:2]], 2
    while found := _MARKER.search(data, at):  # bytes between segments are passed over
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            return b"".join([*kept, b"\xff\xd9"])
        if marker in _ALONE:
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        content = data[at + 2 : end]
        if marker == _APP0 and content[:5] == b"JFIF\0" and len(content) >= 12:
            kept.append(_jpeg_segment(marker, content[:12] + b"\0\0"))  # without its thumbnail
        elif marker == _APP14 and content[:5] == b"Adobe":
            kept.append(_jpeg_segment(marker, content[:12]))
        elif marker in _JPEG_KEPT or marker == _SOS:
            kept.append(_jpeg_segment(marker, content))
        at = end
        if marker == _SOS:
            stop = _SCAN_END.search(data, end)
            at = stop.start() if stop else len(data)
            kept.append(data[end:at])
    raise RefusedImageError("truncated image (JPEG without its end marker)")


def add_xmp(data: bytes, packet: str) -> bytes:
    """A stripped PNG or JPEG with an XMP packet; its compressed pixels stay as they are.

    Args:
        data: of :func:`strip_png` or :func:`strip_jpeg`.
        packet: of less than 65,000 bytes.
    """
    content = packet.encode()
    if data.startswith(_PNG_START):
        at, part = _PNG_HEADER_END, _png_chunk(b"iTXt", _PNG_XMP + content)
    else:  # JFIF wants to be first
        jfif = data[2:4] == bytes([0xFF, _APP0])
        at = 4 + int.from_bytes(data[4:6], "big") if jfif else 2
        part = _jpeg_segment(_APP1, _JPEG_XMP + content)
    return data[:at] + part + data[at:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of all chunks: Pillow neither checks all sums nor misses the end."""
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        kind = data[position + 4 : position + 8]
        (stored,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[position + 4 : end - 4]) != stored:
            raise RefusedImageError(
                f"damaged image (checksum of PNG chunk {kind.decode('latin-1')})"
            )
        yield kind, data[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise RefusedImageError("truncated image (PNG without its end chunk)")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    sum_ = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)


def _pixels_only(stream: bytes, header: bytes) -> bytes | None:
    """The stream packed anew where something stands behind the pixels; None where nothing does."""
    size = _raw_size(header)
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(stream, size) if size else b""
    more = unpacker.decompress(unpacker.unconsumed_tail, 1)
    if not more and not unpacker.unused_data and not unpacker.unconsumed_tail:
        return None
    return zlib.compress(raw, 6)


def _raw_size(header: bytes) -> int:
    """Bytes of the unpacked pixels, with one for the filter of each row."""
    width, height, bits, colors, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    steps = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in steps:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * _CHANNELS.get(colors, 1) // 8))
    return total


def _jpeg_segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
