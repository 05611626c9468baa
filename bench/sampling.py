"""Images per second beside diffusers' own pipeline on the same weights, solver, steps and batch.

    python bench/sampling.py [--model mini] [--batch 4] [--steps 20] [--rounds 5]

Both are timed in turn in one process, and the median of the rounds' ratios is printed, so that a
machine that is busy with other things disturbs both alike. Beside the clock's stands the ratio of
CPU time, which neighbours disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import crafts
from crafts.model.bundle import resolve_model

PROMPTS = [
    "Colon adenocarcinoma, H&E.",
    "Benign colonic mucosa, H&E.",
    "Lung squamous cell carcinoma, H&E.",
    "Breast carcinoma, high power view, H&E.",
]
GUIDANCE = 2.5


def build_pipeline(folder: str, device: torch.device) -> Any:
    """Diffusers' own pipeline with the solver that our preset names."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    config = pipeline.scheduler.config
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="linspace"
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Duration of one call, the device's queue included, and its CPU time."""
    started, used = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    model = crafts.load(options.model)
    device = next(model.bundle.denoiser.parameters()).device
    pipeline = build_pipeline(str(resolve_model(options.model)), device)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(options.batch)]

    def ours() -> None:
        model.generate(
            prompts, num_steps=options.steps, guidance_scale=GUIDANCE, batch_size=options.batch
        )

    def theirs() -> None:
        pipeline(prompts, num_inference_steps=options.steps, guidance_scale=GUIDANCE)

    ours(), theirs()  # the first calls allocate and choose kernels
    rows = []
    for _ in range(options.rounds):
        (a, cpu_a), (b, cpu_b) = seconds(ours), seconds(theirs)
        rows.append((options.batch / a, options.batch / b, b / a, cpu_a, cpu_b, cpu_b / cpu_a))
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    mine, other, ratio, *cpu = medians
    print(f"sampling, {device}, batch {options.batch}, {options.steps} steps, guidance {GUIDANCE}")
    print(f"  crafts     {mine:8.3f} images/s")
    print(f"  diffusers  {other:8.3f} images/s")
    print(f"  ratio      {ratio:8.3f} (crafts / diffusers, median of {options.rounds} rounds)")
    print(f"  CPU time   {cpu[2]:8.3f} ({cpu[0]:.2f} and {cpu[1]:.2f} s a batch)")


if __name__ == "__main__":
    main()
