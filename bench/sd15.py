"""Stable Diffusion 1.5 at its real shapes: train with both losses, kill, resume, sample, open.

    python bench/sd15.py --output runs/bench-sd15 [--steps 200] [--batch 64] [--micro-batch 32]
    python bench/sd15.py --output runs/bench-tiny --tiny   # the same path in minutes on a CPU

Random weights in the shapes of SD-1.5 (U-Net, autoencoder, CLIP ViT-L/14 with a small vocabulary)
go into a folder of its layout; noise with captions and cancer labels goes through ``pack`` and
``encode``; the recipe ``recipes/sd15/finetune.yaml`` trains as a process of its own, is killed
without warning once half of the steps are done, and is started again by the same command; the
result makes a tile, and opens in diffusers. It says nothing about quality. Prints the device, the
steps, images per second and the share of the measured peak, also into ``OUTPUT/bench.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import crafts
from crafts.core.runtime import pick_device
from crafts.model.bundle import Bundle, save_bundle
from crafts.model.codec import KLCodecConfig, build_codec
from crafts.model.config import SD15_DENOISER, SD15_TEXT
from crafts.model.denoiser import DenoiserConfig, build_denoiser
from crafts.model.schedule import ScheduleConfig, build_schedule
from crafts.model.text import TextConditioner, TextConfig, build_text_encoder, train_tokenizer

RECIPE = Path(__file__).parents[1] / "recipes" / "sd15" / "finetune.yaml"
CANCERS = {
    "BRCA": "breast invasive carcinoma, solid nests, high grade, H&E",
    "LUAD": "lung adenocarcinoma, acinar growth, H&E",
    "COAD": "colon adenocarcinoma, glands with dirty necrosis, H&E",
    "KIRC": "kidney renal clear cell carcinoma, clear cytoplasm, fine vessels, H&E",
}


@dataclass(frozen=True)
class Shapes:
    """Widths of the three networks, and the tiles.

    Attributes:
        denoiser: the U-Net.
        codec: the autoencoder.
        text: the text encoder.
        tiles: how many tiles of noise.
    """

    denoiser: DenoiserConfig
    codec: KLCodecConfig
    text: TextConfig
    tiles: int


REAL = Shapes(SD15_DENOISER, KLCodecConfig(), SD15_TEXT, tiles=128)
TINY = Shapes(
    SD15_DENOISER.model_copy(
        update={
            "sample_size": 8,
            "block_out_channels": (16, 32, 32, 32),
            "cross_attention_dim": 16,
            "norm_num_groups": 8,
        }
    ),
    KLCodecConfig(block_out_channels=(8, 8, 16, 16), norm_num_groups=4, sample_size=64),
    TextConfig(width=16, num_layers=2, num_heads=2, intermediate=32),
    tiles=16,
)


def write_model(shapes: Shapes, folder: Path) -> None:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CANCERS.values(), 600, folder.parent / "tokenizer")
    text = TextConditioner(tokenizer, build_text_encoder(shapes.text, tokenizer))
    schedule = build_schedule(ScheduleConfig(prediction_type="epsilon"))
    bundle = Bundle(build_codec(shapes.codec), text, build_denoiser(shapes.denoiser), schedule)
    save_bundle(bundle, folder, card="---\nlicense: other\n---\n# Random weights\n")


def write_latents(shapes: Shapes, work: Path) -> Path:
    """Noise through pack and encode; the content has no part in the speed."""
    size, rng = shapes.codec.sample_size, np.random.default_rng(0)
    (work / "tiles").mkdir()
    with (work / "tiles" / "metadata.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file_name", "text", "label", "patient", "split"])
        for index in range(shapes.tiles):
            code, caption = list(CANCERS.items())[index % len(CANCERS)]
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(work / "tiles" / f"{index}.png", compress_level=0)
            writer.writerow([f"{index}.png", caption, code, f"P{index}", "train"])
    crafts.pack(None, work / "tiles", work / "shards")
    config = {"tile_size": size, "variants": 1}
    crafts.encode(config, work / "shards", work / "latents", model=work / "model")
    return work / "latents"


def command(work: Path, options: argparse.Namespace) -> list[str]:
    """The training command; sizes of the run are all that differs from the recipe."""
    fields = {
        "stage.init_from": work / "model",
        "data.folder": work / "latents",
        "num_steps": options.steps,
        "global_batch_size": options.batch,
        "micro_batch_size": options.micro_batch,
        "optim.warmup_steps": 10,
        "checkpoint_every": max(1, options.steps // 8),
        "keep_checkpoints": 1,  # one is 17 GB at the real shapes
        "validate_every": 0,
        "sample_every": 0,
        "say_every": max(1, options.steps // 20),
        "device": options.device,
    }
    words = [sys.executable, "-m", "crafts.cli", "train", str(RECIPE)]
    words += ["--output", str(work / "run")]
    for name, value in fields.items():
        words += ["--set", f"{name}={value}"]
    return words


def train_and_kill(words: list[str], run: Path, steps: int) -> int:
    """Start the command, kill it once half of the steps are on record; returns the steps done."""
    process = subprocess.Popen(words)
    try:
        while process.poll() is None and last_step(run) < steps // 2:
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return last_step(run)


def read_steps(run: Path) -> list[dict[str, Any]]:
    """Rows of training steps; the last line may have been cut by the kill."""
    return [row for row in read_rows(run / "metrics.jsonl") if "loss" in row]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file of rows."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def last_step(run: Path) -> int:
    """Steps on record."""
    rows = read_steps(run)
    return int(rows[-1]["step"]) + 1 if rows else 0


def sample_and_open(model: Path, device: torch.device, steps: int) -> str:
    """One tile by ours and one by diffusers from the same folder; returns diffusers' class."""
    from diffusers import StableDiffusionPipeline

    loaded = crafts.load(model, device=str(device))
    prompt = CANCERS["LUAD"]
    images = loaded.generate([prompt], preset="paper", num_steps=steps)
    size = loaded.bundle.native_size
    pipeline = StableDiffusionPipeline.from_pretrained(model).to(device)
    theirs = pipeline(prompt, num_inference_steps=steps, height=size, width=size).images
    if not images[0].size == theirs[0].size == (size, size):
        raise SystemExit(f"tiles of {images[0].size} and {theirs[0].size} instead of {size}")
    return type(pipeline).__name__


