"""Praat TextGrids: read in long and short text form, written in the long one.

The parser is our own and keeps to Praat's rule: a file is the sequence of its quoted texts, numbers and flags, whatever stands
between them. praatio 6.2.2 looks for `intervals [2]:` instead, also inside labels, and refuses a whole file for one interval
that overlaps another or ends before it starts.

What is written is one interval tier from 0 to the end of the recording without holes, as Praat wants it: pauses are intervals
without text, and none is empty. Times have up to six decimals (resolution: 1 µs). Scores and ids have no place in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from utterloom.annotations.times import MICROSECONDS_HZ
from utterloom.core.errors import SourceError

PAUSES = frozenset(("", "sil", "sp", "<sil>", "<sp>", "<eps>", "<p:>", "<p>", "#", "_"))
PAUSES_OF_SENTENCES = PAUSES | {"silence", "pause", "<silence>", "<pause>"}  # which are words too, among words
WORD_TIERS = frozenset(("word", "words"))
# A text; a flag; a number with space around it; a text that is not closed; and what is passed over: comments, [numbers], words.
_TOKEN = re.compile(r'"((?:[^"]|"")*+)"|<([^<>\s]+)>|(?<!\S)([-+]?\d[^\s"]*)(?=\s|$)|(")|![^\n]*|\[[^\]\n]*\]|\S+')


def is_word_tier(name: str) -> bool:
    """`words`, `word`, and of one speaker among several `Ana - words`."""
    return name.lower().rpartition(" - ")[2].strip() in WORD_TIERS


def word_tier(names: Sequence[str], wanted: str | None, where: str) -> str:
    """The tier called `wanted`, or the only one that is named as those of words are. Raises SourceError naming the tiers."""
    found = [name for name in names if (is_word_tier(name) if wanted is None else name == wanted)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, names)) or "none"
    if wanted is None and found:
        raise SourceError(f"{where} has several tiers of words: {', '.join(map(repr, found))}", "name the one that is meant")
    raise SourceError(f"{where} has no tier {'words' if wanted is None else wanted!r}; there are: {listed}",
                      "name the one with the words" if wanted is None and names else None)


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


def textgrid_of(tier: str, intervals: Sequence[tuple[int, int, str]], stop_us: int) -> str:
    """One tier in long text form; intervals are (start, stop, label) in microseconds, in order, none empty or overlapping."""
    whole: list[tuple[int, int, str]] = []
    place = 0
    for start, stop, label in intervals:
        if start > place:
            whole.append((place, start, ""))
        whole.append((start, stop, label))
        place = stop
    if place < stop_us:
        whole.append((place, stop_us, ""))
    end = _decimal(stop_us)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} ", "tiers? <exists> ",
             "size = 1 ", "item []: ", "    item [1]:", '        class = "IntervalTier" ', f"        name = {_quoted(tier)} ",
             "        xmin = 0 ", f"        xmax = {end} ", f"        intervals: size = {len(whole)} "]
    for number, (start, stop, label) in enumerate(whole, start=1):
        lines += [f"        intervals [{number}]:", f"            xmin = {_decimal(start)} ",
                  f"            xmax = {_decimal(stop)} ", f"            text = {_quoted(label)} "]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _decimal(microseconds: int) -> str:
    whole, rest = divmod(microseconds, MICROSECONDS_HZ)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
