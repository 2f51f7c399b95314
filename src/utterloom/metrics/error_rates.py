"""Word and character error rates from one Levenshtein alignment.

    rate = (substitutions + deletions + insertions) / reference length

Text is brought to Unicode NFC here, so that a precomposed and a decomposed `ế` are one and the same. A *word* is what
`str.split()` yields. A *character* is one code point after NFC: a whole letter with its marks in Vietnamese or
Croatian; where Unicode has no precomposed form (Devanagari, Arabic vowel signs) each mark counts. Rates are fractions;
percent is only for print.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Op = Literal["equal", "substitute", "delete", "insert"]


class Edit(NamedTuple):
    """One column of an alignment. `ref` is None for an insertion, `hyp` is None for a deletion."""

    op: Op
    ref: str | None
    hyp: str | None


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Numerator and denominator of an error rate; adding two pools them (micro-average)."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    correct: int = 0

    @classmethod
    def of(cls, edits: Iterable[Edit]) -> ErrorCounts:
        ops = Counter(edit.op for edit in edits)
        return cls(ops["substitute"], ops["delete"], ops["insert"], ops["equal"])

    @property
    def reference_length(self) -> int:
        return self.substitutions + self.deletions + self.correct

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per reference token; None where there is no reference token to divide by. May exceed 1."""
        return self.errors / self.reference_length if self.reference_length else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.correct + other.correct,
        )


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Edit]:
    """A cheapest alignment of two token lists, every edit costing 1 (Levenshtein 1966), in reading order.

    The columns with a `ref` spell `ref`, those with a `hyp` spell `hyp`. Tokens are compared as they are.
    """
    # Numbers instead of strings: rapidfuzz compares hashes, and those of strings are salted anew in every process.
    number_of: dict[str, int] = {}
    ref_numbers = [number_of.setdefault(token, len(number_of)) for token in ref]
    hyp_numbers = [number_of.setdefault(token, len(number_of)) for token in hyp]
    edits: list[Edit] = []
    for tag, ref_start, ref_end, hyp_start, hyp_end in Levenshtein.opcodes(ref_numbers, hyp_numbers):
        if tag == "delete":
            edits += [Edit("delete", token, None) for token in ref[ref_start:ref_end]]
        elif tag == "insert":
            edits += [Edit("insert", None, token) for token in hyp[hyp_start:hyp_end]]
        else:  # "equal" and "replace" cover as many tokens on both sides
            op: Op = "equal" if tag == "equal" else "substitute"
            pairs = zip(ref[ref_start:ref_end], hyp[hyp_start:hyp_end], strict=True)
            edits += [Edit(op, ref_token, hyp_token) for ref_token, hyp_token in pairs]
    return edits


def words_of(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text).split()


def word_errors(ref: str, hyp: str) -> ErrorCounts:
    """Counts over words. An empty reference keeps its insertions; only its `rate` is None."""
    return ErrorCounts.of(align(words_of(ref), words_of(hyp)))


def char_errors(ref: str, hyp: str, keep_spaces: bool = True) -> ErrorCounts:
    """Counts over characters; with `keep_spaces`, one space between words is a character too.

    Reports name the variants `cer` (with spaces) and `cer_no_spaces`; on one corpus they may differ by a fifth.
    """
    space = " " if keep_spaces else ""
    ref_chars, hyp_chars = space.join(words_of(ref)), space.join(words_of(hyp))
    tags = Counter(edit.tag for edit in Levenshtein.editops(ref_chars, hyp_chars))
    correct = len(ref_chars) - tags["replace"] - tags["delete"]
    return ErrorCounts(tags["replace"], tags["delete"], tags["insert"], correct)
