"""Progress with an estimate: a live bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from utterloom.core.log import log
from utterloom.core.timing import format_duration

LOG_EVERY_S = 15.0


class Reporter(Protocol):
    def __call__(self, done: float, note: str = "") -> None:
        """`done` of the total so far, in the units of the total."""
        ...


@contextmanager
def progress(what: str, total: float, unit: str = "", enabled: bool = True, begun_at: float = 0.0) -> Iterator[Reporter]:
    """Report with `report(done, note)`. Time left is what the pace so far says; of what was done before (`begun_at`) nobody knows
    how long it took."""
    if not enabled or total <= 0:
        yield lambda done, note="": None
        return
    if sys.stderr.isatty():
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from utterloom.core.log import console
        with Progress(TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
                      TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
                      console=console(), refresh_per_second=4) as bar:
            task = bar.add_task(what, total=total, note="")
            bar.update(task, completed=begun_at)
            yield lambda done, note="": bar.update(task, completed=done, note=note)
        return
    started = time.monotonic()
    last = started

    def report(done: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LOG_EVERY_S or done <= begun_at:
            return
        last = now
        left = (now - started) * (total - done) / (done - begun_at)
        amount = f" {done:,.0f} of {total:,.0f} {unit}" if unit else ""
        log.info(f"{what}: {100 * done / total:3.0f} %{amount}, about {format_duration(left)} left{', ' + note if note else ''}")

    yield report
