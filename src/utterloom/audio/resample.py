"""From one sample rate to another, band-limited."""

from __future__ import annotations

import numpy as np


def resampled_length(num_samples: int, from_hz: int, to_hz: int) -> int:
    """Length of `num_samples` after resampling: num_samples × to_hz / from_hz, halves rounded up, in integers alone."""
    return (2 * num_samples * to_hz + from_hz) // (2 * from_hz)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[samples] or [samples, channels] → float32 of the same form, `resampled_length` long.

    soxr's HQ filter: what lies above the new Nyquist frequency is removed and not folded down (as linear interpolation
    does, A-P26), the pass band is flat, and nothing is shifted in time. Equal rates return the samples as they are.
    Raises ValueError when a rate is not positive.
    """
    if from_hz <= 0 or to_hz <= 0:
        raise ValueError(f"sample rates are positive, not {from_hz} and {to_hz} Hz")
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if from_hz == to_hz:
        return samples
    num_out = resampled_length(len(samples), from_hz, to_hz)
    if not num_out:
        return samples[:0]
    import soxr

    resampled: np.ndarray = soxr.resample(samples, from_hz, to_hz, quality="HQ")[:num_out]
    missing = num_out - len(resampled)  # none with soxr 1.x; another version may round otherwise
    if missing:
        resampled = np.pad(resampled, ((0, missing),) + ((0, 0),) * (samples.ndim - 1), mode="edge")
    return resampled
