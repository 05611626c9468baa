"""Nuclei of a region are edited, those beside it are not, and only what changed is made anew."""

import json

import numpy as np
import pytest
from PIL import Image

from crafts import cli
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.core.errors import ConfigError
from crafts.generation.export import read_provenance
from crafts.generation.nuclei_edits import edit_picture, parse_edit
from fixtures_steering import disc_mask, write_control

LYMPHOCYTE = CLASSES.index("lymphocyte")


def field(size=96):
    """Nine round nuclei in three rows."""
    classes = np.zeros((size, size), np.uint8)
    instances = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for number in range(9):
        row, column = 16 + 32 * (number // 3), 16 + 32 * (number % 3)
        inside = (y - row) ** 2 + (x - column) ** 2 <= 36
        classes[inside], instances[inside] = 1, number + 1
    return NucleiMask(classes, instances)


def edited(text, region=None, mask=None):
    mask = field() if mask is None else mask
    image = np.zeros((*mask.classes.shape, 3), np.uint8)
    return edit_picture(
        image, parse_edit(text), region=region, mask=mask, segment=lambda _: mask, seed=1
    )


def region_of(rows):
    region = np.zeros((96, 96), bool)
    region[rows] = True
    return region


def number_of(mask):
    return len(np.unique(mask.instances)) - 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("more_lymphocytes=1", 12),
        ("change_density=2", 12),
        ("larger_nuclei=2", 9),
        ("remove=1", 6),
        ("remove=1:epithelial", 6),
        ("change_density=0", 6),
    ],
)
def test_an_edit_of_a_region_leaves_the_nuclei_beside_it(text, number):
    before, top = field(), region_of(slice(0, 32))
    after, changed = edited(text, top)
    assert number_of(after) == number
    assert np.array_equal(after.classes[32:], before.classes[32:])
    assert np.array_equal(after.instances[32:] > 0, before.instances[32:] > 0)
    assert changed[(after.classes > 0) != (before.classes > 0)].all()
    assert not changed[40:].any()
    assert changed.mean() < 0.35


def test_lymphocytes_come_and_larger_nuclei_are_larger():
    after, _ = edited("more_lymphocytes=0.5")
    assert (after.classes == LYMPHOCYTE).any()
    larger, _ = edited("larger_nuclei=2")
    grown = (larger.instances > 0).sum() / (field().instances > 0).sum()
    assert grown == pytest.approx(2, rel=0.1)


def test_a_nucleus_belongs_to_the_region_with_most_of_its_pixels():
    with pytest.raises(ConfigError, match="changes none"):
        edited("remove=1", region_of(slice(0, 15)))  # less than half of the first row
    assert number_of(edited("remove=1", region_of(slice(0, 18)))[0]) == 6


@pytest.mark.parametrize(
    "text", ["", "more_lymphocytes", "paint=1", "remove=a", "larger_nuclei=2:epithelial"]
)
def test_an_edit_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="edit_nuclei"):
        parse_edit(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("larger_nuclei=9", "larger_nuclei"),
        ("remove=0", "edit_nuclei"),
        ("remove=1:ghost", "remove"),
        ("remove=1:plasma", "edit_nuclei"),
    ],
)
def test_an_edit_that_changes_nothing_or_too_much_is_refused(text, where):
    with pytest.raises(ConfigError) as refused:
        edited(text)
    assert where in refused.value.where


def test_one_command_takes_a_picture_and_its_mask_to_edited_nuclei(tiny_model, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "tile.png")
    save_mask(tmp_path / "nuclei.png", disc_mask(10, 10))
    control = write_control(tiny_model, tmp_path / "control")
    code = cli.run(
        [
            *("generate", "--prompt", "colon", "--model", str(tiny_model), "--num-steps", "2"),
            *("--inpaint", str(tmp_path / "tile.png"), "--edit-nuclei", "remove=1"),
            *("--control", f"nuclei={tmp_path / 'nuclei.png'}", "--feather", "2"),
            *("--set", f"controls.nuclei={control}", "--output", str(tmp_path / "out")),
        ]
    )
    assert code == 0
    made = np.asarray(Image.open(tmp_path / "out/images/000-0.png"))
    touched = (made != image).any(2)
    assert touched[10, 10]
    assert not touched[22:].any()
    assert not load_mask(tmp_path / "out/masks/000-0.png").classes.any()
    told = read_provenance(tmp_path / "out/images/000-0.png")
    assert json.loads(told.edit)["source"] == "tile.png"
    assert "remove=1" in told.control


@pytest.mark.parametrize(
    ("options", "came"),
    [
        (["--edit-nuclei", "remove=1"], "no picture"),
        (["--inpaint", "tile.png", "--edit-nuclei", "grow=1"], "'grow=1'"),
        (
            ["--inpaint", "tile.png", "--edit-nuclei", "remove=1"]
            + ["--control", "nuclei=sample:colon"],
            "invented nuclei",
        ),
    ],
)
def test_what_cannot_be_edited_is_refused(tiny_model, tmp_path, monkeypatch, capsys, options, came):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("tile.png")
    code = cli.run(
        ["generate", "--prompt", "colon", "--model", str(tiny_model), *options, "--output", "out"]
    )
    assert code == 2
    assert came in capsys.readouterr().err
