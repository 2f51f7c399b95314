"""The aligner's search against a textbook's table, and its proof: a path that it calls the best is the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from utterloom.extract.alignment import viterbi
from utterloom.extract.alignment.viterbi import NoAlignmentError, align_tokens

BLANK = 0


def textbook(log_probs_tv: np.ndarray, tokens: np.ndarray) -> tuple[list[int], list[int], float]:
    """Graves et al. 2006, the whole table: (start frames, stop frames, score)."""
    extended = np.full(2 * len(tokens) + 1, BLANK)
    extended[1::2] = tokens
    num_states, num_frames = len(extended), len(log_probs_tv)
    may_skip = np.zeros(num_states, bool)
    may_skip[2:] = (extended[2:] != BLANK) & (extended[2:] != extended[:-2])
    scores = np.full(num_states, -np.inf)
    scores[:2] = log_probs_tv[0, extended[:2]]
    came_from = np.zeros((num_frames, num_states), int)
    for frame in range(1, num_frames):
        one = np.concatenate(([-np.inf], scores))[:num_states]
        two = np.where(may_skip, np.concatenate(([-np.inf] * 2, scores))[:num_states], -np.inf)
        choices = np.stack([scores, one, two])
        came_from[frame] = choices.argmax(0)
        scores = choices.max(0) + log_probs_tv[frame, extended].astype(np.float64)
    state = num_states - 1 if num_states == 1 or scores[-1] > scores[-2] else num_states - 2
    score = float(scores[state])
    path = [state]
    for frame in range(num_frames - 1, 0, -1):
        state -= came_from[frame, state]
        path.append(state)
    path.reverse()
    starts = [path.index(2 * token + 1) for token in range(len(tokens))]
    stops = [num_frames - path[::-1].index(2 * token + 1) for token in range(len(tokens))]
    return starts, stops, score


def emissions(generator: np.random.Generator, num_frames: int, vocabulary: int = 5, peak: float = 0.3) -> np.ndarray:
    return np.log(generator.dirichlet(np.full(vocabulary, peak), num_frames) + 1e-9).astype(np.float32)


def speech(generator: np.random.Generator, num_frames: int, num_tokens: int, wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """Emissions as a trained network gives them: blanks, and a spike for each token, some of them of another."""
    vocabulary = 30
    tokens = generator.integers(1, vocabulary, num_tokens)
    logits = np.zeros((num_frames, vocabulary), np.float32)
    logits[:, BLANK] = 4
    for token, frame in zip(tokens, np.sort(generator.choice(num_frames, num_tokens, replace=False)), strict=True):
        logits[frame, token if generator.random() > wrong else generator.integers(1, vocabulary)] = 6
        logits[frame, BLANK] = 1
    logits += generator.normal(size=logits.shape).astype(np.float32)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True)), tokens


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.0, 1.0))
def test_the_path_is_the_textbooks(seed: int, num_frames: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    log_probs, tokens = emissions(generator, num_frames), generator.integers(1, 5, int(share * num_frames))
    if len(tokens) + (tokens[1:] == tokens[:-1]).sum() > num_frames:
        with pytest.raises(NoAlignmentError):
            align_tokens(log_probs, tokens)
        return
    starts, stops, score = textbook(log_probs, tokens)
    path = align_tokens(log_probs, tokens)
    assert path.is_proved
    assert path.score == pytest.approx(score, abs=1e-6)
    assert path.start_frame.tolist() == starts and path.stop_frame.tolist() == stops


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 150), st.sampled_from([0.5, 2.0, 8.0]), st.floats(0.05, 0.5))
def test_a_narrow_beam_still_ends_with_the_best_path(seed: int, num_frames: int, beam: float, share: float) -> None:
    """Widened until the proof holds; what one narrow beam finds is proved only where it is the best."""
    generator = np.random.default_rng(seed)
    log_probs, tokens = emissions(generator, num_frames), generator.integers(1, 5, int(share * num_frames))
    if len(tokens) + (tokens[1:] == tokens[:-1]).sum() > num_frames:
        return
    _, _, score = textbook(log_probs, tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viterbi, "FULL_CELLS", 0)
        patch.setattr(viterbi, "FIRST_BEAM", beam)
        path = align_tokens(log_probs, tokens)
        narrow = align_tokens(log_probs, tokens, beam=beam)
    assert path.is_proved and path.score == pytest.approx(score, abs=1e-6)
    assert narrow.score <= score + 1e-6
    if narrow.is_proved:
        assert narrow.score == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("wrong", [0.02, 0.2, 0.9])
def test_sweeps_prove_what_a_whole_table_says(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for many sweeps; with nine of ten tokens misheard a beam must be widened, and is."""
    log_probs, tokens = speech(np.random.default_rng(7), 6_000, 1_700, wrong)
    whole = align_tokens(log_probs, tokens, beam=np.inf)
    monkeypatch.setattr(viterbi, "FULL_CELLS", 0)
    monkeypatch.setattr(viterbi, "FIRST_BEAM", 60.0)
    path = align_tokens(log_probs, tokens)
    assert whole.is_proved and path.is_proved
    assert path.score == whole.score
    assert (path.start_frame == whole.start_frame).all() and (path.stop_frame == whole.stop_frame).all()


def test_tokens_follow_one_another_and_repeats_are_parted() -> None:
    log_probs = emissions(np.random.default_rng(3), 50)
    tokens = np.array([2, 2, 3, 3, 3, 1])
    path = align_tokens(log_probs, tokens)
    assert (path.start_frame < path.stop_frame).all()
    assert (path.stop_frame[:-1] <= path.start_frame[1:]).all()
    assert all(path.stop_frame[i] < path.start_frame[i + 1] for i in (0, 2, 3)), "a blank stands between two of the same"


def test_no_tokens_is_silence() -> None:
    log_probs = emissions(np.random.default_rng(3), 10)
    path = align_tokens(log_probs, np.array([], int))
    assert len(path.start_frame) == 0 and path.score == pytest.approx(log_probs[:, BLANK].sum())


def test_what_cannot_be_aligned_is_said() -> None:
    log_probs = emissions(np.random.default_rng(3), 10)
    with pytest.raises(NoAlignmentError, match="11 tokens need 11 frames, and there are 10"):
        align_tokens(log_probs, np.array([1, 2] * 5 + [1]))
    with pytest.raises(NoAlignmentError, match="NaN"):
        align_tokens(np.full((10, 5), np.nan, np.float32), np.array([1]))
    forbidden = log_probs.copy()
    forbidden[:, 2] = -np.inf
    with pytest.raises(NoAlignmentError, match="probability zero"):
        align_tokens(forbidden, np.array([2]))
    with pytest.raises(ValueError, match="not the blank"):
        align_tokens(log_probs, np.array([0, 1]))
