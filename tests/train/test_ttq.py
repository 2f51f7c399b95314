"""The ledger of time to target quality does not forget, and no restart sets it back."""

from __future__ import annotations

import json
from pathlib import Path

from utterloom.core.ttq import Milestone, TTQLedger

HOUR = 3600.0


def replay(path: Path, milestones: list[Milestone], points: list[tuple[float, float]]) -> TTQLedger:
    """A process an epoch: every validation is written by a new ledger."""
    for number, (hours, wer) in enumerate(points):
        TTQLedger(path, milestones).validated(step=number, wer=wer, train_s=hours * HOUR)
    return TTQLedger(path, milestones)


def test_the_five_epoch_example_keeps_what_was_achieved(tmp_path: Path) -> None:
    """B-P1: 3 h 0.28, 5 h 0.26, 11 h 0.19, 13 h 0.21 forgot both; here 0.30 and 0.20 stay achieved."""
    milestones = [Milestone(0.30, 4 * HOUR), Milestone(0.20, 12 * HOUR), Milestone(0.15, 48 * HOUR)]
    ledger = replay(tmp_path / "ttq.jsonl", milestones, [(1, 0.5), (3, 0.28), (5, 0.26), (11, 0.19), (13, 0.21)])
    states = {target: state["state"] for target, state in ledger.states().items()}
    assert states == {0.30: "achieved", 0.20: "achieved", 0.15: "pending"}
    assert ledger.states()[0.30]["achieved_at_s"] == 3 * HOUR and ledger.states()[0.30]["achieved_wer"] == 0.28


def test_late_and_missed_are_told_apart(tmp_path: Path) -> None:
    ledger = replay(tmp_path / "ttq.jsonl", [Milestone(0.30, 2 * HOUR), Milestone(0.10, 4 * HOUR)], [(1, 0.5), (3, 0.25), (5, 0.2)])
    assert ledger.states()[0.30]["state"] == "achieved_late"
    assert ledger.states()[0.10]["state"] == "missed"


def test_a_milestone_is_announced_once(tmp_path: Path) -> None:
    """B-P3."""
    path, milestones = tmp_path / "ttq.jsonl", [Milestone(0.3)]
    first = TTQLedger(path, milestones).validated(step=1, wer=0.2, train_s=10.0)
    again = TTQLedger(path, milestones).validated(step=2, wer=0.1, train_s=20.0)
    assert [milestone.wer for milestone in first] == [0.3] and again == []


def test_a_line_cut_short_by_a_kill_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "ttq.jsonl"
    TTQLedger(path).append("start", step=0, train_s=0.0)
    with path.open("ab") as file:
        file.write(b'{"event": "valid')
    ledger = TTQLedger(path)
    assert [event["event"] for event in ledger.events] == ["start"]
    ledger.append("resume", step=0, train_s=0.0)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["start", "resume"]


def test_a_wer_that_is_absent_reaches_nothing(tmp_path: Path) -> None:
    ledger = TTQLedger(tmp_path / "ttq.jsonl", [Milestone(0.9)])
    assert ledger.validated(step=1, wer=None, train_s=1.0) == []
    assert ledger.states()[0.9]["state"] == "pending"
