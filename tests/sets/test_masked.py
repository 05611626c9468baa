"""Masks beside tiles and in tables, and both sides at one scale before they are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.controls.masks import save_mask
from crafts.controls.nuclei import NucleiMask, label_classes
from crafts.core.errors import ConfigError, DataError
from crafts.data.painter import paint_tile
from crafts.measures.faithfulness import judge_masks, measure_faithfulness
from crafts.model.segmenter import Segmenter, SegmenterConfig, build_segmenter
from crafts.sets.masked import Masked, MaskedTile, bring_to_one_scale, find_masked


def painted(index: int, size: int = 64) -> MaskedTile:
    tile = paint_tile(seed=3, index=index, size=size)
    classes = label_classes(tile.classes, "lizard", where="painted")
    return MaskedTile(
        f"tile-{index}", tile.image, NucleiMask(classes, tile.instances.astype(np.int32))
    )


def at(pair: MaskedTile, size: int, mpp: float | None = None) -> MaskedTile:
    """A field of 128 px on other pixels."""
    factor = size // 128
    image = np.asarray(Image.fromarray(pair.image).resize((size, size), Image.Resampling.BICUBIC))
    mask = NucleiMask(*(np.kron(a, np.ones((factor, factor), a.dtype)) for a in (
        pair.mask.classes, pair.mask.instances)))  # fmt: skip
    return replace(pair, image=image, mask=mask, mpp=mpp)


class PixelSegmenter:
    """Finds nuclei by their blue, but only such as are 3 to 12 px wide: it knows one scale."""

    def __call__(self, image: np.ndarray) -> NucleiMask:
        from scipy import ndimage

        dark = image.astype(float).mean(-1) < 140
        labels, count = ndimage.label(dark)
        widths = ndimage.maximum(ndimage.distance_transform_edt(dark), labels, range(1, count + 1))
        keep = np.concatenate([[False], (np.array(widths) >= 1.5) & (np.array(widths) <= 6)])
        instances = np.where(keep[labels], labels, 0).astype(np.int32)
        return NucleiMask((instances > 0).astype(np.uint8), instances)


def test_real_tiles_of_another_size_come_to_the_pixels_of_the_generated() -> None:
    """A ceiling at twice the pixels is no ceiling: the segmenter finds nothing there."""
    made = [painted(k, 128) for k in range(6)]
    real = [at(painted(k, 128), 256) for k in range(6, 12)]
    apart = measure_faithfulness(made, PixelSegmenter(), real=real)
    _, brought, said = bring_to_one_scale(made, real)
    assert "brought to 128 px" in said and "256" in said and "unknown" in said
    assert {pair.image.shape for pair in brought} == {(128, 128, 3)}
    one = measure_faithfulness(made, PixelSegmenter(), real=brought)
    same = measure_faithfulness(
        made, PixelSegmenter(), real=[painted(k, 128) for k in range(6, 12)]
    )
    assert apart.ceiling and one.ceiling and same.ceiling
    assert one.ceiling.dice == pytest.approx(same.ceiling.dice, abs=0.05)
    assert abs((apart.ceiling.dice or 0) - (same.ceiling.dice or 0)) > 0.1


def test_microns_per_pixel_go_before_sizes() -> None:
    made = [replace(painted(k, 128), mpp=0.5) for k in range(2)]
    real = [at(painted(k, 128), 256, mpp=0.25) for k in range(2)]
    _, brought, said = bring_to_one_scale(made, real)
    assert "0.5 µm" in said and "unknown" not in said
    assert {pair.image.shape for pair in brought} == {(128, 128, 3)}
    assert {pair.mpp for pair in brought} == {0.5}
    larger_field = [at(painted(k, 128), 256, mpp=0.5) for k in range(2)]
    _, kept, said = bring_to_one_scale(made, larger_field)
    assert not said and kept == larger_field
    for pair, small in zip(real, brought, strict=True):
        assert pair.mask.num_nuclei == small.mask.num_nuclei  # no nucleus is lost


def test_scales_that_cannot_be_known_are_refused() -> None:
    made = [painted(0, 128), at(painted(1, 128), 256)]
    with pytest.raises(DataError, match="128 to 256 px .* column `mpp`"):
        bring_to_one_scale(made, [])
    with pytest.raises(DataError, match="at least 16 px"):
        bring_to_one_scale([replace(painted(0), mpp=10.0)], [replace(painted(1), mpp=0.1)])
    with pytest.raises(DataError, match="at most 4 times"):
        bring_to_one_scale([replace(painted(0), mpp=0.1)], [replace(painted(1), mpp=0.5)])


def write(folder: Path, pairs: list[MaskedTile], table: str = "", mask_size: int = 64) -> Path:
    """A folder of tiles whose masks stand in a table elsewhere."""
    (folder / "images").mkdir(parents=True)
    (folder.parent / "masks").mkdir(exist_ok=True)
    lines, rows = ["file_name,text,split"], ["file_name,mask"]
    for pair in pairs:
        Image.fromarray(pair.image).save(folder / f"images/{pair.name}.png")
        mask = pair.mask if mask_size == 64 else at(painted(0, 128), mask_size).mask
        save_mask(folder.parent / f"masks/{pair.name}.png", mask)
        lines.append(f"images/{pair.name}.png,x,heldout")
        rows.append(f"{pair.name}.png,masks/{pair.name}.png")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    if table:
        (folder.parent / table).write_text("\n".join(rows) + "\n")
    return folder


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build_segmenter(SegmenterConfig(widths=(8, 16))).eval())


def test_a_table_names_the_masks(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiles", [painted(k) for k in range(5)], "masks.csv")
    table = tmp_path / "masks.csv"
    assert not find_masked({"": folder}).items
    found = find_masked({"": folder}, table=table)
    assert len(found.items) == 5 and not found.rejected and found.unmasked == 0
    judged = judge_masks(found, segmenter(), real=found)
    assert judged.obeyed is not None and judged.counts["generated"].used == 5
    with table.open("a") as file:
        file.write("tile-9.png,masks/tile-1.png\n")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], *lines[3:]]) + "\n")
    some = find_masked({"": folder}, table=table)
    assert len(some.items) == 4 and some.unmasked == 1
    assert some.rejected == ["masks.csv: tile-9.png: no such tile, or no mask"]
    assert not find_masked({"": folder}, split="train", table=table).items


def test_a_table_that_fits_no_tile_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiles", [painted(0)])
    (tmp_path / "other.csv").write_text("file_name,mask\nelse.png,m.png\n")
    with pytest.raises(ConfigError, match=r"none for a tile .*images/tile-0.png"):
        find_masked({"": folder}, table=tmp_path / "other.csv")
    (tmp_path / "plain.csv").write_text("file_name,text\ntile-0.png,x\n")
    with pytest.raises(ConfigError, match="no column `mask`"):
        find_masked({"": folder}, table=tmp_path / "plain.csv")
    with pytest.raises(ConfigError, match="no such file"):
        find_masked({"": folder}, table=tmp_path / "none.csv")


def test_names_that_two_tiles_share_belong_to_neither(tmp_path: Path) -> None:
    one = write(tmp_path / "a/tiles", [painted(0)], "masks.csv")
    two = write(tmp_path / "b/tiles", [painted(0), painted(1)])
    found = find_masked({"one": one, "two": two}, table=_both(tmp_path))
    assert [item.name for item in found.items] == ["two/images/tile-1.png"]
    assert len(found.rejected) == 1 and "tile-0.png" in found.rejected[0]


def _both(folder: Path) -> Path:
    path = folder / "masks.csv"
    path.write_text(
        "file_name,mask\ntile-0.png,a/masks/tile-0.png\ntile-1.png,b/masks/tile-1.png\n"
    )
    return path


def test_masks_that_are_dropped_are_counted_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiles", [painted(k) for k in range(4)], "masks.csv")
    (tmp_path / "masks/tile-1.png").write_bytes(b"no image")
    save_mask(tmp_path / "masks/tile-2.png", NucleiMask(np.zeros((64, 32), np.uint8)))
    judged = judge_masks(find_masked({"": folder}, table=tmp_path / "masks.csv"), segmenter())
    counts = judged.counts["generated"]
    assert (counts.used, counts.rejected) == (2, 2) and len(judged.rejected) == 2
    assert "the proportions of the image" in judged.rejected[1]
    for name in ("tile-0", "tile-3"):
        (tmp_path / f"masks/{name}.png").unlink()
    none = judge_masks(find_masked({"": folder}, table=tmp_path / "masks.csv"), segmenter())
    assert none.obeyed is None and none.counts["generated"].rejected == 4
    assert none.why == "no generated tile has a mask that can be used"


def test_a_mask_of_the_same_field_is_brought_to_its_tile(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiles", [painted(0), painted(1)], "masks.csv", mask_size=256)
    judged = judge_masks(find_masked({"": folder}, table=tmp_path / "masks.csv"), segmenter())
    assert judged.counts["generated"].used == 2 and not judged.rejected


def test_what_is_not_looked_at_is_counted_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiles", [painted(k) for k in range(5)], "masks.csv")
    found = find_masked({"": folder}, table=tmp_path / "masks.csv")
    counts = judge_masks(found, segmenter(), most=2).counts["generated"]
    assert counts.used == 2 and counts.not_drawn == 3
    assert judge_masks(Masked(), segmenter()).counts == {}
