"""Masks and fluorescence steer images, through the command; what cannot steer is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import crafts
from crafts import cli
from crafts.api import Model
from crafts.conditions.maps import mask_map
from crafts.controls.fluorescence import load_fluorescence
from crafts.controls.layouts import (
    fit_layouts,
    load_statistics,
    save_statistics,
)
from crafts.controls.masks import load_mask, save_mask
from crafts.controls.synthesis.invent import sample_layout
from crafts.core.artifacts import verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError
from crafts.core.runtime import seed_from
from crafts.data.loader import ShardReader
from crafts.generation.export import read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle
from crafts.sampling.draws import Draw
from crafts.sampling.sampler import draw_noise
from fixtures_steering import disc_mask, write_control, write_vivid_model

PROMPT = "colon carcinoma"


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vivid_model(tiny_model, tmp_path_factory.mktemp("vivid") / "model")


@pytest.fixture(scope="module")
def bundle(model: Path) -> Bundle:
    return load_bundle(model)


@pytest.fixture(scope="module")
def work(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ControlNets, two masks, one fluorescence image."""
    work = tmp_path_factory.mktemp("work")
    write_control(model, work / "nuclei")
    write_control(model, work / "fluorescence", "fluorescence", seed=1)
    save_mask(work / "a.png", disc_mask(8, 8))
    save_mask(work / "b.png", disc_mask(20, 22, radius=7))
    values = np.random.default_rng(0).integers(0, 60000, (32, 32)).astype(np.uint16)
    Image.fromarray(values).save(work / "dapi.png")
    return work


def config(model: Path, work: Path, **values: Any) -> GenerateConfig:
    folders = {"nuclei": str(work / "nuclei"), "fluorescence": str(work / "fluorescence")}
    given: dict[str, Any] = {"prompts": (PROMPT,), "model": str(model), "num_steps": 3}
    given |= {"control": (f"nuclei={work / 'a.png'}",), "controls": folders}
    return load_config(GenerateConfig, given | values)


def pixels(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted((folder / "images").glob("*.png"))
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in paths}


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.abs(found[name] - expected[name]).max() <= 2 for name in found)


