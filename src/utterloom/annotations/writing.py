"""Words and utterances with times, to a file whose suffix names its format.

| suffix | holds | resolution |
|---|---|---|
| `.TextGrid` | one recording; labels and times | 1 µs |
| `.ctm` | words, of any number of recordings; scores of six digits | 1 µs |
| `.tsv` | everything; scores of six digits | 1 µs |
| `.json` | everything, text as it is | 1 µs |
| `.srt`, `.vtt` | one recording; words grouped into captions | 1 ms |

Files are there whole or not at all. What a format cannot hold as it is, is changed or left out, and counted: `Written.changes`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from utterloom.annotations.captioning import Spoken, caption_of_text, captions_of_words
from utterloom.annotations.captions import Caption, srt_of, vtt_of
from utterloom.annotations.ctm import ctm_cell, ctm_line
from utterloom.annotations.records import TimedSegment, TimedWord, is_silence
from utterloom.annotations.textgrid import PAUSES, PAUSES_OF_SENTENCES, textgrid_of
from utterloom.annotations.times import MICROSECONDS_HZ, decimal_of, microseconds
from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.errors import ConfigError

WORD_SUFFIXES = (".TextGrid", ".ctm", ".srt", ".vtt", ".tsv", ".json")
SEGMENT_SUFFIXES = (".TextGrid", ".srt", ".vtt", ".tsv", ".json")
OF_ONE_RECORDING = (".TextGrid", ".srt", ".vtt")
WORD_COLUMNS = ("word", "start_s", "end_s", "score")
SEGMENT_COLUMNS = ("id", "start_s", "end_s", "text", "score")

Words = Sequence[TimedWord]


@dataclass(frozen=True)
class Written:
    """What was written: how many words or utterances, how many were left out, and how many things were changed, by what was."""

    count: int
    left_out: int = 0
    changes: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Written) -> Written:
        return Written(self.count + other.count, self.left_out + other.left_out,
                       dict(Counter(self.changes) + Counter(other.changes)))


@dataclass
class _Item:
    """A word or an utterance in integer microseconds."""

    id: str
    text: str | None
    start_us: int
    stop_us: int
    score: float | None


def write_words(path: Path, words: Words | Mapping[str, Words], duration_s: float | Mapping[str, float]) -> Written:
    """The words of one recording, or of several by their ids; `duration_s` is of the recording, or of each.

    Words are in the order of time. One that starts before the word before it ends is made to start there, and one that ends after
    its recording is cut there; both are counted. Columns of TSV and keys of JSON are `word, start_s, end_s, score`; with ids, TSV
    has the column `id` first and JSON is an object of lists. In a CTM a recording without id is called as the file is.

    Raises ConfigError for a suffix that is none of WORD_SUFFIXES, for several recordings in a format that holds one, and for ids
    that a CTM or TSV cannot tell apart; ValueError where a duration is missing or no length; OutputError.
    """
    suffix = _suffix(path, WORD_SUFFIXES, "words")
    by_id = words if isinstance(words, Mapping) else {path.name[:-len(suffix)]: words}
    if suffix in OF_ONE_RECORDING and len(by_id) != 1:
        raise ConfigError(f"{path}: a {suffix} file is of one recording, and these are the words of {len(by_id)}",
                          "write one file for each into a folder, or choose from: .ctm, .tsv, .json")
    changes: Counter[str] = Counter()
    items = {name: _words(name, said, _duration_us(duration_s, name), suffix, changes) for name, said in by_id.items()}
    everything = [item for said in items.values() for item in said]
    left_out = 0
    if suffix == ".ctm":
        names = _cells(path, by_id, {name: ctm_cell(name, changes) for name in by_id})
        text = "".join(f"{ctm_line(names[item.id], item.start_us, item.stop_us, item.text or '', item.score, changes)}\n"
                       for item in everything)
    elif suffix == ".tsv":
        has_ids = isinstance(words, Mapping)
        names = _cells(path, by_id, {name: _plain(name, changes) for name in by_id}) if has_ids else {}
        text = _tsv([*(["id"] if has_ids else []), *WORD_COLUMNS],
                    ([*([names[item.id]] if has_ids else []), item.text or "", *_times(item), _score(item)]
                     for item in everything))
    elif suffix == ".json":
        rows = {name: [_object(item, WORD_COLUMNS) for item in said] for name, said in items.items()}
        text = _json_by_id(rows) if isinstance(words, Mapping) else _json(rows.popitem()[1])
    elif suffix == ".TextGrid":
        shown = [item for item in everything if item.stop_us > item.start_us]
        text, left_out = _textgrid("words", shown, next(iter(by_id)), duration_s), len(everything) - len(shown)
    else:
        captions = captions_of_words([Spoken(item.text or "", _ms(item.start_us), _ms(item.stop_us)) for item in everything
                                      if item.text])
        shown_captions = [caption for caption in captions if caption.stop_ms > caption.start_ms]
        left_out = len(everything) - sum(len(line) for caption in shown_captions for line in caption.lines)
        text = _captions(suffix, shown_captions, changes)
    return _write(path, text, len(everything), left_out, changes)


def write_segments(path: Path, segments: Sequence[TimedSegment], duration_s: float) -> Written:
    """The utterances of one recording, in the order of time. Columns of TSV and keys of JSON are `id, start_s, end_s, text, score`.

    TextGrid and captions hold utterances that do not overlap: one that starts before the one before it ends is made to start there.
    What has no length, or no text in captions, is left out of them. Raises ConfigError for a suffix that is none of
    SEGMENT_SUFFIXES (a CTM holds words), ValueError, OutputError.
    """
    suffix = _suffix(path, SEGMENT_SUFFIXES, "utterances")
    changes: Counter[str] = Counter()
    items = list(_fitted(((one.id, one.text, one.start_s, one.end_s, one.score) for one in segments),
                         _duration_us(duration_s, path.name), suffix in OF_ONE_RECORDING, changes))
    if suffix != ".json":
        for item in items:
            item.text = None if item.text is None else _plain(item.text, changes)
    shown = items
    if suffix == ".tsv":
        text = _tsv(SEGMENT_COLUMNS, ([_plain(item.id, changes), *_times(item), item.text or "", _score(item)] for item in items))
    elif suffix == ".json":
        text = _json([_object(item, SEGMENT_COLUMNS) for item in items])
    elif suffix == ".TextGrid":
        shown = [item for item in items if item.stop_us > item.start_us]
        _count_pauses(shown, PAUSES_OF_SENTENCES, changes)
        text = _textgrid("utterances", shown, path.name, duration_s)
    else:
        shown = [item for item in items if item.text and _ms(item.stop_us) > _ms(item.start_us)]
        text = _captions(suffix, [caption_of_text(item.text or "", _ms(item.start_us), _ms(item.stop_us)) for item in shown],
                         changes)
    return _write(path, text, len(items), len(items) - len(shown), changes)


def write_word_files(
    folder: Path, suffix: str, words: Mapping[str, Words], duration_s: Mapping[str, float]
) -> Written:
    """One file for each utterance or recording, `<folder>/<id><suffix>`; an id with slashes lies in folders of its own.

    `read_words` reads the folder back. Raises what `write_words` does, and ConfigError for an id that is no name below the folder.
    """
    written = Written(0)
    for name, said in words.items():
        parts = PurePosixPath(name).parts
        is_hidden = any(part.startswith(".") for part in parts)  # and would not be read back
        if not parts or PurePosixPath(name).as_posix() != name or name.startswith("/") or "\0" in name or is_hidden:
            raise ConfigError(f"the id {name!r} is no name for a file in {folder}", "choose from: .ctm, .tsv, .json")
        written += write_words(folder / f"{name}{suffix}", said, duration_s[name])
    return written


# ------------------------------------------------------------------------------------------------- what is to be written


def _words(name: str, words: Words, duration_us: int, suffix: str, changes: Counter[str]) -> list[_Item]:
    items = list(_fitted(((name, one.word, one.start_s, one.end_s, one.score) for one in words), duration_us, True, changes))
    if suffix not in (".json", ".ctm"):  # JSON holds any text, and cells of a CTM have a rule of their own
        for item in items:
            item.text = _plain(item.text or "", changes)
    _count_pauses(items, PAUSES if suffix == ".TextGrid" else frozenset(), changes)
    return items


def _fitted(
    items: Iterable[tuple[str, str | None, float, float, float | None]], duration_us: int, is_sequence: bool, changes: Counter[str]
) -> Iterator[_Item]:
    """Inside the recording and, where they are a sequence, one after the other."""
    place_us = 0
    for name, text, start_s, end_s, score in items:
        start_us, stop_us = microseconds(start_s), microseconds(end_s)
        if stop_us > duration_us:
            start_us, stop_us = min(start_us, duration_us), duration_us
            changes["cut at the end of the recording"] += 1
        if is_sequence and start_us < place_us:
            start_us, stop_us = place_us, max(stop_us, place_us)
            changes["made to start where the one before ends"] += 1
        place_us = max(place_us, stop_us)
        yield _Item(name, text, start_us, stop_us, score)


def _count_pauses(items: Sequence[_Item], pauses: frozenset[str], changes: Counter[str]) -> None:
    count = sum(is_silence(item.text or "") or (item.text or "").strip().lower() in pauses for item in items)
    if count:
        changes["text that readers take for silence"] += count


def _plain(text: str, changes: Counter[str]) -> str:
    """On one line, with single spaces, and of whole characters."""
    plain = " ".join(text.split()).encode("utf-8", "replace").decode()
    if plain != text:
        changes["white space made single spaces, half characters made ?"] += 1
    return plain


def check_suffix(path: Path, of_words: bool) -> None:
    """Raises ConfigError where such a file would be no format for words, or for utterances: before hours are spent on it."""
    _suffix(path, *((WORD_SUFFIXES, "words") if of_words else (SEGMENT_SUFFIXES, "utterances")))


def _suffix(path: Path, suffixes: Sequence[str], what: str) -> str:
    for suffix in suffixes:
        if path.suffix.lower() == suffix.lower():
            return suffix
    raise ConfigError(f"{path.name!r} names no format for {what}", f"choose a suffix from: {', '.join(suffixes)}")


def _duration_us(duration_s: float | Mapping[str, float], name: str) -> int:
    value = duration_s.get(name) if isinstance(duration_s, Mapping) else duration_s
    if value is None or not 0 < value < float("inf"):
        raise ValueError(f"the duration of {name!r} is {value!r} s, not a length")
    return microseconds(value)


def _cells(path: Path, names: Iterable[str], cells: Mapping[str, str]) -> Mapping[str, str]:
    """The cell of each id. Raises ConfigError for one that a file cannot have, and where two become one."""
    first: dict[str, str] = {}
    for name in names:
        cell = cells[name]
        if not cell or (cell.startswith(";;") and path.suffix.lower() == ".ctm"):  # a comment
            raise ConfigError(f"the id {name!r} cannot be written in {path.name}", "give it another name, or write .json")
        if cell in first:
            raise ConfigError(f"the ids {first[cell]!r} and {name!r} are the same in {path.name}, as {cell!r}",
                              "give one another name, or write .json")
        first[cell] = name
    return cells


# ------------------------------------------------------------------------------------------------------------- formats


def _textgrid(tier: str, items: Sequence[_Item], name: str, duration_s: float | Mapping[str, float]) -> str:
    return textgrid_of(tier, [(item.start_us, item.stop_us, item.text or "") for item in items], _duration_us(duration_s, name))


def _captions(suffix: str, captions: Sequence[Caption], changes: Counter[str]) -> str:
    return srt_of(captions, changes) if suffix == ".srt" else vtt_of(captions)


def _ms(us: int) -> int:
    return (us + 500) // 1000


def _times(item: _Item) -> list[str]:
    return [decimal_of(us / MICROSECONDS_HZ) for us in (item.start_us, item.stop_us)]


def _score(item: _Item) -> str:
    return "" if item.score is None else f"{item.score:.6g}"


def _tsv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in [columns, *rows])


def _object(item: _Item, columns: Sequence[str]) -> dict[str, Any]:
    values = {"id": item.id, "word": item.text, "text": item.text, "start_s": item.start_us / MICROSECONDS_HZ,
              "end_s": item.stop_us / MICROSECONDS_HZ, "score": None if item.score is None else float(item.score)}
    return {column: values[column] for column in columns}


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return "[" + ",".join(f"\n {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n]\n"


def _json_by_id(rows: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    return "{" + ",".join(f"\n {json.dumps(name, ensure_ascii=False)}: {json.dumps(said, ensure_ascii=False)}"
                          for name, said in rows.items()) + "\n}\n"


def _write(path: Path, text: str, count: int, left_out: int, changes: Counter[str]) -> Written:
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        file.write(text)
    return Written(count - left_out, left_out, dict(changes))
