"""Numbers, times and amounts as a report prints them: narrow spaces before units, `–` for what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real


def known(value: object) -> float | None:
    """A finite number, or None: a diverged loss has no place on an axis."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def percent(rate: float | None, sign: str = "\u202f%") -> str:
    """A fraction as a percentage, with a digit more where it is small."""
    return "–" if rate is None else f"{100 * rate:.{2 if 0 < rate < 0.001 else 1}f}{sign}"


def number(value: float | None, digits: int = 4) -> str:
    """About that many digits, and thousands apart; never 1.2e+04."""
    if value is None:
        return "–"
    is_whole = float(value).is_integer() or abs(value) >= 10 ** (digits - 1)
    return f"{value:,.0f}" if is_whole else f"{value:.{digits}g}"


def span(seconds: float | None, longest_s: float | None = None) -> str:
    """A length of time in the unit that suits it, or that suits the longest of its column."""
    if seconds is None:
        return "–"
    longest_s = seconds if longest_s is None else longest_s
    if longest_s < 60:
        return f"{seconds:.1f}\u202fs"
    unit, unit_s = ("min", 60) if longest_s < 7200 else ("h", 3600)
    return f"{seconds / unit_s:,.{2 if longest_s < 10 * unit_s else 1}f}\u202f{unit}"


def span_like(seconds: Iterable[float | None]) -> Callable[[float | None], str]:
    """Shows all of a column in one unit."""
    longest_s = max((value for value in seconds if value is not None), default=0)
    return lambda value: span(value, longest_s)


def hours(amount_h: float | None) -> str:
    """An amount of speech: hours, as corpora are measured, down to six minutes."""
    if amount_h is None or amount_h < 0.1:
        return span(None if amount_h is None else amount_h * 3600)
    return f"{amount_h:,.{2 if amount_h < 10 else 1}f}\u202fh"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Such as `1 word` or `1,204 words`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
