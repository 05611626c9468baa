"""Train the judge of structure: an encoder on grey tiles of real groups that no generator saw.

    python recipes/mini/classifier.py TILES OUTPUT [--cpu-seconds 1200] [--bf16]

TILES holds ``metadata.csv`` (file_name, patient, split, set, organ, label, power, ...) and the
images. The network sees grey tiles at half their size, of one mean, one contrast and one amplitude
spectrum: neither colour nor the sharpness, scale and compression of a set can lead it. It trains
on split=train for a fixed budget and with no selection, split=validation sets the border between
paired classes, and the table printed at the end and written to OUTPUT/heldout.json is of patients
it never saw. 20 minutes of one CPU core; with --cpu-seconds 0 it only sets the borders.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documents use
from numpy.typing import NDArray
from transformers import ResNetConfig, ResNetForImageClassification

from crafts.core.artifacts import finish, write_bytes
from crafts.core.runtime import generator_for, say
from crafts.measures.structure import (
    balanced_accuracy,
    chance_corrected,
    grey_match,
    spectrum_match,
)
from crafts.sets.features import read_image

ORGANS = ("colon", "lung", "kidney", "breast", "bone")
CLASSES = (
    "oral normal low",
    "oral carcinoma low",
    "oral normal high",
    "oral carcinoma high",
    "prostate benign",
    "prostate cancer",
    *ORGANS,
)
TASKS = {
    "oral low": CLASSES[0:2],
    "oral high": CLASSES[2:4],
    "prostate": CLASSES[4:6],
    "organ": ORGANS,
}
# components of a tissue, not views of an organ
COMPONENTS = ("colon fat", "colon lymphoid", "colon mucus", "colon muscle", "colon stroma")
LICENCE = "crafts-mini-research-only"
BATCH, CROP = 64, 112  # pixels of the halved tile
PEAK_RATE = 3e-3

Row = Mapping[str, str]


def class_of(row: Row) -> str | None:
    """The class of a row of ``metadata.csv``, or None when it belongs to no measured task."""
    organ, label = row["organ"].lower(), row["label"].lower()
    if label in COMPONENTS:
        return None
    if "oral" in organ:
        kind = "normal" if "normal" in label else "carcinoma"
        return f"oral {kind} {row['power']}" if row["power"] in ("low", "high") else None
    if (
        "prostate" in organ
    ):  # other sets show prostate cancer only, at high power: the power would tell
        if row["set"] != "prostate_gleason_NC":
            return None
        return "prostate benign" if "benign" in label or "stroma" in label else "prostate cancer"
    return next((name for name in ORGANS if name in organ), None)


def read_rows(tiles: Path, split: str | None = None) -> list[dict[str, str]]:
    """Rows of ``metadata.csv`` that have a class, with it under ``class``."""
    with (tiles / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [{**row, "class": class_of(row) or ""} for row in csv.DictReader(handle)]
    return [row for row in rows if row["class"] and split in (None, row["split"])]


def read_tiles(tiles: Path, rows: Sequence[Row]) -> NDArray[np.uint8]:
    """The tiles of some rows, uint8 [N, H, W, 3]."""
    return np.stack([read_image(tiles / row["file_name"]) for row in rows])


def structure_of(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the judge sees of tiles [N, H, W, 3]: [N, H/2, W/2], see :func:`spectrum_match`."""
    grey = grey_match(tiles)
    count, height, width = grey.shape
    half = grey[:, : height // 2 * 2, : width // 2 * 2]
    half = half.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return spectrum_match(half)


def build_network() -> ResNetForImageClassification:
    """A residual network with BatchNorm of 0.27 M parameters for grey images [B, 1, H, W]."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=32,
        hidden_sizes=[32, 48, 64, 96],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    return ResNetForImageClassification(config)


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


def scramble(crops: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Crops [B, 1, H, W] with the same amplitude spectrum and random phases: nothing to be seen."""
    noise = torch.fft.rfft2(torch.randn(crops.shape, generator=generator))
    spectrum = torch.fft.rfft2(crops).abs() * torch.polar(torch.ones(()), noise.angle())
    return torch.fft.irfft2(spectrum, s=crops.shape[-2:])


def targets(labels: torch.Tensor, num_scrambled: int) -> torch.Tensor:
    """Smoothed class probabilities [B, K]; the first ``num_scrambled`` crops are of no class."""
    wanted = F.one_hot(labels, len(CLASSES)).float() * 0.95 + 0.05 / len(CLASSES)
    wanted[:num_scrambled] = 1 / len(CLASSES)
    return wanted


def train(
    rows: Sequence[Row],
    tiles: NDArray[np.uint8],
    cpu_seconds: float,
    output: Path,
    *,
    scrambled: float = 0.0,
    half: bool = False,
) -> None:
    """Train for a fixed processor time with a cosine schedule and save to ``output``.

    Args:
        rows: with their class.
        tiles: theirs, uint8 [N, H, W, 3].
        cpu_seconds: processor time.
        output: folder of the weights.
        scrambled: share of each batch that is phase-scrambled and must be called no class, so that
            the spectrum alone tells nothing (that of a tile's own directions is still there).
        half: multiply in bfloat16, on processors that do so faster.
    """
    torch.manual_seed(0)
    network = build_network().train()
    chunks = (structure_of(tiles[k : k + 256]) for k in range(0, len(tiles), 256))
    grey = torch.cat([torch.from_numpy(chunk).half() for chunk in chunks])
    labels = torch.tensor([CLASSES.index(row["class"]) for row in rows])
    weights, generator = sampling_weights(rows), generator_for("classifier", 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    num_scrambled = round(scrambled * BATCH)
    begin, said, step, running = time.process_time(), time.monotonic(), 0, 0.0
    while (done := (time.process_time() - begin) / cpu_seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = (
                PEAK_RATE * min(1.0, done / 0.05, 0.5 * (1 + math.cos(math.pi * done))) + 1e-6
            )
        index = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
        crops = augment(grey[index].float(), generator)
        if num_scrambled:
            crops[:num_scrambled] = scramble(crops[:num_scrambled], generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(crops).logits
        loss = F.cross_entropy(logits.float(), targets(labels[index], num_scrambled))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step, running = step + 1, 0.98 * running + 0.02 * float(loss.detach())
        if time.monotonic() - said > 60:
            said = time.monotonic()
            say(f"{done:4.0%} step {step} loss {running / (1 - 0.98**step):.3f}")
    say(f"{step} steps, {step * BATCH} crops")
    save_classifier(network, output)


def calibrate(tiles: Path, folder: Path) -> None:
    """Move the border between the classes of each paired task to where validation patients put it.

    Rare classes are learnt by heart sooner, which leaves the network too sure of frequent ones.
    The middle between the medians of the two classes goes into the last layer's bias; a task of
    which the validation split lacks a class keeps its border.
    """
    rows, network = read_rows(tiles, "validation"), load_classifier(folder)
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
    save_classifier(network, folder)


def save_classifier(network: ResNetForImageClassification, folder: Path) -> None:
    """Write float16 weights and configuration; ``network`` itself keeps its precision."""
    folder.mkdir(parents=True, exist_ok=True)
    half = ResNetForImageClassification(network.config)
    half.load_state_dict(network.state_dict())
    half.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written as 0600, which a package would keep


def load_classifier(folder: Path) -> ResNetForImageClassification:
    """Read it back in float32, ready to judge."""
    return ResNetForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()


def classify(
    network: ResNetForImageClassification, tiles: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Mean log-probabilities [N, K] over the tile and its three flips; tiles uint8 [N, H, W, 3]."""
    out = []
    for start in range(0, len(tiles), 32):
        grey = torch.from_numpy(structure_of(tiles[start : start + 32]))[:, None]
        with torch.inference_mode():
            views = [
                network(grey.flip(dims)).logits.log_softmax(1) for dims in ((), (2,), (3,), (2, 3))
            ]
        out.append(torch.stack(views).mean(0).numpy())
    return np.concatenate(out)


def judge(scores: NDArray[np.float32], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Per task: balanced and chance-corrected accuracy among its classes, and the recall of each.

    Args:
        scores: log-probabilities [N, K] of :func:`classify`.
        classes: what each image shows or was asked to show.

    Returns:
        task -> {"tiles", "accuracy", "corrected", and a recall a class}; a task of which fewer than
        two classes occur is left out.
    """
    names, found = np.asarray(classes), {}
    for task, members in TASKS.items():
        columns = np.array([CLASSES.index(name) for name in members])
        rows = np.flatnonzero(np.isin(names, members))
        truth = np.array([members.index(name) for name in names[rows]], dtype=np.int64)
        if len(np.unique(truth)) < 2:
            continue
        guess = scores[np.ix_(rows, columns)].argmax(axis=1)
        accuracy = balanced_accuracy(truth, guess)
        recall = {members[k]: float((guess[truth == k] == k).mean()) for k in np.unique(truth)}
        corrected = chance_corrected(accuracy, len(recall))
        found[task] = {"tiles": len(rows), "accuracy": accuracy, "corrected": corrected, **recall}
    return found


def report(tiles: Path, output: Path) -> None:
    """Judge the held-out patients, print the table and write ``heldout.json``."""
    rows = read_rows(tiles, "heldout")
    classes = [row["class"] for row in rows]
    scores = classify(load_classifier(output), read_tiles(tiles, rows))
    guess = scores.argmax(axis=1)
    truth = np.array([CLASSES.index(name) for name in classes])
    print(
        "| class | patients | tiles | recall among all | recall within its task |\n"
        + "|---" * 5
        + "|"
    )
    tasks = judge(scores, classes)
    within = {name: value for task in tasks.values() for name, value in task.items()}
    for index, name in enumerate(CLASSES):
        mine = truth == index
        if mine.any():
            patients = len({row["patient"] for row in rows if row["class"] == name})
            recall = (guess[mine] == index).mean()
            print(
                f"| {name} | {patients} | {mine.sum()} | {recall:.2f} "
                f"| {within.get(name, math.nan):.2f} |"
            )
    overall = balanced_accuracy(truth, guess)
    print(f"\nbalanced accuracy among all {len(CLASSES)} classes: {overall:.3f}")
    for task, values in tasks.items():
        print(
            f"{task}: balanced {values['accuracy']:.3f}, chance-corrected {values['corrected']:.3f}"
        )
    result = {"balanced_accuracy": overall, "tasks": tasks}
    write_bytes(output / "heldout.json", json.dumps(result, indent=1).encode())


def main() -> None:
    """Train, save and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cpu-seconds", type=float, default=1200)
    parser.add_argument("--scrambled", type=float, default=0.0, help="share of crops of no class")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cpu_seconds > 0:
        rows = read_rows(options.tiles, "train")
        say(f"{len(rows)} training tiles: {dict(Counter(row['class'] for row in rows))}")
        tiles = read_tiles(options.tiles, rows)
        train(
            rows,
            tiles,
            options.cpu_seconds,
            options.output,
            scrambled=options.scrambled,
            half=options.bf16,
        )
    calibrate(options.tiles, options.output)
    report(options.tiles, options.output)
    settings = {
        "cpu_seconds": options.cpu_seconds,
        "scrambled": options.scrambled,
        "bf16": options.bf16,
    }
    finish(options.output, stage="classifier", config=settings, extra={"licence": LICENCE})


if __name__ == "__main__":
    main()
