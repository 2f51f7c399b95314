"""Named predicates over utterances. Each says in one place whether an utterance stays and, if not, why; the stage counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utterloom.core.records import Utterance
from utterloom.shards import layout

# None: it stays. Otherwise the detail for the ledger.
Verdict = str | None


@dataclass(frozen=True)
class Filter:
    """`reason` is the ledger's word; `judge(utterance)` gives the detail of a drop, or None."""

    reason: str
    judge: Callable[[Utterance], Verdict]


def bad_characters() -> Filter:
    """Half a character (a lone surrogate) comes from JSON escapes and from file names that are not UTF-8."""
    def judge(utterance: Utterance) -> Verdict:
        said = {"id": utterance.id, "text": utterance.text, "path": utterance.spans[0].path, "speaker": utterance.speaker,
                "session": utterance.session, "language": utterance.language, **utterance.attributes}
        for name, value in said.items():
            try:
                f"{name}{value or ''}".encode()
            except UnicodeEncodeError:
                return f"{name} {value!r} holds what is not a character"
        return None

    return Filter("bad characters", judge)


def bad_id() -> Filter:
    return Filter("bad id", lambda utterance: layout.id_complaint(utterance.id))


def duplicate_id() -> Filter:
    """The first of several keeps the id. Holds every id seen."""
    seen: set[str] = set()

    def judge(utterance: Utterance) -> Verdict:
        if utterance.id in seen:
            return "an earlier row has the same id"
        seen.add(utterance.id)
        return None

    return Filter("duplicate id", judge)


def bad_split() -> Filter:
    return Filter("bad split", lambda utterance: layout.split_complaint(utterance.split) if utterance.split else None)


def no_text(keep_unlabelled: bool) -> Filter:
    def judge(utterance: Utterance) -> Verdict:
        return None if utterance.text is not None or keep_unlabelled else "no transcript (unlabelled=keep keeps it)"

    return Filter("no transcript", judge)


def empty_view() -> Filter:
    """A transcript that says nothing once normalised."""
    def judge(utterance: Utterance) -> Verdict:
        empty = [name for name, text in utterance.views.items() if not text]
        return f"{utterance.text!r} is nothing in text view {empty[0]}" if utterance.text is not None and empty else None

    return Filter("empty text", judge)


def too_short(min_s: float) -> Filter:
    return Filter("too short", lambda utterance: f"{utterance.duration_s:.3f} s, less than min_s={min_s:g}"
                  if utterance.duration_s < min_s else None)