@pytest.fixture(scope="module")
def finished(model: Path, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with masks of their own, of the command, with weights, and with both kinds."""
    lines = ["id,prompt,nuclei,fluorescence"]
    lines += [f"own,{PROMPT},b.png,", f"common,{PROMPT},,", f'weak,{PROMPT},"a.png@0.5,0-0.7",']
    lines += [f"both,{PROMPT},b.png,dapi.png@0.5", f"late,{PROMPT},,dapi.png"]
    (work / "rows.csv").write_text("\n".join(lines) + "\n")
    output = tmp_path_factory.mktemp("finished") / "out"
    run(config(model, work, prompts=(), num_images=2), work / "rows.csv", output)
    return output


def test_every_image_has_its_mask_beside_it(finished: Path, work: Path) -> None:
    verify(finished)
    rows = metadata(finished)
    assert len(rows) == 10
    for row in rows:
        assert row["mask"] == row["file_name"].replace("images/", "masks/")
        mask = load_mask(finished / row["mask"])
        expected = disc_mask(20, 22, radius=7) if row["id"] in ("own", "both") else disc_mask()
        assert np.array_equal(mask.classes, expected.classes) and mask.num_nuclei == 1
    with Image.open(finished / "grid.png") as grid:
        assert grid.width == 3 * (256 + 10) + 10  # maps before each image


def test_controls_change_the_image_and_the_file_tells_them(finished: Path) -> None:
    images = pixels(finished)
    names = [f"{row}-0.png" for row in ("own", "common", "weak", "both", "late")]
    for place, name in enumerate(names):
        for other in names[:place]:
            assert np.abs(images[name] - images[other]).max() > 3, (name, other)
    told = json.loads(read_provenance(finished / "images/both-0.png").control)
    assert [use["kind"] for use in told] == ["nuclei", "fluorescence"]
    assert told[0]["source"] == "b.png" and told[1]["source"] == "dapi.png"
    assert told[1]["weight"] == 0.5 and told[1]["channels"][0]["high"] > 50000
    assert len({use["network_sha256"] for use in told}) == 2
    inputs = json.loads((finished / "manifest.json").read_text())["inputs"]
    assert {"control-nuclei", "control-fluorescence"} <= set(inputs)
    assert {use["network_sha256"] for use in told} == {
        inputs["control-nuclei"],
        inputs["control-fluorescence"],
    }


@pytest.mark.parametrize("values", [{"batch_size": 1}, {"shard": "2/2"}])
def test_batch_and_shard_change_no_image(
    finished: Path, model: Path, work: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    given = config(model, work, prompts=(), num_images=2, **values)
    run(given, work / "rows.csv", tmp_path / "out")
    found = pixels(tmp_path / "out")
    assert len(found) == (4 if "shard" in values else 10)
    assert_same(found, {name: pixels(finished)[name] for name in found})


def test_what_is_there_is_not_made_again_unless_its_control_changed(
    model: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask, rows = tmp_path / "mask.png", tmp_path / "rows.csv"
    save_mask(mask, disc_mask())
    rows.write_text(f"id,prompt,nuclei\nfree,{PROMPT},\nsteered,{PROMPT},mask.png\n")
    given = config(model, work, prompts=(), control=())
    run(given, rows, tmp_path / "out")
    first = pixels(tmp_path / "out")["steered-0.png"]
    (tmp_path / "out/masks/steered-0.png").unlink()
    (tmp_path / "out/masks/steered-0.json").unlink()
    run(given, rows, tmp_path / "out")
    assert "2 of 2 images are there already" in capsys.readouterr().err
    assert (tmp_path / "out/masks/steered-0.png").exists()
    save_mask(mask, disc_mask(22, 22))
    run(given, rows, tmp_path / "out")
    assert "1 of 2 images are there already" in capsys.readouterr().err
    assert np.abs(pixels(tmp_path / "out")["steered-0.png"] - first).max() > 10
    rows.write_text(f"id,prompt,nuclei\nfree,{PROMPT},\nsteered,{PROMPT},\n")
    run(given, rows, tmp_path / "out")
    assert not (tmp_path / "out/masks").exists() and "mask" not in metadata(tmp_path / "out")[0]


def test_the_output_packs_as_a_labelled_set(finished: Path, tmp_path: Path) -> None:
    crafts.pack(None, finished, tmp_path / "shards")
    reader = ShardReader(tmp_path / "shards")
    found = [reader.mask(index) for index in range(len(reader))]
    assert found and all(mask is not None and mask.classes.any() for mask in found)


@pytest.mark.parametrize(
    ("scale", "control", "stop"), [(1.0, 1.0, 1.0), (2.5, 0.7, 1.0), (2.5, 1.0, 0.6)]
)
def test_images_equal_those_of_diffusers(
    model: Path,
    bundle: Bundle,
    work: Path,
    tmp_path: Path,
    scale: float,
    control: float,
    stop: float,
) -> None:
    from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline

    network = ControlNetModel.from_pretrained(work / "nuclei")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        model, controlnet=network, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    values = torch.from_numpy(mask_map(disc_mask()))[None]
    theirs = pipeline(
        PROMPT, image=values, latents=draw_noise([Draw(PROMPT, seed=3)], (4, 4, 4)),
        num_inference_steps=5, guidance_scale=scale, controlnet_conditioning_scale=control,
        control_guidance_end=stop, height=32, width=32, eta=0.0,
    ).images[0]  # fmt: skip
    wish = f"nuclei={work / 'a.png'}@{control},0-{stop}"
    given = config(
        model, work, control=(wish,), seed=3, preset="paper", num_steps=5,
        guidance_scale=scale,
    )  # fmt: skip
    run(given, None, tmp_path / "out")
    ours = pixels(tmp_path / "out")["000-0.png"]
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 2


def test_python_makes_the_image_of_the_command(
    model: Path, bundle: Bundle, work: Path, tmp_path: Path
) -> None:
    """A path, a mask, labels and a weight; in memory as from files."""
    chosen = {"nuclei": work / "nuclei", "fluorescence": work / "fluorescence"}
    common: dict[str, Any] = {"num_steps": 3, "controls": chosen}
    found = Model(bundle)
    run(config(model, work, control=(f"nuclei={work / 'a.png'}@0.5",)), None, tmp_path / "out")
    expected = pixels(tmp_path / "out")["000-0.png"]
    for image in (work / "a.png", str(work / "a.png"), disc_mask()):
        made = found.generate(PROMPT, control={"nuclei": (image, 0.5)}, **common)
        assert np.abs(np.asarray(made[0]).astype(int) - expected).max() <= 2
    both = (f"nuclei={work / 'a.png'}", f"fluorescence={work / 'dapi.png'}@1,0-0.7")
    run(config(model, work, control=both), None, tmp_path / "both")
    values = load_fluorescence(work / "dapi.png")
    for image in (values, values.values[0]):
        control = {"nuclei": load_mask(work / "a.png"), "fluorescence": (image, 1, 0, 0.7)}
        made = found.generate(PROMPT, control=control, **common)
        assert np.abs(np.asarray(made[0]) - pixels(tmp_path / "both")["000-0.png"]).max() <= 2
    labels = disc_mask().instances
    made = found.generate(PROMPT, control={"nuclei": labels}, **common)
    assert np.abs(np.asarray(made[0]).astype(int) - expected).max() > 3  # other weight, no class


def test_python_refuses_in_a_sentence(bundle: Bundle, work: Path) -> None:
    chosen = {"nuclei": work / "nuclei"}
    with pytest.raises(ConfigError, match="40 x 40 px for an image of 32 x 32 px"):
        generate_images(bundle, PROMPT, control={"nuclei": disc_mask(size=40)}, controls=chosen)
    with pytest.raises(ConfigError, match="controls.fluorescence: a ControlNet of kind 'nuclei'"):
        generate_images(
            bundle,
            PROMPT,
            control={"fluorescence": np.zeros((32, 32))},
            controls={"fluorescence": work / "nuclei"},
        )


@pytest.fixture(scope="module")
def layouts(work: Path) -> Path:
    masks = [disc_mask(y, 16, size=32, radius=3) for y in range(8, 26, 2)]
    save_statistics(work / "layouts.json", {"disc": fit_layouts(masks, "disc")})
    return work / "layouts.json"


def test_each_image_has_invented_nuclei_of_its_own(
    model: Path, work: Path, layouts: Path, tmp_path: Path
) -> None:
    masks = {"layouts": str(layouts)}
    given = {"num_images": 3, "control": ("nuclei=sample:disc@0.9",), "masks": masks}
    run(config(model, work, **given), None, tmp_path / "out")
    rows = metadata(tmp_path / "out")
    found = [load_mask(tmp_path / "out" / row["mask"]) for row in rows]
    statistics = load_statistics(layouts)["disc"]
    for k, mask in enumerate(found):
        seed = seed_from("layout", 0, k)
        expected = sample_layout(statistics, size=(32, 32), seed=seed)
        assert np.array_equal(mask.classes, expected.classes)
    assert len({mask.classes.tobytes() for mask in found}) == 3
    told = json.loads(read_provenance(tmp_path / "out/images/000-2.png").control)
    assert told[0]["source"] == "sample:disc#0-2" and told[0]["weight"] == 0.9
    # by row of a manifest, in another order and batch: the same again
    (tmp_path / "rows.csv").write_text(f"id,prompt,nuclei\n000,{PROMPT},sample:disc@0.9\n")
    other = {"control": (), "prompts": (), "batch_size": 1, "same_noise": True}
    again = config(model, work, **(given | other))
    run(again, tmp_path / "rows.csv", tmp_path / "again")
    assert_same(pixels(tmp_path / "again"), pixels(tmp_path / "out"))
    # what lies there is found again, mask and all
    run(config(model, work, **given), None, tmp_path / "out")
    assert metadata(tmp_path / "out") == rows


def test_an_unknown_tissue_is_refused_with_those_there_are(
    model: Path, work: Path, layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--prompt", PROMPT, "--control", "nuclei=sample:colum"]
    assert cli.run(command(model, work, tmp_path / "out", *more)) == 2
    said = spoken(capsys)
    assert len(said) == 1 and "tissue 'colum'" in said[0] and "colon, " in said[0]
    more += ["--set", f"masks.layouts={layouts}"]
    assert cli.run(command(model, work, tmp_path / "out", *more)) == 2
    assert "expected disc" in spoken(capsys)[0]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def outline(points: list[list[int]]) -> str:
    polygon = {"type": "Polygon", "coordinates": [points]}
    feature = {"type": "Feature", "geometry": polygon, "properties": {}}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def write_bad(folder: Path, name: str) -> Path:
    """A control image that cannot be used."""
    path = folder / name
    pictures = {
        "lost.png": np.arange(1024).reshape(32, 32).astype(np.uint8),  # ids beyond 255
        "photo.png": noise(32, 32, 3),
        "rgb.png": noise(32, 32, 3),
        "constant.png": np.full((32, 32), 7, np.uint16),
        "small.png": noise(16, 16),
    }
    if name in pictures:
        Image.fromarray(pictures[name]).save(path)
    elif name == "size.png":
        save_mask(path, disc_mask(size=40))
    elif name == "huge.png":
        Image.new("1", (60000, 2000)).save(path)
    elif name == "nan.npy":
        np.save(path, np.full((32, 32), np.nan))
    elif name == "nan.tif":
        pytest.importorskip("tifffile").imwrite(path, np.full((32, 32), np.nan, np.float32))
    elif name != "absent.png":
        texts = {"empty.png": "", "text.txt": "no mask", "broken.geojson": outline([[0, 0]])}
        path.write_text(texts[name])
    return path


BAD = [
    ("nuclei", "size.png", "40 x 40 px for an image of 32 x 32 px"),
    ("nuclei", "lost.png", "lost.png"),
    ("nuclei", "empty.png", "an empty file"),
    ("nuclei", "nan.npy", "nan.npy"),
    ("nuclei", "text.txt", "a file that ends in .txt"),
    ("nuclei", "photo.png", "photo.png"),
    ("nuclei", "huge.png", "Mpx"),
    ("nuclei", "broken.geojson", "broken.geojson"),
    ("nuclei", "absent.png", "not there"),
    ("fluorescence", "constant.png", "a constant channel"),
    ("fluorescence", "rgb.png", "channels"),
    ("fluorescence", "nan.tif", "NaN or infinite"),
    ("fluorescence", "small.png", "16 x 16 px; expected 32 x 32 px"),
    ("fluorescence", "absent.png", "absent.png"),
]


def command(model: Path, work: Path, output: Path, *more: str) -> list[str]:
    sets = [f"controls.{kind}={work / kind}" for kind in ("nuclei", "fluorescence")]
    options = [part for value in sets for part in ("--set", value)]
    base = ["--model", str(model), "--num-steps", "2", "--output", str(output)]
    return ["generate", *base, *options, *more]


def spoken(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of the command, without the bars of libraries and without what is said of prompts."""
    lines = capsys.readouterr().err.strip().splitlines()
    others = ("Loading weights", "generate: ")
    return [line for line in lines if not line.startswith(others)]


@pytest.mark.parametrize(("kind", "name", "message"), BAD)
def test_bad_images_are_refused_in_a_sentence(
    model: Path,
    work: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    name: str,
    message: str,
) -> None:
    path = write_bad(tmp_path, name)
    more = ["--prompt", PROMPT, "--control", f"{kind}={path}"]
    if name == "broken.geojson":
        more += ["--set", "masks.frame=[0, 0, 32, 32]"]
    code = cli.run(command(model, work, tmp_path / "out", *more))
    said = spoken(capsys)
    assert code in (2, 3) and len(said) == 1, said
    assert message in said[0] and "expected" in said[0]
    assert not (tmp_path / "out").exists()


def test_bad_rows_are_left_out_and_counted(
    model: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bad(tmp_path, "size.png")
    rows = [("good", work / "a.png"), ("bad", "size.png"), ("worse", f"{work / 'b.png'}@7")]
    lines = [f"{name},{PROMPT},{path}" for name, path in rows]
    (tmp_path / "rows.csv").write_text("\n".join(["id,prompt,nuclei", *lines]) + "\n")
    more = ["--manifest", str(tmp_path / "rows.csv"), "--set", "max_reject_fraction=0.7"]
    assert cli.run(command(model, work, tmp_path / "out", *more)) == 0
    manifest = verify(tmp_path / "out")
    assert manifest.counts == {"listed": 3, "used": 1, "rejected": 2, "images": 1}
    rejects = (tmp_path / "out/rejects.jsonl").read_text()
    assert "40 x 40 px" in rejects and "weight 7" in rejects
    capsys.readouterr()
    assert cli.run(command(model, work, tmp_path / "no", *more[:2])) == 3
    assert "2 of 3 items rejected" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_mask_of_another_size_may_be_brought_to_the_tile(
    model: Path, work: Path, tmp_path: Path
) -> None:
    save_mask(tmp_path / "large.png", disc_mask(16, 16, size=64, radius=10))
    more = ["--prompt", PROMPT, "--control", f"nuclei={tmp_path / 'large.png'}"]
    more += ["--set", "masks.resize=true"]
    assert cli.run(command(model, work, tmp_path / "out", *more)) == 0
    mask = load_mask(tmp_path / "out/masks/000-0.png")
    assert mask.size == (32, 32) and mask.num_nuclei == 1


def test_an_empty_mask_is_a_mask(model: Path, work: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "none.png")
    given = config(model, work, control=(f"nuclei={tmp_path / 'none.png'}",))
    run(given, None, tmp_path / "out")
    assert load_mask(tmp_path / "out/masks/000-0.png").num_nuclei == 0


def test_without_a_controlnet_it_says_which_option_names_one(
    model: Path,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("crafts.conditions.steering.SHIPPED", tmp_path)
    base = ["generate", "--model", str(model), "--output", str(tmp_path / "out")]
    base += ["--prompt", PROMPT, "--control", f"nuclei={work / 'a.png'}"]
    assert cli.run(base) == 2
    said = spoken(capsys)
    assert len(said) == 1 and "Pass --set controls.nuclei=DIR." in said[0]
    wrong = [*base, "--set", f"controls.nuclei={work / 'fluorescence'}"]
    assert cli.run(wrong) == 2
    assert "of kind 'fluorescence'; expected 'nuclei'" in capsys.readouterr().err
    assert cli.run([*base, "--set", f"controls.nuclei={model}"]) == 2
    assert "an artifact of another kind" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_shipped_one_is_taken_where_none_is_named(
    model: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "control-nuclei").symlink_to(work / "nuclei")
    monkeypatch.setattr("crafts.conditions.steering.SHIPPED", tmp_path)
    run(config(model, work, controls={}), None, tmp_path / "out")
    assert len(pixels(tmp_path / "out")) == 1


def test_foreign_files_among_the_masks_are_never_touched(
    model: Path, work: Path, tmp_path: Path
) -> None:
    run(config(model, work), None, tmp_path / "out")
    (tmp_path / "out/masks/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="a file that crafts did not make, among its masks"):
        run(config(model, work), None, tmp_path / "out")
    assert (tmp_path / "out/masks/000-0.png").exists()
