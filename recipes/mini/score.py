"""Score a text-to-image model on the measured classes: structure, distance, wording, cell content.

    python recipes/mini/score.py MODEL TILES OUTPUT [--per-class 48] [--encoder DIR]
                                 [--classifier DIR] [--segmenter DIR] [--preset balanced]

MODEL is a checkpoint folder (or ``mini``), TILES holds ``metadata.csv``, ``classes.json`` and the
images. Prompts are captions of held-out groups. OUTPUT gets ``generated/`` (a run of ``crafts
generate``, which goes on where it was stopped), ``score.json``, ``score.md``, ``montage.png`` (real
above generated, class by class) and ``nearest.png`` (generated above its nearest training tile).
About 4 s an image on two cores: for 11 classes and 48 a class, with as many in unseen wording and
for the lymphocytes, about 80 minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import (
    CLASSES,
    TASKS,
    classify,
    judge,
    load_classifier,
    read_rows,
    read_tiles,
)
from comparisons import (
    Group,
    Request,
    caption_of,
    class_of_request,
    class_requests,
    image_controls,
    lymphocyte_requests,
    reference_patients,
    shuffled,
    spread_rows,
    write_manifest,
)
from montage import montage
from numpy.typing import NDArray
from scipy.stats import rankdata
from transformers import ResNetForImageClassification

from crafts.core.artifacts import write_bytes
from crafts.core.marks import save_synthetic
from crafts.core.protocols import SegmentNuclei
from crafts.core.runtime import say
from crafts.evaluation import extract_features, kernel_distance, prompt_alignment
from crafts.evaluation.alignment import unit_rows
from crafts.evaluation.features import as_tensor, read_image
from crafts.evaluation.nuclei import count_nuclei
from crafts.evaluation.structure import nearest_rows
from crafts.generation.generate import run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.encoders import DualEncoder, load_dual_encoder
from crafts.model.segmenter import open_segmenter

WEIGHTS = Path(__file__).resolve().parents[2] / "src" / "crafts" / "weights"
BANK = 4000  # training tiles among which the nearest is sought
GENERATED, REAL = "generated", "real, held-out"
# haematoxylin, eosin and residual in optical density (Ruifrok and Johnston 2001)
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Judges:
    """The two networks that judge; the generator saw neither.

    Attributes:
        classifier: of grey structure.
        encoder: of images and texts.
    """

    classifier: ResNetForImageClassification
    encoder: DualEncoder

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Say where they lie; by default, those that are shipped."""
        parser.add_argument("--encoder", type=Path, default=WEIGHTS / "evaluation-clip")
        parser.add_argument("--classifier", type=Path, default=WEIGHTS / "classifier")

    @classmethod
    def load(cls, options: argparse.Namespace) -> Judges:
        """Read the two that the options name."""
        return cls(load_classifier(options.classifier), load_dual_encoder(options.encoder))

    def image_features(self, tiles: NDArray[np.uint8]) -> Features:
        """Features [N, D] of length √D, so that the kernel distance has no scale of its own."""
        rows = unit_rows(
            extract_features(tiles, self.encoder.image_features).astype(np.float64), "tiles"
        )
        return (rows * np.sqrt(rows.shape[1])).astype(np.float32)

    def text_features(self, texts: Sequence[str]) -> Features:
        """Features [N, D]."""
        with torch.inference_mode():
            pieces = [
                self.encoder.text_features(texts[k : k + 32]) for k in range(0, len(texts), 32)
            ]
        return torch.cat(pieces).float().numpy()


def make(
    bundle: Bundle, requests: Sequence[Request], output: Path, preset: str
) -> dict[str, NDArray[np.uint8]]:
    """Make the images that are not there yet; id -> tile."""
    manifest = output / "requests.csv"
    write_manifest(requests, manifest)
    config = GenerateConfig.model_validate(
        {"manifest": manifest, "preset": preset, "batch_size": 4, "same_noise": True}
    )
    run(config, None, output / "generated", bundle=bundle)
    return {r.id: read_image(output / "generated" / "images" / f"{r.id}-0.png") for r in requests}


