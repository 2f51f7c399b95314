"""`prepare table FILE`: a TSV, CSV or JSONL table with the columns id, path, text and any of speaker, session, language,
split, start, end (seconds). Paths are relative to the table's folder. Other columns are kept as attributes.

The table, its recordings, or both may lie in an object store: `s3://bucket/train.csv`, `s3://bucket/clips/a.wav`. Then
`audio=FOLDER` takes copies of the recordings, and each of them is looked for before any work begins. Columns that other tools
call otherwise (`wav`, `wrd`, `spk_id`) are known.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from utterloom.core.errors import SourceError, did_you_mean
from utterloom.core.records import Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.channels import channels_meant
from utterloom.store.objects import Objects, as_url, fetch, read_object

STAGE = "prepare"
REQUIRED = ("id", "path")
CHANNEL = "channel"
OPTIONAL = ("text", "speaker", "session", "language", "split", "start", "end")
ALSO_CALLED = {"path": ("wav", "audio", "file_name"), "text": ("wrd", "transcript", "sentence"),
               "speaker": ("spk_id", "speaker_id")}


class Row(NamedTuple):
    """`cells` by lower-case column name, and what is wrong with the row, if anything."""

    number: int
    cells: dict[str, Any]
    complaint: str | None = None


class TableReader:
    """Tables. `audio` is a folder for copies of recordings that lie in an object store; relative paths begin at `audio_root`, a
    folder or a URL, or at the table's own."""

    takes_names = True  # a URL is no path

    def __init__(self, audio: Path | None = None, audio_root: str | None = None) -> None:
        self._audio, self._root = audio, audio_root

    def fingerprint(self, source: Path) -> str:
        """Of the table alone."""
        return hashlib.sha256(_content(source) + (self._root or "").encode()).hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the table. Raises SourceError for recordings in a store without a folder for copies."""
        yield from _on_channels(self._read(source))

    def _read(self, source: Path) -> Iterator[Utterance | Drop]:
        url = as_url(str(source))
        base = (self._root or (url.rpartition("/")[0] if url else str(source.parent))).rstrip("/") or "/"
        items = (_utterance(base, row) for row in _rows(source))
        first: list[Utterance | Drop] = []
        for item in items:  # a table of files is passed on row by row, one of URLs is looked at whole
            if isinstance(item, Utterance) and _is_remote(item):
                yield from self._with_copies(source, [*first, item, *items])
                return
            if url is None:
                yield item
            else:
                first.append(item)
        yield from first

    def _with_copies(self, source: Path, items: list[Utterance | Drop]) -> Iterator[Utterance | Drop]:
        """Utterances of copies on this machine; what is not in its store is a drop that says what is."""
        wanted = dict.fromkeys(item.spans[0].path for item in items if isinstance(item, Utterance) and _is_remote(item))
        if self._audio is None:
            raise SourceError(f"{source} names {len(wanted):,} recordings in an object store, such as {next(iter(wanted))}, and "
                              "there is no folder for copies of them", "audio=FOLDER gives it one")
        objects = Objects(wanted)
        copies = fetch(objects.found, self._audio.absolute())
        for item in items:
            path = item.spans[0].path if isinstance(item, Utterance) else None
            copy = copies.get(path) if path in wanted else None
            if not isinstance(item, Utterance) or path not in wanted:
                yield item
            elif isinstance(copy, Path):
                yield item.with_(spans=(replace(item.spans[0], path=str(copy)),), attributes={**item.attributes, "url": path})
            else:
                near = f"; names that look like it: {', '.join(objects.near(path))}" if copy is None and objects.near(path) else ""
                yield Drop(item.id, STAGE, "recording missing", copy or f"there is no {path}{near}", None, path)


def _on_channels(items: Iterable[Utterance | Drop]) -> Iterator[Utterance | Drop]:
    """A column `channel` says which one is heard, where all that it says of a recording are names of channels."""
    items = list(items)
    labels: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if isinstance(item, Utterance) and CHANNEL in item.attributes:
            labels[item.spans[0].path].append(item.attributes[CHANNEL])
    meant: dict[str, dict[str, int | None]] = {}
    for path, found in labels.items():
        with suppress(ValueError):  # a channel of another kind, such as a broadcaster
            meant[path] = channels_meant(found, Path(path))
    for item in items:
        if isinstance(item, Utterance) and CHANNEL in item.attributes and (known := meant.get(item.spans[0].path)):
            channel = known[item.attributes[CHANNEL]]
            yield item if channel is None else item.with_(spans=(replace(item.spans[0], channel=channel),))
        else:
            yield item


def _is_remote(utterance: Utterance) -> bool:
    return "://" in utterance.spans[0].path and not utterance.spans[0].path.startswith(("http://", "https://"))


def _content(source: Path) -> bytes:
    if url := as_url(str(source)):
        return read_object(url)
    try:
        return source.read_bytes()
    except IsADirectoryError:
        raise SourceError(f"{source} is a folder, not a table",
                          f"utterloom prepare folder {source} MANIFEST reads a folder") from None
    except (FileNotFoundError, NotADirectoryError):
        beside = [path.name for path in source.parent.glob("*.*")] if source.parent.is_dir() else []
        raise SourceError(f"there is no table {source}", did_you_mean(source.name, beside) if beside else None) from None
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None


def _rows(source: Path) -> Iterator[Row]:
    content = _content(source)
    encoding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source} is not UTF-8 (byte {error.start})",
                          f"convert it: iconv -f {encoding} -t UTF-8 {source.name} > new.tsv") from None
    if not text.strip():
        raise SourceError(f"{source} is empty")
    suffix = source.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(source, text)
    if suffix in (".tsv", ".csv", ".txt"):
        return _table_rows(source, text, is_csv=suffix == ".csv")
    raise SourceError(f"{source}: a table ends in .tsv, .csv or .jsonl, not {source.suffix!r}")


def _table_rows(source: Path, text: str, is_csv: bool) -> Iterator[Row]:
    # TSV as the field writes it: no quoting, so that a lone quotation mark in a transcript harms nothing.
    lines = io.StringIO(text, newline="")
    first_line = text.partition("\n")[0]
    separator = ";" if first_line.count(";") > first_line.count(",") else ","  # of spreadsheets where the comma is in numbers
    table = csv.reader(lines, delimiter=separator) if is_csv else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = _named([name.strip().lower() for name in next(table)])
        _check_columns(source, header)
        for cells in table:
            if any(cell.strip() for cell in cells):
                complaint = f"{len(cells)} cells where the header has {len(header)}" if len(cells) != len(header) else None
                yield Row(table.line_num, dict(zip(header, cells, strict=False)), complaint)
    except csv.Error as error:
        raise SourceError(f"{source}, line {table.line_num}: {error}") from None


def _json_rows(source: Path, text: str) -> Iterator[Row]:
    is_first = True
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            yield Row(number, {}, f"not JSON: {getattr(error, 'msg', error)}{where}")
            continue
        if not isinstance(pairs, _Pairs):
            yield Row(number, {}, "not a JSON object")
            continue
        names = _named([key.lower() for key, _ in pairs])
        cells = dict(zip(names, (value for _, value in pairs), strict=True))
        if is_first:
            _check_columns(source, names)
        is_first = False
        yield Row(number, cells, "a key is there twice" if len(cells) < len(pairs) else _bad_type(cells))


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands there: json itself lets the last of two equal keys win."""


