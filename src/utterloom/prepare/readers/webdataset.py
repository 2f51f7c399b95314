"""`prepare webdataset SOURCE`: WebDataset shards, one sample an utterance: an audio member, and its text in a json, txt or cls one.

SOURCE is a folder with `.tar` shards below it, one shard, a pattern (`'shards/train-{000000..000012}.tar'`, `'shards/*.tar'`),
or a folder of unpacked shards, each in a folder of its own (B3 numbers samples anew in every shard).

Members of one name are a sample. WebDataset ends the name at the first dot (`a.en.txt`, `a.flac`); where every audio member has
a member of the same name but for the last suffix, names end at the last dot instead, so that `hash_123.4-135.4` stays whole
(K22, E4). The id is `audio_id`, `id` or `utt_id` of the json, else `<shard>/<name>`. Read from the json are also `text`,
`transcript`, `transcription` or `sentence`, `speaker`, `language`, `split`, and `segments`, a list of stretches of the audio
(`id`, `start`, `end`, `text`); anything else is kept as an attribute. A `cls` member is the attribute `cls`, and the
transcript where it is a word and nothing else says more. A shard or folder named after a split gives it (`valid-000001.tar`).

Audio stays where it is: inside a shard it is a range of bytes, which a path of the form `shard.tar#OFFSET+BYTES/NAME` says
(`store/members.py`); `prepare` and `pack` open it there.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from utterloom.core.errors import SourceError, nearest
from utterloom.core.records import SPLIT_ALIASES, SPLITS, Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES
from utterloom.prepare.readers.segments import segment_of_row
from utterloom.prepare.readers.sidecars import Found, utterances
from utterloom.store.members import member_path

STAGE = "prepare"
BLOCK_BYTES = 512  # of a tar file
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
TEXT_KEYS = ("text", "transcript", "transcription", "sentence")
ID_KEYS = ("audio_id", "id", "utt_id", "utterance_id")
SPEAKER_KEYS = ("speaker", "speaker_id", "spk")
LANGUAGE_KEYS = ("language", "lang", "locale")
TEXT_SUFFIXES = frozenset((".txt", ".text", ".lab", ".transcript"))
METADATA_SUFFIXES = TEXT_SUFFIXES | {".json", ".cls"}


class WebDatasetReader:
    """Shards, or unpacked shards, as this module describes them."""

    def fingerprint(self, source: Path) -> str:
        """Of the shards' names, sizes and times of change; of unpacked ones, of the samples' names and sizes and the metadata."""
        digest = hashlib.sha256()
        for shard in shards_of(source):
            if shard.is_tar:
                status = shard.path.stat()
                digest.update(json.dumps([shard.name, status.st_size, status.st_mtime_ns]).encode())
                continue
            for member in shard.members():
                content = member.content() if _suffix(member.name) in METADATA_SUFFIXES else b""
                digest.update(json.dumps([shard.name, member.name, member.num_bytes]).encode() + hashlib.sha256(content).digest())
        return digest.hexdigest()[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        """In the order of the shards and of the samples in them."""
        return (item for shard in shards_of(source) for item in items_of(shard))


# ------------------------------------------------------------------------------------------------- shards and members


@dataclass(frozen=True)
class Member:
    """A file of a shard: where it lies, and how to read it."""

    name: str
    path: str
    num_bytes: int
    content: Callable[[], bytes]


@dataclass
class Shard:
    """A tar file, or the folder that one was unpacked into. `damage` is why its members are not all there, once they are read."""

    path: Path
    name: str
    split: str | None
    is_tar: bool
    files: Sequence[Path] = ()
    damage: str | None = None

    def members(self) -> Iterator[Member]:
        """In their order; of a tar file that is damaged or cut, those before the damage."""
        return self._of_tar() if self.is_tar else self._of_folder()

    def _of_folder(self) -> Iterator[Member]:
        for path in self.files:
            yield Member(path.relative_to(self.path).as_posix(), str(path), path.stat().st_size, path.read_bytes)

    def _of_tar(self) -> Iterator[Member]:
        num_bytes, end = self.path.stat().st_size, 0
        try:
            with tarfile.open(self.path, "r:") as tar:
                for entry in tar:
                    end = entry.offset_data + -(-entry.size // BLOCK_BYTES) * BLOCK_BYTES
                    if end > num_bytes:
                        raise tarfile.ReadError(f"{entry.name} ends at byte {end}, the file at byte {num_bytes}")
                    name = PurePosixPath(entry.name)
                    if entry.isreg() and not entry.issparse() and not name.name.startswith("."):
                        yield Member(str(name), member_path(self.path, entry.offset_data, entry.size, str(name)), entry.size,
                                     partial(self._range, entry.offset_data, entry.size))
        except (tarfile.TarError, OSError) as error:
            self.damage = f"after byte {end}: {error}"
            return
        if end + BLOCK_BYTES > num_bytes:
            self.damage = f"it has no end mark after byte {end}: it was cut short, or is being written"
        elif not self._is_zero_from(end):
            self.damage = f"what follows byte {end} is no member"

    def _is_zero_from(self, start: int) -> bool:
        """The end mark, and nothing behind it: the tar library takes the first block that is no header for the end."""
        with self.path.open("rb") as file:
            file.seek(start)
            return all(not any(chunk) for chunk in iter(lambda: file.read(1 << 16), b""))

    def _range(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def shards_of(source: Path) -> list[Shard]:
    """In the order of their names. Raises SourceError where there are none, or one of a pattern is missing."""
    paths = [Path(text) for text in _expanded(str(source))]
    if any(str(path).lower().endswith(COMPRESSED) for path in paths):
        raise SourceError(f"{source}: a compressed shard can only be read from its beginning on", "gunzip it to a .tar file first")
    if len(paths) > 1 or not source.exists():
        missing = [path for path in paths if not path.is_file()]
        if missing or not paths:
            near = nearest(source.name, (path.name for path in source.parent.iterdir())) if source.parent.is_dir() else []
            raise SourceError(f"there is no {missing[0] if missing else source}" +
                              (f" ({len(missing)} of {len(paths)} shards are missing)" if len(paths) > 1 else ""),
                              f"did you mean {near[0]!r}?" if near else None)
        root = source.parent
    elif source.is_file():
        root = source.parent
    else:
        root = source
        files = sorted(path for path in source.rglob("*") if path.is_file()
                       and not any(part.startswith(".") for part in path.relative_to(source).parts))
        paths = [path for path in files if path.suffix.lower() == ".tar"]
        if not paths:
            return _unpacked(source, files)
    inside = [path.relative_to(root) if path.is_relative_to(root) else Path(path.name) for path in paths]
    return [Shard(path, name.with_suffix("").as_posix(), _split_in(name), is_tar=True)
            for path, name in zip(paths, inside, strict=True)]


def _unpacked(source: Path, files: Sequence[Path]) -> list[Shard]:
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    shards = []
    for folder, members in by_folder.items():
        if any(path.suffix.lower() in AUDIO_SUFFIXES for path in members):
            inside = folder.relative_to(source)
            shards.append(Shard(folder, inside.as_posix(), _split_in(inside), is_tar=False, files=members))
    if not shards:
        raise SourceError(f"there are no .tar files in {source}, and no audio of unpacked ones")
    return shards


def _expanded(pattern: str) -> list[str]:
    """Braces (`{00..12}`, `{a,b}`), then stars; a pattern that names existing files with such signs is left alone."""
    if Path(pattern).exists():
        return [pattern]
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    names = ["".join(chosen) for chosen in product(*choices)]
    return [found for name in names for found in (_matching(name) if glob.has_magic(name) else [name])]


def _matching(pattern: str) -> list[str]:
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return sorted(str(path) for path in Path(*parts[:first]).glob(str(Path(*parts[first:]))))


def _choices(inside: str) -> list[str]:
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not numbers:
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    first, last = numbers.groups()
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _split_in(inside: Path) -> str | None:
    """The innermost of the names below the source that begins with a split."""
    for part in reversed(inside.parts):
        for name in (part, re.split(r"[-_.]", part, maxsplit=1)[0]):
            if name.lower() in SPLITS or name.lower() in SPLIT_ALIASES:
                return canonical_split(name)
    return None


# ------------------------------------------------------------------------------------------- samples to utterances


@dataclass
class _Sample:
    key: str
    members: list[Member] = field(default_factory=list)


def items_of(shard: Shard) -> Iterator[Utterance | Drop]:
    """Every sample of a shard as an utterance (or several, of stretches) or a drop; a damaged shard is a drop of its own."""
    for sample in _samples(list(shard.members())):
        yield from _items(shard, sample)
    if shard.damage:
        yield Drop(shard.name, STAGE, "damaged shard", shard.damage, None, str(shard.path))


def _samples(members: Sequence[Member]) -> list[_Sample]:
    names = {member.name for member in members}
    audio = [PurePosixPath(member.name) for member in members if _suffix(member.name) in AUDIO_SUFFIXES]
    whole = {str(path.with_suffix("")) for path in audio}
    is_whole = all(any(f"{key}{suffix}" in names for suffix in METADATA_SUFFIXES) for key in whole)
    samples: dict[str, _Sample] = {}
    for member in members:
        path = PurePosixPath(member.name)
        key = str(path.parent / path.name.split(".", 1)[0])
        if is_whole:  # the longest name of an audio member that it begins with: `a.en.txt` belongs to `a.flac`
            stems = [member.name[:place] for place, sign in enumerate(member.name) if sign == "."]
            key = next((stem for stem in reversed(stems) if stem in whole), key)
        samples.setdefault(key, _Sample(key)).members.append(member)
    return list(samples.values())


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _items(shard: Shard, sample: _Sample) -> Iterator[Utterance | Drop]:
    name = f"{shard.name}/{sample.key}" if shard.name not in ("", ".") else sample.key
    audio = [member for member in sample.members if _suffix(member.name) in AUDIO_SUFFIXES]
    told = [member for member in sample.members if _suffix(member.name) in METADATA_SUFFIXES]
    if len(audio) != 1:
        if audio or told:  # what is neither, such as an index, is no sample
            listed = ", ".join(member.name for member in sample.members)
            yield Drop(name, STAGE, "several recordings" if audio else "no audio", f"the sample has {listed}", None)
        return
    (recording,) = audio
    try:
        row, texts = _metadata(told)
    except ValueError as error:
        yield Drop(name, STAGE, "bad sample", str(error), None, recording.path)
        return
    own_id, speaker = _first(row, ID_KEYS), _first(row, SPEAKER_KEYS)
    language, split = _first(row, LANGUAGE_KEYS), _first(row, ("split",))
    split = canonical_split(split) if split else shard.split
    if isinstance(row.get("segments"), list):
        yield from _stretches(own_id or name, recording, row["segments"], speaker, language, split)
        return
    used = {*TEXT_KEYS, *ID_KEYS, *SPEAKER_KEYS, *LANGUAGE_KEYS, "split"}
    attributes = {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                  for key, value in row.items() if key not in used and value is not None}
    if len(texts) > 1:
        yield Drop(own_id or name, STAGE, "two transcripts", " and ".join(repr(text[:40]) for text in texts), None, recording.path)
        return
    yield Utterance(id=own_id or name, text=texts[0] if texts else None, spans=(Span(recording.path),), speaker=speaker,
                    language=language, split=split, attributes=attributes)


def _metadata(members: Sequence[Member]) -> tuple[dict[str, Any], list[str]]:
    """The json's object, with the class, and the different transcripts that a sample has. Raises ValueError."""
    row: dict[str, Any] = {}
    texts: list[str] = []
    label = None
    for member in members:
        try:
            text = member.content().decode("utf-8-sig")
        except (UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{member.name}: {'not UTF-8' if isinstance(error, UnicodeDecodeError) else error.strerror}") from None
        if _suffix(member.name) == ".json":
            try:
                loaded = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{member.name} is not JSON: {error}") from None
            if not isinstance(loaded, dict):
                raise ValueError(f"{member.name} is not a JSON object")
            row |= loaded
        elif _suffix(member.name) == ".cls":
            label = text.strip()
        else:
            texts.append(" ".join(text.split()))
    for key in TEXT_KEYS:
        if row.get(key) is not None and not isinstance(row[key], str):
            raise ValueError(f"{key} is {json.dumps(row[key])[:40]}, not text")
    said = _first(row, TEXT_KEYS)
    texts = list(dict.fromkeys(text for text in [*texts, " ".join((said or "").split())] if text))
    if label:
        row = {**row, "cls": label}
        if not texts and not re.fullmatch(r"[-+]?\d+", label):
            texts = [label]
    return row, texts


def _first(row: dict[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these that says something, numbers too: corpora count their speakers."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None


def _stretches(
    name: str, recording: Member, rows: Sequence[Any], speaker: str | None, language: str | None, split: str | None
) -> Iterator[Utterance | Drop]:
    """A long recording with its timed segments in the json; ids of their own are kept."""
    segments = []
    for number, row in enumerate(rows, start=1):
        segment = segment_of_row(f"segment {number}", row)
        own = row if isinstance(row, dict) else {}
        attributes = {key: value for key, value in segment.attributes.items() if key not in (*ID_KEYS, *SPEAKER_KEYS)}
        segments.append(replace(
            segment, id=_first(own, ID_KEYS), speaker=_first(own, SPEAKER_KEYS) or speaker, language=segment.language or language,
            split=segment.split or split, attributes=attributes))
    yield from utterances(Found(name, Path(recording.path), Path(recording.path)), segments, Counter())
