"""The judge of structure, trained on real groups that no generator saw.

It trains on the split ``train`` for a fixed budget and with no selection; ``validation`` sets the
border between paired classes, and what is written down is of held-out patients it never saw.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documents use
from numpy.typing import NDArray

from crafts.core.artifacts import finish, write_bytes
from crafts.core.markdown import table
from crafts.core.runtime import generator_for, say
from crafts.measures.structure import balanced_accuracy
from crafts.model.vision.structure_judge import (
    CLASSES,
    TASKS,
    WEIGHTS,
    build_structure_judge,
    classify,
    load_structure_judge,
    save_structure_judge,
    structure_of,
)
from crafts.workflows.releasing.licence import LICENCE
from crafts.workflows.scorecards.classes import Row, read_rows, read_tiles
from crafts.workflows.scorecards.judges import judge_structure

BATCH, CROP = 64, 112  # pixels of the halved tile
PEAK_RATE = 3e-3


def release_structure_judge(
    tiles: Path, output: Path = WEIGHTS, cpu_seconds: float = 1200, half: bool = False
) -> str:
    """Train, set the borders, judge held-out patients; 20 minutes of one CPU core.

    Args:
        tiles: ``metadata.csv`` with splits, and images.
        output: gets weights, ``heldout.json`` and a manifest.
        cpu_seconds: of training; 0 only sets the borders of the weights in ``output``.
        half: multiply in bfloat16, on processors that do so faster.

    Returns:
        The table of the held-out patients.
    """
    torch.set_num_threads(1)
    if cpu_seconds > 0:
        rows = read_rows(tiles, "train")
        say(f"{len(rows)} training tiles: {dict(Counter(row['class'] for row in rows))}")
        train(rows, read_tiles(tiles, rows), output, cpu_seconds=cpu_seconds, half=half)
    calibrate(tiles, output)
    text = _judge_heldout(tiles, output)
    settings = {"cpu_seconds": cpu_seconds, "bf16": half}
    finish(output, stage="classifier", config=settings, extra={"licence": LICENCE})
    return text


def sampling_weights(rows: Sequence[Row]) -> torch.Tensor:
    """Classes equally often; within a class a patient counts with the root of its tiles."""
    tiles_of = Counter((row["class"], row["patient"]) for row in rows)
    weights = [tiles_of[row["class"], row["patient"]] ** -0.5 for row in rows]
    totals: Counter[str] = Counter()
    for row, weight in zip(rows, weights, strict=True):
        totals[row["class"]] += weight
    return torch.tensor([w / totals[row["class"]] for row, w in zip(rows, weights, strict=True)])


def augment(grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Crops [B, 1, CROP, CROP] of standardised grey tiles [B, H, W].

    Dihedral turns, a zoom of 0.85 to 1.2, contrast, and a blur and noise that hide how sharp and
    how compressed a set's files are, so that shapes must tell the classes apart.
    """
    count, side = grey.shape[0], grey.shape[1]

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    half = draw(0.85, 1.2, count) * CROP / side
    turns = torch.randint(0, 4, (count,), generator=generator) * (math.pi / 2)
    flip = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1
    cos, sin = turns.cos().round(), turns.sin().round()
    shift = draw(-1, 1, 2, count) * (1 - half)
    theta = torch.stack(
        [half * cos * flip, -half * sin, shift[0], half * sin * flip, half * cos, shift[1]], dim=1
    ).view(count, 2, 3)
    grid = F.affine_grid(theta, [count, 1, CROP, CROP], align_corners=False)
    crops = F.grid_sample(grey[:, None], grid, padding_mode="reflection", align_corners=False)
    crops = crops * draw(0.8, 1.25, count, 1, 1, 1) + draw(-0.2, 0.2, count, 1, 1, 1)
    sigma = float(draw(0.0, 1.6, 1))
    if sigma > 0.4:
        reach = torch.arange(-4, 5).float()
        kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
        kernel = kernel / kernel.sum()
        crops = F.conv2d(F.pad(crops, (4, 4, 4, 4), mode="reflect"), kernel.view(1, 1, 1, -1))
        crops = F.conv2d(crops, kernel.view(1, 1, -1, 1))
    return crops + 0.1 * draw(0, 1, 1) * torch.randn(crops.shape, generator=generator)


