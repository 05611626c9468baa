"""What two sets must not share, read from their tables alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.data.collection import (
    Collection,
    group_of,
    refuse_same_images,
    refuse_shared_groups,
)


def collect(folder: Path, column: str, values: list[str]) -> Collection:
    folder.mkdir()
    rows = [f"file_name,{column}", *(f"{k}.png,{value}" for k, value in enumerate(values))]
    for number in range(len(values)):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return Collection(folder)


def test_groups_are_patients_or_what_comes_next(tmp_path):
    assert collect(tmp_path / "a", "patient", ["p", "", "q"]).groups() == ["p", "", "q"]
    assert collect(tmp_path / "b", "slide", ["s", "t"]).groups() == ["s", "t"]
    assert group_of({"case": "c", "patient": "p", "slide": "s"}) == "p"
    assert group_of({"patient": "unknown", "case": 7}) == "7"
    assert group_of({"set": "x"}) == ""


def test_shared_patients_are_refused_where_all_are_named(tmp_path):
    train = collect(tmp_path / "train", "patient", ["p", "q"])
    refuse_shared_groups("evaluate", collect(tmp_path / "a", "patient", ["r", "s"]), train)
    refuse_shared_groups("evaluate", collect(tmp_path / "b", "patient", ["p", ""]), train)
    shared = collect(tmp_path / "c", "patient", ["r", "q", "p"])
    with pytest.raises(DataError, match="^evaluate: 2 patients in both, the first is 'p'"):
        refuse_shared_groups("evaluate", shared, train)


def test_one_folder_may_serve_twice_with_other_splits_only(tmp_path):
    places = {"--real": (tmp_path, "heldout"), "--train": (tmp_path, "train")}
    refuse_same_images("audit", places)
    places["--train"] = (tmp_path / "." / "x" / "..", "heldout")
    with pytest.raises(ConfigError, match="audit: the same images for two of --real, --train"):
        refuse_same_images("audit", places)
