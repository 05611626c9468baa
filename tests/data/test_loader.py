"""A flipped bit, a cut file and a missing file are refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from crafts.core.errors import DataError, IntegrityError
from crafts.data.config import EncodeConfig
from crafts.data.encode import run as encode
from crafts.data.loader import LatentReader, ShardReader


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def latents(packed, tmp_path, make_codec):
    encode(
        EncodeConfig(tile_size=16, variants=2), packed, tmp_path / "latents", codec=make_codec(0.5)
    )
    return tmp_path / "latents"


def damage(path: Path, kind: str) -> str:
    """Damage a file; returns the words that the error must have."""
    if kind == "missing":
        path.unlink()
        return f"{path.name}: missing"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
        return f"{path.name}: .* bytes"
    flip(path, path.stat().st_size // 2)
    return f"{path.name}: changed content"


@pytest.mark.parametrize("kind", ["missing", "cut", "flipped"])
@pytest.mark.parametrize(
    ("reader", "folder", "name"),
    [
        *((ShardReader, "packed", name) for name in ("shard-00001.tar", "index.parquet")),
        *((LatentReader, "latents", name) for name in ("mean.npy", "std.npy", "index.parquet")),
    ],
)
def test_damaged_files_are_refused_by_name(request, reader, folder, name, kind):
    place = request.getfixturevalue(folder)
    words = damage(place / name, kind)
    with pytest.raises(IntegrityError, match=words):
        reader(place, how="full")
    if kind != "flipped" or name == "index.parquet":
        with pytest.raises(IntegrityError, match=words):
            reader(place)


def test_a_flipped_bit_of_an_image_is_found_on_first_touch(packed):
    row = ShardReader(packed).rows[7]
    flip(packed / row["shard"], row["offset"] + row["size"] // 2)
    reader = ShardReader(packed)
    reader.image(6)
    with pytest.raises(IntegrityError, match=r"shard-00001.tar: image 'images_case_07': changed"):
        reader.image(7)


def test_a_shard_that_vanishes_while_open_is_named(packed):
    reader = ShardReader(packed)
    (packed / "shard-00000.tar").unlink()
    with pytest.raises(IntegrityError, match=r"shard-00000\.tar: missing"):
        reader.image(0)


def test_readers_travel_to_worker_processes(packed):
    reader = pickle.loads(pickle.dumps(ShardReader(packed)))
    assert reader.image(3).dtype == np.uint8


@pytest.mark.parametrize("name", ["mean.npy", "std.npy"])
def test_a_flipped_bit_of_a_latent_is_found_on_first_touch(latents, name):
    flip(
        latents / name, 128 + 5 * 2 * 3 * 16 * 2 + 7
    )  # header, then row 5 of [12, 2, 3, 4, 4] float16
    reader = LatentReader(latents)
    reader.sample(4)
    with pytest.raises(IntegrityError, match="latents 'images_case_05': changed"):
        reader.sample(5)


def test_a_damaged_array_header_is_refused(latents):
    flip(latents / "mean.npy", 0)
    with pytest.raises(IntegrityError, match=r"mean\.npy: a damaged header"):
        LatentReader(latents)


def test_arrays_of_another_type_or_length_are_refused(latents):
    """Files that agree with a manifest written by hand, but not with each other."""
    for array, words in (
        (np.zeros((2, 2)), "another type"),
        (np.zeros((11, 2, 3, 4, 4), np.float16), "11 rows"),
    ):
        np.save(latents / "mean.npy", array)
        manifest = json.loads((latents / "manifest.json").read_text())
        manifest["files"]["mean.npy"]["size"] = (latents / "mean.npy").stat().st_size
        manifest.pop("sha256", None)  # as one written by hand has none
        (latents / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(IntegrityError, match=words):
            LatentReader(latents)


def test_latents_of_another_codec_are_refused(latents):
    assert len(LatentReader(latents, "pooling")) == 12
    with pytest.raises(
        IntegrityError, match="latents of codec pooling; expected latents of codec other"
    ):
        LatentReader(latents, "other")


def test_folders_of_another_stage_or_of_none_are_refused(packed, latents, tmp_path):
    with pytest.raises(DataError, match="an artifact of `crafts pack`"):
        LatentReader(packed)
    with pytest.raises(DataError, match="an artifact of `crafts encode`"):
        ShardReader(latents)
    with pytest.raises(DataError, match=r"no manifest\.json"):
        ShardReader(tmp_path)
