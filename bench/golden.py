"""Does a change of the code leave what the commands write as it was?

    python bench/golden.py write      # before the change: bench/golden.json
    python bench/golden.py check      # after it: every file and figure beside what was written

A small chain through the command line on painted tissue: pack, summarise, encode, train (four
stages), generate (text, negative prompt, manifest, shard, nuclei), evaluate, audit, tile. Tables
are compared byte by byte; manifests, metrics and audits value by value, without hashes, sizes and
versions, figures within 1e-4 of their size; pictures by their mean on a grid of 4 x 4, within 2 of
255. Write and check on the same kind of processor: histories of training are compared to the bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_suffix(".json")
RELATIVE, GREY = 1e-4, 2.0
SMALL = [
    "--set", "stage.denoiser.block_out_channels=[16,16,16]",
    "--set", "stage.denoiser.sample_size=8",
    "--set", "data.count=16", "--set", "data.size=64", "--set", "global_batch_size=4",
    "--set", "checkpoint_every=2", "--set", "validate_every=3", "--set", "sample_every=100",
]  # fmt: skip
VOLATILE = {"sha256", "versions", "size", "bytes", "seconds", "fingerprint", "self", "inputs",
            "model", "samples_per_second", "package", "cpu"}  # fmt: skip
"""Keys whose values follow from others, or from the machine."""

CLOCKS = {"speed.jsonl"}
TEXTS = {".json", ".csv", ".jsonl", ".txt", ".yaml", ".md"}
FIGURES = {"metrics.json", "audit.json", "manifest.json"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("write", "check"))
    parser.add_argument("--keep", type=Path, help="folder to work in, kept afterwards")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.path.insert(0, str(ROOT / "src"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        for arguments in commands():
            run(folder, arguments)
        found = describe(folder / "out")
    if options.verb == "write":
        rows = (f"{json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in found)
        GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
        print(f"{len(found)} files described in {GOLDEN.name}")
        return
    wrong = compare(json.loads(GOLDEN.read_text(encoding="utf-8")), found)
    print("\n".join(wrong) or f"all {len(found)} files as they were")
    sys.exit(1 if wrong else 0)


def prepare(folder: Path) -> None:
    """Painted tiles, reports, prompts and a slide, all functions of seeds."""
    from crafts.data.painter import paint_tiles

    for name, seed in (("train", 1), ("real", 2), ("generated", 3)):
        paint_tiles(folder / name, count=48, size=64, seed=seed)
    (folder / "reports.csv").write_text(REPORTS, encoding="utf-8")
    (folder / "prompts.csv").write_text(PROMPTS, encoding="utf-8")
    (folder / "mpp.csv").write_text("slide,mpp\npainted,0.5\n", encoding="utf-8")
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(recipe + COMMON, encoding="utf-8")
    grid = [np.asarray(Image.open(p)) for p in sorted((folder / "train").rglob("*.png"))[:36]]
    rows = [np.concatenate(grid[at : at + 6], axis=1) for at in range(0, 36, 6)]
    (folder / "slides").mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(folder / "slides" / "painted.png")


REPORTS = """report_id,report
a,"Specimen: colon, biopsy. Diagnosis: moderately differentiated adenocarcinoma with necrosis. Patient John Smith, born 3/4/1950."
b,"Final diagnosis: invasive ductal carcinoma of the left breast, grade 2. Ten lymph nodes, two with metastasis."
c,"Prostate, needle biopsy: Gleason score 3 + 4 = 7. No perineural invasion."
d,"Benign colonic mucosa. No dysplasia is seen."
"""  # noqa: E501
PROMPTS = """id,prompt,negative_prompt,seed,num_images,label
one,"colon adenocarcinoma, glands",blurred,3,2,tumour
two,"benign prostate glands, low power view",,4,1,benign
"""
RECIPES = {
    "autoencoder": """
stage:
  kind: autoencoder
  codec: {kind: tiny, encoder_width: 8, decoder_width: 8, latent_channels: 4}
  crop: 32
data: {kind: shards, folder: out/shards}
""",
    "clip": """
stage: {kind: clip, size: 32, vocab_size: 560, encoder: {projection_dim: 16}}
data: {kind: shards, folder: out/shards}
""",
    "losses": """
stage:
  kind: denoiser
  init_from: mini
  crop: 4
  weights: {semantic: 0.1}
  conditions: [scale, region]
