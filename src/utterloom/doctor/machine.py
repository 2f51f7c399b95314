"""Cores, memory, threads, disks, text: what the machine gives, and what a control group leaves of it."""

from __future__ import annotations

import contextlib
import locale
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from utterloom.doctor.findings import Examined, Problem
from utterloom.runners.local import usable_cores

LITTLE_DISK_BYTES, LITTLE_MEMORY_BYTES = 2e9, 1e9
UNLIMITED_BYTES = 1 << 60  # what a control group says that limits nothing
DIFFICULT_NAME = "tiếng Việt – Ωμέγα.txt"


def resources() -> Examined:
    """Cores and memory, as they are and as a control group limits them, and the threads that libraries will start."""
    present, usable, quota = os.cpu_count() or 1, usable_cores(), cpu_quota()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    (total_bytes, available_bytes), limit_bytes = _memory_bytes(), memory_limit_bytes()
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    problems = thread_problems(threads, usable)
    if quota is not None and usable > math.ceil(quota):
        allowed = max(1, int(quota))
        problems.append(Problem(f"{usable} processes at once are slower than {allowed}",
                                f"a control group gives them the time of {quota:g} cores",
                                f"workers={allowed} for prepare and pack, ranks={allowed} for train", "careful"))
    free = min(available_bytes or total_bytes, limit_bytes or total_bytes)
    if free < LITTLE_MEMORY_BYTES:
        problems.append(Problem("training may be killed", f"only {free / 1e9:.1f} GB of memory are free",
                                "end other programs, or batch.micro_batch_s=15 ranks=1", "careful"))
    cores = f"{usable} of {present} usable"
    cores += f", a control group gives the time of {quota:g}" if quota is not None else ""
    cores += f"; load {load:.1f}{': they are busy' if load > usable else ''}" if load is not None else ""
    amount = f"{available_bytes / 1e9:.1f} GB free of {total_bytes / 1e9:.1f}" if available_bytes else f"{total_bytes / 1e9:.1f} GB"
    amount += f", a control group allows {limit_bytes / 1e9:.1f} GB" if limit_bytes else ""
    value = {"cores_present": present, "cores_usable": usable, "cpu_quota_cores": quota, "load": load,
             "memory_bytes": total_bytes, "memory_available_bytes": available_bytes, "memory_limit_bytes": limit_bytes,
             "threads": threads}
    return value, [("cores", cores), ("memory", amount),
                   ("threads", ", ".join(f"{name} {setting or 'not set'}" for name, setting in threads.items()))], problems


def thread_problems(threads: Mapping[str, str | None], usable: int) -> list[Problem]:
    """Two OpenMP threads on a busy core wait for each other at every barrier."""
    if usable > 1 and threads["OMP_NUM_THREADS"] is None:
        return [Problem("torch and numpy may run many times slower than they could",
                        "OMP_NUM_THREADS is not set, so that every process takes all cores: on a busy machine two threads were "
                        "measured 32 times slower than one", "export OMP_NUM_THREADS=1", "careful")]
    if threads["MKL_NUM_THREADS"] not in (None, threads["OMP_NUM_THREADS"]):
        return [Problem("torch may take other threads than you think",
                        f"MKL_NUM_THREADS={threads['MKL_NUM_THREADS']} wins over OMP_NUM_THREADS={threads['OMP_NUM_THREADS']}",
                        "unset MKL_NUM_THREADS", "careful")]
    return []


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> float | None:
    """The cores that this process's control group gives it the time of; None where nothing limits it."""
    quotas = []
    for folder in _groups(root, process, "cpu"):
        words = _words(folder / "cpu.max") or [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit_bytes(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int | None:
    """The least that this process's control group, or one around it, allows; None where nothing limits it."""
    limits = []
    for folder in _groups(root, process, "memory"):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        if words and words[0].isdigit() and int(words[0]) < UNLIMITED_BYTES:
            limits.append(int(words[0]))
    return min(limits, default=None)


def _groups(root: Path, process: Path, controller: str) -> Iterator[Path]:
    """The folders of a process's control group and of all around it, of both versions (2: one tree; 1: one a controller)."""
    try:
        entries = [line.split(":", 2) for line in process.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return
    for _, controllers, name in entries:
        base = root if not controllers else root / controller if controller in controllers.split(",") else None
        if base is not None:
            group = base / name.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(base))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _memory_bytes() -> tuple[int, int | None]:
    """All there is, and what is free, where the system says."""
    known = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            known[name] = int(amount.split()[0]) * 1024
    total = known.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total, known.get("MemAvailable")


# --- disks -------------------------------------------------------------------------------------------------------------

def storage() -> Examined:
    """Free space where outputs and temporary files go, and whether processes can share memory."""
    problems, rows, value = [], [], {}
    for name, folder in (("disk here", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free_bytes, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
        value[name] = {"folder": str(folder), "free_bytes": free_bytes, "writable": writable}
        rows.append((name, f"{free_bytes / 1e9:,.1f} GB free in {folder}{'' if writable else ', which cannot be written'}"))
        if not writable:
            problems.append(Problem(f"outputs in {folder}", "there is no permission to write there", "choose another folder",
                                    "careful" if name == "disk here" else "will not work"))
        elif free_bytes < LITTLE_DISK_BYTES:
            problems.append(Problem(f"more than {free_bytes / 1e9:.1f} GB of outputs in {folder}",
                                    "its disk is nearly full (an hour of packed speech takes about 60 MB)",
                                    "free some space" + ("" if name == "disk here" else ", or point TMPDIR elsewhere"), "careful"))
    shared = Path("/dev/shm")
    if sys.platform == "linux" and not (shared.is_dir() and os.access(shared, os.W_OK)):
        problems.append(Problem("work in several processes", f"{shared}, which their locks need, cannot be written",
                                "mount a tmpfs there, or workers=0 and ranks=1"))
    return value, list(rows), problems


# --- text --------------------------------------------------------------------------------------------------------------

def text() -> Examined:
    """Whether texts and file names in any language survive."""
    value = {"locale": locale.getpreferredencoding(False), "file_names": sys.getfilesystemencoding(),
             "output": getattr(sys.stdout, "encoding", None) or "unknown", "file_names_survive": _names_survive()}
    problems = []
    foreign = {name: value[name] for name in ("locale", "file_names", "output") if not _is_utf8(str(value[name]))}
    if foreign:
        named = ", ".join(f"{name.replace('_', ' ')}: {encoding}" for name, encoding in foreign.items())
        problems.append(Problem("texts and names beyond English letters", f"not everything here is UTF-8 ({named})",
                                "export LC_ALL=C.UTF-8 PYTHONUTF8=1"))
    elif not value["file_names_survive"]:
        problems.append(Problem("file names beyond English letters may change",
                                f"the disk of {tempfile.gettempdir()} gives {DIFFICULT_NAME!r} back as something else",
                                "keep such recordings on another disk", "careful"))
    return value, [("text", "UTF-8 throughout" if not problems else "not UTF-8 throughout")], problems


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"


def _names_survive() -> bool:
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / DIFFICULT_NAME).touch()
            return [path.name for path in Path(folder).iterdir()] == [DIFFICULT_NAME]
    except (OSError, UnicodeError):
        return False
