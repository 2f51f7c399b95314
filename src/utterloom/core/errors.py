"""The errors that a user may see. Each names the thing, the value, the choices and the next step.

UtterloomError                   anything that is the user's to mend; the command line prints it without a traceback
├── ConfigError                  a key, value, recipe or override that is not what it should be
├── SourceError                  an input that cannot be read or understood as a whole
│   └── AudioError               one audio file or clip that cannot be decoded; stages turn it into a counted drop
├── CorpusError                  a packed corpus that is not as it should be
│   └── DamagedError             bytes that do not match their checksum, or a shard that is missing or cut
├── OutputError                  a place that cannot be written: exists with another config, read-only, full
├── MissingPackageError          an optional package that this command needs
└── TrainingError                a training that cannot start or go on
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from operator import eq, mul

MOST_LISTED = 40
MOST_TIED = 100


class UtterloomError(Exception):
    """A message for people, and what to do next in `hint`."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type, tuple[str, str | None]]:
        return type(self), (self.message, self.hint)  # crosses process borders whole


class ConfigError(UtterloomError): ...


class SourceError(UtterloomError): ...


class AudioError(SourceError): ...


class CorpusError(UtterloomError): ...


class DamagedError(CorpusError): ...


class OutputError(UtterloomError): ...


class MissingPackageError(UtterloomError):
    """`purpose` needs `package`, which `pip install "utterloom[extra]"` brings."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed",
                         f'pip install "utterloom[{extra}]"')
        self.package, self.extra, self.purpose = package, extra, purpose

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (self.package, self.extra, self.purpose)


class TrainingError(UtterloomError): ...


def nearest(value: str, choices: Iterable[str], limit: int = 3, alike: float = 0.5) -> list[str]:
    """The choices that look most like `value`, best first, none less alike than `alike` (1 is equal, whatever the capitals).

    A fifth of a microsecond a choice: for a missing file, all names of a large folder.
    """
    from rapidfuzz import fuzz, process

    lowered = {choice.lower(): choice for choice in choices}
    wanted = value.lower()
    found = process.extract(wanted, lowered.keys(), scorer=fuzz.ratio, limit=limit + MOST_TIED, score_cutoff=100 * alike)
    # Of those that are equally alike, what begins alike is meant: people mistype later letters.
    found.sort(key=lambda match: (-match[1], -sum(accumulate(map(eq, wanted, match[0]), mul))))
    return [lowered[match] for match, _, _ in found[:limit]]


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """A hint sentence: the nearest names, or all of them when none is near."""
    choices = list(choices)
    near = nearest(value, choices)
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    if not choices:
        return "there is nothing to choose from"
    listed = sorted(choices)
    more = f" … and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    return f"choose from: {', '.join(listed[:MOST_LISTED])}{more}"
