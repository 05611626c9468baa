"""Which files are slides, what they are called, and how one is told from another."""

from __future__ import annotations

import os

import pytest

from crafts.core.errors import ConfigError, DataError
from crafts.slides.reading.naming import one_value
from crafts.slides.reading.slide_files import identity, list_sources, load_patients, patient_of


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def names(folder, **how):
    return [source.name for source in list_sources(folder, **how)]


def test_slides_of_a_folder_and_of_its_folders(tmp_path):
    touch(tmp_path, "b.svs", "a.NDPI", "uuid/c.tif", "notes.txt", ".hidden.svs", "mpp.csv")
    assert names(tmp_path) == ["a", "b", "c"]
    assert names(tmp_path / "b.svs") == ["b"]


def test_slides_of_the_same_name_are_told_apart(tmp_path):
    touch(tmp_path, "one/a.svs", "two/a.svs", "three/a b.svs")
    assert names(tmp_path) == ["a_b", "one_a.svs", "two_a.svs"]


def test_names_that_would_be_one_in_shards_are_numbered(tmp_path):
    touch(tmp_path, "x/a.svs", "x_a.svs.tif", "y/a.svs")
    assert names(tmp_path) == ["x_a.svs", "x_a.svs-2", "y_a.svs"]


def test_places_are_paths_below_the_input(tmp_path):
    touch(tmp_path, "a.svs", "x/y/b.svs")
    assert [source.place for source in list_sources(tmp_path)] == ["a.svs", "x/y/b.svs"]
    assert [source.place for source in list_sources(tmp_path / "x/y/b.svs")] == ["b.svs"]


def test_tiles_among_the_slides_are_no_slides(tmp_path):
    touch(tmp_path, "a.svs", "out/tiles/a/x0-y0.png", "out/tissue/a.png", "output/b.svs")
    assert names(tmp_path, leave_out=tmp_path / "out") == ["a", "b"]
    assert names(tmp_path / "a.svs", leave_out=tmp_path / "out") == ["a"]


def test_links_in_a_circle_give_every_slide_once(tmp_path):
    touch(tmp_path, "x/a.svs")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "y").symlink_to(tmp_path / "x")
    assert names(tmp_path) == ["a"]


def test_long_names_leave_room_and_stay_apart(tmp_path):
    touch(tmp_path, f"{'n' * 240}.svs", f"{'n' * 239}m.svs", f"{'ü' * 110}.svs")
    found = names(tmp_path)
    assert len(set(found)) == 3
    assert all(len(os.fsencode(f".{name}_patches.h5.1234567.tmp")) < 255 for name in found)
    assert names(tmp_path) == found


def test_companions_are_no_slides(tmp_path):
    touch(tmp_path, "m.mrxs", "m/Data0000.dat", "v/v.vms", "v/v(0,0).jpg", "v/v_macro.jpg")
    assert names(tmp_path) == ["m", "v"]


def test_a_series_of_dicom_files_is_one_slide(tmp_path, wsi):
    import pydicom

    header = pydicom.dcmread(wsi / "small_dicom_vlwsi_GPL-repo.dcm", stop_before_pixels=True)
    (tmp_path / "case").mkdir()
    for number in range(2):
        header.save_as(tmp_path / "case" / f"{number}.dcm")
    assert names(tmp_path) == ["case"]
    header.SeriesInstanceUID = "1.2.3"
    header.save_as(tmp_path / "case" / "2.dcm")
    assert names(tmp_path) == ["0", "2"]


BARCODE = "TCGA-AB-1234-01A-01-TS1.0F"


def test_patients_are_read_from_tcga_barcodes(tmp_path):
    touch(tmp_path, f"{BARCODE}.svs", "b.svs", "tcga-ab-1234-02z.svs")
    found = {source.name: patient_of(source, None) for source in list_sources(tmp_path)}
    lower = {"tcga-ab-1234-02z": "TCGA-AB-1234"}
    assert found == {BARCODE: "TCGA-AB-1234", "b": "b"} | lower


@pytest.mark.parametrize("header", ["slide,patient", "slide_id,case_id", "label,wsi,patient"])
def test_a_table_says_the_patient_before_the_barcode_does(tmp_path, header):
    touch(tmp_path, f"{BARCODE}.svs", "b.svs", "c.svs", "d.svs")
    more = "x," if header.startswith("label") else ""
    lines = [header, f"{more}b.svs,P1", f"{more}c,P1", ""]
    (tmp_path / "patients.csv").write_text("\n".join(lines))
    sources = {source.name: source for source in list_sources(tmp_path)}
    rows = load_patients(tmp_path / "patients.csv")
    table = one_value(rows, list(sources.values()), "patients.csv")
    assert [patient_of(sources[name], table) for name in ("b", "c")] == ["P1", "P1"]
    assert patient_of(sources[BARCODE], table) == "TCGA-AB-1234"
    with pytest.raises(DataError, match="d.svs: no patient of it in the table.*--patients"):
        patient_of(sources["d"], table)
    table[BARCODE] = "P2"
    assert patient_of(sources[BARCODE], table) == "P2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns none"),
        ("slide,age\na,3\n", "columns slide, age"),
        ("slide,patient\na,\n", "row 1: slide 'a', patient ''"),
        ("slide,patient\na,P\na,Q\n", "row 2: a second patient of 'a'"),
    ],
)
def test_unusable_tables_of_patients_are_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ConfigError, match=f"{message}; expected columns slide and patient"):
        load_patients(tmp_path / "p.csv")
    with pytest.raises(ConfigError, match="unreadable"):
        load_patients(tmp_path / "none.csv")


def test_nothing_to_tile_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        list_sources(tmp_path / "no")
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"no slide in it; expected files ending in .svs"):
        list_sources(tmp_path)


@pytest.mark.parametrize("size", [0, 10, 100_000, 9_000_000])
def test_identity_is_of_the_content(tmp_path, size):
    data = bytearray(size)
    (tmp_path / "a.svs").write_bytes(data)
    first = identity(tmp_path / "a.svs")
    (tmp_path / "a.svs").touch()
    assert identity(tmp_path / "a.svs") == first
    for change in (data + b"x", data[:-1] + b"x"):
        (tmp_path / "a.svs").write_bytes(change)
        assert identity(tmp_path / "a.svs") != first
