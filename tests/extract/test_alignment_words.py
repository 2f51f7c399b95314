"""Words from a path: times half-open and in order, silence a gap, what is estimated or not to be believed is called so."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("numba")
from utterloom.core.timing import FrameGrid
from utterloom.extract.alignment.text import script_of
from utterloom.extract.alignment.viterbi import NoAlignmentError
from utterloom.extract.alignment.words import ALIGNED, ESTIMATED, IMPLAUSIBLE, UNPLACED, Aligned, Limits, align
from utterloom.models.emissions import Spelled, Spelling

GRID = FrameGrid(16_000, 320)
LETTERS = {letter: number for number, letter in enumerate("abcdefghij", start=1)}


class Letters(Spelling):
    """Tokens 1 … are a … j; nothing else can be spelled."""

    def __init__(self, between: int | None = None) -> None:
        self.between = between

    def spell(self, word: str) -> Spelled:
        known = [(number, at) for at, letter in enumerate(word) if (number := LETTERS.get(letter))]
        return Spelled(tuple(number for number, _ in known), tuple((at, at + 1) for _, at in known), len(word) - len(known))


def emissions(frames: str, sure: float = 0.9, others: int = 12) -> np.ndarray:
    """A character a frame: the letter that is heard, `.` for the blank, `|` for the token between words (11)."""
    probabilities = np.full((len(frames), others), (1 - sure) / (others - 1))
    for row, heard in zip(probabilities, frames, strict=True):
        row[{".": 0, "|": 11}.get(heard, LETTERS.get(heard, 0))] = sure
    return np.log(probabilities).astype(np.float32)


def aligned(frames: str, text: str, stars: tuple[int, ...] = (), spelling: Spelling | None = None, limits: Limits | None = None,
            offset_s: float = 0.0, rate_hz: int = 16_000) -> Aligned:
    script = script_of(text, str.lower)
    return align(emissions(frames), script, spelling or Letters(), 0, GRID, round(len(frames) * 0.02 * rate_hz), rate_hz,
                 limits or Limits(), stars, offset_s)


def frames_of(found: Aligned, rate_hz: int = 16_000) -> list[tuple[str, float | None, float | None, str]]:
    return [(word.text, None if word.start_sample is None else round(word.start_sample / rate_hz / 0.02, 6),
             None if word.stop_sample is None else round(word.stop_sample / rate_hz / 0.02, 6), word.kind) for word in found.words]


def test_words_are_where_their_letters_are_and_silence_is_a_gap() -> None:
    found = aligned("..aab...ccd..", "Ab Cd")
    assert frames_of(found) == [("Ab", 2, 5, ALIGNED), ("Cd", 8, 11, ALIGNED)]
    assert found.words[0].chars == (("a", 640, 1280), ("b", 1280, 1600))
    assert found.score == pytest.approx(0.9)
    assert found.is_proved


def test_times_count_at_the_corpus_rate_and_frames_are_not_rounded_away() -> None:
    found = aligned("..aab...ccd..", "ab cd", rate_hz=22_050)
    assert [(word.start_sample, word.stop_sample) for word in found.words] == [(882, 2205), (3528, 4851)]


def test_a_token_between_words_belongs_to_neither() -> None:
    found = aligned(".aab||ccd.", "ab cd", spelling=Letters(between=11))
    assert frames_of(found) == [("ab", 1, 4, ALIGNED), ("cd", 6, 9, ALIGNED)]


@pytest.mark.parametrize("text", ["42 ab cd", "ab 42 cd", "ab cd 42", "42 ab § 42 cd 42"])
def test_words_without_tokens_share_the_gap_and_are_called_estimated(text: str) -> None:
    """D-P18: a leading number stopped the whole job, and one in the middle had the time of the word before it."""
    found = aligned("....aab....ccd....", text)
    kinds = {word.text: word.kind for word in found.words}
    assert kinds["42"] == ESTIMATED and kinds["ab"] == kinds["cd"] == ALIGNED
    timed = [(word.start_sample, word.stop_sample) for word in found.words if word.start_sample is not None]
    assert all(start is not None and stop is not None and start < stop for start, stop in timed)
    assert all(before[1] <= after[0] for before, after in pairwise(timed))
    assert all(word.score is None for word in found.words if word.kind != ALIGNED)


def test_without_room_there_is_no_time() -> None:
    found = aligned("aabccd", "ab 42 cd")
    assert frames_of(found)[1] == ("42", None, None, UNPLACED)


def test_words_said_as_one_share_its_time() -> None:
    script = script_of("a- b", lambda text: text.replace("- ", "").replace("-", ""))
    found = align(emissions("..aabb.."), script, Letters(), 0, GRID, 8 * 320, 16_000, Limits())
    assert [(word.text, word.start_sample, word.stop_sample, word.kind) for word in found.words] == [
        ("a-", 640, 1493, ESTIMATED), ("b", 1493, 1920, ESTIMATED)]


def test_what_is_not_to_be_believed_is_flagged() -> None:
    long = aligned("a" * 200 + "." + "b", "a b", limits=Limits(longest_word_s=3.0))
    assert [word.kind for word in long.words] == [IMPLAUSIBLE, ALIGNED]
    wrong = aligned("..aa...jjjj...", "ab cde", limits=Limits(least_score=0.05))
    assert wrong.words[1].kind == IMPLAUSIBLE
    assert wrong.words[1].score is not None and wrong.words[1].score < 0.05


def test_a_star_takes_what_the_text_lacks() -> None:
    frames = "..jjiijj...aab...jijijij...ccd..hh"
    without, with_star = aligned(frames, "ab cd"), aligned(frames, "ab cd", stars=(0, 1, 2))
    assert frames_of(with_star) == [("ab", 11, 14, ALIGNED), ("cd", 27, 30, ALIGNED)]
    assert frames_of(without)[0][1] == 11
    assert len(with_star.stars) == 3
    assert with_star.score == pytest.approx(0.9)


def test_what_cannot_be_aligned_says_why() -> None:
    with pytest.raises(NoAlignmentError, match="no token for any character"):
        aligned("......", "42 §")
    with pytest.raises(NoAlignmentError, match="tokens need"):
        aligned("ab", "abcdef")


def test_an_offset_moves_borders_and_never_out_of_the_audio() -> None:
    found = aligned("aab...ccd", "ab cd", offset_s=0.02)
    assert frames_of(found) == [("ab", 0, 2, ALIGNED), ("cd", 5, 8, ALIGNED)]
    later = aligned("aab...ccd", "ab cd", offset_s=-0.02)
    assert frames_of(later) == [("ab", 1, 4, ALIGNED), ("cd", 7, 9, ALIGNED)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["ab", "c", "dea", "42", "–", "j7", "b"]), min_size=1, max_size=8), st.integers(0, 2**32 - 1),
       st.integers(20, 80), st.sampled_from([8_000, 16_000, 22_050, 44_100]), st.booleans())
def test_times_are_real_in_order_and_inside(words: list[str], seed: int, num_frames: int, rate_hz: int, stars: bool) -> None:
    """Whatever is heard: half-open, monotone, within the audio, never zero-length, and null only where nothing has a time."""
    generator = np.random.default_rng(seed)
    log_probs = np.log(generator.dirichlet(np.full(12, 0.3), num_frames) + 1e-9).astype(np.float32)
    script = script_of(" ".join(words), str.lower)
    num_samples = round(num_frames * 0.02 * rate_hz)
    try:
        found = align(log_probs, script, Letters(), 0, GRID, num_samples, rate_hz, Limits(),
                      tuple(range(len(script.spoken) + 1)) if stars else ())
    except NoAlignmentError:
        return
    assert [word.text for word in found.words] == words
    last = 0
    for word in found.words:
        assert (word.start_sample is None) == (word.stop_sample is None) == (word.kind == UNPLACED)
        if word.start_sample is not None and word.stop_sample is not None:
            assert last <= word.start_sample < word.stop_sample <= num_samples
            last = word.stop_sample
            assert [char[1] for char in word.chars] == sorted(char[1] for char in word.chars)
        assert (word.score is not None) == (word.kind in (ALIGNED, IMPLAUSIBLE)) or word.kind in (ESTIMATED, UNPLACED)
