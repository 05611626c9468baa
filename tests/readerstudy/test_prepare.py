"""What a prepared study holds, and that nothing of it tells the class."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from crafts.core.artifacts import load_manifest, verify
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.readerstudy import prepare
from crafts.readerstudy.config import PrepareConfig
from crafts.readerstudy.items import equalising, ordering, traces
from crafts.readerstudy.protocol import (
    REGISTRATION,
    load_key,
    load_protocol,
    load_registration,
    load_study,
)

from .conftest import write_tiles


def prepared(tiles, output, **fields):
    config = PrepareConfig(real=tiles[0], generated=tiles[1], **fields)
    prepare.run(config, None, output)
    return output


def test_items_are_matched_by_label(study):
    rows = [row for row in load_key(study).values() if row.is_main]
    labels = {
        kind: sorted(r.label for r in rows if r.kind == kind) for kind in ("real", "synthetic")
    }
    assert labels["real"] == labels["synthetic"] and len(labels["real"]) == 24
    patients = [row.patient for row in rows if row.kind == "real"]
    assert len(set(patients)) == len(patients)
    sources = [row.source for row in rows]
    assert len(set(sources)) == len(sources)


def test_every_reader_has_an_order_of_their_own_with_hidden_repeats(study):
    protocol, key = load_protocol(study), load_key(study)
    orders = []
    for slots in protocol.readers.values():
        test = [slot.picture for slot in slots if slot.block == "test"]
        main = [name for name in test if key[name].is_main]
        assert len(set(main)) == 48 and len(main) == 48 + round(0.2 * 48)
        twice = {name for name in main if main.count(name) == 2}
        assert all(test[::-1].index(name) < len(test) / 2 for name in twice)
        assert [slot.block for slot in slots] == ["training"] * 6 + ["test"] * len(test)
        orders.append(tuple(test))
    assert len(set(orders)) == 3


def test_what_is_served_holds_no_answer(study):
    """The key stands nowhere in it; feedback is there for training items alone."""
    protocol, key = load_protocol(study), load_key(study)
    assert {key[name].block for name in protocol.feedback} == {"training"}
    text = (study / "served" / "protocol.json").read_text()
    for word in ("kind", "plain-fake", "attention", "patient", "real/", "generated/", "source"):
        assert word not in text
    assert (study / "sealed" / "key.csv").stat().st_mode & 0o077 == 0


def test_files_of_both_classes_are_alike(study):
    """Length, format, metadata, size and time stamps; names are hashes."""
    seen = set()
    for name in load_key(study):
        path = study / "served" / "pictures" / name
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            seen.add((len(data), image.format, image.mode, image.size, str(image.info)))
        assert len(path.stem) == 20 and set(path.stem) <= set("0123456789abcdef")
    assert len(seen) == 1


def test_names_and_orders_do_not_tell_the_class(study):
    key = load_key(study)
    main = sorted(name for name, row in key.items() if row.is_main)
    synthetic = np.array([key[name].answer == 1 for name in main])
    names = np.array([[int(sign, 16) for sign in name[:20]] for name in main], dtype=float)
    found = traces.tell_apart(names, synthetic)
    assert found is not None and found.low <= 0.5 <= found.high


def test_compression_tells_the_classes_apart_before_and_not_after(tiles, study):
    """Painted by one hand, so that the history of the file is all that differs."""
    before, labels = [], []
    for folder, synthetic in zip(tiles, (False, True), strict=True):
        for path in sorted((folder / "images").iterdir()):
            before.append(traces.grid_traces(np.asarray(Image.open(path).convert("RGB"))))
            labels.append(synthetic)
    raw = traces.tell_apart(np.array(before), np.array(labels))
    assert raw is not None and raw.low > 0.9
    after = load_manifest(study).extra["traces"]
    assert after["low"] <= 0.5 <= after["high"]


def coefficient_histograms(path):
    """Sizes of the nine lowest waves of 8 x 8 blocks; a JPEG before leaves combs in them."""
    grey = np.asarray(Image.open(path).convert("RGB")) @ (0.299, 0.587, 0.114)
    rows, columns = (length // 8 for length in grey.shape)
    blocks = grey[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    waves = np.abs(dctn(blocks, axes=(2, 3), norm="ortho").round().astype(int)).clip(max=15)
    lowest = [(i, j) for i in range(4) for j in range(4) if 0 < i + j <= 3]
    counts = [np.bincount(waves[..., i, j].ravel(), minlength=16) for i, j in lowest]
    return np.concatenate(counts) / (rows * columns)


def test_histograms_of_coefficients_tell_the_classes_apart_before_and_not_after(tiles, study):
    """What finds double JPEG in forensics finds the files, and nothing in what is served."""
    files = [sorted((folder / "images").iterdir()) for folder in tiles]
    before = [coefficient_histograms(path) for paths in files for path in paths]
    raw = traces.tell_apart(np.array(before), np.repeat([False, True], [*map(len, files)]))
    assert raw is not None and raw.low > 0.9
    main = {name: row.answer == 1 for name, row in load_key(study).items() if row.is_main}
    after = [coefficient_histograms(study / "served" / "pictures" / name) for name in main]
    served = traces.tell_apart(np.array(after), np.array(list(main.values())))
    assert served is not None and served.low <= 0.5 <= served.high


def test_the_same_seed_gives_the_same_study(tiles, tmp_path):
    fields = {"per_class": 4, "readers": 1, "training": 2, "tasks": ("realness",)}
    first = prepared(tiles, tmp_path / "a", **fields)
    second = prepared(tiles, tmp_path / "b", **fields)
    third = prepared(tiles, tmp_path / "c", seed=1, **fields)
    files = [load_manifest(folder).files for folder in (first, second, third)]
    assert files[0] == files[1] != files[2]
    assert all(slot.text == "" for slot in load_protocol(first).readers["reader-01"])


def test_a_changed_plan_or_key_is_noticed(tiles, tmp_path):
    fields = {"per_class": 4, "readers": 1, "training": 2}
    study = prepared(tiles, tmp_path / "s", **fields)
    plan = json.loads((study / REGISTRATION).read_text())
    (study / REGISTRATION).write_text(json.dumps({**plan, "margin": 0.2}))
    with pytest.raises(IntegrityError, match="a changed plan needs a new study"):
        load_registration(study)
    key = study / "sealed" / "key.csv"
    key.write_text(key.read_text().replace(",1\n", ",0\n", 1))
    with pytest.raises(IntegrityError, match="sealed/key.csv"):
        load_key(study)
    key.unlink()
    with pytest.raises(DataError, match="where it was kept"):
        load_study_key(study)
    assert load_protocol(study).title  # which serving needs, goes on


def load_study_key(study):
    return load_key(study)


def test_split_plot_gives_groups_their_own_items(tiles, tmp_path):
    study = prepared(tiles, tmp_path / "s", per_class=8, readers=4, groups=2, training=0)
    key, protocol = load_key(study), load_protocol(study)
    seen = [
        {slot.picture for slot in slots if key[slot.picture].is_main}
        for slots in protocol.readers.values()
    ]
    assert seen[0] == seen[2] and seen[1] == seen[3] and not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 16
    verify(study)
    assert load_study(study).plan.groups == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tasks": ("remark",)}, "realness or rating"),
        ({"tasks": ("realness", "diagnosis")}, "at least two answers"),
        ({"match": "none"}, "words that both classes share"),
        ({"groups": 9}, "no more groups than readers"),
        ({"per_class": 1}, "2 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tiles, fields, said):
    from crafts.core.config import validate

    with pytest.raises(ConfigError, match=said):
        validate(PrepareConfig, {"real": tiles[0], "generated": tiles[1], **fields}, "study")


def test_too_few_tiles_are_counted(tiles, tmp_path):
    with pytest.raises(DataError, match="40 matched pairs of label.*expected 103 pairs"):
        prepared(tiles, tmp_path / "s", per_class=100)
    with pytest.raises(ConfigError, match="the same images"):
        prepared((tiles[0], tiles[0]), tmp_path / "s")
    with pytest.raises(DataError, match="no text that real and generated tiles share"):
        other = write_tiles(tmp_path / "o", seed=3, number=2, quality=None)
        table = other / "metadata.csv"
        table.write_text(table.read_text().replace(" ", "_"))
        prepared((tiles[0], other), tmp_path / "s", match="text", per_class=2)
    assert not (tmp_path / "s").exists()


def test_tiles_of_two_sizes_are_refused_or_cut(tiles, tmp_path):
    large = write_tiles(tmp_path / "large", seed=5, number=8, quality=None, size=64)
    fields = {"per_class": 4, "training": 0, "readers": 1}
    with pytest.raises(DataError, match="48 x 48 px and 64 x 64 px"):
        prepared((tiles[0], large), tmp_path / "s", **fields)
    study = prepared((tiles[0], large), tmp_path / "s", size=48, **fields)
    assert load_protocol(study).size == (48, 48)


def test_cuts_keep_the_grid_of_blocks():
    pixels = np.arange(60 * 60 * 3, dtype=np.uint8).reshape(60, 60, 3)
    cut = equalising.cut_middle(pixels, 32)
    assert cut is not None and (cut == pixels[8:40, 8:40]).all()
    assert equalising.cut_middle(pixels, 61) is None


def test_a_history_is_read_from_the_file():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, "JPEG", quality=61, subsampling=2)
    found = equalising.read_history(buffer.getvalue())
    assert found == equalising.history_of_quality(61)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    assert equalising.read_history(buffer.getvalue()) is None


def test_orders_show_each_item_once_and_repeats_late():
    order = ordering.order_items([f"m{k}" for k in range(30)], ["c"], repeats=0.1, seed=0, reader=1)
    assert len(order) == 34 and set(order) == {*(f"m{k}" for k in range(30)), "c"}
    twice = [name for name in set(order) if order.count(name) == 2]
    assert len(twice) == 3
    gaps = [len(order) - 1 - order[::-1].index(name) - order.index(name) for name in twice]
    assert min(gaps) >= len(order) // 4
