"""What workers do in tests. A module of its own, so that a worker starts without importing pytest."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from utterloom.core.errors import AudioError


class Task(NamedTuple):
    number: int
    folder: str = ""
    deaths: int = 0
    """how many workers it kills before it can be done"""


def work(task: Task) -> int:
    if task.folder:
        with Path(task.folder, str(task.number)).open("a") as file:
            file.write("x")
        if len(Path(task.folder, str(task.number)).read_text()) <= task.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return task.number * task.number


def fail(number: int) -> None:
    raise AudioError(f"task {number}", "mend it")


def threads_of(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def write_for_ever(path: str) -> None:
    while True:
        with Path(path).open("a") as file:
            file.write("x")
        time.sleep(0.01)


def big(num_bytes: int) -> bytes:
    return b"x" * num_bytes


class OddError(Exception):
    """Cannot be unpickled: its arguments are not its constructor's."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def raise_odd(_: int) -> None:
    raise OddError("odd ", "error")


def answer_oddly(_: int) -> object:
    return lambda: None


def refuse_to_start() -> None:
    raise AudioError("no such corpus")


def die(items: list[Any], epoch: int) -> dict[str, Any]:
    """As a collate function."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