def _bad_type(cells: dict[str, Any]) -> str | None:
    for name in (*REQUIRED, *OPTIONAL):
        value = cells.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not isinstance(value, str) and not (is_number and name not in ("path", "text")):
            return f"{name} is {json.dumps(_plain(value))}, not text"
    return None


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, _Pairs) else value


def _named(header: list[str]) -> list[str]:
    """Columns by the names that they have here, where another tool's stands for one that is not there."""
    ours = {other: name for name, others in ALSO_CALLED.items() if name not in header
            for other in [next((other for other in others if other in header), None)] if other}
    return [ours.get(name, name) for name in header]


def _check_columns(source: Path, header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise SourceError(f"{source} has no column {' and no column '.join(repr(name) for name in missing)}; "
                          f"it has: {', '.join(header)}",
                          "a table needs the columns id and path, and text for transcripts")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SourceError(f"{source} has the column {twice[0]!r} twice")


def _text_of(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value).strip()
    return text or None


def _utterance(base: str, row: Row) -> Utterance | Drop:
    cells = row.cells
    utterance_id, path = _text_of(cells.get("id")), _text_of(cells.get("path"))
    complaint = row.complaint or ("no id" if utterance_id is None else "no path" if path is None else None)
    start_s = stop_s = None
    try:
        start_s, stop_s = _seconds(cells.get("start")), _seconds(cells.get("end"))
    except ValueError as error:
        complaint = complaint or str(error)
    if complaint or utterance_id is None or path is None:
        return Drop(utterance_id or f"line {row.number}", STAGE, "bad row", f"line {row.number}: {complaint}", None, path)
    full = path if "://" in path or path.startswith("/") else f"{base}/{path}" if "://" in base else str(Path(base) / path)
    split = _text_of(cells.get("split"))
    attributes = {key: str(value) for key, value in cells.items()
                  if key not in REQUIRED + OPTIONAL and _text_of(value) is not None}
    return Utterance(
        id=utterance_id, text=_text_of(cells.get("text")), spans=(Span(full, start_s=start_s, stop_s=stop_s),),
        speaker=_text_of(cells.get("speaker")), session=_text_of(cells.get("session")), language=_text_of(cells.get("language")),
        split=canonical_split(split) if split else None, attributes=attributes)


def _seconds(value: Any) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a time in seconds") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a time in seconds")
    return seconds
