"""`prepare audacity DIR`: label tracks exported from Audacity beside recordings; each region label is an utterance.

`talk.txt` belongs to `talk.wav`, which may also lie in another folder. A line is start TAB end TAB text, in seconds; a decimal
comma is read as Audacity reads it. A line that begins with a backslash holds the frequencies of the label before it and
becomes its attributes `low_hz` and `high_hz`. A point label marks no stretch and is a drop; a label without text is an
utterance without transcript.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.folder import NOT_TRANSCRIPTS
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks, seconds_of, text_of

SUFFIXES = (".txt",)


class AudacityReader:
    """Label tracks beside recordings, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes and of the label tracks."""
        recordings = Recordings(source)
        return recordings.fingerprint(_sidecars(recordings))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files and of the labels in them."""
        recordings = Recordings(source)
        return read_tracks(recordings, _sidecars(recordings), lambda path: [_track(path)], "label track")


def _sidecars(recordings: Recordings) -> list[Path]:
    return [path for path in recordings.sidecars(SUFFIXES)
            if path == recordings.source or not path.stem.lower().startswith(NOT_TRANSCRIPTS)]


def _track(path: Path) -> Track:
    segments: list[Segment] = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        where = f"line {number}"
        if line.startswith("\\\t") and segments:
            segments[-1] = _with_frequencies(segments[-1], line, where)
        elif line.strip():
            segments.append(_segment(line, where))
    if not segments:
        raise SourceError(f"{path} is empty")
    if all(segment.start_s is None for segment in segments):
        raise SourceError(f"{path} is no label track: {segments[0].fault[1] if segments[0].fault else ''}")
    return Track(path, path.stem, segments, is_only=True)


def _segment(line: str, where: str) -> Segment:
    cells = line.split("\t", 2)
    if len(cells) < 2:
        return Segment(where, fault=("bad label", f"{line[:60]!r} is not start, tab, end, tab, text"))
    try:
        start_s, stop_s = (seconds_of(cell.strip().replace(",", ".")) for cell in cells[:2])
    except ValueError as error:
        return Segment(where, fault=("bad label", str(error)))
    text = " ".join(cells[2].split()) if len(cells) > 2 else ""
    fault = ("point label", f"it marks {start_s:g} s, not a stretch: {text[:60]!r}") if start_s == stop_s else None
    return Segment(where, start_s, stop_s, text or None, fault=fault)


def _with_frequencies(segment: Segment, line: str, where: str) -> Segment:
    """Of a spectral selection; a side that is not bounded is written −1."""
    cells = line.split("\t")[1:]
    try:
        hz = [float(cell.replace(",", ".")) for cell in cells]
        if len(hz) != 2:
            raise ValueError
    except ValueError:
        return replace(segment, fault=segment.fault or ("bad label", f"{where}: {line!r} is not a range of frequencies"))
    bounds = {name: f"{value:g}" for name, value in zip(("low_hz", "high_hz"), hz, strict=True) if value >= 0}
    return replace(segment, attributes={**segment.attributes, **bounds})
