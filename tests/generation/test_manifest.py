import json
import math
import re
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.core.errors import DataError
from crafts.core.records import Ledger
from crafts.generation.manifest import (
    COLUMNS,
    OPTIONAL,
    REQUIRED,
    PromptRow,
    _as_prompt,
    check_rows,
    load_rows,
    prompt_rows,
    unknown_columns,
)

GOOD = {
    "id": "a1", "prompt": "colon, \"benign\"\nlow power", "negative_prompt": "blur", "seed": 7,
    "num_images": 2, "guidance_scale": 3.5,
}  # fmt: skip
EXPECTED = [PromptRow(**GOOD), PromptRow("b", "lung")]


def write(folder, kind):
    path = folder / f"prompts.{kind}"
    rows = [GOOD, {"id": "b", "prompt": "lung"}]
    if kind == "csv":
        quoted = GOOD["prompt"].replace('"', '""')
        path.write_text(
            f'\ufeff{",".join(GOOD)}\r\na1,"{quoted}",blur,7,2,3.5\r\nb,lung,,,,\r\n', newline=""
        )
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_all_kinds_give_the_same_rows(tmp_path, kind):
    ledger = Ledger("generate")
    assert check_rows(load_rows(write(tmp_path, kind)), ledger) == EXPECTED
    assert ledger.counts() == {"listed": 2, "used": 2, "rejected": 0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": "  "}, "empty prompt"),
        ({"prompt": None}, "empty prompt"),
        ({"prompt": 5}, "prompt is int, not text"),
        ({"prompt": "x" * 20_001}, "prompt has 20001 characters; at most 20000"),
        ({"prompt": "nul \x00"}, "prompt is not valid Unicode text"),
        ({"prompt": "\ud800"}, "prompt is not valid Unicode text"),
        ({"negative_prompt": 3}, "negative_prompt is int, not text"),
        ({"id": None}, "no id"),
        ({"id": "a/b"}, "id 'a/b' cannot name a file"),
        ({"id": "CON"}, "'CON' is the name of a device under Windows"),
        ({"id": "nul.1"}, "'nul' is the name of a device under Windows"),
        ({"id": "TCGA:1"}, "id 'TCGA:1' cannot name a file everywhere: it holds ':'"),
        ({"id": "a."}, "it ends in a dot or a space"),
        ({"id": "..\\b"}, "cannot name a file"),
        ({"id": ".hidden"}, "cannot name a file"),
        ({"id": "-rf"}, "cannot name a file"),
        ({"id": "x" * 152}, "cannot name a file"),
        ({"id": "\ud800"}, "cannot name a file"),
        ({"seed": "x"}, "seed 'x' is no integer from 0"),
        ({"seed": -1}, "seed -1 is no integer"),
        ({"seed": 2**63}, "is no integer"),
        ({"seed": 1.5}, "seed 1.5 is no integer"),
        ({"seed": True}, "seed True is no integer"),
        ({"num_images": 0}, "num_images 0 is no integer from 1"),
        ({"guidance_scale": 0.5}, "guidance_scale 0.5 is no number from 1"),
        ({"guidance_scale": "high"}, "guidance_scale 'high' is no number"),
        ({"guidance_scale": "3,5"}, "from 1 to 100 (write 3.5 with a point)"),
        ({"guidance_scale": math.inf}, "guidance_scale inf is no number"),
        ({"guidance_scale": 10**400}, "is no number"),
        ({"guidance_scale": True}, "guidance_scale True is no number"),
    ],
)
def test_bad_rows_are_recorded_with_the_reason(tmp_path, change, reason):
    ledger = Ledger("generate")
    rows = check_rows([{**GOOD, **change}, {"id": "b", "prompt": "lung"}], ledger)
    assert rows == EXPECTED[1:]
    assert ledger.counts() == {"listed": 2, "used": 1, "rejected": 1}
    assert reason in ledger.rejects[0]["reason"]
    assert ledger.rejects[0]["item"].startswith("row 1")
    ledger.write(tmp_path / "rejects.jsonl")


