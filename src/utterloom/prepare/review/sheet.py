"""The sample as a spreadsheet: a row an utterance, a link to its audio, and columns to fill in; and reading it back.

The second sheet, hidden, holds what the first one was when it was made, so that a file that was renamed and sorted, or from
which rows were deleted, is still known for what it is, and a text that somebody changed in place is seen.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utterloom.core.errors import MissingPackageError, SourceError
from utterloom.prepare.review import VERDICTS, Answers, Entry, Item, digest

SHEET_FILE = "review.xlsx"
SHEET, ORIGIN = "review", "sample"
MARK = "utterloom sample"
# What stands above a column is also how it is found again, wherever it was moved to.
NUMBER, PLAY, DURATION, SPEAKER, SPLIT, ID, TEXT = "no.", "play", "seconds", "speaker", "split", "id", "text"
VERDICT, CORRECTED, NOTE = "verdict", "corrected text", "note"
WIDTHS = {NUMBER: 6, PLAY: 8, VERDICT: 11, TEXT: 60, CORRECTED: 60, NOTE: 30, DURATION: 9, SPEAKER: 16, SPLIT: 8, ID: 28}
MAX_CELL_CHARACTERS = 32_767
CUT = " … (cut: too long for a cell)"
ALWAYS_THE_SAME = datetime(2000, 1, 1, tzinfo=UTC)  # a file with the clock in it would be another one each time
HEADER_ROWS_SEARCHED = 10
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")  # how spreadsheets store characters that XML does not know


def sheet_bytes(items: Sequence[Item], sample: str, order: str) -> bytes:
    """The .xlsx file; the same items give the same bytes. Raises MissingPackageError without xlsxwriter."""
    try:
        import xlsxwriter
        from xlsxwriter.url import Url
    except ImportError:
        raise MissingPackageError("xlsxwriter", "review", "writing a spreadsheet") from None

    class Beside(Url):  # type: ignore[misc]
        """A file relative to the spreadsheet, with the slashes that every program takes and not those of Windows alone."""

        def _target(self) -> str:
            return str(super()._target()).replace("\\", "/")

    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        book.set_properties({"created": ALWAYS_THE_SAME, "title": "utterloom review"})
        bold = book.add_format({"bold": True, "bottom": 1, "valign": "vcenter"})
        plain = book.add_format({"valign": "top"})
        # "@" is text: what is typed into it stays as it is typed, `007` and `=x` too
        words = book.add_format({"valign": "top", "text_wrap": True, "num_format": "@"})
        field = book.add_format({"valign": "top", "text_wrap": True, "num_format": "@", "bg_color": "#FFF9E5", "border": 1,
                                 "border_color": "#E5E1D8"})
        link = book.add_format({"valign": "top", "font_color": "#17607F", "underline": 1})
        formats = {VERDICT: field, CORRECTED: field, NOTE: field, TEXT: words, ID: words, SPEAKER: words, SPLIT: words,
                   NUMBER: plain, DURATION: book.add_format({"valign": "top", "num_format": "0.0"})}
        sheet = book.add_worksheet(SHEET)
        columns = {name: number for number, name in enumerate(WIDTHS)}
        for name, number in columns.items():
            sheet.set_column(number, number, WIDTHS[name])
            sheet.write_string(0, number, name, bold)
        sheet.freeze_panes(1, columns[PLAY] + 1)
        for row, item in enumerate(items, 1):
            cells: dict[str, Any] = {NUMBER: item.number, DURATION: round(item.duration_s, 2), SPEAKER: item.speaker,
                                     SPLIT: item.split, ID: item.id, TEXT: _fitting(item.text)}
            for name, number in columns.items():
                value = cells.get(name)
                if name == PLAY:
                    url = Beside(f"external:{item.audio}")
                    url.text = "▶ play"
                    sheet.write_url(row, number, url, link)
                elif isinstance(value, int | float):
                    sheet.write_number(row, number, value, formats[name])
                elif value:
                    sheet.write_string(row, number, value, formats[name])
                else:
                    sheet.write_blank(row, number, None, formats[name])
        last = max(1, len(items))
        told = "\n".join(f"{word}: {meaning}" for word, meaning in VERDICTS.items())
        sheet.data_validation(1, columns[VERDICT], last, columns[VERDICT], {
            "validate": "list", "source": list(VERDICTS), "input_title": "verdict", "input_message": told[:255],
            "error_title": "No such verdict", "error_message": f"Choose one of: {', '.join(VERDICTS)}."})
        sheet.autofilter(0, 0, last, len(columns) - 1)
        origin = book.add_worksheet(ORIGIN)
        origin.hide()
        for row, line in enumerate([(MARK, sample, order), *((item.id, digest(item.text), digest(_unescaped(_fitting(item.text))))
                                                             for item in items)]):
            for number, word in enumerate(line):
                origin.write_string(row, number, word)
    return buffer.getvalue()


def _fitting(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= MAX_CELL_CHARACTERS else text[:MAX_CELL_CHARACTERS - len(CUT)] + CUT


def read_sheet(path: Path) -> Answers:
    """Every row that says which utterance it is of. Raises SourceError for a file that is none of ours, or cannot be read,
    MissingPackageError without openpyxl."""
    try:
        import openpyxl
    except ImportError:
        raise MissingPackageError("openpyxl", "review", "reading a spreadsheet") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of decorations that other programs add and it cannot keep
            book = openpyxl.load_workbook(path)
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist") from None
    except Exception as error:  # openpyxl raises what its XML and ZIP readers raise
        raise SourceError(f"{path} cannot be read as a spreadsheet (.xlsx): {error}", "save it again, as .xlsx") from None
    if ORIGIN not in book.sheetnames or book[ORIGIN].cell(1, 1).value != MARK:
        raise SourceError(f"{path} is no spreadsheet of a sample: its hidden sheet {ORIGIN!r} is missing",
                          "keep that sheet when rows are copied into another file")
    first, *lines = book[ORIGIN].iter_rows(values_only=True)
    known = {str(line[0]): (str(line[1]), str(line[2])) for line in lines if line and line[0] is not None}
    answers = Answers(str(path), str(first[1]), str(first[2]), {name: text for name, (text, _) in known.items()})
    sheet, header, columns = _table(path, [one for one in book.worksheets if one.title != ORIGIN])
    for number, cells in enumerate(sheet.iter_rows(min_row=header + 1), header + 1):
        said = {name: _said(cells[column], path) for name, column in columns.items() if column < len(cells)}
        if any(said.get(name) for name in (ID, VERDICT, CORRECTED, NOTE)):
            shown = known.get(said.get(ID, ""), ("", ""))[1]
            seen = said.get(TEXT, "")
            changed = TEXT in said and digest(seen) != shown
            answers.entries.append(Entry(f"row {number}", said.get(ID, ""), said.get(VERDICT, ""), said.get(CORRECTED, ""),
                                         said.get(NOTE, ""), seen if changed else None))
    return answers


def _table(path: Path, sheets: Iterable[Any]) -> tuple[Any, int, dict[str, int]]:
    """The sheet with the columns, the row of their names, and {name: column from 0}."""
    for sheet in sheets:
        for number, cells in enumerate(sheet.iter_rows(max_row=HEADER_ROWS_SEARCHED, values_only=True), 1):
            named = [(str(value).strip().casefold(), column) for column, value in enumerate(cells) if value is not None]
            found = dict(reversed(named))  # of two, the first
            if ID in found and VERDICT in found:
                return sheet, number, {name: found[name] for name in (ID, VERDICT, CORRECTED, NOTE, TEXT) if name in found}
    raise SourceError(f"{path} has no sheet with the columns {ID!r} and {VERDICT!r}", "put the first row back as it was")


def _said(cell: Any, path: Path) -> str:
    """A cell as the text that was typed into it."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "f":
        raise SourceError(f"{path}, cell {cell.coordinate}: it holds a formula, {value}",
                          "write it as text: with an apostrophe in front, or in a cell of the format 'Text'")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _unescaped(str(value)).replace("\r\n", "\n").replace("\r", "\n").strip()


def _unescaped(text: str) -> str:
    """`_x000D_` as the character that it stands for. Reading does not tell it from somebody's own `_x000D_`."""
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
