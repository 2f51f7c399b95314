"""The learning curve of a report: dev WER and training loss over time, with milestones, as SVG and in numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from utterloom.evaluate.wording import counted, known, number, percent, span, span_like
from utterloom.pages.markup import Column, Html, Row, escaped, note, table, tag

MAX_CURVE_POINTS = 600
MAX_CURVE_ROWS = 200

_STATES = {
    "achieved": "✓ achieved",
    "achieved_late": "✓ achieved after its time",
    "missed": "✗ missed",
    "pending": "… pending",
}

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps the values [low, high] to the pixels [start_px, end_px]."""

    low: float
    high: float
    start_px: float
    end_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start_px + share * (self.end_px - self.start_px), 1)

    def ticks(self, num_wanted: int) -> list[float]:
        """Round values inside the axis, about as many as wanted: multiples of 1, 2, 2.5 or 5 times a power of ten."""
        rough = (self.high - self.low) / num_wanted
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Curve:
    """What can be drawn of a training: points (x, y) where x is time in `unit`, or the step where no time is known."""

    unit: str
    unit_s: float | None
    wer: Points
    loss: Points
    step: Points

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Curve | None:
        by_time = all(known(row.get("train_s")) is not None for row in rows)
        x_key = "train_s" if by_time else "step"
        placed = [(x, row) for row in rows if (x := known(row.get(x_key))) is not None]
        placed.sort(key=lambda item: item[0])
        if not placed:
            return None
        unit, unit_s = "step", None
        if by_time:
            last_s = placed[-1][0]
            unit, unit_s = ("h", 3600.0) if last_s > 10_800 else ("min", 60.0) if last_s > 120 else ("s", 1.0)

        def points(key: str) -> Points:
            return [(x / (unit_s or 1), y) for x, row in placed if (y := known(row.get(key))) is not None]

        curve = cls(unit, unit_s, points("dev_wer"), points("train_loss"), points("step"))
        return curve if curve.wer or curve.loss else None

    def at(self, x: float) -> str:
        return f"{number(x, 3)}\u202f{self.unit}" if self.unit_s else f"step {number(x)}"


def learning_section(curve: Sequence[Row] | None, milestones: Sequence[Row] | None) -> Html | None:
    """Chart, milestones and evaluations; None where neither a curve nor milestones are known. See `render_report` for the rows."""
    if curve is None and not milestones:
        return None
    drawn = _Curve.of(curve or [])
    evaluated = [row for row in curve or [] if known(row.get("dev_wer")) is not None]
    if drawn:  # twice, because text that is scaled with the drawing cannot be read on a phone
        sizes = ((980, "wide"), (360, "narrow"))
        charts = [_chart(drawn, milestones or [], width_px, name) for width_px, name in sizes]
    else:
        charts = [note("No point of a learning curve was recorded.")]
    return escaped(
        [
            tag("figure", charts),
            _milestone_table(milestones) if milestones else None,
            _evaluation_table(evaluated) if evaluated else None,
        ]
    )


