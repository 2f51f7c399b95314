"""`prepare rttm PATH`: speaker turns of recordings (NIST RTTM, as diarisers write it), one file or a folder of them.

Each line `SPEAKER recording channel start duration <NA> <NA> speaker <NA> <NA>` is an utterance without transcript
(`unlabelled=keep` keeps it); lines of other types (SPKR-INFO, NOSCORE, LEXEME …) are no turns and are passed over. A file that
names one recording and is called as the audio is (`rec.rttm`, `rec.flac`) belongs to it, whatever name stands inside; that name
is then the attribute `named`. Labels that a diariser counts anew in each recording, such as SPEAKER_00, become speakers of
that recording only. Turns that lie over others have the attribute `overlap_s`. Where turns of a recording are on several channels,
each is read from its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from utterloom.annotations.plain_text import text_of
from utterloom.annotations.times import seconds_of
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks

SUFFIXES = (".rttm",)
OTHER_TYPES = frozenset((
    "SPKR-INFO", "LEXEME", "NON-LEX", "NON-SPEECH", "SEGMENT", "NOSCORE", "NO_RT_METADATA", "EDIT", "FILLER", "IP", "SU", "CB",
    "A/P", "SEX-INFO"))
NO_CHANNEL = frozenset(("<NA>", "NA", "-"))


class RttmReader:
    """RTTM files, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes and of the RTTM files."""
        recordings = Recordings(source)
        return recordings.fingerprint(recordings.sidecars(SUFFIXES))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files and of the turns in them."""
        recordings = Recordings(source)
        return read_tracks(recordings, recordings.sidecars(SUFFIXES), lambda path: _tracks(path, recordings), "RTTM")


def _tracks(path: Path, recordings: Recordings) -> Iterable[Track]:
    turns: dict[str, list[Segment]] = defaultdict(list)
    is_other = False
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        cells = line.split()
        if not cells or cells[0].startswith(";"):
            continue
        if cells[0].upper() in OTHER_TYPES:
            is_other = True
            continue
        name = cells[1] if len(cells) > 1 else path.stem
        turns[name].append(_turn(f"line {number}", cells))
    if not turns:
        raise SourceError(f"{path} holds {'no SPEAKER lines' if is_other else 'no lines'}")
    tracks = []
    for name, segments in turns.items():
        is_misnamed = len(turns) == 1 and recordings.find(name, path.parent).file is None
        if is_misnamed and recordings.find(path.stem, path.parent).file is not None:
            segments = [replace(segment, attributes={**segment.attributes, "named": name}) for segment in segments]
        tracks.append(Track(path, name, segments, or_else=path.stem if is_misnamed else None))
    return tracks


def _turn(where: str, cells: list[str]) -> Segment:
    if cells[0] != "SPEAKER":
        return Segment(where, fault=("bad turn", f"the type {cells[0][:30]!r} is none of RTTM"))
    if not 8 <= len(cells) <= 10:
        return Segment(where, fault=("bad turn", f"{len(cells)} cells, where RTTM has 9 or 10"))
    try:
        start_s, duration_s = seconds_of(cells[3]), seconds_of(cells[4])
    except ValueError as error:
        return Segment(where, fault=("bad turn", str(error)))
    return Segment(where, start_s, round(start_s + duration_s, 9), speaker=cells[7],
                   side=None if cells[2] in NO_CHANNEL else cells[2])
