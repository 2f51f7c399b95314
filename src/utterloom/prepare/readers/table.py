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
from typing import Any

from utterloom.core.errors import SourceError, did_you_mean
from utterloom.core.records import Drop, Span, Utterance, canonical_split

STAGE = "prepare"
REQUIRED = ("id", "path")
OPTIONAL = ("text", "speaker", "session", "language", "split", "start", "end")


class TableReader:
    def fingerprint(self, source: Path) -> str:
        return hashlib.sha256(_content(source)).hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        rows = _rows(source)
        for number, row in rows:
            yield _utterance(source.parent, number, row)


def _content(source: Path) -> bytes:
    if source.is_dir():
        raise SourceError(f"{source} is a folder, not a table", f"utterloom prepare folder {source} MANIFEST reads a folder")
    try:
        return source.read_bytes()
    except FileNotFoundError:
        beside = [path.name for path in source.parent.glob("*.*")] if source.parent.is_dir() else []
        raise SourceError(f"there is no table {source}", did_you_mean(source.name, beside) if beside else None) from None
    except PermissionError:
        raise SourceError(f"no permission to read {source}") from None


def _rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row by lower-case column name)."""
    try:
        text = _content(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source} is not UTF-8 (byte {error.start})", "convert it: iconv -f LATIN1 -t UTF-8 …") from None
    if not text.strip():
        raise SourceError(f"{source} is empty")
    if source.suffix in (".jsonl", ".ndjson"):
        yield from _json_rows(source, text)
        return
    if source.suffix not in (".tsv", ".csv", ".txt"):
        raise SourceError(f"{source}: a table ends in .tsv, .csv or .jsonl, not {source.suffix!r}")
    # TSV as the field writes it: no quoting, so that a lone quotation mark in a transcript harms nothing.
    table = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE) if source.suffix != ".csv" \
        else csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip().lower() for name in next(table)]
        _check_columns(source, header)
        for cells in table:
            if not any(cell.strip() for cell in cells):
                continue
            row: dict[str, Any] = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                row["__complaint__"] = f"{len(cells)} cells where the header has {len(header)}"
            yield table.line_num, row
    except csv.Error as error:
        raise SourceError(f"{source}, line {table.line_num}: {error}") from None


def _json_rows(source: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, {"__complaint__": f"not JSON: {error.msg} at column {error.colno}"}
            continue
        if not isinstance(row, dict):
            yield number, {"__complaint__": "not a JSON object"}
            continue
        row = {str(key).lower(): value for key, value in row.items()}
        if number == 1:
            _check_columns(source, list(row))
        yield number, row


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


def _utterance(folder: Path, number: int, row: dict[str, Any]) -> Utterance | Drop:
    utterance_id = _text_of(row.get("id")) or ""
    path = _text_of(row.get("path"))
    name = utterance_id or f"line {number}"
    if "__complaint__" in row:
        return Drop(name, STAGE, "bad row", f"line {number}: {row['__complaint__']}", None)
    if path is None:
        return Drop(name, STAGE, "bad row", f"line {number}: no path", None)
    try:
        start_s, stop_s = _seconds(row.get("start")), _seconds(row.get("end"))
    except ValueError as error:
        return Drop(name, STAGE, "bad row", f"line {number}: {error}", None, path)
    full = path if "://" in path else str(folder / path)
    split = _text_of(row.get("split"))
    attributes = {key: str(value) for key, value in row.items()
                  if key not in REQUIRED + OPTIONAL and _text_of(value) is not None}
    return Utterance(
        id=utterance_id, text=_text_of(row.get("text")), spans=(Span(full, start_s=start_s, stop_s=stop_s),),
        speaker=_text_of(row.get("speaker")), session=_text_of(row.get("session")), language=_text_of(row.get("language")),
        split=canonical_split(split) if split else None, attributes=attributes)


def _seconds(value: Any) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a time in seconds") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is not a time in seconds")
    return seconds