def test_second_row_of_an_id_is_rejected():
    ledger = Ledger("generate")
    assert check_rows([GOOD, GOOD], ledger) == EXPECTED[:1]
    assert ledger.rejects == [{"item": "row 2 (a1)", "reason": "id 'a1' stands in an earlier row"}]


def test_broken_lines_are_rows_too(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n{broken\n[1]\n{"id": ' + "9" * 5000 + "}\n")
    ledger = Ledger("generate")
    assert [row.id for row in check_rows(load_rows(path), ledger)] == ["a"]
    assert ledger.counts() == {"listed": 4, "used": 1, "rejected": 3}
    assert "line 2 is not JSON" in ledger.rejects[0]["reason"]
    assert ledger.rejects[1]["reason"] == "line 3 is not a JSON object"


def test_csv_row_with_too_many_fields_is_rejected(tmp_path):
    (tmp_path / "p.csv").write_text("id,prompt\na,colon, left\nb,lung\n")
    ledger = Ledger("generate")
    assert [row.id for row in check_rows(load_rows(tmp_path / "p.csv"), ledger)] == ["b"]
    assert ledger.rejects[0]["reason"] == "more cells than columns"


def test_csv_row_with_an_open_quote_is_rejected(tmp_path):
    (tmp_path / "p.csv").write_text('id,prompt\nb,lung\na,"open')
    ledger = Ledger("generate")
    assert [row.id for row in check_rows(load_rows(tmp_path / "p.csv"), ledger)] == ["b"]
    assert ledger.rejects[0]["reason"] == "a broken row (a quote that is not closed; line 3)"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"", "kind '.txt'; expected .csv, .tsv, .jsonl, .ndjson, .parquet"),
        (
            "p.csv",
            b"id,words\n",
            "no column prompt; expected columns id, prompt (or file_name, text)",
        ),
        ("p.csv", b"", "no column id and no column prompt"),
        ("p.jsonl", b'{"prompt": "x"}\n', "no column id"),
        (
            "p.csv",
            b"id,prompt\na,\xff\n",
            "byte 12 is not UTF-8 (line 2): probably Windows-1252; in Excel: Save as > CSV UTF-8;",
        ),
        ("p.csv", b"PK\x03\x04\0\xff", "byte 5 is not UTF-8; expected"),
        ("p.jsonl", b'{"id": "\xff"}', "byte 8 is not UTF-8; expected"),
        ("p.csv", b"id,prompt,prompt\n", "two columns 'prompt'"),
        ("p.parquet", b"PAR1", "damaged parquet"),
    ],
)
def test_unusable_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)):
        load_rows(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file; expected a prompt manifest"):
        load_rows(tmp_path / "absent.csv")


@pytest.mark.parametrize("column", ["nuclei", "fluorescence"])
def test_control_images_come_with_their_row(column):
    ledger = Ledger("generate")
    rows = check_rows([{**GOOD, column: "mask.png@0.8,0-0.7"}], ledger)
    assert rows == [replace(EXPECTED[0], **{column: "mask.png@0.8,0-0.7"})]
    assert check_rows([{**GOOD, column: ""}], Ledger("generate")) == EXPECTED[:1]
    assert check_rows([{**GOOD, column: 7}], ledger) == []
    assert ledger.rejects[0]["reason"] == f"{column} is int, not text"


def test_prompts_have_ids_and_come_before_the_manifest():
    ledger = Ledger("generate")
    rows = check_rows(
        [*prompt_rows(["x", "y"]), {"id": "001", "prompt": "z"}], ledger, num_prompts=2
    )
    assert rows == [PromptRow("000", "x", plain=True), PromptRow("001", "y", plain=True)]
    assert ledger.rejects[0]["item"] == "row 1 (001)"


def test_a_table_of_captions_is_a_manifest(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text(
        "file_name,text,label,id,mask\nimages/a/1.png,colon,benign,7,m.png\nb.2,lung,,8,\n"
    )
    ledger = Ledger("generate")
    rows = check_rows(load_rows(path), ledger)
    assert [(row.id, row.prompt) for row in rows] == [("a-1", "colon"), ("b.2", "lung")]
    assert rows[0].extra == {
        "label": "benign",
        "manifest_file_name": "images/a/1.png",
        "manifest_id": "7",
        "manifest_mask": "m.png",  # it belongs to another picture
    }
    assert ledger.counts() == {"listed": 2, "used": 2, "rejected": 0}


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        ({"label": 3.0, "n": None, "list": [1, "ä"]}, {"label": "3", "n": "", "list": '[1, "ä"]'}),
        ({"licence": "CC0", "k": 5}, {"manifest_licence": "CC0", "manifest_k": "5"}),
        ({"k": 1, "manifest_k": 2}, {"manifest_k": "2", "manifest_manifest_k": "1"}),
        ({"image": b"\x89PNG", "label": "x"}, {"label": "x"}),
        ({"image": {"bytes": b"\x89" * 30_000, "path": None}, "label": True}, {"label": "True"}),
    ],
)
def test_further_columns_are_kept(extra, kept):
    assert check_rows([{**GOOD, **extra}], Ledger("generate"))[0].extra == kept


