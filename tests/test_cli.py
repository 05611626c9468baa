"""The command line: commands, flags, exit codes, one-line errors, and a fast start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import crafts
from crafts import cli
from crafts.captions.config import SummariseConfig
from crafts.core import errors
from crafts.generation.request import GenerateConfig

FLAGS = {
    "doctor": ["--json"],
    "generate": [
        "--prompt",
        "--output",
        "--manifest",
        "--model",
        "--num-images",
        "--seed",
        "--preset",
        "--num-steps",
        "--guidance-scale",
        "--negative-prompt",
        "--size",
        "--batch-size",
        "--control",
        "--shard",
        "--keep",
        "--strict",
        "--same-noise",
        "--dry-run",
    ],
    "models": ["--output"],
    "finetune": ["--output", "--minutes", "--model", "--method", "--dry-run"],
    "dataset": ["--output", "--classes", "--per-class", "--format", "--dry-run"],
    "tile": ["--output", "--mpp", "--size", "--overlap", "--mpp-csv", "--shard", "--dry-run"],
    "summarise": ["--output", "--tokens", "--backend", "--tokenizer", "--dry-run"],
    "caption": ["--output", "--summaries", "--scores", "--dry-run"],
    "pack": ["--output", "--splits", "--dry-run"],
    "encode": ["--output", "--model", "--dry-run"],
    "train": ["--output", "--set", "--resume", "--dry-run"],
    "evaluate": [
        "--generated",
        "--real",
        "--train",
        "--output",
        "--encoder",
        "--filter",
        "--dry-run",
    ],
    "audit": [
        "--generated",
        "--train",
        "--output",
        "--heldout",
        "--model",
        "--fail-above",
        "--dry-run",
    ],
    "experiment": ["--output", "--fast", "--data", "--set", "--dry-run"],
    "benchmark": [
        *("--real", "--generated", "--external", "--fast", "--output", "--set", "--dry-run"),
    ],
    "study prepare": ["--real", "--generated", "--output", "--set", "--dry-run"],
    "study power": ["--half-width", "--margin", "--output"],
    "study simulate": ["--output"],
    "study serve": ["--host", "--port", "--address", "--output"],
    "study close": ["--answers"],
    "study analyze": ["--readings", "--output"],
    "serve": ["--host", "--port", "--model", "--data", "--token-file", "--set", "--dry-run"],
}


@pytest.mark.parametrize("command", FLAGS)
def test_every_command_has_its_flags(command, capsys):
    assert cli.run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert [flag for flag in FLAGS[command] if flag not in text] == []


def test_the_package_runs_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "crafts", "generate", "--frobnicate"], capture_output=True, text=True
    )
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert "crafts generate" in ran.stderr


def test_help_imports_nothing_heavy():
    """What it costs is measured by bench/start.py: a clock says little on a busy machine."""
    code = (
        "import sys\nfrom crafts import cli\nassert cli.run(['--help']) == 0\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'pydantic', 'rich', 'pyarrow'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout


def test_the_version_is_said(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"crafts {crafts.__version__}\n"


def test_completion_can_be_shown(capsys, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert cli.run(["--show-completion", "bash"]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "stage", "options"),
    [
        ("generate", "generate", ["preset", "num_images", "seed", "batch_size"]),
        ("summarise", "summarise", ["tokens", "backend", "tokenizer"]),
    ],
)
def test_help_says_the_defaults_of_the_configuration(command, stage, options, capsys):
    assert cli.run([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    defaults = {"generate": GenerateConfig, "summarise": SummariseConfig}[stage]()
    for name in options:
        rest = text.split(f" --{name.replace('_', '-')} ")[1].split(" --")[0]
        assert f"[default: ({getattr(defaults, name)})]" in rest


@pytest.mark.parametrize("option", ["depth=mask.png", "nuclei=mask.png@9", "mask.png"])
def test_a_wrong_control_exits_2(option, capsys, tmp_path, tiny_model):
    given = ["generate", "--prompt", "p", "--output", str(tmp_path / "o"), "--control", option]
    assert cli.run([*given, "--model", str(tiny_model)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"--control {option}" in line and "expected" in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["generate"],
        ["benchmark", "chess", "--output", "o"],
        ["pack", "x", "--bad", "y"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments, capsys):
    assert cli.run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.ConfigError("a: b", came="c", allowed="d", do="E."), 2),
        (errors.DataError("a: b", came="c", allowed="d", do="E."), 3),
        (errors.IntegrityError("a: b", came="c", allowed="d", do="E."), 3),
        (errors.RetryError("a: b", came="c", allowed="d", do="E."), 75),
        (errors.InterruptedRunError("a: b", came="c", allowed="d", do="E."), 130),
        (OSError(28, "No space left on device", "x"), 75),
        (PermissionError(13, "Permission denied", "x"), 3),
        (MemoryError(), 70),
        (RecursionError("maximum recursion depth exceeded"), 70),
        (RuntimeError("a\nb"), 70),
    ],
    ids=lambda value: (
        getattr(type(value), "__name__", value) if isinstance(value, BaseException) else str(value)
    ),
)
def test_exit_codes(raised, code, capsys, monkeypatch):
    def fail(*arguments, **keywords):
        raise raised

    monkeypatch.setattr(cli, "app", fail)
    assert cli.run([]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("crafts: ")


def fail_with(monkeypatch, tmp_path, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.run([]) == 70


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError by zero; expected no fault of the prog"),
        (MemoryError(), "the memory is full; expected an input and settings that fit into it."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 bytes"), "the memory is full"),
        (RecursionError("too deep"), "an input that is nested too deeply; expected a few levels."),
    ],
)
def test_a_fault_that_nobody_foresaw_is_one_line_and_its_traceback_a_file(
    monkeypatch, tmp_path, capsys, error, words
):
    fail_with(monkeypatch, tmp_path, error)
    (line,) = capsys.readouterr().err.splitlines()
    (saved,) = tmp_path.glob("crafts-*.traceback")
    assert words in line and line.endswith(f"this with the traceback, which is in {saved}.")
    assert "Traceback (most recent call last)" in saved.read_text()


def test_the_traceback_is_shown_to_who_asks_for_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(cli.TRACEBACK, "1")
    fail_with(monkeypatch, tmp_path, ZeroDivisionError())
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text and "which is above." in text
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_that_cannot_be_kept_can_be_asked_for(monkeypatch, tmp_path, capsys):
    fail_with(monkeypatch, tmp_path / "absent", ZeroDivisionError())
    assert "which is shown when CRAFTS_TRACEBACK=1 is set." in capsys.readouterr().err


def test_dry_run_of_generate_prints_yaml_and_writes_nothing(capsys, tmp_path):
    output = tmp_path / "o"
    arguments = [
        "generate",
        "--prompt",
        "a",
        "--prompt",
        "b",
        "--output",
        str(output),
        "--seed",
        "7",
    ]
    assert cli.run([*arguments, "--preset", "fast", "--dry-run"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["seed"], shown["preset"]) == (7, "fast")
    assert not output.exists()


@pytest.mark.parametrize("command", ["pack", "encode"])
def test_dry_run_of_data_stages(command, capsys, tmp_path):
    assert cli.run([command, str(tmp_path), "--output", str(tmp_path / "o"), "--dry-run"]) == 0
    assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)
    assert not (tmp_path / "o").exists()


def test_dry_run_of_train_takes_overrides(capsys, tmp_path, root):
    arguments = [
        "train",
        str(root / "recipes/tiny.yaml"),
        "--output",
        str(tmp_path / "o"),
        "--dry-run",
    ]
    assert cli.run([*arguments, "--set", "num_steps=7"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["num_steps"] == 7
    assert not (tmp_path / "o").exists()


def test_dry_run_of_train_counts_the_cost_of_a_denoiser(capsys, tmp_path, root):
    recipe = str(root / "recipes/sd15/lora.yaml")
    assert cli.run(["train", recipe, "--output", str(tmp_path / "o"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["stage"]["lora"]["rank"] == 16  # what is counted stands in comments
    assert "# denoiser: 862.71 M parameters, 3.19 M of them trained" in text
    assert "GiB" in text and "hours" in text


def test_a_missing_recipe_is_named(capsys, tmp_path):
    assert cli.run(["train", str(tmp_path / "no.yaml"), "--output", str(tmp_path / "o")]) == 2
    assert "no.yaml: no such file" in capsys.readouterr().err


def test_an_unknown_field_is_named(capsys, tmp_path):
    arguments = ["pack", str(tmp_path), "--output", str(tmp_path / "o"), "--set", "nonsense=1"]
    assert cli.run(arguments) == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_absent_source_is_named(capsys, tmp_path):
    assert cli.run(["pack", str(tmp_path / "absent"), "--output", str(tmp_path / "o")]) in (2, 3)
    assert "absent" in capsys.readouterr().err


def test_an_absent_model_is_named(capsys, tmp_path):
    arguments = [
        "generate",
        "--prompt",
        "p",
        "--model",
        str(tmp_path / "absent"),
        "--output",
        str(tmp_path / "o"),
    ]
    assert cli.run(arguments) in (2, 3)
    lines = capsys.readouterr().err.strip().splitlines()
    assert "absent" in lines[-1] and "Traceback" not in lines[-1]


def test_generate_end_to_end(capsys, tmp_path, tiny_model):
    output = tmp_path / "o"
    arguments = [
        "generate",
        "--model",
        str(tiny_model),
        "--prompt",
        "colon",
        "--num-images",
        "2",
        "--seed",
        "3",
    ]
    assert cli.run([*arguments, "--num-steps", "2", "--output", str(output)]) == 0
    written = sorted(
        path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()
    )
    images = [name for name in written if name.startswith("images/")]
    assert len(images) == 2
    assert {"manifest.json", "metadata.csv", "grid.png"} <= set(written)
    assert json.loads((output / "manifest.json").read_text())["stage"] == "generate"


def hear_interrupts():
    """A job in the background of a shell ignores them, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "crafts", *arguments],
        preexec_fn=hear_interrupts,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )


