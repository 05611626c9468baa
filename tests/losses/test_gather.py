"""Two ranks with B samples equal one rank with 2 B: in the loss and, after DDP, the gradient."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from crafts.losses import (
    category_guidance_loss,
    category_weights,
    relation_matrix,
    semantic_consistency_loss,
)
from crafts.losses.category import category_relations, typicality
from crafts.losses.gather import gather

RANKS, EACH = 2, 3


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 8)).to(dtype)


def losses(module: nn.Module, rows: slice, dtype: torch.dtype) -> torch.Tensor:
    """A local mean like L_simple, and both CRAFTS losses over the rows of all ranks."""
    number = RANKS * EACH
    inputs, targets = random(number, 4, seed=1).to(dtype), random(number, 8, seed=2).to(dtype)
    texts, embeddings = random(number, 5, seed=3).to(dtype), random(3, 5, seed=4).to(dtype)
    labels = torch.tensor([0, 2, 1, -1, 0, 2])
    outputs = module(inputs[rows])
    simple = (outputs - targets[rows]).square().mean()
    images, texts, labels = gather(outputs), gather(texts[rows]), gather(labels[rows])
    relations = relation_matrix(images, centre=True)
    semantic = semantic_consistency_loss(relations, relation_matrix(texts))
    s = typicality(texts, embeddings, labels)
    weights = category_weights(s, centre=True, known=labels >= 0)
    category = category_guidance_loss(relations, category_relations(labels, embeddings), weights)
    return torch.stack([simple, semantic, category])


def rank(number: int, folder: str) -> None:
    """One of the processes: its share of the loss, the gradient after the mean over ranks."""
    os.environ |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder) / "store"), RANKS)
    dist.init_process_group("gloo", store=store, rank=number, world_size=RANKS)
    found: dict[str, Any] = {}
    rows = slice(number * EACH, (number + 1) * EACH)
    for name, dtype in (("double", torch.float64), ("single", torch.float32)):
        module = DistributedDataParallel(network(dtype))
        values = losses(module, rows, dtype)
        (values @ torch.tensor([1.0, 0.7, 0.3], dtype=dtype)).backward()
        found[f"{name} losses"] = values.detach()
        found[f"{name} gradient"] = torch.cat([p.grad.flatten() for p in module.parameters()])
    marked = torch.full((2, 1), float(number))
    found["order"] = gather(marked).flatten()
    found["flags"] = gather(torch.tensor([number == 1]))
    found["integers"] = gather(torch.tensor([number + 5]))
    torch.save(found, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{n}.pt", weights_only=True) for n in range(RANKS)]


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [("double", torch.float64, 1e-10), ("single", torch.float32, 1e-4)],
)
def test_two_ranks_equal_one(ranks, name: str, dtype: torch.dtype, tolerance: float) -> None:
    module = network(dtype)
    values = losses(module, slice(None), dtype)
    (values @ torch.tensor([1.0, 0.7, 0.3], dtype=dtype)).backward()
    gradient = torch.cat([p.grad.flatten() for p in module.parameters()])
    assert gradient.norm() > 0.1
    for found in ranks:
        error = (found[f"{name} gradient"] - gradient).norm() / gradient.norm()
        assert error.item() < tolerance
        torch.testing.assert_close(  # relations are whole on each rank
            found[f"{name} losses"][1:], values[1:].detach(), rtol=tolerance, atol=0
        )
    simple = torch.stack([found[f"{name} losses"][0] for found in ranks]).mean()
    assert simple.item() == pytest.approx(values[0].item(), rel=tolerance)


def test_rows_come_in_the_order_of_the_ranks_in_any_type(ranks) -> None:
    for found in ranks:
        assert found["order"].tolist() == [0, 0, 1, 1]
        assert found["flags"].tolist() == [False, True] and found["flags"].dtype == torch.bool
        assert found["integers"].tolist() == [5, 6] and found["integers"].dtype == torch.int64


def test_without_a_process_group_nothing_happens() -> None:
    values = torch.ones(2, requires_grad=True)
    assert gather(values) is values
