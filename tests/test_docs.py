"""Documents say what is so: pages are fresh, links lead somewhere, named commands exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess

import pytest

from crafts import cli

PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
PAGES += ["docs/audit.md", "docs/cli.md", "docs/evaluate.md", "docs/fine-tune.md"]
PAGES += ["docs/dataset.md", "docs/finetune-mini.md", "docs/tutorial.md"]
PAGES += ["docs/control.md", "docs/corpora.md", "docs/experiments.md"]
PAGES += ["docs/integrity.md", "docs/presets.md", "docs/prompts.md", "docs/summaries.md"]
PAGES += ["docs/reports.md", "docs/reproduce.md", "docs/slides.md"]


def test_cli_page_is_fresh(root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    spec = importlib.util.spec_from_file_location("make_cli", root / "docs/make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (root / "docs/cli.md").read_text() == module.build_page(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files(page, root):
    text = (root / page).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert [link for link in links if not (root / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_named_commands_exist(page, root, capsys):
    text = (root / page).read_text()
    commands = set(re.findall(r"^crafts ([a-z]+)", text, flags=re.MULTILINE))
    for command in sorted(commands):
        assert cli.run([command, "--help"]) == 0, command


@pytest.mark.parametrize(
    "page", ["README.md", "docs/fine-tune.md", "docs/reproduce.md", "docs/cli.md"]
)
def test_pages_for_users_say_research_only(page, root):
    text = (root / page).read_text().lower()
    assert "research" in text and "not a medical device" in text


def test_makefile_verbs_exist(root):
    verbs = "demo test fmt lint types docs soak bench model-check clean".split()
    done = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert [verb for verb in verbs if verb not in listed] == []


def test_no_document_names_a_package_index(root):
    files = ["Makefile", ".ci/run", "constraints.txt", "pyproject.toml", *PAGES]
    named = [
        name
        for name in files
        if re.search(r"(pypi|pytorch)\.org|index-url\s+http", (root / name).read_text())
    ]
    assert named == []
