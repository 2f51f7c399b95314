"""`prepare folder DIR`: audio files, with one JSON file `{id: transcript}` or one .txt file beside each.

An utterance's id is its path inside the folder without the suffix. Two audio files of one id, or a transcript in both
forms, is ambiguous and refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.recordings import by_plain_name, plain

STAGE = "prepare"
AUDIO_SUFFIXES = frozenset((
    ".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".aifc", ".au", ".sph", ".m4a", ".mp4", ".aac",
    ".webm", ".wma", ".amr", ".caf", ".w64", ".mka"))
NOT_TRANSCRIPTS = ("readme", "license", "licence", "changelog", "copying", "notice")


class FolderReader:
    def fingerprint(self, source: Path) -> str:
        found = _look_into(source)
        recordings = [(name, path.stat().st_size) for name, path in found.recordings.items()]
        transcripts = [(str(path.relative_to(source)), hashlib.sha256(_bytes(path)).hexdigest())
                       for path in [*found.json_files, *found.beside.values()]]
        return hashlib.sha256(json.dumps([recordings, transcripts]).encode()).hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        found = _look_into(source)
        texts = _transcripts(source, found)
        for name, path in found.recordings.items():
            yield Utterance(id=name, text=texts.get(name), spans=(Span(str(path)),))
        for name in sorted(texts.keys() - found.recordings.keys()):
            near = nearest(name, found.recordings)
            yield Drop(name, STAGE, "no recording", "it has a transcript but no audio file" +
                       (f"; names that look like it: {', '.join(near)}" if near else ""), None)


@dataclass(frozen=True)
class Found:
    """What lies in a folder, by utterance id: recordings, .txt files, and the JSON files that may hold transcripts."""

    recordings: dict[str, Path]
    beside: dict[str, Path]
    json_files: list[Path]


def _look_into(source: Path) -> Found:
    """Raises SourceError for a folder that is not there, without audio, or with two recordings of one id."""
    files = _files(source)
    recordings: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() in AUDIO_SUFFIXES:
            name = _id(source, path)
            if name in recordings:
                raise SourceError(f"{source}: two recordings are called {name!r}: {recordings[name].name} and {path.name}",
                                  "rename or remove one of them")
            recordings[name] = path
    if not recordings:
        raise SourceError(f"there is no audio in {source}",
                          f"files ending in {', '.join(sorted(AUDIO_SUFFIXES))} are looked for")
    json_files = [path for path in files if path.suffix == ".json" and path.parent == source]
    json_files = [path for path in json_files if path.name == "transcripts.json"] or json_files
    if len(json_files) > 1:
        raise SourceError(f"{source} has {len(json_files)} JSON files: {', '.join(path.name for path in json_files[:5])}",
                          "call the one that holds {id: transcript} transcripts.json")
    beside = {_id(source, path): path for path in files if path.suffix.lower() == ".txt"}
    beside = {name: path for name, path in beside.items() if name in recordings
              or not (json_files or path.stem.lower().startswith(NOT_TRANSCRIPTS))}
    return Found(recordings, beside, json_files)


def _files(source: Path) -> list[Path]:
    try:
        if not source.exists():
            beside = [path.name for path in source.parent.iterdir() if path.is_dir()] if source.parent.is_dir() else []
            near = nearest(source.name, beside)
            raise SourceError(f"there is no folder {source}", f"did you mean {near[0]!r}?" if near else None)
        if not source.is_dir():
            raise SourceError(f"{source} is a file, not a folder", f"utterloom prepare table {source} MANIFEST reads a table")
        return [path for path in sorted(source.rglob("*"))
                if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)]
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror}") from None


def _id(source: Path, path: Path) -> str:
    return path.relative_to(source).with_suffix("").as_posix()


def _transcripts(source: Path, found: Found) -> dict[str, str | None]:
    """By the id of the recording that each belongs to: names that only look the same are taken for the same (E-P1)."""
    texts: dict[str, str | None] = {}
    same = by_plain_name(found.recordings)
    for path in found.json_files:
        for key, value in _json_object(path):
            name = str(Path(key).with_suffix("")) if Path(key).suffix.lower() in AUDIO_SUFFIXES else key
            name = name if name in found.recordings else same.get(plain(name), name)
            if value is not None and not isinstance(value, str):
                raise SourceError(f"{path}: the transcript of {key!r} is {_kind(value)}, not text")
            if name in texts:
                raise SourceError(f"{path}: {name!r} has two transcripts", "keep one of the two")
            texts[name] = (value or "").strip() or None
    for name, path in found.beside.items():
        name = name if name in found.recordings else same.get(plain(name), name)
        if name in texts:
            raise SourceError(f"{source}: {name!r} has two transcripts, one of them in {path.name}", "keep one of the two")
        try:
            texts[name] = _bytes(path).decode("utf-8-sig").strip() or None
        except UnicodeDecodeError:
            raise SourceError(f"{path} is not UTF-8") from None
    return texts


def _json_object(path: Path) -> list[tuple[str, Any]]:
    """Its keys and values as they stand there: json itself would let the last of two equal keys win."""
    try:
        loaded = json.loads(_bytes(path).decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}") from None
    if not isinstance(loaded, _Pairs):
        raise SourceError(f"{path} holds {_kind(loaded)}, not an object {{id: transcript}}")
    return loaded


class _Pairs(list[tuple[str, Any]]):
    """A JSON object."""


def _kind(value: Any) -> str:
    kinds = {_Pairs: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
