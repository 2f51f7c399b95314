"""`prepare captions DIR`: SubRip (.srt) and WebVTT (.vtt) captions of the recordings beside them; each caption is an utterance.

`talk.vtt` and `talk.en.vtt` belong to `talk.mp3`, which may also lie in another folder (`text/talk.vtt`, `audio/talk.mp3`).
Text is taken as it stands, without tags (`<i>`, `<c.yellow>`, `<00:00:01.000>`, `{\\an8}`) and with HTML entities read;
`<v Ana>` is the speaker. Times are as in the file: an SRT time with one or two decimals is ambiguous and refused.

**Rolling captions** (live and automatic ones) show each line again while the next is spoken. Where a file does so, a caption
that brings nothing new is a drop, `rolling caption`, and one that brings a line has only that line as its text; what it
showed again is in the attribute `rolled`. In other files a line that repeats the caption before may well be said twice: it
stays, with the attribute `repeats`.

The parsers are our own, because the losses must be countable: where the times of a cue are not understood, pysubs2 1.8.1 adds
the cue to the text of the one before, and webvtt-py 0.6.0 reads `03.0` as three seconds.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks, text_of

SUFFIXES = (".srt", ".vtt")
TOUCHING_S = 0.1  # automatic captions follow one another within a hundredth of a second
_TIME = r"(?:(\d+):)?([0-5]?\d):([0-5]\d)(?:[.,](\d{3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?", re.ASCII)
_LIKE_TIMES = re.compile(r".*-->.*\d|\s*\d+:\d+\S*\s*(?:-+|–|—|→)>?\s*\d+:\d+", re.ASCII)
_LANGUAGE = re.compile(r"(?P<stem>.+)\.(?P<language>[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*?)(?:[-._](?:orig|auto|asr|cc|sdh))?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)*\s+([^>]+)>")
_RUBY_READING = re.compile(r"<rt\b[^>]*>.*?</rt>")
_TAG_OF_SRT = re.compile(r"</?(?:i|b|u|s|c|v|font|lang|ruby|rt|span|p)\b[^>]*>|</?br\s*/?>", re.IGNORECASE)
_TAG_OF_VTT = re.compile(r"<[^>]*>")
_OVERRIDE = re.compile(r"\{\\[^}]*\}|\\[Nnh]")
_SOUND = re.compile(r"(?:\s*(?:\[[^\[\]]*\]|[♪♫]+)\s*)+")


class CaptionsReader:
    """SRT and VTT beside recordings, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes and of the captions."""
        recordings = Recordings(source)
        return recordings.fingerprint(recordings.sidecars(SUFFIXES))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files and of the captions in them."""
        recordings = Recordings(source)
        return read_tracks(recordings, recordings.sidecars(SUFFIXES), lambda path: [_track(path, recordings)], "caption file")


@dataclass
class Cue:
    """A caption as it stands in the file: its lines without tags, those who speak it, and why it cannot be read, if so."""

    line: int
    start_s: float = 0.0
    stop_s: float = 0.0
    lines: Sequence[str] = ()
    voices: Sequence[str] = ()
    fault: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        return " ".join(self.lines)


def _track(path: Path, recordings: Recordings) -> Track:
    text = text_of(path)
    is_vtt = text.startswith("WEBVTT")
    if path.suffix.lower() == ".vtt" and not is_vtt:
        raise SourceError(f"{path} does not begin with WEBVTT")
    language = None
    wanted, tag = path.stem, _LANGUAGE.fullmatch(path.stem)
    if tag and recordings.find(wanted, path.parent).file is None:
        wanted, language = tag["stem"], tag["language"]
    if is_vtt:
        lines = text.split("\n")
        end = next((number for number, line in enumerate(lines) if not line or _LIKE_TIMES.match(line)), len(lines))
        header = "\n".join(lines[:end])
        if "X-TIMESTAMP-MAP" in header:
            raise SourceError(f"{path} counts its times from the start of a broadcast (X-TIMESTAMP-MAP), not of the recording")
        told = re.search(r"^Language:\s*(\S+)", header, re.MULTILINE)
        language = told[1] if told else language
        cues = list(_vtt_cues("\n".join(lines[end:]), end + 1))
    else:
        cues = list(_srt_cues(text))
    if not cues:
        raise SourceError(f"{path} holds no captions")
    return Track(path, wanted, _segments(cues, language), is_only=True)


def _vtt_cues(body: str, first_line: int) -> Iterator[Cue]:
    """Blocks between empty lines: notes and styles, or an optional name, times, and text (a line of spaces is text)."""
    line = first_line
    for block in body.split("\n\n"):
        lines = block.split("\n")
        start, line = line, line + len(lines) + 1
        while lines and not lines[0]:
            lines, start = lines[1:], start + 1
        if not lines or re.match(r"(?:NOTE|STYLE|REGION)(?:\s|$)", lines[0]):
            continue
        places = [number for number, content in enumerate(lines) if _LIKE_TIMES.match(content)]
        if not places or places[0] > 1:
            yield Cue(start, fault=("bad caption", f"{_short(lines[0])} is followed by no times"))
        for place, following in pairwise([*places, len(lines)]):
            yield _cue(start + place, lines[place], lines[place + 1:following], is_vtt=True)