def _chart(curve: _Curve, milestones: Sequence[Row], width_px: int, name: str) -> Html:
    """Two panels over one axis of time: dev WER with its milestones, and training loss. Steps are along the top."""
    left_px, right_px = 44, width_px - 16
    num_ticks = 10 if width_px > 600 else 5
    xs = [x for x, _ in curve.wer + curve.loss]
    x_axis = _Axis(min(0.0, *xs), max(0.0, *xs) or 1.0, left_px, right_px)
    steps = _step_ticks(curve, x_axis, num_ticks // 2 + 1)
    panels: list[Html] = []
    y_px = 36 if steps else 10
    for points, draw, height_px in (
        (curve.wer, _wer_panel, 220),
        (curve.loss, _loss_panel, 84 if curve.wer else 220),
    ):
        if points:
            top_px, y_px = y_px + 18, y_px + 18 + height_px
            panels += [tag("line", class_="grid", x1=x, x2=x, y1=top_px, y2=y_px)
                       for x in map(x_axis, x_axis.ticks(num_ticks))]
            panels.append(draw(curve, milestones, x_axis, top_px, y_px))
            y_px += 16
    labels_px = y_px + 2
    return tag(
        "svg",
        steps,
        panels,
        _text(curve.unit, left_px - 7, labels_px, "end"),
        [_text(number(tick), x_axis(tick), labels_px) for tick in x_axis.ticks(num_ticks)],
        class_=f"chart {name}",
        viewBox=f"0 0 {width_px} {labels_px + 6}",
        role="img",
        aria_label=_spoken(curve),
    )


def _text(text: str, x: float, y: float, anchor: str = "middle", class_: str | None = None) -> Html:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def _spoken(curve: _Curve) -> str:
    """The chart in a sentence, for those who do not see it."""
    parts = []
    for name, points, show in (("dev WER", curve.wer, percent), ("training loss", curve.loss, number)):
        if points:
            (first_x, first), (last_x, last), (best_x, best) = points[0], points[-1], min(points, key=_height)
            parts.append(
                f"{name} {show(first)} at {curve.at(first_x)}, {show(last)} at {curve.at(last_x)}, "
                f"lowest {show(best)} at {curve.at(best_x)}"
            )
    return f"Learning curve: {'; '.join(parts)}."


def _height(point: tuple[float, float]) -> float:
    return point[1]


def _step_ticks(curve: _Curve, x_axis: _Axis, num_wanted: int) -> list[Html]:
    """Round step numbers, each at the time when it was reached."""
    xs, steps = zip(*curve.step, strict=True) if curve.step else ((), ())
    if not curve.unit_s or len(steps) < 2 or not np.all(np.diff(steps) > 0):
        return []
    ticks = [_text("step", x_axis.start_px - 7, 14, "end")]
    for step in _Axis(steps[0], steps[-1], 0, 1).ticks(num_wanted):
        x = x_axis(float(np.interp(step, steps, xs)))
        ticks += [_text(number(step), x, 14), tag("line", class_="axis", x1=x, x2=x, y1=19, y2=24)]
    return ticks


def _wer_panel(curve: _Curve, milestones: Sequence[Row], x_axis: _Axis, top_px: float, bottom_px: float) -> Html:
    best_x, best = min(curve.wer, key=_height)
    # One early evaluation far above 100 % must not flatten the rest: it is drawn at the upper edge, and said to be so.
    high = max(_height(point) for point in curve.wer) if best >= 1 else min(1.0, max(map(_height, curve.wer)))
    y_axis = _Axis(0, max(high, 0.01, *(row["target_wer"] for row in milestones)) * 1.04, bottom_px, top_px)
    is_cut = any(wer > y_axis.high for _, wer in curve.wer)
    x, y = x_axis(best_x), y_axis(best)
    label_y = y + 21 if y + 28 < bottom_px else y - 12
    anchor = "end" if x > x_axis.end_px - 50 else "start" if x < x_axis.start_px + 40 else "middle"
    return tag(
        "g",
        _text(f"dev WER, %{' (points at the top edge are above it)' if is_cut else ''}", x_axis.start_px, top_px - 8,
              "start", "name"),
        _horizontals(x_axis, y_axis, 5, scale=100),
        _milestones(milestones, curve.unit_s, x_axis, y_axis) if curve.unit_s else None,
        _line("wer", curve.wer, curve, x_axis, y_axis, percent),
        tag("circle", class_="best", cx=x, cy=y, r=6.5),
        _text(f"best {percent(best)}", x, label_y, anchor, "value"),
    )


def _loss_panel(curve: _Curve, _: Sequence[Row], x_axis: _Axis, top_px: float, bottom_px: float) -> Html:
    losses = [loss for _, loss in curve.loss]
    low, high = min(0.0, *losses), max(0.0, *losses)
    y_axis = _Axis(low, high + 0.06 * (high - low) or 1.0, bottom_px, top_px)
    return tag(
        "g",
        _text("training loss", x_axis.start_px, top_px - 8, "start", "name"),
        _horizontals(x_axis, y_axis, 3),
        _line("loss", curve.loss, curve, x_axis, y_axis, number),
    )


def _horizontals(x_axis: _Axis, y_axis: _Axis, num_wanted: int, scale: float = 1) -> list[Html]:
    drawn = []
    for tick in y_axis.ticks(num_wanted):
        y = y_axis(tick)
        drawn.append(tag("line", class_="grid", x1=x_axis.start_px, x2=x_axis.end_px, y1=y, y2=y))
        drawn.append(_text(number(round(tick * scale, 9)), x_axis.start_px - 7, y + 4, "end"))
    return drawn


def _line(
    kind: str, points: Points, curve: _Curve, x_axis: _Axis, y_axis: _Axis, show: Callable[[float], str]
) -> list[Html]:
    def place(x: float, y: float) -> tuple[float, float]:
        return x_axis(x), y_axis(min(y, y_axis.high))

    path = "M" + "L".join("{} {}".format(*place(x, y)) for x, y in _thinned(points))
    drawn = [tag("path", class_=f"line {kind}", d=path)]
    if len(points) <= 60:
        for x, y in points:
            cx, cy = place(x, y)
            value = tag("title", f"{show(y)} at {curve.at(x)}")
            drawn.append(tag("circle", value, class_=kind, cx=cx, cy=cy, r=3.5 if len(points) <= 25 else 2.5))
    return drawn


def _thinned(points: Points) -> Points:
    """At most MAX_CURVE_POINTS of the points: the lowest and highest of each stretch, so that no spike is lost."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    num_stretches = MAX_CURVE_POINTS // 2
    bounds = [index * len(points) // num_stretches for index in range(num_stretches + 1)]
    stretches = [points[start:end] for start, end in itertools.pairwise(bounds)]
    return [point for part in stretches for point in sorted({min(part, key=_height), max(part, key=_height)})]


def _target(wer: float) -> str:
    return f"{100 * wer:g}\u202f%"


def _milestones(rows: Sequence[Row], unit_s: float, x_axis: _Axis, wer_axis: _Axis) -> list[Html]:
    """Dashed lines at the targets, as long as their budgets, and a diamond where a target was reached."""
    drawn = []
    left, right = x_axis.start_px, x_axis.end_px
    label_x, line_y = left + 6, -math.inf
    for row in sorted(rows, key=lambda row: -row["target_wer"]):
        words, y = _STATES[row["state"]], wer_axis(row["target_wer"])
        budget_s, reached_s = known(row.get("budget_s")), known(row.get("achieved_at_s"))
        end = min(right, x_axis(budget_s / unit_s)) if budget_s is not None else right
        reached = x_axis(reached_s / unit_s) if reached_s is not None else math.inf
        # A label stands above its line; where that would cover the one before, beside it and on the line.
        is_crowded = y - line_y < 13
        label_x, label_y, line_y = (label_x + 56, y + 4, y) if is_crowded else (left + 6, y - 4, y)
        drawn.append(
            tag(
                "g",
                tag("title", f"target {_target(row['target_wer'])}: {words}"),
                tag("line", class_="milestone", x1=left, x2=end, y1=y, y2=y),
                tag("line", class_="budget", x1=end, x2=end, y1=y - 5, y2=y + 5) if end < right else None,
                tag("path", class_="met", d=f"M{reached} {y - 5}l5 5l-5 5l-5 -5z") if reached <= right else None,
                _text(f"{words[0]} {_target(row['target_wer'])}", label_x, label_y, "start"),
                class_=row["state"],
            )
        )
    return drawn


def _milestone_table(milestones: Sequence[Row]) -> Html:
    columns = [
        Column("Target", "target_wer", _target),
        Column("Budget", "budget_s", span),
        Column("State", "state", lambda state: tag("span", _STATES[state], class_=state), "text"),
        Column("Reached at", "achieved_at_s", span),
        Column("Dev WER", "achieved_wer", percent),
    ]
    return table(columns, milestones, "Milestones", caption="Milestones: the training time to a target dev WER")


def _evaluation_table(evaluated: Sequence[Row]) -> Html:
    shown = [{key: known(value) for key, value in row.items()} for row in evaluated[-MAX_CURVE_ROWS:]]
    columns = [
        Column("Step", "step", number),
        Column("Epoch", "epoch", number),
        Column("Training time", "train_s", span_like(row.get("train_s") for row in shown)),
        Column("Training loss", "train_loss", number),
        Column("Dev WER", "dev_wer", percent),
        Column("Dev CER", "dev_cer", percent),
        Column("Learning rate", "learning_rate", lambda rate: number(rate, 3)),
    ]
    cut = f", the last {len(shown):,}" if len(shown) < len(evaluated) else ""
    summary = tag("summary", f"{counted(len(evaluated), 'evaluation')} in numbers{cut}")
    return tag("details", summary, table(columns, shown, "Evaluations"))
