"""What the benchmarks share: the clock, the machine, the versions, and how a result is printed.

CPU-seconds are the unit (user and system, children included): on a shared machine they say what a loader costs, wall time
says what the neighbours did.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from contextlib import suppress
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import psutil


def cpu_s() -> float:
    """Of this process, of those that it started and that have ended, and of its worker processes that live."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_cpu_s_of, multiprocessing.active_children()))


def _cpu_s_of(worker: multiprocessing.process.BaseProcess) -> float:
    try:
        times = psutil.Process(worker.pid).cpu_times()
    except psutil.Error:  # it has just ended
        return 0.0
    return times.user + times.system


def peak_rss_bytes() -> int:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def workers_rss_bytes() -> int:
    """What its worker processes hold now; pages that they share count in each."""
    total = 0
    for worker in multiprocessing.active_children():
        with suppress(psutil.Error):
            total += psutil.Process(worker.pid).memory_info().rss
    return total


def circumstances(packages: list[str]) -> dict[str, Any]:
    """When, where and with what: part of every result."""
    return {
        "date": date.today().isoformat(),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9),
                    "system": f"{platform.system()} {platform.machine()}", "load_at_start": round(os.getloadavg()[0], 1)},
        "versions": {"python": platform.python_version(), **{name: found for name in packages if (found := version(name))}},
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Of two rates measured in the same rounds: the median round, and the worst and best."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def say_circumstances(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (f"{result['date']}, {machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['system']}, "
            f"load {machine['load_at_start']} at the start; {versions}.")


def markdown_table(table: list[list[str]]) -> str:
    """The first line is the header; the first column is text, the others are numbers."""
    lines = [table[0], ["---", *["---:"] * (len(table[0]) - 1)], *table[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain_table(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table)


def deliver(result: dict[str, Any], as_json: bool, text: str, save: Path | None) -> None:
    """One JSON object or one text on stdout; the JSON to a file as well where that was asked for."""
    document = json.dumps(result, indent=2, ensure_ascii=False)
    if save:
        save.write_text(document + "\n", encoding="utf-8")
    print(document if as_json else text)


def note(message: str) -> None:
    """What is going on, on stderr, for people who wait."""
    print(message, file=sys.stderr, flush=True)
