"""Preparing of images against the image processors of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from crafts.core.errors import ConfigError
from crafts.model.vision.preprocessing import read_preprocessing
from fixtures_encoders import tiles

CROP = {"height": 32, "width": 32}
PROCESSORS = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=CROP),
    "clip-of-2021": CLIPImageProcessorPil(size=32, crop_size=32),
    "dinov2": BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=CROP),
    "vit": ViTImageProcessorPil(size={"height": 32, "width": 24}),
    "convnext-small": ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875),
    "convnext-large": ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "crop-only": CLIPImageProcessorPil(do_resize=False, crop_size={"height": 33, "width": 50}),
    "plain": ViTImageProcessorPil(size={"height": 8, "width": 8}, do_normalize=False, resample=0),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_agrees_with_transformers(tmp_path: Path, name: str) -> None:
    processor = PROCESSORS[name]
    processor.save_pretrained(tmp_path)
    steps = read_preprocessing(tmp_path)
    for tile in tiles((32, 32), (41, 77), (90, 35), (12, 20)):
        expected = processor(tile, return_tensors="np", input_data_format="channels_last")
        np.testing.assert_allclose(steps(tile).numpy(), expected["pixel_values"][0], atol=1e-5)


def test_reads_the_newer_file_and_old_plain_numbers(tmp_path: Path) -> None:
    values = {
        "feature_extractor_type": "ViTFeatureExtractor",
        "size": 16,
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    newer = tmp_path / "processor_config.json"
    newer.write_text(json.dumps({"image_processor": values, "processor_class": "P"}))
    steps = read_preprocessing(tmp_path)
    assert steps(tiles((20, 40))[0]).shape == (3, 16, 16)
    assert steps.facts() == {
        "resize": [16, 16],
        "filter": "Pillow bilinear, antialiased",
        "crop": None,
        "scale": 1 / 255,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_processor_type": "ViTMagicProcessor"},
            "image_processor_type: 'ViTMagicProcessor'",
        ),
        ({"do_pad": True}, "do_pad: do_pad of CLIPImageProcessor; expected resize, crop"),
        ({"size": {"longest_edge": 32}}, r"size: \{'longest_edge': 32\}; expected pixels"),
        ({"resample": 17}, "resample: 17; expected the number of a filter"),
        ({"image_mean": [0.5]}, r"image_mean: \[0\.5\]; expected three numbers"),
        ({"do_center_crop": False}, "images left at sizes of their own; expected a crop"),
    ],
)
def test_other_steps_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    PROCESSORS["clip"].save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        read_preprocessing(tmp_path)


def test_settings_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json: no such file"):
        read_preprocessing(tmp_path)
