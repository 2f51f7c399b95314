"""One HTML file that shows how good a model is, how it became so, and what its errors sound like.

The file needs no network and no other file: styles, script, chart and recordings are in it. What comes from a corpus is
escaped by `_tag`, which makes all markup here, and by `_embedded_json`.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from numbers import Real
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple

import numpy as np

import utterloom
from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.errors import UtterloomError
from utterloom.metrics.error_rates import Edit, ErrorCounts, align, words_of

MAX_UTTERANCES = 2000
MAX_CONFUSIONS = 15
MAX_CURVE_POINTS = 600
MAX_CURVE_ROWS = 200
MAX_LISTED_IDS = 100

Row = Mapping[str, Any]


def render_report(
    report: Row,
    out: Path,
    *,
    title: str,
    curve: list[dict[str, Any]] | None,
    milestones: list[dict[str, Any]] | None,
    dropped: list[dict[str, Any]] | None,
    utterances: list[dict[str, Any]],
    audio: Callable[[str], bytes | None],
    max_audio_bytes: int = 12_000_000,
) -> None:
    """Writes `report` (see `metrics.scoring.score`) as the self-contained page `out`, whole or not at all.

    curve       rows {step, epoch, train_s, train_loss, dev_wer, dev_cer, learning_rate}, any value may be None
    milestones  rows {target_wer, budget_s, state: pending|achieved|achieved_late|missed, achieved_at_s, achieved_wer}
    dropped     rows {stage, reason, utterances, seconds}
    utterances  rows {id, ref, hyp, speaker, duration_s}; the page holds the 2000 with the most word errors
    audio       the FLAC bytes of an utterance, or None; asked only for the worst utterances, and embedded as long as
                their sum stays within `max_audio_bytes` (base64 makes the file larger by a third of that)

    None for `curve`, `milestones` or `dropped` leaves the section out. Of the provenance, `split` is named in the
    headline, `transcribe_s` (wall seconds) gives the speed, and `language` the language of the texts.
    Raises OutputError where `out` cannot be written.
    """
    provenance = report.get("provenance") or {}
    language = str(provenance.get("language") or "") or None
    sections = [
        ("curve", "Learning curve", _learning(curve, milestones)),
        ("errors", "Errors by kind", _errors_by_kind(report)),
        ("speakers", "Speakers and groups", _speakers_and_groups(report)),
        ("confusions", "Frequent errors", _confusions(report)),
        ("worst", "Worst utterances", _worst(report, utterances, audio, max_audio_bytes, language)),
        ("all", "All utterances", _all(utterances, language)),
        ("dropped", "Dropped", _dropped(dropped)),
        ("provenance", "Provenance", _provenance(report)),
    ]
    sections = [section for section in sections if section[2]]
    page = Template(_packaged("report.html")).substitute(
        title=_escaped(title),
        version=_escaped(utterloom.__version__),
        css=_packaged("report.css"),
        js=_packaged("report.js"),
        sentence=_sentence(report),
        notices=_escaped(_notices(report)),
        cards=_cards(report),
        links=_escaped([_tag("a", name, href=f"#{id}") for id, name, _ in sections]),
        sections=_escaped(
            [_tag("section", _tag("h2", name, id=f"{id}-name"), body, id=id, aria_labelledby=f"{id}-name")
             for id, name, body in sections]
        ),
        data=_embedded_json(_aligned_rows(utterances)),
    )
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", errors="replace"))  # half a surrogate pair becomes "?"


# --- markup ---------------------------------------------------------------------------------------------------------


class Html(str):
    """Markup, escaped already."""

    __slots__ = ()


def _escaped(content: object) -> Html:
    """Text becomes markup that shows it; lists are joined, None is nothing."""
    if isinstance(content, Html):
        return content
    if isinstance(content, list):
        return Html("".join(map(_escaped, content)))
    return Html("" if content is None else html.escape(str(content)))


def _tag(name: str, *children: object, **attributes: object) -> Html:
    """`<name …>children</name>`. In attribute names `_` stands for `-`; an attribute that is None is left out."""
    pairs = ((key.strip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = "".join(f' {key}="{_escaped(str(value))}"' for key, value in pairs)
    if name == "input":  # the one element here that HTML forbids to close
        return Html(f"<input{opening}>")
    end = "\n" if name in ("section", "table", "tr", "div", "p", "li", "a", "svg", "g", "path") else ""
    return Html(f"<{name}{opening}>{_escaped(list(children))}</{name}>{end}")


def _note(text: str) -> Html:
    return _tag("p", text, class_="note")


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _embedded_json(value: object) -> Html:
    """JSON that no transcript can end early: a script element knows no escapes but those of JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


