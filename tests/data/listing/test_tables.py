"""Tables beside tiles as people make them: read whole, or refused by name, or row by row."""

from __future__ import annotations

import io
import json
import re
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crafts.core.errors import DataError
from crafts.data.config import Columns, PackConfig
from crafts.data.listing.tilesets import list_items
from crafts.data.pack import run
from crafts.data.shards import read_index
from crafts.data.splits import read_splits

HEADER = ("file_name", "text", "patient", "split")


def rows_of(count):
    return [
        (f"t{k:02}.png", f"Colon, tissue {k}.", f"P{k // 2:02}", "heldout" if k > 5 else "train")
        for k in range(count)
    ]


@pytest.fixture
def tiles(tmp_path, make_image):
    folder = tmp_path / "tiles"
    folder.mkdir()
    for k in range(8):
        (folder / f"t{k:02}.png").write_bytes(make_image(k))
    return folder


def as_csv(rows, mark=","):
    lines = [HEADER, *rows]
    return "".join(mark.join(f'"{cell}"' for cell in line) + "\r\n" for line in lines)


def as_lines(rows):
    return "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in rows)


KINDS = {
    "metadata.csv": as_csv(rows_of(8)).encode(),
    "METADATA.CSV": as_csv(rows_of(8)).encode("utf-8-sig"),
    "Metadata.tsv": as_csv(rows_of(8), "\t").encode(),
    "metadata.ndjson": as_lines(rows_of(8)).encode(),
    "captions.jsonl": as_lines(rows_of(8)).encode(),
    "tiles.TSV": as_csv(rows_of(8), "\t").encode("utf-16"),
    "labels.csv": as_csv(rows_of(8), ";").encode("utf-8-sig"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_table_is_read_under_any_name(tiles, name):
    (tiles / name).write_bytes(KINDS[name])
    items = list_items(tiles)
    got = [(i.name, i.text, i.fields["patient"], i.fields["split"]) for i in items]
    assert got == rows_of(8) and not any(item.fault for item in items)


def test_a_parquet_beside_tiles_is_read(tiles):
    rows = [dict(zip(HEADER, row, strict=True)) for row in rows_of(8)]
    pq.write_table(pa.Table.from_pylist(rows), tiles / "Tiles.parquet")
    assert [item.text for item in list_items(tiles)] == [row[1] for row in rows_of(8)]


@pytest.mark.parametrize("name", ["metadata.xlsx", "Captions.json", "labels.ods"])
def test_a_table_that_is_not_read_is_refused_by_name(tiles, name):
    (tiles / name).write_bytes(b"PK")
    with pytest.raises(
        DataError, match=f"{name}: .*looks like a table of these tiles.*metadata.csv"
    ):
        list_items(tiles)


def test_a_table_in_a_class_folder_is_refused_by_name(tiles):
    (tiles / "tumor").mkdir()
    (tiles / "tumor" / "captions.tsv").write_bytes(KINDS["tiles.TSV"])
    with pytest.raises(DataError, match="tumor/captions.tsv: what looks like a table"):
        list_items(tiles)


def test_two_tables_are_refused(tiles):
    for name in ("labels.csv", "captions.jsonl"):
        (tiles / name).write_bytes(KINDS[name])
    with pytest.raises(DataError, match=r"2 tables \(captions.jsonl, labels.csv"):
        list_items(tiles)


def test_lines_without_images_are_no_table_of_tiles(tiles):
    (tiles / "rejects.jsonl").write_text('{"item": "x", "reason": "y"}\n')
    assert sum(item.name.endswith(".png") for item in list_items(tiles)) == 8


def pack(source, tmp_path, **config):
    manifest = run(PackConfig(**config), source, tmp_path / "out")
    counts = manifest.counts
    assert counts["used"] + counts["rejected"] == counts["listed"]
    rejects = map(json.loads, (tmp_path / "out/rejects.jsonl").read_text().splitlines())
    return read_index(tmp_path / "out/index.parquet")[0], {r["item"]: r["reason"] for r in rejects}


def test_rows_behind_an_open_quote_reach_no_shard(tiles, tmp_path):
    text = re.sub(r'"(t\d+.png)"', r"\1", as_csv(rows_of(8))).replace('tissue 3."', "tissue 3.")
    (tiles / "metadata.csv").write_text(text, newline="")
    with pytest.raises(DataError) as error:
        pack(tiles, tmp_path)
    assert "rejected" in str(error.value)
    rows, rejects = pack(tiles, tmp_path, max_reject_fraction=0.9)
    truth = {row[0][:3]: row for row in rows_of(8)}
    assert all((r["text"], r["patient"], r["split"]) == truth[r["key"]][1:] for r in rows)
    assert "a broken row" in rejects["metadata.csv row 4"]
    assert len(rows) + len(rejects) == 8


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": "t01.png", "x": ' + "[" * 5000 + "]" * 5000 + "}", "nested too deeply"),
        ('{"file_name": "t01.png", "x": ' + "1" * 5000 + "}", "an integer of thousands of digits"),
        ('{"file_name": "t01.png", "text": "a", "text": "b"}', "twice"),
    ],
)
def test_json_that_no_program_means_costs_its_row(tiles, tmp_path, line, reason):
    (tiles / "metadata.jsonl").write_text('{"file_name": "t00.png", "text": "ok"}\n' + line + "\n")
    rows, rejects = pack(tiles, tmp_path, max_reject_fraction=0.9)
    assert [row["text"] for row in rows] == ["ok"]
    assert list(rejects) == ["metadata.jsonl row 2"] and reason in rejects["metadata.jsonl row 2"]


