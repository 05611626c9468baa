"""A queue of past features: fixed shapes, newest first, detached, equal after a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from crafts.core.errors import ConfigError
from crafts.losses import relation_matrix, semantic_consistency_loss
from crafts.losses.queue import empty_queue, enqueue, queued


def rows(first: int, number: int) -> dict[str, torch.Tensor]:
    values = torch.arange(first, first + number)
    return {"labels": values, "features": values[:, None].expand(-1, 3).float()}


@given(size=st.integers(1, 9), numbers=st.lists(st.integers(1, 5), max_size=6))
@settings(max_examples=60)
def test_holds_the_newest_in_fixed_shapes(size: int, numbers: list[int]) -> None:
    queue = empty_queue(size, rows(0, 1))
    shapes = {name: value.shape for name, value in queue.items()}
    seen: list[int] = []
    for number in numbers:
        before = {name: value.clone() for name, value in queue.items()}
        after = enqueue(queue, rows(len(seen), number))
        assert all(torch.equal(before[name], queue[name]) for name in queue)  # not changed
        seen = [*range(len(seen), len(seen) + number), *seen]
        queue = after
        assert {name: value.shape for name, value in queue.items()} == shapes
        assert queue["filled"].item() == min(size, len(seen))
        found = queued(queue)
        assert found["labels"].tolist() == seen[:size]
        assert found["features"][:, 2].tolist() == seen[:size]
    assert len(queued(queue)["labels"]) == min(size, sum(numbers))


def test_keeps_no_graph_and_the_types_it_began_with() -> None:
    first = {"features": torch.zeros(1, 2, dtype=torch.float64)}
    queue = enqueue(empty_queue(4, first), {"features": torch.ones(2, 2, requires_grad=True) * 2})
    assert not queue["features"].requires_grad and queue["features"].dtype == torch.float64


def test_a_queue_survives_a_file(tmp_path: Path) -> None:
    queue = enqueue(empty_queue(5, rows(0, 1)), rows(0, 3))
    save_file(queue, tmp_path / "queue.safetensors")
    back = load_file(tmp_path / "queue.safetensors")
    ahead, again = enqueue(queue, rows(3, 4)), enqueue(back, rows(3, 4))
    assert all(torch.equal(ahead[name], again[name]) for name in ahead) and set(ahead) == set(again)


def test_with_an_unchanged_network_the_queue_gives_the_pairs_of_the_large_batch() -> None:
    """Rows of the first half against all equal those of the whole batch, in value."""
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    queue = empty_queue(4, {"images": images[:1], "texts": texts[:1]})
    past = queued(enqueue(queue, {"images": images[4:], "texts": texts[4:]}))
    for centre in (False, True):
        small = semantic_consistency_loss(
            relation_matrix(images[:4], centre=centre, memory=past["images"]),
            relation_matrix(texts[:4], centre=centre, memory=past["texts"]),
        )
        whole = relation_matrix(images, centre=centre) - relation_matrix(texts, centre=centre)
        assert small.item() == pytest.approx(whole[:4].square().mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("size", "given", "words"),
    [(0, {"a": torch.zeros(1)}, "0 rows"), (2, {"filled": torch.zeros(1)}, "named filled")],
)
def test_a_queue_that_cannot_be_is_refused(size, given, words) -> None:
    with pytest.raises(ConfigError, match=f"relations: queue.*{words}"):
        empty_queue(size, given)


@pytest.mark.parametrize(
    "given",
    [
        {"labels": torch.zeros(2)},
        {"labels": torch.zeros(2), "features": torch.zeros(2, 4)},
        {"labels": torch.zeros(2), "features": torch.zeros(3, 3)},
    ],
)
def test_rows_of_another_kind_are_refused(given: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="Do not change pooling, crop or text encoder"):
        enqueue(empty_queue(4, rows(0, 1)), given)
