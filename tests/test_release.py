"""A wheel that a bare environment installs and runs, and what a release must state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest
import yaml

import crafts
from crafts.core.errors import ConfigError
from crafts.model.files.places import MINI, SHIPPED, resolve_model


def test_the_citation_names_this_version(root):
    stated = yaml.safe_load((root / "CITATION.cff").read_text())
    assert (stated["version"], stated["license"]) == (crafts.__version__, "Apache-2.0")


def test_each_version_of_mini_has_a_folder_of_its_own_and_the_last_is_mini():
    assert len(set(MINI.values())) == len(MINI)
    for version in MINI:
        assert (resolve_model(version) / "manifest.json").is_file()
    assert resolve_model("mini") == resolve_model(list(MINI)[-1])
    assert resolve_model("mini@1") == SHIPPED / "mini"
    with pytest.raises(ConfigError, match=r"mini@99.*an unknown version.*Use one of: mini, mini@1"):
        resolve_model("mini@99")


def test_the_container_takes_what_the_package_is_built_from(root):
    lines = (root / "Containerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "src"} == copied
    kept = (root / ".containerignore").read_text().splitlines()
    assert all((root / name).exists() and f"!{name}" in kept for name in copied)


@pytest.mark.soak
def test_a_bare_environment_installs_and_runs_the_wheel(root, tmp_path):
    """The packages below crafts come from the environment of the tests: they are gigabytes."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-q", "-w", tmp_path, root], check=True)
    (wheel,) = tmp_path.glob("crafts-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "crafts/weights/mini/unet/diffusion_pytorch_model.safetensors" in names
    assert "crafts/weights/LICENSE.md" in names
    assert not [name for name in names if name.startswith(("tests", "recipes"))]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = tmp_path / "env/bin/python"
    subprocess.run([*pip, "--python", python, "install", "-q", "--no-deps", wheel], check=True)
    own = next((tmp_path / "env/lib").glob("python*/site-packages"))
    (own / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*arguments):
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        command = [tmp_path / "env/bin/crafts", *arguments]
        ran = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert run("--version") == f"crafts {crafts.__version__}\n"
    run("doctor")
    run("generate", "--model", "mini@1", "--prompt", "colon", "--num-steps", "1", "--output", "o")
    made = json.loads((tmp_path / "o/manifest.json").read_text())
    assert made["stage"] == "generate" and list((tmp_path / "o/images").glob("*.png"))
    where = "import crafts; print(crafts.__file__)"
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [python, "-c", where]
    ran = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert ran.stdout.startswith(str(own))
