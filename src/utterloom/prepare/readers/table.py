"""`prepare table FILE`: a TSV, CSV or JSONL table with the columns id, path, text and any of speaker, session, language,
split, start, end (seconds). Paths are relative to the table's folder. Other columns are kept as attributes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from utterloom.core.errors import SourceError, did_you_mean
from utterloom.core.records import Drop, Span, Utterance, canonical_split

STAGE = "prepare"
REQUIRED = ("id", "path")
OPTIONAL = ("text", "speaker", "session", "language", "split", "start", "end")


class Row(NamedTuple):
    """`cells` by lower-case column name, and what is wrong with the row, if anything."""

    number: int
    cells: dict[str, Any]
    complaint: str | None = None


class TableReader:
    def fingerprint(self, source: Path) -> str:
        return hashlib.sha256(_content(source)).hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        for row in _rows(source):
            yield _utterance(source.parent, row)


def _content(source: Path) -> bytes:
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
    try:
        text = _content(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source} is not UTF-8 (byte {error.start})", "convert it: iconv -f LATIN1 -t UTF-8 …") from None
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
    table = csv.reader(lines) if is_csv else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = [name.strip().lower() for name in next(table)]
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
        cells = {key.lower(): value for key, value in pairs}
        if is_first:
            _check_columns(source, [key.lower() for key, _ in pairs])
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


def _utterance(folder: Path, row: Row) -> Utterance | Drop:
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
    full = path if "://" in path else str(folder / path)
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
