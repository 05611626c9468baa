"""Histology is told from charts, radiology and photographs; panels are cut; text is seen."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from crafts.data.cleaning.figures import (
    LINE,
    Look,
    count_letters,
    find_panels,
    measure_look,
    picture_fault,
)
from crafts.data.painter import paint_tile


@pytest.fixture(scope="module")
def painted() -> list[np.ndarray]:
    return [paint_tile(seed=3, index=index, size=160).image for index in range(8)]


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


def draw_chart(kind: str) -> np.ndarray:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=80)
    axes = figure.add_subplot()
    if kind == "lines":
        axes.plot([1, 3, 2, 5, 4, 6])
        axes.set_title("Survival")
    elif kind == "bars":
        axes.bar(range(4), [3, 5, 2, 4], color="palevioletred")
    elif kind == "points":
        axes.scatter(range(30), [x * x % 17 for x in range(30)], color="purple")
    elif kind == "map":
        axes.imshow(np.arange(64).reshape(8, 8), cmap="RdPu")
    else:
        axes.axis("off")
        for line in range(9):
            axes.text(0, 1 - line / 9, f"stage {line}: 12 patients, 4 relapses")
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("kind", ["lines", "bars", "points", "map", "table"])
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_charts_are_no_histology(kind, form):
    chart = draw_chart(kind)
    fault = picture_fault(measure_look(as_jpeg(chart) if form == "jpeg" else chart))
    assert fault.startswith("drawn lines")


def test_painted_tissue_is_kept_and_its_grey_or_recoloured_copies_are_not(painted):
    for tile in painted:
        assert picture_fault(measure_look(tile)) == ""
        gray = np.repeat(tile.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        assert picture_fault(measure_look(gray)).startswith("no colour")
        assert picture_fault(measure_look(tile[..., [1, 0, 1]])).startswith("colours of no stain")
        assert picture_fault(measure_look(255 - tile)) != ""
    empty = np.full((64, 64, 3), 240, np.uint8)
    assert picture_fault(measure_look(empty)) == "almost empty"


def test_dark_pictures_are_no_stained_section(painted):
    picture = painted[0].copy()
    picture[:40] //= 12
    assert picture_fault(measure_look(picture)).startswith("dark areas")


def test_radiology_of_a_dicom_library_is_dropped():
    pydicom = pytest.importorskip("pydicom")
    folder = Path(pydicom.__file__).parent / "data/test_files"
    for name in ("CT_small.dcm", "MR_small.dcm"):
        values = pydicom.dcmread(folder / name).pixel_array
        low, high = np.percentile(values, [1, 99])
        gray = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        look = measure_look(np.repeat(gray[..., None], 3, axis=2))
        assert look.colored == 0 and picture_fault(look)


def test_photographs_of_an_image_library_are_mostly_dropped():
    skimage = pytest.importorskip("skimage")
    folder = Path(skimage.__file__).parent / "data"
    names = ("coffee.png", "astronaut.png", "retina.jpg", "hubble_deep_field.jpg")
    faults = []
    for name in names:
        with Image.open(folder / name) as image:
            faults.append(picture_fault(measure_look(np.asarray(image.convert("RGB")))))
    assert all(faults), dict(zip(names, faults, strict=True))


def test_real_tiles_are_kept(shared_data):
    with (shared_data / "files.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["kind"] == "image"]
    sets = ("crc_he7k", "lizard128_NC", "pannuke_NC", "ebhi_polyp", "prostate_gleason_NC")
    kept = []
    for name in sets:
        for row in [row for row in rows if row["set"] == name][:7]:
            with Image.open(shared_data / name / row["file"]) as image:
                pixels = np.asarray(image.convert("RGB"))
            height, width = pixels.shape[:2]
            kept.append(picture_fault(measure_look(pixels)) == "")
            assert find_panels(pixels) == [(0, 0, width, height)]
            assert count_letters(pixels) < LINE
    assert len(kept) == 35 and sum(kept) >= 34


@pytest.mark.parametrize(
    ("look", "fault"),
    [
        (Look(0.1, 0.0, 1.0, 1.0, 0.0, 0.0), ""),
        (Look(0.99, 0.0, 1.0, 1.0, 0.0, 0.0), "almost empty"),
        (Look(0.6, 0.0, 0.9, 0.9, 0.6, 0.4), "drawn"),
        (Look(0.6, 0.0, 0.9, 0.9, 0.6, 0.05), ""),  # empty slide beside tissue
        (Look(0.1, 0.0, 0.05, 1.0, 0.0, 0.0), "no colour"),
        (Look(0.1, 0.2, 0.9, 1.0, 0.0, 0.0), "dark"),
        (Look(0.1, 0.0, 0.9, 0.3, 0.0, 0.0), "colours of no stain"),
    ],
)
def test_each_rule(look, fault):
    assert picture_fault(look).startswith(fault) and bool(picture_fault(look)) == bool(fault)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    gap=st.sampled_from([4, 7, 16]),
    ground=st.sampled_from([255, 0]),
    margin=st.booleans(),
    lossy=st.booleans(),
)
def test_panels_come_in_reading_order(painted, rows, columns, gap, ground, margin, lossy):
    side, edge = 160, 10 if margin else 0
    shape = (rows * (side + gap) - gap + 2 * edge, columns * (side + gap) - gap + 2 * edge, 3)
    sheet = np.full(shape, ground, np.uint8)
    wanted = []
    for index in range(rows * columns):
        top = edge + index // columns * (side + gap)
        left = edge + index % columns * (side + gap)
        # of painted tissue, without the tiles of fat, which are nearly white
        sheet[top : top + side, left : left + side] = painted[(0, 1, 2, 4, 5, 6)[index % 6]]
        wanted.append((left, top, left + side, top + side))
    found = find_panels(as_jpeg(sheet) if lossy else sheet)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= (4 if lossy else 1)


def test_a_ragged_band_of_empty_slide_is_no_gutter(painted):
    tile = np.concatenate([painted[1], painted[1]], axis=0)
    height, width = tile.shape[:2]
    for column in range(width):
        edge = 140 + int(14 * np.sin(column / 9))
        tile[edge : edge + 60, column] = 245
    assert find_panels(tile) == [(0, 0, width, height)]


def test_labels_and_rests_are_no_panels(painted):
    sheet = np.full((160 + 8 + 30, 160, 3), 255, np.uint8)
    sheet[:160] = painted[0]
    sheet[168:] = painted[1][:30]
    assert find_panels(sheet) == [(0, 0, 160, 160)]
    assert find_panels(sheet, min_side=20)[1] == (0, 168, 160, 198)
    small = painted[0][:40, :40]
    assert find_panels(small) == [(0, 0, 40, 40)]  # what is not cut is left to other rules


def font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.__file__).parent / name), size)


@pytest.mark.parametrize("ink", ["black", "white", "yellow", "red"])
@pytest.mark.parametrize("size", [14, 20, 30])
def test_text_over_tissue_is_seen(ink, size):
    image = Image.fromarray(paint_tile(seed=1, index=1, size=320).image)  # stroma
    assert count_letters(np.asarray(image)) < LINE
    ImageDraw.Draw(image).text((12, 120), "Tumor stroma", ink, font(size))
    assert count_letters(np.asarray(image)) >= LINE


def test_a_single_letter_is_no_text(painted):
    image = Image.fromarray(painted[0])
    ImageDraw.Draw(image).text((8, 8), "A", "black", font(24))
    assert count_letters(np.asarray(image)) < LINE
