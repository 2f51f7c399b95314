"""Praat TextGrids in long and short text form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from utterloom.core.errors import SourceError

PAUSES = frozenset(("", "sil", "sp", "<sil>", "<sp>", "<eps>", "<p:>", "<p>", "#", "_"))
WORD_TIERS = frozenset(("word", "words"))
# A text; a flag; a number with space around it; a text that is not closed; and what is passed over: comments, [numbers], words.
_TOKEN = re.compile(r'"((?:[^"]|"")*+)"|<([^<>\s]+)>|(?<!\S)([-+]?\d[^\s"]*)(?=\s|$)|(")|![^\n]*|\[[^\]\n]*\]|\S+')


def is_word_tier(name: str) -> bool:
    """`words`, `word`, and of one speaker among several `Ana - words`."""
    return name.lower().rpartition(" - ")[2].strip() in WORD_TIERS


@dataclass(frozen=True)
class Tier:
    """(start_s, stop_s, label) of each interval; a point tier has none."""

    name: str
    is_points: bool
    intervals: Sequence[tuple[float, float, str]]


def parse_textgrid(text: str, name: str = "this TextGrid") -> list[Tier]:
    """The tiers of a TextGrid in long or short text form. Raises SourceError naming the line where it is not one."""
    values = _Values(text, name)
    if values.text("the file type") not in ("ooTextFile", "ooTextFile short") or values.text("the object class") != "TextGrid":
        raise SourceError(f"{name} is not a TextGrid in text form")
    values.number("its start"), values.number("its end")
    if values.flag("whether there are tiers") != "exists":
        return []
    tiers = []
    for _ in range(values.count("the number of tiers")):
        kind, tier_name = values.text("the kind of a tier"), values.text("the name of a tier")
        if kind not in ("IntervalTier", "TextTier"):
            raise SourceError(f"{name}: a tier is of the kind {kind!r}, neither IntervalTier nor TextTier")
        values.number("the start of a tier"), values.number("the end of a tier")
        intervals = []
        for _ in range(values.count("the number of intervals")):
            start_s = values.number("a time")
            stop_s = values.number("a time") if kind == "IntervalTier" else start_s
            intervals.append((start_s, stop_s, values.text("a label")))
        tiers.append(Tier(tier_name, kind == "TextTier", intervals if kind == "IntervalTier" else ()))
    return tiers


class _Values:
    """The free-standing texts, numbers and flags of a Praat text file, in order; the words between them are for people."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name, self._place = text, name, 0
        self._tokens = (match for match in _TOKEN.finditer(text) if match.lastindex)

    def text(self, what: str) -> str:
        return self._next(1, what, "a text in quotation marks").replace('""', '"')

    def flag(self, what: str) -> str:
        return self._next(2, what, "a flag such as <exists>")

    def number(self, what: str) -> float:
        value = self._next(3, what, "a number")
        try:
            return float(value)
        except ValueError:
            raise self._error(what, "a number", repr(value)) from None

    def count(self, what: str) -> int:
        value = self.number(what)
        if value != int(value) or value < 0:
            raise self._error(what, "a count", f"{value:g}")
        return int(value)

    def _next(self, group: int, what: str, kind: str) -> str:
        match = next(self._tokens, None)
        if match is None:
            raise SourceError(f"{self._name} ends where {what} should be: it was cut short")
        self._place = match.start()
        if match.lastindex == 4:
            raise self._error(what, kind, "a quotation mark that is not closed")
        if match.lastindex != group:
            raise self._error(what, kind, repr(match[0][:40]))
        return match[group]

    def _error(self, what: str, kind: str, value: str) -> SourceError:
        line = self._text.count("\n", 0, self._place) + 1
        return SourceError(f"{self._name}, line {line}: {what} should be {kind}, not {value}")
