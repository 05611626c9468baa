import csv
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from crafts.core.artifacts import load_manifest, lock, sha256_file, verify
from crafts.core.config import load_config
from crafts.core.errors import ConfigError, DataError, RetryError
from crafts.data.collection import Collection
from crafts.generation.export import read_provenance
from crafts.generation.generate import generate_images, run
from crafts.generation.request import GenerateConfig
from crafts.model.bundle import load_bundle
from crafts.sampling.draws import Draw
from crafts.sampling.sampler import draw_noise
from killed_runs import leave_unfinished

PROMPTS = ("colon, carcinoma", "benign glands, low power", "lung " * 90)


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return load_bundle(tiny_model)


def config(tiny_model, **values):
    return GenerateConfig(
        **{"prompts": PROMPTS, "model": str(tiny_model), "num_steps": 2, "num_images": 2} | values
    )


def pixels(folder):
    return {
        p.name: np.asarray(Image.open(p)).astype(int) for p in sorted(folder.glob("images/*.png"))
    }


def contents(folder):
    files = [path for path in folder.rglob("*.*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if not path.name.startswith(".")
    }


def metadata(folder):
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def finished(tiny_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    return output, run(config(tiny_model), None, output)


def test_the_folder_holds_what_was_promised(finished, tiny_model):
    output, manifest = finished
    names = [f"images/{row}-{k}.png" for row in ("000", "001", "002") for k in (0, 1)]
    assert sorted(manifest.files) == sorted([*names, "grid.png", "metadata.csv", "rejects.jsonl"])
    assert manifest == verify(output)
    assert manifest.counts == {"listed": 3, "used": 3, "rejected": 0, "images": 6}
    fingerprint = load_bundle(tiny_model).fingerprint
    assert manifest.inputs == {"model": fingerprint}
    assert manifest.extra["model"] == {
        "name": tiny_model.parent.name,
        "fingerprint": fingerprint,
        "licence": "Apache-2.0",
    }
    assert [image["file"] for image in manifest.extra["images"]] == names
    assert [image["k"] for image in manifest.extra["images"]] == [0, 1] * 3
    for row, image in zip(metadata(output), manifest.extra["images"], strict=True):
        assert row["file_name"] == image["file"]
        assert row["sha256"] == image["sha256"] == sha256_file(output / image["file"])
    assert [row["text"] for row in metadata(output)[::2]] == list(PROMPTS)


def test_every_png_carries_its_provenance(finished, tiny_model):
    output, manifest = finished
    found = read_provenance(output / "images/001-1.png")
    assert (found.prompt, found.seed, found.k) == (PROMPTS[1], 0, 1)
    assert found.model_sha256 == manifest.inputs["model"]
    assert found.licence == "Apache-2.0"
    assert found.mpp is None
    assert str(tiny_model.parent) not in str(found)
    sheet = read_provenance(output / "grid.png")
    assert sheet.prompt == "\n".join(PROMPTS)
    assert sheet.seed is None


def test_the_table_tells_the_scale(finished, bundle, tiny_model, tmp_path):
    assert {row["mpp"] for row in metadata(finished[0])} == {"unknown"}
    run(config(tiny_model), None, tmp_path / "out", bundle=replace(bundle, mpp=0.5))
    tile = Collection(tmp_path / "out").load(0)
    assert not isinstance(tile, str)
    assert tile.fields["mpp"] == 0.5


def test_images_of_one_prompt_differ(finished):
    images = pixels(finished[0])
    assert (images["000-0.png"] != images["000-1.png"]).any()
    assert (images["000-0.png"] != images["001-0.png"]).any()


def test_two_runs_are_byte_identical(finished, tiny_model, tmp_path):
    run(config(tiny_model), None, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(finished[0])


@pytest.mark.parametrize("values", [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 8}])
def test_batch_size_does_not_change_images(finished, tiny_model, tmp_path, values):
    run(config(tiny_model, **values), None, tmp_path / "out")
    assert_same(pixels(tmp_path / "out"), pixels(finished[0]))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        assert np.abs(found[name] - expected[name]).max() <= 2, name


def test_shards_and_order_do_not_change_images(tiny_model, tmp_path):
    rows = [{"id": f"r{i}", "prompt": PROMPTS[i % 3], "seed": i} for i in range(5)]
    values = {"prompts": (), "num_images": 1, "preset": "fast"}
    for name, listed in (("forward", rows), ("backward", rows[::-1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
        run(config(tiny_model, **values), tmp_path / f"{name}.jsonl", tmp_path / name)
    assert_same(pixels(tmp_path / "backward"), pixels(tmp_path / "forward"))
    merged = {}
    for k in (1, 2, 3):
        shard = config(tiny_model, **values, shard=f"{k}/3", manifest=tmp_path / "forward.jsonl")
        manifest = run(shard, None, tmp_path / f"shard{k}")
        assert manifest.counts["listed"] == len(range(k - 1, 5, 3))
        merged |= pixels(tmp_path / f"shard{k}")
    assert_same(merged, pixels(tmp_path / "forward"))


def noise_of(bundle, tiny_model, tmp_path, rows, name, **values):
    """sha256 of the images by row; of one step, so that they tell the noise apart."""
    path = tmp_path / f"{name}.csv"
    path.write_text("id,prompt,seed,label\n" + "".join(f"{row}\n" for row in rows))
    given = {"prompts": (), "num_images": 1, "num_steps": 1, "batch_size": 1} | values
    run(config(tiny_model, **given), path, tmp_path / name, bundle=bundle)
    return {row["id"]: pixels(tmp_path / name)[f"{row['id']}-0.png"].tobytes()
            for row in metadata(tmp_path / name)}  # fmt: skip


def test_rows_of_one_prompt_and_seed_differ_and_keep_their_pictures(bundle, tiny_model, tmp_path):
    rows = ["a,colon,5,x", "b,colon,5,y", "c,colon,,z"]
    made = noise_of(bundle, tiny_model, tmp_path, rows, "made")
    assert len(set(made.values())) == 3
    more = ["new,lung,1,", *rows[::-1], "last,colon,5,"]
    later = noise_of(bundle, tiny_model, tmp_path, more, "later")
    assert {name: later[name] for name in made} == made
    parts = [noise_of(bundle, tiny_model, tmp_path, rows, f"k{k}", shard=f"{k}/2") for k in (1, 2)]
    assert parts[0] | parts[1] == made
    assert read_provenance(tmp_path / "made/images/a-0.png").row == "a"


def test_one_noise_compares_prompts(bundle, tiny_model, tmp_path):
    rows = ["a,colon,5,", "b,colon,5,", "c,lung,6,"]
    made = noise_of(bundle, tiny_model, tmp_path, rows, "made", same_noise=True)
    assert made["a"] == made["b"] != made["c"]
    given = config(tiny_model, prompts=("colon",), seed=5, num_images=1, num_steps=1, batch_size=1)
    run(given, None, tmp_path / "plain", bundle=bundle)
    assert pixels(tmp_path / "plain")["000-0.png"].tobytes() == made["a"]
    assert read_provenance(tmp_path / "plain/images/000-0.png").row == ""


def test_further_columns_and_their_making_reach_the_shards(bundle, tiny_model, tmp_path):
    from crafts.data.config import PackConfig
    from crafts.data.loader import ShardReader
    from crafts.data.pack import run as pack

    rows = ["a,colon,5,benign", "b,lung,5,cancer"]
    noise_of(bundle, tiny_model, tmp_path, rows, "made")
    pack(PackConfig(tokenizers=()), tmp_path / "made", tmp_path / "shards")
    found = {row["key"]: row for row in ShardReader(tmp_path / "shards").rows}
    assert {key: row["label"] for key, row in found.items()} == {
        "images/a-0".replace("/", "_"): "benign",
        "images/b-0".replace("/", "_"): "cancer",
    }
    for row in found.values():
        assert (row["licence"], row["synthetic"]) == ("Apache-2.0", "true")
        assert row["model"] == tiny_model.parent.name


def test_a_column_that_holds_before_an_option_is_named(bundle, tiny_model, tmp_path, capsys):
    (tmp_path / "m.csv").write_text("id,prompt,num_images\na,colon,2\nb,lung,\n")
    given = config(tiny_model, prompts=(), num_images=1, num_steps=1)
    manifest = run(given, tmp_path / "m.csv", tmp_path / "out", bundle=bundle)
    assert manifest.counts["images"] == 3
    told = capsys.readouterr().err
    assert "numbers of images come from the table (1 of 2 rows), not from --num-images 1" in told
    assert "3 images, 1 steps, cpu; the first batch of " in told


def test_a_shard_without_rows_is_finished_and_empty(tiny_model, tmp_path):
    manifest = run(config(tiny_model, shard="5/5"), None, tmp_path / "out")
    assert manifest.counts == {"listed": 0, "used": 0, "rejected": 0, "images": 0}


def test_a_row_decides_before_the_run(bundle, tiny_model, tmp_path):
    (tmp_path / "m.csv").write_text(
        "id,prompt,negative_prompt,seed,num_images,guidance_scale\nown,colon,blur,9,1,1.5\nnone,colon,,,,\n"
    )
    values = {"prompts": (), "seed": 4, "negative_prompt": "ink", "guidance_scale": 3.0, "size": 32}
    given = config(tiny_model, **values | {"size": "32x32"})
    run(given, tmp_path / "m.csv", tmp_path / "out", bundle=bundle)
    shown = ("id", "seed", "k", "negative_prompt", "guidance_scale", "num_steps", "preset", "cut")
    assert [tuple(row[name] for name in shown) for row in metadata(tmp_path / "out")] == [
        ("own", "9", "0", "blur", "1.5", "2", "balanced", ""),
        ("none", "4", "0", "ink", "3.0", "2", "balanced", ""),
        ("none", "4", "1", "ink", "3.0", "2", "balanced", ""),
    ]


def test_bad_rows_are_left_out_and_counted(tiny_model, tmp_path, capsys):
    (tmp_path / "m.csv").write_text("id,prompt,colour\na,colon,red\nb/c,lung,red\n")
    manifest = run(config(tiny_model, prompts=()), tmp_path / "m.csv", tmp_path / "out")
    assert manifest.counts == {"listed": 2, "used": 1, "rejected": 1, "images": 2}
    assert json.loads((tmp_path / "out/rejects.jsonl").read_text())["item"] == "row 2 (b/c)"
    told = capsys.readouterr().err
    assert "row 2 (b/c) is left out" in told
    assert "columns that mean nothing here go to metadata.csv: colour" in told


def test_too_many_bad_rows_end_the_run_before_sampling(tiny_model, tmp_path):
    (tmp_path / "m.csv").write_text("id,prompt\na,colon\nb/c,lung\nd,\n")
    with pytest.raises(DataError, match="2 of 3 items rejected"):
        run(config(tiny_model, prompts=()), tmp_path / "m.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_model_does_not_see_is_said_and_recorded(tiny_model, tmp_path, capsys):
    long = "glands " * 2000 + "end"
    given = config(tiny_model, prompts=(long, "colon"), num_images=1)
    run(given, None, tmp_path / "out")
    cut = metadata(tmp_path / "out")[0]["cut"]
    assert cut and long.endswith(cut)
    assert metadata(tmp_path / "out")[1]["cut"] == ""
    assert "does not see the end of the prompt" in capsys.readouterr().err
    run(given, None, tmp_path / "out")  # from the files, nothing is encoded again
    assert metadata(tmp_path / "out")[0]["cut"] == cut


def test_hugging_face_reads_the_folder(finished, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(finished[0]), split="train", cache_dir=str(tmp_path)
    )
    assert found["text"][:] == [row["text"] for row in metadata(finished[0])]
    assert found[0]["image"].size == (32, 32)


def test_finished_images_are_not_made_again(finished, tiny_model, tmp_path):
    output = tmp_path / "out"
    run(config(tiny_model), None, output)
    times = {p: p.stat().st_mtime_ns for p in output.glob("images/*.png")}
    leave_unfinished(output)
    (output / "images/001-0.png").unlink()
    (output / "images/002-1.png").write_bytes((output / "images/002-1.png").read_bytes()[:-30])
    run(config(tiny_model), None, output)
    assert contents(output) == contents(finished[0])
    changed = {p.name for p, before in times.items() if p.stat().st_mtime_ns != before}
    assert changed == {"001-0.png", "002-1.png"}


def test_a_changed_request_keeps_what_it_still_asks_for(bundle, tiny_model, tmp_path, capsys):
    output = tmp_path / "out"
    run(config(tiny_model), None, output, bundle=bundle)
    stamp = (output / "images/000-0.png").stat().st_mtime_ns
    run(config(tiny_model, prompts=PROMPTS[:1]), None, output, bundle=bundle)
    run(config(tiny_model, prompts=PROMPTS[:1]), None, tmp_path / "fresh", bundle=bundle)
    assert contents(output) == contents(tmp_path / "fresh")
    assert "4 files of earlier requests removed" in capsys.readouterr().err
    run(config(tiny_model), None, output, bundle=bundle)  # and what is added is made
    assert len(pixels(output)) == 6
    assert (output / "images/000-0.png").stat().st_mtime_ns == stamp, "not made again"


@pytest.mark.parametrize("values", [{"seed": 1}, {"prompts": ("lung",)}, {"num_steps": 1}])
@pytest.mark.parametrize("state", ["finished", "begun"])
def test_finished_images_of_another_request_are_not_lost(
    finished, bundle, tiny_model, tmp_path, values, state
):
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    if state == "begun":
        leave_unfinished(output)
    before = contents(output)
    with pytest.raises(ConfigError, match="out: 6 finished images, none of which this run asks"):
        run(config(tiny_model, **values), None, output, bundle=bundle)
    assert contents(output) == before


def test_where_no_image_is_whole_nothing_is_lost(finished, bundle, tiny_model, tmp_path):
    shutil.copytree(finished[0], tmp_path / "out")
    for path in (tmp_path / "out/images").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    run(config(tiny_model, seed=1), None, tmp_path / "out", bundle=bundle)
    assert len(pixels(tmp_path / "out")) == 6


def test_another_model_does_not_replace_the_images(finished, bundle, tiny_model, tmp_path):
    shutil.copytree(finished[0], tmp_path / "out")
    other = replace(bundle, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match="6 finished images, none of which this run asks for"):
        run(config(tiny_model), None, tmp_path / "out", bundle=other)
    newer = replace(bundle, licence="MIT")  # the same pixels under another licence: made again
    run(config(tiny_model), None, tmp_path / "out", bundle=newer)
    assert read_provenance(tmp_path / "out/images/000-0.png").licence == "MIT"


@pytest.mark.parametrize("state", ["finished", "begun"])
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("1/2", "2/2", "images of shard 1/2; expected a folder of its own for shard 2/2"),
        ("1/2", "1/3", "images of shard 1/2; expected a folder of its own for shard 1/3"),
        (None, "1/2", "images of a run without --shard; expected a folder of its own for shard"),
    ],
)
def test_a_shard_does_not_replace_another(
    bundle, tiny_model, tmp_path, state, first, second, words
):
    given = {"num_images": 1, "num_steps": 1}
    run(config(tiny_model, shard=first, **given), None, tmp_path / "out", bundle=bundle)
    whole = contents(tmp_path / "out")
    if state == "begun":
        leave_unfinished(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"out: {words}") as caught:
        # before any work: there is not even a model
        run(config("none", shard=second, **given), None, tmp_path / "out")
    assert "Give each shard its own --output" in str(caught.value)
    assert contents(tmp_path / "out") == before
    run(config(tiny_model, shard=first, **given), None, tmp_path / "out", bundle=bundle)
    assert contents(tmp_path / "out") == whole


def test_a_run_of_all_rows_joins_a_shard(bundle, tiny_model, tmp_path):
    given = {"num_images": 1, "num_steps": 1}
    run(config(tiny_model, shard="1/2", **given), None, tmp_path / "out", bundle=bundle)
    run(config(tiny_model, **given), None, tmp_path / "out", bundle=bundle)
    run(config(tiny_model, **given), None, tmp_path / "fresh", bundle=bundle)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def _generate_forever(model, output):
    torch.set_num_threads(1)
    run(config(model, num_images=400, batch_size=2), None, output)


def test_a_killed_run_goes_on(tiny_model, tmp_path):
    output = tmp_path / "out"
    process = multiprocessing.get_context("spawn").Process(
        target=_generate_forever, args=(tiny_model, output)
    )
    process.start()
    deadline = time.monotonic() + 60
    while len(list(output.glob("images/*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (output / "manifest.json").exists()
    few = config(tiny_model, num_images=3, batch_size=2)
    manifest = run(few, None, output)
    assert manifest.counts["images"] == 9
    verify(output)
    run(few, None, tmp_path / "undisturbed")
    assert_same(pixels(output), pixels(tmp_path / "undisturbed"))


def test_output_in_use_is_refused(tiny_model, tmp_path):
    with lock(tmp_path / "out"), pytest.raises(RetryError, match="lock held"):
        run(config(tiny_model), None, tmp_path / "out")


def test_foreign_files_are_never_touched(finished, tiny_model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="existing files that no stage of crafts wrote"):
        run(config(tiny_model), None, tmp_path / "mine")
    with pytest.raises(ConfigError, match="thesis.txt: a file; expected a new or empty folder"):
        run(config(tiny_model), None, tmp_path / "mine/thesis.txt")
    with pytest.raises(ConfigError, match="a finished artifact of stage 'bundle'"):
        run(config(tiny_model), None, tiny_model)
    run(config(tiny_model, num_images=1), None, tmp_path / "out")
    Image.new("RGB", (8, 8)).save(tmp_path / "out/images/photo.png")
    with pytest.raises(ConfigError, match="a file that crafts did not make, among its images"):
        run(config(tiny_model, num_images=1), None, tmp_path / "out")
    assert (tmp_path / "out/images/photo.png").exists()


def test_a_prompt_of_a_windows_line_is_one_row(bundle, tiny_model, tmp_path):
    run(
        config(tiny_model, prompts=("colon\r", "lung"), num_images=1), None, tmp_path, bundle=bundle
    )
    assert [row["text"] for row in metadata(tmp_path)] == ["colon\n", "lung"]


def test_images_name_the_model_that_made_them(bundle, tiny_model, tmp_path):
    asked = config("mini", prompts=("colon",))
    run(asked, None, tmp_path / "out", bundle=bundle)
    assert bundle.name == tiny_model.parent.name  # of .../RUN/model
    assert read_provenance(tmp_path / "out/images/000-0.png").model == bundle.name
    assert load_manifest(tmp_path / "out").config["model"] == bundle.name


def test_the_sheet_says_what_its_images_share(bundle, tiny_model, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id,prompt,guidance_scale,negative_prompt\na,colon,3,\nb,lung,7,blurry\n")
    run(config(tiny_model, prompts=(), guidance_scale=2.0), rows, tmp_path / "out", bundle=bundle)
    told = read_provenance(tmp_path / "out/grid.png")
    assert told.prompt == "colon\nlung" and told.negative_prompt == "\nblurry"
    assert told.guidance_scale is None and told.seed is None


def test_a_model_without_identity_is_refused(bundle, tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="model: a model that was never saved; expected one with"):
        run(config(tiny_model), None, tmp_path / "out", bundle=replace(bundle, fingerprint=""))


def test_without_a_prompt_there_is_nothing_to_do(tmp_path):
    with pytest.raises(ConfigError, match="no prompt; expected --prompt TEXT or --manifest FILE"):
        run(GenerateConfig(), None, tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shard=4/3", "shard: '4/3'.*K from 1 to N"),
        ("shard=0/3", "shard: '0/3'"),
        ("size=big", "size: 'big'"),
        ("preset=slow", "preset: 'slow'"),
        ("seed=-1", "seed: -1"),
        ("guidance_scale=0.5", "guidance_scale: 0.5"),
        ("prompts=[' ']", "prompts: .*empty prompt"),
        ('negative_prompt="\\0"', "negative_prompt: .*not valid Unicode"),
    ],
)
def test_bad_values_are_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(GenerateConfig, None, [override])


def test_size_may_be_a_number():
    assert load_config(GenerateConfig, {"size": 256}).size == "256"


def test_keep_takes_the_first_that_pass(bundle, tiny_model, tmp_path):
    def bright(image, prompt):
        return np.asarray(image).mean() > threshold

    run(config(tiny_model, num_images=12, num_steps=1), None, tmp_path / "all", bundle=bundle)
    everything = pixels(tmp_path / "all")
    threshold = float(np.median([image.mean() for image in everything.values()]))
    given = config(tiny_model, keep=2, num_steps=1)
    manifest = run(given, None, tmp_path / "out", bundle=bundle, accept=bright)
    kept = pixels(tmp_path / "out")
    assert manifest.counts["images"] == len(kept) == 6
    for row in ("000", "001", "002"):
        passing = [
            f"{row}-{k}.png" for k in range(12) if everything[f"{row}-{k}.png"].mean() > threshold
        ]
        assert passing[:2] == [name for name in kept if name.startswith(row)]
        last = int(passing[1].removesuffix(".png").rpartition("-")[2])
        told = manifest.extra["yield"][row]
        assert told["kept"] == 2 and told["listed"] >= last + 1, "all up to the last were tried"


def test_a_row_that_the_gate_lets_down_is_a_reject(bundle, tiny_model, tmp_path):
    def passes(image, prompt):
        seen.append(prompt)
        return "hopeless" not in prompt or seen.count(prompt) == 3

    seen: list[str] = []
    given = {"prompts": ("colon", "hopeless", "lung"), "keep": 2, "num_steps": 1}
    reason = "1 of 40 images pass the quality gate, 2 are wanted"
    manifest = run(
        config(tiny_model, **given), None, tmp_path / "out", bundle=bundle, accept=passes
    )
    assert manifest.counts == {"listed": 3, "used": 2, "rejected": 1, "images": 4}
    assert sorted(pixels(tmp_path / "out")) == [
        f"{row}-{k}.png" for row in ("000", "002") for k in (0, 1)
    ]
    assert [row["id"] for row in metadata(tmp_path / "out")] == ["000", "000", "002", "002"]
    told = json.loads((tmp_path / "out/rejects.jsonl").read_text())
    assert told == {"item": "001", "reason": reason}
    assert manifest.extra["yield"]["001"] == {"listed": 40, "kept": 0}
    assert seen.count("hopeless") == 40
    verify(tmp_path / "out")
    seen.clear()
    strict = config(tiny_model, **given, max_reject_fraction=0.1)
    with pytest.raises(DataError, match=f"1 of 3 items rejected; the first is '001': {reason}"):
        run(strict, None, tmp_path / "strict", bundle=bundle, accept=passes)
    assert not (tmp_path / "strict/manifest.json").exists()
    assert json.loads((tmp_path / "strict/rejects.jsonl").read_text()) == told


def test_without_a_row_that_passes_the_run_fails(bundle, tiny_model, tmp_path):
    given = config(tiny_model, prompts=("colon",), keep=1, num_steps=1)
    with pytest.raises(DataError, match="no usable item of 1; the first is '000': 0 of 20 images"):
        run(given, None, tmp_path / "none", bundle=bundle, accept=lambda image, prompt: False)


def test_keep_without_a_gate_is_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="generate: keep: 3 images to keep and no quality gate"):
        run(config(tiny_model, keep=3), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_manifest_holds_no_private_path(tiny_model, tmp_path):
    (tmp_path / "prompts.csv").write_text("id,prompt\na,colon\n")
    values = {"prompts": (), "manifest": tmp_path / "prompts.csv", "num_images": 1}
    made = run(config(tiny_model, **values), None, tmp_path / "out")
    assert (made.config["model"], made.config["manifest"]) == (
        tiny_model.parent.name,
        "../prompts.csv",
    )
    assert made.inputs["model"] == load_bundle(tiny_model).fingerprint
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()
    stamp = (tmp_path / "out/images/a-0.png").stat().st_mtime_ns
    assert run(config(tiny_model, **values), None, tmp_path / "out") == made
    assert (tmp_path / "out/images/a-0.png").stat().st_mtime_ns == stamp, "not made again"


def test_images_in_memory_are_those_of_the_files(finished, bundle):
    images = generate_images(bundle, PROMPTS, num_images=2, num_steps=2)
    expected = list(pixels(finished[0]).values())
    assert len(images) == 6
    for image, other in zip(images, expected, strict=True):
        assert np.abs(np.asarray(image).astype(int) - other).max() <= 2


def test_generate_images_refuses_by_name(bundle):
    with pytest.raises(ConfigError, match="generate: prompts: .*empty prompt"):
        generate_images(bundle, [""])
    with pytest.raises(ConfigError, match="generate: preset"):
        generate_images(bundle, "colon", preset="slow")
    with pytest.raises(ConfigError, match="no prompt"):
        generate_images(bundle, [])


@pytest.mark.parametrize(
    ("scale", "negative_prompt", "prompt"),
    [
        (1.0, "", "colon"),
        (2.5, "", "colon, carcinoma"),
        (7.5, "ink, blur", " ".join(["gland"] * 14)),
    ],
)
def test_images_equal_those_of_diffusers(tiny_model, bundle, scale, negative_prompt, prompt):
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    assert bundle.text.count_tokens(prompt) <= 77
    noise = draw_noise([Draw(prompt, seed=3, k=k) for k in range(2)], (4, 4, 4))
    theirs = pipeline(
        prompt, negative_prompt=negative_prompt, latents=noise, num_images_per_prompt=2, eta=0.0,
        num_inference_steps=5, guidance_scale=scale, height=32, width=32,
    ).images  # fmt: skip
    ours = generate_images(
        bundle, [prompt], seed=3, num_images=2, preset="paper", num_steps=5, guidance_scale=scale,
        negative_prompt=negative_prompt,
    )  # fmt: skip
    for image, other in zip(ours, theirs, strict=True):
        assert np.abs(np.asarray(image).astype(int) - np.asarray(other)).max() <= 2
