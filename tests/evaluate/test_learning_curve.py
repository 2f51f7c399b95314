from __future__ import annotations

import math
import re
from typing import Any

import pytest

from tests.evaluate.pages import Page
from utterloom.evaluate.learning_curve import MAX_CURVE_POINTS, learning_section


def drawn(curve: list[dict[str, Any]] | None, milestones: list[dict[str, Any]] | None = None) -> Page:
    """The section as a browser sees it."""
    section = learning_section(curve, milestones)
    assert section is not None
    return Page(section)


def curve_rows(num_rows: int, every: int = 1) -> list[dict[str, Any]]:
    return [
        {"step": 10 * i, "epoch": i / 10, "train_s": 7.0 * i, "train_loss": 90 / (1 + i), "learning_rate": 1e-3,
         "dev_wer": 1 / (1 + i / 9) if i % every == 0 else None, "dev_cer": None}
        for i in range(num_rows)
    ]


NOTHING = {"step": None, "epoch": None, "train_s": None, "train_loss": None, "dev_wer": None, "dev_cer": None,
           "learning_rate": None}


@pytest.mark.parametrize(
    ("curve", "num_lines"),
    [
        ([], 0),
        ([NOTHING], 0),
        (curve_rows(1), 2),
        (curve_rows(2), 2),
        (curve_rows(50, every=10), 2),
        (curve_rows(20_000, every=7), 2),
        ([{**NOTHING, "step": 5, "dev_wer": 0.0}], 1),
        ([{**NOTHING, "train_s": 0.0, "train_loss": 0.0}], 1),
        ([{**NOTHING, "step": i, "train_loss": -float(i)} for i in range(9)], 1),
        ([{**row, "train_loss": math.nan, "dev_wer": math.inf if i else 3.0} for i, row in enumerate(curve_rows(5))], 1),
        ([{**row, "train_s": None} for row in curve_rows(9)], 2),
        ([{**row, "step": 7} for row in curve_rows(9)], 2),
    ],
)
def test_a_curve_of_any_length_is_drawn(curve: list[dict[str, Any]], num_lines: int) -> None:
    page = drawn(curve)
    assert len(page.all("svg", "chart wide")) == len(page.all("svg", "chart narrow")) == (num_lines > 0)
    lines = page.all("path", "line")
    assert len(lines) == 2 * num_lines  # for the desk and for the phone
    for line in lines:
        points = [tuple(map(float, point.split())) for point in line["d"].removeprefix("M").split("L")]
        assert len(points) <= MAX_CURVE_POINTS
        assert all(0 <= x <= 980 and 0 <= y <= 420 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
    if not num_lines:
        assert "No point of a learning curve was recorded." in page.texts


def test_thinning_keeps_the_spikes() -> None:
    curve = curve_rows(20_000)
    curve[13_337]["train_loss"] = 500.0
    heights = re.findall(r"[ML][\d.]+ ([\d.]+)", drawn(curve).all("path", "line loss")[0]["d"])
    assert sorted(map(float, heights))[1] - min(map(float, heights)) > 50


def test_milestones_say_their_state_in_words() -> None:
    states = {"achieved": 300.0, "achieved_late": 400.0, "missed": None, "pending": None}
    milestones = [
        {"target_wer": 0.5 - 0.02 * i, "budget_s": 350.0 if i else None, "state": state, "achieved_at_s": at_s,
         "achieved_wer": None if at_s is None else 0.2}
        for i, (state, at_s) in enumerate(states.items())
    ]
    page = drawn(curve_rows(60), milestones)
    for words in ("✓ achieved", "✓ achieved after its time", "✗ missed", "… pending"):
        assert words in page.texts
    assert len(page.all("line", "milestone")) == 2 * 4
    assert len(page.all("path", "met")) == 2 * 2
    assert "✓ achieved" in drawn(None, milestones).texts
    assert len(drawn([{**NOTHING, "step": 1, "dev_wer": 0.4}], milestones).all("svg", "chart")) == 2


def test_without_curve_and_milestones_there_is_no_section() -> None:
    assert learning_section(None, None) is None
    assert learning_section(None, []) is None
