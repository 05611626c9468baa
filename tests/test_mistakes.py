"""Simple mistakes are answered before anything heavy is loaded: in a second, and in plain words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crafts import cli

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "sklearn", "matplotlib")
# what a command needs beside --output, all of it there
RIGHT = {
    "generate": ["--prompt", "colon"],
    "finetune": ["tiles"],
    "dataset": [],
    "tile": ["tiles"],
    "summarise": ["reports.csv"],
    "caption": ["tiles"],
    "pack": ["tiles"],
    "encode": ["shards"],
    "train": ["recipe.yaml"],
    "evaluate": ["--generated", "tiles", "--real", "tiles"],
    "audit": ["--generated", "tiles", "--train", "tiles"],
    "experiment": ["losses", "--data", "painted"],
}
FILES = {
    "generate": ["--manifest", "absent"],
    "finetune": ["absent"],
    "dataset": ["--classes", "absent"],
    "tile": ["absent"],
    "summarise": ["absent"],
    "caption": ["absent"],
    "pack": ["absent"],
    "encode": ["absent"],
    "train": ["absent"],
    "evaluate": ["--generated", "tiles", "--real", "absent"],
    "audit": ["--generated", "absent", "--train", "tiles"],
    "experiment": ["losses", "--data", "absent"],
}
MODELS = {
    **{name: "--model" for name in ("generate", "finetune", "dataset", "encode", "audit")},
    "summarise": "--tokenizer",
    "evaluate": "--encoder",
}
OUTPUT = ["--output", "out"]
CASES = [
    *([name, *given, *OUTPUT, "--frobnicate"] for name, given in RIGHT.items()),
    *([name, *given, *OUTPUT, "--set", "nonsense=1"] for name, given in RIGHT.items()),
    *([name, *given, *OUTPUT] for name, given in FILES.items()),
    *([name, *given, "--output", "afile/out"] for name, given in RIGHT.items()),
    *([name, *RIGHT[name], *OUTPUT, option, "absent"] for name, option in MODELS.items()),
    ["generate", *OUTPUT],
    ["generate", *RIGHT["generate"], *OUTPUT, "--control", "depth=a.png"],
    ["generate", *RIGHT["generate"], *OUTPUT, "--guidance-scale", "0"],
    ["generate", "--prompt", "a cat", *OUTPUT, "--strict"],
    ["generate", "--manifest", "excel.csv", *OUTPUT],
    ["generate", "--manifest", "prompts.txt", *OUTPUT],
    ["generate", *RIGHT["generate"], *OUTPUT, "--set", "model=mini@99"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "stage.kind=painter"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "optim.lr=fast"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "optim.betas=[1]"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "num_steps=1.5"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "optim=3"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "optim.schedule=steep"],
    ["train", "recipe.yaml", *OUTPUT, "--set", "data.folder=3"],
    ["evaluate", *RIGHT["evaluate"], *OUTPUT, "--set", "filter=perhaps"],
    ["evaluate", *RIGHT["evaluate"], *OUTPUT, "--set", "seed=-1"],
    ["nonsense"],
]
RUN = """
import json, sys
from crafts import cli
for arguments in json.load(sys.stdin):
    code = cli.run(arguments)
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print(json.dumps([code, loaded]), flush=True)
    print("--end--", file=sys.stderr, flush=True)
"""
# pydantic's words, which say nothing to a user
PYDANTIC = ("input should", "value_error", "a valid", "pydantic", "type=", "union_tag", "literal")


@pytest.fixture(scope="module")
def answers(tmp_path_factory, root):
    """What each mistake gives, all of them in one process: exit code, heavy modules, words."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "tiles").mkdir()
    (folder / "shards").mkdir()
    shards = {"stage": "pack", "files": {}}
    (folder / "shards/manifest.json").write_text(json.dumps(shards))
    (folder / "reports.csv").write_text("report_id,text\na,Adenocarcinoma.\n")
    (folder / "recipe.yaml").write_text((root / "recipes/tiny.yaml").read_text())
    (folder / "afile").write_text("mine")
    (folder / "excel.csv").write_bytes("id;prompt\na;Gr\xfc\xdfe".encode("cp1252"))
    (folder / "prompts.txt").write_text("colon")
    ran = subprocess.run(
        [sys.executable, "-c", RUN.format(heavy=HEAVY)],
        input=json.dumps(CASES),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])},
        check=True,
    )
    said = ran.stderr.split("--end--\n")
    given = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    assert sorted(path.name for path in folder.iterdir()) == [
        "afile", "excel.csv", "prompts.txt", "recipe.yaml", "reports.csv", "shards", "tiles",
    ]  # fmt: skip
    told = zip(CASES, given, said[:-1], strict=True)
    return {json.dumps(case): (*found, text) for case, found, text in told}


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_mistake_loads_nothing_heavy_and_is_told_in_plain_words(answers, case):
    code, loaded, text = answers[json.dumps(case)]
    assert (code, loaded) in [(2, []), (3, [])], text
    assert "Traceback" not in text and not [word for word in PYDANTIC if word in text.lower()]
    last = text.strip().splitlines()[-1]
    assert last.startswith(("crafts: ", "Error: ")), text
    if "absent" in case and last.startswith("crafts: "):
        assert "absent" in last
