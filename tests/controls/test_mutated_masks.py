"""Masks whose bytes were changed in any way: a sound mask, or a refusal in a sentence."""

from __future__ import annotations

import io
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from byte_mutations import MUTATIONS, Mutation, mutate, reseal_png
from crafts.controls.masks import load_tile_mask, save_mask
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask

SIZE = (48, 56)
FORMS = ("labels.png", "foreground.png", "tiff.tif", "ids.npy", "pannuke.npy", "qupath.geojson",
         "hovernet.json", "own.png", "own.json")  # fmt: skip


@cache
def sound_files() -> dict[str, bytes]:
    """Name -> bytes of a mask of each format; ``own.json`` lies beside ``own.png``."""
    mask = random_mask(size=SIZE, count=3, mpp=0.5)
    ids = mask.instances
    assert ids is not None
    square = [[4, 4], [20, 4], [20, 20], [4, 20], [4, 4]]
    outline = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [square]},
        "properties": {"objectType": "detection", "classification": {"name": "Tumor"}},
    }
    nucleus = {"contour": square[:-1], "centroid": [12, 12], "type": 1}
    with tempfile.TemporaryDirectory() as folder:
        save_mask(Path(folder) / "own.png", mask)
        own = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    layers = np.stack([ids * (k == 2) for k in range(6)], axis=-1).astype(np.float64)
    return own | {
        "labels.png": _image(ids.astype(np.uint16), "PNG"),
        "foreground.png": _image(((ids > 0) * 255).astype(np.uint8), "PNG"),
        "tiff.tif": _image(ids.astype(np.uint16), "TIFF"),
        "ids.npy": _npy(ids.astype(np.int32)),
        "pannuke.npy": _npy(layers),
        "qupath.geojson": _json({"type": "FeatureCollection", "features": [outline] * 2}),
        "hovernet.json": _json({"nuc": {"1": nucleus, "2": nucleus}}),
    }


def _image(array: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def check_mutated(name: str, mutations: list[Mutation], *, seal: bool) -> None:
    """Sound arrays or a refusal; whatever else is raised fails the test."""
    files = sound_files()
    data = mutate(files[name], mutations)
    if seal and name.endswith(".png"):
        data = reseal_png(data)
    with tempfile.TemporaryDirectory() as folder:
        if name.startswith("own"):
            for one in ("own.png", "own.json"):
                (Path(folder) / one).write_bytes(files[one])
        (Path(folder) / name).write_bytes(data)
        path = Path(folder) / ("own.png" if name == "own.json" else name)
        try:
            # classes of named tables are read as well, where the file has such
            table = {"qupath.geojson": "names", "hovernet.json": "pannuke"}.get(name)
            mask = load_tile_mask(path, SIZE, table=table)
        except (DataError, ConfigError) as error:
            assert path.stem in str(error)
            return
    assert mask.classes.dtype == np.uint8 and min(mask.size) >= 1
    assert mask.instances is None or (mask.instances >= 0).all()
    assert mask.mpp is None or 0.05 <= mask.mpp <= 20


@pytest.mark.parametrize("name", FORMS)
def test_the_masks_are_read_as_they_are(name):
    check_mutated(name, [], seal=False)


@settings(max_examples=60)
@given(st.sampled_from(FORMS), MUTATIONS, st.booleans())
def test_mutated_masks_are_sound_or_refused(name, mutations, seal):
    check_mutated(name, mutations, seal=seal)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(st.sampled_from(FORMS), MUTATIONS, st.booleans())
def test_ten_thousand_mutated_masks_are_sound_or_refused(name, mutations, seal):
    check_mutated(name, mutations, seal=seal)
