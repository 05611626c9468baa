"""Beyond the feather no bit changes: whatever the mask, and however often."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import crafts
from crafts import cli
from crafts.core.artifacts import load_manifest, verify
from crafts.core.errors import ConfigError, DataError
from crafts.generation.export import read_provenance
from crafts.generation.generate import run
from crafts.generation.pairs import changed
from crafts.generation.request import GenerateConfig
from crafts.imaging.sources import feathered

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tiny_model):
    return crafts.load(tiny_model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture and masks of it."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(IMAGE).save(folder / "tile.png")
    Image.fromarray(IMAGE[:32, :32]).save(folder / "small.png")
    mask = np.zeros(IMAGE.shape[:2], np.uint8)
    Image.fromarray(mask).save(folder / "empty.png")
    mask[12:20, 30:41] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask[:32, :32]).save(folder / "other.png")
    return folder


def edited(model, image, mask, **options):
    found = model.generate("colon", inpaint=image, mask=mask, num_steps=1, **options)
    return np.asarray(found[0])


masks = st.builds(
    lambda top, left, height, width, holes: (top, left, height, width, holes),
    st.integers(0, 47),
    st.integers(0, 63),
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 2**32 - 1),
)


def random_mask(drawn):
    """A rectangle of any place and size, the half of them full of holes."""
    top, left, height, width, holes = drawn
    mask = np.zeros((48, 64), bool)
    mask[top : top + height, left : left + width] = True
    if holes % 2:
        mask &= np.random.default_rng(holes).random(mask.shape) < 0.5
        mask[top, left] = True
    return mask


def check_untouched(model, drawn, feather):
    mask = random_mask(drawn)
    found = edited(model, IMAGE, mask, feather=feather, guidance_scale=1)
    outside = feathered(mask, feather) == 0
    assert np.array_equal(found[outside], IMAGE[outside])
    assert not np.array_equal(found[mask], IMAGE[mask])


@settings(max_examples=100)
@given(masks, st.integers(0, 4))
def test_no_bit_changes_outside_the_feather(model, drawn, feather):
    check_untouched(model, drawn, feather)


@pytest.mark.soak
@settings(max_examples=1000)
@given(masks, st.integers(0, 4))
def test_no_bit_changes_outside_the_feather_in_a_thousand_masks(model, drawn, feather):
    check_untouched(model, drawn, feather)


def test_twenty_edits_in_a_row_leave_the_rest_as_it_was(model):
    draws, image = np.random.default_rng(5), IMAGE
    touched = np.zeros(IMAGE.shape[:2], bool)
    for number in range(20):
        mask = random_mask((*draws.integers(0, 30, 2), 9, 7, number))
        touched |= feathered(mask, 3) > 0
        image = edited(model, image, mask, feather=3, seed=number)
    assert touched.mean() < 0.9
    assert np.array_equal(image[~touched], IMAGE[~touched])


def test_a_full_mask_of_one_tile_and_one_pixel_work(model):
    tile = IMAGE[:32, :32]
    whole = edited(model, tile, np.ones((32, 32), bool))
    assert (whole != tile).mean() > 0.9
    pixel = np.zeros((32, 32), bool)
    pixel[31, 0] = True
    assert ((edited(model, tile, pixel, feather=0) != tile).any(2) <= pixel).all()


def test_a_picture_is_the_same_from_memory_and_on_disk(model, tiny_model, folder, tmp_path):
    """Paths, Pillow images and arrays, and the command line, give the same picture."""
    paths = edited(model, folder / "tile.png", str(folder / "mask.png"))
    in_memory = edited(
        model, Image.open(folder / "tile.png"), np.asarray(Image.open(folder / "mask.png")) > 0
    )
    assert np.array_equal(paths, in_memory)
    code = cli.run(
        [
            *("generate", "--prompt", "colon", "--inpaint", str(folder / "tile.png")),
            *("--mask", str(folder / "mask.png"), "--num-steps", "1"),
            *("--model", str(tiny_model), "--output", str(tmp_path / "out")),
        ]
    )
    assert code == 0
    made = tmp_path / "out/images/000-0.png"
    assert np.array_equal(np.asarray(Image.open(made)), paths)
    told = json.loads(read_provenance(made).edit)
    assert told["source"] == "tile.png"
    mask = np.asarray(Image.open(folder / "mask.png")) > 0
    assert told["pixels_made"] == (feathered(mask, 8) > 0).sum()
    assert {"source_sha256", "mask_sha256", "feather", "strength"} <= set(told)


@pytest.mark.parametrize(
    ("options", "came"),
    [
        (["--inpaint", "tile.png"], "a picture and nothing that is to change"),
        (["--mask", "mask.png"], "a mask and no picture"),
        (["--inpaint", "tile.png", "--mask", "empty.png"], "no pixel that is marked"),
        (["--inpaint", "tile.png", "--mask", "other.png"], "32 x 32 px"),
        (["--inpaint", "none.png", "--mask", "mask.png"], "none.png"),
        (["--inpaint", "tile.png", "--counterfactual", "lung"], "64 px across"),
        (["--inpaint", "tile.png", "--mask", "mask.png", "--size", "64"], "beyond one tile"),
        (["--inpaint", "tile.png", "--mask", "mask.png", "--strength", "0"], "strength"),
        (["--counterfactual", " "], "empty prompt"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_a_sentence(
    tiny_model, folder, tmp_path, capsys, monkeypatch, options, came
):
    monkeypatch.chdir(folder)
    output = tmp_path / "out"
    code = cli.run(
        ["generate", "--prompt", "colon", "--model", str(tiny_model), *options]
        + ["--output", str(output)]
    )
    said = capsys.readouterr().err
    assert code in (2, 3)
    assert came in said
    assert "Traceback" not in said
    assert not (output / "manifest.json").exists()


@pytest.mark.parametrize(
    ("image", "came"),
    [
        (np.zeros((32, 32, 3)), "of shape"),
        (np.zeros((2, 2, 2, 2), np.uint8), "of shape"),
        (Image.new("RGBA", (32, 32)), "RGBA"),
    ],
)
def test_pixels_of_another_kind_are_refused(model, image, came):
    with pytest.raises(ConfigError, match=came):
        edited(model, image, np.ones((32, 32), bool))


def test_rows_name_pictures_of_their_own_and_a_bad_one_costs_its_row(model, folder, tiny_model):
    rows = [
        ("a", "tile.png", "mask.png", ""),
        ("b", "tile.png", "empty.png", ""),
        ("c", "small.png", "", "lung"),
        ("d", "", "", "lung"),
        ("e", "", "", ""),
    ]
    with (folder / "prompts.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "prompt", "inpaint", "inpaint_mask", "counterfactual"])
        writer.writerows([name, "colon", *rest] for name, *rest in rows)
    config = GenerateConfig(
        manifest=folder / "prompts.csv", model=str(tiny_model), num_steps=2, batch_size=2
    )
    output = folder / "out"
    manifest = run(config, None, output)
    assert manifest.counts == {"listed": 5, "used": 4, "rejected": 1, "images": 4}
    assert verify(output) == manifest == load_manifest(output)
    with (output / "metadata.csv").open(newline="") as handle:
        table = {row["id"]: row for row in csv.DictReader(handle)}
    assert [table[name]["text"] for name in "acde"] == ["colon", "lung", "lung", "colon"]
    assert [bool(table[name]["before"]) for name in "acde"] == [False, True, True, False]
    for name in "cd":
        before, after, marks = (
            np.asarray(Image.open(output / table[name][column]))
            for column in ("before", "file_name", "changed")
        )
        assert np.array_equal(marks > 0, changed(before, after))
    assert np.array_equal(
        np.asarray(Image.open(output / "before/c-0.png")),
        np.asarray(Image.open(folder / "small.png")),
    )
    assert read_provenance(output / "before/d-0.png").prompt == "colon"
    with pytest.raises(DataError, match="provenance"):  # a given picture is not called synthetic
        read_provenance(output / "before/c-0.png")
    again = run(config, None, output)  # all of it is there
    assert again == manifest


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
def test_a_counterfactual_of_the_same_text_is_the_same_picture(model, given, strength):
    options = {"seed": 3, "num_steps": 4}
    picture = IMAGE[:32, :32] if given else None
    same = model.generate(
        "colon", counterfactual="colon", inpaint=picture, strength=strength, **options
    )
    other = model.generate(
        "colon", counterfactual="lung carcinoma", inpaint=picture, strength=strength, **options
    )
    before = picture if given else np.asarray(model.generate("colon", **options)[0])
    assert np.abs(np.asarray(same[0]).astype(int) - before).mean() <= 1
    assert not np.array_equal(np.asarray(other[0]), before)


def test_a_counterfactual_with_a_mask_leaves_the_rest(model):
    mask = random_mask((10, 20, 8, 8, 0))
    found = edited(model, IMAGE, mask, counterfactual="lung", feather=2)
    outside = feathered(mask, 2) == 0
    assert np.array_equal(found[outside], IMAGE[outside])


def test_the_mask_of_what_changed_ignores_grain_and_sees_a_nucleus():
    draws = np.random.default_rng(1)
    before = np.full((64, 64, 3), 180, np.uint8)
    grain = (before + draws.integers(-8, 9, before.shape)).astype(np.uint8)
    assert not changed(before, grain).any()
    grain[20:30, 40:50] = (90, 60, 140)
    marks = changed(before, grain)
    assert marks[22:28, 42:48].all()
    assert not marks[:14].any()
