"""Words and utterances with their times: what stages share, and what a file says before anybody has checked it."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNKNOWN = frozenset(("<unk>", "[unk]", "<oov>"))
SILENCES = frozenset(("", "<silence>", "sil", "sp", "<sil>", "<sp>", "<eps>", "<p:>", "<p>"))


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word and when it is said, half-open [start_s, end_s), in seconds from the start of its utterance or recording.

    Silence is the gap between two words, never a word. `score` is None where nobody gave one, as it is for times that were
    estimated. `source` says where the times come from, such as `ctm`. Raises ValueError unless 0 ≤ start_s ≤ end_s, all finite:
    there are no stand-ins such as -1 (A-P17).
    """

    word: str
    start_s: float
    end_s: float
    score: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        _check(f"the word {self.word!r}", self.start_s, self.end_s, self.score)


@dataclass(frozen=True, slots=True)
class TimedSegment:
    """An utterance of a recording, half-open [start_s, end_s) in seconds of it. `text` None is not transcribed, `score` None is
    not known. Raises ValueError as TimedWord does."""

    id: str
    start_s: float
    end_s: float
    text: str | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        _check(f"the segment {self.id!r}", self.start_s, self.end_s, self.score)


def _check(what: str, start_s: float, end_s: float, score: float | None) -> None:
    if not 0 <= start_s <= end_s < math.inf:
        raise ValueError(f"{what} is said from {start_s!r} s to {end_s!r} s, which is no stretch of time")
    if score is not None and not math.isfinite(score):
        raise ValueError(f"{what} has the score {score!r}; where there is none it is None")


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry of a file that cannot be used: of which recording or utterance, where in the file, and why."""

    id: str
    where: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Word:
    """A word as a file has it, before its times are checked; TimedWord is one that has been. `where` is its place in its file;
    `fault` is why it cannot be used, (reason, detail)."""

    where: str
    start_s: float
    stop_s: float
    text: str
    confidence: float | None = None
    speaker: str | None = None
    fault: tuple[str, str] | None = None


def is_silence(label: str) -> bool:
    """Whether that is how a tool writes that nobody speaks (A-P16); such an entry is a gap, not a word."""
    return label.strip().lower() in SILENCES
