"""From a path through emissions to words with times: what was aligned, what was estimated, and what is not to be believed.

A word is `aligned`; `estimated` where the model has no tokens for it, or several words were said as one: its time is then a share
of the gap or the stretch that it lies in; `implausible` where it was aligned, but lasts too long or scores too low; `unplaced`
where it has no time, because nothing of it is said (punctuation alone) or there is no room between its neighbours. Nothing has the
time zero because it has none (A-P1, D-P18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from utterloom.core.timing import FrameGrid
from utterloom.extract.alignment.borders import by_energy
from utterloom.extract.alignment.text import Script
from utterloom.extract.alignment.viterbi import NoAlignmentError, Path, align_tokens

if TYPE_CHECKING:  # it brings torch, and is only a type here
    from utterloom.models.emissions import Spelling

ALIGNED, ESTIMATED, IMPLAUSIBLE, UNPLACED = "aligned", "estimated", "implausible", "unplaced"
STAR_PENALTY = 2.0  # nats a frame, against the token that fits best: what is in the text is better said by the text


@dataclass(frozen=True)
class Limits:
    """What is believed: a word up to `longest_word_s`, whose frames have at least `least_score` (geometric mean probability)."""

    longest_word_s: float = 3.0
    least_score: float = 0.02


@dataclass(frozen=True)
class AlignedWord:
    """A word as written; samples are half-open, at the corpus's rate, None where it has no time. `score` is the geometric mean of
    the probabilities of its tokens' frames; `chars` are (character said, start, stop)."""

    text: str
    first_char: int
    stop_char: int
    start_sample: int | None
    stop_sample: int | None
    score: float | None
    kind: str
    chars: tuple[tuple[str, int, int], ...] = ()

    def row(self) -> dict[str, object]:
        """As a layer of words holds it."""
        chars = [{"char": char, "start_sample": start, "stop_sample": stop} for char, start, stop in self.chars]
        return {"word": self.text, "start_sample": self.start_sample, "stop_sample": self.stop_sample, "score": self.score,
                "kind": self.kind, "first_char": self.first_char, "stop_char": self.stop_char, "chars": chars}


@dataclass(frozen=True)
class Aligned:
    """`score` is the geometric mean probability of all frames of tokens; `is_proved`: no better path exists. `stars` are stretches
    that the text lacks, in samples."""

    words: list[AlignedWord]
    score: float | None
    is_proved: bool
    stars: list[tuple[int, int]]


@dataclass(frozen=True)
class _Sequence:
    """Tokens of a text: `ids` [s]; of which spoken word (−1: of none) and which of its characters [s, 2]."""

    ids: np.ndarray
    word: np.ndarray
    span: np.ndarray


def align(log_probs_tv: np.ndarray, script: Script, spelling: Spelling, blank: int, grid: FrameGrid, num_samples: int, rate_hz: int,
          limits: Limits, stars: Sequence[int] = (), offset_s: float = 0.0, scores_tv: np.ndarray | None = None,
          power_t: np.ndarray | None = None) -> Aligned:
    """Emissions of a stretch of audio and its text → words with times.

    `stars` are places between spoken words (0: before the first) where speech may stand that the text lacks. `offset_s` is taken
    from every border: how late the model is. `scores_tv`, where given, is what the path is sought in (a model's scores without its
    prior), and `log_probs_tv` what words are scored by. With `power_t`, as `borders.powers` gives it, borders are sought in the
    sound around what the model says. Raises NoAlignmentError.
    """
    sought = log_probs_tv if scores_tv is None else scores_tv
    star = sought.shape[1]
    sequence = _tokens(script.spoken, spelling, star, set(stars))
    if not len(sequence.ids):
        raise NoAlignmentError("the model has no token for any character of the text")
    if len(stars):
        sought = np.concatenate([sought, _star(sought, blank)[:, None]], axis=1)
    path = align_tokens(sought, sequence.ids, blank)
    log_scores = _scores(log_probs_tv, sequence, path, star)

    def sample(frame: int | np.ndarray) -> np.ndarray:
        seconds = np.asarray(frame) * grid.hop_samples / grid.sample_rate_hz - offset_s
        return np.clip(np.rint(seconds * rate_hz), 0, num_samples).astype(np.int64)

    starts, stops = sample(path.start_frame), sample(path.stop_frame)
    spoken = _spoken(script.spoken, sequence, starts, stops, log_scores, path.stop_frame - path.start_frame)
    words = _written(script, spoken)
    if power_t is not None:
        words = _in_sound(words, power_t, num_samples, rate_hz)
    words = _estimated(words, num_samples)
    words = [_judged(word, limits, rate_hz) for word in words]
    frames = sum(one[3] for one in spoken if one is not None)
    total = sum(one[2] for one in spoken if one is not None)
    is_star = sequence.ids == star
    gaps = [(int(start), int(stop)) for start, stop in zip(starts[is_star], stops[is_star], strict=True)]
    return Aligned(words, float(np.exp(total / frames)) if frames else None, path.is_proved, gaps)