data: {kind: latents, folder: out/latents, balance: 0.5}
""",
}  # fmt: skip
COMMON = "num_steps: 4\nglobal_batch_size: 4\ncheckpoint_every: 2\nvalidate_every: 2\n"


def commands() -> list[list[str]]:
    """The chain, each command with its output below ``out``."""
    mini = ["--preset", "fast", "--num-steps", "4"]
    return [
        ["pack", "train", "--output", "out/shards"],
        ["summarise", "reports.csv", "--output", "out/summaries.jsonl"],
        ["encode", "out/shards", "--output", "out/latents", "--set", "tile_size=64",
         "--set", "variants=2"],
        ["train", "RECIPE", "--output", "out/denoiser", "--set", "num_steps=6", *SMALL],
        ["train", "autoencoder.yaml", "--output", "out/autoencoder"],
        ["train", "clip.yaml", "--output", "out/clip"],
        ["train", "losses.yaml", "--output", "out/losses"],
        ["generate", "--prompt", "colon adenocarcinoma", "--output", "out/prompt", "--seed", "5",
         "--num-images", "2", *mini],
        ["generate", "--manifest", "prompts.csv", "--output", "out/manifest", *mini],
        ["generate", "--manifest", "prompts.csv", "--shard", "2/2", "--output", "out/shard", *mini],
        ["generate", "--prompt", "colon adenocarcinoma", "--output", "out/nuclei", "--control",
         "nuclei=sample:colon", "--seed", "7", *mini],
        ["generate", "--prompt", "p", "--output", "out/trained", "--model", "out/denoiser/model",
         "--size", "64", *mini],
        ["evaluate", "--generated", "generated/images", "--real", "real/images",
         "--train", "train/images",
         "--output", "out/evaluation"],
        ["audit", "--generated", "generated/images", "--train", "train/images",
         "--heldout", "real/images",
         "--output", "out/audit"],
        ["tile", "slides", "--output", "out/tiles", "--size", "96",
         "--mpp-csv", "mpp.csv"],
    ]  # fmt: skip


def run(folder: Path, arguments: list[str]) -> None:
    """One command in the folder, in this process: networks are imported once."""
    from crafts.cli import main as crafts

    recipe = str(ROOT / "recipes" / "tiny.yaml")
    sys.argv = ["crafts", *(recipe if a == "RECIPE" else a for a in arguments)]
    os.chdir(folder)
    try:
        code = crafts()
    except SystemExit as end:
        code = end.code
    if code:
        sys.exit(f"{' '.join(arguments)}: exit {code}")


def describe(folder: Path) -> dict[str, Any]:
    """Path -> what has to stay: a hash of its text, its figures, or a picture's grid."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in CLOCKS):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".png":
            found[name] = grid_of(path)
        elif path.name in FIGURES:
            found[name] = without_volatile(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in TEXTS:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "there"
    return found


def grid_of(path: Path) -> list[int]:
    """Means of the colours on a grid of 4 x 4, [48] of 0 to 255."""
    small = Image.open(path).convert("RGB").resize((4, 4), Image.Resampling.BOX)
    return [int(v) for v in np.asarray(small).ravel()]


def without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_volatile(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [without_volatile(v) for v in value]
    return value


def compare(golden: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs, a line each."""
    wrong = [f"{name}: gone" for name in golden.keys() - found.keys()]
    wrong += [f"{name}: new" for name in found.keys() - golden.keys()]
    for name in sorted(golden.keys() & found.keys()):
        wrong += [f"{name}: {what}" for what in differences(golden[name], found[name], name)][:5]
    return wrong


def differences(a: Any, b: Any, name: str) -> list[str]:
    """Where two values differ beyond the tolerances."""
    if isinstance(a, dict) and isinstance(b, dict):
        lost = [f"{key}: only on one side" for key in a.keys() ^ b.keys()]
        return lost + [
            f"{key}.{d}" for key in a.keys() & b.keys() for d in differences(a[key], b[key], name)
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [f"[{i}] {d}" for i in range(len(a)) for d in differences(a[i], b[i], name)]
    if isinstance(a, int | float) and isinstance(b, int | float):
        limit = GREY if name.endswith(".png") else RELATIVE * max(1.0, abs(a))
        return [] if a == b or abs(a - b) <= limit else [f"{a} -> {b}"]
    return [] if a == b else [f"{str(a)[:60]} -> {str(b)[:60]}"]


if __name__ == "__main__":
    main()
