"""The stage: known tissue, the pixels of OpenSlide, the same bytes however it is run."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from crafts.core.artifacts import load_manifest, verify
from crafts.core.errors import ConfigError, DataError, RetryError
from crafts.slides.output.origin import ORIGIN
from crafts.slides.siting.coordinates import read_coordinates
from crafts.slides.tile import TileConfig, run
from painted_slide import paint_slide


def rows_of(output):
    with (output / "metadata.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def rejects_of(output):
    return [json.loads(line) for line in (output / "rejects.jsonl").read_text().splitlines()]


def load(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_tiles_are_the_pixels_of_openslide(painted, tiled):
    import openslide

    paths = {path.stem: path for path in painted[0].rglob("*.tif")}
    for name, path in paths.items():
        rows = [row for row in rows_of(tiled) if row["slide"] == name]
        assert rows
        with openslide.OpenSlide(path) as slide:
            for row in rows:
                place = int(row["x"]), int(row["y"])
                expected = slide.read_region(place, 0, (256, 256)).convert("RGB")
                assert np.array_equal(load(tiled / row["file_name"]), expected)


def test_tissue_is_found_and_its_shares_are_right(painted, tiled):
    for name, truth in painted[1].items():
        shares = {
            (x, y): truth.share(x, y, 256)
            for x in range(0, truth.side - 255, 256)
            for y in range(0, truth.side - 255, 256)
        }
        kept = {
            (int(row["x"]), int(row["y"])): float(row["tissue"])
            for row in rows_of(tiled)
            if row["slide"] == name
        }
        area = sum(shares.values())
        assert sum(shares[place] for place in kept) / area >= 0.98
        assert all(abs(shares[place] - share) < 0.12 for place, share in kept.items())
        assert np.mean([shares[place] - share for place, share in kept.items()]) < 0.03


@pytest.mark.soak
def test_tissue_of_a_slide_of_30000_px(tmp_path, config):
    truth = paint_slide(tmp_path / "a.tif", side=30_000, radius=(0.06, 0.12))
    run(config(size=512, image_format="jpg"), tmp_path / "a.tif", tmp_path / "out")
    kept = {(int(row["x"]), int(row["y"])) for row in rows_of(tmp_path / "out")}
    places = [(x, y) for x in range(0, 29_488, 512) for y in range(0, 29_488, 512)]
    shares = {place: truth.share(*place, 512) for place in places}
    recall = sum(shares[place] for place in kept) / sum(shares.values())
    clear = [place for place in places if shares[place] > 0.5]
    found = sum(place in kept for place in clear) / len(clear)
    print(f"{len(kept)} tiles; recall of tissue {recall:.4f}, of tiles above one half {found:.4f}")
    assert min(recall, found) >= 0.98


def test_used_and_rejected_are_listed(tiled):
    manifest = verify(tiled)
    counts = manifest.counts
    assert counts["used"] + counts["rejected"] == counts["listed"]
    assert counts["used"] == len(rows_of(tiled)) == len(list(tiled.glob("tiles/*/*.png")))
    assert counts["rejected"] == len(rejects_of(tiled)) == sum(manifest.extra["reasons"].values())
    assert {key: counts[f"slides_{key}"] for key in ("listed", "used", "rejected")} == {
        "listed": 2,
        "used": 2,
        "rejected": 0,
    }
    for line in (tiled / "slides.jsonl").read_text().splitlines():
        slide = json.loads(line)
        assert slide["used"] + slide["rejected"] == slide["listed"]
    assert all(row["reason"].startswith("little tissue: share ") for row in rejects_of(tiled))


def test_metadata_says_where_a_tile_comes_from(tiled):
    row = next(row for row in rows_of(tiled) if row["slide"].startswith("TCGA"))
    assert row["patient"] == "TCGA-AB-1234"
    assert (float(row["mpp"]), row["mpp_source"]) == (0.5, "openslide.mpp-x")
    assert (row["extent"], row["imaging"], row["level"]) == ("256", "brightfield", "0")
    with Image.open(tiled / row["file_name"]) as image:
        assert 25_400 / image.info["dpi"][0] == pytest.approx(0.5, rel=1e-3)


def test_coordinates_for_trident_and_clam(tiled):
    for name in ("TCGA-AB-1234-01A-01-TS1", "other"):
        expected = [(int(r["x"]), int(r["y"])) for r in rows_of(tiled) if r["slide"] == name]
        trident = read_coordinates(tiled / "trident" / f"{name}_patches.h5")
        clam = read_coordinates(tiled / "clam" / f"{name}.h5")
        for found, layout in ((trident, "trident"), (clam, "clam")):
            assert [tuple(place) for place in found.coords] == expected
            assert (found.layout, found.extent) == (layout, 256)
        assert trident.attributes["level0_magnification"] == 20


def test_masks_and_outlines_of_tissue_confine_tiles_to_it(painted, tiled, tmp_path, config):
    """What is written as mask and GeoJSON is read back as regions, through the same command."""
    found = set()
    for end in (".png", ".geojson"):
        folder = tmp_path / end[1:]
        folder.mkdir()
        for path in (tiled / "tissue").glob(f"*{end}"):
            (folder / path.name).write_bytes(path.read_bytes())
        settings = {"tissue": {"method": "none"}, "gates": {"blank": 1, "blur": 0}}
        regions = {"folder": folder, "min_fraction": 0.5}
        run(config(regions=regions, **settings), painted[0], tmp_path / f"by-{end[1:]}")
        rows = rows_of(tmp_path / f"by-{end[1:]}")
        found.add(frozenset((row["slide"], row["x"], row["y"]) for row in rows))
        assert {row["region"] for row in rows} == {"" if end == ".png" else "Tissue"}
        for row in rows:
            truth = painted[1][row["slide"]]
            assert truth.share(int(row["x"]), int(row["y"]), 256) > 0.35
    half = {
        (row["slide"], row["x"], row["y"]) for row in rows_of(tiled) if float(row["tissue"]) > 0.52
    }
    assert all(half <= tiles for tiles in found)


def test_the_patient_of_a_slide_is_said_by_a_table(painted, tiled, tmp_path, config, hashes):
    table = tmp_path / "patients.csv"
    table.write_text("slide,patient\nother,P1\n")
    manifest = run(config(patients=table), painted[0], tmp_path / "out")
    patients = {row["slide"]: row["patient"] for row in rows_of(tmp_path / "out")}
    assert patients == {"TCGA-AB-1234-01A-01-TS1": "TCGA-AB-1234", "other": "P1"}
    assert "patients" in manifest.inputs and str(table) not in str(manifest.config)
    # another patient is another table and not another tile
    kept = {path.stat().st_ino for path in (tmp_path / "out").glob("tiles/*/*.png")}
    table.write_text("slide,patient\nother,P2\n")
    run(config(patients=table), painted[0], tmp_path / "out")
    assert kept == {path.stat().st_ino for path in (tmp_path / "out").glob("tiles/*/*.png")}
    assert {"P2"} == {r["patient"] for r in rows_of(tmp_path / "out") if r["slide"] == "other"}
    table.write_text("slide,patient\nanother,P2\n")
    run(config(patients=table), painted[0], tmp_path / "out")
    assert [r["item"] for r in rejects_of(tmp_path / "out") if "no patient" in r["reason"]] == [
        "other"
    ]


def test_the_same_bytes_however_it_is_run(painted, tiled, tmp_path, config, hashes):
    expected = hashes(tiled)
    run(config(num_workers=1, block_tiles=100), painted[0], tmp_path / "one")
    assert hashes(tmp_path / "one") == expected
    for k in (1, 2):
        run(config(shard=f"{k}/2"), painted[0], tmp_path / f"shard{k}")
    parts = {**hashes(tmp_path / "shard1"), **hashes(tmp_path / "shard2")}
    shared = ("metadata.csv", "slides.jsonl", "rejects.jsonl", "manifest.json", ORIGIN)
    assert {k: v for k, v in parts.items() if k not in shared} == {
        k: v for k, v in expected.items() if k not in shared
    }
    # the slides of all shards in one folder are taken over, and the tables written for all
    joined = tmp_path / "shard1"
    other = next((tmp_path / "shard2" / "tiles").iterdir())
    other.rename(joined / "tiles" / other.name)
    run(config(), painted[0], joined)
    assert hashes(joined) == expected


def test_finished_slides_are_not_done_again(painted, tiled, tmp_path, config, monkeypatch, capfd):
    import shutil

    output = tmp_path / "out"
    shutil.copytree(tiled, output)
    before = {path: path.stat().st_ino for path in output.glob("tiles/*/*")}
    run(config(), painted[0], output)
    assert {path: path.stat().st_ino for path in output.glob("tiles/*/*")} == before
    assert "tiles (" not in capfd.readouterr().err
    lost = next(output.glob("tiles/other/*.png"))
    lost.unlink()
    run(config(), painted[0], output)
    assert lost.exists()
    done = capfd.readouterr().err
    assert "other: " in done and "TCGA" not in done


def test_another_configuration_or_slide_is_tiled_anew(tmp_path, config, hashes, capfd):
    folder = tmp_path / "slides"
    folder.mkdir()
    paint_slide(folder / "a.tif", side=512, seed=1)
    paint_slide(folder / "b.tif", side=512, seed=2)
    run(config(), folder, tmp_path / "out")
    first = hashes(tmp_path / "out")
    paint_slide(folder / "a.tif", side=512, seed=3)
    (folder / "b.tif").unlink()
    run(config(), folder, tmp_path / "out")
    run(config(), folder, tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh") != first
    capfd.readouterr()
    run(config(overlap=128), folder, tmp_path / "out")
    assert "a is cut again: the slide, the configuration, its row" in capfd.readouterr().err
    assert len(rows_of(tmp_path / "out")) > len(rows_of(tmp_path / "fresh"))


@pytest.mark.parametrize(("mpp", "level"), [(0.5, 0), (0.7, 0), (2.0, 1)])
def test_physical_size_at_three_resolutions(painted, tmp_path, config, mpp, level):
    source = painted[0] / "sub" / "other.tif"
    all_tiles = {"tissue": {"method": "none"}, "block_tiles": 100}
    run(config(mpp=mpp, size=128, **all_tiles), source, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {row["level"] for row in rows} == {str(level)}
    places = sorted({int(row["x"]) for row in rows})
    assert np.diff(places) * 0.5 == pytest.approx(128 * mpp, rel=0.01)
    assert float(rows[0]["extent"]) * 0.5 == pytest.approx(128 * mpp, rel=0.01)
    with Image.open(source) as image:  # level 0, averaged over the same square
        whole = np.asarray(image.convert("RGB")).astype(float)
    row = rows[len(rows) // 2]
    x, y, edge = (int(row[name]) for name in ("x", "y", "extent"))
    found = load(tmp_path / "out" / row["file_name"])
    assert found.shape == (128, 128, 3)
    assert np.abs(found.mean((0, 1)) - whole[y : y + edge, x : x + edge].mean((0, 1))).max() < 3


def test_one_bad_slide_does_not_stop_the_others(painted, tmp_path, config, hashes):
    folder = tmp_path / "slides"
    folder.mkdir()
    good = painted[0] / "sub" / "other.tif"
    (folder / "other.tif").write_bytes(good.read_bytes())
    (folder / "cut.tif").write_bytes(good.read_bytes()[:3000])
    (folder / "text.svs").write_bytes(b"no slide")
    paint_slide(folder / "nompp.tif", side=512, mpp=None, levels=1)
    with pytest.raises(DataError, match="3 of 4 items rejected.*share of at most 0.5"):
        run(config(), folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    manifest = run(config(max_reject_fraction=0.8), folder, tmp_path / "out")
    assert manifest.counts["slides_rejected"] == 3
    reasons = {row["item"]: row["reason"] for row in rejects_of(tmp_path / "out")}
    assert "--mpp-csv FILE" in reasons["nompp"]
    assert "expected a slide" in reasons["cut"]
    assert "expected a slide" in reasons["text"]
    (tmp_path / "mpp.csv").write_text("slide,mpp\nnompp,0.25\n")
    with_csv = config(max_reject_fraction=0.8, mpp_csv=tmp_path / "mpp.csv", mpp=0.25, size=128)
    run(with_csv, folder / "nompp.tif", tmp_path / "csv")
    assert {row["mpp_source"] for row in rows_of(tmp_path / "csv")} == {"mpp csv"}


def test_nothing_usable_is_an_error(tmp_path, config):
    (tmp_path / "a.svs").write_bytes(b"no")
    with pytest.raises(DataError, match="no usable item of 1; the first is 'a'"):
        run(config(), tmp_path / "a.svs", tmp_path / "out")


GLASS = {"side": 512, "levels": 1, "radius": (0.0001, 0.0002)}


def test_a_slide_of_glass_is_used_and_has_no_tile(tmp_path, config, capfd):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", **GLASS)
    paint_slide(slides / "b.tif", side=512, levels=1)
    manifest = run(config(), slides, tmp_path / "out")
    assert manifest.counts["slides_used"] == 2 and manifest.counts["used"] > 0
    found = read_coordinates(tmp_path / "out" / "trident" / "a_patches.h5")
    assert found.coords.shape == (0, 2)
    printed = capfd.readouterr().err  # either slide may be done first
    assert re.search(r"a: 0 tiles \([12] slides done\): no tissue found", printed)


def test_a_run_without_a_tile_is_an_error_and_a_shard_without_one_is_none(tmp_path, config):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", **GLASS)
    with pytest.raises(
        DataError, match=r"no tile on 1 slides \(no tissue found\); expected at least"
    ):
        run(config(), slides, tmp_path / "out")
    with pytest.raises(DataError, match="smaller than one tile"):
        run(config(size=1024), slides, tmp_path / "large")
    paint_slide(slides / "b.tif", side=512, levels=1)
    manifest = run(config(shard="1/2"), slides, tmp_path / "shard")
    assert manifest.counts["slides_used"] == 1 and manifest.counts["used"] == 0


def test_an_output_among_the_slides_is_not_tiled(tmp_path, config):
    paint_slide(tmp_path / "a.tif", side=512, levels=1)
    for _ in range(2):
        manifest = run(config(), tmp_path, tmp_path / "out")
        assert manifest.counts["slides_listed"] == 1 and manifest.counts["used"] > 0


@pytest.fixture
def twins(tmp_path):
    """Slides of one file name in two folders."""
    for number, name in enumerate(("one", "two")):
        (tmp_path / "slides" / name).mkdir(parents=True)
        paint_slide(tmp_path / "slides" / name / "a.tif", side=512, levels=1, seed=number)
    return tmp_path / "slides"


@pytest.mark.parametrize(
    ("option", "head", "row"),
    [
        ("mpp_csv", "slide,mpp", "0.5"),
        ("patients", "slide,patient", "P"),
        ("coordinates", "slide,x,y", "0,0"),
    ],
)
def test_slides_of_one_name_are_told_apart_by_their_paths(
    twins, tmp_path, config, capfd, option, head, row
):
    table = tmp_path / "table.csv"
    for name in ("a", "a.tif"):
        table.write_text(f"{head}\n{name},{row}\n")
        with pytest.raises(ConfigError, match=rf"{name}', which names 2 slides \('one/a.tif', 'tw"):
            run(config(**{option: table}), twins, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table.write_text(f"{head}\none/a.tif,{row}\ntwo/a,{row}\nno.svs,{row}\n")
    settings = config(**{option: table}, tissue={"min_fraction": 0}, gates={"blank": 1, "blur": 0})
    manifest = run(settings, twins, tmp_path / "out")
    assert manifest.counts["slides_used"] == 2 and manifest.counts["slides_rejected"] == 0
    assert "1 of 3 names in it are of no slide of the input, the first 'no.svs'" in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("option", "table"),
    [
        ("mpp_csv", "slide,mpp\nother,0.5\nother.tif,0.25\n"),
        ("patients", "slide,patient\nother.tif,P1\nother,P2\n"),
        ("coordinates", "slide,x,y,size\nother.tif,0,0,256\nother,0,0,512\n"),
    ],
)
def test_one_slide_under_two_names_is_refused(painted, tmp_path, config, option, table):
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(ConfigError, match="table.csv: one slide under two names, 'other"):
        run(config(**{option: tmp_path / "table.csv"}), painted[0], tmp_path / "out")


def test_a_path_that_is_no_text_costs_that_slide_only(tmp_path, config):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", side=512, levels=1)
    (slides / "b.tif").write_bytes((slides / "a.tif").read_bytes())
    os.rename(slides / "b.tif", os.fsencode(slides) + b"/b\xff.tif")
    run(config(), slides, tmp_path / "out")
    (reject,) = [row for row in rejects_of(tmp_path / "out") if " " not in row["item"]]
    assert reject["item"] == "b_" and "a path that is no UTF-8" in reject["reason"]


def test_a_slide_coarser_than_the_tiles_is_refused(tmp_path, config):
    paint_slide(tmp_path / "a.tif", side=512, mpp=1.0, levels=1)
    with pytest.raises(DataError, match="coarser than the 0.5 of the tiles; take a larger --mpp"):
        run(config(), tmp_path / "a.tif", tmp_path / "out")


def test_regions_confine_the_tiles(painted, tmp_path, config):
    folder = tmp_path / "regions"
    folder.mkdir()
    ring = [[512, 512], [1024, 512], [1024, 1024], [512, 1024]]
    square = {"type": "Polygon", "coordinates": [ring]}
    feature = {"geometry": square, "properties": {"classification": {"name": "Tumor"}}}
    (folder / "TCGA-AB-1234-01A-01-TS1.geojson").write_text(json.dumps([feature]))
    run(config(regions={"folder": folder}), painted[0], tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {row["region"] for row in rows} == {"Tumor"}
    places = {(int(row["x"]), int(row["y"])) for row in rows}
    assert places <= {(x, y) for x in (512, 768) for y in (512, 768)}
    (reject,) = [row for row in rejects_of(tmp_path / "out") if row["item"] == "other"]
    assert "no file of regions" in reject["reason"]


def test_stain_is_fitted_for_a_slide_and_refusals_are_counted(painted, tmp_path, config):
    source = painted[0] / "sub" / "other.tif"
    manifest = run(config(stain={"method": "reinhard"}), source, tmp_path / "out")
    run(config(), source, tmp_path / "plain")
    ours, plain = rows_of(tmp_path / "out"), rows_of(tmp_path / "plain")
    assert [row["x"] for row in ours] == [row["x"] for row in plain]
    changed = [a["sha256"] != b["sha256"] for a, b in zip(ours, plain, strict=True)]
    assert changed == [not row["stain_refused"] for row in ours] and any(changed)
    reasons = Counter(row["stain_refused"] for row in ours if row["stain_refused"])
    assert reasons == manifest.extra["stain_refused"]


def test_a_slide_that_keeps_its_own_colours_is_told(tmp_path, config, capfd):
    from PIL import ImageOps

    paint_slide(tmp_path / "a.tif", side=512, levels=1)
    with Image.open(tmp_path / "a.tif") as image:
        gray = ImageOps.grayscale(image).convert("RGB")
        gray.save(tmp_path / "grey.tif", resolution=50_800, resolution_unit=2)
    settings = config(stain={"method": "macenko"}, tissue={"method": "none"}, gates={"blur": 0})
    manifest = run(settings, tmp_path / "grey.tif", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    (reason,) = {row["stain_refused"] for row in rows}
    assert manifest.extra["stain_refused"] == {reason: len(rows)} and reason
    printed = capfd.readouterr().err
    assert f"tile: grey: all tiles keep their own colours ({reason})" in printed
    assert f"{len(rows)} tiles used ({len(rows)} in their own colours)" in printed


def test_the_last_line_tells_slides_from_tiles(tmp_path, config, capfd):
    slides = tmp_path / "slides"
    slides.mkdir()
    paint_slide(slides / "a.tif", side=512, levels=1)
    (slides / "b.svs").write_bytes(b"no")
    counts = run(config(), slides, tmp_path / "out").counts
    assert (
        capfd.readouterr()
        .err.splitlines()[-1]
        .endswith(
            f"tile: 1 slides used, 1 rejected; {counts['used']} tiles used, {counts['rejected']} "
            f"rejected; reasons in {tmp_path / 'out' / 'rejects.jsonl'}"
        )
    )


def test_a_missing_folder_of_regions_is_told_once(painted, tmp_path, config):
    with pytest.raises(
        ConfigError, match=r"regions.folder: no folder .*no; expected a folder with"
    ):
        run(config(regions={"folder": tmp_path / "no"}), painted[0], tmp_path / "out")


def test_fluorescence_becomes_colour_without_a_tissue_gate(tmp_path, config):
    import tifffile

    values = np.random.default_rng(0).integers(0, 60_000, (2, 300, 400), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        values,
        photometric="minisblack",
        metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    for number, wanted in enumerate(((0, 1, 5), (-1, -1, -1))):
        with pytest.raises(DataError, match=r"has 2 \(0 channel 0, 1 channel 1\)"):
            asked = config(size=128, channels=wanted)
            run(asked, tmp_path / "a.ome.tif", tmp_path / f"refused{number}")
    run(config(size=128, channels=(-1, 1, 0)), tmp_path / "a.ome.tif", tmp_path / "chosen")
    row = rows_of(tmp_path / "chosen")[0]
    assert row["channels"] == "|channel 1|channel 0"
    chosen = load(tmp_path / "chosen" / row["file_name"])
    manifest = run(config(size=128), tmp_path / "a.ome.tif", tmp_path / "out")
    assert manifest.counts["used"] == 6
    row = rows_of(tmp_path / "out")[0]
    assert (row["imaging"], row["channels"]) == ("fluorescence", "channel 0|channel 1")
    found = load(tmp_path / "out" / row["file_name"]).astype(float)
    low, high = json.loads((tmp_path / "out" / "slides.jsonl").read_text())["mapping"][0]
    expected = np.clip((values[0, :128, :128] - low) / (high - low) * 255, 0, 255)
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert (found[..., 2] == 0).all()
    assert np.array_equal(chosen[..., 2], found[..., 0]) and (chosen[..., 0] == 0).all()
    assert (tmp_path / "out" / "slides.jsonl").read_text().count('"shown": [0, 1, -1]') == 1


def test_eight_bits_of_fluorescence_are_not_stretched(tmp_path, config):
    import tifffile

    values = np.random.default_rng(0).integers(12, 92, (3, 128, 128), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        values,
        photometric="minisblack",
        metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    run(config(size=128, channels=(2, 0, 1)), tmp_path / "a.ome.tif", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert row["channels"] == "channel 2|channel 0|channel 1"
    found = load(tmp_path / "out" / row["file_name"])
    assert np.array_equal(found, values[[2, 0, 1]].transpose(1, 2, 0))


def test_the_real_slides_become_tiles_and_shards(wsi, tmp_path):
    import openslide
    import tifffile

    from crafts.data.config import PackConfig
    from crafts.data.pack import run as pack

    (tmp_path / "mpp.csv").write_text(
        "wsi,mpp\nTCGA-CR-7395-01A-01-TS1.svs,0.5\nsmall_dicom_vlwsi_GPL-repo.dcm,0.5\n"
    )
    manifest = run(TileConfig(mpp_csv=tmp_path / "mpp.csv"), wsi, tmp_path / "out")
    assert manifest.counts["slides_used"] == 4
    rows = rows_of(tmp_path / "out")
    for name in ("CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1"):
        with openslide.OpenSlide(wsi / f"{name}.svs") as slide:
            for row in [row for row in rows if row["slide"] == name][:4]:
                place = int(row["x"]), int(row["y"])
                expected = slide.read_region(place, 0, (512, 512)).convert("RGB")
                assert np.array_equal(load(tmp_path / "out" / row["file_name"]), expected)
    channels = tifffile.imread(wsi / "small_vectra_3ch_GPL-repo.qptiff", series=0)
    row = next(row for row in rows if row["imaging"] == "fluorescence")
    x, y = int(row["x"]), int(row["y"])
    expected = channels[:, y : y + 512, x : x + 512].transpose(1, 2, 0)
    assert np.array_equal(load(tmp_path / "out" / row["file_name"]), expected)
    assert pack(PackConfig(), tmp_path / "out", tmp_path / "shards").counts["used"] == len(rows)


def test_foreign_outputs_and_locks(painted, tiled, tmp_path, config):
    from crafts.core.artifacts import lock

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="existing files that no stage of crafts wrote"):
        run(config(), painted[0], tmp_path / "mine")
    with pytest.raises(ConfigError, match="a file"):
        run(config(), painted[0], tmp_path / "mine" / "thesis.tex")
    with lock(tmp_path / "held" / ".work"), pytest.raises(RetryError, match="a lock held by"):
        run(config(), painted[0], tmp_path / "held")
    assert load_manifest(tiled).stage == "tile"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 64, "overlap": 64}, "overlap must be smaller than size"),
        ({"shard": "3/2"}, "K/N with 1 <= K <= N"),
        ({"mpp": 0}, "0.05 or more"),
    ],
)
def test_impossible_configurations(values, message):
    from crafts.core.config import load_config

    with pytest.raises(ConfigError, match=message):
        load_config(TileConfig, values)
