"""From the tokens of a text to time: tokens ↔ characters ↔ words ↔ samples.

A language model's tokenizer says which characters of a text each of its tokens came from, and a layer of word times says when each
word of that same text was spoken. What both know of are the characters, so nothing is walked, counted or guessed (A-P18). A token
that stands on no timed word has no time: None, never zero (A-P1). Silence is a gap between windows, no token (A-P16).

All spans are half-open: of characters (code points of the text as it was given to the tokenizer), and of samples.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from typing import Any, Literal

import numpy as np

from utterloom.core.timing import FrameGrid
from utterloom.text.tokenizers import WORD_START

Span = tuple[int, int]
LETTERS_THAT_ARE_MARKS = "\u0e33\u0eb3\uff9e\uff9f"  # letters to Unicode: am of Thai and Lao, the marks of half-width kana
WRITTEN_WITHOUT_SPACES = (  # blocks of Unicode, first and last
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3041, 0x30FF),
    (0x3105, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x323AF))
UNDECODED = "\ufffd"


@dataclass(frozen=True, slots=True)
class TimedWord:
    """Characters [first_char, stop_char) of a text, spoken in samples [start_sample, stop_sample); None where nobody knows when."""

    first_char: int
    stop_char: int
    start_sample: int | None = None
    stop_sample: int | None = None

    @property
    def window(self) -> Span | None:
        return None if self.start_sample is None or self.stop_sample is None else (self.start_sample, self.stop_sample)


# --- words ------------------------------------------------------------------------------------------------------------


def words_in(text: str) -> list[Span]:
    """Where the words of a text are: what stands between spaces, and in scripts without (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese) each character with its marks. Punctuation belongs to the word that it touches; alone, it is a word without a sound."""
    spans = []
    start = None
    for place, character in enumerate(text):
        if character.isspace():
            if start is not None:
                spans.extend(_parts(text, start, place))
            start = None
        elif start is None:
            start = place
    if start is not None:
        spans.extend(_parts(text, start, len(text)))
    return spans


def places_of(words: Sequence[str], text: str) -> list[Span] | None:
    """Where `words` are in the text that they are all of, in order, with nothing but spaces between; None where they are not."""
    spans = []
    place = 0
    for word in words:
        start = place + len(text[place:]) - len(text[place:].lstrip())
        if not word or not text.startswith(word, start):
            return None
        place = start + len(word)
        spans.append((start, place))
    return None if text[place:].strip() else spans


def _parts(text: str, start: int, stop: int) -> list[Span]:
    """Of what stands between two spaces: cut around each character of a script that is written without spaces."""
    if text.isascii():
        return [(start, stop)]
    letters = [place for place in range(start, stop) if text[place].isalnum() and not _goes_on(text[place])]
    cuts = [start]
    for left, right in pairwise(letters):
        if _has_no_spaces(text[left]) or _has_no_spaces(text[right]):
            # What stands between stays with the left, but for brackets and quotes that open.
            opening = (place for place in range(left + 1, right) if unicodedata.category(text[place]) in ("Ps", "Pi"))
            cuts.append(next(opening, right))
    return list(pairwise([*cuts, stop]))


def _has_no_spaces(letter: str) -> bool:
    return any(first <= ord(letter) <= last for first, last in WRITTEN_WITHOUT_SPACES)


def _goes_on(character: str) -> bool:
    """Is it a part of the character before: a mark, or a later letter of a Hangul syllable?"""
    return (unicodedata.category(character).startswith("M") or character in LETTERS_THAT_ARE_MARKS
            or "\u1160" <= character <= "\u11ff")


# --- tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as a language model reads it: every id that it is fed, special ones where its tokenizer puts them, and no padding.

    `characters` are those of the text that a token stands for, None where it stands for none.
    """

    ids: list[int]
    characters: list[Span | None]
    is_special: list[bool]


def read_tokens(tokenizer: Any, text: str) -> Tokens:
    """Of a text, by a fast tokenizer of transformers, never cut. What looks like a special token in the text is text.

    Raises ValueError for a tokenizer that does not say where its tokens came from."""
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{type(tokenizer).__name__} is no fast tokenizer: it cannot say which characters its tokens came from")
    read = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, return_attention_mask=False,
                     split_special_tokens=True, truncation=False, padding=False, verbose=False)
    ids = [int(number) for number in read["input_ids"]]
    is_special = [bool(special) for special in read["special_tokens_mask"]]
    pieces = [tokenizer.decode([number], skip_special_tokens=False, clean_up_tokenization_spaces=False) for number in ids]
    return Tokens(ids, token_characters(text, read["offset_mapping"], pieces, is_special), is_special)


