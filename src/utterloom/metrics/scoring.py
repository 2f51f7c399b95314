"""Scores hypotheses against references, joined by utterance id, into one record that can be stored and reproduced.

The record depends on the texts alone: the order of either mapping changes nothing, and scoring again gives the same
numbers to the last bit.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from utterloom.core.errors import CorpusError, SourceError
from utterloom.metrics.error_rates import ErrorCounts, align, char_errors, words_of
from utterloom.metrics.intervals import bootstrap_interval

NUM_WORST = 30
NUM_CONFUSIONS = 50


@dataclass(frozen=True, slots=True)
class Reference:
    """What was said in one utterance; `groups` are further keys to tabulate, such as {"gender": "f"}."""

    text: str
    speaker: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Scored:
    """One reference with its counts."""

    id: str
    reference: Reference
    hypothesis: str | None
    words: ErrorCounts
    characters: ErrorCounts
    characters_no_spaces: ErrorCounts


def score(
    references: Mapping[str, Reference],
    hypotheses: Mapping[str, str],
    view: str,
    *,
    provenance: Mapping[str, Any] | None = None,
    resample: Literal["utterance", "speaker"] = "utterance",
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of `hypotheses`, as a plain dict that `json` can write. Rates are fractions, or None without a
    denominator.

    Both texts are in the text view named `view` already; nothing but NFC is done to them here.
    A reference without a hypothesis counts as all deletions and is listed under `missing`; a hypothesis without a
    reference is listed under `extra` and not scored. `resample` is the unit of the bootstrap; an utterance without a
    speaker is then its own unit. `provenance` is stored as it comes.
    """
    confused: Counter[tuple[str | None, str | None]] = Counter()
    scored: list[_Scored] = []
    for id in sorted(references):
        reference, hypothesis = references[id], hypotheses.get(id)
        edits = align(words_of(reference.text), words_of(hypothesis or ""))
        if hypothesis is not None:  # what was never transcribed was not confused either
            confused.update((edit.ref, edit.hyp) for edit in edits if edit.op != "equal")
        scored.append(
            _Scored(
                id,
                reference,
                hypothesis,
                words=ErrorCounts.of(edits),
                characters=char_errors(reference.text, hypothesis or ""),
                characters_no_spaces=char_errors(reference.text, hypothesis or "", keep_spaces=False),
            )
        )

    speakers = [f"speaker {one.reference.speaker}" if one.reference.speaker else f"id {one.id}" for one in scored]
    groups = {"utterance": None, "speaker": speakers}[resample]

    def interval(counts: list[ErrorCounts]) -> list[float] | None:
        errors, lengths = [one.errors for one in counts], [one.reference_length for one in counts]
        bounds = bootstrap_interval(np.array(errors), np.array(lengths), level, num_resamples, seed, groups)
        return list(bounds) if bounds else None

    words = sum((one.words for one in scored), ErrorCounts())
    characters = sum((one.characters for one in scored), ErrorCounts())
    characters_no_spaces = sum((one.characters_no_spaces for one in scored), ErrorCounts())
    group_keys = sorted({key for one in scored for key in one.reference.groups})
    return {
        "wer": words.rate,
        "cer": characters.rate,
        "cer_no_spaces": characters_no_spaces.rate,
        "wer_interval": interval([one.words for one in scored]),
        "cer_interval": interval([one.characters for one in scored]),
        "interval": {"level": level, "resampled": resample, "num_resamples": num_resamples, "seed": seed},
        "words": _record(words),
        "characters": _record(characters),
        "characters_no_spaces": _record(characters_no_spaces),
        "utterances": len(scored),
        "hours": _hours(scored),
        "utterances_with_errors": sum(one.words.errors > 0 for one in scored),
        "empty_references": sum(one.words.reference_length == 0 for one in scored),
        "missing": [one.id for one in scored if one.hypothesis is None],
        "extra": sorted(set(hypotheses) - set(references)),
        "per_speaker": _table((one.reference.speaker, one) for one in scored),
        "per_group": {key: _table((one.reference.groups.get(key), one) for one in scored) for key in group_keys},
        "confusions": _confusions(confused),
        "worst": _worst(scored),
        "normaliser": view,
        "provenance": dict(provenance or {}),
    }


