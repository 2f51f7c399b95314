"""`prepare huggingface NAME_OR_DIR`: a data set of the `datasets` library, in a folder (Parquet, saved by `save_to_disk`, or audio
with a metadata file) or on the Hub, by its name; `NAME:CONFIG` where it has several configurations.

Rows are streamed and audio is not decoded. Where it lies in files of this machine, they are named as they are. Audio that is inside
of tables or on the Hub needs a folder to be written to, once, under the hash of its bytes; without one the source is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.errors import MissingPackageError, SourceError, UtterloomError
from utterloom.core.records import Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.corpus_files import STAGE, digest, kind_of, known, split_named_in, transcript
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES

IDS = ("id", "utt_id", "utterance_id", "audio_id", "segment_id", "__key__")
AUDIO_COLUMNS = ("audio", "file", "path", "wav")  # where no column is declared to be audio
TEXTS = ("text", "sentence", "raw_transcription", "transcription", "transcript", "raw_text", "normalized_text", "txt")
SPEAKERS = ("speaker", "speaker_id", "client_id")
LANGUAGES = ("language", "locale", "lang")
SESSIONS = ("session", "session_id")
EXPECTED = "give a folder, or the name of a data set on the Hub such as google/fleurs:hr_hr"
SAVED = ("dataset_dict.json", "state.json")
WHOLE_BYTES = 1 << 20
MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\xff\xf3": ".mp3"}


class HuggingFaceReader:
    """The first column of audio is read. An id is a row's own, else the name of its recording; one that is taken already gets
    its split and row number, for ids such as FLEURS's name sentences, not recordings."""

    takes_names = True  # a source is a folder, or a name on the Hub

    def __init__(self, audio: Path | None = None) -> None:
        """`audio` is the folder for bytes that have no file of their own."""
        self._audio = audio

    def fingerprint(self, source: Path) -> str:
        name, config, is_local = _name(source)
        return digest(config or "", *(_of_files(Path(name)) if is_local else [name, _revision(name)]))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        taken: set[str] = set()
        for split, rows, column in _splits(source):
            for number, row in enumerate(_rows(source, rows)):
                item = self._item(source, split, number, row, column, rows.features or {})
                if item.id in taken:
                    name = f"{item.id}-{split}-{number:07d}"
                    item = item.with_(id=name) if isinstance(item, Utterance) else Drop(
                        name, item.stage, item.reason, item.detail, item.seconds, item.path)
                taken.add(item.id)
                yield item

    def _item(self, source: Path, split: str, number: int, row: dict[str, Any], column: str, features: Any) -> Utterance | Drop:
        audio = row.get(column)
        row = {**row["json"], **row} if isinstance(row.get("json"), dict) else row  # what shards say of a clip
        path, data = (known(audio.get("path")), audio.get("bytes")) if isinstance(audio, dict) else (known(audio), None)
        said = {key: _first(row, features, names) for key, names in
                (("id", IDS), ("speaker", SPEAKERS), ("language", LANGUAGES), ("session", SESSIONS))}
        text_column, text = _first(row, features, TEXTS, transcript)
        name = said["id"][1] or (Path(path).stem if path else None) or f"{split}-{number:07d}"
        if data is None and path is None:
            return Drop(name, STAGE, "no recording", f"row {number} of {split}: its {column} is empty", None)
        try:
            is_file_here = path is not None and data is None and "://" not in path
            where = str(source / path) if path is not None and is_file_here else str(self._kept(source, path, data))
        except OSError as error:
            return Drop(name, STAGE, "recording not readable", f"row {number} of {split}: {error}", None, path)
        used = {column, text_column, "__url__", *(found for found, _ in said.values())}
        return Utterance(
            id=name, text=text, spans=(Span(where),), speaker=said["speaker"][1], session=said["session"][1],
            language=said["language"][1], split=split_named_in(split) or canonical_split(split),
            attributes={key: str(_spelled(features, key, value)) for key, value in row.items()
                        if key not in used and isinstance(value, str | int | float) and known(value)})

    def _kept(self, source: Path, path: str | None, data: bytes | None) -> Path:
        """The bytes as a file. Raises SourceError without a folder for them, OSError for what cannot be fetched."""
        if self._audio is None:
            raise SourceError(
                f"{source} keeps its audio {'inside of its tables' if data is not None else 'on the Hub'}, and there is no folder "
                "that it may be written to", "audio=FOLDER gives it one")
        if data is None:
            import fsspec

            with fsspec.open(path, "rb") as file:
                data = file.read()
        name = hashlib.sha256(data).hexdigest()
        suffix = Path(path).suffix.lower() if path else ""
        if suffix not in AUDIO_SUFFIXES:
            suffix = next((known for magic, known in MAGIC.items() if data.startswith(magic)), ".bin")
        kept = self._audio.absolute() / name[:2] / f"{name}{suffix}"
        if not kept.is_file():
            with output_errors(kept):
                kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(kept) as file:
                file.write(data)
        return kept


