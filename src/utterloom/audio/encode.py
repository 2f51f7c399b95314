"""Samples to 16-bit mono FLAC: how a corpus stores its audio."""

from __future__ import annotations

import io

import numpy as np

from utterloom.core.errors import AudioError

FULL_SCALE = 1 << 15
MAX_FLAC_RATE_HZ = 655_350


def quantise_int16(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """float [samples] → (int16 [samples], number of clipped samples).

    Rounds to the nearest step of 1/32768 (ties to even), the scale that decoding divides by. Clipped are the samples
    outside [−1, 1]; +1 itself becomes 32767 and is not counted. Raises AudioError when samples are NaN or infinite.
    """
    lowest, highest = (samples.min(), samples.max()) if samples.size else (0.0, 0.0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # both are NaN when one sample is
        num_bad = int(samples.size - np.isfinite(samples).sum())
        raise AudioError(f"{num_bad} of {samples.size} sample values are NaN or infinite")
    num_clipped = 0 if lowest >= -1 and highest <= 1 else int(np.count_nonzero(np.abs(samples) > 1))
    steps = samples * FULL_SCALE
    np.rint(steps, out=steps)
    np.clip(steps, -FULL_SCALE, FULL_SCALE - 1, out=steps)
    return steps.astype(np.int16), num_clipped


def encode_flac(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """[samples], int16 (kept exactly) or float in [−1, 1] (as `quantise_int16`) → FLAC bytes, 16 bits, mono.

    The same samples give the same bytes with the same libFLAC. Raises AudioError when there is no sample, when samples
    are not finite, and for a rate that FLAC cannot hold; TypeError and ValueError for another dtype or form.
    """
    import soundfile

    if samples.ndim != 1:
        raise ValueError(f"mono samples have one dimension, not {samples.ndim}")
    if samples.dtype.kind == "f":
        samples, _ = quantise_int16(samples)
    elif samples.dtype != np.int16:
        raise TypeError(f"samples are float or int16, not {samples.dtype}")
    if not len(samples):
        raise AudioError("there are no samples to encode")
    if not 1 <= sample_rate_hz <= MAX_FLAC_RATE_HZ:
        raise AudioError(f"FLAC holds sample rates of 1 to {MAX_FLAC_RATE_HZ} Hz, not {sample_rate_hz}")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
