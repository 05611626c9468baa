"""Documents say what is so: pages are fresh, links lead somewhere, named commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess

import pytest

from crafts import api, cli

PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
PAGES += [
    "docs/audit.md",
    "docs/benchmarks.md",
    "docs/cli.md",
    "docs/evaluate.md",
    "docs/fine-tune.md",
]
PAGES += ["docs/edit.md", "docs/dataset.md", "docs/finetune-mini.md", "docs/tutorial.md"]
PAGES += ["docs/control.md", "docs/corpora.md", "docs/evidence.md", "docs/experiments.md"]
PAGES += ["docs/integrity.md", "docs/presets.md", "docs/prompts.md", "docs/summaries.md"]
PAGES += [
    "docs/reports.md",
    "docs/reproduce.md",
    "docs/slides.md",
    "docs/study.md",
    "docs/upgrade.md",
    "SECURITY.md",
]


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


def commands_of(page):
    """The commands of a page's blocks, one a line, without comments and synopses."""
    blocks = re.findall(r"^```(?:console|bash|sh|text)?\n(.*?)^```", page, flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [
        shlex.split(line.removeprefix("$ "), comments=True) for line in lines if "'" not in line
    ]
    return [words for words in found if words and not any(word[0] == "[" for word in words)]


def commands_of_tables(page):
    """The commands in cells of a page's tables, each once."""
    cells = re.findall(r"\| `((?:crafts|python) [^`]+)` \|", page)
    return [shlex.split(command) for command in dict.fromkeys(cells)]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/cli.md"])
def test_every_command_of_a_page_is_understood(page, root, capsys, monkeypatch):
    """Options, fields and values are those of today; what a command needs is not there."""
    monkeypatch.chdir(root)
    text = (root / page).read_text()
    cells = commands_of_tables(text) if page == "docs/evidence.md" else []
    for words in commands_of(text) + cells:
        given = list(words[1:])
        if words[0] == "python" and given[0].endswith(".py"):
            assert (root / given[0]).is_file(), words
        elif words[:2] == ["python", "-m"] and given[1].startswith("crafts."):
            assert importlib.util.find_spec(f"{given[1]}.__main__"), words
        elif words[:2] == ["crafts", "train"]:  # its dry run counts operations, too
            overrides = [given[i + 1] for i, word in enumerate(given) if word == "--set"]
            api.configure("train", root / given[1], overrides)
        elif words[0] == "crafts" and given[0] not in ("doctor", "models"):
            assert cli.run([*given, "--dry-run"]) == 0, (words, capsys.readouterr().err)
        elif words[0] == "crafts":
            assert cli.run([given[0], "--help"]) == 0, words


@pytest.mark.parametrize(
    "page", ["README.md", "docs/fine-tune.md", "docs/reproduce.md", "docs/cli.md"]
)
def test_pages_for_users_say_research_only(page, root):
    text = (root / page).read_text().lower()
    assert "research" in text and "not a medical device" in text


def test_makefile_verbs_exist(root):
    verbs = "demo test fmt lint types docs soak bench model-check dist clean".split()
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
