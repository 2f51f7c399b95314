"""`prepare captions DIR`: SubRip (.srt) and WebVTT (.vtt) captions of the recordings beside them; each caption is an utterance.

`talk.vtt` and `talk.en.vtt` belong to `talk.mp3`, which may also lie in another folder (`text/talk.vtt`, `audio/talk.mp3`).
Text is taken as it stands, without tags (`<i>`, `<c.yellow>`, `<00:00:01.000>`, `{\\an8}`) and with HTML entities read;
`<v Ana>` is the speaker. Times are as in the file: an SRT time with one or two decimals is ambiguous and refused.

**Rolling captions** (live and automatic ones) show each line again while the next is spoken. Where a file does so, a caption
that brings nothing new is a drop, `rolling caption`, and one that brings a line has only that line as its text; what it
showed again is in the attribute `rolled`. In other files a line that repeats the caption before may well be said twice: it
stays, with the attribute `repeats`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from utterloom.annotations.captions import Cue, parse_captions, quoted
from utterloom.annotations.plain_text import text_of
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks

SUFFIXES = (".srt", ".vtt")
TOUCHING_S = 0.1  # automatic captions follow one another within a hundredth of a second
_LANGUAGE = re.compile(r"(?P<stem>.+)\.(?P<language>[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*?)(?:[-._](?:orig|auto|asr|cc|sdh))?")


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


def _track(path: Path, recordings: Recordings) -> Track:
    captions = parse_captions(text_of(path), str(path), is_vtt=path.suffix.lower() == ".vtt")
    language = None
    wanted, tag = path.stem, _LANGUAGE.fullmatch(path.stem)
    if tag and recordings.find(wanted, path.parent).file is None:
        wanted, language = tag["stem"], tag["language"]
    return Track(path, wanted, _segments(captions.cues, captions.language or language), is_only=True)


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
            fault = "rolling caption", f"it only shows {quoted(cue.text)} again"
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
