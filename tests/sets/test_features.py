"""Features of folders and arrays: rows, rejects, texts, cache, and memory for one batch only."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core import progress
from crafts.core.artifacts import sha256_file
from crafts.core.errors import ConfigError, DataError
from crafts.evaluation import build_extractor
from crafts.model.vision.image_encoders import ImageEncoder
from crafts.sets.cache import FeatureCache
from crafts.sets.features import encode_tiles, read_image
from fixtures_encoders import tiles

TEXTS = ["colon", "lung", "colon", "long long text", "lung"]


class Counting:
    """A real, if small, encoder: colours of each image; counts what it is given."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.texts: list[list[str]] = []

    def open(self, *, with_texts: bool = True, fingerprint: str = "f" * 64) -> ImageEncoder:
        return ImageEncoder(
            facts={"name": "colours", "fingerprint": fingerprint, "width": 6},
            device=torch.device("cpu"),
            prepare=lambda pixels: (
                torch.from_numpy(pixels[:12:2, :12:2].copy()).permute(2, 0, 1) / 255.0
            ),
            encode_images=self.encode_images,
            encode_texts=self.encode_texts if with_texts else None,
        )

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        self.images.append(len(images))
        flat = images.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2).reciprocal()], dim=1)

    def encode_texts(self, texts):
        self.texts.append(list(texts))
        lengths = torch.tensor([[float(len(text))] for text in texts])
        return lengths.expand(-1, 6), [len(text) > 10 for text in texts]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five tiles of two sizes with texts, labels and a split."""
    source = tmp_path / "tiles"
    (source / "images").mkdir(parents=True)
    lines = ["file_name,text,label,split"]
    sizes = [(16, 16), (16, 16), (20, 12), (16, 16), (16, 16)]
    for index, tile in enumerate(tiles(*sizes)):
        Image.fromarray(tile).save(source / "images" / f"{index}.png")
        split = "heldout" if index > 2 else "train"
        lines.append(f"images/{index}.png,{TEXTS[index]},class {index % 2},{split}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n")
    return source


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_rows_hold_all_that_is_known(folder: Path, batch_size: int) -> None:
    counting = Counting()
    found = build_extractor(counting.open(), batch_size=batch_size)(folder)
    assert max(counting.images) <= batch_size and sum(counting.images) == 5
    assert [row["name"] for row in found.rows] == [f"images/{i}.png" for i in range(5)]
    assert [row["text"] for row in found.rows] == TEXTS
    assert [row["label"] for row in found.rows] == [f"class {i % 2}" for i in range(5)]
    assert [(row["width"], row["height"]) for row in found.rows][1:3] == [(16, 16), (12, 20)]
    assert found.rows[3]["sha256"] == sha256_file(folder / "images" / "3.png")
    assert found.features.dtype == np.float32
    for index, row in enumerate(found.features):
        pixels = np.asarray(Image.open(folder / "images" / f"{index}.png"))[:12:2, :12:2] / 255.0
        np.testing.assert_allclose(row[:3], pixels.mean((0, 1)), atol=1e-6)
    assert found.rejected == () and found.encoder["name"] == "colours"


def test_equal_texts_are_encoded_once_and_cuts_are_shared_out(folder: Path) -> None:
    counting = Counting()
    found = build_extractor(counting.open(), batch_size=2)(folder)
    assert counting.texts == [["colon", "lung"], ["long long text"]]
    assert found.texts is not None
    assert found.texts[:, 0].tolist() == [len(text) for text in TEXTS]
    assert found.truncated == pytest.approx(1 / 5)


def test_no_texts_without_a_text_half_or_where_one_is_missing(folder: Path) -> None:
    assert build_extractor(Counting().open(with_texts=False))(folder).texts is None
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace(",lung,", ",,", 1))
    assert build_extractor(Counting().open())(folder).texts is None


def test_a_split_and_its_mistakes(folder: Path) -> None:
    found = build_extractor(Counting().open(), split="heldout")(folder)
    assert [row["name"] for row in found.rows] == ["images/3.png", "images/4.png"]
    with pytest.raises(ConfigError, match=r"no image of split 'test'; expected one of heldout"):
        build_extractor(Counting().open(), split="test")(folder)


def test_odd_images_are_used_or_counted_with_a_reason(tmp_path: Path) -> None:
    (whole,) = tiles((16, 16))
    image = Image.fromarray(whole)
    image.save(tmp_path / "a-rgb.png")
    image.convert("L").save(tmp_path / "b-grey.png")
    image.convert("RGBA").save(tmp_path / "c-rgba.png")
    Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16)).save(tmp_path / "d-16bit.png")
    (tmp_path / "e-broken.png").write_bytes((tmp_path / "a-rgb.png").read_bytes()[:60])
    (tmp_path / "f-empty.png").write_bytes(b"")
    # without contrast the deviation is 0 and its inverse is no number
    Image.new("RGB", (16, 16), "white").save(tmp_path / "g-blank.png")
    found = build_extractor(Counting().open(), batch_size=3)(tmp_path)
    assert [row["name"][0] for row in found.rows] == ["a", "b", "c"]
    assert np.isfinite(found.features).all() and found.features.shape == (3, 6)
    reasons = {name[0]: reason for name, reason in found.rejected}
    assert "colour mode 'I;16'" in reasons["d"]
    assert "truncated" in reasons["e"] and reasons["f"] == "empty file"
    assert reasons["g"] == "features that are not finite"
    assert len(found) + len(found.rejected) == 7


def test_one_image_is_enough_and_none_is_refused(tmp_path: Path) -> None:
    Image.fromarray(tiles((16, 16))[0]).save(tmp_path / "only.png")
    assert build_extractor(Counting().open())(tmp_path).features.shape == (1, 6)
    (tmp_path / "only.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no usable image of 1; only\.png: not an image"):
        build_extractor(Counting().open())(tmp_path)
    (tmp_path / "only.png").unlink()
    with pytest.raises(DataError, match="no tile in it"):
        build_extractor(Counting().open())(tmp_path)
    with pytest.raises(ConfigError, match="no such file or folder"):
        build_extractor(Counting().open())(tmp_path / "absent")
    with pytest.raises(ConfigError, match="build_extractor: batch_size: 0"):
        build_extractor(Counting().open(), batch_size=0)


def test_a_second_run_encodes_nothing(folder: Path, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    cache = tmp_path / "cache"
    expected = build_extractor(first.open(), cache=cache)(folder)
    found = build_extractor(second.open(), cache=cache)(folder)
    assert second.images == [] and second.texts == []
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.texts, expected.texts)
    assert found.rows == expected.rows and found.truncated == expected.truncated


def test_a_changed_image_or_encoder_is_computed_anew(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build_extractor(Counting().open(), cache=cache)(folder)
    Image.fromarray(tiles((16, 16), seed=9)[0]).save(folder / "images" / "0.png")
    counting = Counting()
    build_extractor(counting.open(), cache=cache)(folder)
    assert counting.images == [1] and counting.texts == []
    other = Counting()
    build_extractor(other.open(fingerprint="e" * 64), cache=cache)(folder)
    assert sum(other.images) == 5


def test_a_killed_run_keeps_its_batches(folder: Path, tmp_path: Path) -> None:
    class Killed(Counting):
        def encode_images(self, images):
            if self.images:
                raise KeyboardInterrupt
            return super().encode_images(images)

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        build_extractor(Killed().open(), cache=cache, batch_size=2)(folder)
    counting = Counting()
    found = build_extractor(counting.open(), cache=cache, batch_size=2)(folder)
    assert sum(counting.images) == 3 and len(found) == 5


def test_damaged_entries_are_computed_again(folder: Path, tmp_path: Path, capsys) -> None:
    cache = tmp_path / "cache"
    expected = build_extractor(Counting().open(), cache=cache)(folder)
    (path,) = cache.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE features SET vector = zeroblob(24) WHERE kind = 'text'")
        connection.execute(
            "UPDATE features SET vector = x'00' WHERE hash = ?", (expected.rows[1]["sha256"],)
        )
    connection.close()
    counting = Counting()
    found = build_extractor(counting.open(), cache=cache)(folder)
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.texts, expected.texts)
    assert counting.images == [1] and len(counting.texts[0]) == 3
    assert "1 damaged entries were computed again" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["overwritten", "cut", "middle"])
def test_a_damaged_cache_is_begun_anew(folder: Path, tmp_path: Path, damage: str, capsys) -> None:
    cache = tmp_path / "cache"
    expected = build_extractor(Counting().open(), cache=cache)(folder)
    (path,) = cache.glob("*.sqlite")
    data = bytearray(path.read_bytes())
    if damage == "overwritten":
        data = bytearray(b"no database" * 500)
    elif damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[4096 : 4096 + 600] = b"\xff" * 600
    path.write_bytes(bytes(data))
    for _ in range(2):  # the second time from the cache that was begun anew
        counting = Counting()
        found = build_extractor(counting.open(), cache=cache, batch_size=2)(folder)
        np.testing.assert_array_equal(found.features, expected.features)
        np.testing.assert_array_equal(found.texts, expected.texts)
    assert counting.images == []
    assert "damaged" in capsys.readouterr().err


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no place for a cache .* expected a folder"):
        FeatureCache(tmp_path / "file" / "cache", "f" * 64, 6)


def test_progress_names_speed_and_time_to_go(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    build_extractor(Counting().open())(folder)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("features: 1/5 images  ") and "images/s" in lines[0]
    assert "to go  (0 from the cache, 0 rejected)" in lines[0]


def test_only_a_batch_of_images_is_in_memory(tmp_path: Path) -> None:
    """Pixels of 40 tiles are 30 MiB; the peak stays at those of a few tiles."""
    import tracemalloc

    (tile,) = tiles((512, 512))
    for index in range(40):
        Image.fromarray(np.roll(tile, index, axis=0)).save(tmp_path / f"{index:02d}.png")
    run = build_extractor(Counting().open(), batch_size=4)
    tracemalloc.start()
    run(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * tile.nbytes


def noise(num=7, side=8):
    return np.random.default_rng(0).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_any_batch_size_gives_the_same_rows(batch_size):
    seen = []

    def moments(images):
        seen.append(len(images))
        assert images.dtype == torch.float32 and -1 <= images.min() and images.max() <= 1
        return torch.cat([images.mean((2, 3)), images[:, :, 0, 1]], dim=1).half()

    features = encode_tiles(noise(), moments, batch_size)
    scaled = noise().astype(np.float64) / 127.5 - 1
    expected = np.concatenate([scaled.mean((1, 2)), scaled[:, 0, 1]], axis=1)
    assert features.dtype == np.float32 and max(seen) <= batch_size and sum(seen) == 7
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_a_cut_file_is_named(tmp_path):
    Image.fromarray(noise(1, 64)[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"a\.png: an unreadable image"):
        read_image(tmp_path / "a.png")


def test_importing_the_package_is_light():
    code = (
        "import sys, crafts.evaluation as e\n"
        "assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert callable(e.separation)\n"
        "from crafts.evaluation import frechet_distance, prdc, image_alignment\n"
        "assert 'torch' not in sys.modules\n"
        "import pytest\n"
        "with pytest.raises(AttributeError, match='no attribute .nothing.'): e.nothing\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
