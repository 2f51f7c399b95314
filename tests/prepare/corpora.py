"""Corpora in miniature: files by name, and what a reader says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import soundfile

from tests.odd_source import RATE_HZ, tone
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers import Reader


def lay(folder: Path, files: Mapping[str, str | bytes | float]) -> Path:
    """Files by their path below `folder`; a number is that many seconds of a tone, in the form that the suffix says."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, float):
            soundfile.write(path, tone(content), RATE_HZ)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def said(reader: Reader, source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    """Utterances and drops by id. No id may be there twice."""
    items = list(reader.read(source))
    utterances = [item for item in items if isinstance(item, Utterance)]
    drops = [item for item in items if isinstance(item, Drop)]
    assert len({item.id for item in items}) == len(items)
    assert all(drop.reason and drop.detail for drop in drops)
    return {utterance.id: utterance for utterance in utterances}, {drop.id: drop for drop in drops}


def tsv(*rows: str) -> str:
    """Rows of cells that are separated by `|` here, for eyes."""
    return "".join("\t".join(cell.strip() for cell in row.split("|")) + "\n" for row in rows)
