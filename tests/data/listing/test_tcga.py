"""Barcodes name patients and studies; a table wins over the tissue source site."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from crafts.core.errors import DataError
from crafts.data.listing.tcga import find_cancer, load_studies, patient_of, site_studies
from crafts.data.taxonomy import CANCERS, load_cancers


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("TCGA-BH-A0AU-01Z-00-DX1.E852F218-B15C-4CF8", "TCGA-BH-A0AU"),
        ("slides/TCGA-3X-AAVA-01Z-00-DX1_0_0_0_506.jpg", "TCGA-3X-AAVA"),
        ("tcga-bh-a0au.svs", ""),  # barcodes are written in capitals
        ("TCGA-BH-A0AUX", ""),
        ("XTCGA-BH-A0AU", ""),
        ("CMU-1", ""),
        ("", ""),
    ],
)
def test_patients_of_names(name, patient):
    assert patient_of(name) == patient


def test_every_study_of_the_taxonomy_has_sites_and_each_site_one_study():
    table = site_studies()
    assert len(table) == 722 and all(len(site) == 2 for site in table)
    studies = {study for cancer in CANCERS for study in cancer.studies}
    assert set(table.values()) == studies | {"GBM", "LAML"}
    # sites that are known from publications: Walter Reed and Duke gave breast, Candler colon
    assert {table[site] for site in ("BH", "A1", "A2", "A8", "AN", "AR", "D8", "E9")} == {"BRCA"}
    assert table["AA"] == "COAD" and table["AG"] == "READ" and table["3X"] == "CHOL"


def test_a_table_of_projects_wins_over_the_site(tmp_path):
    path = tmp_path / "projects.csv"
    path.write_text("cases.submitter_id,cases.project.project_id\nTCGA-BH-A0AU,TCGA-LUAD\n")
    studies = load_studies(path)
    assert find_cancer("TCGA-BH-A0AU")[1].code == "BRCA"
    assert find_cancer("TCGA-BH-A0AU", studies=studies)[1].code == "LUAD"
    assert find_cancer("TCGA-BH-A0AX", studies=studies)[1].code == "BRCA"


def test_colon_and_rectum_count_as_one_and_some_studies_as_none(tmp_path):
    assert find_cancer("TCGA-AA-3844")[1] == find_cancer("TCGA-AG-3844")[1]
    assert find_cancer("TCGA-02-0001") == ("GBM", None)
    assert find_cancer("TCGA-??-0001") == ("", None)
    assert find_cancer("") == ("", None)
    more = tmp_path / "cancers.csv"
    more.write_text("code,name,organ\nGBM,glioblastoma,brain\n")
    assert find_cancer("TCGA-02-0001", cancers=load_cancers(more))[1].name == "glioblastoma"


def test_the_public_breast_table_agrees(shared_data):
    """110 patients with triple-negative breast cancer, chosen by somebody else."""
    with (shared_data / "text/tcga_tnbc_digi_sTILs.csv").open(encoding="utf-8-sig") as handle:
        patients = {patient_of(row["TCGA Cases IDs"] or "") for row in csv.DictReader(handle)}
    patients -= {""}  # a last line without a name
    assert len(patients) >= 110
    assert {find_cancer(name)[0] for name in patients} == {"BRCA"}


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("patient,stage\nTCGA-BH-A0AU,II\n", "columns"),
        ("patient,project\nTCGA-BH-A0AU,breast cancer\n", "breast cancer"),
        ("patient,project\n0001,BRCA\n", "'0001'"),
        ("patient,project\nTCGA-BH-A0AU,BRCA\nTCGA-BH-A0AU-01Z,LUAD\n", "second project"),
        ("", "none"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, came):
    path = tmp_path / "projects.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=came) as error:
        load_studies(path)
    assert "Correct the table" in str(error.value)


def test_a_missing_table_is_refused():
    with pytest.raises(DataError, match="unreadable"):
        load_studies(Path("/nowhere.csv"))
