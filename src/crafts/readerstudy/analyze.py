"""Step: readings of a closed study into figures with intervals, and a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crafts.core.artifacts import Manifest, finish, load_manifest, staging, write_bytes
from crafts.core.errors import DataError
from crafts.readerstudy.analysis.exports import (
    write_figures,
    write_imrmc,
    write_readers,
    write_unblinded,
)
from crafts.readerstudy.analysis.findings import Facts, conclude, to_json
from crafts.readerstudy.analysis.printing import print_pdf
from crafts.readerstudy.analysis.report import write_report
from crafts.readerstudy.config import AnalyzeConfig
from crafts.readerstudy.protocol import Study, load_study
from crafts.readerstudy.readings import Reading, build_matrix, load_readings

STAGE = "study-analyze"


def run(config: AnalyzeConfig, inputs: Mapping[str, Path] | None, output: Path) -> Manifest:
    """Analyse a closed study by the plan that was registered before it.

    Args:
        config: see :class:`crafts.readerstudy.config.AnalyzeConfig`.
        inputs: ``study`` and ``readings``: replace those of the configuration.
        output: gets ``results.json``, ``figures.csv``, ``readers.csv``, ``unblinded.csv``,
            ``imrmc.csv``, ``report.html``, ``report.pdf`` where a Chromium is installed, and last
            ``manifest.json``.

    Raises:
        DataError: the study is open, its key was taken away, or nothing was answered.
        IntegrityError: the plan, the key or the readings were changed.
        RetryError: the disk is full, or another run holds the output folder.
    """
    config = config.model_copy(update=dict(inputs or {}))
    study = load_study(config.study)
    readings, readers, closed = load_readings(config.readings, study.id)
    _require_answers(config, study, readings)
    with staging(output, STAGE, sources=[config.study, config.readings]) as folder:
        traces = load_manifest(config.study).extra.get("traces")
        facts = Facts(simulated="simulated" in closed.extra, traces=traces)
        findings = conclude(config, study, readings=readings, readers=readers, facts=facts)
        results = json.dumps(to_json(findings), indent=1, ensure_ascii=False)
        write_bytes(folder / "results.json", results.encode())
        write_figures(folder / "figures.csv", findings)
        write_readers(folder / "readers.csv", findings.readers)
        write_unblinded(folder / "unblinded.csv", readings, dict(study.key))
        test = [one for one in readings if one.block == "test"]
        write_imrmc(folder / "imrmc.csv", build_matrix(test, study.key))
        write_report(findings, study, folder / "report.html")
        print_pdf(folder / "report.html", folder / "report.pdf")
        return finish(
            folder,
            stage=STAGE,
            config=_settings(config),
            inputs={"study": study.id},
            counts={"readings": len(readings), "readers": len(findings.readers)},
            extra={"simulated": facts.simulated, "registration": study.protocol.registration},
        )


def _require_answers(config: AnalyzeConfig, study: Study, readings: list[Reading]) -> None:
    """Refuse readings that nothing can be said of.

    Raises:
        DataError: none of an item that counts, or of an item that the study does not have.
    """
    unknown = next((one for one in readings if one.picture not in study.key), None)
    main = [one for one in readings if one is not unknown and study.key[one.picture].is_main]
    classes = {study.key[one.picture].answer for one in main}
    if unknown is None and classes == {0, 1}:
        return
    came = f"no item {unknown.picture!r} in the key" if unknown else f"{len(main)} readings"
    raise DataError(
        str(config.readings),
        came=f"{came} of real and synthetic test items",
        allowed="answers to items of both classes",
        do="Check that the readings belong to this study, and that anybody answered.",
    )


def _settings(config: AnalyzeConfig) -> dict[str, object]:
    values = config.model_dump(mode="json")
    for name in ("study", "readings"):
        values[name] = str(Path(values[name]).resolve())
    return values
