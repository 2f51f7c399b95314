"""`prepare segments PATH`: JSON segments of long recordings, with words whose times count from the segment's start (E2, E20).

PATH is one file for a corpus, or a folder with one file beside each recording (else with one file). A file holds a list of
segments, an object `{"audio": NAME, "segments": [...]}`, or (`.jsonl`) one segment a line. A segment has

    start, end                              seconds in the recording
    text, or words                          what is said; words are joined by spaces
    word_start_times, word_end_times        seconds from the start of the segment
    audio, media, file, recording, orig_file, reconame
                                            the recording, where the file is not beside it; any audio suffix, or none
    speaker, language, split                optional; anything else is kept as an attribute (`asr` as its words)
    channel                                 optional: 1, 2 …, A, B … or left, right; from 0 where a 0 is among them

Words may also be objects `{"word", "start", "end"}`: their times count from the start of the recording, as Whisper writes
them. Word times become the attribute `word_times`, relative to the segment; where they do not fit the segment, the segment
is kept without them and `word_times_refused` says why.

A row with both `path` and `orig_file` (E20, the published form) names a clip that is already cut: the clip is taken where it
is there, and otherwise the stretch of the recording.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom.annotations.plain_text import text_of
from utterloom.annotations.times import seconds_of
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.channels import channel_numbers
from utterloom.prepare.readers.sidecars import Recordings, Segment, Track, read_tracks, timed_words

SUFFIXES = (".json", ".jsonl", ".ndjson")
RECORDING_KEYS = ("audio", "media", "file", "recording", "orig_file", "reconame")
TIMES = ("word_start_times", "word_end_times")
USED = frozenset((*RECORDING_KEYS, *TIMES, "start", "end", "text", "words", "speaker", "language", "split"))
ROUNDING_S = 0.05  # an aligner's frame or two over the edge

Row = dict[str, Any]


class SegmentsReader:
    """JSON segments, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the recordings' names and sizes and of the JSON files."""
        recordings = Recordings(source)
        return recordings.fingerprint(_sidecars(recordings))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the files and of the segments in them; clips that are already cut come last."""
        recordings = Recordings(source)
        cut: dict[Path, list[Utterance | Drop]] = defaultdict(list)
        used: set[Path] = set()

        def tracks_of(path: Path) -> list[Track]:
            tracks = _tracks(path, recordings, cut)
            used.update(cut)
            return tracks

        yield from read_tracks(recordings, _sidecars(recordings), tracks_of, "JSON file", used)
        for items in cut.values():
            yield from items


def _sidecars(recordings: Recordings) -> list[Path]:
    """Those beside a recording of their name; else the only one at the top. Raises SourceError for none, or several."""
    found = recordings.sidecars(SUFFIXES)
    if recordings.source.is_file():
        return found
    names = {recordings.name_of(path) for path in recordings.audio}
    beside = [path for path in found if recordings.name_of(path) in names]
    top = [path for path in found if path.parent == recordings.folder]
    if beside or len(top) == 1:
        return beside or top
    raise SourceError(f"{recordings.source} has {len(top)} JSON files and none is beside a recording of its name",
                      f"name one: utterloom prepare segments {recordings.source}/FILE.json MANIFEST")


def _tracks(path: Path, recordings: Recordings, cut: dict[Path, list[Utterance | Drop]]) -> list[Track]:
    """The stretches of recordings that a file speaks of; clips that are already cut go to `cut`, by their file."""
    rows, default = _rows(path)
    by_name: dict[str, list[Segment]] = defaultdict(list)
    is_beside = default is None and recordings.source.is_dir()
    for where, row in rows:
        if isinstance(row, dict) and _text(row.get("path")) and _text(row.get("orig_file")):
            clip = recordings.find(str(row["path"]), path.parent)
            if clip.path is not None and clip.file is not None:
                cut[clip.file].append(_clip(clip.name, clip.path, segment_of_row(where, row)))
                continue
        name = next((name for key in RECORDING_KEYS if (name := _text(row.get(key)))), None) if isinstance(row, dict) else None
        by_name[name or default or path.stem].append(segment_of_row(where, row))
    return [Track(path, name, segments, is_only=is_beside) for name, segments in by_name.items()]


def _clip(name: str, path: Path, segment: Segment) -> Utterance | Drop:
    if segment.fault:
        return Drop(name, "prepare", segment.fault[0], f"{segment.where}: {segment.fault[1]}", segment.seconds, str(path))
    return Utterance(id=name, text=segment.text, spans=(Span(str(path)),), speaker=segment.speaker, language=segment.language,
                     split=segment.split, attributes=segment.attributes)


def _rows(path: Path) -> tuple[list[tuple[str, Any]], str | None]:
    """(place, segment) of a file, and the recording that the file names for all of them. Raises SourceError."""
    text = text_of(path)
    if path.suffix.lower() != ".json":
        return [(f"line {number}", _loaded(line)) for number, line in enumerate(text.split("\n"), start=1) if line.strip()], None
    loaded = _loaded(text)
    if isinstance(loaded, ValueError):
        raise SourceError(f"{path} is not JSON: {loaded}")
    named = None
    if isinstance(loaded, dict):
        if not isinstance(loaded.get("segments"), list):
            raise SourceError(f"{path} has no list of segments; its keys are {', '.join(map(str, loaded)) or 'none'}")
        named = next((name for key in RECORDING_KEYS if (name := _text(loaded.get(key)))), None)
        shared = {key: loaded[key] for key in ("speaker", "language", "split") if _text(loaded.get(key))}
        loaded = [{**shared, **row} if isinstance(row, dict) else row for row in loaded["segments"]]
    if not isinstance(loaded, list):
        raise SourceError(f"{path} holds {type(loaded).__name__}, neither a list of segments nor an object with one")
    return [(f"segment {number}", row) for number, row in enumerate(loaded, start=1)], named


def _loaded(text: str) -> Any:
    """The value, or the ValueError that says why it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        return error
    except RecursionError:
        return ValueError("it is nested too deeply")


