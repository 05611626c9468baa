"""Artifact folders: written aside, hashed, given a manifest last, then renamed.

No manifest, no artifact.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crafts.core.config import Config, dump_config
from crafts.core.disk import retry_when_full, sync, sync_folder
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.core.locks import LOCK, lock, refuse_unwritable
from crafts.core.manifests import (
    MANIFEST,
    FileEntry,
    Manifest,
    check,
    fingerprint,
    load_manifest,
    refuse_lost,
    sha256_bytes,
    sha256_file,
    tool_versions,
    verify,
    write_bytes,
    write_manifest,
)

__all__ = [
    "LOCK", "MANIFEST", "FileEntry", "Manifest", "check", "fingerprint", "finish", "hold_text",
    "hold_to", "list_files", "load_manifest", "lock", "mark_of", "refuse_lost", "refuse_other_run",
    "refuse_sources", "relative_to", "replace_folder", "sha256_bytes", "sha256_file", "staging",
    "tool_versions", "verify", "write_bytes", "write_manifest",
]  # fmt: skip
# fields of configurations that may name a file or folder
_PATHS = "classes codec_from control_from features_from folder init_from".split()
_PATHS += "fluorescence layouts manifest nuclei prompt_map text_from texts".split()
_UNKNOWN = "existing files that no stage of crafts wrote"


@contextmanager
def staging(output: Path, stage: str = "", *, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """A temporary folder beside ``output`` that takes its name on a clean exit.

    What stood at ``output`` is replaced; when the body fails it is left as it was. What a killed
    run left beside it is removed, or put back if the run was killed between the two renames. Where
    ``output`` is a link, the folder that it names is replaced and the link stays.

    Args:
        output: the folder to be.
        stage: that writes it; artifacts of other stages are not replaced then.
        sources: what the body reads: neither ``output`` itself nor anything in it.

    Raises:
        ConfigError: ``output`` is a folder of someone else's (not empty, and neither artifact nor
            rest of one), an artifact of another stage, or holds one of the sources; or nothing
            can be written there.
        RetryError: the disk is full, or another process writes to ``output``.
    """
    given = output
    with refuse_unwritable(given):
        _refuse_foreign(output, stage)
        refuse_sources(output, sources)
        output = output.resolve()
    temporary, old = (output.parent / f".{output.name}.{end}" for end in ("tmp", "old"))
    with lock(temporary, given):
        _clear(temporary)
        if old.exists() and not output.exists():
            os.rename(old, output)
        try:
            with retry_when_full(output):
                yield temporary
                replace_folder(temporary, output)
        except BaseException:  # also an interrupt: nothing half-made stays behind
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        (output / LOCK).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _refuse_foreign(output: Path, stage: str) -> None:
    """Refuse a file, a folder without a manifest of ours, and an artifact of another stage."""
    came = "" if output.is_dir() or not output.exists() else _UNKNOWN
    if output.is_dir() and {path.name for path in output.iterdir()} - {LOCK}:
        try:
            found = load_manifest(output)
            came = _finished_by(found.stage) if stage not in ("", found.stage) else ""
            added = sorted(set(list_files(output)) - set(found.files))
            came = came or (f"{added[0]}, which that run did not write" if added else "")
        except DataError:
            came = _UNKNOWN
    if came:
        replaced = f"one of an earlier {stage} run" if stage else "an artifact to be replaced"
        raise _not_ours(output, came, f"a new or empty folder, or {replaced}")


def _finished_by(stage: str) -> str:
    return f"a finished artifact of stage {stage!r}"


def refuse_sources(output: Path, sources: Iterable[Path]) -> None:
    """Refuse an output that is, or holds, what is read: it would be replaced with all in it.

    Args:
        output: to be written.
        sources: that are read; links are followed.

    Raises:
        ConfigError: names the source.
    """
    target = output.resolve()
    for source in sources:
        if source.exists() and source.resolve().is_relative_to(target):
            raise _not_ours(
                output, f"the folder of the input {source}", "a folder without any input in it"
            )


def refuse_other_run(output: Path, stage: str, *, begun: str = LOCK) -> None:
    """Refuse an output that grows as it is made, unless it is new or a run of this very stage.

    Args:
        output: to be written or gone on with.
        stage: that will write it.
        begun: name that an unfinished run of the stage leaves in its output.

    Raises:
        ConfigError: a file, another stage's artifact, files of unknown origin, or a place that
            cannot be looked at.
    """
    with refuse_unwritable(output):
        came = _other_run(output, stage, begun)
    if came:
        allowed = f"a new or empty folder, or one of an earlier {stage} run"
        raise _not_ours(output, came, allowed)


def _other_run(output: Path, stage: str, begun: str) -> str:
    """What stands in an output and is no run of this stage; "" where there is no such thing."""
    if output.exists() and not output.is_dir():
        return "a file"
    if (output / MANIFEST).exists():
        try:
            found = load_manifest(output).stage
        except IntegrityError:  # it is about to be written anew
            found = stage
        return "" if found == stage else _finished_by(found)
    foreign = output.is_dir() and any(output.iterdir()) and not (output / begun).exists()
    return _UNKNOWN if foreign else ""


def _not_ours(output: Path, came: str, allowed: str) -> ConfigError:
    return ConfigError(str(output), came=came, allowed=allowed, do="Choose another --output.")


def replace_folder(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; an existing target is moved aside first and then removed."""
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    os.rename(source, target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def finish(
    folder: Path,
    *,
    stage: str,
    config: Config | Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    counts: Mapping[str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
    only: Iterable[str] | None = None,
) -> Manifest:
    """Hash and sync every file of ``folder`` and write ``manifest.json`` last.

    Args:
        folder: the artifact; a manifest in it is replaced.
        stage: name of the stage that made it.
        config: resolved configuration; paths in it are written relative to ``folder``.
        inputs: name of an input -> its fingerprint.
        counts: listed, used, rejected and the like.
        extra: further facts of this stage.
        only: names of the files to list; all files by default.
    """
    values = config.model_dump(mode="json") if isinstance(config, Config) else dict(config)
    manifest = Manifest(
        stage=stage,
        config=_with_relative_paths(folder, values),
        inputs=dict(inputs or {}),
        counts=dict(counts or {}),
        files={
            name: _entry(folder / name) for name in (list_files(folder) if only is None else only)
        },
        versions=tool_versions(),
        extra=dict(extra or {}),
    )
    write_manifest(manifest, folder / MANIFEST)
    return manifest


def relative_to(folder: Path, text: str) -> str:
    """A path as the manifest of ``folder`` shall name it.

    Text that names nothing on this disk (a hub id), and ``mini``, are returned unchanged.

    Args:
        folder: the artifact, or its temporary folder, which lies beside it.
        text: absolute, or as seen from the working folder.
    """
    if text in ("", "mini") or not os.path.exists(text):
        return text
    return Path(os.path.relpath(os.path.realpath(text), os.path.realpath(folder))).as_posix()


def _with_relative_paths(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are there for paths, and any other text that is the absolute path of a file."""

    def convert(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [convert("", inner) for inner in value]
        if isinstance(value, str) and (name in _PATHS or os.path.isabs(value)):
            return relative_to(folder, value)
        return value

    return {name: convert(name, value) for name, value in values.items()}


def list_files(folder: Path) -> list[str]:
    """Files of an artifact, sorted, without its manifests' temporary and lock files."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(
        name for name in names if name != MANIFEST and not Path(name).name.startswith(".")
    )


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as handle:
        sync(handle.fileno())
    return FileEntry(sha256=sha256_file(path), size=path.stat().st_size)


def hold_to(config: Config, path: Path) -> None:
    """Note the configuration of a run in its output; refuse to go on with another one.

    Args:
        config: resolved.
        path: of the note, in the output folder.

    Raises:
        ConfigError: the run was begun with another configuration.
    """
    hold_text(dump_config(config), path, "another configuration than this one")


def hold_text(text: str, path: Path, came: str) -> None:
    """Note what a run was begun with; refuse to go on with anything else.

    Args:
        text: of the note.
        path: of the note, in the output folder.
        came: what another text means, for the message.

    Raises:
        ConfigError: the run was begun with another text.
    """
    data = text.encode()
    if path.is_file() and path.read_bytes() != data:
        raise ConfigError(
            str(path),
            came=came,
            allowed="the one that this output was begun with",
            do="Repeat its options, or choose another --output.",
        )
    write_bytes(path, data)


def mark_of(output: Path, note: str) -> str:
    """By which an unfinished run is known: its note, or its lock where the note came not to be."""
    return note if (output / note).is_file() else LOCK
