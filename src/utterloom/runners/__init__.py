"""Where tasks run. A task leaves its result as a file, so a runner may die at any point and be started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from utterloom.runners.local import LocalRunner

__all__ = ["LocalRunner", "Runner"]


class Runner(Protocol):
    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Call `function(task)` for each task, anywhere, in any order; yield (task number, result) as they end."""
        ...
