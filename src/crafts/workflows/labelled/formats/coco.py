"""COCO: ``SPLIT/ID.png`` and ``annotations/instances_SPLIT.json``, a nucleus an annotation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crafts.controls.nuclei import CLASSES
from crafts.core.errors import ConfigError
from crafts.workflows.labelled.formats.folders import place_file
from crafts.workflows.labelled.pictures import Picture, by_split, labels_of


def write(pictures: Sequence[Picture], folder: Path, *, licence: str) -> None:
    """Write instances in the layout of COCO; run lengths hold every pixel of a nucleus.

    Categories are the classes of nuclei; the class of a picture stands in its entry as ``label``
    and ``label_id``, since COCO knows no classes of whole pictures.

    Args:
        pictures: of the set, with masks.
        folder: new and empty.
        licence: of the weights.

    Raises:
        ConfigError: the set has no masks.
    """
    if any(one.mask is None for one in pictures):
        raise ConfigError(
            "dataset: format coco",
            came="pictures without nuclei",
            allowed="masks=segmenter or masks=layout, as COCO holds outlines",
            do="Choose masks, or another --format.",
        )
    (folder / "annotations").mkdir()
    names = labels_of(pictures)
    for split, mine in by_split(pictures):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, one in enumerate(mine, 1):
            place_file(one.path, folder / split / f"{one.id}.png")
            mask = one.nuclei()
            assert mask is not None and mask.instances is not None
            height, width = mask.size
            size = {"id": number, "file_name": f"{one.id}.png", "height": height, "width": width}
            label = {"label": one.label, "label_id": names.index(one.label), "text": one.text}
            images.append(one.facts() | size | {"license": 1} | label)  # its id is the number
            for nucleus in _nuclei(mask.instances, mask.classes):
                place = {"id": len(annotations) + 1, "image_id": number}
                annotations.append(place | nucleus)
        content = {
            "info": {"description": "synthetic histology, made with crafts; research use only"},
            "licenses": [{"id": 1, "name": licence, "url": ""}],
            "labels": names,
            "categories": [
                {"id": place, "name": name, "supercategory": "nucleus"}
                for place, name in enumerate(CLASSES)
                if place
            ],
            "images": images,
            "annotations": annotations,
        }
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of background and foreground in turn, down the columns; background first."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], edges, [mask.size]])
    lengths = np.diff(ends).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def _nuclei(instances: NDArray[np.int32], classes: NDArray[np.uint8]) -> Iterator[dict[str, Any]]:
    for number in np.unique(instances[instances > 0]):
        mask = instances == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, left = int(rows[0]), int(columns[0])
        yield {
            "category_id": int(classes[mask][0]),
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            "area": int(mask.sum()),
            "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            "iscrowd": 0,
        }
