"""Seconds become samples exactly; budgets say what they mean."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError
from utterloom.core.timing import Budget, format_duration, samples_to_seconds, seconds_to_samples

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000])


@given(milliseconds=st.integers(0, 10**10), rate=RATES)
def test_decimals_are_exact(milliseconds: int, rate: int) -> None:
    """E-P20: as written, 1853.82 s is sample 29,661,120 at 16 kHz, not one before."""
    seconds = float(Decimal(milliseconds) / 1000)
    exact = Fraction(milliseconds, 1000) * rate
    found = seconds_to_samples(seconds, rate)
    assert abs(found - exact) <= Fraction(1, 2)
    assert exact.denominator > 1 or found == exact


@given(samples=st.integers(0, 10**9), rate=RATES)
def test_samples_come_back_from_seconds(samples: int, rate: int) -> None:
    assert seconds_to_samples(samples_to_seconds(samples, rate), rate) == samples


@given(first=st.integers(0, 10**7), second=st.integers(0, 10**7), rate=RATES)
def test_neighbours_that_share_a_time_share_a_sample_and_later_is_not_earlier(first: int, second: int, rate: int) -> None:
    early, late = sorted((first / 1000, second / 1000))
    assert seconds_to_samples(early, rate) <= seconds_to_samples(late, rate)


@pytest.mark.parametrize(("seconds", "rate", "samples"), [
    (1853.82, 16_000, 29_661_120), (4260.3, 48_000, 204_494_400), (0.1, 11_025, 1103), (5, 16_000, 80_000), (0.0, 16_000, 0),
    (np.float64(0.29), 44_100, 12_789), (np.float32(0.5), 8_000, 4_000)])
def test_known_times(seconds: float, rate: int, samples: int) -> None:
    assert seconds_to_samples(seconds, rate) == samples


@pytest.mark.parametrize(("text", "budget"), [
    ("25m", Budget(seconds=1500)), ("2h", Budget(seconds=7200)), ("90s", Budget(seconds=90)), ("1.5 h", Budget(seconds=5400)),
    (" 3 Minutes ", Budget(seconds=180)), ("1d", Budget(seconds=86_400)), ("3000steps", Budget(steps=3000)),
    ("1 step", Budget(steps=1)), ("40 epochs", Budget(epochs=40)), ("2.0epochs", Budget(epochs=2))])
def test_a_budget_is_read(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "25", "m", "0m", "-5m", "1.5 steps", "0 epochs", "3 parsecs", "25m 3s", "1e3 steps", "nan s",
                                  "9" * 400 + "steps", "9" * 400 + "h"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a length of training"):
        Budget.parse(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
                                               (200, "3 min 20 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")])
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