# --- numbers in print -----------------------------------------------------------------------------------------------


def _known(value: object) -> float | None:
    """A finite number, or None: a diverged loss has no place on an axis."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def _percent(rate: float | None, sign: str = "\u202f%") -> str:
    return "–" if rate is None else f"{100 * rate:.{2 if 0 < rate < 0.001 else 1}f}{sign}"


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    is_whole = float(value).is_integer() or abs(value) >= 10 ** (digits - 1)  # never 1.2e+04
    return f"{value:,.0f}" if is_whole else f"{value:.{digits}g}"


def _span(seconds: float | None, longest_s: float | None = None) -> str:
    """A length of time in the unit that suits it, or that suits the longest of its column."""
    if seconds is None:
        return "–"
    longest_s = seconds if longest_s is None else longest_s
    if longest_s < 60:
        return f"{seconds:.1f}\u202fs"
    unit, unit_s = ("min", 60) if longest_s < 7200 else ("h", 3600)
    return f"{seconds / unit_s:,.{2 if longest_s < 10 * unit_s else 1}f}\u202f{unit}"


def _span_like(seconds: Iterable[float | None]) -> Callable[[float | None], str]:
    """Shows all of a column in one unit."""
    longest_s = max((value for value in seconds if value is not None), default=0)
    return lambda value: _span(value, longest_s)


def _hours(hours: float | None) -> str:
    """An amount of speech: hours, as corpora are measured, down to six minutes."""
    if hours is None or hours < 0.1:
        return _span(None if hours is None else hours * 3600)
    return f"{hours:,.{2 if hours < 10 else 1}f}\u202fh"


def _counted(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _interval(report: Row, key: str) -> str:
    """Such as `95 % interval 3.1–5.4`, or nothing where there is none."""
    if not report.get(key):
        return ""
    level = 100 * (report.get("interval") or {}).get("level", 0.95)
    low, high = report[key]
    return f"{level:g}\u202f% interval {_percent(low, '')}–{_percent(high, '')}"


# --- tables ---------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A column of a table: which value of a row, how it is shown, and as what."""

    head: str
    key: str
    show: Callable[[Any], object] = str
    kind: Literal["text", "number", "bars"] = "number"


