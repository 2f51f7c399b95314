"""Words with times in JSON, in the shapes that recognisers and aligners write.

| who | shape |
|---|---|
| plain | `[{"word", "start", "end"}]`, or `{"words": […]}`; also as a text inside other JSON, as tables have it (A2) |
| several utterances | `{id: any shape}`, or a list of objects with an id |
| Whisper, WhisperX, faster-whisper | `{"segments": [{"words": [{"word", "start", "end", "score" or "probability"}]}]}` |
| Transformers' pipelines | `{"chunks": [{"text", "timestamp": [start, end]}]}` |
| Montreal Forced Aligner | `{"tiers": {"words": {"entries": [[start, end, label]]}}}` |
| NeMo | `{"word": [{"text" or "word", "start", "end"}], "segment": […]}`, also below `"timestamp"` (A10) |
| gentle | `{"words": [{"word", "case", "start", "end"}]}`; a word that was not found has no times |
| Vosk | `{"result": [{"word", "conf", "start", "end"}]}` |

All times are seconds. JSON holds numbers as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from utterloom.annotations.records import Fault, Word, is_silence
from utterloom.annotations.textgrid import word_tier
from utterloom.core.errors import SourceError

IDS = ("id", "utterance_id", "utt_id", "segment_id", "audio_filepath")
LISTS = ("words", "word", "alignment_json", "alignment", "timestamp", "timestamps", "result", "chunks")
_WORDS = ("word", "text", "label")
_STARTS = ("start_s", "start", "start_time", "begin")
_ENDS = ("end_s", "end", "end_time", "stop")
_DURATIONS = ("duration_s", "duration")
_SCORES = ("score", "confidence", "conf", "probability")
EXPECTED = ('words such as [{"word": "one", "start": 0.5, "end": 0.9}], or an object that holds such a list as "words", "word", '
            '"segments", "tiers", "chunks" or "result"')

WordsById = dict[str, list[Word]]


def parse_json(text: str, name: str, own_id: str, tier: str | None = None) -> tuple[WordsById, list[Fault]]:
    """Words by id, and the entries that are none; `own_id` is of words that the file gives no id.

    `tier` is the one of Montreal's tiers that holds the words. Raises SourceError for what is no JSON or of no shape above.
    """
    return _Shapes(name, tier).read(_loads(text, name), own_id)


def parse_json_lines(text: str, name: str) -> tuple[WordsById, list[Fault]]:
    """One object a line, each with an id: `id`, or `audio_filepath` (its path without suffix, below the folder that all are in).

    Raises SourceError naming the line.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            row = _loads(line, where)
            if not isinstance(row, dict) or _id_key(row) is None:
                raise SourceError(f"{where} should be an object with {' or '.join(IDS)}")
            rows.append((where, row))
    if not rows:
        raise SourceError(f"{name} is empty")
    return _records(rows, None)


