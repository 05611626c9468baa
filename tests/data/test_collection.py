"""What stands for the patient, read from tables alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from crafts.data.collection import Collection, group_of


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
