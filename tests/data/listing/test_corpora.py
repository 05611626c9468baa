"""Every published corpus gives rows that pack reads; every pair is accounted for."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crafts.core.errors import ConfigError, DataError
from crafts.core.records import Ledger
from crafts.data.config import PackConfig
from crafts.data.listing.corpora import import_corpus, list_corpus, write_requests
from crafts.data.pack import run
from crafts.data.taxonomy import cancer_of

SLIDE = "TCGA-BH-A0AU-01Z-00-DX1.E852F218"


def collect(kind, source, **options):
    ledger = Ledger("test")
    rows = list(import_corpus(kind, source, ledger, **options))
    assert ledger.num_used + len(ledger.rejects) == ledger.num_listed
    return rows, ledger


def pathgen(folder: Path, rows: list) -> Path:
    path = folder / "PathGen-1.6M.json"
    path.write_text(json.dumps(rows))
    return path


def quilt(folder: Path, rows: list[dict]) -> Path:
    path = folder / "quilt_1M_lookup.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["", "caption", "image_path", "subset", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_pathgen_row_with_either_spelling_of_its_key(tmp_path):
    row = {"position": ["100", "200"], "caption": " A breast duct. ", "file_id": "f"}
    listed = [{"wsi_id": SLIDE, **row}, {"WSI_id": SLIDE, **row, "position": [1, 2]}]
    rows, ledger = collect("pathgen", pathgen(tmp_path, listed))
    assert ledger.counts() == {"listed": 2, "used": 2, "rejected": 0}
    assert rows[1] == {
        "key": f"{SLIDE}_1_2".replace(".", "_"),
        "text": "A breast duct.",
        "set": "pathgen",
        "patient": "TCGA-BH-A0AU",
        "slide": SLIDE,
        "x": 1,
        "y": 2,
        "size": 672,
        "level": 0,
        "file_id": "f",
        "label": "breast invasive carcinoma",
        "cancer": "BRCA",
        "organ": "breast",
        "study": "BRCA",
        "licence": "CC BY 4.0 and research use only (PathGen-1.6M)",
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "not a JSON object"),
        ({"position": [1, 2], "caption": "a"}, "no wsi_id"),
        ({"wsi_id": 3, "position": [1, 2], "caption": "a"}, "no wsi_id"),
        ({"wsi_id": SLIDE, "position": [1, 2]}, "no caption"),
        ({"wsi_id": SLIDE, "position": [1, 2], "caption": " "}, "no caption"),
        ({"wsi_id": SLIDE, "caption": "a"}, "no position of two numbers"),
        ({"wsi_id": SLIDE, "position": [1, 2, 3], "caption": "a"}, "no position of two numbers"),
        ({"wsi_id": SLIDE, "position": ["x", 2], "caption": "a"}, "is no pair of whole numbers"),
        ({"wsi_id": SLIDE, "position": [None, 2], "caption": "a"}, "is no pair of whole numbers"),
        ({"wsi_id": SLIDE, "position": [-1, 2], "caption": "a"}, "outside the slide"),
    ],
)
def test_a_bad_pathgen_row_is_rejected_with_its_reason(tmp_path, row, reason):
    good = {"wsi_id": SLIDE, "position": [1, 2], "caption": "a"}
    rows, ledger = collect("pathgen", pathgen(tmp_path, [good, row]))
    assert len(rows) == 1
    assert ledger.rejects[0]["item"] == "PathGen-1.6M.json row 2"
    assert reason in ledger.rejects[0]["reason"]


def test_one_position_with_two_captions_is_one_row(tmp_path):
    row = {"wsi_id": SLIDE, "position": [1, 2]}
    listed = [{**row, "caption": text} for text in ("one", "two", "one")]
    rows, ledger = collect("pathgen", pathgen(tmp_path, listed))
    assert [(row["text"], row["captions"]) for row in rows] == [("one", ["one", "two"])]
    assert ledger.counts() == {"listed": 3, "used": 2, "rejected": 1}
    assert "same caption" in ledger.rejects[0]["reason"]


@pytest.mark.parametrize(
    "name", ["{slide}_{x}_{y}.png", "{slide}/{x}_{y}.jpg", "tiles/{slide}/x{x:07d}-y{y:07d}.png"]
)
def test_pathgen_tiles_that_were_cut_are_found_under_each_name(tmp_path, make_image, name):
    listed = [{"wsi_id": SLIDE, "position": [x, 7], "caption": f"tile at {x}"} for x in (1, 2, 3)]
    source = pathgen(tmp_path, listed)
    file = tmp_path / "images" / name.format(slide=SLIDE, x=2, y=7)
    file.parent.mkdir(parents=True)
    file.write_bytes(make_image(0))
    rows, ledger = collect("pathgen", source, images=tmp_path / "images")
    assert [row["file_name"] for row in rows] == [file.relative_to(tmp_path / "images").as_posix()]
    assert {row["reason"] for row in ledger.rejects} == {"no image of this name"}
    # what lies there need not be cut again
    assert write_requests(source, tmp_path / "requests.csv") == 2
    with (tmp_path / "requests.csv").open() as handle:
        requests = list(csv.DictReader(handle))
    assert [(row["slide"], row["x"], row["y"]) for row in requests] == [
        (SLIDE, "1", "7"),
        (SLIDE, "3", "7"),
    ]
    assert requests[0]["size"] == "672" and requests[0]["text"] == "tile at 1"


def test_pathgen_from_the_list_over_the_slides_to_shards(tmp_path):
    """The way that the documentation shows, with a painted slide."""
    from crafts.slides.tile import TileConfig
    from crafts.slides.tile import run as tile

    folder, slides = tmp_path / "pathgen", tmp_path / "slides"
    folder.mkdir(), slides.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(slides / f"{SLIDE}.png", dpi=(101_600, 101_600))  # 0.25 µm
    listed = [
        {"wsi_id": SLIDE, "position": [str(x), "20"], "caption": f"tile at {x}"} for x in (30, 228)
    ]
    pathgen(folder, listed)
    config = PackConfig(corpus="pathgen")
    with pytest.raises(DataError, match="no usable item of 2.*no image of this name"):
        run(config, folder, tmp_path / "shards")
    asked = tmp_path / "shards.requests.csv"
    with asked.open() as handle:
        assert [row["size"] for row in csv.DictReader(handle)] == ["672", "672"]
    every = {"tissue": {"method": "none"}, "gates": {"blank": 1, "pen": 1, "fold": 1}}
    tile(TileConfig(size=672, coordinates=asked, **every), slides, folder / "cut")
    assert run(config, folder, tmp_path / "shards").counts["used"] == 2
    item = list_corpus("pathgen", folder)[1]
    assert item.text == "tile at 30" and item.fields["label"] == "breast invasive carcinoma"
    with Image.open(item.path) as found:
        assert (np.asarray(found) == pixels[20:692, 30:702]).all()


def test_all_captions_of_the_public_sample_import(shared_data):
    rows, ledger = collect("pathgen", shared_data / "text/pathgen_sample.json")
    assert ledger.counts() == {"listed": 4160, "used": 4160, "rejected": 0}
    assert len({row["key"] for row in rows}) == 4160
    assert len({row["study"] for row in rows}) == 31
    cancers = Counter(row["cancer"] for row in rows)
    assert len(cancers) == 30 and cancers.most_common(1)[0][0] == "BRCA"
    # captions are not asked for the label; where they name a cancer, they mostly name this one
    named = [(cancer_of(row["text"]), row["cancer"]) for row in rows]
    agreeing = [found.code == cancer for found, cancer in named if found]
    assert len(agreeing) > 400 and sum(agreeing) > 0.75 * len(agreeing)


def test_quilt_pairs_become_one_row_an_image(tmp_path):
    source = quilt(
        tmp_path,
        [
            {"image_path": "vid_image_1.jpg", "caption": "fat  cells", "subset": "quilt"},
            {"image_path": "vid_image_1.jpg", "caption": "a scar", "subset": "quilt"},
            {"image_path": "vid_image_2.jpg", "caption": "a scar", "split": "val"},
            {"image_path": "plain.jpg", "caption": "a nerve"},
            {"image_path": "plain.jpg", "caption": ""},
            {"image_path": "", "caption": "lost"},
        ],
    )
    rows, ledger = collect("quilt", source)
    assert [(row["file_name"], row.get("patient")) for row in rows] == [
        ("plain.jpg", None),
        ("vid_image_1.jpg", "quilt:vid"),
        ("vid_image_2.jpg", "quilt:vid"),
    ]
    assert rows[1]["captions"] == ["fat cells", "a scar"] and rows[1]["text"] == "fat cells"
    # the split of the source goes by pair and would tear a video apart
    assert "split" not in rows[2] and rows[2]["source_split"] == "val"
    assert {row["item"][-5:]: row["reason"] for row in ledger.rejects} == {
        "row 5": "no caption",
        "row 6": "no image name",
    }


def test_a_table_that_is_not_quilt_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("image,text\na.png,b\n")
    with pytest.raises(DataError, match="image_path.*lookup table of Quilt-1M"):
        collect("quilt", tmp_path)


def test_arch_books_and_articles(tmp_path, make_image):
    listings = {
        "books_set": {
            "0": {"figure_id": "00", "letter": "A", "caption": "fat", "uuid": "a1"},
            "1": {"figure_id": "00", "letter": "B", "caption": "scar", "uuid": "a2"},
            "2": {"figure_id": "01", "letter": "Single", "caption": "gone", "uuid": "a3"},
        },
        "pubmed_set": {"0": {"caption": "a nerve", "uuid": "b1"}, "1": "broken"},
    }
    for part, listing in listings.items():
        (tmp_path / part / "images").mkdir(parents=True)
        (tmp_path / part / "captions.json").write_text(json.dumps(listing))
    for name in ("books_set/images/a1.png", "books_set/images/a2.png", "pubmed_set/images/b1.jpg"):
        (tmp_path / name).write_bytes(make_image(len(name)))
    rows, ledger = collect("arch", tmp_path, images=tmp_path)
    assert [row["text"] for row in rows] == ["fat", "scar", "a nerve"]
    assert rows[0]["patient"] == rows[1]["patient"] == "arch:books_set:00"
    assert rows[2]["file_name"] == "pubmed_set/images/b1.jpg" and "patient" not in rows[2]
    assert {row["item"]: row["reason"] for row in ledger.rejects} == {
        "books_set/captions.json 2": "no image of this name",
        "pubmed_set/captions.json 1": "not a JSON object",
    }


def test_pathcap_with_any_usual_name_of_its_image(tmp_path):
    listed = [
        {"image": "a.jpg", "caption": "fat", "pmcid": "PMC1"},
        {"img_path": "sub/b.jpg", "text": "scar"},
        {"caption": "alone"},
    ]
    (tmp_path / "pathcap.json").write_text(json.dumps(listed))
    rows, ledger = collect("pathcap", tmp_path)
    assert [row["file_name"] for row in rows] == ["a.jpg", "sub/b.jpg"]
    assert rows[0]["patient"] == "pathcap::PMC1"
    assert ledger.rejects == [{"item": "pathcap.json 3", "reason": "no image name"}]


def test_tcga_tiles_get_their_label_from_the_barcode(tmp_path, make_image):
    names = {
        "lung/TCGA-BH-A0AU-01Z-00-DX1_0_0.png": "breast invasive carcinoma",
        "lung/TCGA-AG-0001-01Z-00-DX1_0_0.png": "colorectal adenocarcinoma",
        "lung/TCGA-02-0001-01Z-00-DX1_0_0.png": "study GBM is none of the 30 cancers",
        "lung/TCGA-??-0001.png": "no TCGA barcode in slide, patient or path",
        "lung/TCGA-Q0-0001.png": "no study is known of TCGA-Q0-0001",
    }
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(make_image(number))
    rows, ledger = collect("tcga", tmp_path)
    found = {row["file_name"]: row["label"] for row in rows}
    found |= {row["item"]: row["reason"] for row in ledger.rejects}
    assert found == names
    assert {row["source_label"] for row in rows} == {"lung"}
    assert {row["patient"] for row in rows} == {"TCGA-BH-A0AU", "TCGA-AG-0001"}
    rows, _ = collect("tcga", tmp_path, studies={"TCGA-02-0001": "LUAD"})
    assert "lung adenocarcinoma" in {row["label"] for row in rows}


def test_real_tcga_tiles(shared_data):
    rows, _ = collect("tcga", shared_data / "monuseg_NC/images")
    with (shared_data / "files.csv").open() as handle:
        listed = [row for row in csv.DictReader(handle) if row["set"] == "monuseg_NC"]
    organs = {Path(row["file"]).name: row["organ"].lower() for row in listed}
    assert len(rows) == 21
    words = {"colorectum": "colon"}
    assert all(words.get(row["organ"], row["organ"]) in organs[row["file_name"]] for row in rows), [
        (row["organ"], organs[row["file_name"]]) for row in rows
    ]


def test_pack_reads_a_corpus(tmp_path, make_image):
    source = tmp_path / "quilt"
    (source / "images").mkdir(parents=True)
    for number in (1, 2):
        (source / f"images/v_image_{number}.jpg").write_bytes(make_image(number, form="JPEG"))
    pairs = [
        {"image_path": f"v_image_{number}.jpg", "caption": text}
        for number, text in ((1, "fat"), (1, "adipose tissue"), (2, "scar"), (3, "gone"))
    ]
    quilt(source, pairs)
    config = PackConfig(corpus="quilt", max_reject_fraction=0.5)
    manifest = run(config, source, tmp_path / "shards")
    assert manifest.counts["listed"] == 3 and manifest.counts["used"] == 2
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / "shards/index.parquet").to_pylist()
    assert [row["text"] for row in rows] == ["fat", "scar"]
    assert list(rows[0]["captions"]) == ["fat", "adipose tissue"]
    assert {row["patient"] for row in rows} == {"quilt:v"}


def test_pack_labels_tcga_tiles_by_a_table(tmp_path, make_image):
    source = tmp_path / "tiles"
    source.mkdir()
    (source / "TCGA-BH-A0AU_1.png").write_bytes(make_image(1))
    table = tmp_path / "projects.csv"
    table.write_text("patient,project\nTCGA-BH-A0AU,LUAD\n")
    manifest = run(PackConfig(corpus="tcga", studies=table), source, tmp_path / "shards")
    assert manifest.inputs["studies"] and "studies" not in manifest.config
    assert list_corpus("tcga", source)[0].fields["label"] == "breast invasive carcinoma"


def test_what_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'laion'.*one of pathgen, quilt"):
        collect("laion", tmp_path)
    with pytest.raises(ConfigError, match="not there"):
        collect("pathgen", tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="0 files"):
        collect("pathgen", tmp_path)
    pathgen(tmp_path, [])
    (tmp_path / "second.json").write_text("[]")
    with pytest.raises(DataError, match="2 files"):
        collect("pathgen", tmp_path)
    with pytest.raises(ConfigError, match="not there"):
        collect("pathgen", tmp_path / "second.json", images=tmp_path / "nowhere")
