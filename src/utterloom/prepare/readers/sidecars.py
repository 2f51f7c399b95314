"""What the readers of long recordings share: files beside recordings, timed segments, and ids that can be read back.

A sidecar is a file that says when what is spoken in a recording. Its reader turns it into `Track`s; `read_tracks` finds
their recordings and makes one utterance or one drop of every segment.

A segment's id is `<recording>_<start>-<stop>` in seconds (E4), `talks/one_1853.82-1873.66`: written from integer
microseconds with two to six decimals, so that it depends on nobody's float printing, and read from the right, because
names hold `_` and `-` too (E-P20, K22). A second segment with the same times ends in `~2`. Where a recording's channels are
told apart, its name has the channel's behind it: `call-A_0.00-1.50`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from utterloom.annotations.plain_text import content_of
from utterloom.annotations.times import MICROSECONDS_HZ, decimal_of, microseconds
from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.readers.channels import channels_meant
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES
from utterloom.prepare.recordings import ALIKE, MOST_COMPARED, plain

STAGE = "prepare"
_SEGMENT_ID = re.compile(
    r"(?P<recording>.+)_(?P<start>\d+(?:\.\d{1,6})?)-(?P<stop>\d+(?:\.\d{1,6})?)(?:~(?P<copy>[1-9]\d*))?", re.DOTALL | re.ASCII)
_LOCAL_SPEAKER = re.compile(r"speaker[\s_-]*(?:\d+|[a-z])", re.IGNORECASE)
_NOBODY = frozenset(("", "<na>", "unknown", "?"))


# ------------------------------------------------------------------------------------------------------------ ids


def segment_id(recording: str, start_s: float, stop_s: float, copy: int = 1) -> str:
    """`<recording>_<start>-<stop>`, and `~<copy>` from the second one on. `parse_segment_id` reads it back."""
    return f"{recording}_{decimal_of(start_s)}-{decimal_of(stop_s)}" + (f"~{copy}" if copy > 1 else "")


def parse_segment_id(text: str) -> tuple[str, float, float, int]:
    """Recording, start and stop in seconds, and which of those that have the same times. Raises ValueError."""
    match = _SEGMENT_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not <recording>_<start>-<stop>")
    return match["recording"], float(match["start"]), float(match["stop"]), int(match["copy"] or 1)


# ------------------------------------------------------------------------------------------------------- segments


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording as a sidecar has it. `where` is its place in the file, for people.

    `fault` is why it cannot be used, (reason, detail): such a segment is counted as a Drop, with its seconds if it has any.
    `id` is one that the source gave; None makes one of recording and times. `side` is the channel as the source calls it
    (`channels.py`); None is the mix.
    """

    where: str
    start_s: float | None = None
    stop_s: float | None = None
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    split: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    fault: tuple[str, str] | None = None
    side: str | None = None

    @property
    def seconds(self) -> float | None:
        if self.start_s is None or self.stop_s is None or self.stop_s <= self.start_s:
            return None
        return (microseconds(self.stop_s) - microseconds(self.start_s)) / MICROSECONDS_HZ


@dataclass(frozen=True)
class Track:
    """What a sidecar says of one recording, which it calls `wanted`.

    `or_else` is where to look when nothing is called so; two tracks with `is_only` contradict one another.
    """

    sidecar: Path
    wanted: str
    segments: list[Segment]
    or_else: str | None = None
    is_only: bool = False


def timed_words(words: Iterable[tuple[str, float, float | None]]) -> str:
    """Words with start and stop in seconds from the start of their segment, as the JSON text of the attribute `word_times`."""
    return json.dumps([[word, _rounded(start_s), None if stop_s is None else _rounded(stop_s)] for word, start_s, stop_s in words],
                      ensure_ascii=False, separators=(",", ":"))


def _rounded(seconds: float) -> float:
    return round(seconds, 6)


