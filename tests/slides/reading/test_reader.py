"""Every kind of slide against the library that is the authority on it; every fault as one error."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.slides.reading.libraries import OPENERS
from crafts.slides.reading.reader import MAX_SIDE, open_slide
from crafts.slides.reading.resolution import SlideReadError
from painted_slide import paint_slide

SVS, NO_MPP = "CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs"
DICOM, QPTIFF = "small_dicom_vlwsi_GPL-repo.dcm", "small_vectra_3ch_GPL-repo.qptiff"


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("reader", ["auto", "tiffslide"])
def test_regions_are_those_of_openslide(painted, level, reader):
    import openslide

    path = next(painted[0].glob("*.tif"))
    with open_slide(path, reader=reader) as slide, openslide.OpenSlide(path) as other:
        assert slide.reader == ("openslide" if reader == "auto" else reader)
        assert slide.sizes == other.level_dimensions
        width, height = (min(side, 300) for side in slide.sizes[level])
        found = slide.read(64, 32, level, width=width // 2, height=height // 3)
        expected = other.read_region((64, 32), level, (width // 2, height // 3)).convert("RGB")
        assert np.abs(found.pixels.astype(int) - np.asarray(expected)).max() <= (
            0 if reader == "auto" else 3  # another JPEG decoder rounds otherwise
        )
        assert found.unscanned == 0


def test_the_real_svs_is_read_as_openslide_reads_it(wsi):
    import openslide

    with open_slide(wsi / SVS) as slide, openslide.OpenSlide(wsi / SVS) as other:
        assert (slide.resolution.x, slide.resolution.source) == (0.499, "openslide.mpp-x")
        found = slide.read(700, 1300, 0, width=512, height=512).pixels
        expected = other.read_region((700, 1300), 0, (512, 512)).convert("RGB")
        assert np.array_equal(found, expected)


def test_the_real_slide_without_mpp_needs_the_csv(wsi, tmp_path):
    with pytest.raises(SlideReadError, match="--mpp-csv FILE"):
        open_slide(wsi / NO_MPP)
    (tmp_path / "mpp.csv").write_text(f"slide,mpp\n{NO_MPP},0.25\n")
    with open_slide(wsi / NO_MPP, mpp_csv=tmp_path / "mpp.csv") as slide:
        assert (slide.resolution.x, slide.resolution.source) == (0.25, "mpp csv")


@pytest.mark.filterwarnings("ignore")
def test_the_real_dicom_slide_holds_the_frames_of_pydicom(wsi):
    from pydicom.pixels import pixel_array

    with open_slide(wsi / DICOM, mpp=0.5) as slide:
        assert (slide.reader, slide.sizes) == ("dicom", ((3236, 2638),))
        # this file does not state the order of its frames; down the columns the picture fits
        assert "down the columns" in slide.properties["crafts.note"]
        for index, (x, y) in {0: (0, 0), 1: (0, 500), 7: (500, 500), 20: (1500, 1000)}.items():
            frame = pixel_array(wsi / DICOM, index=index)
            found = slide.read(x, y, 0, width=500, height=500)
            assert np.array_equal(found.pixels, frame)
        across = slide.read(900, 900, 0, width=200, height=200).pixels  # over four frames
        assert np.array_equal(across[:100, :100], pixel_array(wsi / DICOM, index=7)[400:, 400:])
        assert np.array_equal(across[100:, 100:], pixel_array(wsi / DICOM, index=14)[:100, :100])


def test_the_real_fluorescence_slide_is_read_as_channels(wsi):
    with open_slide(wsi / QPTIFF) as slide:
        assert slide.is_fluorescence
        assert slide.channels == ("DAPI", "FITC", "Cy3")
        assert slide.resolution.x == pytest.approx(0.4965, abs=1e-4)
        found = slide.read(300, 200, 0, width=400, height=350).pixels
    whole = tifffile.imread(wsi / QPTIFF, series=0)
    assert np.array_equal(found, whole[:, 200:550, 300:700].transpose(1, 2, 0))


def test_every_level_of_an_ome_tiff_is_read(tmp_path):
    array = np.arange(2 * 256 * 256, dtype=np.uint16).reshape(2, 256, 256)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        options = {"tile": (64, 64), "photometric": "minisblack"}
        place = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        place |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
        file.write(array, subifds=1, metadata={"axes": "CYX", **place}, **options)
        file.write(array[:, ::2, ::2], subfiletype=1, **options)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        for level, step in ((0, 1), (1, 2)):
            found = slide.read(0, 0, level, width=64, height=64).pixels
            assert np.array_equal(found, array[:, ::step, ::step][:, :64, :64].transpose(1, 2, 0))


def test_an_ome_tiff_of_16_bits_is_read_as_channels(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, (2, 300, 400), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        values,
        photometric="minisblack",
        tile=(128, 128),
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DAPI", "CD3"]},
            "PhysicalSizeX": 0.325,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.325,
            "PhysicalSizeYUnit": "µm",
        },
    )
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.channels == ("DAPI", "CD3")
        assert (slide.resolution.x, slide.resolution.source) == (0.325, "ome.PhysicalSizeX")
        found = slide.read(100, 50, 0, width=150, height=200).pixels
    assert np.array_equal(found, values[:, 50:250, 100:250].transpose(1, 2, 0))


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_a_colour_ome_tiff_says_its_size_in_its_xml(tmp_path, reader):
    values = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    size = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, values, photometric="rgb", tile=(128, 128), metadata=size)
    with open_slide(path, reader=reader) as slide:
        assert (slide.resolution.x, slide.resolution.source) == (0.25, "ome.PhysicalSizeX")


def test_a_plain_image_keeps_its_depth_and_its_holes(tmp_path):
    deep = np.full((64, 64), 20_000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png", dpi=(50_800, 50_800))
    with pytest.raises(SlideReadError, match="grey of more than 8 bits; save it as TIFF"):
        open_slide(tmp_path / "deep.png")
    pixels = np.full((64, 64, 4), 90, np.uint8)
    pixels[:, 32:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "cut.png", dpi=(50_800, 50_800))
    with open_slide(tmp_path / "cut.png") as slide:
        region = slide.read(16, 0, 0, width=32, height=10)
    assert region.unscanned == 0.5
    assert (region.pixels[:, :16] == 90).all() and (region.pixels[:, 16:] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_plain_images_with_their_dots_per_inch(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, dpi=(50_800, 50_800))
    with open_slide(path) as slide:
        assert slide.resolution.x == pytest.approx(0.5, rel=1e-3)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))[20:50, 10:70]
        assert np.array_equal(slide.read(10, 20, 0, width=60, height=30).pixels, expected)


def test_a_slide_can_be_read_on_after_an_unreadable_region(painted):
    with open_slide(next(painted[0].glob("*.tif"))) as slide:
        good = slide.read(0, 0, 0, width=64, height=64).pixels
        with pytest.raises(SlideReadError, match="region 0, 0 of level 0"):
            slide.read(0, 0, 0, width=-5, height=64)
        assert np.array_equal(slide.read(0, 0, 0, width=64, height=64).pixels, good)


def test_what_was_not_scanned_is_known(painted):
    with open_slide(next(painted[0].glob("*.tif"))) as slide:
        region = slide.read(1488, 0, 0, width=96, height=10)  # ends at 1536
    assert region.unscanned == 0.5
    assert (region.pixels[:, 48:] == 255).all()


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.png", "a.dcm", "a.qptiff", "a.ndpi"])
@pytest.mark.parametrize(
    "data", [b"", b"not a slide at all", b"II*\0\x08\0\0\0\xff\xff" + b"\1" * 99]
)
def test_what_is_no_slide_is_one_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SlideReadError) as error:
        open_slide(tmp_path / name)
    assert isinstance(error.value, DataError) and error.value.exit_code == 3
    assert "Copy it again or leave it out." in str(error.value)


def test_a_missing_file_and_a_bad_csv(tmp_path):
    with pytest.raises(SlideReadError, match="no such file"):
        open_slide(tmp_path / "a.svs")
    with pytest.raises(ConfigError, match="mpp-csv"):
        open_slide(tmp_path / "a.svs", mpp_csv=tmp_path / "no.csv")
    (tmp_path / "two.csv").write_text("slide,mpp\na,0.5\na.svs,0.25\n")
    with pytest.raises(ConfigError, match="a.svs with and without its suffix, with 0.25 and 0.5"):
        open_slide(tmp_path / "a.svs", mpp_csv=tmp_path / "two.csv")


class Endless:
    """A library that reports a size nobody scanned."""

    reader, channels, properties = "openslide", ("red",), {"openslide.mpp-x": "0.5"}
    sizes = [(MAX_SIDE + 1, 10)]

    def __init__(self, path) -> None: ...

    def close(self) -> None: ...


def test_absurd_sizes_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.svs").write_bytes(b"x")
    monkeypatch.setitem(OPENERS, "openslide", Endless)
    with pytest.raises(SlideReadError, match=r"levels of 2000001 x 10 px; expected sides of 1 to"):
        open_slide(tmp_path / "a.svs")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys

    paint_slide(tmp_path / "a.tif", side=256, levels=1)
    for name in ("openslide", "tiffslide", "tifffile"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.svs").write_bytes((tmp_path / "a.tif").read_bytes())
    with pytest.raises(SlideReadError, match=r"openslide is not installed \(pip install crafts"):
        open_slide(tmp_path / "a.svs")
