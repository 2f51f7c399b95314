"""Time to target quality: an append-only ledger of what was reached when, which no restart can set back (B6, B-P1 … B-P3).

Time is counted apart: training (forward, backward, step), validation, and idle (everything else while the run existed,
the time between a kill and a resume included). A milestone, once reached, stays reached; its first record is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utterloom.core.artifact import output_errors
from utterloom.core.errors import DamagedError

FILE_NAME = "ttq.jsonl"


@dataclass(frozen=True)
class Milestone:
    """Reach this WER (a fraction) within so much training time; without a budget it can only be reached, not missed."""

    wer: float
    budget_s: float | None = None


class TTQLedger:
    """Events, one JSON object a line; the state is always what replaying them gives."""

    def __init__(self, path: Path, milestones: Iterable[Milestone] = ()) -> None:
        self.path = path
        self.milestones = sorted(milestones, key=lambda milestone: -milestone.wer)
        self.events = read_events(path)

    def append(self, event: str, **fields: Any) -> None:
        record = {"event": event, **fields}
        with output_errors(self.path), self.path.open("ab") as file:
            if self.path.is_file():
                file.truncate(_whole_bytes(self.path.read_bytes()))  # a last line that a kill cut short goes
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self.events.append(record)

    def validated(self, *, step: int, wer: float | None, train_s: float, **fields: Any) -> list[Milestone]:
        """Write down a validation; returns the milestones that it reached for the first time, each announced once."""
        reached_before = {target for target, state in self.states().items() if state["state"].startswith("achieved")}
        self.append("validation", step=step, wer=wer, train_s=train_s, **fields)
        return [milestone for milestone in self.milestones if milestone.wer not in reached_before
                and wer is not None and wer <= milestone.wer]

    @property
    def spent_s(self) -> float:
        """The training time that was ever written down: less was never spent."""
        return max((event["train_s"] for event in self.events if "train_s" in event), default=0.0)

    def states(self) -> dict[float, dict[str, Any]]:
        """For each target: pending, achieved, achieved_late or missed, and the record that settled it."""
        table: dict[float, dict[str, Any]] = {}
        for milestone in self.milestones:
            first = next((event for event in self.events if event["event"] == "validation" and event["wer"] is not None
                          and event["wer"] <= milestone.wer), None)
            late = milestone.budget_s is not None and (first["train_s"] if first else self.spent_s) > milestone.budget_s
            state = ("achieved_late" if late else "achieved") if first else ("missed" if late else "pending")
            table[milestone.wer] = {
                "target_wer": milestone.wer, "budget_s": milestone.budget_s, "state": state,
                "achieved_at_s": first["train_s"] if first else None, "achieved_wer": first["wer"] if first else None,
                "achieved_step": first["step"] if first else None}
        return table

    def curve(self) -> list[dict[str, Any]]:
        """Validations in the order of their steps; one that a resume repeated counts once, as it was first."""
        by_step: dict[int, dict[str, Any]] = {}
        for event in self.events:
            if event["event"] == "validation":
                by_step.setdefault(event["step"], event)
        return [by_step[step] for step in sorted(by_step)]


def read_events(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: a last line that a kill cut short, or that is being written, is not there yet."""
    if not path.exists():
        return []
    content = path.read_bytes()
    events = []
    for number, line in enumerate(content[:_whole_bytes(content)].split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            raise DamagedError(f"{path}, line {number}: not an event of this ledger; the file is damaged",
                               "remove that line: what it said is lost, the rest counts")
        events.append(event)
    return events


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1
