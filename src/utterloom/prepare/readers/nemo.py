"""`prepare nemo FILE`: a NeMo manifest, JSONL with `audio_filepath`, `duration`, `text` and any of `offset`, `speaker`, `lang`;
or a folder of them, one for each split.

Relative paths begin at the manifest's folder. `offset` and `duration` together are a stretch of the recording; `duration`
alone is a claim about the whole of it, kept as an attribute. NeMo gives no ids: the path without its suffix is one, with start
and end in whole milliseconds behind it for a stretch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom.core.errors import SourceError
from utterloom.core.records import SPLITS, Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.corpus_files import (
    STAGE,
    JsonObject,
    digest,
    json_rows,
    kind_of,
    known,
    need_file,
    seconds,
    split_named_in,
    transcript,
)
from utterloom.prepare.readers.table import Row

WHAT = "a NeMo manifest, JSONL with audio_filepath"
SUFFIXES = (".json", ".jsonl", ".ndjson")
PATHS = ("audio_filepath", "audio_filename")
TEXTS = ("text", "normalized_text")
LANGUAGES = ("lang", "language", "source_lang")
IDS = ("id", "utt_id", "utterance_id")
NO_ATTRIBUTES = (*PATHS, *TEXTS, *LANGUAGES, *IDS, "target_lang", "text_filepath", "offset", "speaker", "split")


class NemoReader:
    """The split is a row's own, else the one that the manifest's name says (`train_manifest.json`)."""

    def fingerprint(self, source: Path) -> str:
        return digest(*_manifests(source))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        manifests = _manifests(source)
        common = _common_folder(manifests)
        for manifest in manifests:
            for row in json_rows(manifest):
                try:
                    yield _utterance(manifest, common, row)
                except ValueError as error:
                    name = known(_first(row.cells, PATHS)) or f"{manifest.name} line {row.number}"
                    yield Drop(name, STAGE, "bad row", f"{manifest.name} line {row.number}: {error}", None)


def _manifests(source: Path) -> list[Path]:
    """Test and dev first: an utterance that is in several manifests is not trained on."""
    if kind_of(source) != "folder":
        manifests = [need_file(source, WHAT)]
    else:
        manifests = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    found = [path for path in manifests if any(name in row.cells for row in _first_rows(path) for name in PATHS)]
    if not found:
        raise SourceError(f"{source} has no line with {' or '.join(PATHS)}", f"give {WHAT}")
    order = {split: number for number, split in enumerate(reversed(SPLITS))}
    return sorted(found, key=lambda path: (order.get(split_named_in(path.stem) or "", len(order)), path.name))


def _first_rows(manifest: Path) -> Iterator[Row]:
    """Up to the first that is an object."""
    for row in json_rows(manifest):
        yield row
        if row.cells:
            return


def _common_folder(manifests: list[Path]) -> str:
    """The folder that all recordings lie in, which ids need not repeat."""
    folders = {_full(manifest, path).rpartition("/")[0] or "/" for manifest in manifests for row in json_rows(manifest)
               if isinstance(path := _first(row.cells, PATHS), str) and "://" not in path}
    return os.path.commonpath(folders) if folders else "/"


def _full(manifest: Path, path: str) -> str:
    if "://" in path:
        return path
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:  # ~ of somebody unknown
        expanded = Path(path)
    return os.path.normpath(manifest.parent.absolute() / expanded)


def _first(cells: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((cells[name] for name in names if cells.get(name) is not None), None)


def _utterance(manifest: Path, common: str, row: Row) -> Utterance | Drop:
    """Raises ValueError for a row that cannot be understood."""
    cells = row.cells
    if row.complaint:
        raise ValueError(row.complaint)
    path = _first(cells, PATHS)
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{PATHS[0]} is {path!r}, not a path")
    full = _full(manifest, path)
    start_s = stop_s = None
    if cells.get("offset") is not None:
        start_s = seconds(cells["offset"])
        stop_s = start_s + seconds(cells["duration"]) if cells.get("duration") is not None else None
    utterance_id = known(_first(cells, IDS)) or _id(full, common, start_s, stop_s)
    length_s = stop_s - start_s if start_s is not None and stop_s is not None else None
    language, target = known(_first(cells, LANGUAGES)), known(cells.get("target_lang"))
    if "shard_id" in cells and not Path(full).is_file():
        return Drop(utterance_id, STAGE, "recording in a tar shard", f"{manifest.name} line {row.number} belongs to shard "
                    f"{cells['shard_id']} of a tarred dataset; give the manifest that it was made from", length_s, full)
    if language and target and language != target:
        return Drop(utterance_id, STAGE, "text is a translation", f"spoken {language}, written {target}", length_s, full)
    split = known(cells.get("split"))
    return Utterance(
        id=utterance_id, text=_text(manifest, cells), spans=(Span(full, start_s=start_s, stop_s=stop_s),),
        speaker=known(cells.get("speaker")), language=language,
        split=canonical_split(split) if split else split_named_in(manifest.stem),
        attributes={key: str(value) for key, value in cells.items()
                    if key not in NO_ATTRIBUTES and not (key == "duration" and start_s is not None)
                    and not isinstance(value, list | JsonObject) and known(value)})


def _text(manifest: Path, cells: dict[str, Any]) -> str | None:
    said = _first(cells, TEXTS)
    if said is None and isinstance(cells.get("text_filepath"), str):
        path = Path(_full(manifest, cells["text_filepath"]))
        try:
            said = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"its transcript {path} cannot be read") from None
    if said is not None and not isinstance(said, str):
        raise ValueError(f"text is {said!r}, not text")
    return transcript(said)


def _id(full: str, common: str, start_s: float | None, stop_s: float | None) -> str:
    name = str(Path(os.path.relpath(full, common) if "://" not in full else full).with_suffix(""))
    if start_s is None:
        return name
    return f"{name}_{round(start_s * 1000)}-{round(stop_s * 1000) if stop_s is not None else 'end'}"
