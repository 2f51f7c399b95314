"""Worker processes on this machine. A worker that dies (killed, out of memory) costs its task one retry, not the stage."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from utterloom.core.errors import UtterloomError
from utterloom.core.log import log

MAX_ATTEMPTS = 3


def usable_cores() -> int:
    """Cores that this process may run on (a container or `taskset` may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def enter_worker(parent_pid: int) -> None:
    """One thread, Ctrl-C left to the parent, and no life after it: a killed parent leaves no orphan that goes on writing."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid)


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere do nothing."""
    if os.uname().sysname != "Linux":
        return
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os._exit(1)


class LocalRunner:
    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers if num_workers is not None else usable_cores()

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """`function` must be importable. With 0 workers it runs here. Raises what a task raises, or UtterloomError for a
        task whose worker died MAX_ATTEMPTS times."""
        if self.num_workers <= 0:
            for number, task in enumerate(tasks):
                yield number, function(task)
            return
        attempts = [0] * len(tasks)
        waiting = list(range(len(tasks)))
        while waiting:
            done_here: set[int] = set()
            try:
                for number, result in self._one_pool(function, tasks, waiting, attempts):
                    done_here.add(number)
                    yield number, result
            except BrokenProcessPool:
                log.warning("a worker process was killed; its work is done again")
            waiting = [number for number in waiting if number not in done_here]
            for number in waiting:
                if attempts[number] >= MAX_ATTEMPTS:
                    raise UtterloomError(f"the worker that did task {number} died {MAX_ATTEMPTS} times",
                                         "is there enough memory? run again with fewer workers")

    def _one_pool(self, function: Callable[[Any], Any], tasks: Sequence[Any], numbers: Sequence[int],
                  attempts: list[int]) -> Iterator[tuple[int, Any]]:
        """Tasks are handed out as workers come free, so that a broken pool names the few that were under way."""
        context = multiprocessing.get_context("spawn")
        left = list(reversed(numbers))
        pool = ProcessPoolExecutor(min(self.num_workers, len(numbers)), mp_context=context,
                                   initializer=enter_worker, initargs=(os.getpid(),))
        try:
            running: dict[Future[Any], int] = {}
            while left or running:
                while left and len(running) < self.num_workers + 1:
                    number = left.pop()
                    attempts[number] += 1
                    running[pool.submit(function, tasks[number])] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