def _loads(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(f"{name}, line {error.lineno}: it is not JSON: {error.msg} at character {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name} is not JSON that can be read: {error}") from None


def _id_key(row: Mapping[str, Any]) -> str | None:
    """The key that names it: with a text, or with a number where it is no path."""
    return next((key for key in IDS if (isinstance(row.get(key), str) and row[key].strip()) or (
        key != "audio_filepath" and isinstance(row.get(key), int) and not isinstance(row[key], bool))), None)


def _is_utterance(row: Mapping[str, Any]) -> bool:
    """Rather than a word, or one of Whisper's segments, which are numbered."""
    return isinstance(row.get(_id_key(row) or ""), str) and (
        "alignment_json" in row or any(isinstance(row.get(key), list | dict) for key in (*LISTS, "segments", "tiers")))


def _records(rows: Sequence[tuple[str, dict[str, Any]]], tier: str | None) -> tuple[WordsById, list[Fault]]:
    """Objects with ids of their own. Raises SourceError where two have one id."""
    folder = _common_folder([row["audio_filepath"] for _, row in rows if isinstance(row.get("audio_filepath"), str)])
    words: WordsById = {}
    faults: list[Fault] = []
    for where, row in rows:
        key = str(_id_key(row))
        name = str(row[key]) if key != "audio_filepath" else _below(row[key], folder)
        if name in words:
            raise SourceError(f"{where}: a second entry of {name!r}", "give each an id of its own" if key != "id" else None)
        own, wrong = _Shapes(where, tier).read({key: value for key, value in row.items() if key not in IDS}, name)
        words.update(own)
        faults += wrong
    return words, faults


def _common_folder(paths: Sequence[str]) -> tuple[str, ...]:
    folders = [PurePosixPath(path.replace("\\", "/")).parent.parts for path in paths]
    if not folders:
        return ()
    low, high = min(folders), max(folders)
    length = next((place for place, (left, right) in enumerate(zip(low, high, strict=False)) if left != right),
                  min(len(low), len(high)))
    return low[:length]


def _below(path: str, folder: tuple[str, ...]) -> str:
    inside = PurePosixPath(*PurePosixPath(path.replace("\\", "/")).parts[len(folder):])
    return (inside.parent / inside.stem).as_posix()


class _Shapes:
    """The words in one JSON value; `name` is what errors call it."""

    def __init__(self, name: str, tier: str | None) -> None:
        self._name, self._tier = name, tier

    def read(self, value: Any, own_id: str) -> tuple[WordsById, list[Fault]]:
        if isinstance(value, list) and value and all(isinstance(one, dict) and _is_utterance(one) for one in value):
            return _records([(f"{self._name}, entry {number}", one) for number, one in enumerate(value, start=1)], self._tier)
        entries = self._entries(value, "")
        if entries is not None:
            words, faults = self._parsed(own_id, entries)
            return {own_id: words}, faults
        if not isinstance(value, dict) or not value:
            raise self._unknown(value, "")
        by_id: WordsById = {}
        faults = []
        for name, said in value.items():
            entries = self._entries(said, f" of {name!r}")
            if entries is None:
                raise self._unknown(said, f" of {name!r}")
            by_id[name], wrong = self._parsed(name, entries)
            faults += wrong
        return by_id, faults

    def _unknown(self, value: Any, of: str) -> SourceError:
        found = f"an object with {', '.join(map(repr, list(value)[:8])) or 'nothing'}" if isinstance(value, dict) \
            else f"{json.dumps(value, ensure_ascii=False)[:60]}"
        return SourceError(f"{self._name}{of} should hold {EXPECTED}; it is {found}")

    def _entries(self, value: Any, of: str) -> list[tuple[str, Any]] | None:
        """(where, entry) of each, or None where it is no shape of words."""
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            return self._entries(_loads(value, f"{self._name}{of}"), of)
        if isinstance(value, list):
            if any(isinstance(one, dict) and isinstance(one.get("words"), list) for one in value):
                return self._of_segments(value, of)
            return [(f"word {number}{of}", one) for number, one in enumerate(value, start=1)]
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("tiers"), dict):
            tiers = value["tiers"]
            entries = tiers[word_tier(list(tiers), self._tier, f"{self._name}{of}")]
            return self._entries(entries.get("entries") if isinstance(entries, dict) else entries, of)
        if isinstance(value.get("segments"), list):
            return self._of_segments(value["segments"], of)
        for key in LISTS:
            if isinstance(value.get(key), list | dict) or (isinstance(value.get(key), str) and key == "alignment_json"):
                return self._entries(value[key], of)
        return None

    def _of_segments(self, segments: Sequence[Any], of: str) -> list[tuple[str, Any]]:
        entries: list[tuple[str, Any]] = []
        for number, segment in enumerate(segments, start=1):
            said = segment.get("words") if isinstance(segment, dict) else None
            if not isinstance(said, list):
                raise SourceError(f"{self._name}{of}: segment {number} has no list of words with times",
                                  "let the recogniser write word times (Whisper: word_timestamps=True)")
            entries += [(f"segment {number}, {where}", one) for where, one in self._entries(said, of) or ()]
        return entries

    def _parsed(self, name: str, entries: Sequence[tuple[str, Any]]) -> tuple[list[Word], list[Fault]]:
        words: list[Word] = []
        faults: list[Fault] = []
        phrases: list[Word] = []
        for where, entry in entries:
            try:
                label, start_s, end_s, score = _parts(entry)
                if label is not None and is_silence(label):
                    continue  # whatever its times say: the gap is there without it (A10, A-P16)
                if label is None:
                    raise ValueError("no word", f"{json.dumps(entry, ensure_ascii=False)[:60]} names no word")
                words.append(Word(where, _seconds(start_s, label), _seconds(end_s, label), label, _number(score)))
                if len(label.split()) > 1 and not (isinstance(entry, dict) and "word" in entry):
                    phrases.append(words[-1])
            except ValueError as error:
                faults.append(Fault(name, where, *error.args))
        if 2 * len(phrases) > len(words):
            raise SourceError(f"{self._name}: {phrases[0].where} is {phrases[0].text[:60]!r}: these are utterances, not words",
                              "let the recogniser write word times (Whisper: word_timestamps=True)")
        return words, faults


def _word_of(entry: Mapping[str, Any]) -> str | None:
    return next((entry[key] for key in _WORDS if isinstance(entry.get(key), str)), None)


def _parts(entry: Any) -> tuple[str | None, Any, Any, Any]:
    """Label, start, end and score as they stand there. Raises ValueError(reason, detail)."""
    if isinstance(entry, dict):
        start_s, end_s = _first(entry, _STARTS), _first(entry, _ENDS)
        if isinstance(entry.get("timestamp"), list) and len(entry["timestamp"]) == 2:
            start_s, end_s = entry["timestamp"]
        if end_s is None and start_s is not None and (length_s := _first(entry, _DURATIONS)) is not None:
            label = str(_word_of(entry))
            end_s = round(_seconds(start_s, label) + _seconds(length_s, label), 9)
        return _word_of(entry), start_s, end_s, _first(entry, _SCORES)
    if isinstance(entry, list) and len(entry) in (3, 4):
        score = entry[3] if len(entry) == 4 else None
        if isinstance(entry[2], str) and not (isinstance(entry[0], str) and _number(entry[0]) is None):
            return entry[2], entry[0], entry[1], score
        if isinstance(entry[0], str):
            return entry[0], entry[1], entry[2], score
    raise ValueError("no word", f"{json.dumps(entry, ensure_ascii=False)[:60]} is neither an object nor [start, end, word]")


def _first(entry: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _seconds(value: Any, label: str) -> float:
    """Also those that are negative or no numbers: `reading` says what is wrong with them. Raises ValueError(reason, detail)."""
    if value is None:
        raise ValueError("no times", f"{label!r} has no start or no end")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError("bad times", f"{label!r} has a time that is {value!r}") from None


def _number(value: Any) -> float | None:
    """A score; None for one that is no number."""
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None
