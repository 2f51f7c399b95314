"""Small pictures in one line of text: the level of a recording over time, a course of numbers, a distribution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

BLOCKS = "▁▂▃▄▅▆▇█"
SILENCE = " "  # digital silence: there is nothing to be drawn
FRAME_S = 0.005
RANGE_DB = 40.0  # from the loudest column down to the lowest block
CLIPPED = 0.999
MARK, TICK_COLUMNS = "╵", 9


@dataclass
class Levels:
    """What is left of samples when only their loudness is wanted: one mean square a frame, so that hours fit."""

    mean_squares_f: list[np.ndarray] = field(default_factory=list)
    peak: float = 0.0
    num_clipped: int = 0
    duration_s: float = 0.0
    sum_of_squares_s: float = 0.0  # times seconds: parts of different rates can be added

    def add(self, samples_s: np.ndarray, rate_hz: int) -> None:
        """Take in mono float32 samples [num_samples]."""
        if not len(samples_s):
            return
        magnitude = np.abs(samples_s)
        starts = np.arange(0, len(samples_s), max(1, round(rate_hz * FRAME_S)))
        sums = np.add.reduceat(magnitude.astype(np.float64) ** 2, starts)
        self.mean_squares_f.append(sums / np.diff(np.append(starts, len(samples_s))))
        self.peak = max(self.peak, float(magnitude.max()))
        self.num_clipped += int(np.count_nonzero(magnitude >= CLIPPED))
        self.duration_s += len(samples_s) / rate_hz
        self.sum_of_squares_s += float(sums.sum()) / rate_hz

    def numbers(self) -> dict[str, float | int | None]:
        """Peak and mean level in dB below full scale (None for digital silence), and how many samples are at the limit."""
        mean = math.sqrt(self.sum_of_squares_s / self.duration_s) if self.duration_s else 0.0
        return {"peak_db": _decibels(self.peak), "mean_db": _decibels(mean), "clipped_samples": self.num_clipped}

    def line(self, num_columns: int) -> str:
        """The level over time, relative to the loudest column."""
        frames = np.concatenate(self.mean_squares_f) if self.mean_squares_f else np.zeros(0)
        num_columns = min(num_columns, len(frames))
        if not num_columns:
            return ""
        starts = np.arange(num_columns) * len(frames) // num_columns
        columns = np.add.reduceat(frames, starts) / np.diff(np.append(starts, len(frames)))
        top = columns.max()
        return "".join(SILENCE if column == 0 else _block(1 + 10 * math.log10(column / top) / RANGE_DB) for column in columns)


def _decibels(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 1) if amplitude > 0 else None


def _block(share: float) -> str:
    return BLOCKS[min(len(BLOCKS) - 1, max(0, int(share * len(BLOCKS))))]


def time_axis(duration_s: float, num_columns: int) -> str:
    """Round times, each behind the mark of its place: `╵0       ╵0.5     ╵1 s`."""
    wanted = max(1, num_columns // TICK_COLUMNS)
    step_s = round_step_s(duration_s, wanted)
    line = ""
    for number in range(int(duration_s / step_s + 1e-9) + 1):
        column = round(number * step_s / duration_s * num_columns)
        label = f"{MARK}{_clock(number * step_s, duration_s)}"
        if column < len(line) or column + len(label) > num_columns:
            break
        line = f"{line:<{column}}{label}"
    return line + (" s" if duration_s < 120 else "")


def round_step_s(duration_s: float, most: int) -> float:
    """The shortest round step of which at most `most` fit into a duration."""
    return next((step for step in _round_steps(duration_s) if duration_s / step <= most), duration_s)


def _round_steps(duration_s: float) -> Iterable[float]:
    power = 10.0 ** math.floor(math.log10(duration_s / 1000))
    short = [factor * power * 10.0 ** decade for decade in range(5) for factor in (1, 2, 5)]
    return short if duration_s < 120 else (15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400)


def _clock(at_s: float, duration_s: float) -> str:
    if duration_s < 120:
        return f"{round(at_s, 6):g}"
    minutes, seconds = divmod(round(at_s), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if duration_s >= 3600 else f"{minutes}:{seconds:02d}"


def course(values: Sequence[float], num_columns: int) -> str:
    """A row of numbers from its lowest to its highest; more than fit are averaged in stretches."""
    finite = np.asarray([value for value in values if math.isfinite(value)])
    if not len(finite):
        return ""
    num_columns = min(num_columns, len(finite))
    starts = np.arange(num_columns) * len(finite) // num_columns
    means = np.add.reduceat(finite, starts) / np.diff(np.append(starts, len(finite)))
    low, high = means.min(), means.max()
    return "".join(_block((mean - low) / (high - low) if high > low else 0.0) for mean in means)


def distribution(values: np.ndarray, num_columns: int) -> str:
    """How many of the values lie where between the smallest and the largest; an empty stretch is blank."""
    counts, _ = np.histogram(values, bins=num_columns)
    return "".join(SILENCE if count == 0 else _block(count / counts.max()) for count in counts)