def _srt_cues(text: str) -> Iterator[Cue]:
    """From one line of times to the next, as players read it: text may hold empty lines, numbers have gaps or are missing."""
    lines = text.split("\n")
    places = [number for number, content in enumerate(lines) if _LIKE_TIMES.match(content)]
    before = [content for content in lines[:places[0] if places else len(lines)] if content.strip()]
    if len(before) > 1 or (before and not before[0].strip().isdigit()):
        yield Cue(1, fault=("bad caption", f"{_short(before[0])} is followed by no times"))
    for place, following in pairwise([*places, len(lines)]):
        said = lines[place + 1:following]
        if following < len(lines) and said and said[-1].strip().isdigit():
            said.pop()  # the number of the next one
        yield _cue(place + 1, lines[place], said, is_vtt=False)


def _cue(line: int, times: str, said: Sequence[str], is_vtt: bool) -> Cue:
    match = _TIMES.fullmatch(times)
    if match is None:
        return Cue(line, fault=("bad caption", f"{_short(times)} are no times; its text is {_short(' '.join(said))}"))
    voices = list(dict.fromkeys(html.unescape(name).strip() for content in said for name in _VOICE.findall(content)))
    lines = [plain for content in said if (plain := _without_tags(content, is_vtt))]
    cue = Cue(line, _seconds(match.groups()[:4]), _seconds(match.groups()[4:]), lines, voices)
    if not lines:
        cue.fault = "no text", "the caption is empty"
    elif _SOUND.fullmatch(cue.text):
        cue.fault = "no speech", f"the caption describes a sound: {_short(cue.text)}"
    return cue


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return (3_600_000 * hours + 60_000 * minutes + 1000 * seconds + thousandths) / 1000


def _without_tags(content: str, is_vtt: bool) -> str:
    content = _RUBY_READING.sub("", content)
    content = (_TAG_OF_VTT if is_vtt else _TAG_OF_SRT).sub(lambda tag: " " if tag[0].lower().startswith("<br") else "", content)
    return " ".join(html.unescape(_OVERRIDE.sub(" ", content)).split())


def _short(text: str) -> str:
    return repr(text.strip() if len(text.strip()) <= 60 else f"{text.strip()[:60]}…")


def _segments(cues: Sequence[Cue], language: str | None) -> list[Segment]:
    carried = _carried_lines(cues)
    followed = [(cue, count) for cue, count in zip(cues, carried, strict=True) if count is not None]
    rolls = (2 * sum(count > 0 for _, count in followed) >= len(followed)
             and any(0 < count < len(cue.lines) for cue, count in followed))
    segments = []
    for number, (cue, count) in enumerate(zip(cues, carried, strict=True)):
        where = f"line {cue.line}"
        is_unread = not cue.lines and cue.fault is not None and cue.fault[0] == "bad caption"
        if is_unread:
            segments.append(Segment(where, language=language, fault=cue.fault))
            continue
        before = cues[number - 1] if number else None
        is_same = before is not None and (before.start_s, before.stop_s, before.text) == (cue.start_s, cue.stop_s, cue.text)
        lines, attributes, fault = cue.lines, {}, cue.fault
        if fault is None and is_same:
            fault = "duplicate caption", "the one before has the same times and the same text"
        elif fault is None and rolls and count == len(lines):
            fault = "rolling caption", f"it only shows {_short(cue.text)} again"
        elif fault is None and count:
            attributes = {"rolled" if rolls else "repeats": " ".join(lines[:count])}
            lines = lines[count:] if rolls else lines
        if len(cue.voices) > 1:
            attributes["speakers"] = "; ".join(cue.voices)
        segments.append(Segment(where, cue.start_s, cue.stop_s, " ".join(lines) or None,
                                speaker=cue.voices[0] if len(cue.voices) == 1 else None, language=language,
                                attributes=attributes, fault=fault))
    return segments


def _carried_lines(cues: Sequence[Cue]) -> list[int | None]:
    """How many of a caption's first lines are the last ones of the caption before; None where it does not follow at once."""
    counts: list[int | None] = []
    for number, cue in enumerate(cues):
        before = cues[number - 1] if number else None
        if before is None or not (cue.lines and before.lines and before.start_s <= cue.start_s <= before.stop_s + TOUCHING_S):
            counts.append(None)
            continue
        most = min(len(cue.lines), len(before.lines))
        counts.append(next((count for count in range(most, 0, -1) if list(before.lines[-count:]) == list(cue.lines[:count])), 0))
    return counts
