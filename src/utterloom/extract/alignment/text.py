"""What is aligned: the words of a text as they are written, and what is said for each of them.

`12,5 %` is written as two words and said as four. A text view (a normaliser) turns one into the other; here its output is laid
beside the words that it was given, so that a time of what was said is a time of what was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Written:
    """A word as it is written, characters [first_char, stop_char) of the text."""

    text: str
    first_char: int
    stop_char: int


@dataclass(frozen=True)
class Group:
    """Written words [first, stop) that are said as the spoken words [first_spoken, stop_spoken): mostly one as one."""

    first: int
    stop: int
    first_spoken: int
    stop_spoken: int


@dataclass(frozen=True)
class Script:
    """A text as it is written and as it is said; `groups` partition both."""

    written: list[Written]
    spoken: list[str]
    groups: list[Group]


def script_of(text: str, rewrite: Callable[[str], str]) -> Script:
    """Lay what `rewrite` makes of a text beside its words, line by line."""
    written: list[Written] = []
    spoken: list[str] = []
    groups: list[Group] = []
    at = 0
    for line in text.splitlines(keepends=True):
        words = [Written(found[0], at + found.start(), at + found.end()) for found in WORD.finditer(line)]
        said = rewrite(line).split()
        for group in _groups([rewrite(word.text).split() for word in words], said):
            groups.append(Group(group.first + len(written), group.stop + len(written), group.first_spoken + len(spoken),
                                group.stop_spoken + len(spoken)))
        written += words
        spoken += said
        at += len(line)
    return Script(written, spoken, groups)


def _groups(alone: Sequence[Sequence[str]], said: Sequence[str]) -> list[Group]:
    """`alone` is what each word is said as by itself, `said` what the line is said as."""
    if not alone:
        return []
    joined = [word for words in alone for word in words]
    borders = list(accumulate((len(words) for words in alone), initial=0))  # of the written words, in `joined`
    if joined == list(said):
        return [Group(number, number + 1, borders[number], borders[number + 1]) for number in range(len(alone))]
    meet = _meeting_points(joined, said)  # place in `joined` → first and last place in `said` that it may stand at
    groups, start, start_said = [], 0, 0
    for number in range(len(alone)):
        end = borders[number + 1]
        is_last = number + 1 == len(alone)
        if not is_last and end not in meet:
            continue
        # a word that is silent alone (a sign before a number) takes what the line says where it stands
        is_silent = borders[start] == end
        stop_said = len(said) if is_last else max(start_said, meet[end][1 if is_silent else 0])
        groups.append(Group(start, number + 1, start_said, stop_said))
        start, start_said = number + 1, stop_said
    return groups


def _meeting_points(left: Sequence[str], right: Sequence[str]) -> dict[int, tuple[int, int]]:
    """Where two lists of words stand side by side: beside words that are equal, on a way from the one to the other with the fewest
    edits, and at both ends."""
    from rapidfuzz.distance import Levenshtein

    points = [(0, 0), (len(left), len(right))]
    for step in Levenshtein.opcodes(left, right):
        if step.tag == "equal":
            points += [(step.src_start + offset, step.dest_start + offset) for offset in range(step.src_end - step.src_start + 1)]
    found: dict[int, tuple[int, int]] = {}
    for place, there in points:
        first, last = found.get(place, (there, there))
        found[place] = (min(first, there), max(last, there))
    return found
