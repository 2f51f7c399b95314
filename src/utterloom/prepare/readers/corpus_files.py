"""What the readers of whole corpora share: their folders, their lists line by line, and what a name says of a split."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import SPLITS, canonical_split
from utterloom.prepare.readers.table import Row

STAGE = "prepare"
MOST_FOLDERS_UP = 4
NOT_KNOWN = frozenset(("", "none", "n/a", "null", "nan"))


def kind_of(source: Path) -> str | None:
    """`file`, `folder`, or None for what is not there. Raises SourceError where the system will not say: a name too long, a
    folder that may not be entered."""
    try:
        return "folder" if source.is_dir() else "file" if source.is_file() else None
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None


def need_folder(source: Path, what: str) -> Path:
    """The folder itself. Raises SourceError when it is not there (naming what is beside it) or is a file; `what` says what is
    expected, such as "a release of Common Voice"."""
    try:
        if source.is_dir():
            return source
        if source.exists():
            raise SourceError(f"{source} is a file, not a folder", f"give the folder of {what}")
        beside = [path.name for path in source.parent.iterdir() if path.is_dir()] if source.parent.is_dir() else []
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None
    near = nearest(source.name, beside)
    raise SourceError(f"there is no folder {source}", f"did you mean {near[0]!r}?" if near else f"give the folder of {what}")


def need_file(source: Path, what: str) -> Path:
    """The file itself. Raises SourceError as `need_folder` does."""
    try:
        if source.is_file():
            return source
        if source.is_dir():
            raise SourceError(f"{source} is a folder, not a file", f"give {what}")
        beside = [path.name for path in source.parent.iterdir() if path.is_file()] if source.parent.is_dir() else []
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None
    near = nearest(source.name, beside)
    raise SourceError(f"there is no file {source}", f"did you mean {near[0]!r}?" if near else f"give {what}")


def subfolders(folder: Path) -> list[Path]:
    """Its folders by name, hidden ones left out. Raises SourceError when it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 text, one at a time, without blank lines. Only a line feed ends a line: U+2028, U+0085 and
    a lone carriage return are inside of transcripts. Raises SourceError for what cannot be read or is not UTF-8."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 (after line {number})", "convert it: iconv -f LATIN1 -t UTF-8 …") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def tsv_header(path: Path) -> list[str]:
    """The columns that a TSV names in its first line, in lower case; none for an empty file."""
    for _, line in lines_of(path):
        return [name.strip().lower() for name in line.split("\t")]
    return []


def tsv_rows(path: Path, required: Iterable[str]) -> Iterator[Row]:
    """Rows of a TSV whose quotation marks are text: no cell is unquoted, so that a lone mark cannot swallow the rows after it.

    Raises SourceError when a required column is missing; a file without any line has no rows.
    """
    header: list[str] | None = None
    for number, line in lines_of(path):
        cells = line.split("\t")
        if header is None:
            header = [name.strip().lower() for name in cells]
            missing = [name for name in required if name not in header]
            if missing:
                raise SourceError(f"{path} has no column {missing[0]!r}; it has: {', '.join(header)}")
        else:
            complaint = f"{len(cells)} cells where the header has {len(header)}" if len(cells) != len(header) else None
            yield Row(number, dict(zip(header, cells, strict=False)), complaint)


class JsonObject(list[tuple[str, Any]]):
    """A JSON object as it stands there: json itself lets the last of two equal keys win."""


def json_rows(path: Path) -> Iterator[Row]:
    """One row for each line of JSONL, with a complaint where the line is not an object or has a key twice."""
    for number, line in lines_of(path):
        try:
            pairs = json.loads(line, object_pairs_hook=JsonObject)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not JSON: {getattr(error, 'msg', error)}")
            continue
        if isinstance(pairs, JsonObject):
            cells = dict(pairs)
            yield Row(number, cells, "a key is there twice" if len(cells) < len(pairs) else None)
        else:
            yield Row(number, {}, "not a JSON object")


def known(value: Any) -> str | None:
    """A cell as text; None where it is empty or one of the ways to say that nobody knows (`N/A`, `None` …)."""
    text = "" if value is None else str(value).strip()
    return None if text.lower() in NOT_KNOWN else text


def transcript(value: Any) -> str | None:
    """Raw text without the spaces around it; None for nothing. What `known` takes for unknown can be a word here."""
    text = "" if value is None else str(value).strip()
    return text or None


def seconds(value: Any) -> float:
    """A time of zero or more. Raises ValueError for anything else, infinity and NaN too."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"{value!r} is not a time in seconds")
    return found


def split_named_in(name: str) -> str | None:
    """The split that the name of a folder or file says: `train-clean-100` train, `dev_other` dev, `eval2000` test, `clean` none.

    Where it says several (`train_dev`), the one that is trained on last: what is called test or dev is never trained on.
    """
    said = {canonical_split(word) for word in re.findall("[a-z]+", name.lower())}
    return next((split for split in reversed(SPLITS) if split in said), None)


def digest(*parts: str | Path) -> str:
    """16 hex digits over texts and the content of files, whose names count too."""
    total = hashlib.sha256()
    for part in parts:
        content = hashlib.sha256(part.encode("utf-8", "surrogatepass")) if isinstance(part, str) else _digest_of_file(part)
        total.update(content.digest())
    return total.hexdigest()[:16]


def _digest_of_file(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    content.update(path.name.encode("utf-8", "surrogateescape"))
    return content


class PathRoot:
    """Where the relative paths of a list begin: at the list's folder, or at a folder above it from which they lead somewhere.

    Kaldi and Lhotse write paths as seen from where their recipe ran, which is usually above the list.
    """

    def __init__(self, folder: Path) -> None:
        self._bases = [folder, *list(folder.parents)[:MOST_FOLDERS_UP]]
        self._base: Path | None = None

    def full(self, path: str) -> str:
        """The whole path; below the list's own folder as long as nothing was found."""
        if "://" in path or path.startswith("/"):
            return path
        if self._base is None:
            self._base = next((base for base in self._bases if _exists(base / path)), None)
        return str((self._base or self._bases[0]) / path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


class Hints:
    """Names that look like one that is missing, for the first few: comparing one with all of a large list takes a while."""

    def __init__(self, names: Iterable[str], most: int = 5) -> None:
        self._names, self._left = names, most

    def near(self, name: str) -> str:
        """`; names that look like it: a, b`, or nothing."""
        if not self._left:
            return ""
        self._left -= 1
        found = nearest(name, self._names)
        return f"; names that look like it: {', '.join(found)}" if found else ""