def _table(
    columns: Sequence[_Column],
    rows: Sequence[Row],
    label: str,
    *,
    caption: str | None = None,
    wide: bool = False,
    sortable: bool = False,
    total: Row | None = None,
) -> Html:
    """A table whose first column names its rows; it scrolls where it is large. The script sorts `sortable` ones."""

    def cell(row: Row, index: int, column: _Column) -> Html:
        value = row.get(column.key)
        sort_key = ("" if value is None else value) if sortable else None
        if index == 0:
            return _tag("th", column.show(value), scope="row", dir="auto", data_value=sort_key)
        if column.kind == "bars":
            return _tag("td", None if value is None else column.show(value), class_="bars")
        return _tag("td", column.show(value), class_=column.kind, data_value=sort_key)

    heads = [
        _tag("td") if column.kind == "bars" else _tag("th", column.head, scope="col", class_=column.kind)
        for column in columns
    ]
    body = [_tag("tr", [cell(row, *item) for item in enumerate(columns)]) for row in rows]
    foot = _tag("tr", [cell(total, *item) for item in enumerate(columns)], class_="total") if total else None
    table = _tag(
        "table",
        _tag("caption", caption) if caption else None,
        _tag("thead", _tag("tr", heads)) if any(column.head for column in columns) else None,
        _tag("tbody", body),
        _tag("tfoot", foot) if foot else None,
        class_=" ".join(["wide"] * wide + ["sortable"] * sortable) or None,
    )
    return _tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _bar(share: float, kind: str = "") -> Html:
    """A bar of that share of its cell; the number stands beside it, so that it may be silent."""
    width = round(100 * min(max(share, 0), 1), 2)
    return _tag(
        "svg",
        _tag("rect", width=width, height=10),
        class_=f"bar {kind}".strip(),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


# --- headline -------------------------------------------------------------------------------------------------------


def _sentence(report: Row) -> Html:
    split = (report.get("provenance") or {}).get("split")
    amount = _counted(report["utterances"], "utterance")
    amount += f", {_hours(report['hours'])}" if report.get("hours") is not None else ""
    amount += f" of split {split}" if split else ""
    if report["wer"] is None:
        return _escaped([_tag("strong", "No WER"), f": the references hold no words ({amount})."])
    interval = _interval(report, "wer_interval")
    bracket = f" ({interval})" if interval else ""
    return _escaped([_tag("strong", f"WER {_percent(report['wer'])}"), f"{bracket} on {amount}."])


def _notices(report: Row) -> Html | None:
    notices = []
    for ids, noun, plural, then in (
        (report["missing"], "reference", "references", "without a hypothesis, counted as deletions"),
        (report["extra"], "hypothesis", "hypotheses", "without a reference, not scored"),
    ):
        if ids:
            listed = [_escaped([_tag("code", id), " "]) for id in ids[:MAX_LISTED_IDS]]
            more = f"… and {len(ids) - MAX_LISTED_IDS:,} more" if len(ids) > MAX_LISTED_IDS else None
            summary = _tag("summary", f"{_counted(len(ids), noun, plural)} {then}")
            notices.append(_tag("details", summary, listed, more))
    if empty := report["empty_references"]:
        text = f"{_counted(empty, 'empty reference')}: words heard there count as insertions"
        notices.append(_tag("p", text))
    return _tag("div", notices, class_="notices") if notices else None


def _cards(report: Row) -> Html:
    utterances, wrong = report["utterances"], report["utterances_with_errors"]
    cards = [
        ("Word error rate", _percent(report["wer"]), [_interval(report, "wer_interval")]),
        (
            "Character error rate",
            _percent(report["cer"]),
            [_interval(report, "cer_interval"), f"{_percent(report['cer_no_spaces'])} without spaces"],
        ),
        (
            "Utterances",
            f"{utterances:,}",
            [f"{wrong:,} with errors ({_percent(wrong / utterances)})" if utterances else ""],
        ),
        (
            "Speech",
            _hours(report.get("hours")),
            [_counted(report["words"]["reference_length"], "reference word")],
        ),
    ]
    transcribe_s = _known((report.get("provenance") or {}).get("transcribe_s"))
    if transcribe_s and report.get("hours"):
        speed = _number(report["hours"] * 3600 / transcribe_s, 3)
        cards.append(("Speed", f"{speed}\u202f×", ["real time", f"transcribed in {_span(transcribe_s)}"]))
    return _tag(
        "dl",
        [
            _tag(
                "div",
                _tag("dt", name),
                _tag("dd", figure, class_="figure"),
                [_tag("dd", aside, class_="aside") for aside in asides if aside],
            )
            for name, figure, asides in cards
        ],
        class_="cards",
    )


# --- learning curve -------------------------------------------------------------------------------------------------

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
        by_time = all(_known(row.get("train_s")) is not None for row in rows)
        x_key = "train_s" if by_time else "step"
        placed = [(x, row) for row in rows if (x := _known(row.get(x_key))) is not None]
        placed.sort(key=lambda item: item[0])
        if not placed:
            return None
        unit, unit_s = "step", None
        if by_time:
            last_s = placed[-1][0]
            unit, unit_s = ("h", 3600.0) if last_s > 10_800 else ("min", 60.0) if last_s > 120 else ("s", 1.0)

        def points(key: str) -> Points:
            return [(x / (unit_s or 1), y) for x, row in placed if (y := _known(row.get(key))) is not None]

        curve = cls(unit, unit_s, points("dev_wer"), points("train_loss"), points("step"))
        return curve if curve.wer or curve.loss else None

    def at(self, x: float) -> str:
        return f"{_number(x, 3)}\u202f{self.unit}" if self.unit_s else f"step {_number(x)}"


def _learning(curve: Sequence[Row] | None, milestones: Sequence[Row] | None) -> Html | None:
    if curve is None and not milestones:
        return None
    drawn = _Curve.of(curve or [])
    evaluated = [row for row in curve or [] if _known(row.get("dev_wer")) is not None]
    if drawn:  # twice, because text that is scaled with the drawing cannot be read on a phone
        sizes = ((980, "wide"), (360, "narrow"))
        charts = [_chart(drawn, milestones or [], width_px, name) for width_px, name in sizes]
    else:
        charts = [_note("No point of a learning curve was recorded.")]
    return _escaped(
        [
            _tag("figure", charts),
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
            panels += [_tag("line", class_="grid", x1=x, x2=x, y1=top_px, y2=y_px)
                       for x in map(x_axis, x_axis.ticks(num_ticks))]
            panels.append(draw(curve, milestones, x_axis, top_px, y_px))
            y_px += 16
    labels_px = y_px + 2
    return _tag(
        "svg",
        steps,
        panels,
        _text(curve.unit, left_px - 7, labels_px, "end"),
        [_text(_number(tick), x_axis(tick), labels_px) for tick in x_axis.ticks(num_ticks)],
        class_=f"chart {name}",
        viewBox=f"0 0 {width_px} {labels_px + 6}",
        role="img",
        aria_label=_spoken(curve),
    )


def _text(text: str, x: float, y: float, anchor: str = "middle", class_: str | None = None) -> Html:
    return _tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def _spoken(curve: _Curve) -> str:
    """The chart in a sentence, for those who do not see it."""
    parts = []
    for name, points, show in (("dev WER", curve.wer, _percent), ("training loss", curve.loss, _number)):
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
        ticks += [_text(_number(step), x, 14), _tag("line", class_="axis", x1=x, x2=x, y1=19, y2=24)]
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
    return _tag(
        "g",
        _text(f"dev WER, %{' (points at the top edge are above it)' if is_cut else ''}", x_axis.start_px, top_px - 8,
              "start", "name"),
        _horizontals(x_axis, y_axis, 5, scale=100),
        _milestones(milestones, curve.unit_s, x_axis, y_axis) if curve.unit_s else None,
        _line("wer", curve.wer, curve, x_axis, y_axis, _percent),
        _tag("circle", class_="best", cx=x, cy=y, r=6.5),
        _text(f"best {_percent(best)}", x, label_y, anchor, "value"),
    )


def _loss_panel(curve: _Curve, _: Sequence[Row], x_axis: _Axis, top_px: float, bottom_px: float) -> Html:
    losses = [loss for _, loss in curve.loss]
    low, high = min(0.0, *losses), max(0.0, *losses)
    y_axis = _Axis(low, high + 0.06 * (high - low) or 1.0, bottom_px, top_px)
    return _tag(
        "g",
        _text("training loss", x_axis.start_px, top_px - 8, "start", "name"),
        _horizontals(x_axis, y_axis, 3),
        _line("loss", curve.loss, curve, x_axis, y_axis, _number),
    )


def _horizontals(x_axis: _Axis, y_axis: _Axis, num_wanted: int, scale: float = 1) -> list[Html]:
    drawn = []
    for tick in y_axis.ticks(num_wanted):
        y = y_axis(tick)
        drawn.append(_tag("line", class_="grid", x1=x_axis.start_px, x2=x_axis.end_px, y1=y, y2=y))
        drawn.append(_text(_number(round(tick * scale, 9)), x_axis.start_px - 7, y + 4, "end"))
    return drawn


def _line(
    kind: str, points: Points, curve: _Curve, x_axis: _Axis, y_axis: _Axis, show: Callable[[float], str]
) -> list[Html]:
    def place(x: float, y: float) -> tuple[float, float]:
        return x_axis(x), y_axis(min(y, y_axis.high))

    path = "M" + "L".join("{} {}".format(*place(x, y)) for x, y in _thinned(points))
    drawn = [_tag("path", class_=f"line {kind}", d=path)]
    if len(points) <= 60:
        for x, y in points:
            cx, cy = place(x, y)
            value = _tag("title", f"{show(y)} at {curve.at(x)}")
            drawn.append(_tag("circle", value, class_=kind, cx=cx, cy=cy, r=3.5 if len(points) <= 25 else 2.5))
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
        budget_s, reached_s = _known(row.get("budget_s")), _known(row.get("achieved_at_s"))
        end = min(right, x_axis(budget_s / unit_s)) if budget_s is not None else right
        reached = x_axis(reached_s / unit_s) if reached_s is not None else math.inf
        # A label stands above its line; where that would cover the one before, beside it and on the line.
        is_crowded = y - line_y < 13
        label_x, label_y, line_y = (label_x + 56, y + 4, y) if is_crowded else (left + 6, y - 4, y)
        drawn.append(
            _tag(
                "g",
                _tag("title", f"target {_target(row['target_wer'])}: {words}"),
                _tag("line", class_="milestone", x1=left, x2=end, y1=y, y2=y),
                _tag("line", class_="budget", x1=end, x2=end, y1=y - 5, y2=y + 5) if end < right else None,
                _tag("path", class_="met", d=f"M{reached} {y - 5}l5 5l-5 5l-5 -5z") if reached <= right else None,
                _text(f"{words[0]} {_target(row['target_wer'])}", label_x, label_y, "start"),
                class_=row["state"],
            )
        )
    return drawn


def _milestone_table(milestones: Sequence[Row]) -> Html:
    columns = [
        _Column("Target", "target_wer", _target),
        _Column("Budget", "budget_s", _span),
        _Column("State", "state", lambda state: _tag("span", _STATES[state], class_=state), "text"),
        _Column("Reached at", "achieved_at_s", _span),
        _Column("Dev WER", "achieved_wer", _percent),
    ]
    return _table(columns, milestones, "Milestones", caption="Milestones: the training time to a target dev WER")


def _evaluation_table(evaluated: Sequence[Row]) -> Html:
    shown = [{key: _known(value) for key, value in row.items()} for row in evaluated[-MAX_CURVE_ROWS:]]
    columns = [
        _Column("Step", "step", _number),
        _Column("Epoch", "epoch", _number),
        _Column("Training time", "train_s", _span_like(row.get("train_s") for row in shown)),
        _Column("Training loss", "train_loss", _number),
        _Column("Dev WER", "dev_wer", _percent),
        _Column("Dev CER", "dev_cer", _percent),
        _Column("Learning rate", "learning_rate", lambda rate: _number(rate, 3)),
    ]
    cut = f", the last {len(shown):,}" if len(shown) < len(evaluated) else ""
    summary = _tag("summary", f"{_counted(len(evaluated), 'evaluation')} in numbers{cut}")
    return _tag("details", summary, _table(columns, shown, "Evaluations"))


# --- errors ---------------------------------------------------------------------------------------------------------

_KINDS = ("substitutions", "deletions", "insertions")


def _errors_by_kind(report: Row) -> Html:
    def row(name: str, *keys: str) -> Row:
        values: dict[str, Any] = {"kind": name}
        for unit in ("words", "characters"):
            values[unit] = sum(report[unit][key] for key in keys)
            length = report[unit]["reference_length"]
            values[f"{unit}_rate"] = values[unit] / length if length else None
        return values

    most = max(report["words"][key] for key in _KINDS) or 1
    rows = [{**row(key.capitalize(), key), "bar": _bar(report["words"][key] / most, key[:3])} for key in _KINDS]
    columns = [
        _Column("Kind", "kind", str, "text"),
        _Column("", "bar", _escaped, "bars"),
        _Column("Words", "words", "{:,}".format),
        _Column("share", "words_rate", _percent),
        _Column("Characters", "characters", "{:,}".format),
        _Column("share", "characters_rate", _percent),
    ]
    caption = (
        f"Shares are of the {_counted(report['words']['reference_length'], 'word')} and "
        f"{_counted(report['characters']['reference_length'], 'character')} (with spaces) of the references."
    )
    return _table(columns, rows, "Errors by kind", caption=caption, wide=True, total=row("All errors", *_KINDS))


def _speakers_and_groups(report: Row) -> Html | None:
    tables = []
    for key, rows in [("Speaker", report["per_speaker"]), *report["per_group"].items()]:
        if all(row["name"] is None for row in rows):  # not known for anyone: no table
            continue
        rows = [{**row, "seconds": None if row["hours"] is None else row["hours"] * 3600} for row in rows]
        worst = max(row["wer"] or 0 for row in rows) or 1
        columns = [
            _Column(key, "name", lambda name: "not known" if name is None else name, "text"),
            _Column("Utterances", "utterances", "{:,}".format),
            _Column("Speech", "seconds", _span_like(row["seconds"] for row in rows)),
            _Column("WER", "wer", _percent),
            _Column("", "wer", lambda wer, worst=worst: _bar(wer / worst), "bars"),
            _Column("CER", "cer", _percent),
            _Column("Sub", "substitutions", "{:,}".format),
            _Column("Del", "deletions", "{:,}".format),
            _Column("Ins", "insertions", "{:,}".format),
        ]
        tables.append(_table(columns, rows, f"By {key.lower()}", wide=True, sortable=True))
    return _escaped(tables) if tables else None


def _confusions(report: Row) -> Html | None:
    captions = {"substitutions": "said → read as", "deletions": "said, not read", "insertions": "read, not said"}
    tables = []
    for key in _KINDS:
        rows = report["confusions"][key][:MAX_CONFUSIONS]
        if rows:
            most = rows[0]["count"]
            shown = [
                {
                    "words": [_tag("bdi", row[side]) for side in ("ref", "hyp") if side in row],
                    "count": row["count"],
                    "bar": _bar(row["count"] / most, key[:3]),
                }
                for row in rows
            ]
            for row in shown:
                row["words"] = _escaped(row["words"][:1] + [_escaped([" → ", word]) for word in row["words"][1:]])
            columns = [
                _Column("", "words", _escaped, "text"),
                _Column("", "bar", _escaped, "bars"),
                _Column("", "count", "{:,}".format),
            ]
            caption = f"{key.capitalize()}: {captions[key]}"
            tables.append(_table(columns, shown, f"Frequent {key}", caption=caption, wide=True))
    return _tag("div", tables, class_="side-by-side") if tables else None


# --- utterances -----------------------------------------------------------------------------------------------------

_LEGEND = _tag(
    "p",
    _tag("span", "Upper line: reference. Lower line: hypothesis."),
    _tag("span", _tag("b", "S", class_="sub"), " substitution, dotted"),
    _tag("span", _tag("b", "D", class_="del"), " deletion, struck through"),
    _tag("span", _tag("b", "I", class_="ins"), " insertion, underlined"),
    class_="legend",
)


def _worst(
    report: Row,
    utterances: Sequence[Row],
    audio: Callable[[str], bytes | None],
    max_audio_bytes: int,
    language: str | None,
) -> Html | None:
    worst = report["worst"]
    if not worst:
        return None
    about = {row["id"]: row for row in utterances}
    num_audible, total_bytes = 0, 0
    items = []
    for row in worst:
        player = None
        try:
            flac = audio(row["id"])
        except UtterloomError as error:  # one damaged clip must not cost the page
            flac, player = None, _tag("span", f"no sound: {error.message}", class_="missed")
        if flac is not None and total_bytes + len(flac) <= max_audio_bytes:
            num_audible, total_bytes = num_audible + 1, total_bytes + len(flac)
            source = f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"
            label = f"Recording of {row['id']}"
            player = _tag("audio", controls="", preload="metadata", aria_label=label, src=source)
        items.append(_utterance(row, about.get(row["id"], {}), player, language))
    sound = (
        f"{num_audible} of {len(worst)} carry their sound ({total_bytes / 1e6:.1f} MB)"
        if num_audible
        else "none carries its sound"
    )
    return _escaped(
        [
            _note(f"The {_counted(len(worst), 'utterance')} with the most word errors; {sound}."),
            _LEGEND,
            _tag("ol", items, class_="utterances"),
        ]
    )


def _utterance(row: Row, about: Row, player: Html | None, language: str | None) -> Html:
    ref, hyp, duration_s = row["ref"], row["hyp"], _known(about.get("duration_s"))
    facts = [
        _tag("b", f"WER {_percent(row['wer'])}"),
        _tag("span", _counted(row["errors"], "error")),
        _tag("code", row["id"]),
        _tag("span", about["speaker"], dir="auto") if about.get("speaker") is not None else None,
        _tag("span", f"{duration_s:.1f}\u202fs") if duration_s is not None else None,
        _tag("span", "no hypothesis", class_="missed") if hyp is None else None,
        player,
    ]
    pairs = [_pair(edit) for edit in align(words_of(ref), words_of(hyp or ""))]
    return _tag(
        "li",
        _tag("div", facts, class_="facts"),
        _tag("p", f"Reference: {ref}. Hypothesis: {hyp or ''}.", class_="spoken", lang=language),
        _tag("div", pairs, class_="aligned", dir="auto", lang=language, aria_hidden="true"),
    )


def _pair(edit: Edit) -> Html:
    kind = {"equal": "pair", "substitute": "pair sub", "delete": "pair del", "insert": "pair ins"}[edit.op]
    return _tag("span", _tag("span", edit.ref), _tag("span", edit.hyp), class_=kind)


def _all(utterances: Sequence[Row], language: str | None) -> Html | None:
    """The place where report.js lists and filters the embedded rows."""
    if not utterances:
        return None
    order = "Those with the most word errors come first."
    if len(utterances) > MAX_UTTERANCES:
        order = f"The {MAX_UTTERANCES:,} with the most word errors, of {len(utterances):,} utterances."
    box = _tag("input", type="search", placeholder="words, id or speaker")
    controls = [
        _tag("label", "Filter ", box),
        _tag("label", _tag("input", type="checkbox"), " with errors only"),
        _tag("output", aria_live="polite"),
    ]
    return _escaped(
        [
            _note(order),
            _tag("noscript", _note("This list needs JavaScript.")),
            _tag("div", controls, class_="controls", hidden=""),
            _tag("ol", class_="utterances", lang=language),
            _tag("button", "Show more", type="button", id="more", hidden=""),
        ]
    )


def _aligned_rows(utterances: Sequence[Row]) -> list[dict[str, Any]]:
    """Utterances for report.js, most word errors first; `edits` are runs of equal words, and [ref, hyp] pairs."""
    aligned = [(row, align(words_of(row["ref"]), words_of(row["hyp"] or ""))) for row in utterances]
    counted = [(ErrorCounts.of(edits), row, edits) for row, edits in aligned]
    counted.sort(key=lambda item: (-item[0].errors, item[0].reference_length, item[1]["id"]))  # as score() does
    return [
        {
            "id": row["id"],
            "speaker": row.get("speaker"),
            "duration_s": _known(row.get("duration_s")),
            "missing": row["hyp"] is None,
            "errors": counts.errors,
            "words": counts.reference_length,
            "edits": _runs(edits),
        }
        for counts, row, edits in counted[:MAX_UTTERANCES]
    ]


def _runs(edits: Sequence[Edit]) -> list[str | list[str | None]]:
    runs: list[str | list[str | None]] = []
    for edit in edits:
        if edit.op != "equal":
            runs.append([edit.ref, edit.hyp])
        elif runs and isinstance(runs[-1], str):
            runs[-1] += f" {edit.ref}"
        else:
            runs.append(str(edit.ref))
    return runs


# --- where it comes from --------------------------------------------------------------------------------------------


def _dropped(dropped: Sequence[Row] | None) -> Html | None:
    if dropped is None:
        return None
    if not dropped:
        return _note("Nothing: every utterance that came in was used.")
    seconds = [_known(row["seconds"]) for row in dropped]
    columns = [
        _Column("Stage", "stage", str, "text"),
        _Column("Reason", "reason", str, "text"),
        _Column("Utterances", "utterances", "{:,}".format),
        _Column("Speech", "seconds", _span_like(seconds)),
    ]
    total = {
        "stage": "Together",
        "reason": "",
        "utterances": sum(row["utterances"] for row in dropped),
        "seconds": None if None in seconds else math.fsum(seconds),
    }
    return _table(columns, dropped, "Dropped", sortable=True, total=total)


def _provenance(report: Row) -> Html:
    known = {key: report[key] for key in ("normaliser", "interval") if key in report}
    rows = [{"key": key, "value": value} for key, value in _flattened({**known, **(report.get("provenance") or {})})]
    columns = [_Column("", "key", str, "text"), _Column("", "value", str, "text")]
    return _tag("div", _table(columns, rows, "Provenance", wide=True), class_="provenance")


def _flattened(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted keys, in their order; a list of scalars stays one value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flattened(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        for index, inner in enumerate(value):
            yield from _flattened(inner, f"{key}[{index}]")
    elif isinstance(value, list | tuple):
        yield key, ", ".join(map(_plain, value)) or "none"
    else:
        yield key, _plain(value)


def _plain(value: object) -> str:
    if value is None or value == {}:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
