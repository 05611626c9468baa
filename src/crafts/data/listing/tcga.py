"""TCGA barcodes: which patient a slide is of, and which study, hence which cancer.

A barcode (``TCGA-BH-A0AU-01Z-00-DX1``) holds the tissue source site (BH) and the patient
(TCGA-BH-A0AU). A site gave to one study only, so that the site alone names the study; a table of
patients and projects decides where it is given. Captions are never asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from crafts.core.errors import DataError, refusal
from crafts.core.patients import PATIENT_COLUMNS
from crafts.core.tables import read_columns
from crafts.data.taxonomy import CANCERS, Cancer, cancer_of

STUDY_COLUMNS = (
    "project", "project_id", "cases.project.project_id", "study", "cancer_type", "type", "acronym",
)  # fmt: skip
_BARCODE = re.compile(r"(?<![A-Za-z0-9])TCGA-([A-Za-z0-9]{2})-([A-Za-z0-9]{4})(?![A-Za-z0-9])")
_STUDY = re.compile(r"(?:TCGA-)?([A-Za-z]{2,8})")


def patient_of(name: str) -> str:
    """The patient that the first barcode in a text names, such as "TCGA-BH-A0AU"; "" without."""
    found = _BARCODE.search(name)
    return f"TCGA-{found[1]}-{found[2]}".upper() if found else ""


@cache
def site_studies() -> Mapping[str, str]:
    """Code of a tissue source site -> study code, for the 722 sites of the 33 TCGA studies.

    From the public table of 11,160 TCGA patients and their cancer type; no site stands in two
    studies there.
    """
    table: dict[str, str] = {}
    text = Path(__file__).with_name("tissue_sites.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            study, _, sites = line.partition(":")
            table.update(dict.fromkeys(sites.split(), study))
    return table


def load_studies(path: Path) -> dict[str, str]:
    """Read a csv or tsv of patients and their projects.

    Args:
        path: one column of :data:`crafts.core.patients.PATIENT_COLUMNS` with barcodes (of patients,
            or longer ones) and one of :data:`STUDY_COLUMNS` with codes such as BRCA or TCGA-BRCA.

    Returns:
        Patient -> study code in upper case.

    Raises:
        DataError: unreadable, a column is missing, a row has no barcode or code, or a patient has
            two projects.
    """
    columns = {"patient": PATIENT_COLUMNS, "study": STUDY_COLUMNS}
    table: dict[str, str] = {}
    for where, row in read_columns(path, columns, _bad_table):
        patient = patient_of(row["patient"])
        found = _STUDY.fullmatch(row["study"])
        if not patient or not found:
            raise _bad_table(where, f"patient {row['patient']!r}, project {row['study']!r}")
        if table.setdefault(patient, found[1].upper()) != found[1].upper():
            raise _bad_table(where, f"a second project of {patient}")
    return table


def find_cancer(
    patient: str,
    *,
    studies: Mapping[str, str] | None = None,
    cancers: Sequence[Cancer] = CANCERS,
) -> tuple[str, Cancer | None]:
    """Study of a patient, and the cancer that it counts as.

    Args:
        patient: as :func:`patient_of` gives it.
        studies: patient -> study, which wins over the site.
        cancers: those to choose from; a study of none of them (GBM, LAML) gives None.

    Returns:
        The study code, "" where neither table nor site knows it, and the cancer.
    """
    site = patient.split("-")[1] if patient else ""
    study = (studies or {}).get(patient) or site_studies().get(site, "")
    return study, cancer_of(study, cancers) if study else None


_bad_table = refusal(
    DataError,
    allowed=f"a column with TCGA barcodes ({', '.join(PATIENT_COLUMNS[:2])}, ...) and one with "
    f"project codes ({', '.join(STUDY_COLUMNS)})",
    do="Correct the table of patients and projects.",
)
