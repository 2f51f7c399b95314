"""`prepare voxpopuli DIR`: the transcribed part of VoxPopuli as its own tool lays it out: `transcribed_data/<language>/` with
`asr_<split>.tsv` (id, raw_text, normalized_text, speaker_id, split, gender) and `<year>/<id>.ogg`.

DIR is one language, `transcribed_data`, or the folder above. Audio that lies elsewhere below the language (as in the release on
the Hugging Face Hub, in folders of parts) is found by its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from utterloom.core.errors import SourceError
from utterloom.core.records import SPLITS, Drop, Span, Utterance, canonical_split
from utterloom.prepare.readers.corpus_files import STAGE, digest, known, need_folder, split_named_in, transcript, tsv_rows
from utterloom.prepare.readers.folder import AUDIO_SUFFIXES
from utterloom.prepare.readers.table import Row

COLUMNS = ("id", "raw_text", "normalized_text", "speaker_id")
PUBLISHED_SUFFIX = ".ogg"


class VoxPopuliReader:
    """`raw_text` is the text, or `normalized_text` where there is none; the other columns are attributes, and the normalised
    text too."""

    def fingerprint(self, source: Path) -> str:
        parts: list[str | Path] = []
        for path in _lists(source):
            parts += [str(path.relative_to(source)), path]
        return digest(*parts)

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        recordings: dict[Path, Recordings] = {}
        for path in _lists(source):
            found = recordings.setdefault(path.parent, Recordings(path.parent))
            for row in tsv_rows(path, COLUMNS):
                yield _utterance(path, found, row)


class Recordings:
    """Paths of one language's recordings by id: at the place of the published layout, else wherever the name is found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, Path] | None = None

    def path(self, utterance_id: str) -> Path:
        """The published place when there is no such recording anywhere: it is what is then reported as missing."""
        published = self._folder / utterance_id[:4] / f"{utterance_id}{PUBLISHED_SUFFIX}"
        if published.is_file():
            return published
        if self._by_name is None:
            self._by_name = self._all()
        return self._by_name.get(utterance_id, published)

    def _all(self) -> dict[str, Path]:
        """Raises SourceError where two recordings have one name."""
        found: dict[str, Path] = {}
        for folder, folders, names in os.walk(self._folder, followlinks=True):
            folders.sort()
            for name in sorted(names):
                stem, dot, suffix = name.rpartition(".")
                if f"{dot}{suffix.lower()}" in AUDIO_SUFFIXES and not stem.startswith("."):
                    if stem in found:
                        raise SourceError(f"{self._folder}: two recordings are called {stem!r}: {found[stem]} and {folder}/{name}",
                                          "rename or remove one of them")
                    found[stem] = Path(folder) / name
        return found


def _lists(source: Path) -> list[Path]:
    """Test and dev first in each language: an utterance that is in several lists is not trained on."""
    need_folder(source, "VoxPopuli, which holds transcribed_data")
    for pattern in ("asr_*.tsv", "*/asr_*.tsv", "transcribed_data/*/asr_*.tsv"):
        found = [path for path in source.glob(pattern) if path.is_file()]
        if found:
            order = {split: number for number, split in enumerate(reversed(SPLITS))}
            return sorted(found, key=lambda path: (path.parent, order.get(split_named_in(path.stem) or "", len(order)), path.name))
    raise SourceError(f"there is no asr_<split>.tsv in {source}, nor in transcribed_data/<language> below it",
                      "voxpopuli.get_asr_data makes them from the downloaded recordings")


def _utterance(path: Path, recordings: Recordings, row: Row) -> Utterance | Drop:
    cells = row.cells
    utterance_id = transcript(cells.get("id"))
    if row.complaint or utterance_id is None or "/" in utterance_id:
        return Drop(utterance_id or f"{path.name} line {row.number}", STAGE, "bad row",
                    f"{path.name} line {row.number}: {row.complaint or f'the id is {utterance_id!r}'}", None)
    split = known(cells.get("split"))
    return Utterance(
        id=utterance_id, text=transcript(cells["raw_text"]) or transcript(cells["normalized_text"]),
        spans=(Span(str(recordings.path(utterance_id))),), speaker=known(cells["speaker_id"]),
        language=path.parent.name.split("_")[0], split=canonical_split(split) if split else split_named_in(path.stem),
        attributes={key: value.strip() for key, value in cells.items()
                    if key not in ("id", "raw_text", "speaker_id", "split") and known(value)})
