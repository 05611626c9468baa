"""What scorecards need: tiles with the columns of ``recipes/mini``, and very small networks."""

import csv
import json

import numpy as np
import torch
from PIL import Image

from crafts.controls.masks import mask_from_labels
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import finish
from crafts.model.bundle import load_bundle
from crafts.model.config import ResNetVision
from crafts.model.encoders import DualEncoderConfig, build_dual_encoder, save_dual_encoder
from crafts.model.segmenter import SegmenterConfig
from crafts.model.text import TextConfig
from crafts.model.vision.structure_judge import build_structure_judge, save_structure_judge
from crafts.testing import write_tiny_model

CLASSES = SegmenterConfig().classes
SIDE = 256
KINDS = (  # organ, label, power, set
    ("oral mucosa", "oral normal low", "low", "oral"),
    ("oral mucosa", "oral carcinoma low", "low", "oral"),
    ("colon", "colon tissue", "high", "lizard"),
    ("lung", "lung normal", "high", "other"),
)


def write_labelled_tiles(folder, side=32):
    """Noise in the columns that ``recipes/mini`` writes: four classes of eight patients."""
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for number, (organ, label, power, name) in enumerate(KINDS):
        for patient in range(8):
            for index in range(2):
                pixels = rng.integers(60, 220, (32 >> (number % 2), 32, 3), dtype=np.uint8)
                file = f"images/{number}-{patient}-{index}.png"
                Image.fromarray(pixels).resize((side, side)).save(folder / file)
                captions = [f"{organ}.", f"{label}, {power} power."]
                rows.append(
                    {
                        "file_name": file,
                        "text": captions[0],
                        "captions": json.dumps(captions),
                        "organ": organ,
                        "label": label,
                        "power": power,
                        "set": name,
                        "patient": f"{number}-{patient}",
                        "split": "train" if patient < 4 else "heldout",
                        "lymphocytes": ("many", "few")[patient % 2] if name == "lizard" else "",
                    }
                )
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    wording = {
        label: {"held_back": [f"{label} at weak power", f"{label} seen"]}
        for _, label, _, _ in KINDS
    }
    (folder / "classes.json").write_text(json.dumps(wording))
    return folder


def write_models(folder):
    """A text-to-image model, an evaluation CLIP and a judge of structure with random weights."""
    write_tiny_model(folder / "model", size=32)
    torch.manual_seed(0)
    config = DualEncoderConfig(
        vision=ResNetVision(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1)),
        text=TextConfig(width=16, num_layers=1, num_heads=2, intermediate=32),
        projection_dim=8,
        image_size=32,
    )
    tokenizer = load_bundle(folder / "model").text.tokenizer
    save_dual_encoder(build_dual_encoder(config, tokenizer), folder / "clip")
    finish(folder / "clip", stage="clip", config={})
    save_structure_judge(build_structure_judge(), folder / "classifier")
    return folder


def painted(mask: NucleiMask) -> np.ndarray:
    """Nuclei by their number, in grey."""
    assert mask.instances is not None
    return np.repeat((mask.instances * 40).astype(np.uint8)[..., None], 3, axis=2)


def segment(image: np.ndarray) -> NucleiMask:
    """The nuclei of :func:`painted`, without an error."""
    return mask_from_labels(image[..., 0] // 40)
