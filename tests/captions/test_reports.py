"""Reports: every layout, every encoding, and nothing lost between listed and used."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crafts.captions import reports
from crafts.captions.reports import decode, iter_reports, list_reports
from crafts.core.errors import ConfigError, DataError
from crafts.core.records import Ledger

TEXT = "Breast, left: invasive ductal carcinoma.\nGrade 2."


def read(path):
    ledger = Ledger("summarise")
    found = list(iter_reports(path, ledger))
    counts = ledger.counts()
    assert counts["used"] + counts["rejected"] == counts["listed"]
    assert counts["used"] == len(found)
    return found, {row["item"]: row["reason"] for row in ledger.rejects}


def test_one_text_file(tmp_path):
    (tmp_path / "a.b.txt").write_text(TEXT)
    (report,), rejected = read(tmp_path / "a.b.txt")
    assert (report.report_id, report.text, report.source) == ("a.b", TEXT, "a.b.txt")
    assert not rejected


def test_a_folder_in_order_with_its_subfolders_and_without_hidden_files(tmp_path):
    for name in ("b.txt", "a.TXT", "site/c.txt", ".hidden.txt", ".git/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TEXT)
    found, rejected = read(tmp_path)
    assert [report.report_id for report in found] == ["a", "b", "site/c"]
    assert not rejected


def test_the_csv_of_tcga_reports(tmp_path):
    name = "TCGA-BP-5195.25c0b433-5557-4165-922e-2c1eac9c26f0"
    rows = f'patient_filename,text\n{name}.PDF,"Kidney, left\nclear ""cell"" carcinoma"\nx,\n'
    (tmp_path / "reports.csv").write_text(rows, encoding="utf-8-sig")
    (report,), rejected = read(tmp_path / "reports.csv")
    assert report.report_id == name
    assert report.text == 'Kidney, left\nclear "cell" carcinoma'
    assert report.source == "reports.csv:1"
    assert rejected == {"reports.csv:2": "empty"}


@pytest.mark.parametrize("id_name", ["report_id", "case_id", "ID", "patient_filename"])
@pytest.mark.parametrize("text_name", ["text", "Report", "report_text"])
def test_jsonl_with_the_usual_names(tmp_path, id_name, text_name):
    (tmp_path / "r.jsonl").write_text(json.dumps({id_name: 7, text_name: TEXT}) + "\n\n")
    (report,), _ = read(tmp_path / "r.jsonl")
    assert (report.report_id, report.text) == ("7", TEXT)


def test_broken_lines_cost_only_themselves(tmp_path):
    lines = [b'{"id": 1, "text": "Lung."}', b"{", b"[1]", b'{"id": 2}', b'{"id": 3, "text": 4}',
             b'{"id": 4, "text": "\\ud800"}', b'{"id": null, "text": "Skin."}',
             b'{"id": 5, "text": "Bladder \xe9."}']  # fmt: skip
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(lines))
    found, rejected = read(tmp_path / "r.jsonl")
    assert [report.report_id for report in found] == ["1", "5"]
    assert found[1].text == "Bladder é."
    assert list(rejected.values()) == [
        "not JSON (Expecting property name enclosed in double quotes)", "not a JSON object",
        "no text", "no text", "text or id that is no valid Unicode", "no id",
    ]  # fmt: skip


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "MAX_CHARACTERS", 100)
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "d.txt").write_bytes(b"\x89PNG\0\0\0")
    (tmp_path / "e.txt").write_text("x" * 101)
    (tmp_path / "f.txt").write_text("x" * 401)
    found, rejected = read(tmp_path)
    assert [report.report_id for report in found] == ["a"]
    assert rejected == {
        "b.txt": "empty",
        "c.pdf": "a .pdf file, not text, csv or jsonl",
        "d.txt": "binary data, not text",
        "e.txt": "longer than 100 characters",
        "f.txt": "longer than 100 characters",
    }


def test_a_quote_that_is_never_closed_joins_no_two_patients(tmp_path):
    (tmp_path / "r.csv").write_text('id,text\na,"Lung.\nb,"Skin."\nc,"Liver."\n')
    found, rejected = read(tmp_path / "r.csv")
    texts = [(report.report_id, report.text) for report in found]
    assert texts == [("b", "Skin."), ("c", "Liver.")]
    assert rejected == {"r.csv:1": "a broken row (a quote that is not closed; line 2)"}


def test_what_no_file_can_name_is_refused(tmp_path):
    number = "9" * 5000
    lines = ['{"id": "\\ud800", "text": "x"}', f'{{"id": {number}, "text": "x"}}']
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    assert read(tmp_path / "r.jsonl")[1] == {
        "r.jsonl:1": "text or id that is no valid Unicode",
        "r.jsonl:2": "not JSON (an integer of thousands of digits)",
    }
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    with open(os.fsencode(folder) + b"/b\xff.txt", "w") as file:
        file.write(TEXT)
    found, rejected = read(folder)
    assert len(found) == 1
    assert rejected == {"b?.txt": "a name that is no UTF-8; rename the file"}


def test_a_table_of_something_else_costs_itself_only(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "clinical.csv").write_text("case,stage\n1,2\n")
    found, rejected = read(tmp_path)
    assert [report.report_id for report in found] == ["a"]
    assert "case, stage; expected a column of texts" in rejected["clinical.csv"]


def test_no_message_repeats_a_report(tmp_path):
    (tmp_path / "r.csv").write_text(f"a,{'x' * 20} Smith has a carcinoma\n")
    with pytest.raises(DataError) as error:
        read(tmp_path / "r.csv")
    assert "carcinoma" not in str(error.value) and "columns: a, xxx" in str(error.value)
    (tmp_path / "r.csv").write_text("x" * 4_000_001)
    with pytest.raises(DataError, match="no header"):
        read(tmp_path / "r.csv")


def test_an_id_is_used_once(tmp_path):
    (tmp_path / "r.csv").write_text("id,text\na,Lung.\na,Lung.\na,Skin.\nb,Lung.\n")
    found, rejected = read(tmp_path / "r.csv")
    assert [report.report_id for report in found] == ["a", "b"]
    assert rejected["r.csv:2"] == "id 'a' was seen before, with the same text"
    assert rejected["r.csv:3"] == "id 'a' was seen before, with another text"


def test_a_table_without_ids_counts_its_rows(tmp_path):
    (tmp_path / "r.tsv").write_text("text\torgan\nLung.\tlung\nSkin.\tskin\n")
    found, _ = read(tmp_path / "r.tsv")
    assert [report.report_id for report in found] == ["r.tsv:1", "r.tsv:2"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(tmp_path, encoding):
    text = "Crohn\u2019s disease, 3 \u00b5m, M\u00e9nétrier"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (tmp_path / "b.csv").write_bytes(f'id,text\nb,"{text}"\n'.encode(encoding))
    found, rejected = read(tmp_path)
    assert [report.text for report in found] == [text, text]
    assert not rejected


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(data):
    text = decode(data)
    assert text is None or "\ufffd" not in text or "\ufffd".encode() in data or b"\xff" in data


@settings(max_examples=50)
@given(st.binary(max_size=400), st.sampled_from([".csv", ".tsv", ".jsonl", ".txt"]))
def test_no_file_makes_a_traceback(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"r{suffix}"
    path.write_bytes(data)
    try:
        read(path)
    except DataError as error:
        assert "columns" in str(error)


def test_listing_leaves_the_count_of_use_to_the_taker(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    ledger = Ledger("summarise")
    assert len(list(list_reports(tmp_path, ledger))) == 1
    assert ledger.counts() == {"listed": 1, "used": 0, "rejected": 0}


def test_messages(tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder; expected a folder of .txt"):
        list(iter_reports(tmp_path / "none", Ledger("x")))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.txt").write_text("Carcinoma.")
    with pytest.raises(DataError, match="no report in it; expected files ending in .txt"):
        list(iter_reports(tmp_path / "empty", Ledger("x")))
    (tmp_path / "r.docx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="a .docx file; expected .txt.*Convert the reports"):
        list(iter_reports(tmp_path / "r.docx", Ledger("x")))
    (tmp_path / "r.csv").write_text("id,organ\n1,lung\n")
    with pytest.raises(DataError, match="r.csv: columns: id, organ; expected a column of texts"):
        list(iter_reports(tmp_path / "r.csv", Ledger("x")))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_of_excel_are_read(tmp_path, encoding, mark):
    path = tmp_path / "r.csv"
    path.write_text(f"patient{mark}text\nP1{mark}Colon, adenoma.\n", encoding=encoding)
    (report,) = list_reports(path, Ledger("test"))
    assert (report.report_id, report.text) == ("P1", "Colon, adenoma.")


def test_a_table_without_ids_says_so_once(tmp_path, capsys):
    path = tmp_path / "r.csv"
    path.write_text("mrn,text\n1,one\n2,two\n")
    assert [one.report_id for one in list_reports(path, Ledger("test"))] == ["r.csv:1", "r.csv:2"]
    said = capsys.readouterr().err
    assert said.count("r.csv: no column of ids (report_id,") == 1 and "Rename the column" in said