def groups_of(requests: Sequence[Request], made: Mapping[str, NDArray[np.uint8]]) -> list[Group]:
    """The generated groups: from captions, and in unseen wording."""
    found = []
    for kind, name in (("generated", GENERATED), ("unseen", "generated, unseen wording")):
        mine = [r for r in requests if r.kind == kind]
        if mine:
            tiles = np.stack([made[r.id] for r in mine])
            found.append(
                Group(name, tiles, [class_of_request(r) for r in mine], [r.prompt for r in mine])
            )
    return found


def through_codec(bundle: Bundle, real: Group) -> Group:
    """Real tiles as the codec gives them back: what a perfect denoiser would reach."""
    out = []
    for start in range(0, len(real.tiles), 8):
        with torch.inference_mode():
            mean, _ = bundle.codec.encode(as_tensor(real.tiles[start : start + 8]))
            pixels = (bundle.codec.decode(mean).clamp(-1, 1) + 1) * 127.5
        out.append(pixels.round().byte().permute(0, 2, 3, 1).numpy())
    return Group(
        "real, through the codec", np.concatenate(out), real.classes, real.prompts, real.apart
    )


def measure(group: Group, judges: Judges, reference: Features, bank: Features) -> dict[str, Any]:
    """One row of the table; ``reference`` are real held-out tiles of half the patients."""
    features = judges.image_features(group.tiles)
    distance, spread = kernel_distance(
        reference, features if group.apart is None else features[group.apart]
    )
    _, cosine = nearest_rows(features, bank)
    return {
        "name": group.name,
        "tiles": len(group.tiles),
        "structure": judge(classify(judges.classifier, group.tiles), group.classes),
        "kernel_distance": [1000 * distance, 1000 * spread],
        "prompt_alignment": prompt_alignment(features, judges.text_features(group.prompts)),
        "nearest_training_cosine": float(cosine.mean()),
    }


