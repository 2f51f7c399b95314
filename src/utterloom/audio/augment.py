"""Training-time variation, each draw a function of (seed, epoch, utterance id) alone: the same on any worker or rank."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from utterloom.audio.logmel import LogMelParameters, log_mel, normalise

WARP_STEP = 0.02  # warps are quantised, so that their filter banks are made once


def generator(seed: int, epoch: int, key: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


@dataclass(frozen=True)
class Augmentation:
    """Ranges; 0 switches an effect off. Fractions are of the whole (1.0), decibels are signal-to-noise."""

    tempo: float = 0.1                  # speak up to this much faster or slower (Ko et al. 2015, without the pitch)
    warp: float = 0.1                   # vocal tract length (Jaitly & Hinton 2013)
    noise_probability: float = 0.0      # coloured noise ...
    noise_snr_db: tuple[float, float] = (8.0, 30.0)
    frequency_masks: int = 2            # SpecAugment (Park et al. 2019) ...
    frequency_mask_bands: int = 18
    time_masks: int = 3
    time_mask_s: float = 0.15           # ... at most this long each,
    time_mask_fraction: float = 0.2     # ... and together at most this part of the utterance
    warmup_epochs: int = 0              # epochs in which all of this grows from nothing

    def at(self, epoch: int) -> Augmentation:
        """What of it is done in an epoch. What has not learnt anything yet learns sooner from speech as it is."""
        if epoch >= self.warmup_epochs:
            return self
        part = epoch / self.warmup_epochs
        return replace(
            self, tempo=part * self.tempo, warp=part * self.warp, noise_probability=part * self.noise_probability,
            frequency_mask_bands=round(part * self.frequency_mask_bands), time_mask_s=part * self.time_mask_s,
            time_mask_fraction=part * self.time_mask_fraction)


def _noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a random spectral tilt, unit power: [samples]."""
    noise = rng.standard_normal(num_samples, dtype=np.float32)
    tilt = rng.uniform(0.0, 0.95)
    noise[1:] += np.float32(tilt) * noise[:-1]
    return noise / max(float(np.sqrt(np.mean(noise * noise))), 1e-8)


def augmented_features(
    samples: np.ndarray, parameters: LogMelParameters, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """samples float32 [samples] → normalised, varied log-mel [frames, mels]."""
    a = augmentation
    tempo = 1.0 + a.tempo * float(rng.uniform(-1.0, 1.0))
    warp = 1.0 + round(a.warp * float(rng.uniform(-1.0, 1.0)) / WARP_STEP) * WARP_STEP
    if a.noise_probability and rng.random() < a.noise_probability:
        snr_db = float(rng.uniform(*a.noise_snr_db))
        power = float(np.mean(samples * samples)) if len(samples) else 0.0
        samples = samples + _noise(len(samples), rng) * np.float32(np.sqrt(power * 10.0 ** (-snr_db / 10.0)))
    features = normalise(log_mel(samples, parameters, tempo=tempo, warp=warp))
    mask_spectrum(features, parameters, a, rng)
    return features


def mask_spectrum(
    features: np.ndarray, parameters: LogMelParameters, augmentation: Augmentation, rng: np.random.Generator
) -> None:
    """SpecAugment in place: bands and stretches of [frames, mels] become the utterance's mean, 0."""
    a = augmentation
    num_frames, num_mels = features.shape
    for _ in range(a.frequency_masks):
        width = int(rng.integers(0, a.frequency_mask_bands + 1))
        start = int(rng.integers(0, max(1, num_mels - width)))
        features[:, start:start + width] = 0.0
    longest = min(round(a.time_mask_s * parameters.rate_hz), int(a.time_mask_fraction * num_frames / max(1, a.time_masks)))
    for _ in range(a.time_masks):
        width = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, max(1, num_frames - width)))
        features[start:start + width] = 0.0
