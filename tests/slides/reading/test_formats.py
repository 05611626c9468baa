"""Kinds of slides that libraries show wrong without a word: read right, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from crafts.slides.reading.formats import color_order
from crafts.slides.reading.reader import open_slide
from crafts.slides.reading.resolution import SlideReadError
from crafts.slides.reading.slide_files import list_sources
from crafts.slides.tile import TileConfig, run

MPP = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 microns per pixel
FRAME, SIDE = 16, 64


def bright(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Something pink with structure, uint8 [side, side, 3]."""
    noise = np.random.default_rng(seed).integers(0, 60, (side, side, 3))
    return (np.array([220, 150, 190]) - noise).astype(np.uint8)


# ---- DICOM in parts --------------------------------------------------------------------------


def write_parts(
    folder: Path, pixels: np.ndarray, offsets: list[int], name: str = "p"
) -> list[Path]:
    """One level whose frames lie in several instances; uncompressed, so that pydicom reads them."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    across = pixels.shape[1] // FRAME
    frames = [
        pixels[row * FRAME : (row + 1) * FRAME, column * FRAME : (column + 1) * FRAME]
        for row in range(pixels.shape[0] // FRAME)
        for column in range(across)
    ]
    series, whole, paths = generate_uid(), generate_uid(), []
    for number, first in enumerate(offsets, 1):
        last = offsets[number] if number < len(offsets) else len(frames)
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
        data.SOPInstanceUID, data.SeriesInstanceUID = generate_uid(), series
        data.ImageType, data.Modality = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "SM"
        data.ConcatenationUID, data.InConcatenationNumber = whole, number
        data.InConcatenationTotalNumber = len(offsets)
        data.ConcatenationFrameOffsetNumber = first
        data.DimensionOrganizationType = "TILED_FULL"
        data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
        data.PlanarConfiguration, data.NumberOfFrames = 0, last - first
        data.Rows = data.Columns = FRAME
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = pixels.shape[:2]
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
        shared.PixelMeasuresSequence = pydicom.Sequence([measures])
        data.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
        data.PixelData = np.stack(frames[first:last]).tobytes()
        paths.append(folder / f"{name}{len(offsets) - number}.dcm")  # names run against the order
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.mark.parametrize("offsets", [[0], [0, 8], [0, 5, 6, 11]])
@pytest.mark.parametrize("beside", [False, True])
def test_parts_of_a_concatenation_are_one_level(tmp_path, offsets, beside):
    pixels = bright()
    paths = write_parts(tmp_path / "slide", pixels, offsets)
    if beside:  # another slide in the folder, so that a file stands for the series
        write_parts(tmp_path / "slide", bright(1), [0], name="other")
    where = paths[0] if beside else tmp_path / "slide"
    with open_slide(where, reader="dicom") as slide:
        assert slide.sizes[0] == (SIDE, SIDE) and not slide.properties["crafts.note"]
        assert np.array_equal(slide.read(0, 0, 0, width=SIDE, height=SIDE).pixels, pixels)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_part_is_said_and_its_place_is_unscanned(tmp_path, lost):
    pixels = bright()
    paths = write_parts(tmp_path, pixels, [0, 4, 8])
    paths[lost].unlink()
    with open_slide(tmp_path, reader="dicom") as slide:
        assert f"part {lost + 1} of 3 missing" in slide.properties["crafts.note"]
        for row in range(4):
            strip = slide.read(0, row * FRAME, 0, width=SIDE, height=FRAME)
            gone = lost == row if lost < 2 else row >= 2
            assert strip.unscanned == float(gone)
            if not gone:
                assert np.array_equal(strip.pixels, pixels[row * FRAME : (row + 1) * FRAME])


# ---- colour in other forms -------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("Red", "Green", "Blue"), ("B", "G", "R"), ("green", "red", "blue")]
)
def test_three_bright_channels_called_colours_are_a_picture(tmp_path, names):
    pixels = bright(side=128)
    pixels[:, 64:] = 250  # glass
    order = color_order(names)
    planes = np.empty((3, 128, 128), np.uint8)
    for color, place in enumerate(order):
        planes[place] = pixels[..., color]
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}, "PhysicalSizeX": 0.5}
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    path = tmp_path / "he.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=metadata)
    with open_slide(path) as slide:
        assert not slide.is_fluorescence and slide.channels == ("red", "green", "blue")
        assert np.array_equal(slide.read(0, 0, 0, width=128, height=128).pixels, pixels)


def test_dark_channels_and_other_names_stay_channels(tmp_path):
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for name, names, planes, note in (
        ("dark", ["Red", "Green", "Blue"], bright().transpose(2, 0, 1) // 8, ""),
        ("named", ["DAPI", "CD3", "CD8"], bright().transpose(2, 0, 1), "taken for fluorescence"),
    ):
        path = tmp_path / f"{name}.ome.tif"
        channels = {"Channel": {"Name": names}}
        tifffile.imwrite(path, planes, photometric="minisblack", metadata=metadata | channels)
        with open_slide(path, mpp=0.5) as slide:
            assert slide.is_fluorescence and slide.channels == tuple(names)
            assert note in slide.properties.get("crafts.note", "")


@pytest.mark.parametrize("reader", ["auto", "openslide", "tiffslide", "plain"])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_16_bits_are_refused(tmp_path, reader, bits):
    values = bright().astype(np.uint16) << (bits - 8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="rgb", tile=(16, 16), **MPP)
    with pytest.raises(SlideReadError, match="16 bits a channel; save it as 8-bit RGB"):
        open_slide(path, reader=reader)


def test_inks_planes_and_pages_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "inks.tif", np.zeros((64, 64, 4), np.uint8), photometric="separated", **MPP
    )
    Image.new("CMYK", (32, 32)).save(tmp_path / "inks.jpg", dpi=(50_800, 50_800))
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([bright(), bright(1)]), photometric="rgb")
    pages = [Image.fromarray(bright(number)) for number in range(2)]
    pages[0].save(tmp_path / "pages.png", save_all=True, append_images=pages[1:])
    for name, reason in (
        ("inks.tif", "CMYK"), ("inks.jpg", "CMYK"), ("stack.tif", "several planes"),
        ("pages.png", "several pictures"),
    ):  # fmt: skip
        with pytest.raises(SlideReadError, match=reason):
            open_slide(tmp_path / name, mpp=0.5)


def test_a_turned_photograph_is_upright_and_takes_no_coordinates(tmp_path):
    pixels = np.full((64, 96, 3), 230, np.uint8)
    pixels[:32, :32] = (200, 40, 120)
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "slides"
    folder.mkdir()
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(pixels)))
    stored.save(folder / "a.png", exif=exif, dpi=(50_800, 50_800))
    with open_slide(folder / "a.png") as slide:
        assert slide.sizes == ((96, 64),)
        assert np.array_equal(slide.read(0, 0, 0, width=96, height=64).pixels, pixels)
        assert "turned upright" in slide.properties["crafts.note"]
    (tmp_path / "regions").mkdir()
    Image.new("L", (96, 64), 255).save(tmp_path / "regions" / "a.png")
    settings = {"size": 32, "num_workers": 1, "regions": {"folder": tmp_path / "regions"}}
    with pytest.raises(Exception, match="EXIF orientation 6"):
        run(TileConfig(**settings), folder, tmp_path / "out")


def test_pipes_among_slides_are_listed_and_refused(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("a.svs", "b.dcm", "c.png"):
        os.mkfifo(folder / name)
    (folder / "d.tif").symlink_to("nowhere.tif")
    assert [source.path.name for source in list_sources(folder)] == [
        "a.svs", "b.dcm", "c.png", "d.tif",
    ]  # fmt: skip
    for name, reason in (("a.svs", "no regular file"), ("d.tif", "no such file")):
        with pytest.raises(SlideReadError, match=reason):
            open_slide(folder / name)
    with pytest.raises(Exception, match="no usable item of 4.*no regular file"):
        run(TileConfig(size=64, num_workers=1), folder, tmp_path / "out")


def test_real_numbers_keep_their_range_and_what_is_not_finite_is_rejected(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    values = np.random.default_rng(0).random((128, 128)).astype(np.float32) / 1000
    values[70, 70] = np.nan
    tifffile.imwrite(folder / "a.tif", values, **MPP)
    manifest = run(TileConfig(size=64, num_workers=1), folder, tmp_path / "out")
    assert (manifest.counts["used"], manifest.counts["rejected"]) == (3, 1)
    assert "values that are not finite" in (tmp_path / "out" / "rejects.jsonl").read_text()
    for path in (tmp_path / "out" / "tiles" / "a").glob("*.png"):
        with Image.open(path) as image:
            assert np.asarray(image).max() > 200  # a thousandth of 1 is no black
