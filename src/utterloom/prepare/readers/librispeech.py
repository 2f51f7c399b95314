"""`prepare librispeech DIR`: a LibriSpeech tree (`<part>/<speaker>/<chapter>/*.trans.txt` beside the audio, mini and 100-hour
parts alike), or Multilingual LibriSpeech (`mls_<language>/<part>/transcripts.txt` with `audio/<speaker>/<book>/`).

DIR may be the whole release, one part, or a folder above. Splits are what the part's name says: `train-clean-100` is train,
`dev-other` dev. Parts that are called as LibriSpeech's are (`clean`, `other`) are English; MLS says its language in its folder's
name. Other trees of this layout say none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Span, Utterance
from utterloom.prepare.readers.corpus_files import STAGE, Hints, digest, known, lines_of, need_folder, split_named_in, transcript
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES

CHAPTER_LIST = ".trans.txt"
PART_LIST = "transcripts.txt"
MLS_LANGUAGES = {"english": "en", "german": "de", "dutch": "nl", "french": "fr", "spanish": "es", "italian": "it",
                 "portuguese": "pt", "polish": "pl"}
LIBRISPEECH_PARTS = {"clean", "other"}
MLS_SUFFIXES = (".opus", ".flac", ".wav", ".ogg", ".mp3")  # the first two are published


class LibriSpeechReader:
    """Ids as published; the first number of an id is its speaker, with the second the session (a book or chapter); genders come
    from the list of speakers."""

    def fingerprint(self, source: Path) -> str:
        # What lies beside the transcripts is part of what is read.
        parts: list[str | Path] = []
        for path in _lists(source):
            parts += [str(path.relative_to(source)), path]
            parts += sorted(_recordings(path.parent).values()) if path.name != PART_LIST else []
            parts += [people for people in _people_files(path) if people.is_file()]
        return digest(*parts)

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        genders = cache(_genders)
        for path in _lists(source):
            people = next((file for file in _people_files(path) if file.is_file()), None)
            gender_of = genders(people) if people else {}
            yield from _part(path, gender_of) if path.name == PART_LIST else _chapter(path, gender_of)


def _lists(source: Path) -> list[Path]:
    """Every file of transcripts, in order. Raises SourceError when there is none."""
    need_folder(source, "LibriSpeech or MLS")
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()

    def complain(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from None

    for folder, folders, files in os.walk(source, onerror=complain, followlinks=True):
        status = Path(folder).stat()
        if PART_LIST in files or (status.st_dev, status.st_ino) in visited:  # a link that leads back
            folders.clear()
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder) / name for name in sorted(files) if name == PART_LIST or name.endswith(CHAPTER_LIST)]
    if not found:
        raise SourceError(f"there are neither *{CHAPTER_LIST} nor {PART_LIST} in {source} or below",
                          "give the folder that holds train-clean-100, dev-clean …, or an mls_<language>")
    return found


def _people_files(path: Path) -> list[Path]:
    """Where the speakers' list of a transcript file may be."""
    above = list(path.parents)
    return ([folder / "metainfo.txt" for folder in above[1:2]] if path.name == PART_LIST
            else [folder / "SPEAKERS.TXT" for folder in above[2:5]])


def _genders(path: Path) -> dict[str, str]:
    """Second column by the first, of tables with `|` between their columns and comments behind `;`."""
    found = {}
    for _, line in lines_of(path):
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith(";") and len(cells) > 1 and cells[0].isdigit() and known(cells[1]):
            found[cells[0]] = cells[1]
    return found


def _recordings(folder: Path) -> dict[str, str]:
    """File names by id. Raises SourceError for two recordings of one id."""
    found: dict[str, str] = {}
    for name in sorted(path.name for path in folder.iterdir()):
        stem, dot, suffix = name.rpartition(".")
        if f"{dot}{suffix.lower()}" in AUDIO_SUFFIXES and not stem.startswith("."):
            if stem in found:
                raise SourceError(f"{folder}: two recordings are called {stem!r}: {found[stem]} and {name}",
                                  "rename or remove one of them")
            found[stem] = name
    return found


def _chapter(path: Path, gender_of: dict[str, str]) -> Iterator[Utterance | Drop]:
    """LibriSpeech: lines of an id and its words, recordings in the same folder. A recording without a line is unlabelled."""
    recordings, hints = _recordings(path.parent), None
    texts: dict[str, str | None] = {}
    for number, line in lines_of(path):
        utterance_id, _, said = line.strip().partition(" ")
        if utterance_id in texts:
            yield Drop(utterance_id, STAGE, "bad row", f"{path.name} line {number}: the id has a line already", None)
        else:
            texts[utterance_id] = transcript(said)
    part = path.parents[2].name if len(path.parents) > 2 else ""
    language = "en" if LIBRISPEECH_PARTS & {*re.findall("[a-z]+", part.lower())} else None
    for utterance_id in sorted({*texts, *recordings}):
        if utterance_id not in recordings:
            hints = hints or Hints(recordings)
            yield Drop(utterance_id, STAGE, "no recording",
                       f"{path.name} has a line for it, but there is no audio file beside it{hints.near(utterance_id)}", None)
            continue
        speaker, chapter, *_ = [*utterance_id.split("-"), "", ""]
        yield _utterance(utterance_id, texts.get(utterance_id), path.parent / recordings[utterance_id], part, speaker,
                         f"{speaker}-{chapter}" if chapter else None, language, gender_of)


def _part(path: Path, gender_of: dict[str, str]) -> Iterator[Utterance | Drop]:
    """MLS: lines of an id, a tab and the words; `<speaker>_<book>_<number>` lies in audio/<speaker>/<book>/."""
    words = re.findall("[a-z]+", path.parents[1].name.lower())
    language = next((MLS_LANGUAGES[word] for word in words if word in MLS_LANGUAGES), None) if "mls" in words else None
    suffix = MLS_SUFFIXES[0]
    for number, line in lines_of(path):
        utterance_id, tab, said = line.partition("\t")
        speaker, book, *rest = [*utterance_id.split("_"), "", ""]
        if not tab or not rest[0]:
            yield Drop(utterance_id.strip() or f"{path.name} line {number}", STAGE, "bad row",
                       f"{path.name} line {number}: not <speaker>_<book>_<number>, a tab and words", None)
            continue
        stem = path.parent / "audio" / speaker / book / utterance_id
        for candidate in (suffix, *MLS_SUFFIXES):
            if stem.with_name(stem.name + candidate).is_file():
                suffix = candidate
                break
        yield _utterance(utterance_id, transcript(said), stem.with_name(stem.name + suffix), path.parent.name, speaker,
                         f"{speaker}_{book}", language, gender_of)


def _utterance(
    utterance_id: str, text: str | None, recording: Path, part: str, speaker: str, session: str | None, language: str | None,
    gender_of: dict[str, str]
) -> Utterance:
    attributes = {"part": part, "gender": gender_of.get(speaker, "")}
    return Utterance(id=utterance_id, text=text, spans=(Span(str(recording)),), speaker=speaker or None, session=session,
                     language=language, split=split_named_in(part),
                     attributes={key: value for key, value in attributes.items() if value})