def haematoxylin(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Nuclear density [N]: share of pixels above 0.25 optical density of haematoxylin."""
    unmix = np.linalg.inv(STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True))
    densities = (-np.log10((tile.astype(np.float64) + 1) / 256) for tile in tiles)
    return np.array([((density @ unmix)[..., 0] > 0.25).mean() for density in densities])


def lymphocyte_effect(
    judges: Judges,
    segment: SegmentNuclei,
    many: NDArray[np.uint8],
    few: NDArray[np.uint8],
    *,
    paired: bool = False,
) -> dict[str, float]:
    """Chance that a tile with many lymphocytes scores above one with few; 0.5 is no effect.

    ``nuclei`` are counted by the segmenter, ``density`` counts pixels, and ``direction`` is that
    from "few" to "many" among the texts. ``more_nuclei`` is the share of pairs, tiles at the same
    place of both lists, in which the one with many has more; only if they are ``paired``.
    """
    ends = judges.text_features(
        ["colon, many lymphocytes, high power", "colon, few lymphocytes, high power"]
    )
    rows = unit_rows(ends.astype(np.float64), "texts")
    both = np.concatenate([many, few])
    nuclei = np.array([count_nuclei(segment(tile)) for tile in both])
    scores = {
        "nuclei": nuclei,
        "density": haematoxylin(both),
        "direction": judges.image_features(both) @ (rows[0] - rows[1]),
    }
    ranks = {name: rankdata(values)[: len(many)].sum() for name, values in scores.items()}
    found = {
        name: float((total - len(many) * (len(many) + 1) / 2) / (len(many) * len(few)))
        for name, total in ranks.items()
    } | {"many": len(many), "few": len(few)}
    if paired:
        found["more_nuclei"] = float((nuclei[: len(many)] > nuclei[len(many) :]).mean())
    return found


def lymphocytes(
    judges: Judges,
    segment: SegmentNuclei,
    tiles: Path,
    made: Mapping[str, NDArray[np.uint8]],
) -> dict[str, dict[str, float]]:
    """The effect in real held-out tiles and in generated ones."""
    rows = [row for row in read_rows(tiles, "heldout") if row["set"].startswith("lizard")]
    real = {
        level: [row for row in rows if row["lymphocytes"] == level][:100]
        for level in ("many", "few")
    }
    found = {}
    if all(real.values()):
        found[REAL] = lymphocyte_effect(
            judges, segment, read_tiles(tiles, real["many"]), read_tiles(tiles, real["few"])
        )
    asked = {
        level: [tile for name, tile in made.items() if name.startswith(f"{level}-")]
        for level in real
    }
    if all(asked.values()):
        found[GENERATED] = lymphocyte_effect(
            judges, segment, np.stack(asked["many"]), np.stack(asked["few"]), paired=True
        )
    return found


def share_of_real(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Task -> chance-corrected accuracy of the generated tiles over that of real held-out ones."""
    rows = {row["name"]: row["structure"] for row in table}
    shares = {}
    for task in TASKS:
        if task in rows[REAL] and task in rows[GENERATED]:
            real = rows[REAL][task]["corrected"]
            shares[task] = rows[GENERATED][task]["corrected"] / real if real > 0 else float("nan")
    return shares


def markdown(
    table: Sequence[Mapping[str, Any]], shares: Mapping[str, float], effect: Mapping[str, Any]
) -> str:
    """The table for people."""
    titles = [
        "tiles",
        *TASKS,
        "kernel distance × 1000",
        "prompt alignment %",
        "nearest training tile, cosine",
    ]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for row in table:
        cells = [
            f"{row['structure'][t]['corrected']:.2f}" if t in row["structure"] else "–"
            for t in TASKS
        ]
        distance, spread = row["kernel_distance"]
        cells += [f"{distance:.1f} ± {spread:.1f}", f"{row['prompt_alignment']:.1f}"]
        cells.append(f"{row['nearest_training_cosine']:.3f}")
        lines.append(f"| {row['name']} | {row['tiles']} | " + " | ".join(cells) + " |")
    shown = ", ".join(f"{task} {share:.2f}" for task, share in shares.items())
    lines += [
        "",
        "Structure: chance-corrected balanced accuracy on grey tiles of one mean and contrast.",
    ]
    lines += [
        "Kernel distance is to tiles of half the held-out patients; real rows take the others."
    ]
    lines += [f"Generated over real held-out: {shown}."]
    for name, values in effect.items():
        lines.append(
            f"Many above few lymphocytes, {name}: number of nuclei {values['nuclei']:.2f}, nuclear "
            f"density {values['density']:.2f}, direction of the text {values['direction']:.2f} "
            f"(0.5 is no effect; {values['many']} and {values['few']} tiles)."
        )
        if "more_nuclei" in values:
            lines.append(f"Pairs of one noise with more nuclei: {values['more_nuclei']:.0%}.")
    return "\n".join(lines) + "\n"


def pictures(
    groups: Sequence[Group],
    bank: NDArray[np.uint8],
    judges: Judges,
    bank_features: Features,
    output: Path,
) -> None:
    """``montage.png`` and ``nearest.png``."""
    real, generated = (next(g for g in groups if g.name == name) for name in (REAL, GENERATED))
    rows: list[tuple[str, Any]] = []
    for name in CLASSES:
        for group in (real, generated):
            mine = [k for k, own in enumerate(group.classes) if own == name][:8]
            if mine:
                rows.append((f"{name}\n{group.name}", group.tiles[mine]))
    save_synthetic(montage(rows), output / "montage.png", "real tiles above generated ones")
    picks = np.unique(np.linspace(0, len(generated.tiles) - 1, 32).astype(int))
    index, _ = nearest_rows(judges.image_features(generated.tiles[picks]), bank_features)
    pairs: list[tuple[str, Any]] = []
    for start in range(0, len(picks), 8):
        pairs.append(("generated", generated.tiles[picks[start : start + 8]]))
        pairs.append(("nearest\ntraining tile", bank[index[start : start + 8]]))
    save_synthetic(montage(pairs), output / "nearest.png", "generated tiles, nearest real ones")


def training_bank(tiles: Path, per_class: int) -> tuple[NDArray[np.uint8], list[str], Group]:
    """Training tiles, their classes, and some of each class as a group: what a memoriser draws."""
    rows = read_rows(tiles, "train")
    rows = [rows[k] for k in np.unique(np.linspace(0, len(rows) - 1, BANK).astype(int))]
    bank, places = read_tiles(tiles, rows), {row["file_name"]: k for k, row in enumerate(rows)}
    some = spread_rows(rows, per_class)
    sample = Group(
        "training tiles at random (floor)",
        bank[[places[row["file_name"]] for row in some]],
        [row["class"] for row in some],
        [caption_of(row) for row in some],
    )
    return bank, [row["class"] for row in rows], sample


def held_out(tiles: Path, per_class: int) -> tuple[list[dict[str, str]], Group]:
    """Held-out rows, spread over patients, and their tiles."""
    rows = [dict(row) for row in spread_rows(read_rows(tiles, "heldout"), per_class)]
    classes, prompts = [row["class"] for row in rows], [caption_of(row) for row in rows]
    return rows, Group(REAL, read_tiles(tiles, rows), classes, prompts, ~reference_patients(rows))


def asked_for(rows: Sequence[dict[str, str]], tiles: Path, per_class: int) -> list[Request]:
    """All images to be made."""
    facts = json.loads((tiles / "classes.json").read_text(encoding="utf-8"))
    unseen = {label: values["held_back"] for label, values in facts.items()}
    return class_requests(rows, unseen, per_class) + lymphocyte_requests(per_class)


def main() -> None:
    """Generate, measure, write."""
    options = read_options()
    bundle = load_bundle(options.model)
    judges = Judges.load(options)
    rows, real = held_out(options.tiles, options.per_class)
    bank, bank_classes, sample = training_bank(options.tiles, options.per_class)
    requests = asked_for(rows, options.tiles, options.per_class)
    made = make(bundle, requests, options.output, options.preset)
    generated, bank_features = groups_of(requests, made), judges.image_features(bank)
    index, _ = nearest_rows(judges.image_features(generated[0].tiles), bank_features)
    nearest = replace(
        generated[0], name="nearest training tile of each generated", tiles=bank[index]
    )
    groups = [*generated, shuffled(generated[0]), real, through_codec(bundle, real), sample]
    groups += [nearest, *image_controls(real, bank, bank_classes)]
    reference = judges.image_features(real.tiles[reference_patients(rows)])
    table = []
    for group in groups:
        say(f"score: {group.name}")
        table.append(measure(group, judges, reference, bank_features))
    segment = open_segmenter(options.segmenter)
    effect, shares = lymphocytes(judges, segment, options.tiles, made), share_of_real(table)
    facts = {"model": bundle.fingerprint, "preset": options.preset}
    facts |= {"encoder": judges.encoder.fingerprint, "segmenter": segment.fingerprint}
    result = {**facts, "table": table, "share_of_real": shares, "lymphocytes": effect}
    write_bytes(options.output / "score.json", json.dumps(result, indent=1).encode())
    text = markdown(table, shares, effect)
    write_bytes(options.output / "score.md", text.encode())
    pictures(groups, bank, judges, bank_features, options.output)
    print(text)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("tiles", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--per-class", type=int, default=48)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--segmenter", default="mini")
    Judges.add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
