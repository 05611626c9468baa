"""From slides and a report to two training steps, by the commands that a user types."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from crafts import cli
from crafts.data.loader import ShardReader
from painted_slide import paint_slide

DICOM, QPTIFF = "small_dicom_vlwsi_GPL-repo.dcm", "small_vectra_3ch_GPL-repo.qptiff"
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


def authorities(slides: Path) -> dict[str, Callable[[int, int, int], np.ndarray]]:
    """Slide -> its own library's pixels of level 0, by x, y and edge, as uint8 [edge, edge, 3]."""
    import openslide
    import tifffile
    from pydicom.pixels import pixel_array

    def of_openslide(path: Path) -> Callable[[int, int, int], np.ndarray]:
        slide = openslide.OpenSlide(path)
        return lambda x, y, edge: np.asarray(slide.read_region((x, y), 0, (edge,) * 2))[..., :3]

    def of_array(whole: np.ndarray) -> Callable[[int, int, int], np.ndarray]:
        return lambda x, y, edge: whole[y : y + edge, x : x + edge]

    # 42 frames of 500 px, in columns of six from left to right
    frames = [pixel_array(slides / DICOM, index=index) for index in range(42)]
    columns = [np.concatenate(frames[start : start + 6]) for start in range(0, 42, 6)]
    channels = tifffile.imread(slides / QPTIFF, series=0)
    svs = {path.stem: of_openslide(path) for path in slides.glob("*.svs")}
    return svs | {
        Path(DICOM).stem: of_array(np.concatenate(columns, 1)),
        Path(QPTIFF).stem: of_array(channels.transpose(1, 2, 0)),
    }


@pytest.mark.filterwarnings("ignore")
def test_the_real_slides_come_to_training_with_their_own_pixels(tmp_path, tiny_model, root):
    slides = root.parent / "shared" / "data" / "wsi"
    if not slides.is_dir():
        pytest.skip("the real slides are not beside the repository")
    unknown = ("TCGA-CR-7395-01A-01-TS1.svs", DICOM)
    lines = "".join(f"{name},0.5\n" for name in unknown)
    (tmp_path / "mpp.csv").write_text(f"slide,mpp\n{lines}")
    reader = tile_to_training(
        slides, tmp_path, tiny_model, 512, ("--mpp-csv", tmp_path / "mpp.csv")
    )
    expected = authorities(slides)
    for index, row in enumerate(reader.rows):
        own = expected[row["slide"]](int(row["x"]), int(row["y"]), 512)
        assert int(row["level"]) == 0 and np.array_equal(reader.image(index), own), row["key"]
    number = Counter(row["slide"] for row in reader.rows)
    print(f"tiles whose pixels are those of their slide's own library: {dict(number)}")
    assert number.keys() == expected.keys()


def paint_ruler(path: Path, mpp: float, period: float) -> None:
    """A slide of two levels with lines across (in red) and down (in green), ``period`` µm apart."""
    import tifffile

    side = 4096
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 4):
            places = (np.arange(side // factor) + 0.5) * factor * mpp
            waves = (160 + 60 * np.sin(2 * np.pi * places / period)).astype(np.uint8)
            pixels = np.full((len(places), len(places), 3), 190, np.uint8)
            pixels[..., 0], pixels[..., 1] = waves[None], waves[:, None]
            writer.write(
                pixels,
                tile=(256, 256),
                photometric="rgb",
                subfiletype=int(factor > 1),
                resolution=(10_000 / (mpp * factor),) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def measure_period(values: np.ndarray) -> float:
    """Period of a wave in pixels, from the places where it rises through its mean."""
    values = values - values.mean()
    before = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    rises = before - values[before] / (values[before + 1] - values[before])
    return float(np.polyfit(np.arange(len(rises)), rises, 1)[0])


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.7, 1.0])
def test_a_micron_of_the_slide_is_a_micron_of_the_tile(tmp_path, mpp):
    """The length of a known pattern, measured in the tiles themselves."""
    paint_ruler(tmp_path / "ruler.tif", mpp=0.25, period=20)
    asked = ("--mpp", str(mpp), "--size", "512", "--set", "tissue.method=none")
    off = ("--set", "gates.pen=1", "--set", "gates.blur=0")
    crafts("tile", tmp_path / "ruler.tif", "--output", tmp_path / "tiles", *asked, *off)
    found = []
    for path in (tmp_path / "tiles").glob("tiles/*/*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(float)
        found += [measure_period(pixels[..., c].mean(c)) * mpp for c in (0, 1)]
    print(
        f"{len(found) // 2} tiles at {mpp} µm: lines {min(found):.3f} to {max(found):.3f} µm apart"
    )
    assert found == pytest.approx([20] * len(found), rel=0.01) and found


@pytest.mark.soak
def test_slides_of_30000_px_come_to_training(tmp_path, tiny_model):
    slides = tmp_path / "slides"
    slides.mkdir()
    truth = {
        name: paint_slide(slides / f"{name}.tif", side=30_000, seed=seed, radius=(0.06, 0.12))
        for seed, name in enumerate("ab", 1)
    }
    reader = tile_to_training(slides, tmp_path, tiny_model, 512, ("--set", "image_format=jpg"))
    grid = range(0, 30_000 - 511, 512)
    for name, slide in truth.items():
        kept = {(int(row["x"]), int(row["y"])) for row in reader.rows if row["slide"] == name}
        shares = {(x, y): slide.share(x, y, 512) for x in grid for y in grid}
        recall = sum(shares[place] for place in kept) / sum(shares.values())
        print(f"slide {name} of 30,000 px: {len(kept)} tiles in training, recall {recall:.4f}")
        assert recall >= 0.98
