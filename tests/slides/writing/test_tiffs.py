"""Pyramids that other people's libraries open, with the pixels that went in."""

import json

import numpy as np
import openslide
import pytest
import tifffile
import tiffslide

from crafts.slides.writing.rasters import EDGE, Raster, build_pyramid, iter_tiles
from crafts.slides.writing.tiffs import About, write_ome_tiff, write_tiff

WIDTH, HEIGHT = 701, 530
ABOUT = About("slide", "crafts 1", {"prompt": 'é "q" <x>', "seed": "1"}, "<x:xmpmeta/>", 0.25)


@pytest.fixture(scope="module")
def pixels():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(x / 30), np.cos(y / 20), np.sin((x + y) / 40)], -1)
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return (128 + 90 * waves + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def levels(pixels, tmp_path_factory):
    raster = Raster(tmp_path_factory.mktemp("raster") / "pixels.0", WIDTH, HEIGHT)
    for top in (0, 300, 400):
        raster.write(top, pixels[top : {0: 300, 300: 400, 400: HEIGHT}[top]])
    return build_pyramid(raster)


def test_levels_are_means_of_squares(levels, pixels):
    assert [(level.width, level.height) for level in levels] == [(701, 530), (351, 265), (176, 133)]
    padded = np.pad(pixels, [(0, 0), (0, 1), (0, 0)], mode="edge").astype(float)
    half = padded.reshape(265, 2, 351, 2, 3).mean((1, 3))
    assert np.abs(levels[1].read(0, 265) - half).max() <= 0.5
    assert np.array_equal(levels[0].read(290, 310), pixels[290:310])


def test_tiles_cover_the_picture(levels, pixels):
    tiles = list(iter_tiles(levels[0]))
    assert len(tiles) == 9 and {tile.shape for tile in tiles} == {(EDGE, EDGE, 3)}
    assert np.array_equal(tiles[4], pixels[EDGE : 2 * EDGE, EDGE : 2 * EDGE])
    assert np.array_equal(tiles[-1][: HEIGHT - 512, : WIDTH - 512], pixels[512:, 512:])


@pytest.mark.parametrize("library", [openslide.OpenSlide, tiffslide.TiffSlide])
def test_a_plain_tiff_opens_with_all_levels(levels, pixels, tmp_path, library):
    write_tiff(levels, tmp_path / "slide.tiff", ABOUT)
    slide = library(tmp_path / "slide.tiff")
    assert [tuple(size) for size in slide.level_dimensions] == [(701, 530), (351, 265), (176, 133)]
    assert {float(v) for name, v in slide.properties.items() if "slide.mpp" in name} == {0.25}
    found = np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)).convert("RGB"))
    assert np.array_equal(found, pixels)
    slide.close()


def test_an_ome_tiff_opens_with_all_levels(levels, pixels, tmp_path):
    path = tmp_path / "slide.ome.tiff"
    write_ome_tiff(levels, path, ABOUT)
    slide = tiffslide.TiffSlide(path)
    assert len(slide.level_dimensions) == 3
    assert slide.properties["tiffslide.mpp-x"] == 0.25
    slide.close()
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and len(file.series[0].levels) == 3
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
        assert "&quot;q&quot; &lt;x&gt;" in file.ome_metadata
        assert np.array_equal(file.series[0].levels[0].asarray(), pixels)
        coarse = file.series[0].levels[1].asarray()
    assert np.array_equal(coarse, levels[1].read(0, 265))
    with openslide.OpenSlide(path) as opened:  # it sees the finest level
        assert float(opened.properties["openslide.mpp-x"]) == 0.25


def test_files_say_where_they_come_from(levels, tmp_path):
    write_tiff(levels, tmp_path / "slide.tiff", ABOUT)
    with tifffile.TiffFile(tmp_path / "slide.tiff") as file:
        assert json.loads(file.pages[0].description) == ABOUT.facts
        assert file.pages[0].software == "crafts 1"
        assert bytes(file.pages[0].tags[700].value) == b"<x:xmpmeta/>"


def test_an_unknown_scale_is_not_invented(levels, tmp_path):
    about = About("slide", "crafts 1")
    write_tiff(levels, tmp_path / "slide.tiff", about)
    write_ome_tiff(levels, tmp_path / "slide.ome.tiff", about)
    with openslide.OpenSlide(tmp_path / "slide.tiff") as slide:
        assert "openslide.mpp-x" not in slide.properties
    with tifffile.TiffFile(tmp_path / "slide.ome.tiff") as file:
        assert "PhysicalSize" not in file.ome_metadata


@pytest.mark.parametrize("write", [write_tiff, write_ome_tiff])
def test_equal_pixels_give_equal_bytes(levels, tmp_path, write):
    write(levels, tmp_path / "a.tiff", ABOUT)
    write(levels, tmp_path / "b.tiff", ABOUT)
    assert (tmp_path / "a.tiff").read_bytes() == (tmp_path / "b.tiff").read_bytes()


def test_jpeg_is_smaller_and_near(levels, pixels, tmp_path):
    write_tiff(levels, tmp_path / "exact.tiff", ABOUT)
    write_tiff(levels, tmp_path / "jpeg.tiff", ABOUT, quality=90)
    sizes = [(tmp_path / f"{name}.tiff").stat().st_size for name in ("exact", "jpeg")]
    assert sizes[1] < 0.5 * sizes[0]
    with openslide.OpenSlide(tmp_path / "jpeg.tiff") as slide:
        found = np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)).convert("RGB"))
    assert 0 < np.abs(found.astype(int) - pixels).mean() < 8
