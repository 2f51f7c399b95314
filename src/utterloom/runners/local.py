"""Worker processes on this machine. A worker that dies (killed, out of memory) costs its task one retry, not the stage."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
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
        task whose worker died MAX_ATTEMPTS times. Workers still at work are ended when this generator is closed."""
        if self.num_workers <= 0:
            for number, task in enumerate(tasks):
                yield number, function(task)
            return
        waiting = set(range(len(tasks)))
        suspects: list[int] = []  # under way when a worker died
        deaths: Counter[int] = Counter()
        while waiting:
            # One suspect at a time, so that it is known which of them costs workers their lives.
            numbers, num_workers = (suspects[:1], 1) if suspects else (sorted(waiting), self.num_workers)
            under_way: set[int] = set()
            try:
                for number, result in _one_pool(function, tasks, numbers, num_workers, under_way):
                    waiting.remove(number)
                    yield number, result
                suspects = suspects[1:]
            except BrokenProcessPool:
                log.warning("a worker process was killed; its work is done again")
                deaths.update(under_way)
                guilty = [number for number in under_way if deaths[number] >= MAX_ATTEMPTS]
                if guilty and len(under_way) == 1:
                    raise UtterloomError(f"the worker that did task {guilty[0]} died {MAX_ATTEMPTS} times",
                                         "is there enough memory? run again with fewer workers") from None
                suspects = sorted(under_way | set(suspects))


def _one_pool(function: Callable[[Any], Any], tasks: Sequence[Any], numbers: Sequence[int], num_workers: int,
              under_way: set[int]) -> Iterator[tuple[int, Any]]:
    """Tasks are handed out as workers come free, so that a broken pool leaves `under_way` the few that it may be about."""
    pool = ProcessPoolExecutor(min(num_workers, len(numbers)), mp_context=multiprocessing.get_context("spawn"),
                               initializer=enter_worker, initargs=(os.getpid(),))
    left = list(reversed(numbers))
    running: dict[Future[Any], int] = {}
    try:
        while left or running:
            while left and len(running) < num_workers + (num_workers > 1):
                number = left.pop()
                under_way.add(number)
                running[pool.submit(function, tasks[number])] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                under_way.remove(running[future])
                yield running.pop(future), result
    except BaseException:
        kill_workers(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """End what a pool is doing. What it was writing is a temporary file, which the next run removes."""
    for process in list((getattr(pool, "_processes", None) or {}).values()):  # Python 3.14 has pool.kill_workers()
        process.kill()
