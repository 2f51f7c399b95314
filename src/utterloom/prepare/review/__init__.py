"""A sample that people judge: what they are given (a sheet, a page), what they say of it, and what was sent before.

`exports/sample.py` makes the folder; here are its parts. A sheet and a page's file both read back as `Answers`, which
`verdicts.py` checks and turns into verdicts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from utterloom.core.artifact import fingerprint

VERDICTS = {
    "good": "it is said as it is written",
    "bad": "not usable: it is dropped",
    "fix": "usable with the corrected text",
    "unsure": "cannot be told: it stays, and is counted",
}


@dataclass(frozen=True)
class Item:
    """One utterance of a sample. `audio` is a file relative to the sample's folder."""

    number: int
    id: str
    audio: str
    duration_s: float
    speaker: str | None
    split: str | None
    language: str | None
    text: str | None


@dataclass(frozen=True)
class Entry:
    """What somebody wrote down about one utterance, as it stands there. `where` is for messages, such as `row 7`.

    `seen` is the text beside it, None where it cannot be changed by hand.
    """

    where: str
    id: str
    verdict: str
    corrected: str
    note: str
    seen: str | None = None


@dataclass(frozen=True)
class Answers:
    """One file of answers: of which sample, how that was drawn, digests of its texts by id, and the entries."""

    file: str
    sample: str
    order: str
    texts: dict[str, str]
    entries: list[Entry] = field(default_factory=list)


def digest(text: str | None) -> str:
    """Names a text: 16 hex digits. Blanks of another kind, as editors and spreadsheets make them, leave it as it is."""
    return fingerprint(" ".join(unicodedata.normalize("NFC", text or "").split()))
