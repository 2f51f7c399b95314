"""Words grouped into captions that people can read: at most two lines of 42 characters, ended by pauses and sentences."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from utterloom.annotations.captions import Caption

LINE_CHARACTERS = 42  # of which a Chinese, Japanese or Korean one takes two
PAUSE_MS = 600
LONGEST_MS = 7000
SHORTEST_CHARACTERS = 12  # below, a full stop ends no caption: it may be that of `Mr.`
_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟", "۔", "።", "။")
_CLOSING = "\"'”’»)]）」』›"
_NO_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))  # Thai and Lao, Burmese, Khmer


@dataclass(frozen=True)
class Spoken:
    """A word and its stretch [start_ms, stop_ms)."""

    text: str
    start_ms: int
    stop_ms: int


def captions_of_words(words: Sequence[Spoken]) -> list[Caption]:
    """In the order of the words, which do not overlap; a word wider than a line has one of its own."""
    groups: list[list[Spoken]] = []
    for word in words:
        if groups and _goes_on(groups[-1], word):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [Caption(group[0].start_ms, group[-1].stop_ms, [_pieces(line) for line in _lines(group)]) for group in groups]


def caption_of_text(text: str, start_ms: int, stop_ms: int) -> Caption:
    """An utterance as one caption, in as many lines of 42 characters as it needs. Lines end at its spaces alone: whoever joins them
    again has the text as it was."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}") <= LINE_CHARACTERS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return Caption(start_ms, stop_ms, [[(None, line)] for line in lines])


def _goes_on(group: Sequence[Spoken], word: Spoken) -> bool:
    last = group[-1]
    if word.start_ms - last.stop_ms >= PAUSE_MS or word.stop_ms - group[0].start_ms > LONGEST_MS:
        return False
    if last.text.rstrip(_CLOSING).endswith(_ENDS) and _width(_text(group)) >= SHORTEST_CHARACTERS:
        return False
    lines = _filled([*group, word])
    return len(lines) < 3 and all(_width(_text(line)) <= LINE_CHARACTERS for line in lines)


def _filled(words: Sequence[Spoken]) -> list[list[Spoken]]:
    """Lines that are as full as they may be."""
    lines: list[list[Spoken]] = []
    for word in words:
        if lines and _width(_text([*lines[-1], word])) <= LINE_CHARACTERS:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _lines(group: Sequence[Spoken]) -> list[Sequence[Spoken]]:
    """One line, or two that are as equal as they can be."""
    if len(_filled(group)) == 1:
        return [group]
    cut = min(range(1, len(group)), key=lambda place: max(_width(_text(group[:place])), _width(_text(group[place:]))))
    return [group[:cut], group[cut:]]


def _pieces(line: Sequence[Spoken]) -> list[tuple[int | None, str]]:
    return [(word.start_ms, (_space(line[number - 1].text, word.text) if number else "") + word.text)
            for number, word in enumerate(line)]


def _text(words: Sequence[Spoken]) -> str:
    return "".join(text for _, text in _pieces(words))


def _space(left: str, right: str) -> str:
    """Between two words; scripts that know no spaces get none."""
    return "" if left and right and _is_unspaced(left[-1]) and _is_unspaced(right[0]) else " "


def _is_unspaced(character: str) -> bool:
    if unicodedata.east_asian_width(character) in "WF":
        return not unicodedata.name(character, "").startswith("HANGUL")
    return any(first <= ord(character) <= last for first, last in _NO_SPACES)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
               for character in text)
