"""Seconds become samples exactly, and samples frames; budgets say what they mean."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core import timing
from utterloom.core.errors import ConfigError
from utterloom.core.timing import Budget, FrameGrid, format_duration, pool, samples_to_seconds, seconds_to_samples

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


# --- frames -----------------------------------------------------------------------------------------------------------

WAVLM, MIMI, FACODEC, ENCODEC, OURS = (FrameGrid(rate_hz, hop) for rate_hz, hop in
                                       [(16_000, 320), (24_000, 1920), (16_000, 200), (24_000, 320), (16_000, 640)])
GRIDS = st.sampled_from([WAVLM, MIMI, FACODEC, ENCODEC, OURS, FrameGrid(22_050, 441)])
AUDIO_RATES = st.sampled_from([8_000, 16_000, 22_050, 44_100])


def test_rates_are_exact() -> None:
    """K14."""
    assert [grid.rate for grid in (WAVLM, MIMI, FACODEC, ENCODEC)] == [50, Fraction(25, 2), 80, 75]
    assert FrameGrid(44_100, 512).rate == Fraction(11_025, 128)
    assert MIMI.rate_hz == 12.5 and MIMI.frame_s == 0.08 and MIMI.frame_span_s(3) == (0.24, 0.32)


@given(grid=GRIDS, rate=AUDIO_RATES, cuts=st.lists(st.integers(0, 10**9), min_size=2, max_size=20))
def test_spans_that_partition_time_partition_frames(grid: FrameGrid, rate: int, cuts: list[int]) -> None:
    """D-P4, K14: every frame belongs to one span, the one that its centre lies in, however the cuts fall."""
    cuts = [0, *sorted(cuts)]
    spans = [grid.frame_span(start, stop, rate) for start, stop in pairwise(cuts)]
    assert spans[0][0] == 0 and all(left[1] == right[0] for left, right in pairwise(spans))
    assert all(first <= last for first, last in spans)
    assert sum(last - first for first, last in spans) == grid.num_frames(cuts[-1], rate)
    for (start, stop), (first, last) in zip(pairwise(cuts), spans, strict=True):
        for frame in {first, last - 1} if first < last else set():
            assert Fraction(start, rate) <= (frame + Fraction(1, 2)) / grid.rate < Fraction(stop, rate)


@given(grid=GRIDS, rate=AUDIO_RATES, samples=st.integers(0, 10**9))
def test_the_frames_of_a_recording_are_as_long_as_it_is(grid: FrameGrid, rate: int, samples: int) -> None:
    """Truth 3: within half a hop."""
    assert abs(grid.num_frames(samples, rate) / grid.rate - Fraction(samples, rate)) <= Fraction(1, 2) / grid.rate


def test_neighbouring_words_share_no_frame() -> None:
    """D-P4: at 50 Hz a word that ended at 0.09 s and one that began there both had frame 4. D-P19: and none is lost at the end."""
    assert (WAVLM.frame_span_of_s(0.0, 0.09), WAVLM.frame_span_of_s(0.09, 0.2)) == ((0, 4), (4, 10))
    assert WAVLM.frame_span(1440, 3200, 16_000) == WAVLM.frame_span(720, 1600, 8_000) == (4, 10)


@given(grid=GRIDS, cuts=st.lists(st.integers(0, 10**7), min_size=2, max_size=8))
def test_seconds_are_the_decimals_that_they_are_written_as(grid: FrameGrid, cuts: list[int]) -> None:
    cuts.sort()
    for start, stop in pairwise(cuts):
        assert grid.frame_span_of_s(start / 1000, stop / 1000) == grid.frame_span(start, stop, 1000)


@pytest.mark.parametrize(("start", "stop"), [(5, 4), (-1, 4), (-2, -1)])
def test_what_is_no_span_is_refused(start: int, stop: int) -> None:
    """A-P17: -1 is no time."""
    with pytest.raises(ValueError, match="is no span"):
        WAVLM.frame_span(start, stop, 16_000)


def test_frames_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="both must be 1 or more"):
        FrameGrid(16_000, 0)


def overlap_s(one: tuple[Fraction, Fraction], other: tuple[Fraction, Fraction]) -> Fraction:
    return max(Fraction(0), min(one[1], other[1]) - max(one[0], other[0]))


def pooled_slowly(values: np.ndarray, source: FrameGrid, target: FrameGrid, num_frames: int) -> np.ndarray:
    """The mean as it is defined, frame by frame."""
    out = np.full((num_frames, values.shape[1]), np.nan)
    for frame in range(num_frames):
        here = (frame / target.rate, (frame + 1) / target.rate)
        frames = [(other / source.rate, (other + 1) / source.rate) for other in range(len(values))]
        weights = np.array([float(overlap_s(here, there)) for there in frames])
        weights[np.isnan(values).all(axis=1)] = 0
        if weights.sum() > 0:
            out[frame] = (weights[:, None] * np.nan_to_num(values)).sum(axis=0) / weights.sum()
    return out


@settings(deadline=None)
@given(source=GRIDS, target=GRIDS, num_source=st.integers(0, 30), num_target=st.integers(0, 40), seed=st.integers(0, 99))
def test_pooling_is_the_mean_weighted_by_overlap(source: FrameGrid, target: FrameGrid, num_source: int, num_target: int,
                                                 seed: int) -> None:
    """A13; what lies after the source's end is NaN, never zero (A-P9)."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(num_source, 3))
    values[random.random(num_source) < 0.2] = np.nan
    found = pool(values, source, target, num_target)
    np.testing.assert_allclose(found, pooled_slowly(values, source, target, num_target), rtol=1e-5, atol=1e-6)
    assert found.shape == (num_target, 3) and not (found == 0).any()


def test_fifty_to_twelve_and_a_half_is_the_mean_of_four() -> None:
    values = np.random.default_rng(0).normal(size=(151, 8)).astype(np.float16)
    found = pool(values, WAVLM, MIMI, 40)
    assert (found[:37] == values[:148].astype(np.float64).reshape(37, 4, 8).mean(axis=1).astype(np.float32)).all()
    np.testing.assert_allclose(found[37], values[148:].astype(np.float64).mean(axis=0), rtol=1e-6)
    assert np.isnan(found[38:]).all()


def test_pooling_in_pieces_is_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(100, 7))
    whole = pool(values, WAVLM, MIMI, 25)
    monkeypatch.setattr(timing, "MOST_POOLED", 200)
    assert (pool(values, WAVLM, MIMI, 25) == whole).all()


def test_pooling_what_is_not_there_can_be_an_error() -> None:
    values = np.ones((6, 2))
    assert np.isnan(pool(values, WAVLM, MIMI, 3)[2]).all() and (pool(values, WAVLM, MIMI, 2, beyond="error") == 1).all()
    with pytest.raises(ValueError, match=r"3 frames of 0\.08 s go on after 6 of 0\.02 s end"):
        pool(values, WAVLM, MIMI, 3, beyond="error")


@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_a_broken_number_does_not_spread(broken: float) -> None:
    values = np.ones((6, 2))
    values[3, 1] = broken
    with pytest.raises(ValueError, match="not finite"):
        pool(values, WAVLM, MIMI, 2)
