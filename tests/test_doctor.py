"""The doctor's report: its lists are pyproject's, its faults are named, its commands are exact."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError

import pytest

from crafts import cli, doctor
from crafts.core import artifacts


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_lists_are_those_of_pyproject(project):
    assert sorted(doctor.CORE) == sorted(project["dependencies"])
    extras = {
        name: tuple(lines)
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
    }
    assert extras == doctor.EXTRAS
    assert extras.keys() == doctor.EXTRAS_SERVE.keys()


def test_dev_extra_holds_what_the_tests_need_of_other_extras(project):
    extras = project["optional-dependencies"]
    assert set(extras["lora"]) | set(extras["data"]) <= set(extras["dev"])


def test_nothing_needs_torchvision(project):
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    forbidden = ("torchvision", "timm", "torch-fidelity", "lightly", "lpips", "open-clip")
    assert [line for line in lines if line.startswith(forbidden)] == []


def test_json_report_is_whole(capsys):
    assert cli.run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["packages"]["torch"]["fault"] is None
    assert report["compute"]["cores"] >= 1
    assert 0 < report["disk"]["free"] <= report["disk"]["total"]


def test_text_report_names_every_package_and_extra(capsys):
    assert cli.run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("torch", "diffusers", *doctor.EXTRAS))
    # weights without a manifest are not said to be well
    assert ("not checked" in text) != text.endswith("\nall is well\n")


def test_a_missing_package_gives_the_command(monkeypatch):
    real = doctor.version

    def without(name):
        if name in ("torch", "peft"):
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", without)
    report = doctor.compute_report()
    text = doctor.format_report(report)
    assert report["ok"] is False and doctor.exit_code(report) == 2
    assert "not installed" in text and f"repair with: {report['repair']}" in text
    assert report["extras"]["lora"]["missing"] == ["peft"]
    assert "[lora]" in report["extras"]["lora"]["add"]
    assert "unknown without torch" in text


def test_the_list_of_weights_is_that_of_the_package():
    assert sorted(path.name for path in doctor.WEIGHTS.glob("*/")) == list(doctor.SHIPPED)


@pytest.mark.parametrize("name", ["torch", "yaml"])
def test_a_package_that_is_there_and_cannot_be_imported_is_no_traceback(name):
    run = "import sys; sys.modules[sys.argv.pop()] = None\nfrom crafts.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, "doctor", name], capture_output=True, text=True, check=False
    )
    assert done.returncode in (2, 3) and "Traceback" not in done.stderr
    assert "cannot be" in done.stdout and "not all is well" in done.stdout


def test_an_old_package_is_named(monkeypatch):
    real = doctor.version
    monkeypatch.setattr(
        doctor, "version", lambda name: "4.1.0" if name == "transformers" else real(name)
    )
    report = doctor.compute_report()
    assert report["packages"]["transformers"]["fault"].startswith("4.1.0 does not satisfy")


def test_damaged_weights_exit_3(monkeypatch, tmp_path):
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"abc")
    artifacts.finish(folder, stage="train", config={})
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    monkeypatch.setattr(doctor, "SHIPPED", ("mini", "segmenter"))
    report = doctor.compute_report()
    assert [entry["fault"] for entry in report["weights"]] == [None, "not there"]
    assert doctor.exit_code(report) == 3
    monkeypatch.setattr(doctor, "SHIPPED", ("mini",))
    assert doctor.compute_report()["ok"] is True
    (folder / "a.bin").write_bytes(b"abd")
    report = doctor.compute_report()
    assert doctor.exit_code(report) == 3
    assert "a.bin" in report["weights"][0]["fault"]
    assert "not all is well" in doctor.format_report(report)


def test_weights_without_a_manifest_are_said_to_be_unverified(monkeypatch, tmp_path):
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "a.bin").write_bytes(b"abc")
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    monkeypatch.setattr(doctor, "SHIPPED", ("mini",))
    report = doctor.compute_report()
    assert report["ok"] is True and report["weights"][0]["verified"] is False
    text = doctor.format_report(report)
    assert "weights mini: not checked, since it has no manifest" in text
    assert text.endswith("all that was checked is well; weights that were not: mini")


def test_without_a_source_tree_the_command_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "a" / "b" / "doctor.py"))
    assert doctor._pip("[lora]").endswith('pip install "crafts[lora]"')
