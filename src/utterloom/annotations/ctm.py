"""NIST CTM: `recording channel start duration word [confidence [type [speaker]]]`, a line a word; `;;` begins a comment.

Times are written in decimals with two to six places (resolution: 1 µs). Start and duration are rounded so that words that touch
still touch, and none overlaps that did not. A line is cells between white space, so a word with white space in it is written
with `_` in its place.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from utterloom.annotations.records import Fault, Word
from utterloom.annotations.times import MICROSECONDS_HZ, decimal_of, seconds_of, sum_of_seconds

PAUSES = frozenset(("<eps>", "<sil>", "sil", "sp", "<sp>"))
PAUSE_TYPES = frozenset(("noise", "breath", "misc", "non-lex"))
CHANNEL = "1"
_ALTERNATIVES = ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")


def parse_ctm(text: str) -> tuple[dict[str, dict[str, list[Word]]], list[Fault]]:
    """Words by recording and channel, in the order of the file, and the lines that are none.

    A word of an alternative has that as its fault; fillers (PAUSES, PAUSE_TYPES) are left out.
    """
    words: dict[str, dict[str, list[Word]]] = defaultdict(lambda: defaultdict(list))
    bad: list[Fault] = []
    is_alternative = False
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"line {number}"
        cells = line.split()
        if not cells or cells[0].startswith(";;"):
            continue
        if len(cells) >= 5 and cells[4].upper() in _ALTERNATIVES:
            is_alternative = cells[4].upper() != "<ALT_END>"
            continue
        try:
            if not 5 <= len(cells) <= 8:
                raise ValueError(f"{len(cells)} cells are not: recording channel start duration word [confidence [type [speaker]]]")
            start_s, duration_s = seconds_of(cells[2]), seconds_of(cells[3])
            confidence = None if len(cells) < 6 or cells[5] == "NA" else float(cells[5])
        except ValueError as error:
            bad.append(Fault(cells[0], where, "bad word", f"{error} ({line.strip()[:60]!r})"))
            continue
        if cells[4].lower() in PAUSES or (len(cells) > 6 and cells[6].lower() in PAUSE_TYPES):
            continue
        fault = ("alternative words", f"{cells[4]!r} is one of several readings") if is_alternative else None
        speaker = cells[7] if len(cells) > 7 and cells[7].lower() not in ("na", "unknown", "null") else None
        words[cells[0]][cells[1]].append(
            Word(where, start_s, sum_of_seconds(start_s, duration_s), cells[4], confidence, speaker, fault))
    return words, bad


def ctm_line(recording: str, start_us: int, stop_us: int, word: str, score: float | None, changes: Counter[str]) -> str:
    """One word of channel 1, its times in integer microseconds; `changes` counts what could not be written as it is."""
    cell = ctm_cell(word, changes) or "<eps>"
    if cell.upper() in _ALTERNATIVES:  # would make alternatives of the words that follow
        cell = cell.strip("<>")
        changes["angle brackets left out of a word that marks alternatives"] += 1
    start, duration = (decimal_of(us / MICROSECONDS_HZ) for us in (start_us, stop_us - start_us))
    return " ".join([recording, CHANNEL, start, duration, cell, *([] if score is None else [f"{score:.6g}"])])


def ctm_cell(text: str, changes: Counter[str]) -> str:
    """White space becomes `_`: a cell has none. Half a character becomes `?`."""
    cell = "_".join(text.split()).encode("utf-8", "replace").decode()
    if cell != text:
        changes["white space written as _, half characters as ?"] += 1
    return cell
