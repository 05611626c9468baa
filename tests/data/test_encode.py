"""Latents are what the codec says, taken over only when nothing changed, and never stale."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core import progress
from crafts.core.artifacts import MANIFEST, sha256_file, verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.core.runtime import generator_for
from crafts.data.config import EncodeConfig, PackConfig
from crafts.data.encode import kept_share, preprocessing_key, run
from crafts.data.loader import LatentReader, ShardReader
from crafts.data.pack import run as pack
from crafts.data.tiles.augment import dihedral
from crafts.data.tiles.variants import make_variant, pass_size, prepare
from crafts.model.config import TinyCodecConfig

CONFIG = EncodeConfig(tile_size=16, variants=10, batch_size=4)


def undo(latents: torch.Tensor, k: int) -> torch.Tensor:
    """Flips undo themselves, turns are turned back."""
    return dihedral(latents, k if k >= 4 else (-k) % 4)


def test_every_variant_is_the_code_of_its_picture(packed, tmp_path, make_codec):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    reader, shards = LatentReader(tmp_path / "out", how="full"), ShardReader(packed)
    assert (len(reader), reader.num_variants, reader.shape) == (12, 10, (3, 4, 4))
    for index in (0, 11):
        pixels = shards.image(index).astype(np.float64) / 127.5 - 1
        # an independent average pooling: fold and take the mean
        pooled = pixels.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
        for k in range(8):
            found = undo(reader.sample(index, k), k)
            assert np.abs(found.numpy() - pooled).max() < 1e-3  # float16
        for k in (8, 9):
            jittered = undo(reader.sample(index, k), k % 8).numpy()
            assert 1e-3 < np.abs(jittered - pooled).max() < 0.3
    assert not (tmp_path / "out/std.npy").exists()


def test_rows_carry_the_index_of_the_shards(packed, tmp_path, make_codec):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    ours, theirs = LatentReader(tmp_path / "out").rows, ShardReader(packed).rows
    for row, source in zip(ours, theirs, strict=True):
        assert row["captions"] == source["captions"] and row["cells"] == source["cells"]
        for name in ("key", "sha256", "text", "patient", "split", "set", "label", "mpp"):
            assert row[name] == source[name]


def test_samples_are_drawn_from_mean_and_spread(packed, tmp_path, make_codec):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec(0.5))
    reader = LatentReader(tmp_path / "out")
    mean = reader.sample(2, 1)
    drawn = reader.sample(2, 1, generator_for("x"))
    noise = torch.randn(3, 4, 4, generator=generator_for("x"))
    assert drawn.dtype == torch.float32
    assert torch.allclose(drawn, mean + 0.5 * noise)


def test_a_second_run_with_nothing_changed_encodes_nothing(packed, tmp_path, make_codec):
    first = run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    again = make_codec()
    assert (
        run(CONFIG.model_copy(update={"batch_size": 1}), packed, tmp_path / "out", codec=again)
        == first
    )
    assert again.num_calls == 0


def test_the_batch_size_does_not_change_a_byte(packed, tmp_path, make_codec):
    for size in (1, 3, 16):
        config = CONFIG.model_copy(update={"batch_size": size})
        run(config, packed, tmp_path / str(size), codec=make_codec(0.1))
    assert len({sha256_file(tmp_path / str(size) / MANIFEST) for size in (1, 3, 16)}) == 1


@pytest.mark.parametrize("size", [32, 64])
def test_the_batch_size_does_not_change_a_byte_of_a_real_codec(tmp_path, size):
    """Sums are taken in another order in a pass of another size."""
    from crafts.model.codec import build_codec  # slow to import

    codec = build_codec(TinyCodecConfig(encoder_width=16, num_encoder_blocks=(1, 2, 2, 1)))
    (tmp_path / "tiles").mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"tiles/{index}.png")
    pack(PackConfig(), tmp_path / "tiles", tmp_path / "shards")
    made = set()
    for batch in (16, 2, 1):
        config = EncodeConfig(tile_size=size, variants=3, batch_size=batch)
        run(config, tmp_path / "shards", tmp_path / str(batch), codec=codec)
        names = ("mean.npy", MANIFEST)
        made.add(tuple(sha256_file(tmp_path / str(batch) / name) for name in names))
    assert len(made) == 1


def test_a_pass_on_a_gpu_is_filled_up_and_its_size_is_part_of_the_key(make_codec):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    config = EncodeConfig(tile_size=16, variants=5, batch_size=4)
    assert (pass_size(config, gpu), pass_size(config, cpu)) == (4, 1)


def test_bf16_stays_near_and_has_latents_of_its_own(packed, tmp_path):
    from crafts.model.codec import build_codec  # slow to import

    codec = build_codec(TinyCodecConfig(encoder_width=16))
    full = EncodeConfig(tile_size=16, variants=2)
    half = full.model_copy(update={"precision": "bf16"})
    run(full, packed, tmp_path / "out", codec=codec)
    means = LatentReader(tmp_path / "out").moments(0)[0].astype(np.float32)
    run(half, packed, tmp_path / "out", codec=codec)
    moved = LatentReader(tmp_path / "out").moments(0)[0].astype(np.float32) - means
    assert 0 < np.sqrt((moved**2).mean()) < 0.05 * max(1.0, float(np.abs(means).max()))


def test_variants_and_progress_are_said(packed, tmp_path, make_codec, capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    lines = capsys.readouterr().err.splitlines()
    assert "encode: 12 images, 10 variants of each" in lines
    assert any(line.startswith("encode: 1/12 images  ") and "to go" in line for line in lines)


@pytest.mark.parametrize(
    "change",
    [
        {"tile_size": 12, "larger": "crop"},
        {"larger": "resize"},
        {"smaller": "resize"},
        {"variants": 9},
        {"stain_sigma": 0.1},
        {"stain_shift": 0.1},
    ],
)
def test_another_preprocessing_encodes_everything_again(packed, tmp_path, make_codec, change):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    config = CONFIG.model_copy(update=change)
    assert preprocessing_key(config) != preprocessing_key(CONFIG)
    again = make_codec()
    run(config, packed, tmp_path / "out", codec=again)
    assert again.num_calls == 12 * config.variants


def test_another_codec_encodes_everything_again(packed, tmp_path, make_codec):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    other = make_codec(0.25, "other")
    run(CONFIG, packed, tmp_path / "out", codec=other)
    assert other.num_calls == 120
    with pytest.raises(IntegrityError, match="latents of codec other"):
        LatentReader(tmp_path / "out", codec_fingerprint="pooling")


def test_only_changed_images_are_encoded_again(tiles, tmp_path, make_codec, make_image):
    config = CONFIG.model_copy(update={"variants": 4})
    pack(PackConfig(), tiles, tmp_path / "shards")
    run(config, tmp_path / "shards", tmp_path / "out", codec=make_codec())
    (tiles / "images/case.04.png").write_bytes(make_image(99))
    text = (tiles / "metadata.jsonl").read_text().replace("tile 6, gland", "new words")
    (tiles / "metadata.jsonl").write_text(text)
    pack(PackConfig(), tiles, tmp_path / "shards")
    again = make_codec()
    run(config, tmp_path / "shards", tmp_path / "out", codec=again)
    assert again.num_calls == 4  # variants of one image
    run(config, tmp_path / "shards", tmp_path / "fresh", codec=make_codec())
    assert sha256_file(tmp_path / "out" / MANIFEST) == sha256_file(tmp_path / "fresh" / MANIFEST)
    assert LatentReader(tmp_path / "out").rows[6]["text"] == "new words"


def test_damaged_latents_are_mended_by_running_again(packed, tmp_path, make_codec, capsys):
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    before = sha256_file(tmp_path / "out/mean.npy")
    data = bytearray((tmp_path / "out/mean.npy").read_bytes())
    data[-3] ^= 1
    (tmp_path / "out/mean.npy").write_bytes(bytes(data))
    again = make_codec()
    run(CONFIG, packed, tmp_path / "out", codec=again)
    assert again.num_calls == 10  # variants of one image
    assert sha256_file(tmp_path / "out/mean.npy") == before
    assert "made again" in capsys.readouterr().err
    verify(tmp_path / "out")
    (tmp_path / "out/mean.npy").unlink()
    run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    assert "earlier latents are not used" in capsys.readouterr().err
    verify(tmp_path / "out")


def test_damaged_shards_stop_the_run(packed, tmp_path, make_codec):
    row = ShardReader(packed).rows[3]
    data = bytearray((packed / row["shard"]).read_bytes())
    data[row["offset"] + 40] ^= 1
    (packed / row["shard"]).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="images_case_03"):
        run(CONFIG, packed, tmp_path / "out", codec=make_codec())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def sizes(tmp_path, make_image):
    """Shards of a small, a wide and a large image."""
    folder = tmp_path / "sizes"
    folder.mkdir()
    for name, size in {"a": (8, 8), "b": (40, 16), "c": (64, 48)}.items():
        (folder / f"{name}.png").write_bytes(make_image(1, size))
    pack(PackConfig(), folder, tmp_path / "sizes_shards")
    return tmp_path / "sizes_shards"


def test_other_sizes_are_rejected_unless_they_are_asked_for(sizes, tmp_path, make_codec, capsys):
    config = EncodeConfig(tile_size=16, variants=1, max_reject_fraction=1)
    with pytest.raises(DataError, match="no usable item of 3"):
        run(config, sizes, tmp_path / "out", codec=make_codec())
    settings = config.model_dump() | {"larger": "crop"}
    manifest = run(EncodeConfig(**settings), sizes, tmp_path / "out", codec=make_codec())
    assert manifest.counts == {"listed": 3, "used": 2, "rejected": 1}
    said = "2 of 2 images are cut to their centre, of which the least keeps 8% of its area"
    assert said in capsys.readouterr().err
    reject = json.loads((tmp_path / "out/rejects.jsonl").read_text())
    reason = "8 x 8 px, smaller than tile_size 16 (smaller=resize enlarges it)"
    assert reject == {"item": "a", "reason": reason}
    with pytest.raises(DataError, match="no usable item of 3"):
        run(EncodeConfig(tile_size=16), sizes, tmp_path / "strict", codec=make_codec())
    settings |= {"larger": "reject", "smaller": "resize"}
    manifest = run(EncodeConfig(**settings), sizes, tmp_path / "small", codec=make_codec())
    rejects = (tmp_path / "small/rejects.jsonl").read_text().splitlines()
    assert [json.loads(row)["item"] for row in rejects] == ["b", "c"]
    assert "64 x 48 px, larger than tile_size 16 (larger=resize shrinks it" in rejects[1]
    settings |= {"larger": "resize"}
    manifest = run(EncodeConfig(**settings), sizes, tmp_path / "all", codec=make_codec())
    assert manifest.counts["used"] == 3


@pytest.mark.parametrize(
    ("size", "larger", "expected"),
    [
        ((48, 48), "crop", 1 / 9),
        ((48, 48), "resize", 1),
        ((40, 16), "crop", 0.4),
        ((40, 16), "resize", 0.4),
        ((8, 20), "crop", 0.4),  # enlarged first
        ((16, 16), "crop", 1),
    ],
)
def test_the_share_that_is_kept(size, larger, expected):
    assert kept_share(*size, EncodeConfig(tile_size=16, larger=larger)) == pytest.approx(expected)


def test_crop_takes_the_centre_and_resize_the_whole(sizes):
    wide = ShardReader(sizes).image(1)
    tile = prepare(wide, EncodeConfig(tile_size=16, larger="crop"))
    expected = wide[:, 12:28].astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    assert np.array_equal(tile.numpy(), expected)
    large = ShardReader(sizes).image(2)
    tile = prepare(large, EncodeConfig(tile_size=16, larger="resize"))
    shrunk = np.asarray(Image.fromarray(large).resize((21, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(
        tile.numpy(), shrunk[:, 2:18].astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    )


def test_jitter_depends_on_image_and_variant_alone():
    tile = torch.rand(3, 8, 8) * 2 - 1
    first = make_variant(tile, 8, "a", CONFIG)
    assert torch.equal(first, make_variant(tile, 8, "a", CONFIG))
    assert not torch.equal(first, make_variant(tile, 8, "b", CONFIG))
    assert not torch.equal(first, make_variant(tile, 16, "a", CONFIG))


def test_a_codec_without_scaling_is_refused(packed, tmp_path, make_codec):
    class Loud(make_codec):
        def encode(self, images):
            mean, std = super().encode(images)
            return mean * 1e6, std

    with pytest.raises(DataError, match="not finite in float16"):
        run(CONFIG, packed, tmp_path / "out", codec=Loud())


def test_a_tile_that_the_codec_cannot_halve_is_refused(packed, tmp_path, make_codec):
    with pytest.raises(ConfigError, match="tile_size: 18; expected a multiple of 4"):
        run(EncodeConfig(tile_size=18), packed, tmp_path / "out", codec=make_codec())


@pytest.mark.parametrize(
    "override", ["variants=0", "tile_size=4", "smaller=perhaps", "batch_size=0"]
)
def test_configuration_is_checked(override):
    with pytest.raises(ConfigError, match=override.split("=")[0]):
        load_config(EncodeConfig, None, [override])
