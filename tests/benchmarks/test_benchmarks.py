"""The benchmarks run and say what they should; how fast anything is, is not tested."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BYTES = ["utterloom", "utterloom-2-workers", "system-b", "system-b-in-process", "webdataset", "datasets", "datasets-streaming",
         "floor-tarfile", "floor-tar"]
DECODED = [*BYTES[:7], "floor-decode"]


def run(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), "--json", *arguments], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["date"] and result["machine"]["cores"] and result["versions"]["utterloom"]
    return result


def run_loaders(*arguments: str) -> dict[str, Any]:
    board = run("loader.py", "--synthetic", "24", "--batch", "8", "--seconds", "0.001", "--rounds", "2", *arguments)
    assert board["audio"]["utterances"] == 24
    for row in board["rows"]:
        numbers = [row["utterances_per_cpu_s"], row["utterances_per_wall_s"], row["cpu_s"], row["peak_rss_mb"], *row["rounds"],
                   *row["of_floor"].values(), *row["ours_over_it"].values()]
        assert len(row["rounds"]) == 2 and all(math.isfinite(number) and number > 0 for number in numbers), row
    return board


def ids(board: dict[str, Any], mode: str) -> list[str]:
    return [row["id"] for row in board["rows"] if row["mode"] == mode]


def test_the_board_without_peers() -> None:
    board = run_loaders("--without-peers")
    assert ids(board, "bytes") == [*BYTES[:2], *BYTES[7:]] and ids(board, "decoded") == [*DECODED[:2], *DECODED[7:]]
    assert [entry["id"] for entry in board["skipped"]] == BYTES[2:7]
    assert [claim["mode"] for claim in board["claims"]] == ["bytes", "decoded"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("webdataset") is None or find_spec("datasets") is None, reason="the peers are in the extra dev")
def test_every_loader_is_on_the_board() -> None:
    board = run_loaders()
    assert board["skipped"] == [] and ids(board, "bytes") == BYTES and ids(board, "decoded") == DECODED
    for mode in ("bytes", "decoded"):
        rows = {row["label"]: row for row in board["rows"] if row["mode"] == mode}
        *peers, floor = [claim for claim in board["claims"] if claim["mode"] == mode]
        assert [claim["over"].split(",")[0] for claim in peers] == ["system B's loader", "webdataset", "datasets"]
        assert all(claim["median"] == rows[claim["over"]]["ours_over_it"]["median"] for claim in peers)
        assert floor["over"].startswith("floor")


def test_resume_measures_planning_and_opening() -> None:
    result = run("resume.py", "--utterances", "25000", "--peer-utterances", "2000", "--times", "2")
    labels = [row["label"] for row in result["rows"]]
    assert labels[:4] == ["utterloom: durations to micro-batch, fresh process", "utterloom: durations to micro-batch, again",
                          "utterloom: Parquet to durations", "utterloom: Parquet to micro-batch"]
    assert len(labels) == 5 or [entry["id"] for entry in result["skipped"]] == ["lhotse"]
    assert all(math.isfinite(row[key][what]) and row[key][what] > 0
               for row in result["rows"] for key in ("wall_ms", "cpu_ms") for what in ("median", "min", "max"))


def test_prepare_measures_a_manifest_and_repairs_names() -> None:
    result = run("prepare.py", "--utterances", "2000", "--references", "300")
    assert result["decide"]["in"] == 2000 >= result["decide"]["kept"] > 0
    assert all(math.isfinite(result[what][key]) and result[what][key] > 0
               for what in ("open", "decide", "repair") for key in ("wall_s", "cpu_s", "peak_rss_mb"))
    assert result["repair"]["references"] == result["repair"]["naive_references"] == 300