def token_characters(text: str, offsets: Sequence[Span], pieces: Sequence[str], is_special: Sequence[bool]) -> list[Span | None]:
    """The characters of `text` that each token stands for, from the `offsets` of a fast tokenizer.

    `pieces` is each token decoded alone. None for special tokens and for those that no character stands behind: the space that
    many tokenizers put before a text, though they give it the first letter's place. Byte-level pieces of one character all
    stand for it, also where a version of the library leaves the later ones an empty span, and where it gives the bytes of several
    unknown characters the span of them all.
    """
    spans: list[Span | None] = []
    previous = 0
    for (start, stop), piece, special in zip(offsets, pieces, is_special, strict=True):
        start, stop = min(start, len(text)), min(stop, len(text))
        span: Span | None = (start, stop)
        if special or (not piece.replace(WORD_START, "").strip() and not text[start:stop].isspace()):
            span = None
        elif start >= stop:
            # A piece of a character that began in the piece before, or begins here; anything else is no part of the text.
            first = start - 1 if previous == start > 0 else start
            span = (first, first + 1) if UNDECODED in piece and first < len(text) else None
        spans.append(span)
        previous = span[1] if span else previous
    first = 0
    for span, run in groupby(spans):
        length = len(list(run))
        if span is not None and length > 1 and span[1] - span[0] > 1:
            spans[first:first + length] = _bytes_of(text, span, length) or [span] * length
        first += length
    return spans


def _bytes_of(text: str, span: Span, num_tokens: int) -> list[Span] | None:
    """The characters behind each of `num_tokens` that are the bytes of a span, as it is or composed; None where they are not."""
    starts = [place for place in range(*span) if place == span[0] or not _goes_on(text[place])]
    characters = list(pairwise([*starts, span[1]]))
    for form in (None, "NFC", "NFKC"):
        letters = [unicodedata.normalize(form, text[slice(*each)]) if form else text[slice(*each)] for each in characters]
        num_bytes = [len(letter.encode(errors="surrogatepass")) for letter in letters]
        if sum(num_bytes) == num_tokens:
            return [each for each, count in zip(characters, num_bytes, strict=True) for _ in range(count)]
    return None


def token_windows(tokens: Sequence[Span | None], words: Sequence[TimedWord],
                  within_word: Literal["share", "split"] = "share") -> list[Span | None]:
    """When each token was spoken, in samples: from its first timed word's start to its last timed word's stop (A11).

    `tokens` are characters, as `token_characters` gives them; `words` are in the order in which they were spoken, and those whose
    characters overlap or cross (both words of "23") count as one. With `share`, tokens of one word all have its whole window;
    with `split` they part it among them, each as much as it has of the characters, those of one character alike. Starts and stops
    never go back. A token that stands on no timed word gets None: special ones, spaces, punctuation alone, a word without time.

    Raises ValueError where words, or tokens over words, go back.
    """
    words = _one_after_another(words)
    timed_words = _timed_words(tokens, words)
    borders: dict[tuple[int, int], Span] = {}
    if within_word == "split":
        members: dict[int, list[int]] = {}
        for token, timed in enumerate(timed_words):
            for number in timed:
                members.setdefault(number, []).append(token)
        for number, standing in members.items():
            for token, part in zip(standing, _split(words[number], [tokens[token] for token in standing]), strict=True):
                borders[token, number] = part
    windows: list[Span | None] = []
    for token, timed in enumerate(timed_words):
        if timed:
            first, last = (borders.get((token, number), words[number].window) for number in (timed[0], timed[-1]))
            assert first is not None and last is not None  # as all timed words have one
            windows.append((first[0], last[1]))
        else:
            windows.append(None)
    return windows


def windows_s(windows: Sequence[Span | None], sample_rate_hz: int) -> np.ndarray:
    """Seconds, float64 [tokens, 2]; NaN where a token has no time."""
    times = [(np.nan, np.nan) if window is None else window for window in windows]
    return np.array(times, np.float64).reshape(-1, 2) / sample_rate_hz


def _timed_words(tokens: Sequence[Span | None], words: Sequence[TimedWord]) -> list[list[int]]:
    """Numbers of the timed words that each token has characters of, rising."""
    stops = [word.stop_char for word in words]
    found: list[list[int]] = []
    reached = (0, 0)
    for token in tokens:
        timed = []
        if token is not None:
            number = bisect_right(stops, token[0])
            while number < len(words) and max(words[number].first_char, token[0]) < min(stops[number], token[1]):
                if words[number].window is not None:
                    timed.append(number)
                number += 1
        if timed:
            if timed[0] < reached[0] or timed[-1] < reached[1]:
                raise ValueError("the tokens are not in the order of the text")
            reached = timed[0], timed[-1]
        found.append(timed)
    return found


def _split(word: TimedWord, tokens: Sequence[Span | None]) -> list[Span]:
    """A word's window, parted among the tokens that stand on it; whole samples, none lost, none shared."""
    held = [range(max(word.first_char, token[0]), min(word.stop_char, token[1])) for token in tokens if token is not None]
    holders = Counter(character for characters in held for character in characters)
    shares = [sum((Fraction(1, holders[character]) for character in characters), Fraction()) for characters in held]
    assert word.window is not None
    start, stop = word.window
    total = sum(shares, Fraction())
    borders = [start, *(start + math.floor((stop - start) * reached / total) for reached in accumulate(shares))]
    return list(pairwise(borders))


