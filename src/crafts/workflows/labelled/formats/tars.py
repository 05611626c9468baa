"""WebDataset: ``SPLIT-00000.tar`` with ``ID.png ID.cls ID.json [ID.mask.png ID.nuclei.json]``."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from crafts.workflows.labelled.pictures import Picture, by_split, labels_of

_PER_TAR = 1000


def write(pictures: Sequence[Picture], folder: Path, *, licence: str) -> None:
    """Write what ``webdataset`` and ``datasets`` (webdataset) read; ``cls`` numbers the classes.

    Equal pictures give equal bytes: members have no time and no owner.

    Args:
        pictures: of the set.
        folder: new and empty.
        licence: of the weights, named in each sample.
    """
    names = labels_of(pictures)
    (folder / "classes.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    for split, mine in by_split(pictures):
        for start in range(0, len(mine), _PER_TAR):
            path = folder / f"{split}-{start // _PER_TAR:05d}.tar"
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for one in mine[start : start + _PER_TAR]:
                    for suffix, data in _members(one, names, licence):
                        member = tarfile.TarInfo(f"{one.id}.{suffix}")
                        member.size, member.mode = len(data), 0o644
                        tar.addfile(member, io.BytesIO(data))


def _members(one: Picture, names: Sequence[str], licence: str) -> Iterator[tuple[str, bytes]]:
    facts = {"label": one.label, "text": one.text, **one.facts(), "licence": licence}
    yield "png", one.path.read_bytes()
    yield "cls", str(names.index(one.label)).encode()
    yield "json", json.dumps(facts, ensure_ascii=False).encode()
    if one.mask:
        yield "mask.png", one.mask.read_bytes()
        yield "nuclei.json", one.mask.with_suffix(".json").read_bytes()
