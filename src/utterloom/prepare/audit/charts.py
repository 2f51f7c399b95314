"""Histograms as SVG, drawn at the width of a phone, so that their letters are the size of letters everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from utterloom.pages.markup import Html, tag
from utterloom.prepare.quality import Histogram

WIDTH_PX, HEIGHT_PX = 340, 150
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 34, 332, 14, 126
LEAST_WIDTH = 1e-9  # of the values: closer together, and floats have no room for bins between them
LEAST_BAR_PX = 2.0  # one utterance among a million is still to be seen


def distribution(title: str, values: Sequence[float], num_bins: int = 40) -> Histogram:
    """Of numbers that nobody judges; beyond the middle 99 % they are in the first and the last bin."""
    found = np.asarray(values, dtype=float)
    first, last = np.percentile(found, (0.5, 99.5)) if len(found) else (0.0, 1.0)
    if last - first < LEAST_WIDTH * max(abs(first), abs(last)):
        last = first  # which numpy draws half a unit to either side
    counts, edges = np.histogram(np.clip(found, first, last), num_bins, (first, last))
    return Histogram(title, title, tuple(edges.tolist()), tuple(counts.tolist()), None, None, 0, 0, 0)


def is_worth_drawing(plot: Histogram) -> bool:
    return sum(count > 0 for count in plot.counts) > 1


def figure(plot: Histogram, title: str | None = None) -> Html:
    """A histogram with its limits as dashed lines; what is outside of them is red."""
    outside = [f"{count:,} {where} the limit" for count, where in ((plot.num_below, "below"), (plot.num_above, "above")) if count]
    judged = plot.low is not None or plot.high is not None
    caption = [plot.what, f": {', '.join(outside) or 'none beyond the limit'}" if judged else "",
               f", {plot.num_unknown:,} not known" if plot.num_unknown else ""]
    return tag("figure", tag("figcaption", tag("b", title or plot.reason), "".join(caption)), _svg(plot))


def _svg(plot: Histogram) -> Html:
    first, last = plot.edges[0], plot.edges[-1]
    most = max(plot.counts) or 1

    def x_of(value: float) -> float:
        return round(LEFT_PX + (value - first) / ((last - first) or 1) * (RIGHT_PX - LEFT_PX), 1)

    bars = []
    for left, right, count in zip(plot.edges, plot.edges[1:], plot.counts, strict=False):
        if count:
            height = round(max(LEAST_BAR_PX, count / most * (BOTTOM_PX - TOP_PX)), 1)
            middle = (left + right) / 2
            is_out = (plot.low is not None and middle < plot.low) or (plot.high is not None and middle > plot.high)
            bars.append(tag("rect", tag("title", f"{count:,} from {left:.4g} to {right:.4g}"), x=x_of(left), y=BOTTOM_PX - height,
                           width=round(max(1.0, x_of(right) - x_of(left) - 1), 1), height=height, class_="out" if is_out else None))
    marks = []
    for limit in (plot.low, plot.high):
        if limit is not None and first <= limit <= last:
            x = x_of(limit)
            anchor = "end" if x > RIGHT_PX - 30 else "start" if x < LEFT_PX + 30 else "middle"
            marks += [tag("line", class_="limit", x1=x, x2=x, y1=TOP_PX - 2, y2=BOTTOM_PX),
                      tag("text", f"{limit:g}", class_="limit", x=x, y=TOP_PX - 4, text_anchor=anchor)]
    axis = [tag("line", class_="axis", x1=LEFT_PX, x2=RIGHT_PX, y1=BOTTOM_PX, y2=BOTTOM_PX),
            tag("text", f"{most:,}", x=LEFT_PX - 5, y=TOP_PX + 8, text_anchor="end"),
            tag("text", "0", x=LEFT_PX - 5, y=BOTTOM_PX, text_anchor="end")]
    for tick in ticks(first, last, 5):
        axis.append(tag("text", f"{tick:g}", x=x_of(tick), y=BOTTOM_PX + 15, text_anchor="middle"))
    spoken = f"Histogram of {plot.what} from {first:.3g} to {last:.3g}; {plot.num_below} below the limits, {plot.num_above} above."
    return tag("svg", axis, bars, marks, viewBox=f"0 0 {WIDTH_PX} {HEIGHT_PX}", role="img", aria_label=spoken)


def ticks(first: float, last: float, num_wanted: int) -> list[float]:
    """Round numbers from `first` to `last`: multiples of 1, 2 or 5 times a power of ten."""
    if not last > first:
        return [first]
    rough = (last - first) / num_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [round(number * step, 12) + 0.0 for number in range(math.ceil(first / step - 1e-9), math.floor(last / step + 1e-9) + 1)]
