"""What a text view changed or removed, character by character, over a corpus: for the card of a manifest (E-P16, E-P17).

Words of the raw text and of the view are aligned, then the characters of those that differ, both by longest common subsequence
(rapidfuzz). What stands in a gap of the raw text was replaced by what stands in the same gap of the view.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LONGEST_REPLACEMENT = 40


@dataclass(frozen=True)
class CharacterChange:
    """One character of the raw texts that is not in the view as it was."""

    character: str
    name: str
    """in Unicode"""
    count: int
    """how often it was changed or removed"""
    kept: int
    """how often it stayed"""
    replaced_by: str
    """most often; empty where it was removed or became a space"""
    ways: int
    """different replacements, removal included"""
    example: str
    """id of the first utterance in which it was"""


@dataclass(frozen=True)
class ViewReport:
    """Capitals that became small, and marks that were composed, are counted but are no changes."""

    num_texts: int
    num_changed: int
    """texts in which a character was changed or removed"""
    num_capitals: int
    num_recomposed: int
    """texts that were not NFC"""
    changes: tuple[CharacterChange, ...]
    """the most frequent first"""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def view_report(texts: Iterable[tuple[str, str, str]]) -> ViewReport:
    """Of (id, raw text, its view), one of each utterance, in any number: memory grows with the characters, not with the texts."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    characters: Counter[str] = Counter()
    examples: dict[str, str] = {}
    num_texts = num_changed = num_capitals = num_recomposed = 0
    for id, raw, view in texts:
        composed = unicodedata.normalize("NFC", raw)
        num_texts += 1
        num_recomposed += composed != raw
        characters.update(composed)
        num_capitals += sum(character != character.lower() for character in composed)
        is_changed = False
        for character, replacement in _changes(composed, view):
            found[character][replacement] += 1
            examples.setdefault(character, id)
            is_changed = True
        num_changed += is_changed
    changes = []
    for character, replacements in found.items():
        # Of replacements that are as frequent, the first by its letters: the order of the texts does not matter.
        most = min(replacements, key=lambda replacement: (-replacements[replacement], replacement))
        count = replacements.total()
        changes.append(CharacterChange(character, unicodedata.name(character, f"U+{ord(character):04X}"), count,
                                       characters[character] - count, most, len(replacements), examples[character]))
    changes.sort(key=lambda change: (-change.count, change.character))
    return ViewReport(num_texts, num_changed, num_capitals, num_recomposed, tuple(changes))


def _changes(raw: str, view: str) -> Iterator[tuple[str, str]]:
    """(character, what it became) for each that did not stay; spaces are left out."""
    raw_words, view_words = raw.split(), view.split()
    small_words = [_small(word) for word in raw_words]
    if small_words == view_words:
        return
    for raw_part, view_part in _gaps(small_words, view_words):
        before, after = " ".join(raw_words[raw_part]), " ".join(view_words[view_part])
        for lost, new in _gaps(_small(before), after):
            replacement = _shown(after[new])
            yield from ((character, replacement) for character in before[lost] if character != " ")


def _gaps(raw: Sequence[str], view: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """What lies between the longest common subsequence of both: what is lost of `raw`, and what stands there in `view`."""
    from rapidfuzz.distance import LCSseq

    raw_start = view_start = 0
    for same in LCSseq.opcodes(raw, view):
        if same.tag == "equal":
            if same.src_start > raw_start:
                yield slice(raw_start, same.src_start), slice(view_start, same.dest_start)
            raw_start, view_start = same.src_end, same.dest_end
    if raw_start < len(raw):
        yield slice(raw_start, len(raw)), slice(view_start, len(view))


def _small(text: str) -> str:
    """Small letters, one for one, so that positions stay."""
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)


def _shown(replacement: str) -> str:
    words = replacement.strip()
    return words if len(words) <= LONGEST_REPLACEMENT else f"{words[:LONGEST_REPLACEMENT - 1]}…"
