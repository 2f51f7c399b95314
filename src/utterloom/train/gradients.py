"""Gradients as sums: what a step adds up over micro-batches and ranks before it divides once."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import torch

from utterloom.batches.loader import MicroBatch
from utterloom.train.objectives.ctc import CTCObjective, Statistics


class FlatGradients:
    """All gradients as views of one buffer [num_parameters + num_observed + EXTRA]; the tail carries the step's other sums
    across ranks: what the objective observes, and the trainer's own."""

    EXTRA = 5
    LOSS, COUNT, TRAIN_S, STOP, SAVE = range(EXTRA)

    def __init__(self, network: torch.nn.Module, num_observed: int = 0) -> None:
        parameters = [p for p in network.parameters() if p.requires_grad]
        total = sum(p.numel() for p in parameters)
        first = parameters[0]
        self.buffer = torch.zeros(total + num_observed + self.EXTRA, dtype=first.dtype, device=first.device)
        self.gradients, self.extra = self.buffer[:total], self.buffer[total + num_observed :]
        self.observed = self.buffer[total : total + num_observed]
        offset = 0
        for parameter in parameters:
            parameter.grad = self.buffer[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def observe(self, statistics: list[Statistics]) -> None:
        """Add what some micro-batches observed."""
        for stats in statistics:
            if stats.observed is not None:
                self.observed.add_(stats.observed)


def seed_for(*parts: object) -> int:
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def accumulate(
    objective: CTCObjective,
    network: torch.nn.Module,
    batches: list[tuple[int, MicroBatch]],
    device: torch.device,
    scale: float = 1.0,
    autocast: Any = None,
) -> tuple[float, int, list[Statistics]]:
    """Add the gradients of the summed loss of some micro-batches; returns the loss sum, the count, and their statistics.

    `batches` are (dropout seed, micro-batch): the noise of a micro-batch is its own, wherever it is computed.
    """
    loss_sum, count, statistics = 0.0, 0, []
    for seed, batch in batches:
        torch.manual_seed(seed)
        with autocast() if autocast else contextlib.nullcontext():
            stats = objective.loss(network, batch, device)
        (stats.loss_sum * scale).backward()
        loss_sum += float(stats.loss_b.sum())
        count += stats.count
        statistics.append(stats)
    return loss_sum, count, statistics


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """bf16 where the GPU has it, else fp16 with a loss scale; fp32 on a CPU (K10)."""
    if wanted == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
