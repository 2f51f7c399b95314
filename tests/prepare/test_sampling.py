"""Samples: nothing twice, nothing over budget, every speaker in turn (E9, E-P10)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prepare.test_splits import CORPORA, utterance
from utterloom.core.errors import ConfigError
from utterloom.core.records import Utterance
from utterloom.prepare.sampling import FLAC_BYTES_PER_SAMPLE, take


@given(corpus=CORPORA, seed=st.integers(0, 3), hours=st.floats(0.0001, 0.1), most=st.none() | st.integers(1, 50))
def test_a_sample_is_a_part_without_repetition_and_keeps_its_budget(
    corpus: list[Utterance], seed: int, hours: float, most: int | None
) -> None:
    try:
        sample = take(corpus, seed, hours, most)
    except ConfigError:
        assert min(u.duration_s for u in corpus) > 3600 * hours
        return
    assert sum(u.duration_s for u in sample) <= 3600 * hours + 1e-6
    assert len(sample) <= (most or len(corpus))
    kept = {u.id for u in sample}
    assert len(kept) == len(sample) and sample == [u for u in corpus if u.id in kept]
    left = [u for u in corpus if u.id not in kept]
    if most is None or len(sample) < most:  # what is left out would not fit
        assert all(sum(u.duration_s for u in sample) + u.duration_s > 3600 * hours - 1e-6 for u in left)


@given(corpus=CORPORA, seed=st.integers(0, 3))
def test_it_depends_on_ids_and_seed_and_not_on_the_order(corpus: list[Utterance], seed: int) -> None:
    shuffled = corpus[::-1]
    assert {u.id for u in take(corpus, seed, most=5)} == {u.id for u in take(shuffled, seed, most=5)}


def test_the_sampler_that_repeated_the_same_segments_cannot_be_expressed() -> None:
    """E-P10: with 306 speakers, one of them with most of the speech, 764 rounds gave 1,040 different segments."""
    corpus = [utterance(f"{speaker}-{number}", f"s{speaker}", None, f"r{speaker}")
              for speaker in range(306) for number in range(5000 if speaker == 0 else 1 + speaker % 7)]
    sample = take(corpus, 0, most=3000)
    assert len({u.id for u in sample}) == len(sample) == 3000
    counts = Counter(u.speaker for u in sample)
    assert len(counts) == 306
    assert all(count == 1 + int(name[1:]) % 7 for name, count in counts.items() if name and name != "s0")


def test_every_speaker_is_heard_before_any_is_heard_twice() -> None:
    corpus = [utterance(f"{speaker}/{number}", f"s{speaker}", None, "r") for speaker in range(20) for number in range(speaker + 1)]
    assert Counter(u.speaker for u in take(corpus, 1, most=20)).most_common(1)[0][1] == 1
    assert max(Counter(u.speaker for u in take(corpus, 1, most=59)).values()) <= 4


def test_a_disk_budget_is_reckoned_as_flac() -> None:
    corpus = [utterance(str(number), None, None, f"r{number}", 10.0) for number in range(200)]
    sample = take(corpus, 0, gigabytes=0.02)
    assert 10.0 * len(sample) * 16_000 * FLAC_BYTES_PER_SAMPLE <= 0.02e9 < 10.0 * (len(sample) + 1) * 16_000 * FLAC_BYTES_PER_SAMPLE


def test_what_fits_nothing_is_said() -> None:
    with pytest.raises(ConfigError, match=r"nothing fits(?s:.)*10\.00 s"):
        take([utterance("a", None, None, "r", 10.0)], 0, hours=0.001)
    assert take([], 0, hours=1.0) == []
