"""Stripped files hold the same pixels and nothing that was put beside them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from crafts.data.config import PackConfig
from crafts.data.pack import run as pack
from crafts.data.tiles.images import check_image, decode_rgb
from crafts.imaging.stripping import RefusedImageError, add_xmp, strip_jpeg, strip_png

CANARY = b"CANARYDOEJANE"


def pixels(seed: int, size: tuple[int, int]) -> np.ndarray:
    low = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(low).resize(size, Image.Resampling.BICUBIC))


def encode(array: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    total = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", total)


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x010E] = CANARY.decode()  # ImageDescription
    return found


SEGMENTS = [
    segment(0xE0, b"JFXX\0\x10" + CANARY),
    segment(0xE1, b"Exif\0\0" + CANARY),
    segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + CANARY),
    segment(0xE2, b"ICC_PROFILE\0\1\1" + CANARY),
    segment(0xED, b"Photoshop 3.0\0" + CANARY),
    segment(0xEF, CANARY),
    segment(0xFE, CANARY),
]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(20, 95),
            "subsampling": st.integers(0, 2),
            "progressive": st.booleans(),
            "restart_marker_rows": st.integers(0, 2),
            "keep_rgb": st.booleans(),
        }
    ),
    extra=st.lists(st.sampled_from(SEGMENTS), max_size=4),
    behind=st.sampled_from([b"", CANARY, b"\xff\xd8" + CANARY + b"\xff\xda\xff\xd9"]),
    between=st.booleans(),
)
def test_jpeg_keeps_its_pixels_and_nothing_else(seed, size, options, extra, behind, between):
    if options["keep_rgb"]:  # three equal channels
        options |= {"subsampling": 0}
    data = encode(pixels(seed, size), "JPEG", exif=exif(), comment=CANARY, **options)
    dressed = data[:2] + b"".join(extra) + data[2:-2]
    if between:  # of scans: a comment before the end
        dressed += segment(0xFE, CANARY)
    dressed += b"\xff\xd9" + behind
    found = check_image(dressed)
    assert found.suffix == "jpg" and CANARY not in found.data
    assert np.array_equal(decode_rgb(found.data), decode_rgb(data))
    assert strip_jpeg(found.data) == found.data  # nothing is left to strip
    # what is kept is no more than the plain file: compressed data are copied
    assert len(found.data) <= len(encode(pixels(seed, size), "JPEG", **options))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kinds=st.lists(
        st.sampled_from([b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"iCCP", b"tIME", b"prVt", b"PLTE"]),
        max_size=4,
    ),
    behind=st.sampled_from([b"", CANARY]),
    hidden=st.sampled_from(["", "behind the stream", "behind the pixels"]),
)
def test_png_keeps_its_pixels_and_nothing_else(seed, size, kinds, behind, hidden):
    array = pixels(seed, size)
    raw = b"".join(b"\0" + row.tobytes() for row in array)
    stream = zlib.compress(raw + CANARY * (hidden == "behind the pixels"), 0)
    stream += CANARY * (hidden == "behind the stream")
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    extra = b"".join(
        chunk(kind, b"Comment\0" + CANARY if kind != b"PLTE" else b"\1\2\3") for kind in kinds
    )
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
    data += chunk(b"pHYs", struct.pack(">IIB", 4000, 4000, 1)) + chunk(b"IDAT", stream)
    data += chunk(b"IEND", b"") + behind
    stripped = strip_png(data)
    assert CANARY not in stripped and strip_png(stripped) == stripped
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.info.get("dpi") == pytest.approx((101.6, 101.6), abs=0.1)
        assert np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_every_mode_decodes_as_before(mode, interlaced):
    image = Image.fromarray(pixels(1, (21, 13))).convert(mode)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", CANARY.decode())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    data = buffer.getvalue()
    if interlaced:
        data = interlace(image) if mode == "L" else data
    stripped = strip_png(data)
    assert CANARY not in stripped
    with Image.open(io.BytesIO(stripped)) as found, Image.open(io.BytesIO(data)) as given_:
        assert found.mode == given_.mode
        assert np.array_equal(np.asarray(found.convert("RGBA")), np.asarray(given_.convert("RGBA")))


def interlace(image: Image.Image) -> bytes:
    """A grey PNG in the seven passes of Adam7, as its specification gives them."""
    array, raw = np.asarray(image), b""
    for left, top, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):  # fmt: skip
        raw += b"".join(b"\0" + row.tobytes() for row in array[top::down, left::across])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 0, 0, 0, 1)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2000), st.sampled_from(["PNG", "JPEG"]))
def test_what_is_cut_short_is_refused(length, form):
    data = encode(pixels(3, (32, 32)), form)
    with pytest.raises(RefusedImageError):
        check_image(data[: min(length, len(data) - 1)])


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "GIF", "BMP"])
def test_converted_files_lose_what_they_said(form):
    options = {} if form == "BMP" else {"comment": CANARY} if form == "GIF" else {"exif": exif()}
    found = check_image(encode(pixels(5, (24, 24)), form, **options))
    assert found.suffix == "png" and CANARY not in found.data
    with Image.open(io.BytesIO(found.data)) as image:
        image.load()
        assert not image.info


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("packet", ["<x/>", "é" * 30_000])
def test_a_packet_is_read_by_others_and_leaves_the_pixels(form, packet):
    plain = check_image(encode(pixels(3, (24, 40)), form)).data
    dressed = add_xmp(plain, packet)
    with Image.open(io.BytesIO(dressed)) as image:
        image.load()
        found = image.info["XML:com.adobe.xmp" if form == "PNG" else "xmp"]
    assert (found if form == "PNG" else found.decode()) == packet
    assert np.array_equal(decode_rgb(dressed), decode_rgb(plain))
    assert check_image(dressed).data == plain


def test_no_canary_reaches_a_shard(tmp_path):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    info = PngInfo()
    info.add_text("Patient", CANARY.decode())
    info.add_itxt("XML:com.adobe.xmp", CANARY.decode())
    jpeg = encode(pixels(0, (24, 24)), "JPEG", exif=exif(), comment=CANARY)
    (tiles / "a.jpg").write_bytes(jpeg + CANARY)
    png = encode(pixels(1, (24, 24)), "PNG", exif=exif(), pnginfo=info)
    (tiles / "b.png").write_bytes(png + CANARY)
    (tiles / "c.tif").write_bytes(encode(pixels(2, (24, 24)), "TIFF", exif=exif()))
    for name in "abc":
        (tiles / f"{name}.txt").write_text("tissue")
    for form in ("keep", "auto"):
        output = tmp_path / form
        manifest = pack(PackConfig(image_format=form, tokenizers=()), tiles, output)
        assert manifest.counts["used"] == 3
        assert not [path for path in output.rglob("*") if CANARY in path.read_bytes()]
