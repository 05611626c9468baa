"""Jobs that are a command in a process of its own, which can be ended: data set, judging."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from crafts.core.artifacts import load_manifest
from crafts.core.errors import CraftsError, DataError
from crafts.server.config import ServeConfig
from crafts.server.folders import find_folder
from crafts.server.requests import place_of
from crafts.server.store import Job, Store

_GRACE = 20.0


def run_command(
    job: Job,
    config: ServeConfig,
    store: Store,
    *,
    tick: Callable[[], None],
    hear: Callable[[str], None],
) -> None:
    """Run the command of a job; the same command goes on with what an earlier one left.

    Args:
        job: of a kind that is a command.
        config: of the server.
        store: knows the folders that a job names.
        tick: called twice a second; what it raises ends the command.
        hear: gets its lines.

    Raises:
        DataError: the command said why it could not end well.
    """
    folder = place_of(config, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "crafts", *_words(job, config, store, folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    )
    said: list[str] = []
    listener = threading.Thread(target=_listen, args=(process, said, hear), daemon=True)
    listener.start()
    try:
        while True:
            tick()
            try:
                process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        _end(process)
        listener.join(5.0)
    if process.returncode:
        raise _refused(job, said)
    store.tell(job.id, load_manifest(folder / "out").counts)


def _words(job: Job, config: ServeConfig, store: Store, folder: Path) -> list[str]:
    request = job.request
    output = ["--output", str(folder / "out")]
    if job.kind == "dataset":
        return [*_dataset(job, config, folder), *output]
    words = [job.kind, *output]
    for name in ("generated", "real", "train", "heldout"):
        if request.get(name):
            words += [f"--{name}", str(find_folder(config, store, job.owner, request[name]))]
    return words


def _dataset(job: Job, config: ServeConfig, folder: Path) -> list[str]:
    request = job.request
    words = ["dataset", "--per-class", str(request["per_class"]), "--format", request["format"]]
    words += ["--set", f"model={config.model}", "--set", f"device={config.device}"]
    for name in ("masks", "gate", "seed", "preset"):
        words += ["--set", f"{name}={str(request[name]).lower()}"]
    if request["classes"]:
        table = folder / "classes.csv"
        with table.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["label", "prompt"])
            writer.writerows((row["label"], row["prompt"]) for row in request["classes"])
        words += ["--classes", str(table)]
    return words


def _listen(process: subprocess.Popen[str], said: list[str], hear: Callable[[str], None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip():
            said.append(line.strip())
            del said[:-20]
            hear(line.strip())


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _refused(job: Job, said: list[str]) -> CraftsError:
    last = next((line for line in reversed(said) if line.startswith("crafts: ")), "")
    return DataError(
        job.kind,
        came=last.removeprefix("crafts: ") or "an end without a word",
        allowed="a command that comes to its end",
        do="Correct what it names and send the job again.",
    )
