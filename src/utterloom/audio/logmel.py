"""Log-mel features in numpy: the same numbers in training, scoring and serving, with or without torch.

Frame i owns the samples [i·hop, (i+1)·hop); its window is centred on them and reads zeros beyond the edges. So the
frames partition the recording, and their count is `ceil(num_samples / hop)`, nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

POWER_FLOOR = 1e-7  # above 16-bit rounding noise, so that digital silence and dithered silence look alike


@dataclass(frozen=True)
class LogMelParameters:
    """What a model must be fed; saved with it."""

    sample_rate_hz: int = 16_000
    window_samples: int = 400
    hop_samples: int = 160
    fft_size: int = 512
    num_mels: int = 80
    low_hz: float = 20.0
    high_hz: float = 7_600.0

    @classmethod
    def for_rate(cls, sample_rate_hz: int, num_mels: int = 80, hop_ms: float = 10.0) -> LogMelParameters:
        """25 ms windows every `hop_ms`, with mel bands from 20 Hz to just under the Nyquist frequency."""
        window = 2 * round(0.0125 * sample_rate_hz)  # even, so that it has two halves
        return cls(sample_rate_hz=sample_rate_hz, window_samples=window, hop_samples=round(hop_ms * sample_rate_hz / 1000),
                   fft_size=1 << (window - 1).bit_length(), num_mels=num_mels, high_hz=0.475 * sample_rate_hz)

    def num_frames(self, num_samples: int) -> int:
        return -(-num_samples // self.hop_samples)

    @property
    def rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _mel(hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


@lru_cache(maxsize=64)
def mel_filters(parameters: LogMelParameters, warp: float = 1.0) -> np.ndarray:
    """Triangular filters [fft_size // 2 + 1, num_mels], float32. `warp` moves the bands up (> 1) or down (< 1):
    vocal tract length perturbation (Jaitly & Hinton 2013), linear up to 7/8 of the upper edge."""
    edges_mel = np.linspace(_mel(parameters.low_hz), _mel(parameters.high_hz), parameters.num_mels + 2)
    edges_hz = 700.0 * np.expm1(edges_mel / 1127.0)
    knee_hz = 0.875 * parameters.high_hz / max(warp, 1.0)
    above = parameters.high_hz - (parameters.high_hz - warp * knee_hz) / (parameters.high_hz - knee_hz) * (
        parameters.high_hz - edges_hz)
    edges_mel = _mel(np.where(edges_hz <= knee_hz, warp * edges_hz, above))
    bins_mel = _mel(np.arange(parameters.fft_size // 2 + 1) * parameters.sample_rate_hz / parameters.fft_size)[:, None]
    left, centre, right = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising = (bins_mel - left) / (centre - left)
    falling = (right - bins_mel) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@lru_cache(maxsize=8)
def _half_transforms(window_samples: int, fft_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hann window [w] and the cosine and sine matrices [w / 2, fft_size // 2 + 1] of a DFT about the window's centre.

    Power does not see the shift to the centre, and about it the transform splits into a cosine transform of the
    frame's even half and a sine transform of its odd half: half the work of a plain DFT, and as two matrix products
    three times as fast as numpy's float32 rfft on one core.
    """
    hann = np.hanning(window_samples + 2)[1:-1].astype(np.float32)
    from_centre = np.arange(window_samples // 2) - (window_samples - 1) / 2
    phase = 2 * np.pi / fft_size * np.outer(from_centre, np.arange(fft_size // 2 + 1))
    return hann, np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)


def power_spectrum(frames: np.ndarray, parameters: LogMelParameters) -> np.ndarray:
    """frames float32 [frames, window_samples] → |DFT|² of the windowed frames, [frames, fft_size // 2 + 1]."""
    hann, cosines, sines = _half_transforms(parameters.window_samples, parameters.fft_size)
    windowed = frames * hann
    half = parameters.window_samples // 2
    first, mirrored = windowed[:, :half], windowed[:, :-half - 1:-1]
    even = (first + mirrored) @ cosines
    odd = (first - mirrored) @ sines
    even *= even
    odd *= odd
    even += odd
    return even


def log_mel(samples: np.ndarray, parameters: LogMelParameters, *, tempo: float = 1.0, warp: float = 1.0) -> np.ndarray:
    """samples float32 [samples] → log-mel power float32 [frames, mels].

    `tempo` > 1 speaks faster: the hop grows by that factor, so that pitch and formants stay; the frame count is then
    `num_frames(round(num_samples / tempo))`.
    """
    hop, window = parameters.hop_samples, parameters.window_samples
    num_frames = parameters.num_frames(max(1, round(len(samples) / tempo)))
    starts = np.round(np.arange(num_frames) * (hop * tempo)).astype(np.int64)
    padded = np.zeros(int(starts[-1]) + window + hop, dtype=np.float32)
    left = (window - hop) // 2
    usable = min(len(samples), len(padded) - left)
    padded[left:left + usable] = samples[:usable]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[starts]
    return np.log(power_spectrum(frames, parameters) @ mel_filters(parameters, warp) + POWER_FLOOR)


def normalise(features: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance for each mel band over the utterance's own frames: [frames, mels] → the same shape.

    After it, 0 is the utterance's mean, so zeros are the right padding and the right mask (B-P23).
    """
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.sqrt(np.mean(centred * centred, axis=0, dtype=np.float64)).astype(np.float32)
    return centred / (scale + 0.1)  # a band that hardly moves (band-limited audio) must not be blown up
