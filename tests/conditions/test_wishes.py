"""What steers: texts of the command line, and things that Python holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crafts.conditions.wishes import (
    ControlInput,
    Invented,
    parse_given,
    parse_input,
    parse_options,
)
from crafts.controls.fluorescence import Fluorescence
from crafts.controls.nuclei import UNKNOWN, NucleiMask
from crafts.core.errors import ConfigError
from fixtures_steering import disc_mask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m.png", ("m.png", 1.0, 0.0, 1.0)),
        ("m.png@0.8", ("m.png", 0.8, 0.0, 1.0)),
        (" a/m@2x.png@1,.2-0.7", ("a/m@2x.png", 1.0, 0.2, 0.7)),
        ("m@2x.png", ("m@2x.png", 1.0, 0.0, 1.0)),
        ("/abs/m.png@0", ("/abs/m.png", 0.0, 0.0, 1.0)),
    ],
)
def test_weight_and_shares_follow_the_file(text: str, expected: tuple[Any, ...]) -> None:
    path, *rest = expected
    where = Path(path) if path.startswith("/") else Path("base") / path
    assert parse_input("nuclei", text, Path("base")) == ControlInput("nuclei", where, *rest)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("depth=a.png", "--control depth=a.png: kind 'depth'; expected KIND=IMAGE"),
        ("a.png", "--control a.png: no '='; expected KIND=IMAGE"),
        ("nuclei=", "names no file"),
        ("nuclei=a.png@9", "weight 9; 0 .off. to 4 are allowed"),
        ("nuclei=a.png@1,0.8-0.2", "acts from 0.8 to 0.2"),
        ("nuclei=a.png@1,0-7", "acts from 0 to 7"),
        ("nuclei=a.png@", "'@', which is no weight"),
        ("nuclei=a.png@half", "'@half', which is no weight"),
        ("nuclei=a.png@-1", "'@-1', which is no weight"),
        ("nuclei=a.png@0-0.5", "'@0-0.5', which is no weight"),
        ("nuclei=a.png@0.8,0.7", "'@0.8,0.7', which is no weight"),
        ("nuclei=a@2x.png@1, 0-0.5", "'@1, 0-0.5', which is no weight"),
        ("nuclei=sample:colon@x", "'@x', which is no weight"),
    ],
)
def test_wrong_options_are_refused(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options([option])
    with pytest.raises(ConfigError, match="a second image of one kind"):
        parse_options(["nuclei=a.png", "nuclei=b.png"])


def test_a_file_that_is_there_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "m.png@x").touch()
    assert parse_input("nuclei", "m.png@x", tmp_path).image == tmp_path / "m.png@x"


def test_a_tissue_stands_in_place_of_a_file() -> None:
    found = parse_input("nuclei", "sample:colon@0.8,0-0.7", Path("base"))
    assert found == ControlInput("nuclei", Invented("colon"), 0.8, 0.0, 0.7)
    with pytest.raises(ValueError, match="fluorescence cannot be invented"):
        parse_input("fluorescence", "sample:colon", Path())


def test_python_gives_images_in_many_forms() -> None:
    mask, labels = disc_mask(), disc_mask().instances
    assert labels is not None
    assert parse_given({"nuclei": mask})["nuclei"].image is mask
    assert parse_given({"nuclei": "m.png@0.5"})["nuclei"] == parse_input(
        "nuclei", "m.png@0.5", Path()
    )
    assert parse_given({"nuclei": (Path("m.png"), 2, 0.1, 0.9)}) == {
        "nuclei": ControlInput("nuclei", Path("m.png"), 2.0, 0.1, 0.9)
    }
    found = parse_given({"nuclei": (labels.astype(np.int64), 0.5)})["nuclei"]
    assert isinstance(found.image, NucleiMask) and found.weight == 0.5
    assert np.array_equal(found.image.classes, np.where(labels > 0, UNKNOWN, 0))
    values = np.linspace(0, 1, 1024).reshape(32, 32)
    image = parse_given({"fluorescence": values})["fluorescence"].image
    assert isinstance(image, Fluorescence) and image.values.shape == (1, 32, 32)
    assert np.allclose(image.values[0], values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": "a.png"}, "an unknown kind; expected nuclei, fluorescence"),
        ({"nuclei": 3}, "a int; expected an image"),
        ({"nuclei": ("a.png", 9)}, "weight 9"),
        ({"nuclei": ("a.png", "much")}, "could not convert"),
        ({"nuclei": ("a.png", 1, 0.5, 0.5)}, "acts from 0.5 to 0.5"),
        ({"nuclei": ()}, "a tuple; expected an image"),
        ({"nuclei": ("a.png", 1, 0, 1, 2)}, "5 values; expected an image"),
        ("a.png", "generate: control: a str; expected kinds .nuclei, fluorescence."),
        ({"nuclei": np.zeros((2, 4, 4))}, "shape .2, 4, 4."),
        ({"nuclei": np.zeros((0, 4))}, "shape .0, 4."),
        ({"nuclei": np.full((4, 4), 0.5)}, "numbers with fractions; expected an image"),
        ({"nuclei": -np.ones((4, 4), int)}, "labels -1 to -1"),
        ({"fluorescence": disc_mask()}, "a NucleiMask"),
        ({"fluorescence": np.full((4, 4), 200, np.uint8)}, "values from 200 to 200, not in"),
        ({"fluorescence": np.full((4, 4), np.nan)}, "16 pixels NaN"),
        ({"fluorescence": np.zeros((4, 4, 4))}, "values of shape .4, 4, 4."),
    ],
)
def test_what_is_no_control_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_given(given)