def _one_after_another(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Words whose characters rise, disjoint; overlapping and crossing ones made one. Raises ValueError where times go back."""
    times = [word.window for word in words if word.window is not None]
    for (start, stop), (next_start, next_stop) in pairwise([(0, 0), *times]):
        if not (start <= next_start <= next_stop and stop <= next_stop):
            raise ValueError(f"a word is spoken in samples [{next_start}, {next_stop}), after one in [{start}, {stop})")
    joined: list[TimedWord] = []
    for word in words:
        if word.first_char < 0 or word.stop_char <= word.first_char or (word.start_sample is None) != (word.stop_sample is None):
            raise ValueError(f"{word} is no word")
        while joined and word.first_char < joined[-1].stop_char:
            word = _join(joined.pop(), word)
        joined.append(word)
    return joined


def _join(left: TimedWord, right: TimedWord) -> TimedWord:
    windows = [window for window in (left.window, right.window) if window is not None]
    return TimedWord(min(left.first_char, right.first_char), max(left.stop_char, right.stop_char),
                     min((start for start, _ in windows), default=None), max((stop for _, stop in windows), default=None))


# --- frames -----------------------------------------------------------------------------------------------------------


def states_on_grid(states: np.ndarray, windows: Sequence[Span | None], sample_rate_hz: int, grid: FrameGrid, num_frames: int,
                   rule: Literal["mean", "centre"] = "mean") -> tuple[np.ndarray, np.ndarray]:
    """States of tokens [tokens, dim] → of frames (A13): float32 [num_frames, dim], and which frames have one, bool [num_frames].

    `windows` are in samples at `sample_rate_hz`. `mean`: of the tokens whose windows overlap the frame, weighted by how long;
    `centre`: of those whose window holds its centre. A frame of silence, on which no token stands, is NaN: a gap, not a state
    (A-P16). Summed in float64.

    Raises ValueError for another number of windows than states, and for states that are not finite.
    """
    if len(states) != len(windows):
        raise ValueError(f"{len(states)} states, but {len(windows)} windows")
    timed = [number for number, window in enumerate(windows) if window is not None]
    values = states[timed].astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of the states are not finite")
    spans = [window for window in windows if window is not None]
    if rule == "centre":
        frames = np.array([grid.frame_span(start, stop, sample_rate_hz) for start, stop in spans], np.int64).reshape(-1, 2)
        frames = np.minimum(frames, num_frames)
        sums, weights = _standing(values, frames, num_frames), _standing(np.ones((len(spans), 1)), frames, num_frames)
    else:
        # Samples and borders of frames in ticks of one clock, so that they are whole numbers.
        ticks = math.lcm(sample_rate_hz, grid.sample_rate_hz)
        times = np.array(spans, np.int64).reshape(-1, 2) * (ticks // sample_rate_hz)
        borders = np.arange(num_frames + 1, dtype=np.int64) * grid.hop_samples * (ticks // grid.sample_rate_hz)
        sums, weights = _overlap(values, times, borders), _overlap(np.ones((len(spans), 1), np.int64), times, borders)
    has_state = weights[:, 0] > 0
    found = np.full((num_frames, states.shape[1]), np.nan, np.float32)
    found[has_state] = sums[has_state] / weights[has_state]
    return found, has_state


def _standing(values: np.ndarray, frames: np.ndarray, num_frames: int) -> np.ndarray:
    """[num_frames, dim]: the sum of the values on each frame, where each stands on frames [first, last + 1) of `frames`."""
    steps = np.zeros((num_frames + 1, values.shape[1]))
    np.add.at(steps, frames[:, 0], values)
    np.subtract.at(steps, frames[:, 1], values)
    return np.cumsum(steps, axis=0)[:-1]


def _overlap(values: np.ndarray, times: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """[borders - 1, dim]: the integral between neighbouring borders of values that each last for [start, stop) of `times`."""
    since_start = np.zeros((len(borders), values.shape[1]), values.dtype)
    for column, sign in ((0, 1), (1, -1)):
        order = np.argsort(times[:, column], kind="stable")
        moments, ordered = times[order, column], values[order]
        nothing = np.zeros((1, values.shape[1]), values.dtype)
        heights = np.concatenate([nothing, np.cumsum(ordered, axis=0)])
        offsets = np.concatenate([nothing, np.cumsum(ordered * moments[:, None], axis=0)])
        passed = np.searchsorted(moments, borders, side="right")
        since_start += sign * (heights[passed] * borders[:, None] - offsets[passed])
    return np.diff(since_start, axis=0)
