"""How likely each text of a corpus is by the characters of all others, for corpora of millions of texts.

Shapes: [texts] one number a text; [characters] one a character of a batch of texts, marks included.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

CHARACTERS_AT_ONCE = 2**20
BACKGROUND_BITS = 12.0  # of a character that only this text has


def bits_a_character(texts: Sequence[str]) -> np.ndarray:
    """float64 [texts]: how badly all other texts foretell the characters of each, and its end. The texts are distinct, none empty.

    A character's share is that of its trigram, bigram and itself among the others' (0.6, 0.25 and 0.15 of it), and BACKGROUND_BITS
    keep what nobody else has from being infinite. Works through CHARACTERS_AT_ONCE; what stays in memory are the counts.
    """
    if not texts:
        return np.empty(0)
    is_used = np.zeros(sys.maxunicode + 1, bool)
    for batch in _batches(texts, len(texts)):
        is_used[_code_points(batch)] = True
    used = np.flatnonzero(is_used)
    size = len(used)
    letter_of = np.zeros(used[-1] + 1, np.int64)
    letter_of[used] = np.arange(size)  # so that a trigram is a small number
    most_texts = (2**63 - 1) // size**3  # so that (trigram, text) is a number of 63 bits

    counts = [_Counts() for _ in range(3)]
    num_characters = 0
    for batch in _batches(texts, most_texts):
        grams = _Grams(batch, letter_of, size)
        num_characters += int(grams.is_own.sum())
        for count, codes in zip(counts, grams.codes, strict=True):
            count.add(codes[grams.is_own])

    bits = []
    for batch in _batches(texts, most_texts):
        grams = _Grams(batch, letter_of, size)
        ones, twos, threes = (grams.among_others(count, codes) for count, codes in zip(counts, grams.codes, strict=True))
        here = np.flatnonzero(grams.is_own)
        text_of = grams.text_of[here]
        others = num_characters - np.bincount(text_of)
        share = (0.6 * _share(threes[here], twos[here - 1]) + 0.25 * _share(twos[here], ones[here - 1])
                 + 0.15 * _share(ones[here], others[text_of]))
        bits.append(np.bincount(text_of, -np.log2(share + 2**-BACKGROUND_BITS)) / np.bincount(text_of))
    return np.concatenate(bits)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """At most 1: a text that holds a mark of its own could be more."""
    share: np.ndarray = np.minimum(1.0, np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))
    return share


def _batches(texts: Sequence[str], most_texts: int) -> Iterator[Sequence[str]]:
    """Runs of texts with CHARACTERS_AT_ONCE or a little more, and no more than `most_texts`."""
    first, num_characters = 0, 0
    for number, text in enumerate(texts):
        num_characters += len(text)
        if num_characters >= CHARACTERS_AT_ONCE or number + 1 - first >= most_texts or number + 1 == len(texts):
            yield texts[first:number + 1]
            first, num_characters = number + 1, 0


def _code_points(texts: Iterable[str]) -> np.ndarray:
    """Two marks, a text, a mark, and so on."""
    joined = "".join(f"\x02\x02{text}\x03" for text in texts)
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")


class _Grams:
    """Single characters, bigrams and trigrams of some texts as numbers: `codes` has an int64 [characters] of each, by the last.

    Those that end in the two marks before a text are no text's own; they are there to be looked back at.
    """

    def __init__(self, texts: Sequence[str], letter_of: np.ndarray, size: int) -> None:
        lengths = np.array([len(text) + 3 for text in texts])
        starts = np.cumsum(lengths) - lengths
        self._num_texts = len(texts)
        self.text_of = np.repeat(np.arange(len(texts)), lengths)
        self.is_own = np.ones(len(self.text_of), bool)
        self.is_own[starts] = self.is_own[starts + 1] = False
        letters = letter_of[_code_points(texts)]
        self.codes = [letters]
        for _ in range(2):
            longer = letters.copy()
            longer[1:] += size * self.codes[-1][:-1]
            self.codes.append(longer)

    def among_others(self, corpus: _Counts, codes: np.ndarray) -> np.ndarray:
        """int64 [characters]: how often the n-gram there is in the corpus without the text that it is in."""
        pairs, place = np.unique(codes * self._num_texts + self.text_of, return_inverse=True)
        own = np.bincount(place[self.is_own], minlength=len(pairs))
        return (corpus.of(pairs // self._num_texts) - own)[place]


class _Counts:
    """How often each n-gram occurs. Merged whenever as much is new as was there, so that each is sorted a few times only."""

    def __init__(self) -> None:
        self._codes, self._times = np.empty(0, np.int64), np.empty(0, np.int64)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, codes: np.ndarray) -> None:
        """One more of each."""
        self._new.append(np.unique(codes, return_counts=True))
        if sum(len(codes) for codes, _ in self._new) >= len(self._codes):
            self._merge()

    def of(self, codes: np.ndarray) -> np.ndarray:
        """int64, like `codes`; 0 for what was never added. Quickest where `codes` are sorted."""
        self._merge()
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[place] == codes, self._times[place], 0)

    def _merge(self) -> None:
        if self._new:
            codes, times = (np.concatenate(parts) for parts in zip((self._codes, self._times), *self._new, strict=True))
            self._codes, place = np.unique(codes, return_inverse=True)
            self._times, self._new = np.bincount(place, times).astype(np.int64), []
