"""Tables for other people's programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from crafts.core.tables import csv_row_writer
from crafts.readerstudy.analysis.findings import Findings
from crafts.readerstudy.analysis.per_reader import ReaderRow
from crafts.readerstudy.analysis.pooled import Figure
from crafts.readerstudy.protocol import KeyRow
from crafts.readerstudy.readings import Matrix, Reading

MODALITY = "study"


def write_imrmc(path: Path, matrix: Matrix) -> None:
    """Rows as FDA's iMRMC reads them: truth first, then one row a reader and item.

    Args:
        path: of the csv.
        matrix: first readings; scores 1 (surely real) to 10 (surely synthetic).
    """
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv_row_writer(handle, ("readerID", "caseID", "modalityID", "score"))
        for name, synthetic in zip(matrix.pictures, matrix.synthetic, strict=True):
            writer.writerow(_imrmc("truth", name, "truth", int(synthetic)))
        for reader, row in zip(matrix.readers, matrix.scores, strict=True):
            for name, score in zip(matrix.pictures, row, strict=True):
                if not math.isnan(score):
                    writer.writerow(_imrmc(reader, name, MODALITY, int(score)))


def write_unblinded(path: Path, readings: Sequence[Reading], key: dict[str, KeyRow]) -> None:
    """Every reading beside the truth of its item."""
    columns = ("reader", "position", "block", "picture", "kind", "label", "site", "patient",
               "source", "synthetic", "realness", "confidence", "rating", "diagnosis", "remark",
               "artefacts", "seconds", "idle_seconds", "changes")  # fmt: skip
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv_row_writer(handle, columns, ignore_others=True)
        for one in readings:
            row = key[one.picture]
            values = {**vars(row), **vars(one), "synthetic": row.answer}
            writer.writerow({name: _plain(value) for name, value in values.items()})


def write_figures(path: Path, findings: Findings) -> None:
    """Every figure of the report with its interval."""
    figures: list[tuple[str, Figure]] = [
        *(("real or synthetic", one) for one in findings.realness),
        *(("check", one) for one in findings.checks),
        *(("rating", one) for one in findings.ratings),
        *(("agreement", one) for one in findings.agreement),
        *(("diagnosis", one) for one in findings.diagnosis),
        ("repeats", findings.repeats),
        ("plain fakes", findings.fakes),
        *((theme, one) for theme, some in findings.groups.items() for one in some),
    ]
    columns = ("theme", "figure", "value", "low", "high", "se", "df", "method")
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv_row_writer(handle, columns)
        for theme, one in figures:
            found = one.estimate
            numbers = {k: getattr(found, k) for k in ("value", "low", "high", "se", "df")}
            plain = {name: _plain(value) for name, value in numbers.items()}
            writer.writerow({"theme": theme, "figure": one.name, **plain, "method": one.method})


def write_readers(path: Path, rows: Sequence[ReaderRow]) -> None:
    """One row a reader."""
    columns = ("reader", "answered", "asked", "true_synthetic", "false_synthetic", "true_real",
               "false_real", "area", "sensitivity", "specificity", "accuracy", "d_prime",
               "criterion", "f1_synthetic", "f1_real", "repeats", "same", "kappa", "seconds",
               "flags")  # fmt: skip
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv_row_writer(handle, columns, ignore_others=True)
        for row in rows:
            values = {**vars(row), **vars(row.confusion), "flags": "; ".join(row.flags)}
            values |= {"f1_synthetic": row.f1[0], "f1_real": row.f1[1]}
            for name in ("sensitivity", "specificity", "accuracy", "d_prime", "criterion"):
                values[name] = values[name].value
            writer.writerow({name: _plain(value) for name, value in values.items()})


def _imrmc(reader: str, case: str, modality: str, score: int) -> dict[str, object]:
    return {"readerID": reader, "caseID": case, "modalityID": modality, "score": score}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return value if isinstance(value, str | int) else str(value)
