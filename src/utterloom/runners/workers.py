"""Processes that may be killed at any moment without anybody waiting for ever, and without anybody else being blamed.

Each worker has a pipe of its own and one call at a time. A death is the end of that pipe, seen at once, also in the middle of
a result, and it is known whose it was. (concurrent.futures has one pipe for all results, whose other end stays open: what a
killed worker had half-written is waited for without end.)
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from utterloom.core.errors import UtterloomError
from utterloom.core.log import log

MAX_ATTEMPTS = 3

Call = tuple[Callable[[Any], Any], Any]


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


class WorkerPool:
    """Up to `num_workers` processes, started when there is something to do, replaced when they die.

    `enter` is called once in each with `arguments`. A call whose worker dies is made again, MAX_ATTEMPTS times in all.
    """

    def __init__(self, num_workers: int, enter: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()) -> None:
        self.num_deaths = 0
        self._enter, self._arguments = enter, arguments
        self._calls: queue.SimpleQueue[tuple[Future[Any], Call] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._attend, name=f"worker {number}", daemon=True)
                         for number in range(num_workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        """`function` must be importable. The future raises what the function raises, or UtterloomError when its workers die."""
        future: Future[Any] = Future()
        self._calls.put((future, (function, argument)))
        return future

    def close(self) -> None:
        """End every worker, at work or not. What it was writing is a temporary file, which the next run removes."""
        with self._lock:
            self._is_closed = True
            for worker in self._workers:
                worker.process.kill()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attend(self) -> None:
        """One worker's life, and its successors', in a thread of this process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # workers inherit it: Ctrl-C is for the main thread
        worker: _Worker | None = None
        while (item := self._calls.get()) is not None:
            future, call = item
            if self._is_closed or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    worker = worker or self._hire()
                    is_result, value = worker.do(call)
                except WorkerDiedError:
                    self._dismiss(worker)
                    worker = None
                    if attempt == MAX_ATTEMPTS or self._is_closed:
                        future.set_exception(UtterloomError(f"a worker process died {attempt} times on the same work",
                                                            "is there enough memory? run again with fewer workers"))
                        break
                    with self._lock:
                        self.num_deaths += 1
                    log.warning("a worker process was killed; it is replaced and its work is done again")
                except BaseException as error:
                    future.set_exception(error)
                    break
                else:
                    future.set_result(value) if is_result else future.set_exception(value)
                    break
        if worker is not None:
            self._dismiss(worker)

    def _hire(self) -> _Worker:
        worker = _Worker(self._enter, self._arguments)
        with self._lock:
            self._workers.add(worker)
            if self._is_closed:
                worker.process.kill()
        return worker

    def _dismiss(self, worker: _Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.end()


class WorkerDiedError(Exception):
    """The other end of the pipe is gone."""


class _Worker:
    def __init__(self, enter: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self.process = context.Process(target=_work, args=(other_end, os.getpid(), enter, arguments), daemon=True)
        with other_end:
            self.process.start()

    def do(self, call: Call) -> tuple[bool, Any]:
        """(True, result) or (False, what was raised). Raises WorkerDiedError."""
        content = pickle.dumps(call)
        try:
            self._connection.send_bytes(content)
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise WorkerDiedError from None
        found: tuple[bool, Any] = pickle.loads(answer)
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self._connection.close()


def _work(connection: Connection, parent_pid: int, enter: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """A worker's main loop: until the pipe ends."""
    enter_worker(parent_pid)
    failure: BaseException | None = None
    try:
        if enter is not None:
            enter(*arguments)
    except Exception as error:
        failure = error
    while True:
        try:
            content = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(content, failure))


def _answer(content: bytes, failure: BaseException | None) -> bytes:
    try:
        if failure is not None:
            raise failure
        function, argument = pickle.loads(content)
        return pickle.dumps((True, function(argument)))
    except BaseException as error:
        if not isinstance(error, UtterloomError):
            error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:  # some exceptions cannot be pickled, or not be unpickled
            answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")))
        return answer
