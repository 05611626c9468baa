"""The segmenter and the layouts of nuclei, released from pairs of tile and mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.controls.layouts import load_statistics
from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask
from crafts.core.artifacts import finish, verify
from crafts.core.errors import ConfigError
from crafts.model.segmenter import SegmenterConfig, build_segmenter, load_segmenter, save_segmenter
from crafts.workflows.releasing import nuclei as releasing
from fixtures_controls import random_mask


def write_masks(folder: Path, tiles: list[tuple[str, str, str, NucleiMask]]) -> Path:
    """Pairs of organ, power and split; images are grey."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["file_name,mask,text,patient,split,organ,power,set"]
    for number, (organ, power, split, mask) in enumerate(tiles):
        name = f"{number:03d}.png"
        Image.fromarray(np.full((*mask.size, 3), 120, np.uint8)).save(folder / "images" / name)
        save_mask(folder / "masks" / name, mask)
        lines.append(f"images/{name},masks/{name},x,p{number},{split},{organ},{power},one")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_layouts_come_from_training_masks_that_tell_nuclei(
    tmp_path: Path,
) -> None:
    nuclei = [random_mask(seed, (96, 96), 20) for seed in range(12)]
    bare = NucleiMask((nuclei[0].classes > 0).astype(np.uint8) * 10)  # clusters would be giants
    tiles = [("colon", "high", "train", mask) for mask in nuclei[:11]]
    tiles += [("colon", "low", "train", mask) for mask in nuclei[:10]]
    tiles += [("colon", "high", "heldout", mask) for mask in nuclei]
    tiles += [("lung", "high", "train", bare)] * 12
    tiles += [("breast", "high", "train", mask) for mask in nuclei[:9]]
    card = releasing.release_layouts(write_masks(tmp_path / "pairs", tiles), tmp_path / "layouts")
    verify(tmp_path / "layouts")
    fitted = load_statistics(tmp_path / "layouts/layouts.json")
    assert {name: one.num_images for name, one in fitted.items()} == {"colon": 11, "colon-low": 10}
    assert card == (tmp_path / "layouts/README.md").read_text()
    assert "| colon | high | 11 |" in card and "| colon-low | low | 10 |" in card


def test_a_segmenter_is_written_with_its_scores_where_they_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    save_segmenter(build_segmenter(SegmenterConfig(widths=(8, 16))), tmp_path / "model")
    finish(tmp_path / "model", stage="train", config={})
    tiles = [("colon", "high", "heldout", random_mask(seed, (64, 64), 12)) for seed in range(3)]
    pairs, card = write_masks(tmp_path / "pairs", tiles), tmp_path / "card.md"
    card.write_text("A card.")
    given = (tmp_path / "model", pairs, card)
    with pytest.raises(ConfigError, match=r"expected at least 0\.7"):
        releasing.release_segmenter(*given, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(releasing, "LEAST_DICE", -1.0)
    overlay = tmp_path / "seen.png"
    releasing.release_segmenter(*given, output=tmp_path / "out", overlay=overlay)
    verify(tmp_path / "out")
    found = json.loads((tmp_path / "out/heldout.json").read_text())
    assert found["sets"]["one"]["patients"] == 3 and Image.open(overlay).height == 3 * 64
    assert load_segmenter(tmp_path / "out").network.config.widths == (8, 16)
