"""Seconds, samples and frames: the only conversions, all to integers, all on half-open intervals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from utterloom.core.errors import ConfigError

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST = 1e12


def seconds_to_samples(seconds: float, rate_hz: int) -> int:
    """The sample at which `seconds` falls, to the nearest: exact decimals, so that 1853.82 s stays where it was (E-P20)."""
    exact = Fraction(repr(float(seconds))) * rate_hz
    return math.floor(exact + Fraction(1, 2))


def samples_to_seconds(samples: int, rate_hz: int) -> float:
    return samples / rate_hz


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
