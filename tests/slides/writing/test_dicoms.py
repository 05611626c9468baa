import sys

import numpy as np
import openslide
import pydicom
import pytest
from wsidicom import WsiDicom

from crafts.core.errors import ConfigError
from crafts.slides.writing.dicoms import require_library, write_dicom
from crafts.slides.writing.rasters import Raster, build_pyramid
from crafts.slides.writing.tiffs import About

WIDTH, HEIGHT = 501, 330
ABOUT = About("slide", "crafts 1", {"prompt": "é", "model": "tiny"}, mpp=0.25)


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(x / 30), np.cos(y / 20), np.sin((x + y) / 40)], -1)
    raster = Raster(tmp_path_factory.mktemp("raster") / "pixels.0", WIDTH, HEIGHT)
    raster.write(0, (128 + 90 * waves).astype(np.uint8))
    return build_pyramid(raster)


@pytest.fixture(scope="module")
def written(levels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom") / "exact"
    write_dicom(levels, folder, ABOUT)
    return folder


def test_a_dicom_slide_opens_with_all_levels(levels, written):
    expected = levels[0].read(0, HEIGHT)
    with openslide.OpenSlide(written / "level-0.dcm") as slide:
        assert slide.level_dimensions == ((501, 330), (251, 165))
        assert float(slide.properties["openslide.mpp-x"]) == 0.25
        found = np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)).convert("RGB"))
    assert np.array_equal(found, expected)
    with WsiDicom.open(written) as slide:
        assert (slide.mpp.width, slide.mpp.height) == (0.25, 0.25)
        assert np.array_equal(np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT))), expected)
        coarse = np.asarray(slide.read_region((0, 0), 1, (251, 165)))
    assert np.array_equal(coarse, levels[1].read(0, 165))


def test_every_file_says_that_it_is_synthetic(written):
    for number in (0, 1):
        header = pydicom.dcmread(written / f"level-{number}.dcm", stop_before_pixels=True)
        assert header[0x0008, 0x001C].value == "YES"
        assert header.ImageType == ["DERIVED", "PRIMARY", "VOLUME", ("NONE", "RESAMPLED")[number]]
        (maker,) = header.ContributingEquipmentSequence
        assert maker.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert (maker.Manufacturer, maker.ManufacturerModelName) == ("crafts", "tiny")
        assert '"prompt": "é"' in maker.ContributionDescription
        assert header.BurnedInAnnotation == "NO" and header.LossyImageCompression == "00"


def test_equal_pixels_give_equal_files(levels, written, tmp_path):
    write_dicom(levels, tmp_path / "again", ABOUT)
    for path in written.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_jpeg_says_that_it_lost_something(levels, tmp_path):
    write_dicom(levels, tmp_path / "jpeg", ABOUT, quality=80)
    header = pydicom.dcmread(tmp_path / "jpeg/level-0.dcm", stop_before_pixels=True)
    assert header.LossyImageCompression == "01" and header.LossyImageCompressionRatio > 2
    with openslide.OpenSlide(tmp_path / "jpeg/level-0.dcm") as slide:
        found = np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)).convert("RGB"))
    assert 0 < np.abs(found.astype(int) - levels[0].read(0, HEIGHT)).mean() < 4


def test_an_unknown_scale_is_not_invented(levels, tmp_path):
    with pytest.raises(ValueError, match="has microns per pixel"):
        write_dicom(levels, tmp_path / "none", About("slide", "crafts 1"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wsidicom", None)  # as if not installed
    with pytest.raises(ConfigError, match="no package wsidicom; expected the packages of the ext"):
        require_library()
