"""What a long job will take, measured on a few items before it begins, and whether the disk has room for it (E-P2, E-P4)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utterloom.core.errors import OutputError

TRIED_ITEMS = 12
LEAST_TRIED, TRIED_SHARE = 3, 1 / 40  # of a small job, trying twelve would be a tenth
LIMIT_S = 2.0
FREE_SPACE_MARGIN = 1.1


@dataclass(frozen=True)
class Forecast:
    """Of a whole job: bytes it writes, and seconds that one process needs. `num_tried` items were measured."""

    num_bytes: int
    seconds: float
    num_tried: int


def forecast(num_items: int, total_s: float, try_item: Callable[[int], tuple[float, int] | None]) -> Forecast | None:
    """Do a few items, spread over all `num_items`, for LIMIT_S at most, and reckon what `total_s` of speech will take.

    `try_item(index)` gives the seconds of speech and the bytes of an item, or None for one that cannot be used. None where
    none of those tried could.
    """
    started, num_bytes, speech_s, num_tried = time.perf_counter(), 0, 0.0, 0
    most = min(TRIED_ITEMS, num_items, max(LEAST_TRIED, round(TRIED_SHARE * num_items)))
    for index in dict.fromkeys(number * (num_items - 1) // max(1, most - 1) for number in range(most)):
        num_tried += 1
        if (found := try_item(index)) is not None:
            speech_s, num_bytes = speech_s + found[0], num_bytes + found[1]
        if time.perf_counter() - started > LIMIT_S:
            break
    if speech_s == 0.0:
        return None
    times = total_s / speech_s
    return Forecast(int(num_bytes * times), (time.perf_counter() - started) * times, num_tried)


def check_room(folder: Path, num_bytes: int, advice: str) -> None:
    """Raises OutputError where the disk of `folder` has no room for `num_bytes`; `advice` says how to need less."""
    free = shutil.disk_usage(folder).free
    if num_bytes * FREE_SPACE_MARGIN > free:
        raise OutputError(f"{folder} needs about {format_size(num_bytes)} and the disk has {format_size(free)} free",
                          f"free some space, choose another disk, or {advice}")


def format_size(num_bytes: int) -> str:
    """For people: 12 kB, 0.3 MB, 12 MB, 1,366,000 MB."""
    if num_bytes < 100_000:
        return f"{num_bytes / 1e3:,.0f} kB"
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.1f} MB"
