"""Words with times of other tools, checked: what is not a word said at a time is a gap or a fault, never a word.

| what | ids |
|---|---|
| `.ctm` | the first column; with `-` and the channel behind it where the words of a recording are on several |
| a folder of `.TextGrid` (else of `.json`, else of `.ctm`) | the path inside the folder without suffix |
| `.TextGrid` | the name without suffix |
| `.json` | those in it (`json_words.py` has the shapes), else the name without suffix |
| `.jsonl` | `id`, or the path of the recording |
| `.tsv` with the columns `word`, `start_s`, `end_s`, and perhaps `id` and `score` | the column `id`, else the name without suffix |

An entry is a fault when it has no time or one that is negative (-1 for "until the end" too), NaN or infinite, ends before it
starts, starts before the word before it does or ends, ends after its recording, or is `<unk>` or one of several readings.
Times that were rounded to hundredths may overlap by one: then the earlier word is cut, and counted as `trimmed`. An entry that
says silence is a gap, whatever its times.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from utterloom.annotations.ctm import parse_ctm
from utterloom.annotations.json_words import WordsById, parse_json, parse_json_lines
from utterloom.annotations.plain_text import text_of
from utterloom.annotations.records import UNKNOWN, Fault, TimedWord, Word, is_silence
from utterloom.annotations.textgrid import PAUSES, parse_textgrid, word_tier
from utterloom.core.errors import ConfigError, SourceError, nearest

READ_SUFFIXES = (".TextGrid", ".ctm", ".json", ".jsonl", ".tsv")
IN_FOLDERS = (".TextGrid", ".json", ".ctm")
ROUNDING_S = 0.010000001  # a hundredth of a second, and what a float is off
_COLUMNS = {"id": ("id", "utterance_id", "utt_id", "recording"), "word": ("word",), "start_s": ("start_s", "start"),
            "end_s": ("end_s", "end"), "score": ("score", "confidence")}
_NEEDED = ("word", "start_s", "end_s")


@dataclass(frozen=True)
class WordsRead:
    """Words by the id of their utterance or recording, in the order of time, and what could not be used. An id with nothing but
    silence has no words. `trimmed` counts those cut because rounding made them reach a hundredth of a second too far."""

    by_id: dict[str, list[TimedWord]]
    faults: list[Fault] = field(default_factory=list)
    trimmed: int = 0


def read_words(path: Path, tier: str | None = None, durations_s: Mapping[str, float] | None = None) -> WordsRead:
    """The words of a file or folder. `tier` names the tier of TextGrids (of MFA's JSON too), where it is not `words` or `word`.

    Words are checked against `durations_s`, by id, as far as it has them. A file of a folder that cannot be read is a fault.
    Raises SourceError for a source of which nothing can be read, and ConfigError for a suffix that is none of READ_SUFFIXES.
    """
    if path.is_dir():
        by_id, faults, source = _in_folder(path, tier)
    else:
        suffix = _suffix(path)
        by_id, faults = _parsed(path, suffix, path.name[:-len(suffix)], tier)
        source = suffix[1:].lower()
    read = WordsRead({}, faults)
    trimmed = 0
    for name, words in by_id.items():
        read.by_id[name], wrong, cut = _checked(name, words, None if durations_s is None else durations_s.get(name), source)
        faults += wrong
        trimmed += cut
    return replace(read, trimmed=trimmed)


def _suffix(path: Path) -> str:
    if not path.exists():
        near = nearest(path.name, [one.name for one in path.parent.iterdir()]) if path.parent.is_dir() else []
        raise SourceError(f"there is no {path}", f"did you mean {near[0]!r}?" if near else None)
    for suffix in READ_SUFFIXES:
        if path.suffix.lower() == suffix.lower():
            return suffix
    why = " (captions do not say when a word ends)" if path.suffix.lower() in (".srt", ".vtt") else ""
    raise ConfigError(f"no word times are read from {path.name!r}{why}",
                      f"choose from: {', '.join(READ_SUFFIXES)}, or a folder of them")


def _parsed(path: Path, suffix: str, own_id: str, tier: str | None) -> tuple[WordsById, list[Fault]]:
    text, name = text_of(path), str(path)
    if suffix == ".ctm":
        return _of_ctm(text, name)
    if suffix == ".TextGrid":
        return _of_textgrid(text, name, own_id, tier)
    if suffix == ".json":
        return parse_json(text, name, own_id, tier)
    return parse_json_lines(text, name) if suffix == ".jsonl" else _of_table(text, name, own_id)


def _in_folder(folder: Path, tier: str | None) -> tuple[WordsById, list[Fault], str]:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file()
                       and not any(part.startswith(".") for part in path.relative_to(folder).parts))
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from None
    kinds = {suffix: [path for path in files if path.suffix.lower() == suffix.lower()] for suffix in IN_FOLDERS}
    suffix = next((suffix for suffix in IN_FOLDERS if kinds[suffix]), None)
    if suffix is None:
        raise SourceError(f"there is no file ending in {' or '.join(IN_FOLDERS)} in {folder}")
    words: WordsById = {}
    faults: list[Fault] = []
    failures: list[SourceError] = []
    for path in kinds[suffix]:
        own_id = path.relative_to(folder).as_posix()[:-len(suffix)]
        try:
            own, wrong = _parsed(path, suffix, own_id, tier)
        except SourceError as error:
            failures.append(error)
            faults.append(Fault(own_id, str(path), "bad file", error.message))
            continue
        twice = next((name for name in own if name in words), None)
        if twice is not None:
            raise SourceError(f"{path} has words of {twice!r}, and so has another file in {folder}")
        words.update(own)
        faults += wrong
    if len(failures) == len(kinds[suffix]):
        raise failures[0]
    return words, faults, suffix[1:].lower()


# --------------------------------------------------------------------------------------------------------- formats


def _of_ctm(text: str, name: str) -> tuple[WordsById, list[Fault]]:
    recordings, faults = parse_ctm(text)
    if not recordings:
        raise SourceError(f"{name} holds no words" + (f"; {faults[0].where}: {faults[0].detail}" if faults else ""))
    words = {recording if len(channels) == 1 else f"{recording}-{channel}": sorted(said, key=lambda word: word.start_s)
             for recording, channels in recordings.items() for channel, said in channels.items()}
    return words, faults


def _of_textgrid(text: str, name: str, own_id: str, wanted: str | None) -> tuple[WordsById, list[Fault]]:
    tiers = [tier for tier in parse_textgrid(text, name) if not tier.is_points]
    chosen = word_tier([tier.name for tier in tiers], wanted, name)
    intervals = next(tier.intervals for tier in tiers if tier.name == chosen)
    return {own_id: [Word(f"interval {number}", start_s, stop_s, label) for number, (start_s, stop_s, label)
                     in enumerate(intervals, start=1) if label.strip().lower() not in PAUSES]}, []


def _of_table(text: str, name: str, own_id: str) -> tuple[WordsById, list[Fault]]:
    head, *lines = text.split("\n")
    header = head.split("\t")
    columns = {meaning: next((header.index(one) for one in names if one in header), None) for meaning, names in _COLUMNS.items()}
    missing = [meaning for meaning in _NEEDED if columns[meaning] is None]
    if missing:
        raise SourceError(f"{name}, line 1 should name the columns {', '.join(_NEEDED)}, with tabs between them; "
                          f"it has {', '.join(map(repr, header[:10]))} and no {' and no '.join(missing)}")
    words: WordsById = defaultdict(list)
    faults: list[Fault] = []
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        cells = line.split("\t")

        def cell(meaning: str, cells: Sequence[str] = cells) -> str:
            place = columns[meaning]
            return cells[place] if place is not None and place < len(cells) else ""

        where, recording = f"line {number}", cell("id") if columns["id"] is not None else own_id
        if len(cells) != len(header):
            faults.append(Fault(recording, where, "bad line", f"it has {len(cells)} cells, and the first line {len(header)}"))
            continue
        said = words[recording]
        if is_silence(cell("word")):
            continue
        try:
            score = float(cell("score")) if cell("score").strip() else None
            said.append(Word(where, float(cell("start_s")), float(cell("end_s")), cell("word"), score))
        except ValueError:
            reason = "bad times" if cell("start_s").strip() and cell("end_s").strip() else "no times"
            faults.append(Fault(recording, where, reason, f"{cell('word')!r} is from {cell('start_s')!r} to {cell('end_s')!r}"))
    if not words:
        raise SourceError(f"{name} holds no words")
    return dict(words), faults


# ---------------------------------------------------------------------------------------------------------- checks


def _checked(
    name: str, words: Sequence[Word], duration_s: float | None, source: str
) -> tuple[list[TimedWord], list[Fault], int]:
    """Those that are words said at a time, the faults of the others, and how many of the words were trimmed."""
    good: list[TimedWord] = []
    faults: list[Fault] = []
    trimmed = 0
    for word in words:
        label = " ".join(word.text.split())
        if is_silence(label):
            continue
        fault = word.fault or _fault(word, duration_s) or (_fault_after(word, good[-1]) if good else None)
        if fault is not None:
            faults.append(Fault(name, word.where, *fault))
            continue
        if good and good[-1].end_s > word.start_s:
            good[-1] = replace(good[-1], end_s=word.start_s)
            trimmed += 1
        start_s, end_s = word.start_s, word.stop_s
        if duration_s is not None and end_s > duration_s:
            start_s, end_s = min(start_s, duration_s), duration_s
            trimmed += 1
        score = word.confidence if word.confidence is not None and math.isfinite(word.confidence) else None
        good.append(TimedWord(label, start_s, end_s, score, source))
    return good, faults, trimmed


def _fault(word: Word, duration_s: float | None) -> tuple[str, str] | None:
    said = f"{word.text!r} is said from {word.start_s:g} s to {word.stop_s:g} s"
    if not (math.isfinite(word.start_s) and math.isfinite(word.stop_s)):
        return "bad times", said
    if word.start_s < 0 or word.stop_s < 0:
        return "negative time", said + ("; -1 stands for a time that nobody gave" if -1 in (word.start_s, word.stop_s) else "")
    if word.stop_s < word.start_s:
        return "ends before it starts", said
    if duration_s is not None and word.stop_s > duration_s + ROUNDING_S:
        return "ends after its recording", f"{said}, of {duration_s:g} s"
    if word.text.strip().lower() in UNKNOWN:
        return "unknown word", said
    return None


def _fault_after(word: Word, before: TimedWord) -> tuple[str, str] | None:
    if word.start_s < before.start_s:
        return "out of order", f"{word.text!r} starts at {word.start_s:g} s, and {before.word!r} before it at {before.start_s:g} s"
    if before.end_s - word.start_s > ROUNDING_S:
        return "overlap", f"{word.text!r} starts at {word.start_s:g} s, and {before.word!r} before it ends at {before.end_s:g} s"
    return None