def _tokens(spoken: Sequence[str], spelling: Spelling, star: int, stars: set[int]) -> _Sequence:
    ids: list[int] = []
    words: list[int] = []
    spans: list[tuple[int, int]] = []

    def add(number: int, word: int, span: tuple[int, int]) -> None:
        ids.append(number)
        words.append(word)
        spans.append(span)

    for number, word in enumerate(spoken):
        spelled = spelling.spell(word)
        if number in stars:
            add(star, -1, (0, 0))
        elif ids and spelled.ids and spelling.between is not None and ids[-1] not in (star, spelling.between):
            add(spelling.between, -1, (0, 0))
        for token, span in zip(spelled.ids, spelled.spans, strict=True):
            add(token, number if span[0] < span[1] else -1, span)
    if len(spoken) in stars:
        add(star, -1, (0, 0))
    if all(word == -1 for word in words):
        return _Sequence(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2), np.int64))
    return _Sequence(np.array(ids), np.array(words), np.array(spans).reshape(-1, 2))


def _star(scores_tv: np.ndarray, blank: int) -> np.ndarray:
    """What a frame gives to speech that the text lacks: as much as silence does, or the token that fits best, at a price."""
    others = np.delete(scores_tv, blank, axis=1).max(1)
    found: np.ndarray = np.maximum(scores_tv[:, blank], others - STAR_PENALTY)
    return found


def _scores(log_probs_tv: np.ndarray, sequence: _Sequence, path: Path, star: int) -> np.ndarray:
    """The sum of log-probabilities of each token's frames, [s]; of a star, 0."""
    lengths = path.stop_frame - path.start_frame
    frames = np.concatenate([np.arange(start, stop) for start, stop in zip(path.start_frame, path.stop_frame, strict=True)])
    ids = np.repeat(np.minimum(sequence.ids, log_probs_tv.shape[1] - 1), lengths)
    sums = np.add.reduceat(log_probs_tv[frames, ids].astype(np.float64), np.concatenate(([0], np.cumsum(lengths)[:-1])))
    return np.where(sequence.ids == star, 0.0, sums)


# of a spoken word: start, stop, sum of log-probabilities, frames they are of, characters with their times
_Spoken = tuple[int, int, float, int, tuple[tuple[str, int, int], ...]]


def _spoken(spoken: Sequence[str], sequence: _Sequence, starts: np.ndarray, stops: np.ndarray,
            log_scores: np.ndarray, num_frames: np.ndarray) -> list[_Spoken | None]:
    found: list[_Spoken | None] = [None] * len(spoken)
    of_word = np.flatnonzero(sequence.word >= 0)
    for tokens in np.split(of_word, np.flatnonzero(np.diff(sequence.word[of_word])) + 1) if len(of_word) else []:
        number = int(sequence.word[tokens[0]])
        chars: list[tuple[str, int, int]] = []
        for token in tokens:
            first, stop = sequence.span[token]
            edges = np.rint(np.linspace(starts[token], stops[token], stop - first + 1)).astype(int).tolist()
            chars += list(zip(spoken[number][first:stop], edges[:-1], edges[1:], strict=True))
        found[number] = (int(starts[tokens[0]]), int(stops[tokens[-1]]), float(log_scores[tokens].sum()),
                         int(num_frames[tokens].sum()), tuple(chars))
    return found


