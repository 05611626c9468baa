"""From slides and a report to two training steps, by the commands that a user types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from crafts import cli
from crafts.data.loader import ShardReader
from painted_slide import paint_slide

REPORT = "FINAL DIAGNOSIS: Left breast, mastectomy: Invasive ductal carcinoma, grade 3. Necrosis."


def crafts(*arguments: str | Path) -> None:
    assert cli.run([str(argument) for argument in arguments]) == 0


def tile_to_training(
    slides: Path, folder: Path, model: Path, size: int, options: Sequence[str | Path] = ()
) -> ShardReader:
    """tile, summarise, caption, pack and two steps; every slide is of the patient of one report."""
    names = sorted(path.name for path in slides.iterdir())
    table = "".join(f"{name},P1\n" for name in names)
    (folder / "patients.csv").write_text(f"slide,patient\n{table}")
    (folder / "reports").mkdir()
    (folder / "reports" / "P1.txt").write_text(REPORT)
    tiles, shards = folder / "tiles", folder / "shards"
    patients = ("--patients", folder / "patients.csv", "--size", str(size))
    crafts("tile", slides, "--output", tiles, *patients, *options)
    crafts("summarise", folder / "reports", "--output", folder / "s.jsonl", "--tokens", "35")
    crafts("caption", tiles, "--output", folder / "pairs", "--summaries", folder / "s.jsonl")
    crafts("pack", folder / "pairs", "--output", shards)
    recipe = {
        "stage": {"kind": "denoiser", "init_from": str(model)},
        "data": {"kind": "shards", "folder": str(shards)},
        "num_steps": 2,
        "global_batch_size": 2,
        "checkpoint_every": 2,
        "device": "cpu",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    crafts("train", folder / "recipe.yaml", "--output", folder / "run")
    assert json.loads((folder / "run" / "model" / "manifest.json").read_text())["stage"]
    assert (shards / "card.html").exists()
    return ShardReader(shards)


def test_a_painted_slide_comes_to_training(tmp_path, tiny_model):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", side=512, seed=1, radius=(0.3, 0.5))
    reader = tile_to_training(slides, tmp_path, tiny_model, 128)
    assert len(reader) >= 4
    for row in reader.rows:
        assert row["patient"] == "P1" and row["mpp"] == 0.5
        assert row["text"].startswith("Invasive ductal carcinoma, left breast.")


def test_the_real_slides_come_to_training(tmp_path, tiny_model, root):
    slides = root.parent / "shared" / "data" / "wsi"
    if not slides.is_dir():
        pytest.skip("the real slides are not beside the repository")
    unknown = ("TCGA-CR-7395-01A-01-TS1.svs", "small_dicom_vlwsi_GPL-repo.dcm")
    lines = "".join(f"{name},0.5\n" for name in unknown)
    (tmp_path / "mpp.csv").write_text(f"slide,mpp\n{lines}")
    reader = tile_to_training(
        slides, tmp_path, tiny_model, 512, ("--mpp-csv", tmp_path / "mpp.csv")
    )
    assert len({row["slide"] for row in reader.rows}) == 4


@pytest.mark.soak
def test_a_slide_of_30000_px_comes_to_training(tmp_path, tiny_model):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", side=30_000, radius=(0.06, 0.12))
    reader = tile_to_training(slides, tmp_path, tiny_model, 512, ("--set", "image_format=jpg"))
    print(f"{len(reader)} tiles of a slide of 30,000 px came to training")
    assert len(reader) > 300
