"""Resampling: exact lengths, no aliasing (A-P26), a flat pass band, no delay."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.audio.resample import resample, resampled_length

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]


def tone(frequency_hz: float, rate_hz: int, duration_s: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * duration_s)) / rate_hz).astype(np.float32)


def level_db(samples: np.ndarray) -> float:
    inner = samples[len(samples) // 10 : -len(samples) // 10]  # away from the filter's ends
    return float(20 * np.log10(np.sqrt(2 * np.mean(np.square(inner, dtype=np.float64))) + 1e-12))


@given(st.integers(0, 10**9), st.sampled_from(RATES_HZ), st.sampled_from(RATES_HZ))
def test_resampled_length_rounds_half_up(num_samples: int, from_hz: int, to_hz: int) -> None:
    assert resampled_length(num_samples, from_hz, to_hz) == floor(Fraction(num_samples * to_hz, from_hz) + Fraction(1, 2))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.sampled_from(RATES_HZ), st.sampled_from(RATES_HZ), st.sampled_from([None, 1, 2]))
def test_length_is_exact(num_samples: int, from_hz: int, to_hz: int, num_channels: int | None) -> None:
    shape = (num_samples,) if num_channels is None else (num_samples, num_channels)
    resampled = resample(np.ones(shape, np.float32), from_hz, to_hz)
    assert resampled.shape == (resampled_length(num_samples, from_hz, to_hz), *shape[1:])
    assert resampled.dtype == np.float32
    assert np.isfinite(resampled).all()


def test_equal_rates_change_nothing() -> None:
    samples = tone(440, 16_000)
    np.testing.assert_array_equal(resample(samples, 16_000, 16_000), samples)


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "frequency_hz"), [(48_000, 16_000, 9_000), (44_100, 16_000, 10_000), (16_000, 8_000, 5_000)]
)
def test_tone_above_the_new_nyquist_is_gone(from_hz: int, to_hz: int, frequency_hz: float) -> None:
    # A-P26: linear interpolation folds it down, where it sounds nearly as loud.
    samples = tone(frequency_hz, from_hz)
    assert level_db(resample(samples, from_hz, to_hz)) < -60
    time_s = np.arange(resampled_length(len(samples), from_hz, to_hz)) / to_hz
    folded = np.interp(time_s, np.arange(len(samples)) / from_hz, samples)
    assert level_db(folded) > -20


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 22_050)])
@pytest.mark.parametrize("frequency_hz", [50, 1_000, 3_000])
def test_pass_band_is_flat(from_hz: int, to_hz: int, frequency_hz: float) -> None:
    assert abs(level_db(resample(tone(frequency_hz, from_hz), from_hz, to_hz))) < 0.1


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 44_100)])
def test_nothing_is_shifted_in_time(from_hz: int, to_hz: int) -> None:
    resampled = resample(tone(500, from_hz), from_hz, to_hz)
    expected = tone(500, to_hz)[: len(resampled)]
    inner = slice(len(expected) // 10, -len(expected) // 10)
    assert np.abs(resampled - expected)[inner].max() < 1e-3


def test_channels_stay_apart() -> None:
    samples_sc = np.stack([tone(300, 48_000), tone(1_000, 48_000)], axis=1)
    resampled_sc = resample(samples_sc, 48_000, 16_000)
    for channel in range(2):
        np.testing.assert_allclose(resampled_sc[:, channel], resample(samples_sc[:, channel], 48_000, 16_000), atol=1e-6)


def test_rates_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        resample(tone(440, 16_000), 0, 16_000)