def _written(script: Script, spoken: Sequence[_Spoken | None]) -> list[AlignedWord]:
    """Times of what was said → times of what is written; those of several words that were said as one are shared by length."""
    words: list[AlignedWord] = []
    for group in script.groups:
        members = script.written[group.first:group.stop]
        said = [one for one in spoken[group.first_spoken:group.stop_spoken] if one is not None]
        if not said:
            is_sound = group.stop_spoken > group.first_spoken or any(char.isalnum() for word in members for char in word.text)
            words += [AlignedWord(word.text, word.first_char, word.stop_char, None, None, None, ESTIMATED if is_sound else UNPLACED)
                      for word in members]
            continue
        start, stop = said[0][0], said[-1][1]
        score = float(np.exp(sum(one[2] for one in said) / sum(one[3] for one in said)))
        if len(members) == 1:
            word, chars = members[0], tuple(char for one in said for char in one[4])
            words.append(AlignedWord(word.text, word.first_char, word.stop_char, start, stop, score, ALIGNED, chars))
            continue
        edges = _shares(start, stop, [len(word.text) for word in members])
        words += [AlignedWord(word.text, word.first_char, word.stop_char, left, right, score, ESTIMATED)
                  for word, left, right in zip(members, edges[:-1], edges[1:], strict=True)]
    return words


def _in_sound(words: list[AlignedWord], power_t: np.ndarray, num_samples: int, rate_hz: int) -> list[AlignedWord]:
    """Borders moved to where the sound says that words begin and end; what is estimated between two words keeps them apart."""
    timed = [number for number, word in enumerate(words) if word.start_sample is not None]
    starts, stops = (np.array([getattr(words[number], name) for number in timed], float) / rate_hz
                     for name in ("start_sample", "stop_sample"))
    may_touch = np.array([True] + [not any(word.kind == ESTIMATED for word in words[left + 1:right])
                                   for left, right in pairwise(timed)] + [True])
    found = list(words)
    for number, *edges in zip(timed, *by_energy(starts, stops, power_t, may_touch), strict=True):
        start, stop = (int(np.clip(round(edge * rate_hz), 0, num_samples)) for edge in edges)
        chars = [(char, max(start, first), min(stop, last)) for char, first, last in words[number].chars]
        if chars:  # the first and the last go with their word
            chars[0] = (chars[0][0], start, chars[0][2])
            chars[-1] = (chars[-1][0], chars[-1][1], stop)
        found[number] = replace(words[number], start_sample=start, stop_sample=stop,
                                chars=tuple((char, first, max(first, last)) for char, first, last in chars))
    return found


def _shares(start: int, stop: int, sizes: Sequence[int]) -> list[int]:
    """A stretch divided in proportion to some sizes: its borders."""
    sums = np.concatenate(([0], np.cumsum(sizes)))
    return [int(value) for value in np.rint(start + (stop - start) * sums / sums[-1])]


def _estimated(words: list[AlignedWord], num_samples: int) -> list[AlignedWord]:
    """Words without tokens share the gap between those that have a time; without room they have none."""
    found, number = list(words), 0
    while number < len(found):
        if found[number].kind != ESTIMATED or found[number].start_sample is not None:
            number += 1
            continue
        end = number
        while end < len(found) and found[end].start_sample is None:
            end += 1
        members = [index for index in range(number, end) if found[index].kind == ESTIMATED]
        before = next((word.stop_sample for word in reversed(found[:number]) if word.stop_sample is not None), 0)
        after = next((word.start_sample for word in found[end:] if word.start_sample is not None), num_samples)
        if after > before:
            edges = _shares(before, after, [len(found[index].text) for index in members])
            for index, left, right in zip(members, edges[:-1], edges[1:], strict=True):
                found[index] = replace(found[index], start_sample=left, stop_sample=right) if right > left else \
                    replace(found[index], kind=UNPLACED)
        else:
            for index in members:
                found[index] = replace(found[index], kind=UNPLACED)
        number = end
    return found


def _judged(word: AlignedWord, limits: Limits, rate_hz: int) -> AlignedWord:
    if word.kind != ALIGNED or word.start_sample is None or word.stop_sample is None:
        return word
    is_long = word.stop_sample - word.start_sample > limits.longest_word_s * rate_hz
    is_low = word.score is not None and word.score < limits.least_score
    if word.stop_sample <= word.start_sample:  # cut off by the offset or by the end of the audio
        return replace(word, start_sample=None, stop_sample=None, kind=UNPLACED, chars=())
    return replace(word, kind=IMPLAUSIBLE) if is_long or is_low else word
