"""Every kind of picture file becomes upright 8-bit RGB, or is refused with a reason."""

from __future__ import annotations

import io
import os
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crafts.captions.scoring.estimates import estimate_file
from crafts.core.errors import DataError
from crafts.data.listing.loading import load_item
from crafts.data.listing.tilesets import list_items
from crafts.imaging.opening import MAX_PIXELS, decode_picture, open_header, read_rgb
from crafts.imaging.shapes import marked_shape
from crafts.imaging.stripping import RefusedImageError
from crafts.sets.features import read_image

tifffile = pytest.importorskip("tifffile")


def as_file(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def deep(values: np.ndarray, form: str) -> bytes:
    """Colour of 16 bits a channel as PNG, TIFF or PPM."""
    height, width, channels = values.shape
    if form == "tif":
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, photometric="rgb", compression=None)
        return buffer.getvalue()
    big = values.astype(">u2")
    if form == "ppm":
        return b"P6\n%d %d\n65535\n" % (width, height) + big.tobytes()
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        total = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + total

    kind = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in big))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@settings(deadline=None, max_examples=40)
@given(
    form=st.sampled_from(["png", "tif", "ppm"]),
    bits=st.sampled_from([10, 12, 14]),
    seed=st.integers(0, 9),
)
def test_colours_of_cameras_are_refused_and_those_of_all_16_bits_are_right(form, bits, seed):
    eight = np.random.default_rng(seed).integers(20, 250, (16, 16, 3))
    camera = (eight * ((1 << bits) - 1) // 255).astype(np.uint16)
    with pytest.raises(RefusedImageError, match="16 bits a channel"):
        decode_picture(deep(camera, form))
    full = (eight * 257).astype(np.uint16)
    found = np.asarray(decode_picture(deep(full, form)).rgb).astype(int)
    assert np.abs(found - eight).max() <= 1


@pytest.mark.parametrize(
    ("image", "form", "reason"),
    [
        (Image.new("I;16", (8, 8), 900), "PNG", "colour mode 'I;16'"),
        (Image.new("I;16", (8, 8), 900), "TIFF", "colour mode 'I;16'"),
        (Image.new("F", (8, 8), 0.5), "TIFF", "colour mode 'F'"),
        (Image.new("CMYK", (8, 8)), "JPEG", "colour mode 'CMYK'"),
        (Image.new("CMYK", (8, 8)), "TIFF", "colour mode 'CMYK'"),
        (Image.new("LAB", (8, 8)), "TIFF", "colour mode 'LAB'"),
    ],
)
def test_modes_that_would_be_guesses_are_refused(image, form, reason):
    with pytest.raises(RefusedImageError, match=reason):
        decode_picture(as_file(image, form))


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_several_pages_are_refused(form):
    pages = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = as_file(pages[0], form, save_all=True, append_images=pages[1:])
    with pytest.raises(RefusedImageError, match=r"several frames \(2\)"):
        decode_picture(data)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 8), st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]))
def test_every_orientation_is_turned_upright(orientation, form):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8], upright[8:, 16:] = (200, 40, 40), (40, 40, 200)
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    options |= {"lossless": True} if form == "WEBP" else {}
    found = decode_picture(as_file(stored, form, exif=exif, **options))
    assert found.orientation == orientation
    assert np.abs(np.asarray(found.rgb).astype(int) - upright).max() <= 12


def test_the_limit_is_ours_and_no_library_warns(tmp_path, capsys):
    path = tmp_path / "large.png"
    Image.new("1", (20_000, 20_000)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RefusedImageError, match="20000 x 20000 px, larger than the limit"):
            read_rgb(path)
        with open_header(path, float("inf")) as image:
            assert image.size == (20_000, 20_000)
    assert Image.MAX_IMAGE_PIXELS is not None and MAX_PIXELS < Image.MAX_IMAGE_PIXELS


@pytest.fixture
def odd_files(tmp_path: Path) -> Path:
    """A folder with an image, a pipe, a socket, a pipe as caption, and a broken link."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (16, 16), "pink").save(folder / f"{name}.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "b.txt")
    (folder / "gone.png").symlink_to("nowhere.png")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        try:
            one.bind("s.png")
        finally:
            os.chdir(here)
    return folder


def test_what_is_no_regular_file_is_rejected_and_never_waited_for(odd_files):
    found = {item.name: load_item(item) for item in list_items(odd_files)}
    assert {name for name, one in found.items() if not isinstance(one, str)} == {"a.png"}
    assert found["pipe.png"] == found["s.png"] == "unreadable (no regular file)"
    assert found["b.png"] == "its caption (.txt) is unreadable (no regular file)"
    assert found["gone.png"] == "no such file"
    with pytest.raises(DataError, match="no regular file"):
        list_items(odd_files / "pipe.png")
    with pytest.raises(DataError, match="no regular file"):
        read_image(odd_files / "pipe.png")
    assert estimate_file(odd_files / "pipe.png", "0.5") is None


def test_pipes_called_tables_or_tars_are_rejected(tmp_path):
    for folder, name in (("one", "tiles.csv"), ("two", "x.tar")):
        (tmp_path / folder).mkdir()
        os.mkfifo(tmp_path / folder / name)
        (item,) = list_items(tmp_path / folder)
        assert "no regular file" in str(load_item(item))


# ---- masks -----------------------------------------------------------------------------------

SHAPE = np.zeros((12, 10), bool)
SHAPE[3:9, 2:7] = True


def painted(mode: str) -> Image.Image:
    """The same shape, said by numbers, colours, a palette, or opacity."""
    if mode == "opacity":  # the same colour everywhere, drawn on nothing
        return Image.fromarray(
            np.dstack([np.full((*SHAPE.shape, 3), 255), SHAPE * 255]).astype("u1")
        )
    if mode == "red on clear":
        red = np.zeros((*SHAPE.shape, 4), np.uint8)
        red[SHAPE] = (200, 0, 0, 255)
        return Image.fromarray(red)
    if mode in ("palette", "white background"):
        image = Image.fromarray(SHAPE.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 200, 0, 0] if mode == "palette" else [255, 255, 255, 200, 0, 0])
        return image
    return Image.fromarray(np.where(SHAPE, 255, 0).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["L", "1", "RGB", "RGBA", "LA", "palette", "white background", "opacity", "red on clear"],
)
def test_a_mask_says_its_shape_in_many_ways(mode):
    assert np.array_equal(marked_shape(painted(mode)), SHAPE)


def test_a_mask_that_says_two_things_is_refused():
    swapped = Image.fromarray((~SHAPE).astype(np.uint8)).convert("P")
    swapped.putpalette([255, 255, 255, 0, 0, 0])  # an optimiser put white first
    other = np.zeros((*SHAPE.shape, 4), np.uint8)
    other[SHAPE] = (200, 0, 0, 255)
    other[0, 0] = (0, 0, 0, 255)  # opaque black outside
    for image in (swapped, Image.fromarray(other)):
        with pytest.raises(RefusedImageError, match="mark different areas"):
            marked_shape(image)


def test_nothing_drawn_is_an_empty_mask():
    assert not marked_shape(Image.new("RGBA", (5, 5), (0, 0, 0, 0))).any()
    assert not marked_shape(Image.new("RGBA", (5, 5), (255, 255, 255, 0))).any()
    assert marked_shape(Image.new("L", (5, 5), 7)).all()
