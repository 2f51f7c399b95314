"""The truth that word times are measured against: what eSpeak says is read right, and what it does not say is left open."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import alignment_corpus  # noqa: E402
import alignment_truth  # noqa: E402
import spoken_words  # noqa: E402
from spoken_words import _PHONEME, _WORD, SpokenWords, TimedWord, _Mark, timed_words  # noqa: E402

NO_DATA = not (alignment_corpus.DATA / "fsdd").is_dir()


def marks(*entries: tuple[int | str, int]) -> list[_Mark]:
    """Words by their place in the text, sounds by their name, each with its sample."""
    return [_Mark(_WORD, at, what) if isinstance(what, int) else _Mark(_PHONEME, at, phoneme=what) for what, at in entries]


def test_a_word_ends_where_the_next_begins_or_a_pause_does() -> None:
    found = timed_words("so they went", marks((0, 0), ("s", 10), ("oU", 80), (3, 200), ("D", 205), ("eI", 260), ("_:", 400),
                                              ("_", 500), (8, 500), ("w", 500), ("E", 560), ("n", 600), ("t", 650), ("_:", 700)))
    assert found == [TimedWord("so", 0, 200), TimedWord("they", 200, 400), TimedWord("went", 500, 700)]


def test_what_espeak_runs_together_has_no_time_inside() -> None:
    found = timed_words("one of the birds", marks((0, 0), ("V", 50), ("n", 90), (4, 120), ("V", 130), ("v", 160), ("D", 190),
                                                  (11, 250), ("b", 260), ("_:", 500)))
    assert found == [TimedWord("one", 0, 120), TimedWord("of", 120, None), TimedWord("the", None, None),
                     TimedWord("birds", 250, 500)]


def test_a_mark_before_the_consonant_that_binds_two_words_is_not_believed() -> None:
    found = timed_words("an hour", marks((0, 0), ("@", 5), ("n", 60), (3, 60), ("aU", 150), ("_:", 400)))
    assert found == [TimedWord("an", 0, None), TimedWord("hour", None, 400)]


def test_espeak_marks_words_where_their_sound_is() -> None:
    """In speech with pauses the sound itself says where words begin and end: within a window of 10 ms and a lead of 12."""
    pytest.importorskip("espeakng_loader")
    samples, words = SpokenWords().speak("Peas. Seven. Kites.", "gmw/en-US+m1")
    energy = np.convolve(np.abs(samples), np.ones(221) / 221, "same") > 1e-3
    assert [word.word for word in words] == ["Peas", "Seven", "Kites"]
    for word, before in zip(words[1:], words, strict=False):
        assert word.start_sample is not None and word.stop_sample is not None and before.stop_sample is not None
        loud = word.start_sample - 400 + np.flatnonzero(energy[word.start_sample - 400:word.stop_sample])
        assert -0.002 <= (loud[0] - word.start_sample) / spoken_words.RATE_HZ <= 0.07, "the closure of a stop is part of it"
        assert not energy[before.stop_sample + 700:word.start_sample - 400].any()


@pytest.mark.skipif(NO_DATA, reason="../shared/data/fsdd is not here")
def test_joined_digits_begin_where_their_recordings_do(tmp_path: Path) -> None:
    alignment_truth.make_digits(tmp_path / "digits", heard=True)
    items = alignment_truth.read_timed(tmp_path / "digits")
    assert sum(len(item.words) for item in items) == 150
    recordings = {row["id"]: soundfile.read(alignment_corpus.DATA / "fsdd" / row["path"])[0]
                  for row in alignment_corpus.read_tsv(alignment_corpus.DATA / "fsdd" / "transcripts.tsv")
                  if row["speaker"] != alignment_corpus.HELD_OUT_DIGIT_SPEAKER and row["split"] == "test"}
    for item in items[:5]:
        joined = soundfile.read(item.path)[0]
        for word, start_s, stop_s in zip(item.words, item.start_s, item.stop_s, strict=True):
            piece = joined[round(start_s * 8000):round(stop_s * 8000)]
            assert any(np.array_equal(piece, one) for name, one in recordings.items() if len(one) == len(piece)), word


@pytest.mark.skipif(NO_DATA, reason="../shared/data is not here")
def test_nothing_of_the_truth_is_in_the_training_corpus() -> None:
    from collections import Counter

    from utterloom.demo.corpus import VOICES

    assert not set(alignment_truth.VOICES) & set(VOICES["train"])
    left_out: Counter[str] = Counter()
    rows = list(alignment_corpus.recorded(left_out))
    assert len(rows) > 1000 and not [row for row in rows if "ljspeech" in str(row.path) or "/LJ" in str(row.path)
                                     or row.id.endswith("_long")]
    assert len({row.id for row in rows}) == len(rows) and sum(left_out.values()) > 0
    digits = alignment_corpus.training_digits()
    assert len(digits) == 1350 and "theo" not in {row["speaker"] for row in digits}
    assert {row["split"] for row in digits} == {"train"}


@pytest.mark.skipif(NO_DATA, reason="../shared/data is not here")
def test_the_reference_of_ljspeech_is_matched_by_words() -> None:
    items = {item.id: item for item in alignment_truth.read_timed(alignment_corpus.DATA / "ljspeech_lj001")}
    first = items["LJ001-0001"]
    assert first.words[:3] == ["printing", "in", "the"]
    assert first.start_s[:3].tolist() == [0.0, 0.8, 1.0] and first.stop_s[:3].tolist() == [0.68, 1.0, 1.16]
    known = np.concatenate([np.isfinite(item.start_s) for item in items.values()])
    assert known.mean() > 0.97
    long = items["LJ001-0001-0032_long"]
    segments = list(alignment_truth._words_of_segments(alignment_corpus.DATA / "ljspeech_lj001", long))
    assert len(segments) == 32 and segments[-1][1] == len(long.words)