def speaker_in(recording: str, label: str | None) -> str | None:
    """Who that is in the whole corpus: `SPEAKER_00` and its like are counted anew in each recording, other names are not.

    What may be a name stays one: two people under one name only keep their recordings together in a split.
    """
    label = (label or "").strip()
    if label.lower() in _NOBODY:
        return None
    return f"{recording}/{label}" if _LOCAL_SPEAKER.fullmatch(label) else label


def overlaps_us(spans_us: Sequence[tuple[int, int]]) -> list[int]:
    """For each stretch [start, stop), how much of it another one covers too."""
    change: Counter[int] = Counter()
    for start, stop in spans_us:
        change[start] += 1
        change[stop] -= 1
    edges = sorted(change)
    covered, depth = dict.fromkeys(edges[:1], 0), 0
    for left, right in pairwise(edges):
        depth += change[left]
        covered[right] = covered[left] + (right - left if depth > 1 else 0)
    return [covered[stop] - covered[start] for start, stop in spans_us]


# ------------------------------------------------------------------------------------------------------ recordings


@dataclass(frozen=True)
class Found:
    """A recording by the name that its segments' ids begin with, and its file. `path` is the file as the source spells it.

    Both are None where it was not found, for the reason in `complaint`.
    """

    name: str
    path: Path | None
    file: Path | None
    complaint: str | None = None


class Recordings:
    """The files of a folder, read once; hidden ones are not there. Raises SourceError for a folder that cannot be read."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.folder = source if source.is_dir() else source.parent
        try:
            if not source.exists():
                beside = [path.name for path in source.parent.iterdir()] if source.parent.is_dir() else []
                near = nearest(source.name, beside)
                raise SourceError(f"there is no {source}", f"did you mean {near[0]!r}?" if near else None)
            self.files = sorted(_walk(self.folder))
        except OSError as error:
            raise SourceError(f"{source} cannot be read: {error.strerror}") from None
        self.audio = [path for path in self.files if path.suffix.lower() in AUDIO_SUFFIXES]
        self._num_compared = 0
        self._paths = set(self.audio)
        self._folders = {path.parent for path in self.audio}
        self._by_name = _grouped(self.audio, self.name_of)
        self._by_plain_name = _grouped(self.audio, lambda path: plain(self.name_of(path)))
        self._by_rest = _grouped(self.audio, lambda path: _without_first_folder(self.name_of(path)))
        self._by_plain_rest = _grouped(self.audio, lambda path: plain(_without_first_folder(self.name_of(path))))

    def name_of(self, path: Path) -> str:
        """The path inside the folder without suffix: what its segments' ids begin with."""
        return path.relative_to(self.folder).with_suffix("").as_posix()

    def sidecars(self, suffixes: Sequence[str]) -> list[Path]:
        """Files of that kind, or the one file that the source is. Raises SourceError where there are none."""
        if self.source.is_file():
            return [self.source]
        found = [path for path in self.files if path.suffix.lower() in suffixes]
        if not found:
            raise SourceError(f"there is no file ending in {' or '.join(suffixes)} in {self.source}")
        return found

    def find(self, wanted: str, beside: Path) -> Found:
        """The recording that a file in the folder `beside` calls `wanted`, with or without an audio suffix, and with slashes
        of either kind: that very file; else the one of that name with any audio suffix, beside it or (for a path of another
        machine) at the end of its path. For a file in a folder without audio also the one in another folder: `text/a` and
        `audio/a`. Then the same in another spelling (E-P1). Several that are as near as each other are none.

        What looks the same is given the name as written, so that `prepare` finds it by itself and says so.
        """
        written = PurePosixPath(wanted.replace("\\", "/"))
        exact = beside / written
        if exact in self._paths:
            return Found(self.name_of(exact), exact, exact)
        stem = written.with_suffix("") if written.suffix.lower() in AUDIO_SUFFIXES else written
        inside = (beside / stem).is_relative_to(self.folder)
        name = (beside / stem).relative_to(self.folder).as_posix() if inside else stem.as_posix()
        tails = ["/".join(stem.parts[first:]) for first in range(len(stem.parts))] if len(stem.parts) > 1 else []
        names = dict.fromkeys([name, *tails])
        looks: list[tuple[bool, list[Path]]] = [(True, self._by_name.get(key, [])) for key in names]
        looks += [(False, self._by_plain_name.get(plain(key), [])) for key in names]
        if beside not in self._folders:
            looks += [(True, self._by_rest.get(_without_first_folder(name), [])),
                      (False, self._by_plain_rest.get(plain(_without_first_folder(name)), []))]
        for is_exact, files in looks:
            if len(files) > 1:
                listed = ", ".join(str(file.relative_to(self.folder)) for file in files[:3])
                return Found(name, None, None, f"{wanted!r} may be any of {len(files)} recordings: {listed}")
            if files:
                (file,) = files
                return Found(self.name_of(file), file if is_exact else file.with_name(stem.name + file.suffix), file)
        self._num_compared += len(self.audio)
        near = nearest(stem.name, (file.stem for file in self.audio), alike=ALIKE) if self._num_compared <= MOST_COMPARED else []
        return Found(name, None, None, f"there is no recording {wanted!r} in {self.folder}" +
                     (f"; names that look like it: {', '.join(near)}" if near else ""))

    def fingerprint(self, sidecars: Iterable[Path], *more: str) -> str:
        """Of the names and sizes of the recordings and the content of the sidecars."""
        digest = hashlib.sha256(json.dumps([
            [[str(path.relative_to(self.folder)), path.stat().st_size] for path in self.audio], more]).encode())
        for path in sidecars:
            digest.update(f"\0{path.relative_to(self.folder)}\0".encode(errors="surrogateescape"))
            digest.update(hashlib.sha256(content_of(path)).digest())
        return digest.hexdigest()[:16]


