"""`prepare audacity DIR`: label tracks exported from Audacity beside recordings; each region label is an utterance.

`talk.txt` belongs to `talk.wav`, which may also lie in another folder. A line is start TAB end TAB text, in seconds; a decimal
comma is read as Audacity reads it. A line that begins with a backslash holds the frequencies of the label before it and
becomes its attributes `low_hz` and `high_hz`. A point label marks no stretch and is a drop; a label without text is an
utterance without transcript.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from utterloom.annotations.audacity import parse_labels
from utterloom.annotations.plain_text import text_of
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.folder import NOT_TRANSCRIPTS
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks

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
    labels = parse_labels(text_of(path), str(path))
    return Track(path, path.stem, [Segment(label.where, label.start_s, label.stop_s, label.text, attributes=label.attributes,
                                           fault=label.fault) for label in labels], is_only=True)