def train(
    rows: Sequence[Row],
    tiles: NDArray[np.uint8],
    output: Path,
    *,
    cpu_seconds: float,
    half: bool = False,
) -> None:
    """Train for a fixed processor time with a cosine schedule and save to ``output``.

    Args:
        rows: with their class.
        tiles: theirs, uint8 [N, H, W, 3].
        output: folder of the weights.
        cpu_seconds: processor time.
        half: multiply in bfloat16.
    """
    torch.manual_seed(0)
    network = build_structure_judge().train()
    chunks = (structure_of(tiles[k : k + 256]) for k in range(0, len(tiles), 256))
    grey = torch.cat([torch.from_numpy(chunk).half() for chunk in chunks])
    labels = torch.tensor([CLASSES.index(row["class"]) for row in rows])
    weights, generator = sampling_weights(rows), generator_for("classifier", 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    begin, last_line, step, running = time.process_time(), time.monotonic(), 0, 0.0
    while (done := (time.process_time() - begin) / cpu_seconds) < 1:
        warm = min(1.0, done / 0.05, 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm + 1e-6
        index = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
        crops = augment(grey[index].float(), generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(crops).logits
        loss = F.cross_entropy(logits.float(), labels[index], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step, running = step + 1, 0.98 * running + 0.02 * float(loss.detach())
        if time.monotonic() - last_line > 60:
            last_line = time.monotonic()
            say(f"{done:4.0%} step {step} loss {running / (1 - 0.98**step):.3f}")
    say(f"{step} steps, {step * BATCH} crops")
    save_structure_judge(network, output)


def calibrate(tiles: Path, folder: Path) -> None:
    """Move the border between the classes of each paired task to where validation patients put it.

    Rare classes are learnt by heart sooner, which leaves the network too sure of frequent ones.
    The middle between the medians of the two classes goes into the last layer's bias; a task of
    which the validation split lacks a class keeps its border.
    """
    rows, network = read_rows(tiles, "validation"), load_structure_judge(folder)
    if not rows:
        return
    scores, names = classify(network, read_tiles(tiles, rows)), np.array([r["class"] for r in rows])
    bias = network.classifier[-1].bias
    for members in TASKS.values():
        mine = np.isin(names, members)
        if len(members) != 2 or len(set(names[mine])) != 2:
            continue
        first, second = (CLASSES.index(name) for name in members)
        gap = scores[:, second] - scores[:, first]
        border = float(np.mean([np.median(gap[names == name]) for name in members]))
        with torch.no_grad():
            bias[first] += border / 2
            bias[second] -= border / 2
        say(f"{members[0]} | {members[1]}: border moved by {border:+.2f}")
    save_structure_judge(network, folder)


def _judge_heldout(tiles: Path, output: Path) -> str:
    """Judge the held-out patients and write ``heldout.json``."""
    rows = read_rows(tiles, "heldout")
    scores = classify(load_structure_judge(output), read_tiles(tiles, rows))
    guess, truth = scores.argmax(axis=1), np.array([CLASSES.index(row["class"]) for row in rows])
    tasks = judge_structure(scores, [row["class"] for row in rows])
    within = {name: value for task in tasks.values() for name, value in task.items()}
    overall = balanced_accuracy(truth, guess)
    result = {"balanced_accuracy": overall, "tasks": tasks}
    write_bytes(output / "heldout.json", json.dumps(result, indent=1).encode())
    cells = [
        [
            name,
            len({row["patient"] for row in rows if row["class"] == name}),
            (truth == index).sum(),
            f"{(guess[truth == index] == index).mean():.2f}",
            f"{within.get(name, math.nan):.2f}",
        ]
        for index, name in enumerate(CLASSES)
        if (truth == index).any()
    ]
    titles = ["class", "patients", "tiles", "recall among all", "recall within its task"]
    lines = [*table(titles, cells), ""]
    lines += [f"balanced accuracy among all {len(CLASSES)} classes: {overall:.3f}"]
    lines += [f"{task}, chance-corrected: {one['corrected']:.3f}" for task, one in tasks.items()]
    return "\n".join(lines)