def test_deep_json_in_a_tar_costs_its_tile(tiles, tmp_path, make_image):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in (
            ("a.png", make_image(1)), ("b.json", b"[" * 5000), ("b.png", make_image(2)),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    rows, rejects = pack(tmp_path / "x.tar", tmp_path, max_reject_fraction=0.9)
    assert [row["key"] for row in rows] == ["a"] and "nested too deeply" in rejects["x.tar:b"]


def test_paths_outside_of_the_folder_are_refused(tiles, tmp_path, make_image):
    (tmp_path / "secret.png").write_bytes(make_image(9))
    inside = tiles / "t01.png"
    lines = ["t00.png,ok", "../secret.png,no", f"{tmp_path}/secret.png,no", f"{inside},ok"]
    (tiles / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines) + "\n")
    rows, rejects = pack(tiles, tmp_path, max_reject_fraction=0.9)
    assert [row["key"] for row in rows] == ["t00", "t01"]
    assert all("no path of an image within the folder" in reason for reason in rejects.values())
    assert len(list_items(tiles, Columns(outside=True))) == 4
    assert not any(item.fault for item in list_items(tiles, Columns(outside=True)))


def test_a_mask_outside_of_the_folder_is_refused(tiles):
    (tiles / "metadata.csv").write_text("file_name,mask\nt00.png,../m.png\nt01.png,m.png\n")
    faults = [item.fault for item in list_items(tiles)]
    assert "no path of a mask within the folder" in faults[0] and faults[1] == ""


@pytest.mark.parametrize("name", ["case", "Case ID", "patient_id", "Subject", "donor"])
def test_every_name_of_the_patient_keeps_splits_apart(tiles, tmp_path, capsys, name):
    lines = [f"t{k:02}.png,C{k // 2}.0" if k % 2 else f"t{k:02}.png,C{k // 2}.0" for k in range(8)]
    (tiles / "metadata.csv").write_text(f"file_name,{name}\n" + "\n".join(lines) + "\n")
    rows, _ = pack(tiles, tmp_path, heldout=0.5, min_heldout=1)
    sides = {}
    for row in rows:
        sides.setdefault(row["patient"], set()).add(row["split"])
    assert len(sides) == 4 and all(len(side) == 1 for side in sides.values())
    assert {"train", "heldout"} == {row["split"] for row in rows}
    assert "NO PATIENT" not in capsys.readouterr().err


def test_tiles_without_a_patient_are_said_loudly(tiles, tmp_path, capsys):
    (tiles / "metadata.csv").write_text("file_name,text\nt00.png,a\nt01.png,b\n")
    pack(tiles, tmp_path)
    assert "WARNING: NO PATIENT is named of 2 of 2 tiles" in capsys.readouterr().err


def test_ids_as_floats_are_one_patient_and_rounded_ones_are_refused(tiles):
    (tiles / "metadata.csv").write_text(
        "file_name,patient\nt00.png,12.0\nt01.png,12\nt02.png,1E+05\n"
    )
    items = list_items(tiles)
    assert [item.fields.get("patient") for item in items] == ["12", "12", None]
    assert "a rounded number" in items[2].fault


def test_a_name_in_the_other_form_of_an_accent_is_found(tiles, tmp_path, make_image):
    (tiles / "e\u0301.png").write_bytes(make_image(9))
    (tiles / "metadata.csv").write_text("file_name,patient\n\u00e9.png,M\u00fc\nt01.png,Mu\u0308\n")
    rows, rejects = pack(tiles, tmp_path)
    assert not rejects and {row["patient"] for row in rows} == {"M\u00fc"}


def test_columns_are_found_whatever_their_signs(tiles):
    (tiles / "metadata.csv").write_text("File Name,TEXT,Patient-ID\nt00.png,a,P1\n")
    (item,) = list_items(tiles)
    assert (item.name, item.text, item.fields) == ("t00.png", "a", {"patient": "P1"})


@pytest.mark.parametrize(
    ("text", "column", "names"),
    [
        ("case_id,split\nP1,train\n", "patient", ["P1"]),
        ("key,case,split\na.b,P1,train\n", "key", ["a_b"]),
        ("Patient;Split\n12.0;test\n", "patient", ["12"]),
    ],
)
def test_splits_name_the_patient_as_metadata_does(tmp_path, text, column, names):
    (tmp_path / "splits.csv").write_text(text)
    found, table = read_splits(tmp_path / "splits.csv")
    assert (found, list(table)) == (column, names)
