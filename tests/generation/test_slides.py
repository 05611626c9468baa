"""Pictures beyond one tile, from prompts to files that other programs open."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import openslide
import pytest
import tifffile
import torch
from PIL import Image

from crafts.core.artifacts import verify
from crafts.core.errors import ConfigError, RetryError
from crafts.generation.export import read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import load_bundle
from crafts.sampling.draws import Draw, encode_draws
from crafts.sampling.network import network_denoiser
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import build_denoise, build_scheduler, decode_pixels
from crafts.sampling.sampler import sample as integrate
from crafts.sampling.windows import BAND, noise_band
from crafts.slides.config import TileConfig
from crafts.slides.tile import run as tile
from killed_runs import finish_after_kills
from reference.canvas import average

PROMPT = "colon, carcinoma"
WIDTH, HEIGHT = 64, 552


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return replace(load_bundle(tiny_model), mpp=0.5)


def config(tiny_model, **values):
    given = {"prompts": (PROMPT,), "model": str(tiny_model), "num_steps": 2, "batch_size": 8}
    return GenerateConfig(**given | {"size": f"{WIDTH}x{HEIGHT}"} | values)


def pixels_of(path):
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def finished(tiny_model, bundle, tmp_path_factory):
    output = tmp_path_factory.mktemp("slide") / "out"
    return output, run(config(tiny_model), None, output, bundle=bundle)


def test_the_folder_holds_what_was_promised(finished):
    output, manifest = finished
    assert manifest == verify(output)
    assert sorted(manifest.files) == [
        *("grid.png", "labels/classes.json", "labels/classes.tiff", "metadata.csv", "preview.png"),
        *("prompts.geojson", "provenance.json", "rejects.jsonl", "slide.tiff"),
    ]
    assert not (output / ".work").exists()
    assert manifest.extra["images"][0]["file"] == "slide.tiff"
    digest = hashlib.sha256((output / "slide.tiff").read_bytes()).hexdigest()
    assert manifest.extra["images"][0]["sha256"] == digest
    row = (output / "metadata.csv").read_text().splitlines()[1]
    assert row.startswith('slide.tiff,"colon, carcinoma",000,0,0')


def test_the_slide_says_what_it_is(finished, bundle):
    output, _ = finished
    with openslide.OpenSlide(output / "slide.tiff") as slide:
        assert slide.level_dimensions == ((64, 552), (32, 276), (16, 138))
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
    with tifffile.TiffFile(output / "slide.tiff") as file:
        told = json.loads(file.pages[0].description)
        packet = bytes(file.pages[0].tags[700].value).decode()
    assert (told["synthetic"], told["prompt"], told["seed"]) == ("true", PROMPT, "0")
    assert told["model_sha256"] == bundle.fingerprint and "trainedAlgorithmicMedia" in packet
    preview = read_provenance(output / "preview.png")
    assert (preview.prompt, preview.mpp) == (PROMPT, 0.5)
    with tifffile.TiffFile(output / "labels/classes.tiff") as file:
        assert np.array_equal(np.unique(file.asarray()), [1])
    assert json.loads((output / "labels/classes.json").read_text())["1"]["prompt"] == PROMPT


def test_the_slide_is_the_canvas_in_one_piece(finished, bundle):
    """One sampler over all latents and one pass of the decoder, within 2 of 255."""
    preset = Preset("dpm++", 2, 2.5)
    told = encode_draws(bundle.text, [Draw(PROMPT, guidance_scale=2.5)])
    scheduler = build_scheduler(bundle.schedule.config, preset)
    order = {int(t): i for i, t in enumerate(scheduler.timesteps)}
    network, (h, w) = network_denoiser(bundle.denoiser), (HEIGHT // 8, WIDTH // 8)
    bands = [noise_band((0, 0), n, (4, min(BAND, h - n * BAND), w)) for n in range(3)]

    def denoise(x_t, t):
        def predict(window, prompt):
            bound = build_denoise(network, told, preset, scheduler.timesteps, x_t.device)
            return bound(window, t)

        shifts = [int(order[int(t)] * r % 1 * 2) for r in (0.7548776662466927, 0.5698402909980532)]
        return average(predict, x_t[0], edge=4, overlap=2, shifts=shifts)[None]

    latents = integrate(denoise, torch.cat(bands, dim=1)[None], scheduler)
    whole = decode_pixels(bundle.codec, latents)[0].astype(int)
    found = pixels_of(finished[0] / "slide.tiff")
    assert whole.std() > 5
    assert np.abs(found - whole).max() <= 2


def test_two_runs_are_byte_identical(finished, tiny_model, bundle, tmp_path):
    run(config(tiny_model), None, tmp_path / "again", bundle=bundle)
    assert contents(tmp_path / "again") == contents(finished[0])


def test_a_finished_slide_is_not_made_again(finished, tiny_model, bundle):
    before = (finished[0] / "slide.tiff").stat().st_mtime_ns
    run(config(tiny_model), None, finished[0], bundle=bundle)
    assert (finished[0] / "slide.tiff").stat().st_mtime_ns == before


class Dying:
    """A codec on a machine that goes down at a decode."""

    def __init__(self, codec, lives):
        self.codec, self.lives = codec, lives

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def decode(self, latents):
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        return self.codec.decode(latents)


@pytest.mark.parametrize("lives", [0, 1])
def test_an_interrupted_canvas_goes_on_at_its_band(
    finished, tiny_model, bundle, tmp_path, lives, capsys
):
    dying = replace(bundle, codec=Dying(bundle.codec, lives))
    with pytest.raises(KeyboardInterrupt):
        run(config(tiny_model), None, tmp_path / "out", bundle=dying)
    run(config(tiny_model), None, tmp_path / "out", bundle=bundle)
    assert f"goes on at band {2 + lives} of 3" in capsys.readouterr().err
    assert contents(tmp_path / "out") == contents(finished[0])


def test_a_state_of_another_request_is_not_gone_on_with(finished, tiny_model, bundle, tmp_path):
    dying = replace(bundle, codec=Dying(bundle.codec, 1))
    with pytest.raises(KeyboardInterrupt):
        run(config(tiny_model, seed=1), None, tmp_path / "out", bundle=dying)
    run(config(tiny_model), None, tmp_path / "out", bundle=bundle)
    assert contents(tmp_path / "out") == contents(finished[0])


def test_regions_get_their_prompts(finished, tiny_model, bundle, tmp_path):
    ring = [[0, 0], [64, 0], [64, 150], [0, 150], [0, 0]]
    region = {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"prompt": "benign lung", "classification": {"name": "Lung"}},
    }
    (tmp_path / "map.geojson").write_text(json.dumps([region]))
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"id": "a", "prompt": PROMPT, "prompt_map": "map.geojson", "num_images": 2})
    )
    output = tmp_path / "out"
    given = config(tiny_model, prompts=(), manifest=tmp_path / "rows.jsonl", same_noise=True)
    manifest = run(given, None, output, bundle=bundle)
    folder = output / "slides/a-0"
    assert {path.name for path in folder.iterdir()} == {
        *("labels", "preview.png", "prompts.geojson", "provenance.json", "slide.tiff"),
    }
    assert manifest.counts["images"] == 2
    told = json.loads((folder / "provenance.json").read_text())
    assert told["prompt"] == f"{PROMPT}\nbenign lung"
    with tifffile.TiffFile(folder / "labels/classes.tiff") as file:
        classes = file.asarray()
    assert (classes[:150] == 2).all() and (classes[150:] == 1).all()
    own = pixels_of(finished[0] / "slide.tiff").astype(int)
    change = np.abs(pixels_of(folder / "slide.tiff") - own).max((1, 2))
    # two steps carry what a prompt does by two windows at most
    assert change[:100].min() > 0 and change[150 + 32 + 2 * 32 + 64 :].max() == 0


@pytest.mark.parametrize(
    ("kind", "name"), [("tiff", "slide.tiff"), ("ome-tiff", "slide.ome.tiff"), ("dicom", "dicom")]
)
def test_slides_are_read_back_by_tile(finished, tiny_model, bundle, tmp_path, kind, name):
    run(config(tiny_model, format=kind), None, tmp_path / "out", bundle=bundle)
    (tmp_path / "slides").mkdir()
    (tmp_path / "out" / name).rename(tmp_path / "slides" / name)
    options = {"size": 64, "num_workers": 1, "tissue": {"method": "none"}}
    gates = {"gates": {"blank": 1, "flat": 0, "pen": 1, "blur": 0, "fold": 1}}
    tile(TileConfig(**options, **gates), tmp_path / "slides", tmp_path / "cut")
    found = sorted((tmp_path / "cut").rglob("*.png"))
    assert len(found) == 8  # at the 0.5 microns per pixel that the files name
    tiles = np.concatenate([np.asarray(Image.open(path).convert("RGB")) for path in found])
    assert np.array_equal(tiles, pixels_of(finished[0] / "slide.tiff")[:512])


def test_a_png_is_written_on_request(finished, tiny_model, bundle, tmp_path):
    run(config(tiny_model, format="png"), None, tmp_path / "out", bundle=bundle)
    with Image.open(tmp_path / "out/slide.png") as image:
        assert np.array_equal(np.asarray(image), pixels_of(finished[0] / "slide.tiff"))
    assert read_provenance(tmp_path / "out/slide.png").prompt == PROMPT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": "68"}, "--size: 68; expected 32, the tile of this model, or more each way"),
        ({"size": "16x64"}, "multiples of 8. Ask for 32x64."),
        ({"size": "64", "control": ("nuclei=sample:colon",)}, "--control for slides"),
        ({"size": "16384x16384", "format": "png"}, "--format png: 16384x16384 pixels"),
        ({"size": "64", "format": "dicom"}, "a model that does not know its microns per pixel"),
        ({"size": "32", "format": "ome-tiff"}, "--format ome-tiff for tiles"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(tiny_model, bundle, tmp_path, values, message):
    with pytest.raises(ConfigError) as caught:
        run(config(tiny_model, **values), None, tmp_path / "out", bundle=replace(bundle, mpp=None))
    assert message in str(caught.value)
    assert not (tmp_path / "out" / "slide.tiff").exists()


def test_rows_of_no_use_are_left_out(tiny_model, bundle, tmp_path):
    rows = [("good", "64x32"), ("odd", "65"), ("word", "large"), ("map", "64")]
    text = "".join(
        f"{name},{PROMPT.replace(',', '')},{size},{'gone.png' if name == 'map' else ''}\n"
        for name, size in rows
    )
    (tmp_path / "rows.csv").write_text(f"id,prompt,size,prompt_map\n{text}")
    given = config(
        tiny_model, prompts=(), manifest=tmp_path / "rows.csv", size=None, max_reject_fraction=0.8
    )
    manifest = run(given, None, tmp_path / "out", bundle=bundle)
    assert manifest.counts == {"listed": 4, "used": 1, "rejected": 3, "images": 1}
    reasons = (tmp_path / "out/rejects.jsonl").read_text()
    assert all(part in reasons for part in ("Ask for 72x72", "neither PX nor WxH", "gone.png"))


def test_tiles_and_slides_do_not_mix(tiny_model, bundle, tmp_path):
    (tmp_path / "rows.csv").write_text(f"id,prompt,size\na,{PROMPT[:5]},\nb,lung,64\n")
    given = config(tiny_model, prompts=(), manifest=tmp_path / "rows.csv", size=None)
    with pytest.raises(ConfigError, match="1 slides among 2 rows"):
        run(given, None, tmp_path / "out", bundle=bundle)


def test_finished_pictures_are_not_lost(finished, tiny_model, bundle, tmp_path):
    for values in ({"seed": 5}, {"size": "32"}):
        with pytest.raises(ConfigError, match="1 finished pictures, none of which"):
            run(config(tiny_model, **values), None, finished[0], bundle=bundle)
    run(config(tiny_model, size=None), None, tmp_path / "tiles", bundle=bundle)
    with pytest.raises(ConfigError, match="1 finished pictures"):
        run(config(tiny_model), None, tmp_path / "tiles", bundle=bundle)


def test_slides_that_are_no_longer_asked_for_go(tiny_model, bundle, tmp_path):
    def make(*prompts, output="out", **values):
        values |= {"prompts": prompts, "size": "32x64", "num_steps": 1}
        manifest = run(config(tiny_model, **values), None, tmp_path / output, bundle=bundle)
        return sorted(path for path in manifest.files if "slide." in path)

    assert make("colon", "lung") == ["slides/000-0/slide.tiff", "slides/001-0/slide.tiff"]
    assert make("colon", num_images=2) == ["slides/000-0/slide.tiff", "slides/000-1/slide.tiff"]
    assert make("colon", format="ome-tiff") == ["slide.ome.tiff"]
    assert not list((tmp_path / "out/slides").iterdir())
    # shards are put together later, so that no file of one may have the name of another's
    assert make("colon", "lung", shard="1/2", output="part") == ["slides/000-0/slide.tiff"]


def test_a_disk_that_is_too_small_is_told_before_the_work(tiny_model, bundle, tmp_path):
    with pytest.raises(RetryError, match="GiB of free space for 4000000x4000000"):
        run(config(tiny_model, size="4000000"), None, tmp_path / "out", bundle=bundle)


def test_a_missing_package_is_told_before_the_work(tiny_model, bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)  # as if it were not installed
    with pytest.raises(
        ConfigError, match=r'no package tifffile; .* pip install "crafts\[slides\]"'
    ):
        run(config(tiny_model), None, tmp_path / "out", bundle=bundle)


def test_pictures_in_memory_are_tiles(bundle):
    with pytest.raises(ConfigError, match="64, beyond one tile, for pictures in memory"):
        generate_images(bundle, PROMPT, size=64)


@pytest.mark.soak
def test_kills_change_no_byte(tiny_model, tmp_path):
    """Ten kills -9 at random moments of a strip."""
    command = [sys.executable, "-m", "crafts.cli", "generate", "--prompt", PROMPT]
    command += ["--model", str(tiny_model), "--size", "64x2048", "--num-steps", "3"]

    def start(output):
        return subprocess.Popen(
            [*command, "--output", str(output)], stderr=subprocess.PIPE, text=True
        )

    finish_after_kills(start, tmp_path / "whole", tmp_path / "killed", kills=10, seed=0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
