"""Ranks: processes that share every step. On a CPU one a core, each with one thread; under torchrun or srun, theirs.

Sums over ranks are all there is: each rank adds its micro-batches' gradients to one flat buffer and the buffers are
added. So any number of ranks gives the same sums, up to the order of floating-point additions.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from utterloom.core.errors import TrainingError
from utterloom.runners.local import enter_worker

TIMEOUT = timedelta(minutes=30)  # of one exchange; preparing and packing never happen inside a process group (C-P5)


@dataclass
class Ranks:
    """This process's place. With one rank nothing is exchanged."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum_(self, tensor: torch.Tensor) -> None:
        """Add up over all ranks, in place. Raises TrainingError when a rank is gone."""
        if self.world_size > 1:
            self._guard(lambda: dist.all_reduce(tensor))

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank, to everybody."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        self._guard(lambda: dist.all_gather_object(values, value))
        return values

    def from_first(self, value: Any) -> Any:
        if self.world_size == 1:
            return value
        box = [value]
        self._guard(lambda: dist.broadcast_object_list(box, src=0))
        return box[0]

    def _guard(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise TrainingError(
                f"rank {self.rank} lost another rank: {str(error).splitlines()[0][:160]}",
                "a process was killed or a machine went away; run the same command again, it resumes",
            ) from None


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step.

    By default it gives large arrays back to the kernel at once, which clears every page anew: a quarter of a CPU's time
    went there (docs/notebook.md). Other C libraries keep their ways.
    """
    import ctypes

    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 1 << 30)
        mallopt(arena_max, 1)  # the arenas of other threads (autograd's) could not grow as large


def outer_ranks() -> Ranks | None:
    """The place that a launcher (torchrun, srun with torch's variables) gave this process, joined; None without one."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or "RANK" not in os.environ:
        return None
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend, timeout=TIMEOUT)
    return Ranks(dist.get_rank(), dist.get_world_size())


def run_ranks(function: Callable[[Ranks, Any], Any], argument: Any, num_ranks: int) -> Any:
    """Run `function(ranks, argument)` in `num_ranks` processes, this one the first; returns the first's result."""
    if num_ranks == 1:
        return function(Ranks(), argument)
    store = dist.TCPStore("127.0.0.1", 0, num_ranks, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_other_rank, args=(function, argument, rank, num_ranks, store.port, os.getpid()), daemon=False)
        for rank in range(1, num_ranks)
    ]
    for process in others:
        process.start()
    try:
        dist.init_process_group("gloo", store=store, rank=0, world_size=num_ranks, timeout=TIMEOUT)
        result = function(Ranks(0, num_ranks), argument)
        for process in others:
            process.join(timeout=60)
        return result
    finally:
        for process in others:
            if process.is_alive():
                process.kill()
        if dist.is_initialized():
            dist.destroy_process_group()


def _other_rank(function: Callable[[Ranks, Any], Any], argument: Any, rank: int, num_ranks: int, port: int, parent: int) -> None:
    enter_worker(parent)
    store = dist.TCPStore("127.0.0.1", port, num_ranks, is_master=False, timeout=TIMEOUT)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks, timeout=TIMEOUT)
    try:
        function(Ranks(rank, num_ranks), argument)
    except TrainingError:
        pass  # the first rank says it
    finally:
        dist.destroy_process_group()