def report(work: Path, options: argparse.Namespace, killed: int) -> dict[str, Any]:
    """What was measured; the first steps after each start, which allocate, are left out."""
    rows = read_steps(work / "run")
    steps = [int(row["step"]) for row in rows]
    if steps != list(range(options.steps)):
        raise SystemExit(f"{len(steps)} steps on record instead of 0 to {options.steps - 1}")
    for name in ("denoising", "semantic", "category"):
        if not all(np.isfinite(row[name]) for row in rows):
            raise SystemExit(f"the loss {name!r} is not finite throughout")
    speeds = read_rows(work / "run" / "speed.jsonl")
    settled = speeds[-max(1, options.steps // 4) :]
    return {
        "device": describe(pick_device(options.device)),
        "shapes": "tiny" if options.tiny else "SD-1.5",
        "steps": options.steps,
        "killed_after": killed,
        "global_batch_size": options.batch,
        "micro_batch_size": options.micro_batch,
        "images_per_second": statistics.median(row["images_per_second"] for row in settled),
        "share_of_peak": statistics.median(row["share_of_peak"] for row in settled),
        "first_losses": {n: rows[0][n] for n in ("denoising", "semantic", "category")},
        "last_losses": {n: rows[-1][n] for n in ("denoising", "semantic", "category")},
    }


def describe(device: torch.device) -> str:
    """What was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def main() -> None:
    """Make, train, kill, resume, sample, open, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, help="64, or 8 with --tiny")
    parser.add_argument("--micro-batch", type=int, help="half of the batch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="tiny widths, for a rehearsal")
    options = parser.parse_args()
    work, shapes = options.output, TINY if options.tiny else REAL
    options.batch = options.batch or (8 if options.tiny else 64)
    options.micro_batch = options.micro_batch or max(2, options.batch // 2)
    if work.exists():
        raise SystemExit(f"{work} is there already; choose another --output")
    if shapes is REAL and pick_device(options.device).type == "cpu":
        raise SystemExit("the real shapes want a GPU; rehearse with --tiny")
    work.mkdir(parents=True)
    write_model(shapes, work / "model")
    write_latents(shapes, work)
    words = command(work, options)
    killed = train_and_kill(words, work / "run", options.steps)
    if not 0 < killed < options.steps:
        raise SystemExit(f"killed after {killed} of {options.steps} steps; take more --steps")
    subprocess.run(words, check=True)  # the same command goes on from the newest checkpoint
    result = report(work, options, killed)
    steps = 2 if options.tiny else 50
    model = work / "run" / "model"
    result["opens_in"] = sample_and_open(model, pick_device(options.device), steps)
    (work / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(work / "run" / "checkpoints")  # several GB at the real shapes
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
