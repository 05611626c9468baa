"""Names of channels and files that were cut short, on files that tifffile wrote."""

from __future__ import annotations

import numpy as np
import pytest

from crafts.imaging.tiffs import channel_names, numbered, require_whole

tifffile = pytest.importorskip("tifffile")


def test_names_of_ome_and_of_qptiff_and_numbers_where_none_are(tmp_path):
    planes = np.zeros((3, 32, 32), np.uint16)
    names = ["DAPI", "CD3", "CD8"]
    tifffile.imwrite(
        tmp_path / "a.ome.tif", planes, metadata={"axes": "CYX", "Channel": {"Name": names}}
    )
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert channel_names(file, 3) == names
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        for name, plane in zip(names, planes, strict=True):
            writer.write(plane, description=f"<Q><Name>{name}</Name></Q>", metadata=None)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert channel_names(file, 3) == names
    tifffile.imwrite(tmp_path / "c.tif", planes, metadata=None)
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        assert channel_names(file, 3) == []
    assert numbered([], 2) == numbered(["one"], 2) == ["channel 0", "channel 1"]


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 9, (64, 64), np.uint16))
    with tifffile.TiffFile(path) as file:
        require_whole(file.series[0], path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 100])
        with pytest.raises(ValueError, match="pixels are missing"):
            require_whole(file.series[0], path)
