"""`prepare common_voice DIR`: one language of a Mozilla Common Voice release, its TSVs beside `clips/`.

Every TSV that lists clips is read: train, dev and test first, then validated, other and invalidated, then a user's own lists.
Clips that are in one of the three official splits stay there; the rest keeps the name of its list as its split, so that nothing
unchecked is trained on. A release without official splits (only `validated.tsv`) is all for training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.corpus_files import (
    STAGE,
    digest,
    known,
    need_folder,
    subfolders,
    transcript,
    tsv_header,
    tsv_rows,
)
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES
from utterloom.prepare.readers.table import Row

COLUMNS = ("client_id", "path", "sentence")
OFFICIAL = ("test", "dev", "train")  # in this order: a clip that is in two of them is left out of training
LISTS = (*OFFICIAL, "validated", "other", "invalidated")
NO_ATTRIBUTES = (*COLUMNS, "locale")


class CommonVoiceReader:
    """Ids are the names of the clips; `client_id` is the speaker and `locale` the language, other columns are attributes."""

    def fingerprint(self, source: Path) -> str:
        return digest(*_clip_lists(source))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        list_of: dict[str, str] = {}
        for path in _clip_lists(source):
            name = canonical_split(path.stem)
            split = name if name != "validated" or list_of else None
            repeats_others = path.stem not in LISTS or path.stem == "validated"
            for row in tsv_rows(path, COLUMNS):
                item = _utterance(source / "clips", split, path.name, row)
                other = list_of.setdefault(item.id, path.name)
                if other == path.name:
                    yield item
                elif not repeats_others:
                    yield Drop(item.id, STAGE, "in two lists", f"{path.name} lists it, and so does {other}", None,
                               row.cells.get("path"))


def _clip_lists(source: Path) -> list[Path]:
    """TSVs that list clips, the official splits first. Sentences, reports and durations have lists of their own beside them."""
    need_folder(source, "one language of Common Voice, which holds train.tsv and clips/")
    tables = {path.stem: path for path in source.glob("*.tsv") if path.is_file()}
    found = [tables[name] for name in LISTS if name in tables]
    found += [path for name, path in sorted(tables.items()) if name not in LISTS and {*COLUMNS} <= {*tsv_header(path)}]
    if not found:
        below = [folder.name for folder in subfolders(source) if any((folder / f"{name}.tsv").is_file() for name in LISTS)]
        raise SourceError(f"{source} holds no list of clips ({', '.join(f'{name}.tsv' for name in LISTS)})",
                          f"give one of its languages: {', '.join(below)}" if below else None)
    return found


def _utterance(clips: Path, split: str | None, list_name: str, row: Row) -> Utterance | Drop:
    path = transcript(row.cells.get("path"))
    if path is None or row.complaint:
        # Such a row may be in validated.tsv again: the clip is one all the same.
        known_id = Path(path).stem if path and Path(path).suffix.lower() in AUDIO_SUFFIXES else None
        return Drop(known_id or f"{list_name} line {row.number}", STAGE, "bad row",
                    f"{list_name} line {row.number}: {row.complaint or 'no path'}", None, path)
    name = path if Path(path).suffix.lower() in AUDIO_SUFFIXES else f"{path}.mp3"  # the first releases left the suffix out
    return Utterance(
        id=str(Path(name).with_suffix("")), text=transcript(row.cells["sentence"]), spans=(Span(str(clips / name)),),
        speaker=known(row.cells["client_id"]), language=known(row.cells.get("locale")), split=split,
        attributes={key: value.strip() for key, value in row.cells.items() if key not in NO_ATTRIBUTES and value.strip()})
