"""`prepare ctm PATH`: time-marked words of recordings (NIST CTM), one file or a folder of them; words are joined to utterances.

A line is `recording channel start duration word [confidence [type [speaker]]]`; `;;` begins a comment. Utterances end at
pauses (see `words.py`), or are those of a Kaldi file `segments` (`utterance recording start end`) beside the CTM: then the
first column may be recordings, with times in them, or utterances, with times from their start, and a word belongs to the
utterance that holds its middle. Words of alternatives (`<ALT_BEGIN>` … `<ALT_END>`) cannot be told from one another, so the
utterance that they lie in is a drop; so is one that holds `<unk>`. Fillers of the kinds `noise`, `breath` and `misc` are pauses.

Where the words of a recording are on several channels (`A` and `B`, `1` and `2`), each utterance is of one of them and is read
from it. A file of segments may name the channel behind the times; an utterance whose channel nobody can tell is a drop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utterloom.annotations.ctm import parse_ctm
from utterloom.annotations.plain_text import text_of
from utterloom.annotations.records import Word
from utterloom.annotations.times import seconds_of, sum_of_seconds
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.channels import channel_numbers
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks
from utterloom.prepare.readers.words import joined, segment_of

SUFFIXES = (".ctm",)
SEGMENTS_FILE = "segments"


class CtmReader:
    """CTM files, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes, of the CTM files and of the files of segments beside them."""
        recordings = Recordings(source)
        sidecars = recordings.sidecars(SUFFIXES)
        beside = dict.fromkeys(path.parent / SEGMENTS_FILE for path in sidecars)
        return recordings.fingerprint([*sidecars, *(path for path in beside if path.is_file())])

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files, and of time in each recording."""
        recordings = Recordings(source)
        return read_tracks(recordings, recordings.sidecars(SUFFIXES), _tracks, "CTM")


@dataclass(frozen=True)
class Cut:
    """A line of the file of segments."""

    id: str
    recording: str
    start_s: float
    stop_s: float
    side: str | None = None


def _tracks(path: Path) -> Iterable[Track]:
    words, bad = parse_ctm(text_of(path))
    if not words and not bad:
        raise SourceError(f"{path} holds no words")
    cuts = _cuts(path.parent / SEGMENTS_FILE)
    by_recording: dict[str, list[Segment]] = defaultdict(list)
    for name, segments in _in_cuts(words, cuts) if cuts else ((name, _joined(channels)) for name, channels in words.items()):
        by_recording[name] += segments
    for wrong in bad:
        by_recording[wrong.id].append(Segment(wrong.where, fault=(wrong.reason, wrong.detail)))
    is_one = len(by_recording) == 1
    return [Track(path, name, segments, or_else=path.stem if is_one else None) for name, segments in by_recording.items()]


def _joined(channels: dict[str, list[Word]]) -> list[Segment]:
    return [replace(segment, side=side) for side, words in channels.items() for segment in joined(words)]


def _several(channels: Iterable[str]) -> tuple[str, str]:
    return "several channels", f"its words are on the channels {', '.join(channels)}, and it does not say which one it is of"


def _cuts(path: Path) -> list[Cut]:
    """The file of segments beside the CTM, if there is one. Raises SourceError naming a line that is none."""
    if not path.is_file():
        return []
    cuts = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split()
        try:
            if len(cells) not in (4, 5):
                raise ValueError("not: utterance recording start end [channel]")
            cuts.append(Cut(cells[0], cells[1], seconds_of(cells[2]), seconds_of(cells[3]), *cells[4:]))
        except ValueError as error:
            raise SourceError(f"{path}, line {number}: {error}") from None
    return cuts


def _in_cuts(words: dict[str, dict[str, list[Word]]], cuts: Sequence[Cut]) -> Iterator[tuple[str, list[Segment]]]:
    """Words by the utterances of the file of segments; those in none are joined by themselves, as drops."""
    by_id = {cut.id: cut for cut in cuts}
    by_recording: dict[str, list[Cut]] = defaultdict(list)
    for cut in cuts:
        by_recording[cut.recording].append(cut)
    placed: dict[str, dict[str, list[Word]]] = defaultdict(lambda: defaultdict(list))
    outside: dict[str, list[tuple[str, Word]]] = defaultdict(list)
    for name, channels in words.items():
        of_recording = by_recording.get(name, [])
        for side, said in channels.items():
            own = sorted((cut for cut in of_recording if _in_words(cut, channels, of_recording) in (None, side)),
                         key=lambda cut: cut.start_s)
            starts_s = [cut.start_s for cut in own]
            for word in said:
                if name in by_id and not of_recording:
                    from_s = by_id[name].start_s
                    word = replace(word, start_s=sum_of_seconds(word.start_s, from_s), stop_s=sum_of_seconds(word.stop_s, from_s))
                    placed[name][side].append(word)
                    continue
                middle_s = (word.start_s + word.stop_s) / 2
                number = bisect_right(starts_s, middle_s) - 1
                if number >= 0 and middle_s < own[number].stop_s:
                    placed[own[number].id][side].append(word)
                else:
                    outside[name].append((side, word))
    for cut in cuts:
        channels = words.get(cut.recording) or words.get(cut.id) or {}
        named = replace(cut, side=_in_words(cut, channels, by_recording[cut.recording]))
        yield cut.recording, [_filled(named, placed[cut.id], channels)]
    for name, rest in outside.items():
        why = "no utterance of the file of segments holds it" if name in by_recording else "the file of segments does not name it"
        lost: dict[str, list[Word]] = defaultdict(list)
        for side, word in rest:
            lost[side].append(word)
        yield name, [replace(segment, fault=("outside every segment", why)) for segment in _joined(lost)]


def _in_words(cut: Cut, sides: Iterable[str], cuts: Sequence[Cut]) -> str | None:
    """The channel of an utterance as the CTM calls it; the two files may call one differently, `A` and `1`."""
    sides = list(sides)
    if cut.side is None or cut.side in sides:
        return cut.side
    try:
        of_cuts, of_words = channel_numbers(one.side for one in cuts if one.side is not None), channel_numbers(sides)
    except ValueError:
        return cut.side
    return next((side for side, number in of_words.items() if number == of_cuts[cut.side]), cut.side)


def _filled(cut: Cut, placed: dict[str, list[Word]], channels: dict[str, list[Word]]) -> Segment:
    """The utterance as the file of segments has it, with its words; their times count from its start."""
    where = f"segment {cut.id!r}"
    if cut.side is None and len(channels) > 1 and len(placed) != 1:
        return Segment(where, cut.start_s, cut.stop_s, id=cut.id, fault=_several(channels))
    side = cut.side or next(iter(placed), None)
    words = [word for said in placed.values() for word in said]
    if not words:
        return Segment(where, cut.start_s, cut.stop_s, None, id=cut.id, side=side)
    own = segment_of(sorted(words, key=lambda word: (word.start_s, word.stop_s)), from_s=cut.start_s)
    speakers = {word.speaker for word in words}
    return replace(own, where=where, start_s=cut.start_s, stop_s=cut.stop_s, id=cut.id,
                   speaker=own.speaker if len(speakers) == 1 else None, side=side)
