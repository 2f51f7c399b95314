"""Variation of training audio: a function of seed, epoch and utterance, and grown over the first epochs where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from utterloom.audio.augment import Augmentation, augmented_features, generator
from utterloom.audio.logmel import LogMelParameters, log_mel, normalise

PARAMETERS = LogMelParameters.for_rate(16_000, 40)


def features(augmentation: Augmentation, epoch: int, key: str = "a") -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    return augmented_features(samples, PARAMETERS, augmentation.at(epoch), generator(3, epoch, key))


def test_the_same_epoch_and_utterance_give_the_same_features() -> None:
    full = Augmentation(noise_probability=1.0)
    assert np.array_equal(features(full, 4), features(full, 4))
    assert features(full, 4).shape != features(full, 5).shape or not np.array_equal(features(full, 4), features(full, 5))


def test_it_grows_from_nothing() -> None:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    growing = Augmentation(noise_probability=1.0, warmup_epochs=10)
    assert np.array_equal(features(growing, 0), normalise(log_mel(samples, PARAMETERS)))
    half = growing.at(5)
    assert (half.tempo, half.warp, half.noise_probability) == pytest.approx((0.05, 0.05, 0.5))
    assert (half.frequency_mask_bands, half.time_mask_s, half.time_mask_fraction) == (9, pytest.approx(0.075), pytest.approx(0.1))
    assert growing.at(10) is growing and growing.at(11) is growing
    assert Augmentation().at(0) == Augmentation()
