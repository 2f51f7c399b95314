"""AdamW for vectors, embeddings and the front end; Muon for the matrices inside the encoder's layers.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon; scaled after Liu et al. 2025, arXiv 2502.16982, so that the
learning rates of both compare) replaces a matrix's momentum by the nearest semi-orthogonal one, by Newton-Schulz
iterations. On small corpora it needs less than half of AdamW's epochs (docs/notebook.md). torch.optim.Muon computes in
bfloat16, for which most CPUs have no instructions, and one matrix at a time; here matrices of one shape go together, in
the parameters' own precision on a CPU, and each rank does its share of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch

from utterloom.train.config import OptimizerConfig
from utterloom.train.ranks import Ranks

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MOMENTUM = 0.95
ADAMW_RMS = 0.2  # what AdamW's updates measure: Muon's are scaled to it


def orthogonalised(matrices_nrc: torch.Tensor, num_iterations: int) -> torch.Tensor:
    """The zeroth power of each of n matrices with rows <= columns, roughly: singular values land between 0.5 and 1.5."""
    a, b, c = NEWTON_SCHULZ
    x = matrices_nrc / (torch.linalg.matrix_norm(matrices_nrc, keepdim=True) + 1e-7)
    rows, columns = x.shape[-2:]
    if columns < 2 * rows:
        for _ in range(num_iterations):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x
    # Each iteration multiplies x from the left by a polynomial of its Gram matrix: a wide x is spared until the end.
    gram = x @ x.mT
    product: torch.Tensor | None = None
    for left in reversed(range(num_iterations)):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if left:
            gram = polynomial @ gram @ polynomial
    assert product is not None
    return product @ x


class Optimizer:
    """Steps on the gradients that lie in `.grad`; the same on every rank."""

    def __init__(self, network: torch.nn.Module, config: OptimizerConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.names = {parameter: name for name, parameter in network.named_parameters()}
        inside = (
            [p for name, p in network.named_parameters() if p.ndim == 2 and ".layers." in name] if config.kind == "muon" else []
        )
        self._groups: dict[tuple[int, int], list[torch.nn.Parameter]] = defaultdict(list)
        for parameter in inside:
            rows, columns = sorted(parameter.shape)
            self._groups[(rows, columns)].append(parameter)
        self._momentum = {parameter: torch.zeros_like(parameter) for parameter in inside}
        chosen = set(inside)
        others = [p for p in network.parameters() if p not in chosen]
        self._adamw = torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.lr,
            betas=config.betas,
            fused=True,
        )
        share = sum(p.numel() for p in inside)
        self._updates = torch.zeros(share, dtype=inside[0].dtype, device=inside[0].device) if inside else None

    def step(self, factor: float) -> None:
        """One step at `factor` of the peak learning rates."""
        for group in self._adamw.param_groups:
            group["lr"] = self.config.lr * factor
        self._adamw.step()
        if self._updates is not None:
            self._muon_step(self.config.muon_lr * factor)

    @torch.no_grad()
    def _muon_step(self, lr: float) -> None:
        assert self._updates is not None
        self._updates.zero_()
        places = list(self._places())
        for number, (parameter, update) in enumerate(places):
            momentum = self._momentum[parameter]
            gradient = parameter.grad
            assert gradient is not None
            momentum.lerp_(gradient, 1.0 - MOMENTUM)
            if number % self.ranks.world_size == self.ranks.rank:
                update.copy_(gradient.lerp(momentum, MOMENTUM))  # Nesterov
        mine: dict[tuple[int, int], list[torch.Tensor]] = defaultdict(list)
        for number, (parameter, update) in enumerate(places):
            if number % self.ranks.world_size == self.ranks.rank:
                rows, columns = sorted(parameter.shape)
                mine[(rows, columns)].append(update if update.shape[0] == rows else update.mT)
        for views in mine.values():
            stacked = torch.stack(views)
            computed = stacked.bfloat16() if stacked.is_cuda else stacked
            for view, result in zip(views, orthogonalised(computed, self.config.muon_iterations).to(stacked.dtype), strict=True):
                view.copy_(result)
        self.ranks.sum_(self._updates)
        for parameter, update in places:
            parameter.mul_(1.0 - lr * self.config.weight_decay)
            parameter.add_(update, alpha=-lr * ADAMW_RMS * max(parameter.shape) ** 0.5)

    def _places(self) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
        """Each of Muon's matrices and where its update lies in the flat buffer."""
        assert self._updates is not None
        offset = 0
        for group in self._groups.values():
            for parameter in group:
                yield parameter, self._updates[offset : offset + parameter.numel()].view_as(parameter)
                offset += parameter.numel()

    # -- saving ----------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, torch.Tensor]:
        """All state, by the names of the parameters."""
        found = {f"optimizer.momentum.{self.names[p]}": momentum for p, momentum in self._momentum.items()}
        for parameter, slots in self._adamw.state.items():
            for key, value in slots.items():
                found[f"optimizer.{key}.{self.names[parameter]}"] = torch.as_tensor(value)
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """What `tensors` gave."""
        for parameter, momentum in self._momentum.items():
            momentum.copy_(tensors[f"optimizer.momentum.{self.names[parameter]}"])
        for group in self._adamw.param_groups:
            for parameter in group["params"]:
                name = self.names[parameter]
                slots = {
                    key: tensors[f"optimizer.{key}.{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"optimizer.{key}.{name}" in tensors
                }
                if slots:
                    self._adamw.state[parameter] = {
                        key: value.clone() if key == "step" else value.clone().to(parameter.device) for key, value in slots.items()
                    }
