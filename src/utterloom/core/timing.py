"""Seconds, samples and frames: the only conversions, all to integers, all on half-open intervals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from utterloom.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST = 1e12
MOST_POOLED = 1 << 22  # numbers at a time, 32 MB of float64


def seconds_to_samples(seconds: float, rate_hz: int) -> int:
    """The sample at which `seconds` falls, to the nearest: exact decimals, so that 1853.82 s stays where it was (E-P20)."""
    exact = Fraction(repr(float(seconds))) * rate_hz
    return math.floor(exact + Fraction(1, 2))


def samples_to_seconds(samples: int, rate_hz: int) -> float:
    return samples / rate_hz


@dataclass(frozen=True)
class FrameGrid:
    """A clock that ticks every `hop_samples` of `sample_rate_hz`: frame k lasts [k, k + 1) hops, whatever rate audio is stored at.

    A frame belongs to the span of time that holds its centre. So neighbouring spans share no frame and lose none, and spans that
    partition time partition frames (D-P4, D-P19, K14). Every conversion is in whole numbers, and exact.
    """

    sample_rate_hz: int
    hop_samples: int

    def __post_init__(self) -> None:
        if min(self.sample_rate_hz, self.hop_samples) < 1:
            raise ValueError(f"frames of {self.hop_samples} samples at {self.sample_rate_hz} Hz: both must be 1 or more")

    @property
    def rate(self) -> Fraction:
        """Frames a second: 25/2 for 24,000 Hz and 1,920 samples."""
        return Fraction(self.sample_rate_hz, self.hop_samples)

    @property
    def rate_hz(self) -> float:
        return float(self.rate)

    @property
    def frame_s(self) -> float:
        """How long a frame is."""
        return self.hop_samples / self.sample_rate_hz

    def frame_span_s(self, frame: int) -> tuple[float, float]:
        """When frame `frame` begins and ends."""
        return frame * self.hop_samples / self.sample_rate_hz, (frame + 1) * self.hop_samples / self.sample_rate_hz

    def frame_at(self, sample: int, rate_hz: int) -> int:
        """The first frame whose centre is not before `sample`, counted at `rate_hz` Hz: where a span that begins there begins in
        frames, and one that stops there stops."""
        # ceil(sample / rate_hz * rate - 1/2)
        hops, unit = sample * self.sample_rate_hz, rate_hz * self.hop_samples
        return max(0, -((unit - 2 * hops) // (2 * unit)))

    def frame_span(self, start_sample: int, stop_sample: int, rate_hz: int) -> tuple[int, int]:
        """Samples [start, stop) at `rate_hz` Hz → frames [first, last + 1); empty where no frame has its centre in it.

        Raises ValueError where the span ends before it starts or starts before the recording."""
        if not 0 <= start_sample <= stop_sample:
            raise ValueError(f"[{start_sample}, {stop_sample}) is no span of samples")
        return self.frame_at(start_sample, rate_hz), self.frame_at(stop_sample, rate_hz)

    def frame_span_of_s(self, start_s: float, stop_s: float) -> tuple[int, int]:
        """Seconds [start, stop), taken as the decimals that they are written as → frames. Raises ValueError as `frame_span`."""
        start, stop = Fraction(repr(float(start_s))), Fraction(repr(float(stop_s)))
        unit = math.lcm(start.denominator, stop.denominator)
        return self.frame_span(int(start * unit), int(stop * unit), unit)

    def num_frames(self, num_samples: int, rate_hz: int) -> int:
        """How many frames have their centre in a recording of `num_samples` at `rate_hz` Hz; a model's own count may differ by its
        edges, and what a model made is counted by its length function."""
        return self.frame_at(num_samples, rate_hz)


def pool(values: np.ndarray, source: FrameGrid, target: FrameGrid, num_target_frames: int,
         beyond: Literal["nan", "error"] = "nan") -> np.ndarray:
    """Frames of one grid → frames of another: each is the mean of those that it overlaps, weighted by how long (A13).

    `values` [source frames, dim], any float type; a row that is all NaN is a gap and weighs nothing. Returns float32
    [num_target_frames, dim], summed in float64. A target frame that overlaps no source frame is all NaN, never zero (A-P9).

    Raises ValueError for values that are not finite elsewhere, and with `beyond="error"` for target frames after the source's end.
    """
    import numpy as np

    num_frames, dim = values.shape
    # Both hops in ticks of one clock, so that borders are whole numbers.
    source_hop, target_hop = 1 / source.rate, 1 / target.rate
    ticks = math.lcm(source_hop.denominator, target_hop.denominator)
    step, wanted = int(source_hop * ticks), int(target_hop * ticks)
    if beyond == "error" and (num_target_frames - 1) * wanted >= num_frames * step:
        raise ValueError(f"{num_target_frames} frames of {target.frame_s:g} s go on after {num_frames} of {source.frame_s:g} s end")
    pooled = np.full((num_target_frames, dim), np.nan, np.float32)
    if num_frames == 0 or dim == 0:
        return pooled
    is_gap = np.isnan(values).all(axis=1)
    borders = np.minimum(np.arange(num_target_frames + 1) * wanted, num_frames * step)
    weights = _between((~is_gap).astype(np.float64)[:, None], borders, step)
    has_any = weights[:, 0] > 0
    columns = max(1, MOST_POOLED // num_frames)
    for first in range(0, dim, columns):  # a few dimensions at a time: float64 of all of them is what fills memory
        part = np.where(is_gap[:, None], 0, values[:, first:first + columns]).astype(np.float64)
        if not np.isfinite(part).all():
            raise ValueError("some of the values to pool are not finite")
        pooled[has_any, first:first + columns] = _between(part, borders, step)[has_any] / weights[has_any]
    return pooled


def _between(values: np.ndarray, borders: np.ndarray, step: int) -> np.ndarray:
    """The integral of [frames, dim], each frame `step` ticks long, between neighbouring `borders` (ticks, rising, none outside)."""
    import numpy as np

    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    frames, rest = borders // step, borders % step
    return np.diff(sums[frames] * step + values[np.minimum(frames, len(values) - 1)] * rest[:, None], axis=0)


def format_duration(seconds: float) -> str:
    """For people: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(frozen=True)
class Budget:
    """How long a training may be: exactly one of the three. Written `25m`, `3000 steps` or `40 epochs`."""

    seconds: float | None = None
    steps: int | None = None
    epochs: int | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", str(text).lower())
        if match:
            amount, unit = float(match[1]), match[2]
            short = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m",
                     "minutes": "m", "hour": "h", "hours": "h", "day": "d", "days": "d"}.get(unit, unit)
            if 0 < amount < LONGEST and short in UNITS_S:
                return cls(seconds=amount * UNITS_S[short])
            if 1 <= amount < LONGEST and amount == int(amount) and unit in ("step", "steps"):
                return cls(steps=int(amount))
            if 1 <= amount < LONGEST and amount == int(amount) and unit in ("epoch", "epochs"):
                return cls(epochs=int(amount))
        raise ConfigError(f"budget {text!r} is not a length of training", "write 25m, 2h, 90s, 3000steps or 40epochs")

    def __str__(self) -> str:
        if self.seconds is not None:
            return format_duration(self.seconds)
        return f"{self.steps} steps" if self.steps is not None else f"{self.epochs} epochs"
