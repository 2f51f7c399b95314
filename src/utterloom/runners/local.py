"""Worker processes on this machine. A worker that dies (killed, out of memory) costs its task one retry, not the stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

from utterloom.runners.workers import WorkerPool, enter_worker

__all__ = ["LocalRunner", "enter_worker", "usable_cores"]


def usable_cores() -> int:
    """Cores that this process may run on (a container or `taskset` may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalRunner:
    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers if num_workers is not None else usable_cores()

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """`function` must be importable. With 0 workers it runs here. Raises what a task raises, or UtterloomError for a
        task whose workers died. Workers still at work are ended when this generator is closed."""
        if self.num_workers <= 0 or not tasks:
            for number, task in enumerate(tasks):
                yield number, function(task)
            return
        with WorkerPool(min(self.num_workers, len(tasks))) as pool:
            numbers = {pool.submit(function, task): number for number, task in enumerate(tasks)}
            for future in as_completed(numbers):
                yield numbers.pop(future), future.result()
