"""Words of several scripts at random times, and readers that know nothing of ours: each checks a format to the letter."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from hypothesis import strategies as st

from utterloom.annotations import TimedWord
from utterloom.annotations.records import UNKNOWN, is_silence
from utterloom.annotations.textgrid import PAUSES

LATIN, VIETNAMESE, CYRILLIC, ARABIC, HAN, DEVANAGARI, THAI, HANGUL = (
    "abcdefgXYZ'-", "đườngẫợiỹ", "жизньЁ", "سلام\u0640ٱ", "你好世界語", "नमस्तेक\u094d", "สวัสดีครับ", "안녕하세요")
ODD = "\"\"''<>&;:.,!?-–→#_\\{}[]()%$0123456789|\u0301\u200d😀\ufeff\x00"
SCRIPTS = (LATIN, VIETNAMESE, CYRILLIC, ARABIC, HAN, DEVANAGARI, THAI, HANGUL, LATIN + ODD)
SPECIAL = ("-->", "<i>", "</i>", "&amp;", "&lt", "{\\an8}", "\\N", "10:30", "10:30-11:00", '""', '"', "intervals", "[2]:",
           "<exists>", "!", ";;", "1984", "<00:00:01.000>", "NOTE", "WEBVTT", "<v", "Ana>", "ALT_BEGIN")


def is_word(text: str) -> bool:
    """What every format holds as a word: not a label of silence, nor of an unknown word."""
    return not is_silence(text) and text.strip().lower() not in UNKNOWN | PAUSES


words_as_text = st.one_of(*(st.text(script, min_size=1, max_size=8) for script in SCRIPTS), st.sampled_from(SPECIAL)).map(
    lambda text: "".join(text.split())).filter(is_word)


@st.composite
def timed_words(draw: st.DrawFn, unit_s: float = 1e-6, min_size: int = 0) -> list[TimedWord]:
    """In the order of time, each at least a millisecond long, with and without scores; times in whole units."""
    place, words = 0, []
    shortest = round(1e-3 / unit_s)
    for text in draw(st.lists(words_as_text, min_size=min_size, max_size=6)):
        start = place + draw(st.sampled_from((0, 0, 1, 7 * shortest)) | st.integers(0, 900 * shortest))
        place = start + draw(st.integers(shortest, 700 * shortest))
        score = draw(st.none() | st.integers(0, 1000).map(lambda thousandths: thousandths / 1000))
        words.append(TimedWord(text, round(start * unit_s, 6), round(place * unit_s, 6), score))
    return words


_HEAD = re.compile(
    r'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = (\S+) \ntiers\? <exists> \nsize = 1 \nitem \[\]: \n'
    r'    item \[1\]:\n        class = "IntervalTier" \n        name = "(\w+)" \n        xmin = 0 \n        xmax = (\S+) \n'
    r'        intervals: size = (\d+) \n')
_INTERVAL = re.compile(
    r'        intervals \[(\d+)\]:\n            xmin = (\S+) \n            xmax = (\S+) \n            text = "((?:[^"\n]|"")*)" \n')


def strict_textgrid(path: Path) -> tuple[str, float, list[tuple[float, float, str]]]:
    """Tier, end and intervals of a file in exactly the layout that Praat writes; the intervals fill the tier without holes."""
    text = path.read_bytes().decode()
    head = _HEAD.match(text)
    assert head is not None and head[1] == head[3], text[:300]
    place, intervals = head.end(), []
    for number in range(1, int(head[4]) + 1):
        found = _INTERVAL.match(text, place)
        assert found is not None and int(found[1]) == number, text[place:place + 200]
        intervals.append((float(found[2]), float(found[3]), found[4].replace('""', '"')))
        place = found.end()
    assert place == len(text)
    assert intervals[0][0] == 0 and intervals[-1][1] == float(head[1])
    assert all(start < stop for start, stop, _ in intervals)
    assert all(one[1] == other[0] for one, other in pairwise(intervals))
    return head[2], float(head[1]), intervals
