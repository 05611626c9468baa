"""Channels by name and index, regions and levels without the rest, and all that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crafts.controls.fluorescence import list_channels, load_fluorescence
from crafts.controls.intensity import ChannelRange
from crafts.core.errors import ConfigError, DataError

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")


def pixels(channels=3, size=(64, 96), kind=np.uint16, seed=0):
    draws = np.random.default_rng(seed)
    top = 255 if kind == np.uint8 else 4000
    return (draws.gamma(2, 0.1, (channels, *size)).clip(0, 1) * top).astype(kind)


def write_ome(path, array, names=("DAPI", "CD3", "PanCK"), mpp=0.5, **options):
    tifffile.imwrite(
        path,
        array,
        ome=True,
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(names)},
            "PhysicalSizeX": mpp,
            "PhysicalSizeXUnit": "µm",
        },
        **options,
    )
    return path


def test_named_channels_of_16_bits_and_their_percentiles(tmp_path):
    array = pixels()
    path = write_ome(tmp_path / "a.ome.tif", array)
    assert list_channels(path) == ("DAPI", "CD3", "PanCK")
    found = load_fluorescence(path, channels=["panck", 0])
    assert found.values.shape == (2, 64, 96) and found.values.dtype == np.float32
    assert found.mpp == 0.5 and found.level == 0 and found.region == (0, 0, 96, 64)
    for place, (index, name) in enumerate(((2, "PanCK"), (0, "DAPI"))):
        low, high = np.percentile(array[index], (1, 99.8))
        scale = found.ranges[place]
        assert (scale.name, scale.percentiles) == (name, (1.0, 99.8))
        assert (scale.low, scale.high) == pytest.approx((low, high))
        expected = ((array[index] - low) / (high - low)).clip(0, 1)
        assert np.abs(found.values[place] - expected).max() < 1e-6
    record = found.record()
    assert record["channels"][0]["name"] == "PanCK" and record["source"] == "a.ome.tif"


def test_a_region_is_that_part_and_may_use_the_range_of_the_whole(tmp_path):
    array = pixels()
    path = write_ome(tmp_path / "a.tif", array, tile=(16, 16))
    whole = load_fluorescence(path)
    part = load_fluorescence(path, region=(10, 20, 32, 16), ranges=whole.ranges)
    assert np.array_equal(part.values, whole.values[:, 20:36, 10:42])
    assert load_fluorescence(path, region=(10, 20, 32, 16)).ranges != whole.ranges


def write_pyramid(path, size=512):
    array = np.zeros((2, size, size), np.uint16)
    y, x = np.mgrid[:size, :size]
    array[0] = 1000 + 900 * np.sin(x / 40)
    array[1] = 1000 + 900 * np.cos(y / 40)
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"tile": (64, 64), "photometric": "minisblack"}
        metadata = {"axes": "CYX", "Channel": {"Name": ["A", "B"]}, "PhysicalSizeX": 0.25}
        file.write(array, subifds=2, metadata=metadata, **options)
        for level in (2, 4):
            file.write(array[:, ::level, ::level], subfiletype=1, **options)
    return array


def test_a_lower_level_serves_a_smaller_map(tmp_path):
    array = write_pyramid(tmp_path / "a.ome.tif")
    found = load_fluorescence(tmp_path / "a.ome.tif", size=(128, 128))
    assert found.level == 2 and found.values.shape == (2, 128, 128) and found.mpp == 1.0
    expected = array[0, ::4, ::4].astype(float)
    assert np.corrcoef(found.values[0].ravel(), expected.ravel())[0, 1] > 0.999
    half = load_fluorescence(tmp_path / "a.ome.tif", size=(100, 100), region=(256, 0, 200, 200))
    assert half.level == 1 and half.mpp == 0.5
    exact = load_fluorescence(tmp_path / "a.ome.tif", region=(256, 0, 200, 200))
    assert exact.level == 0 and exact.mpp == 0.25


def test_60000_px_are_read_by_region_or_level_only(tmp_path):
    """A sparse file: tiles that were never written cost nothing."""
    path = tmp_path / "a.tif"
    tile = np.random.default_rng(0).integers(1, 4000, (512, 512)).astype(np.uint16)
    side = 60_416  # 118 tiles of 512 px

    def tiles():
        yield tile.tobytes()
        for _ in range(118 * 118 - 1):
            yield b""

    tifffile.imwrite(
        path, tiles(), shape=(side, side), dtype=np.uint16, tile=(512, 512),
        photometric="minisblack", bigtiff=True, metadata={"axes": "YX"},
    )  # fmt: skip
    found = load_fluorescence(path, region=(0, 0, 256, 256))
    low, high = np.percentile(tile[:256, :256], (1, 99.8))
    expected = ((tile[:256, :256] - low) / (high - low)).clip(0, 1)
    assert np.abs(found.values[0] - expected).max() < 1e-6
    for options in ({}, {"size": (512, 512)}):
        with pytest.raises(ConfigError, match="60416 x 60416 px, and no coarser level that fits"):
            load_fluorescence(path, **options)


def test_png_of_16_bits_and_grey_kept_as_colour(tmp_path):
    array = pixels(1)[0]
    Image.fromarray(array).save(tmp_path / "a.png")
    low, high = np.percentile(array, (1, 99.8))
    found = load_fluorescence(tmp_path / "a.png", region=(5, 6, 20, 10), percentiles=(0, 100))
    part = array[6:16, 5:25].astype(float)
    assert np.abs(found.values[0] - (part - part.min()) / np.ptp(part)).max() < 1e-6
    assert load_fluorescence(tmp_path / "a.png").ranges[0].high == pytest.approx(high)
    gray = pixels(1, kind=np.uint8)[0]
    Image.fromarray(np.stack([gray] * 3, 2)).save(tmp_path / "b.png")
    assert list_channels(tmp_path / "b.png") == ("grey",)
    Image.fromarray(pixels(3, kind=np.uint8).transpose(1, 2, 0)).save(tmp_path / "c.png")
    assert load_fluorescence(tmp_path / "c.png", channels=["blue"]).values.shape == (1, 64, 96)


def test_channels_that_do_not_fit_are_refused(tmp_path):
    five = write_ome(tmp_path / "a.ome.tif", pixels(5), ("A", "B", "C", "D", "A"))
    with pytest.raises(
        ConfigError, match="5 channels in the file; expected 1 to 3 of: 0 'A', 1 'B'"
    ):
        load_fluorescence(five)
    for channels, reason in (
        (["Z"], "'Z'"),
        ([9], "9"),
        (["a"], r"'a' \(several of this name\)"),
        ([1, "b"], "'b'"),
        ([], "0 channels"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_fluorescence(five, channels=channels)


def test_channels_without_signal_are_refused(tmp_path):
    array = pixels()
    array[1] = 7
    path = write_ome(tmp_path / "a.tif", array)
    with pytest.raises(DataError, match=r"channel 'CD3': a constant channel \(7 everywhere\)"):
        load_fluorescence(path)
    assert load_fluorescence(path, channels=[0, 2]).values.shape[0] == 2
    reals = pixels(1).astype(np.float32)
    reals[0, 3, 3:5] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", reals[0])
    with pytest.raises(DataError, match="2 pixels NaN or infinite"):
        load_fluorescence(tmp_path / "b.tif")


def test_regions_sizes_and_ranges_that_do_not_fit_are_refused(tmp_path):
    path = write_ome(tmp_path / "a.tif", pixels())
    for region in ((-1, 0, 4, 4), (90, 0, 10, 4), (0, 0, 0, 4)):
        with pytest.raises(ConfigError, match="inside of 96 x 64 px"):
            load_fluorescence(path, region=region)
    with pytest.raises(ConfigError, match="the same proportions"):
        load_fluorescence(path, size=(64, 64))
    with pytest.raises(ConfigError, match="at most four times"):
        load_fluorescence(path, region=(0, 0, 4, 4), size=(64, 64))
    for ranges in ([ChannelRange("A", 0, 1)], [ChannelRange("A", 1, 1)] * 3):
        with pytest.raises(ConfigError, match="one range a channel"):
            load_fluorescence(path, ranges=ranges)


def test_files_that_are_no_fluorescence_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"")
    (tmp_path / "b.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "c.jpg").write_bytes(b"x")
    (tmp_path / "d.png").write_bytes(b"not a png at all, really not one")
    tifffile.imwrite(
        tmp_path / "e.tif", pixels(4), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    whole = write_ome(tmp_path / "f.tif", pixels(size=(256, 256)))
    whole.write_bytes(whole.read_bytes()[:100_000])
    tifffile.imwrite(tmp_path / "g.tif", np.ones((4, 4), np.complex64))
    Image.new("P", (4, 4)).save(tmp_path / "h.png")
    for name, reason in {
        "a.tif": "an empty file",
        "b.tif": "unreadable",
        "c.jpg": "a file that ends in .jpg",
        "d.png": "no PNG header",
        "e.tif": "one focal plane at one time",
        "f.tif": "cut short|unreadable",
        "g.tif": "complex64",
        "h.png": "bits of colour type 3",
        "none.tif": "not there",
    }.items():
        with pytest.raises(DataError, match=reason):
            load_fluorescence(tmp_path / name)


def test_a_60000_px_png_is_refused_by_its_header(tmp_path):
    import struct

    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
    (tmp_path / "a.png").write_bytes(body + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    with pytest.raises(DataError, match="a PNG of 60000 x 60000 px; expected at most 64 Mpx"):
        load_fluorescence(tmp_path / "a.png")


def test_the_real_qptiff_has_three_named_channels(real):
    path = real / "wsi" / "small_vectra_3ch_GPL-repo.qptiff"
    assert list_channels(path) == ("DAPI", "FITC", "Cy3")
    found = load_fluorescence(path, channels=["DAPI"], region=(500, 400, 256, 256))
    plane = tifffile.imread(path, key=0)[400:656, 500:756]
    assert found.ranges[0].high == pytest.approx(np.percentile(plane, 99.8))
    assert found.mpp == pytest.approx(0.4965, abs=1e-3)


def test_real_dapi_is_bright_in_its_nuclei(real):
    from crafts.controls.masks import load_mask

    paths = sorted((real / "dsb2018_cc0" / "fluo_labels").glob("*.png"))[:4]
    for path in paths:
        nuclei = load_mask(path).classes > 0
        values = load_fluorescence(real / "dsb2018_cc0" / "fluo_images" / path.name).values[0]
        assert values[nuclei].mean() > 3 * values[~nuclei].mean()
    values = load_fluorescence(real / "deepliif" / "Lung1_dapi.png").values
    assert values.shape == (1, 512, 512)
