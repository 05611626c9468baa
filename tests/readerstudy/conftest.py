"""Small studies over painted tiles: real ones as JPEG files, generated ones never compressed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from crafts.core.tables import csv_row_writer
from crafts.data.painter import paint_tile
from crafts.readerstudy import prepare, simulate
from crafts.readerstudy.config import PrepareConfig, Readers, SimulateConfig


def write_tiles(folder: Path, *, seed: int, number: int, quality: int | None, size: int = 48):
    """An imagefolder of painted tiles, each of a patient of its own."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(number):
        tile = paint_tile(seed=seed, index=index, size=size)
        name = f"images/{index:03d}.{'jpg' if quality else 'png'}"
        options = {"quality": quality, "subsampling": 2} if quality else {}
        Image.fromarray(tile.image).save(folder / name, **options)
        label, patient = tile.fields["label"], f"patient-{index}"
        site = "north" if index % 3 else "south"
        rows.append(
            {"file_name": name, "text": tile.caption, "label": label, "patient": patient}
            | {"site": site}
        )
    with (folder / "metadata.csv").open("w", newline="") as handle:
        csv_row_writer(handle, list(rows[0])).writerows(rows)
    return folder


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    """Folders of real and of generated tiles; both are painted by the same hand."""
    folder = tmp_path_factory.mktemp("tiles")
    real = write_tiles(folder / "real", seed=1, number=40, quality=70)
    return real, write_tiles(folder / "generated", seed=2, number=40, quality=None)


@pytest.fixture(scope="session")
def study(tiles, tmp_path_factory):
    """A prepared study of three readers and 24 items a class."""
    output = tmp_path_factory.mktemp("study") / "study"
    config = PrepareConfig(
        real=tiles[0], generated=tiles[1], readers=3, per_class=24, repeats=0.2, seed=4
    )
    prepare.run(config, None, output)
    return output


@pytest.fixture(scope="session")
def readings(study, tmp_path_factory):
    """Readings of simulated readers: the first always says synthetic, the second does not look."""
    output = tmp_path_factory.mktemp("readings") / "readings"
    who = Readers(d_prime=1.5, one_answer=1, hasty=1)
    simulate.run(SimulateConfig(study=study, readers=who), None, output)
    return output