def segment_of_row(where: str, row: Any) -> Segment:
    """A JSON segment as this module describes it; its `fault` says why it is none."""
    if isinstance(row, ValueError):
        return Segment(where, fault=("bad segment", f"not JSON: {row}"))
    if not isinstance(row, dict):
        return Segment(where, fault=("bad segment", f"{json.dumps(row)[:60]} is not an object"))
    missing = [key for key in ("start", "end") if row.get(key) is None]
    if missing:
        return Segment(where, fault=("bad times", f"it has no {' and no '.join(missing)}; its keys are {', '.join(row)}"))
    try:
        start_s, stop_s = seconds_of(row["start"]), seconds_of(row["end"])
    except ValueError as error:
        return Segment(where, fault=("bad times", str(error)))
    words = row.get("words") or []
    spoken = _words(words)
    text = row.get("text")
    if spoken is None or not (text is None or isinstance(text, str)):
        bad = ("words", words) if spoken is None else ("text", text)
        return Segment(where, start_s, stop_s, fault=("bad segment", f"{bad[0]} is {json.dumps(bad[1])[:60]}, not text"))
    attributes = {key: _attribute(value) for key, value in row.items() if key not in USED and value is not None}
    attributes |= _word_times(row, words, spoken, start_s, stop_s)
    split = _text(row.get("split"))
    return Segment(where, start_s, stop_s, text=_text(text) or _text(" ".join(spoken)), speaker=_speaker(row),
                   language=_text(row.get("language")), split=canonical_split(split) if split else None,
                   attributes={key: value for key, value in attributes.items() if value}, side=_side(row.get("channel")))


def _side(value: Any) -> str | None:
    """The channel as it is called; None for what names none."""
    label = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    try:
        channel_numbers([label])
    except ValueError:
        return None
    return label


def _words(words: Any) -> list[str] | None:
    """The words, of strings or of objects with a word; None where they are neither."""
    if not isinstance(words, list):
        return None
    said = [word.get("word", word.get("text")) if isinstance(word, dict) else word for word in words]
    strings = [word.strip() for word in said if isinstance(word, str)]
    return strings if len(strings) == len(said) else None


def _word_times(row: Row, words: list[Any], spoken: list[str], start_s: float, stop_s: float) -> dict[str, str]:
    """The attribute `word_times`, or `word_times_refused`; nothing where the source has no word times."""
    starts, stops, from_s = row.get(TIMES[0]), row.get(TIMES[1]), 0.0
    if starts is None and words and all(isinstance(word, dict) and "start" in word for word in words):
        starts, stops, from_s = [word["start"] for word in words], [word.get("end") for word in words], start_s
    if not starts or not spoken:
        return {}
    try:
        if not isinstance(starts, list) or len(starts) != len(spoken):
            raise ValueError(f"{len(spoken)} words have {len(starts) if isinstance(starts, list) else 'no list of'} start times")
        if stops is not None and (not isinstance(stops, list) or len(stops) != len(spoken)):
            raise ValueError(f"{len(spoken)} words have {len(stops) if isinstance(stops, list) else 'no list of'} end times")
        starts_s = [seconds_of(value) - from_s for value in starts]
        stops_s = [None if value is None else seconds_of(value) - from_s for value in stops or [None] * len(spoken)]
        before = -ROUNDING_S
        for word, first, last in zip(spoken, starts_s, stops_s, strict=True):
            if first < before or (last is not None and last < first) or max(first, last or 0.0) > stop_s - start_s + ROUNDING_S:
                raise ValueError(f"{word!r} at {first:g} s does not fit a segment of {stop_s - start_s:g} s")
            before = first
    except ValueError as error:
        return {"word_times_refused": str(error)}
    return {"word_times": timed_words(zip(spoken, starts_s, stops_s, strict=True))}


def _attribute(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _speaker(row: Row) -> str | None:
    info = row.get("speaker_info")
    return _text(row.get("speaker")) or (_text(info.get("name")) if isinstance(info, dict) else None)


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
