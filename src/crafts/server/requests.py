"""From what was sent to what a stage takes, a command line and a line of Python say."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crafts.generation.request import GenerateConfig
from crafts.server.config import ServeConfig
from crafts.server.schemas import SHARED, PicturesRequest
from crafts.server.store import Job


def _file_name(upload: str | None, kind: str) -> str:
    """Told in a picture's provenance, so that a command with the file gives the same bytes."""
    return f"upload-{upload}.{'tif' if kind == 'fluorescence' else 'png'}"


def place_of(config: ServeConfig, job: str) -> Path:
    """Folder of a job."""
    return config.data / "jobs" / job


def upload_path(config: ServeConfig, upload: str, kind: str) -> Path:
    """File of an upload."""
    return config.data / "uploads" / _file_name(upload, kind)


def generate_values(config: ServeConfig, job: Job) -> dict[str, Any]:
    """What ``crafts generate`` is asked for by a job."""
    values = {name: job.request[name] for name in SHARED if name in job.request}
    control = [_option(one, _path(config, one)) for one in job.request.get("control", ())]
    return {**values, "control": control, "model": config.model, "device": config.device}


def shared_values(request: PicturesRequest) -> dict[str, Any]:
    """The fields that mean the same to ``crafts generate``."""
    return {name: getattr(request, name) for name in SHARED}


def describe_command(model: str, request: Mapping[str, Any]) -> str:
    """The command that makes the same pictures, byte for byte on the same machine."""
    words = ["crafts", "generate"]
    if model != "mini":
        words += ["--model", model]
    for prompt in request["prompts"]:
        words += ["--prompt", prompt]
    for name, value in _unusual(request).items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    for one in request.get("control", ()):
        words += ["--control", _option(one, _file_name(one.get("upload"), one["kind"]))]
    return shlex.join([*words, "--output", "out"])


def describe_python(model: str, request: Mapping[str, Any]) -> str:
    """The lines of Python that make the same pictures."""
    given = [f"{name}={value!r}" for name, value in _unusual(request).items()]
    control = {
        one["kind"]: _option(one, _file_name(one.get("upload"), one["kind"])).partition("=")[2]
        for one in request.get("control", ())
    }
    given += [f"control={control!r}"] if control else []
    arguments = ", ".join([repr(list(request["prompts"])), *given])
    return (
        f"import crafts\nmodel = crafts.load({model!r})\n"
        f"for k, image in enumerate(model.generate({arguments})):\n"
        '    crafts.save(image, f"{k}.png")'
    )


def _unusual(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that differ from what a command does by itself."""
    usual = GenerateConfig.model_fields
    return {
        name: request[name]
        for name in SHARED
        if name != "prompts" and name in request and request[name] != usual[name].default
    }


def _path(config: ServeConfig, control: Mapping[str, Any]) -> str:
    upload = control.get("upload")
    return str(upload_path(config, upload, control["kind"]).resolve()) if upload else ""


def _option(control: Mapping[str, Any], image: str) -> str:
    name = f"sample:{control['sample']}" if control.get("sample") else image
    weight, start, stop = control["weight"], control["start"], control["stop"]
    if (start, stop) != (0.0, 1.0):
        name += f"@{weight:g},{start:g}-{stop:g}"
    elif weight != 1.0:
        name += f"@{weight:g}"
    return f"{control['kind']}={name}"


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two requests ask for the same."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
