"""Muon beside AdamW: what it does to a matrix, and that ranks share the work without changing it."""

from __future__ import annotations

import pytest
import torch

from utterloom.train.config import OptimizerConfig
from utterloom.train.optimizer import Optimizer, orthogonalised
from utterloom.train.ranks import Ranks


def test_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrices, 5))
    assert float(values.min()) > 0.3 and float(values.max()) < 1.6


def test_it_is_torchs_muon_in_higher_precision() -> None:
    from torch.optim._muon import _zeropower_via_newtonschulz

    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(1))
    theirs = _zeropower_via_newtonschulz(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7).float()
    assert torch.allclose(orthogonalised(matrix[None], 5)[0], theirs, atol=0.05)


def plainly_orthogonalised(matrix: torch.Tensor, num_iterations: int) -> torch.Tensor:
    """Newton-Schulz as it is published: every iteration on the matrix itself."""
    x = matrix / torch.linalg.matrix_norm(matrix)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(20, 20), (20, 39), (20, 40), (20, 160), (1, 7)])
@pytest.mark.parametrize("num_iterations", [1, 2, 3, 5])
def test_the_way_over_gram_matrices_gives_the_same(shape: tuple[int, int], num_iterations: int) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    if shape[0] > 2:
        matrix[1] = matrix[0]  # of a lower rank, as gradients are
    expected = plainly_orthogonalised(matrix.double(), num_iterations)
    assert torch.allclose(orthogonalised(matrix[None], num_iterations)[0].double(), expected, atol=1e-3)


class Layers(torch.nn.Module):
    """Parameters named as an encoder's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Module()
        self.encoder.layers = torch.nn.ModuleList([torch.nn.Linear(6, 4), torch.nn.Linear(4, 6), torch.nn.Linear(6, 4)])
        self.head = torch.nn.Linear(4, 3)


class Share(Ranks):
    """One of two ranks whose sum is taken by hand."""

    def sum_(self, tensor: torch.Tensor) -> None:
        self.seen = tensor.clone()
        if hasattr(self, "total"):
            tensor.copy_(self.total)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_state_saved_and_loaded_goes_on_alike(kind: str) -> None:
    def stepped(steps: int, halt: int | None) -> Layers:
        torch.manual_seed(0)
        network = Layers()
        optimizer = Optimizer(network, OptimizerConfig(kind=kind), Ranks())
        for number in range(steps):
            torch.manual_seed(100 + number)
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            if number == halt:
                saved = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
                optimizer = Optimizer(network, OptimizerConfig(kind=kind), Ranks())
                optimizer.load(saved)
            optimizer.step(1.0)
        return network

    straight, halted = stepped(6, None), stepped(6, 3)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), halted.parameters(), strict=True))


def test_two_ranks_share_the_matrices() -> None:
    """Each computes its own part of the update; the parts do not overlap and add up to what one rank computes."""

    def network_with_gradients() -> Layers:
        torch.manual_seed(0)
        network = Layers()
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        return network

    alone = Share(0, 1)
    Optimizer(network_with_gradients(), OptimizerConfig(), alone).step(1.0)
    parts = []
    for rank in (0, 1):
        share = Share(rank, 2)
        Optimizer(network_with_gradients(), OptimizerConfig(), share).step(1.0)
        parts.append(share.seen)
    assert not bool(((parts[0] != 0) & (parts[1] != 0)).any())
    assert torch.allclose(parts[0] + parts[1], alone.seen, atol=1e-6)
