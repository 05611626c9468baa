"""The order of the sources of mpp, its bounds, and what the refusals say."""

from __future__ import annotations

import pytest

from crafts.core.errors import ConfigError
from crafts.slides.reading.resolution import (
    SlideReadError,
    find_resolution,
    load_overrides,
)

SAYS = [
    ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.2501"}, 0.25),
    ({"dicom.PixelSpacing": "0.0004\\0.0003"}, 0.3),
    ({"ome.PhysicalSizeX": "350", "ome.PhysicalSizeXUnit": "nm"}, 0.35),
    ({"aperio.MPP": "0.4"}, 0.4),
    ({"hamamatsu.XResolution": "22222.2222"}, 0.45),
    ({"openslide.mirax.MPP": "0.55"}, 0.55),
    ({"tiff.XResolution": "16666.667", "tiff.ResolutionUnit": "CENTIMETER"}, 0.6),
]


def test_each_source_outranks_those_after_it():
    properties: dict[str, str] = {}
    for says, mpp in reversed(SAYS):
        properties = {**properties, **says}
        found = find_resolution(properties, "s")
        assert found.x == pytest.approx(mpp, rel=1e-5)
        assert found.source == next(iter(says))
    found = find_resolution(properties, "s", (0.125, "mpp csv"))
    assert (found.x, found.y, found.source) == (0.125, 0.125, "mpp csv")


@pytest.mark.parametrize(("says", "mpp"), SAYS)
def test_each_source_alone(says, mpp):
    assert find_resolution(says, "s").x == pytest.approx(mpp, rel=1e-5)


def test_dicom_names_the_distance_of_rows_first():
    found = find_resolution({"dicom.PixelSpacing": "0.0004\\0.0003"}, "s")
    assert (found.x, found.y) == (pytest.approx(0.3), pytest.approx(0.4))


@pytest.mark.parametrize(
    "says",
    [
        {},
        {"openslide.objective-power": "40"},
        {"openslide.mpp-x": "no"},
        SAYS[-1][0] | {"tiff.ResolutionUnit": "NONE"},
    ],
)
def test_without_a_word_on_mpp_it_is_refused_and_never_guessed(says):
    with pytest.raises(SlideReadError) as error:
        find_resolution(says, "a.svs")
    assert str(error.value) == (
        "a.svs: no microns per pixel in the slide; expected 0.05 to 5, from the csv, the slide or "
        "its TIFF resolution. Write it into a csv with the columns slide,mpp and pass "
        "--mpp-csv FILE."
    )


@pytest.mark.parametrize("mpp", ["0", "0.049", "5.1", "250", "-1"])
def test_an_absurd_value_is_refused(mpp):
    with pytest.raises(SlideReadError, match=r"microns per pixel \(openslide.mpp-x\).*--mpp-csv"):
        find_resolution({"openslide.mpp-x": mpp}, "a.svs")
    assert find_resolution({"openslide.mpp-x": mpp}, "a.svs", (0.5, "mpp csv")).x == 0.5


def test_what_does_not_fit_together_is_noted():
    found = find_resolution({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.26"}, "s")
    assert found.warnings == ("microns per pixel differ by axis: x 0.25, y 0.26",)
    near = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.252"}
    assert find_resolution(near, "s").warnings == ()
    power = near | {"openslide.objective-power": "20"}
    assert "do not fit an objective of 20x" in find_resolution(power, "s").warnings[0]


@pytest.mark.parametrize("column", ["slide", "wsi"])
def test_overrides_are_read_by_the_name_of_a_row(tmp_path, column):
    path = tmp_path / "mpp.csv"
    path.write_text(f"{column},mpp\na.svs,0.25\nb,0.5\n")
    assert load_overrides(path) == {"a.svs": 0.25, "b": 0.5}


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("slide,microns\na,1\n", "columns slide, microns"),
        ("", "columns none"),
        ("slide,mpp\na,40\n", "row 1: mpp '40'"),
        ("slide,mpp\na,x\n", "row 1: mpp 'x'"),
        ("slide,mpp\na,1\na,2\n", "row 2: a second value for 'a'"),
        (b"slide,mpp\n\xff\xfe,1\n", "unreadable"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path, text, came):
    path = tmp_path / "mpp.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=came):
        load_overrides(path)
    with pytest.raises(ConfigError, match="unreadable"):
        load_overrides(tmp_path / "none.csv")