def interrupt(process, number):
    """Send a signal; what the process still says, and nothing of its inner life among it."""
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in rest
    return rest


def test_interrupt_of_a_real_process_exits_130(tmp_path, tiny_model):
    recipe = tmp_path / "recipe.yaml"
    stage = {"kind": "denoiser", "init_from": str(tiny_model)}
    data = {"kind": "painted", "count": 8, "size": 32}
    values = {"stage": stage, "data": data, "num_steps": 100_000, "global_batch_size": 2}
    recipe.write_text(yaml.safe_dump(values | {"say_every": 1}))
    process = start(["train", str(recipe), "--output", str(tmp_path / "o")])
    for line in process.stderr:
        if line.startswith("step "):
            break
    rest = interrupt(process, signal.SIGINT)
    assert "crafts: " in rest and "the same command goes on from it" in rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_goes_on_says_so_when_it_is_interrupted(tmp_path, tiny_model, number):
    given = ["--model", str(tiny_model), "--prompt", "colon", "--num-images", "100000"]
    process = start(["generate", *given, "--output", str(tmp_path / "o")])
    for line in process.stderr:
        if " s an image" in line:
            break
    lines = interrupt(process, number).splitlines()
    assert [line for line in lines if not line.startswith("generate: ")] == [
        "crafts: interrupted; the same command goes on where it stopped"
    ]
    assert list((tmp_path / "o/images").glob("*.png"))