def _first(
    row: dict[str, Any], features: Any, names: tuple[str, ...], clean: Callable[[Any], str | None] = known
) -> tuple[str | None, str | None]:
    """The first of the columns that says something, and what."""
    return next(((name, value) for name in names if (value := clean(_spelled(features, name, row.get(name))))), (None, None))


def _spelled(features: Any, name: str, value: Any) -> Any:
    """A class by its name: `gender` 1 is `female` in the table's own list."""
    feature = features.get(name)
    return feature.int2str(value) if hasattr(feature, "int2str") and isinstance(value, int) and value >= 0 else value


def _name(source: Path) -> tuple[str, str | None, bool]:
    """(folder or name on the Hub, configuration, is it a folder). Raises SourceError for what can be neither."""
    whole, (before, _, config) = str(source), str(source).rpartition(":")
    for folder, chosen in ((whole, None), (before, config)):
        if folder and kind_of(Path(folder)) == "folder":
            return folder, chosen, True
    if kind_of(source) == "file":
        raise SourceError(f"{source} is a file, not a folder", "give the folder that holds the data set")
    # prepare makes every source absolute: a name on the Hub comes as a path below the working folder.
    below = source.relative_to(Path.cwd()) if source.is_absolute() and source.is_relative_to(Path.cwd()) else source
    if below.is_absolute() or len(below.parts) not in (1, 2) or ".." in below.parts:
        raise SourceError(f"there is no folder {source}", EXPECTED)
    name, _, config = str(below).partition(":")
    return name, config or None, False


def _splits(source: Path) -> Iterator[tuple[str, Any, str]]:
    """(split, rows, column of audio) for each split. Raises SourceError for whatever the library cannot open."""
    datasets = _datasets()
    name, config, is_local = _name(source)
    try:
        if is_local and any((Path(name) / mark).is_file() for mark in SAVED):
            opened = datasets.load_from_disk(name)
            opened = opened if isinstance(opened, dict) else {str(opened.split or "train"): opened}
            opened = {split: rows.to_iterable_dataset() for split, rows in opened.items()}
        else:
            opened = datasets.load_dataset(name, config, streaming=True)
        for split, rows in opened.items():
            # Of tables without a schema, such as CSV, the first row says which columns there are.
            features = rows.features or {key: None for row in rows.take(1) for key in row}
            column = next((key for key, kind in features.items() if isinstance(kind, datasets.Audio)),
                          next((key for key in AUDIO_COLUMNS if key in features), None))
            if column is None:
                raise SourceError(f"split {split} of {source} has no column of audio; it has: {', '.join(features)}")
            if isinstance(features[column], datasets.Audio):
                rows = rows.cast_column(column, _undecoded(datasets, rows))
            yield str(split), rows, column
    except UtterloomError:
        raise
    except Exception as error:  # of the network, of file formats, of scripts that are no longer run
        lines = str(error).strip().splitlines() or [""]
        hint = None if is_local else f"{name} is no folder here, and was looked for on the Hub"
        raise SourceError(f"{name} cannot be opened as a data set: {type(error).__name__}: {' '.join(lines[:4])}", hint) from None


def _undecoded(datasets: Any, rows: Any) -> Any:
    """The type of what a column of audio holds. `Audio(decode=False)` says it for tables; of files and of shards, each of which
    is made into a row by itself, it would import torchcodec to do nothing with it."""
    stored = {"audiofolder": datasets.Value("string"),
              "webdataset": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    return stored.get(rows.info.builder_name) or datasets.Audio(decode=False)


def _rows(source: Path, rows: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from rows
    except Exception as error:
        raise SourceError(f"{source} cannot be read to its end: {type(error).__name__}: {error}") from None


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingPackageError("datasets", "hub", "reading data sets of Hugging Face") from None
    return datasets


def _revision(name: str) -> str:
    """The commit of a data set on the Hub. Raises SourceError where it cannot be asked for."""
    _datasets()
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name).sha)
    except Exception as error:
        raise SourceError(f"there is no folder {name}, and the Hub could not be asked for it: {type(error).__name__}: {error}",
                          EXPECTED) from None


def _of_files(folder: Path) -> Iterator[str]:
    """Names and sizes of all files; of those that are not audio the content, of large ones its two ends, where tables keep their
    counts and positions."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            size = path.stat().st_size
            content = b""
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                with path.open("rb") as file:
                    content = file.read(WHOLE_BYTES)
                    file.seek(max(size - WHOLE_BYTES, 0))
                    content += file.read()
            yield f"{path.relative_to(folder)}\0{size}\0{hashlib.sha256(content).hexdigest()}"
