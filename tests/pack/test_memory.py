"""Truth 9: peak memory is flat from n to 10 n utterances."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/memory.py"


@pytest.mark.slow
def test_packing_and_reading_need_the_same_memory_for_ten_times_as_much() -> None:
    command = [sys.executable, BENCHMARK, "--sizes", "2000", "20000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for row in json.loads(done.stdout):
        assert abs(row["growth"]) < 0.1, row
