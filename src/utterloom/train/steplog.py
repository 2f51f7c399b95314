"""`steps.jsonl`: one line for each step, written as it is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write

FILE_NAME = "steps.jsonl"


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Whole lines of the step log; a last line that a kill cut short is none."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n") if line.strip()]


def keep_steps(path: Path, lines: list[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.write(b"".join((json.dumps(line) + "\n").encode() for line in lines))