def read_hypotheses(path: Path | str) -> dict[str, str]:
    """Hypotheses by utterance id, from JSONL with at least `id` and `text` on each line; blank lines are skipped.

    `"text": null` says that the transcription failed: the id is left out, so that scoring finds it missing.
    Raises SourceError, with the line number, for a line that is not such an object, and for a file that cannot be
    read; CorpusError, with both line numbers, for an id that comes twice.
    """
    path = Path(path)
    line_of: dict[str, int] = {}
    hypotheses: dict[str, str] = {}
    try:
        # Bytes, because only "\n" ends a JSONL line: text mode would also end it at a bare "\r".
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                id, text = _hypothesis(line, f"{path}, line {number}")
                if id in line_of:
                    raise CorpusError(
                        f"{path}: id {id!r} has two hypotheses, in lines {line_of[id]} and {number}",
                        "keep one line per utterance id",
                    )
                line_of[id] = number
                if text is not None:
                    hypotheses[id] = text
    except OSError as error:
        raise SourceError(f"cannot read hypotheses from {path}: {error.strerror}") from error
    return hypotheses


def _hypothesis(line: bytes, place: str) -> tuple[str, str | None]:
    expected = 'each line is a JSON object such as {"id": "utt-1", "text": "xin chào"}'
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()  # JSON can hold half a surrogate pair, which nothing can store
    except ValueError as error:  # broken JSON or broken UTF-8
        raise SourceError(f"{place} is not JSON: {error}", expected) from error
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or "text" not in row:
        raise SourceError(f"{place} lacks a string `id` or a `text`", expected)
    if not isinstance(row["text"], str | None):
        raise SourceError(f"{place}: `text` of {row['id']!r} is {row['text']!r}, not a string or null", expected)
    return row["id"], row["text"]


def _record(counts: ErrorCounts) -> dict[str, int]:
    return {**asdict(counts), "reference_length": counts.reference_length}


def _hours(scored: Iterable[_Scored]) -> float | None:
    """None as soon as one duration is not known: a sum of some of them would be taken for the sum of all."""
    durations_s = [one.reference.duration_s for one in scored]
    known_s = [duration_s for duration_s in durations_s if duration_s is not None]
    return math.fsum(known_s) / 3600 if len(known_s) == len(durations_s) else None


def _table(named: Iterable[tuple[str | None, _Scored]]) -> list[dict[str, Any]]:
    """One row per name, by name; the row named None holds the utterances that have none."""
    members: dict[str | None, list[_Scored]] = {}
    for name, one in named:
        members.setdefault(name, []).append(one)
    rows = []
    for name in sorted(members, key=lambda name: (name is None, name or "")):
        words = sum((one.words for one in members[name]), ErrorCounts())
        characters = sum((one.characters for one in members[name]), ErrorCounts())
        rows.append(
            {
                "name": name,
                "utterances": len(members[name]),
                "hours": _hours(members[name]),
                "wer": words.rate,
                "cer": characters.rate,
                **_record(words),
            }
        )
    return rows


def _confusions(confused: Counter[tuple[str | None, str | None]]) -> dict[str, list[dict[str, Any]]]:
    """The most frequent word errors of each kind, ties in alphabetical order."""
    ranked = sorted(confused.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return {
        "substitutions": [{"ref": r, "hyp": h, "count": n} for (r, h), n in ranked if r and h][:NUM_CONFUSIONS],
        "deletions": [{"ref": r, "count": n} for (r, h), n in ranked if h is None][:NUM_CONFUSIONS],
        "insertions": [{"hyp": h, "count": n} for (r, h), n in ranked if r is None][:NUM_CONFUSIONS],
    }


def _worst(scored: list[_Scored]) -> list[dict[str, Any]]:
    """The utterances with the most word errors, and of those the highest rate; `hyp` is None where it is missing."""

    def rank(one: _Scored) -> tuple[int, float, str]:
        rate = math.inf if one.words.rate is None else one.words.rate
        return -one.words.errors, -rate, one.id

    wrong = sorted((one for one in scored if one.words.errors), key=rank)
    return [
        {
            "id": one.id,
            "ref": one.reference.text,
            "hyp": one.hypothesis,
            "wer": one.words.rate,
            "errors": one.words.errors,
        }
        for one in wrong[:NUM_WORST]
    ]
