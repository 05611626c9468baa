"""Model folders of which a file was changed or lost: the same weights, or a refusal."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byte_mutations import MUTATIONS, Mutation, mutate
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.model.bundle import Bundle, load_bundle
from crafts.testing import write_tiny_model

WAYS = ("mutated", "mutated", "mutated", "lost", "empty", "another's")


@cache
def sound_model() -> tuple[dict[str, bytes], dict[str, torch.Tensor]]:
    """Files of a model by their place, and its weights by name."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny")
        files = {
            str(path.relative_to(model)): path.read_bytes()
            for path in sorted(model.rglob("*"))
            if path.is_file()
        }
        return files, weights_of(load_bundle(model))


def weights_of(bundle: Bundle) -> dict[str, torch.Tensor]:
    parts = {"codec": bundle.codec.module, "text": bundle.text.encoder, "denoiser": bundle.denoiser}
    return {
        f"{part}.{name}": value.clone()
        for part, network in parts.items()
        for name, value in network.state_dict().items()
    }


def check_folder(choice: float, way: str, mutations: list[Mutation], *, sealed: bool) -> None:
    """One file changed; whatever else than a refusal is raised fails the test.

    Without ``sealed`` there is no manifest, so that the readers themselves meet the change.
    """
    files, weights = sound_model()
    names = sorted(files)
    name = names[int(choice * len(names))]
    changed = {
        "mutated": mutate(files[name], mutations),
        "empty": b"",
        "another's": files[names[(names.index(name) + 1) % len(names)]],
        "lost": None,
    }[way]
    root = Path(tempfile.mkdtemp())
    try:
        for one, data in {**files, name: changed}.items():
            if data is not None and (sealed or one != "manifest.json"):
                (root / one).parent.mkdir(parents=True, exist_ok=True)
                (root / one).write_bytes(data)
        found = weights_of(load_bundle(root))
    except (IntegrityError, ConfigError, DataError) as error:
        assert str(error).strip() and "\n" not in str(error)
        return
    finally:
        shutil.rmtree(root)
    if not sealed and name.endswith(".safetensors"):
        return  # said loudly: nothing tells whether its files are whole
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[one], weights[one]) for one in weights)


def test_every_lost_file_is_told_or_not_needed():
    names = sorted(sound_model()[0])
    for place in range(len(names)):
        check_folder((place + 0.5) / len(names), "lost", [], sealed=True)


@settings(max_examples=20)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from(WAYS), MUTATIONS, st.booleans())
def test_a_changed_file_is_told_or_changes_no_weight(choice, way, mutations, sealed):
    check_folder(choice, way, mutations, sealed=sealed)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from(WAYS), MUTATIONS, st.booleans())
def test_ten_thousand_changed_folders_are_told_or_change_no_weight(choice, way, mutations, sealed):
    check_folder(choice, way, mutations, sealed=sealed)
