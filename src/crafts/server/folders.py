"""Folders that can be judged: finished pictures of an owner, and those below ``--data/shared``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crafts.core.errors import ConfigError
from crafts.server.config import ServeConfig
from crafts.server.requests import place_of
from crafts.server.store import ENDED, Store

SHARED = "shared"
_DEEPEST, _MOST = 3, 500
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Folder:
    """A folder of tiles.

    Attributes:
        id: stands for its path, which nobody outside is told.
        name: as shown.
        source: "job", or "shared" by whoever runs the server.
        images: picture files in it.
        path: of it.
    """

    id: str
    name: str
    source: str
    images: int
    path: Path


def list_folders(config: ServeConfig, store: Store, owner: str) -> list[Folder]:
    """What an owner may judge, or judge against."""
    return [*_of_jobs(config, store, owner), *_shared(config)]


def find_folder(config: ServeConfig, store: Store, owner: str, folder: str) -> Path:
    """The path that an id stands for.

    Raises:
        ConfigError: there is none of this id for this owner.
    """
    for one in list_folders(config, store, owner):
        if one.id == folder:
            return one.path
    raise ConfigError(
        "folder",
        came=folder,
        allowed="an id of /api/v1/folders",
        do=f"Choose a folder of the list; put others below {SHARED}/ of the data folder.",
    )


def _of_jobs(config: ServeConfig, store: Store, owner: str) -> Iterator[Folder]:
    for job in store.newest(owner, most=200):
        if job.kind not in ("pictures", "dataset") or job.state not in ENDED:
            continue
        place = place_of(config, job.id) / "out"
        path = place if job.kind == "pictures" else place / "generated"
        count = _count(path / "images")
        if count:
            asked = job.request.get("prompts") or ["data set"]
            yield Folder(_id(job.id), f"Job {job.number}: {asked[0][:60]}", "job", count, path)


def _shared(config: ServeConfig) -> Iterator[Folder]:
    top = config.data / SHARED
    for path in walk(top, 0):
        count = _count(path) + (_count(path / "images") if (path / "images").is_dir() else 0)
        if count:
            name = path.relative_to(top).as_posix()
            yield Folder(_id(f"shared/{name}"), name, SHARED, count, path)


def walk(folder: Path, depth: int) -> Iterator[Path]:
    """Folders below one, a few levels deep; none that is hidden or a link."""
    if not folder.is_dir() or depth > _DEEPEST:
        return
    inner = (one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())
    for path in sorted(inner)[:_MOST]:
        if not path.name.startswith("."):
            yield path
            yield from walk(path, depth + 1)


def _count(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.suffix.lower() in _IMAGES for path in folder.iterdir())


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