def _walk(folder: Path) -> Iterator[Path]:
    """Files that are not hidden. Folders that are links are entered too, each real folder once."""
    entered: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(root)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in names if not name.startswith(".") and (path := Path(root, name)).is_file())


def _grouped(paths: Iterable[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    table: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        table[key(path)].append(path)
    return dict(table)


def _without_first_folder(name: str) -> str:
    first, slash, rest = name.partition("/")
    return rest if slash else first


# ------------------------------------------------------------------------------------------- segments to utterances


def read_tracks(
    recordings: Recordings, sidecars: Sequence[Path], tracks_of: Callable[[Path], Iterable[Track]], kind: str,
    used: set[Path] | None = None,
) -> Iterator[Utterance | Drop]:
    """Every segment of every sidecar as an utterance or a drop; a recording that none speaks of is a drop too.

    `tracks_of` may raise SourceError for one file: that file is then one drop, `bad file`. It may add to `used` the recordings
    that it makes utterances of by itself.
    """
    used = set() if used is None else used
    placed: list[tuple[Track, Found]] = []
    for sidecar in sidecars:
        try:
            tracks = list(tracks_of(sidecar))
        except SourceError as error:
            name = str(sidecar.relative_to(recordings.folder))
            yield Drop(name, STAGE, "bad file", error.message, None, str(sidecar))
            used.update(file for file in [recordings.find(sidecar.stem, sidecar.parent).file] if file)
            continue
        for track in tracks:
            found = recordings.find(track.wanted, sidecar.parent)
            if found.path is None and track.or_else is not None:
                other = recordings.find(track.or_else, sidecar.parent)
                found = other if other.path is not None else found
            placed.append((track, found))
    sidecars_of: dict[Path, dict[str, None]] = defaultdict(dict)
    for track, found in placed:
        if found.file is not None and track.is_only:
            sidecars_of[found.file][str(track.sidecar.relative_to(recordings.folder))] = None
    copies: Counter[str] = Counter()
    sides: dict[Path | None, dict[str, None]] = defaultdict(dict)
    for track, found in placed:
        sides[found.file].update((segment.side, None) for segment in track.segments if segment.side is not None)
    for track, found in placed:
        if found.file is not None:
            used.add(found.file)
            rivals = sidecars_of[found.file]
            if len(rivals) > 1:
                yield Drop(str(track.sidecar.relative_to(recordings.folder)), STAGE, "several files for one recording",
                           f"{', '.join(rivals)} all belong to {found.file.name}; keep the one with the words that are spoken",
                           sum(segment.seconds or 0.0 for segment in track.segments), str(found.file))
                continue
        yield from utterances(found, track.segments, copies, sides[found.file])
    if recordings.source.is_dir():
        for path in recordings.audio:
            if path not in used:
                yield Drop(recordings.name_of(path), STAGE, "no segments", f"there is no {kind} for it", None, str(path))


def utterances(
    found: Found, segments: Sequence[Segment], copies: Counter[str] | None = None, sides: Iterable[str] | None = None
) -> Iterator[Utterance | Drop]:
    """One utterance or drop a segment, in order. Those that lie over others of their channel are kept, with the attribute
    `overlap_s`.

    `copies` counts the ids given so far, and `sides` are the channels named so far, where one recording is spoken of in several
    places.
    """
    copies = Counter() if copies is None else copies
    try:
        meant = channels_meant(sides if sides is not None else [one.side for one in segments if one.side is not None], found.file)
        unclear = None
    except ValueError as error:
        meant, unclear = {}, ("unknown channel", str(error))
    channels = [meant.get(segment.side) if segment.side is not None else None for segment in segments]
    names = [found.name if channel is None else f"{found.name}-{segment.side}"
             for segment, channel in zip(segments, channels, strict=True)]
    faults = [segment.fault or _fault_in_times(segment) or (unclear if segment.side is not None else None) for segment in segments]
    shared_us: dict[int, int] = {}
    for channel in dict.fromkeys(channels):
        timed = [number for number, fault in enumerate(faults) if fault is None and channels[number] == channel]
        shared_us.update(zip(timed, overlaps_us([_span_us(segments[number]) for number in timed]), strict=True))
    for number, segment in enumerate(segments):
        fault = faults[number]
        if fault is None and found.path is None:
            fault = "no recording", found.complaint or ""
        if fault is not None:
            reason, detail = fault
            utterance_id = segment.id or _id_of(names[number], segment, copies)
            yield Drop(utterance_id, STAGE, reason, f"{segment.where}: {detail}", segment.seconds,
                       None if found.path is None else str(found.path))
            continue
        attributes = dict(segment.attributes)
        if shared_us[number]:
            attributes["overlap_s"] = f"{shared_us[number] / MICROSECONDS_HZ:g}"
        span = Span(str(found.path), start_s=segment.start_s, stop_s=segment.stop_s, channel=channels[number])
        yield Utterance(
            id=segment.id or _id_of(names[number], segment, copies), text=segment.text, spans=(span,),
            speaker=speaker_in(found.name, segment.speaker), language=segment.language, split=segment.split, attributes=attributes)


def _id_of(name: str, segment: Segment, copies: Counter[str]) -> str:
    if segment.start_s is None or segment.stop_s is None:
        return f"{name}: {segment.where}"
    first = segment_id(name, segment.start_s, segment.stop_s)
    copies[first] += 1
    return first if copies[first] == 1 else segment_id(name, segment.start_s, segment.stop_s, copies[first])


def _span_us(segment: Segment) -> tuple[int, int]:
    assert segment.start_s is not None and segment.stop_s is not None
    return microseconds(segment.start_s), microseconds(segment.stop_s)


def _fault_in_times(segment: Segment) -> tuple[str, str] | None:
    if segment.start_s is None or segment.stop_s is None:
        return "bad times", "it has no start or no end"
    start_us, stop_us = _span_us(segment)
    if stop_us < start_us:
        return "ends before it starts", f"from {segment.start_s:g} s to {segment.stop_s:g} s"
    if stop_us == start_us:
        return "no length", f"it starts and ends at {segment.start_s:g} s"
    return None
