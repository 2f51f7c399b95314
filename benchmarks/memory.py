"""Truth 9: is peak memory flat from n to 10 n utterances? Packing, and reading an epoch through the loader.

    python benchmarks/memory.py                    2,000 and 20,000 utterances of 0.3 s
    python benchmarks/memory.py --sizes 500 5000   others
    python benchmarks/memory.py --json             for machines

Each measurement is a process of its own: its peak resident set, and that of its largest child where it has some. Time is not
measured. Shards are of 60 s, so that there are more of them than the loader keeps open.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARD_S = 60
KINDS = ("pack", "read", "read in a worker")


def make(folder: Path, num_utterances: int) -> None:
    """One long recording, its spans, and the manifest of them."""
    from tests.tones import make_spans, prepared

    prepared(make_spans(folder, num_utterances), folder / "manifest")


def pack(folder: Path) -> None:
    from tests.tones import packed

    packed(folder / "manifest", folder / "corpus", shard_s=SHARD_S)


def read(folder: Path, num_workers: int) -> None:
    from utterloom.batches.collate import CollateSamples
    from utterloom.batches.loader import Loader, SplitIndex
    from utterloom.batches.plan import BatchPlan
    from utterloom.shards.reader import Corpus

    index = SplitIndex.open(Corpus(folder / "corpus"), "train")
    plan = BatchPlan(index.num_samples, index.shard, batch_samples=30 * 16_000, window_shards=16).epoch(0)
    with Loader(index, CollateSamples(), "basic", num_workers, window_shards=16) as loader:
        num = sum(len(batch.ids) for batch in loader.micro_batches((0, batch) for step in plan.steps() for batch in step))
    assert num == len(index)


def peak_mb(kind: str, folder: Path) -> float:
    """Of a process that does one thing."""
    done = subprocess.run([sys.executable, __file__, "--do", kind, "--folder", folder], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def measure(sizes: list[int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"what": kind, "peak_mb": {}} for kind in KINDS]
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            place = Path(folder, str(size))
            peak_mb("make", place)
            for row in rows:
                row["peak_mb"][size] = round(peak_mb(row["what"], place), 1)
    for row in rows:
        row["growth"] = round(row["peak_mb"][sizes[-1]] / row["peak_mb"][sizes[0]] - 1, 4)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", nargs=2, type=int, default=[2_000, 20_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--do", choices=["make", *KINDS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.do:
        if arguments.do == "make":
            size = int(arguments.folder.name)
            make(arguments.folder, size)
        else:
            pack(arguments.folder) if arguments.do == "pack" else read(arguments.folder, int(arguments.do == "read in a worker"))
        peak_kb = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(peak_kb / 1024)
        return
    rows = measure(arguments.sizes)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'peak MB':<20}" + "".join(f"{size:>10,}" for size in arguments.sizes) + f"{'growth':>10}")
    for row in rows:
        peaks = "".join(f"{row['peak_mb'][size]:>10.1f}" for size in arguments.sizes)
        print(f"{row['what']:<20}{peaks}{row['growth']:>10.1%}")


if __name__ == "__main__":
    main()
