"""The manifest of an artifact: what it is, what it was made from, and a hash of each file."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from crafts.core.config import Config
from crafts.core.disk import replacing, sync_folder
from crafts.core.errors import DataError, IntegrityError, first_line
from crafts.core.parsing import parse_json
from crafts.core.runtime import say

MANIFEST = "manifest.json"
_OWN = "sha256"  # field of a manifest with the hash of all others
_PACKAGES = ("crafts", "torch", "diffusers", "transformers", "numpy", "pillow")


class FileEntry(Config):
    """Hash and size in bytes of one file of an artifact."""

    sha256: str
    size: int


class Manifest(Config):
    """What an artifact is, its sources and its files, with paths relative to its folder."""

    schema_version: int = 1
    stage: str
    config: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    counts: dict[str, int] = {}
    files: dict[str, FileEntry]
    versions: dict[str, str] = {}
    extra: dict[str, Any] = {}


def sha256_bytes(data: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        RetryError: the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest with a hash of its own, by which a changed one is noticed.

    Args:
        manifest: of the files beside it.
        path: replaced in one step.

    Raises:
        RetryError: the disk is full.
    """
    values = json.loads(json.dumps(manifest.model_dump(mode="json")))  # as it will be read
    text = json.dumps({**values, _OWN: _hash_of(values)}, indent=1, ensure_ascii=False)
    write_bytes(path, text.encode())
    sync_folder(path.parent)


def _hash_of(values: Mapping[str, Any]) -> str:
    """Hash of what a manifest says, however it is laid out."""
    return sha256_bytes(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact.

    Raises:
        DataError: there is none (the artifact was never finished).
        IntegrityError: it is not valid JSON of the expected form, it was changed since it was
            written (those of earlier versions do not tell), or it names a file outside the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            str(folder),
            came="no manifest.json",
            allowed="a finished artifact",
            do="Run the stage that makes it to its end, or fix the path.",
        )
    try:
        values = parse_json(path.read_bytes())
        own = values.pop(_OWN, None) if isinstance(values, dict) else None
        manifest = Manifest.model_validate(values)
        if own not in (None, _hash_of(values)):
            raise ValueError("its content differs from its own sha256")
        for name in manifest.files:
            if not _is_inside(name):
                raise ValueError(f"the file name {name!r}, which leaves its folder")
    except ValueError as error:  # of which pydantic's is one
        raise IntegrityError(
            str(path),
            came=f"a damaged manifest ({first_line(error)})",
            allowed="the file as it was written",
            do="Make the artifact again.",
        ) from None
    return manifest


def _is_inside(name: str) -> bool:
    """Whether a name stays below the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def verify(folder: Path, only: Iterable[str] | None = None) -> Manifest:
    """Check files against the manifest: present, same size, same sha256.

    Args:
        folder: the artifact.
        only: names to check; all by default.

    Raises:
        IntegrityError: names the first file that is missing, cut short or changed.
    """
    manifest = load_manifest(folder)
    for name in manifest.files if only is None else only:
        entry, path = manifest.files.get(name), folder / name
        if entry is None:
            fault = "not listed in the manifest"
        elif not path.is_file():
            fault = "missing"
        elif path.stat().st_size != entry.size:
            fault = f"{path.stat().st_size} bytes"
        elif sha256_file(path) != entry.sha256:
            fault = "changed content (sha256 differs)"
        else:
            continue
        allowed = f"the {entry.size} bytes that the manifest lists" if entry else "a listed file"
        raise IntegrityError(
            str(path),
            came=fault,
            allowed=allowed,
            do="Restore the file or make the artifact again.",
        )
    return manifest


def check(folder: Path, *, ours: bool, within: str = "") -> Manifest | None:
    """Verify a folder that may come from elsewhere; without a manifest it is refused, or told of.

    Args:
        folder: with or without ``manifest.json``.
        ours: something else in it says that crafts made it, so that the manifest was lost.
        within: beginning of the names of the files that are checked; all by default.

    Returns:
        The manifest, or None where there is none.

    Raises:
        IntegrityError: a file differs from the manifest, or the manifest was lost.
    """
    if (folder / MANIFEST).is_file():
        names = load_manifest(folder).files
        return verify(folder, [name for name in names if name.startswith(within)])
    if ours:
        refuse_lost(folder)
    say(f"NOT VERIFIED: {folder} has no manifest.json; nothing tells whether its files are whole")
    return None


def refuse_lost(folder: Path) -> None:
    """Refuse a folder that crafts made and that has no manifest any more.

    Raises:
        IntegrityError: it has none.
    """
    if not (folder / MANIFEST).is_file():
        raise IntegrityError(
            str(folder),
            came="a folder of crafts whose manifest.json is lost",
            allowed="the folder as it was made, by whose manifest each file is checked",
            do="Restore manifest.json, or make or install the folder again.",
        )


def fingerprint(folder: Path) -> str:
    """Identity of a finished artifact: sha256 of its manifest, which holds its files' hashes."""
    load_manifest(folder)
    return sha256_file(folder / MANIFEST)


def tool_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
