"""FLAC out and in again."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utterloom.audio.decode import decode, decode_flac_into
from utterloom.audio.encode import encode_flac, quantise_int16
from utterloom.core.errors import AudioError

int16_samples = hnp.arrays(np.int16, st.integers(1, 6000))
float_samples = hnp.arrays(np.float32, st.integers(1, 500), elements=st.floats(-2, 2, width=32))


@settings(max_examples=60, deadline=None)
@given(int16_samples, st.sampled_from([8_000, 16_000, 44_100, 48_000]))
def test_int16_comes_back_bit_for_bit(samples: np.ndarray, rate_hz: int) -> None:
    data = encode_flac(samples, rate_hz)
    row = np.zeros(len(samples), np.int16)
    assert decode_flac_into(data, row) == len(samples)
    np.testing.assert_array_equal(row, samples)
    decoded_sc, decoded_hz = decode(data)
    assert decoded_hz == rate_hz
    # And what was decoded to float encodes to the same bytes again.
    assert encode_flac(decoded_sc[:, 0], rate_hz) == data


@settings(max_examples=60, deadline=None)
@given(float_samples)
def test_quantising_rounds_to_nearest_and_clips(samples: np.ndarray) -> None:
    quantised, num_clipped = quantise_int16(samples)
    exact = samples.astype(np.float64) * 32768
    assert quantised.dtype == np.int16
    assert num_clipped == int((np.abs(samples) > 1).sum())
    assert np.abs(quantised - np.clip(exact, -32768, 32767)).max() <= 0.5
    np.testing.assert_array_equal(decode(encode_flac(samples, 16_000))[0][:, 0], quantised / np.float32(32768))


def test_full_scale() -> None:
    quantised, num_clipped = quantise_int16(np.array([1.0, -1.0, 1.001, -1.001, 0.0], np.float32))
    assert quantised.tolist() == [32767, -32768, 32767, -32768, 0]
    assert num_clipped == 2  # +1.0 is full scale, and no loss that anyone hears


def test_same_samples_same_bytes() -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    assert encode_flac(samples, 16_000) == encode_flac(samples.copy(), 16_000)


def test_it_is_16_bit_mono_flac() -> None:
    info = soundfile.info(io.BytesIO(encode_flac(np.zeros(100, np.float32), 22_050)))
    assert (info.format, info.subtype, info.channels, info.samplerate, info.frames) == ("FLAC", "PCM_16", 1, 22_050, 100)


def test_what_is_refused() -> None:
    with pytest.raises(AudioError, match="2 of 3 sample values are NaN or infinite"):
        encode_flac(np.array([0, np.nan, np.inf], np.float32), 16_000)
    with pytest.raises(AudioError, match="no samples"):
        encode_flac(np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="not 700000"):
        encode_flac(np.zeros(10, np.int16), 700_000)
    with pytest.raises(ValueError, match="one dimension"):
        encode_flac(np.zeros((10, 2), np.float32), 16_000)
    with pytest.raises(TypeError, match="int32"):
        encode_flac(np.zeros(10, np.int32), 16_000)
