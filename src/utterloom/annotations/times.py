"""Times in seconds as files write them: read, and written exactly to the microsecond."""

from __future__ import annotations

import math
from typing import Any

from utterloom.core.timing import seconds_to_samples

MICROSECONDS_HZ = 1_000_000
SURELY_EXACT = 1e12  # microseconds: below, a float is off by no more than a ten-thousandth of one


def seconds_of(value: Any) -> float:
    """A time in seconds, from a number or its decimal notation. Raises ValueError for what is none, NaN and negative ones too."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        seconds = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a time in seconds") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a time in seconds")
    return seconds


def microseconds(seconds: float) -> int:
    """To the nearest, as `seconds_to_samples` has it: exact decimals, where a product of floats is not sure enough."""
    product = seconds * MICROSECONDS_HZ
    whole = math.floor(product)
    if product < SURELY_EXACT and abs(product - whole - 0.5) > 0.01:
        return whole + (product - whole > 0.5)
    return seconds_to_samples(seconds, MICROSECONDS_HZ)


def decimal_of(seconds: float) -> str:
    """From integer microseconds, with two to six decimals: `1853.82`, so that it depends on nobody's float printing."""
    whole, rest = divmod(microseconds(seconds), MICROSECONDS_HZ)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def sum_of_seconds(start_s: float, duration_s: float) -> float:
    """Exact in decimals: 0.1 s and 0.2 s are 0.3 s."""
    return round(start_s + duration_s, 9)