@pytest.mark.parametrize("extra", [{"label": "\ud800"}, {"\ud800": "x"}, {"label": "a\x00"}])
def test_a_further_column_that_no_file_can_hold_rejects_its_row(extra):
    ledger = Ledger("generate")
    assert check_rows([{**GOOD, **extra}], ledger) == []
    assert "is not valid Unicode text" in ledger.rejects[0]["reason"]


def test_misspelt_columns_are_named():
    assert unknown_columns([GOOD, {"sed": 1}, "broken"]) == ["sed"]


@given(st.lists(st.sampled_from(["a", "b", "c/d", "", "e"]), max_size=12), st.integers(1, 4))
def test_shards_share_out_every_row(ids, number):
    rows = [{"id": name, "prompt": "x"} for name in ids]
    whole = Ledger("generate")
    expected = check_rows(rows, whole)
    ledgers = [Ledger("generate") for _ in range(number)]
    parts = [check_rows(rows, ledger, (k + 1, number)) for k, ledger in enumerate(ledgers)]
    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in expected)
    for name, total in whole.counts().items():
        assert sum(ledger.counts()[name] for ledger in ledgers) == total


def test_ids_that_some_disk_takes_for_one_are_refused():
    ledger = Ledger("test")
    ids = ["Tile", "tile", "\u00e4", "a\u0308", "other"]
    rows = check_rows([{"id": name, "prompt": "p"} for name in ids], ledger)
    assert [row.id for row in rows] == ["Tile", "\u00e4", "other"]
    assert ledger.counts() == {"listed": 5, "used": 3, "rejected": 2}
    assert (
        "id 'tile' differs from 'Tile' of an earlier row only in what Windows and macOS"
        in (ledger.rejects[0]["reason"])
    )


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=4)
    | st.text(max_size=12) | st.just("\ud800") | st.just("9" * 5000),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from([*COLUMNS, *REQUIRED, *OPTIONAL, "mask", "manifest_k", "label"])
ANY_ROWS = st.lists(
    st.text(max_size=8) | st.dictionaries(NAMES | st.text(max_size=5), CELLS, max_size=8),
    max_size=6,
)


def assert_accounted(rows):
    ledger = Ledger("generate")
    found = check_rows([_as_prompt(row) for row in rows], ledger)
    assert ledger.counts()["listed"] == len(rows) == len(found) + len(ledger.rejects)
    for row in found:
        written = [row.id, row.prompt, *row.extra, *row.extra.values()]
        assert all(isinstance(text, str) and text.encode() is not None for text in written)
        assert not {*COLUMNS, "mask", "captions"} & row.extra.keys(), "ours are never overwritten"


@given(ANY_ROWS)
def test_any_row_is_used_or_rejected(rows):
    assert_accounted(rows)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None)
@given(ANY_ROWS)
def test_any_row_is_used_or_rejected_at_length(rows):
    assert_accounted(rows)