def test_a_stage_that_begins_again_is_just_interrupted(tmp_path):
    """The stage waits for a server that never answers."""
    pytest.importorskip("openai")
    (tmp_path / "reports.csv").write_text("report_id,text\na,Adenocarcinoma of the colon.\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"server.base_url=http://127.0.0.1:{server.getsockname()[1]}/v1"
        given = [str(tmp_path / "reports.csv"), "--backend", "openai", "--set", url]
        given += ["--set", "server.model=none", "--output", str(tmp_path / "o.jsonl")]
        process = start(["summarise", *given])
        server.settimeout(120)
        connection, _ = server.accept()
        with connection:
            rest = interrupt(process, signal.SIGTERM)
    assert rest == "crafts: interrupted\n"
    assert not (tmp_path / "o.jsonl").exists()


def test_a_host_keeps_its_own_signals(capsys):
    def own(*arguments):
        pass

    for handler in (own, signal.SIG_IGN):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            assert cli.run(["--help"]) == 0
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, before)
    assert cli.run(["--help"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("output", ["afile", "afile/x", "/sys/crafts"])
@pytest.mark.parametrize("stage", ["pack", "train", "generate"])
def test_an_output_that_cannot_be_written_is_named(
    stage, output, capsys, tmp_path, monkeypatch, root, tiny_model
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "tiles/colon").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "tiles/colon/a.png")
    given = {
        "pack": ["tiles"],
        "train": [str(root / "recipes/tiny.yaml")],
        "generate": ["--prompt", "colon", "--model", str(tiny_model)],
    }
    assert cli.run([stage, *given[stage], "--output", output]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"crafts: {output}: ") and "Choose another --output." in line
    assert (tmp_path / "afile").read_text() == "mine"
