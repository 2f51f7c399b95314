"""What is drawn of sound: its envelope, and its log-mel spectrogram."""

from __future__ import annotations

import numpy as np

from utterloom.audio.logmel import LogMelParameters, log_mel

RANGE_LN = 11.5  # what of log-mel power is shown, below the loudest: 50 dB
RANGE_IN_WORDS = "the upper 50 dB"


def envelope(samples: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest sample of each of at most `num_columns` stretches, float32 each."""
    num_columns = max(1, min(num_columns, len(samples)))
    if not len(samples):
        return np.zeros(1, np.float32), np.zeros(1, np.float32)
    starts = np.arange(num_columns) * len(samples) // num_columns
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)


def spectrogram(samples: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, LogMelParameters]:
    """float32 [samples] → 0 to 1 [frames, mels], of which 1 is the loudest, at the rate that the audio has; and what was reckoned.

    Digital silence is all 0.
    """
    parameters = LogMelParameters.for_rate(sample_rate_hz)
    mel = log_mel(samples, parameters)
    if mel.max() <= mel.min():
        return np.zeros_like(mel), parameters
    return np.clip((mel - (mel.max() - RANGE_LN)) / RANGE_LN, 0, 1), parameters


def mel_share(hertz: float, parameters: LogMelParameters) -> float:
    """How far up the mel bands a frequency lies, 0 to 1."""
    low, high, at = (np.log1p(value / 700.0) for value in (parameters.low_hz, parameters.high_hz, hertz))
    return float((at - low) / (high - low))
