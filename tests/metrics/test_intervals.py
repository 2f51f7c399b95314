from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.metrics import intervals
from utterloom.metrics.intervals import bootstrap_interval


def corpus(num_utterances: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 30, num_utterances)
    return rng.binomial(lengths, 0.2), lengths


@given(num_utterances=st.integers(20, 300), seed=st.integers(0, 1000))
def test_the_interval_holds_the_point_estimate(num_utterances: int, seed: int) -> None:
    errors, lengths = corpus(num_utterances, seed)
    low, high = bootstrap_interval(errors, lengths, num_resamples=300, seed=seed)
    assert 0 <= low <= errors.sum() / lengths.sum() <= high


def test_width_shrinks_with_the_root_of_the_corpus_and_grows_with_the_level() -> None:
    def width(num_utterances: int, level: float = 0.95) -> float:
        low, high = bootstrap_interval(*corpus(num_utterances), level=level)
        return high - low

    assert width(100) / width(10_000) == pytest.approx(10, rel=0.25)
    assert width(100, level=0.5) < width(100, level=0.9) < width(100, level=0.99)


def test_coverage_is_near_the_level() -> None:
    held = 0
    for seed in range(200):
        low, high = bootstrap_interval(*corpus(100, seed), num_resamples=300)
        held += low <= 0.2 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_the_same_arguments_give_the_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, lengths = corpus(50)
    whole = bootstrap_interval(errors, lengths, seed=3)
    monkeypatch.setattr(intervals, "_MAX_DRAWS_AT_ONCE", 7)
    assert bootstrap_interval(errors, lengths, seed=3) == whole
    assert bootstrap_interval(errors, lengths, seed=4) != whole


def test_speakers_who_differ_widen_the_interval() -> None:
    errors, lengths = np.repeat([0, 5, 1, 8], 50), np.full(200, 10)
    speakers = np.repeat(["a", "b", "c", "d"], 50)
    low, high = bootstrap_interval(errors, lengths)
    speaker_low, speaker_high = bootstrap_interval(errors, lengths, groups=speakers)
    assert speaker_low < low < 0.35 < high < speaker_high


def test_nothing_is_made_up_where_there_is_too_little() -> None:
    one, zero = np.array([1]), np.array([0])
    assert bootstrap_interval(one, one) is None
    assert bootstrap_interval(np.array([]), np.array([])) is None
    assert bootstrap_interval(np.array([1, 2]), np.array([0, 0])) is None
    assert bootstrap_interval(np.array([1, 2]), np.array([3, 3]), groups=["ann", "ann"]) is None
    with pytest.raises(ValueError, match="equally long"):
        bootstrap_interval(one, np.concatenate([one, zero]))
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(one, one, level=95)
    with pytest.raises(ValueError, match="groups"):
        bootstrap_interval(one, one, groups=["a", "b"])
