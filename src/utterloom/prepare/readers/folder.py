"""`prepare folder DIR`: audio files, with one JSON file `{id: transcript}` or one .txt file beside each.

An utterance's id is its path inside the folder without the suffix. Two audio files of one id, or a transcript in both
forms, is ambiguous and refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import Drop, Span, Utterance

STAGE = "prepare"
AUDIO_SUFFIXES = frozenset(
    ".wav .flac .mp3 .ogg .opus .oga .aiff .aif .aifc .au .sph .m4a .mp4 .aac .webm .wma .amr .caf .w64 .mka".split())


class FolderReader:
    def fingerprint(self, source: Path) -> str:
        listing = [(path.relative_to(source).as_posix(), path.stat().st_size) for path in _files(source)]
        transcripts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(source) if path.suffix in (".json", ".txt")]
        return hashlib.sha256(json.dumps([listing, transcripts]).encode()).hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        files = _files(source)
        audio: dict[str, Path] = {}
        for path in files:
            if path.suffix.lower() in AUDIO_SUFFIXES:
                name = _id(source, path)
                if name in audio:
                    raise SourceError(f"{source}: two recordings are called {name!r}: {audio[name].name} and {path.name}",
                                      "rename or remove one of them")
                audio[name] = path
        if not audio:
            raise SourceError(f"there is no audio in {source}", f"files ending in {', '.join(sorted(AUDIO_SUFFIXES))} are looked for")
        texts = _transcripts(source, files, audio)
        for name, path in audio.items():
            yield Utterance(id=name, text=texts.get(name), spans=(Span(str(path)),))
        for name in texts.keys() - audio.keys():
            near = nearest(name, audio)
            yield Drop(name, STAGE, "no recording", "it has a transcript but no audio file" +
                       (f"; names that look like it: {', '.join(near)}" if near else ""), None)


def _files(source: Path) -> list[Path]:
    if not source.exists():
        beside = [path.name for path in source.parent.iterdir() if path.is_dir()] if source.parent.is_dir() else []
        near = nearest(source.name, beside)
        raise SourceError(f"there is no folder {source}", f"did you mean {near[0]!r}?" if near else None)
    if not source.is_dir():
        raise SourceError(f"{source} is a file, not a folder", f"utterloom prepare table {source} MANIFEST reads a table")
    return [path for path in sorted(source.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def _id(source: Path, path: Path) -> str:
    return path.relative_to(source).with_suffix("").as_posix()


def _transcripts(source: Path, files: list[Path], audio: dict[str, Path]) -> dict[str, str | None]:
    json_files = [path for path in files if path.suffix == ".json" and path.parent == source]
    named = [path for path in json_files if path.name == "transcripts.json"]
    if len(json_files) > 1 and not named:
        raise SourceError(f"{source} has {len(json_files)} JSON files: {', '.join(path.name for path in json_files[:5])}",
                          "call the one that holds {id: transcript} transcripts.json")
    beside = {_id(source, path): path for path in files if path.suffix == ".txt" and _id(source, path) in audio}
    texts: dict[str, str | None] = {}
    for path in named or json_files:
        try:
            loaded = json.loads(path.read_text(encoding="utf-8-sig"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} is not JSON: {error}") from None
        if not isinstance(loaded, dict):
            raise SourceError(f"{path} holds a {type(loaded).__name__}, not an object {{id: transcript}}")
        for key, value in loaded.items():
            name = str(Path(key).with_suffix("")) if Path(key).suffix.lower() in AUDIO_SUFFIXES else key
            if value is not None and not isinstance(value, str):
                raise SourceError(f"{path}: the transcript of {key!r} is {type(value).__name__}, not text")
            if name in texts:
                raise SourceError(f"{path}: {name!r} has two transcripts")
            texts[name] = (value or "").strip() or None
    both = sorted(texts.keys() & beside.keys())
    if both:
        raise SourceError(f"{source}: {both[0]!r} has a transcript in the JSON file and in {beside[both[0]].name}",
                          "keep one of the two")
    for name, path in beside.items():
        try:
            texts[name] = path.read_text(encoding="utf-8-sig").strip() or None
        except UnicodeDecodeError:
            raise SourceError(f"{path} is not UTF-8") from None
    return texts
