"""The one record: an utterance, and what happens to those that leave the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SPLITS = ("train", "dev", "test")
SPLIT_ALIASES = {"valid": "dev", "validation": "dev", "val": "dev", "development": "dev", "training": "train",
                 "eval": "test", "evaluation": "test", "testing": "test"}


def canonical_split(name: str) -> str:
    """dev, valid, validation and val are one split (K5)."""
    lowered = name.strip().lower()
    return SPLIT_ALIASES.get(lowered, lowered)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one recording: half-open, in samples at the recording's own rate once it has been probed.

    `channel` counts from 0; None is all channels, mixed: what one microphone heard of one speaker. Telephone calls and meetings
    have a speaker in each channel.

    A reader that knows only seconds fills `start_s` and `stop_s`; `prepare` turns them into samples and forgets them.
    """

    path: str
    start_sample: int = 0
    stop_sample: int | None = None
    sample_rate_hz: int | None = None
    num_channels: int | None = None
    channel: int | None = None
    start_s: float | None = None
    stop_s: float | None = None

    @property
    def duration_s(self) -> float:
        if self.stop_sample is None or self.sample_rate_hz is None:
            raise ValueError(f"{self.path} has not been probed")
        return (self.stop_sample - self.start_sample) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Utterance:
    """One trainable span of speech. `text` is as it came (None: unlabelled); `views` are its named normal forms.

    `spans` is one stretch of one recording, or several that are spoken one after the other (`prepare join=…`).
    """

    id: str
    text: str | None
    spans: tuple[Span, ...]
    speaker: str | None = None
    session: str | None = None
    language: str | None = None
    split: str | None = None
    views: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return self.spans[0].duration_s if len(self.spans) == 1 else sum(span.duration_s for span in self.spans)

    def with_(self, **changes: Any) -> Utterance:
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Drop:
    """One utterance that left the path, and why. `seconds` is None where nobody could tell."""

    id: str
    stage: str
    reason: str
    detail: str
    seconds: float | None
    path: str | None = None
