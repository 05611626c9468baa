"""The folders of an evaluation: which rows of them count, and their images by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.artifacts import MANIFEST, load_manifest, sha256_bytes
from crafts.core.config import Config
from crafts.core.errors import ConfigError, DataError
from crafts.core.marks import is_marked
from crafts.core.protocols import BuildExtractor
from crafts.core.records import FeatureSet
from crafts.core.tables import find_metadata
from crafts.data.collection import Collection, Tile
from crafts.data.config import Columns
from crafts.sets.splits import choose_split

SetName = Literal["generated", "heldout", "train"]

_LOOKED_AT = 16


class SetFacts(Config):
    """What results say of one set of images.

    Attributes:
        name: generated, heldout or train.
        folder: its last name only.
        split: rows of this split were taken; "" for all.
        listed, used, rejected: images; used + rejected = listed.
        groups: patients (or cases, slides) among the used; 0 when none are named.
    """

    name: SetName
    folder: str
    split: str = ""
    listed: int
    used: int
    rejected: int
    groups: int = 0


@dataclass
class Source:
    """One set of images: a folder, or a folder of generations.

    Attributes:
        name: of the set.
        path: as the user gave it.
        split: rows of this split only; "" for all.
        parts: prefix of names -> folder; one part with no prefix unless there are generations.
        columns: of their tables.
    """

    name: SetName
    path: Path
    split: str
    parts: dict[str, Path]
    columns: Columns | None = None
    _open: dict[str, tuple[Collection, dict[str, int]]] = field(default_factory=dict)

    def features(self, build: BuildExtractor) -> FeatureSet:
        """Features of all parts, rows in their order; rows without finite features are rejected.

        Raises:
            DataError: nothing usable in a folder.
        """
        extract = build(self.split or None)
        found = [_named(extract(path), prefix) for prefix, path in self.parts.items()]
        return drop_bad(join(found))

    def images(self, prefix: str = "") -> Collection:
        """The folder of a part, opened once."""
        return self._opened(prefix)[0]

    def load(self, name: str) -> Tile | None:
        """The tile of a name, or None where it cannot be opened."""
        prefix = self._prefix(name)
        images, places = self._opened(prefix)
        index = places.get(name.removeprefix(f"{prefix}/") if prefix else name)
        tile = None if index is None else images.load(index)
        return tile if isinstance(tile, Tile) else None

    def file(self, name: str) -> Path | None:
        """The file of a name where it is one by itself (not so in shards)."""
        prefix = self._prefix(name)
        path = self.parts[prefix] / (name.removeprefix(f"{prefix}/") if prefix else name)
        return path if path.is_file() else None

    def _prefix(self, name: str) -> str:
        return next((one for one in self.parts if one and name.startswith(f"{one}/")), "")

    def _opened(self, prefix: str) -> tuple[Collection, dict[str, int]]:
        if prefix not in self._open:
            images = Collection(self.parts[prefix], split=self.split or None, columns=self.columns)
            places = {images.name(index): index for index in range(len(images))}
            self._open[prefix] = (images, places)
        return self._open[prefix]


def open_source(
    name: SetName, path: Path, *, split: str, wanted: str, columns: Columns | None = None
) -> Source:
    """Look at a folder without opening its images.

    Args:
        name: of the set.
        path: folder of images, shards, or (generated only) a folder of generations.
        split: a split, "" for all rows, or "auto": ``wanted`` where rows name splits, else all.
        wanted: the split that "auto" stands for; "" for none.
        columns: of tables.

    Raises:
        ConfigError: no such folder, or no row of the split.
        DataError: the layout is not recognised, or nothing lies in it.
    """
    parts = {"": path}
    if name == "generated" and (found := find_generation_folders(path)):
        parts = {folder.name: folder for folder in found}
    chosen = [
        choose_split(folder, split, wanted=wanted, columns=columns) for folder in parts.values()
    ]
    if name != "generated":
        _refuse_synthetic(path, name)
    return Source(name, path, chosen[0], parts, columns)


def find_generation_folders(path: Path) -> list[Path]:
    """Folders of generations in a folder that is no folder of tiles itself; sorted."""
    if not path.is_dir() or _is_set(path):
        return []
    folders = sorted(one for one in path.iterdir() if one.is_dir() and _is_set(one))
    return folders if len(folders) > 1 else []


def join(sets: Sequence[FeatureSet]) -> FeatureSet:
    """Sets of one encoder, one after the other."""
    if len(sets) == 1:
        return sets[0]
    sizes = [len(one) for one in sets]
    texts = [one.texts for one in sets]
    return FeatureSet(
        features=np.concatenate([one.features for one in sets]),
        rows=tuple(row for one in sets for row in one.rows),
        rejected=tuple(entry for one in sets for entry in one.rejected),
        encoder=sets[0].encoder,
        texts=None if any(one is None for one in texts) else np.concatenate(texts),  # type: ignore[arg-type]
        truncated=float(np.average([one.truncated for one in sets], weights=sizes)),
    )


def drop_bad(found: FeatureSet) -> FeatureSet:
    """Rows whose features are not finite, or zero, become rejects.

    Raises:
        DataError: none is left.
    """
    good = np.isfinite(found.features).all(axis=1) & (found.features != 0).any(axis=1)
    if good.all() and len(good):
        return found
    if not good.any():
        first = f"; the first is {': '.join(found.rejected[0])}" if found.rejected else ""
        raise DataError(
            "evaluate: images",
            came=f"no usable image of {len(good) + len(found.rejected)}{first}",
            allowed="at least one",
            do="Check the path and the images.",
        )
    bad = [
        (str(found.rows[row]["name"]), "features are not finite") for row in np.flatnonzero(~good)
    ]
    return FeatureSet(
        features=found.features[good],
        rows=tuple(row for row, keep in zip(found.rows, good, strict=True) if keep),
        rejected=(*found.rejected, *bad),
        encoder=found.encoder,
        texts=None if found.texts is None else found.texts[good],
        truncated=found.truncated,
    )


def set_fingerprint(found: FeatureSet) -> str:
    """sha256 over the sorted sha256 of the images: which images, whatever their names."""
    return sha256_bytes("".join(sorted(str(row["sha256"]) for row in found.rows)).encode())


def sample_tiles(source: Source, names: Sequence[str]) -> list[tuple[int, NDArray[np.uint8]]]:
    """Position and pixels of those names that can be opened."""
    found = ((index, source.load(name)) for index, name in enumerate(names))
    return [(index, tile.pixels) for index, tile in found if tile is not None]


def _named(found: FeatureSet, prefix: str) -> FeatureSet:
    """The set of one generation: names get its prefix, rows say which it is."""
    if not prefix:
        return found
    rows = tuple(
        {**row, "name": f"{prefix}/{row['name']}", "generation": prefix} for row in found.rows
    )
    rejected = tuple((f"{prefix}/{name}", reason) for name, reason in found.rejected)
    return FeatureSet(found.features, rows, rejected, found.encoder, found.texts, found.truncated)


def _is_set(path: Path) -> bool:
    return (path / MANIFEST).is_file() or bool(find_metadata(path))


def _refuse_synthetic(path: Path, name: SetName) -> None:
    """Generated tiles given for real ones: the sets are swapped, or a folder is wrong.

    Raises:
        ConfigError: the folder is an output of ``generate``, or one of its PNG files says that it
            is synthetic.
    """
    made = (path / MANIFEST).is_file() and load_manifest(path).stage == "generate"
    if not made and path.is_dir():
        files = (one for one in path.rglob("*.png") if one.is_file())
        made = any(is_marked(one.read_bytes()) for _, one in zip(range(_LOOKED_AT), files))  # noqa: B905
    if made:
        flag = "--real" if name == "heldout" else "--train"
        raise ConfigError(
            f"{flag} {path}",
            came="generated images",
            allowed="real tiles",
            do="Were the folders swapped? Generated tiles go to --generated.",
        )
