"""Training steps per second beside a plain diffusers training step on the same weights and latents.

    python bench/training.py [--model mini] [--batch 8] [--steps 12] [--rounds 3]

Ours is the real command on a real latents folder: data order, captions, noise, loss, clipping,
AdamW, moving average, metrics. Theirs is the step of diffusers' text-to-image example: a DataLoader
over the same latents in memory, captions through the text encoder, ``DDPMScheduler.add_noise``,
mean squared error, clipping, AdamW, ``EMAModel``. Both run in turn in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import mse_loss

import crafts
from crafts.model.bundle import resolve_model

CAPTIONS = ["Colon adenocarcinoma, H&E.", "Benign lung tissue, H&E.", "Breast carcinoma, H&E."]
WARM = 3
"""Steps at the start of each run that are not timed: allocation, choice of kernels, counting."""


def write_latents(work: Path, model: crafts.Model, name: str, count: int = 24) -> Path:
    """Noise tiles through pack and encode; the content has no part in the speed."""
    size = model.bundle.native_size
    rng = np.random.default_rng(0)
    (work / "tiles").mkdir()
    lines = ["file_name,text,split"]
    for index in range(count):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(work / "tiles" / f"{index}.png", compress_level=0)
        lines.append(f'{index}.png,"{CAPTIONS[index % len(CAPTIONS)]}",train')
    (work / "tiles" / "metadata.csv").write_text("\n".join(lines) + "\n")
    crafts.pack(None, work / "tiles", work / "shards")
    config = {"tile_size": size, "variants": 1}
    crafts.encode(config, work / "shards", work / "latents", model=name)
    return work / "latents"


def time_ours(name: str, latents: Path, output: Path, batch: int, steps: int) -> float:
    """Median seconds a step of ``crafts train``, from its own speed.jsonl."""
    recipe = {
        "stage": {"kind": "denoiser", "init_from": name, "min_snr_gamma": None},
        "data": {"kind": "latents", "folder": str(latents)},
        "num_steps": steps + WARM,
        "global_batch_size": batch,
        "checkpoint_every": steps + WARM,
        "say_every": steps + WARM,
    }
    crafts.train(recipe, output)
    rows = [json.loads(line) for line in (output / "speed.jsonl").read_text().splitlines()]
    smooth = [batch / row["images_per_second"] for row in rows]
    # on record is a running mean, m_k = 0.9 m_(k-1) + 0.1 s_k; s_k is what we want
    single = [(now - 0.9 * before) / 0.1 for before, now in pairwise(smooth)]
    return statistics.median(single[WARM - 1 :])


def time_theirs(folder: Path, latents: Path, batch: int, steps: int) -> float:
    """Median seconds a step of a plain loop over diffusers' classes."""
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from diffusers.training_utils import EMAModel

    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unet, text = pipeline.unet.to(device).train(), pipeline.text_encoder.to(device)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
    ema = EMAModel(unet.parameters(), decay=0.999)
    clean = torch.from_numpy(np.load(latents / "mean.npy")[:, 0].astype(np.float32))
    loader = torch.utils.data.DataLoader(
        clean.repeat(8, 1, 1, 1), batch, shuffle=True, drop_last=True
    )
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(batch)]
    durations: list[float] = []
    while len(durations) < steps + WARM:
        for x0 in loader:
            started = time.perf_counter()
            _plain_step(x0.to(device), captions, pipeline, unet, text, scheduler, optimizer)
            ema.step(unet.parameters())
            if device.type == "cuda":
                torch.cuda.synchronize()
            durations.append(time.perf_counter() - started)
            if len(durations) == steps + WARM:
                break
    return statistics.median(durations[WARM:])


def _plain_step(
    x0: torch.Tensor,
    captions: list[str],
    pipeline: Any,
    unet: Any,
    text: Any,
    scheduler: Any,
    optimizer: torch.optim.Optimizer,
) -> None:
    ids = pipeline.tokenizer(
        captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        tokens = text(ids.to(x0.device))[0]
    noise = torch.randn_like(x0)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x0),), device=x0.device)
    prediction = unet(scheduler.add_noise(x0, noise, t), t, encoder_hidden_states=tokens).sample
    velocity = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(x0, noise, t) if velocity else noise
    mse_loss(prediction, target).backward()
    torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    folder = resolve_model(options.model)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        latents = write_latents(work, crafts.load(options.model), options.model)
        for index in range(options.rounds):
            a = time_ours(
                options.model, latents, work / f"run-{index}", options.batch, options.steps
            )
            b = time_theirs(folder, latents, options.batch, options.steps)
            rows.append((1 / a, 1 / b, b / a))
    mine, other, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"training, batch {options.batch}, {options.steps} timed steps a round")
    print(f"  crafts     {mine:8.3f} steps/s")
    print(f"  diffusers  {other:8.3f} steps/s")
    print(f"  ratio      {ratio:8.3f} (crafts / diffusers, median of {options.rounds} rounds)")


if __name__ == "__main__":
    main()
