"""What was sent to people before: a JSONL file beside the manifests, one row an utterance and sample.

It lies beside them and not in one, because it has to outlive them: a manifest that is prepared again, with other settings
or from other tables, is another folder with the same recordings. An utterance is the same where its id, the names of its
recordings and its samples in them are.

A row is `reserved` from the moment its utterance is chosen and `sent` once the sample is whole. What is reserved for a
folder that has gone is free again: that sample was stopped and removed, so nobody has seen it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from utterloom.core.artifact import BUILDING, atomic_write, output_errors
from utterloom.core.errors import OutputError, SourceError
from utterloom.core.records import Utterance

SENT_FILE = "sent.jsonl"
RESERVED, SENT = "reserved", "sent"
SAMPLE_CARD = "sample.json"

Place = list[str | int | None]  # of one span: recording's name, first sample, sample after the last, channel


def places(utterance: Utterance) -> list[Place]:
    """Where an utterance is heard. Names and not paths of recordings: corpora are moved."""
    return [[Path(span.path).name, span.start_sample, span.stop_sample, span.channel] for span in utterance.spans]


def key(utterance_id: str, spans: Sequence[Sequence[Any]]) -> str:
    """One spelling for an utterance."""
    return json.dumps([utterance_id, spans], ensure_ascii=True)


@dataclass(frozen=True)
class Row:
    """One utterance of one sample; `folder` is the sample's, absolute, as it was when it was made."""

    id: str
    spans: list[Place]
    sample: str
    folder: str
    state: str

    @property
    def key(self) -> str:
        return key(self.id, self.spans)


@dataclass
class Record:
    """The rows of a record that this process holds the lock of."""

    path: Path
    rows: list[Row]

    def taken(self) -> dict[str, Row]:
        """Utterances that are sent or about to be, by key."""
        return {row.key: row for row in self.rows}

    def release(self, folder: Path) -> None:
        """Forget what is reserved for a folder: it is chosen anew."""
        self.rows = [row for row in self.rows if not (row.folder == str(folder) and row.state == RESERVED)]

    def reserve(self, utterances: Iterable[tuple[str, list[Place]]], sample: str, folder: Path) -> None:
        there = {row.key for row in self.rows if row.folder == str(folder) and row.sample == sample}
        self.rows += [Row(utterance_id, spans, sample, str(folder), RESERVED) for utterance_id, spans in utterances
                      if key(utterance_id, spans) not in there]

    def send(self, keys: set[str], sample: str, folder: Path) -> None:
        """What is reserved for this sample has been sent; what is not among `keys` is free again."""
        mine = [row.folder == str(folder) and row.sample == sample and row.state == RESERVED for row in self.rows]
        self.rows = [replace(row, state=SENT) if is_mine else row for row, is_mine in zip(self.rows, mine, strict=True)
                     if not is_mine or row.key in keys]

    def save(self) -> None:
        """Raises OutputError where the file cannot be written."""
        with atomic_write(self.path, "w") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in self.rows)


@contextlib.contextmanager
def record(path: Path) -> Iterator[Record]:
    """The record at `path`, to read and write; another process waits until this one is done.

    Raises SourceError that names the line which cannot be read, OutputError where nothing can be written there.
    """
    try:
        with _lock(path):
            yield Record(path, [_settled(row) for row in _read(path) if _holds(row)])
    except OutputError as error:
        if str(path.parent) not in error.message:
            raise
        raise OutputError(f"what was sent cannot be remembered: {error.message}", "keep it elsewhere: sent=FILE") from error


def _read(path: Path) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}, which remembers what was sent, cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise SourceError(f"{path}, line {number}: this is not a row of what was sent ({error})",
                                  "remove that line, or put back what was changed") from None


def _holds(row: Row) -> bool:
    return row.state == SENT or _is_there(row, SAMPLE_CARD) or _is_there(row, BUILDING)


def _settled(row: Row) -> Row:
    """A sample that is whole has been sent, though its process was killed before it could say so."""
    return replace(row, state=SENT) if _is_there(row, SAMPLE_CARD) else row


def _is_there(row: Row, name: str) -> bool:
    try:
        return (Path(row.folder) / name).is_file()
    except OSError:  # of another user: who cannot look takes it for there
        return True


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    beside = path.with_name(f".{path.name}.lock")
    while True:
        with output_errors(beside):
            handle = beside.open("a")
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), beside.stat()):
                break
        handle.close()  # its last owner took it away while we waited
    with handle:
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)
