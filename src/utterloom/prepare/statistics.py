"""What is in a manifest, counted: for its card, and for whoever decides whether that is enough."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utterloom.core.records import Utterance
from utterloom.text.report import view_report

REPORTED_TEXTS = 10_000
OOV_EXAMPLES = 10


def totals(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Utterances, hours and speakers, in all and by split. `hours_unique` counts every stretch of a recording once, however many
    utterances hold it (E-P10: 220,000 utterances were 1,040 stretches)."""
    members: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        members[utterance.split or "train"].append(utterance)
    table = {name: {"utterances": len(members[name]), "hours": _hours(members[name]),
                    "hours_unique": round(unique_s(members[name]) / 3600, 6),
                    "speakers": len({u.speaker for u in members[name] if u.speaker}) or None}
             for name in sorted(members, key=lambda name: (name != "train", name != "dev", name))}
    return {"utterances": len(utterances), "hours": _hours(utterances), "hours_unique": round(unique_s(utterances) / 3600, 6),
            "splits": table}


def _hours(utterances: Iterable[Utterance]) -> float:
    return round(math.fsum(u.duration_s for u in utterances) / 3600, 6)


def unique_s(utterances: Iterable[Utterance]) -> float:
    """Seconds of different audio: the union of all spans, by recording and channel."""
    stretches: dict[tuple[str, int | None, int], list[tuple[int, int]]] = defaultdict(list)
    for utterance in utterances:
        for span in utterance.spans:
            key = (span.path, span.channel, span.sample_rate_hz or 1)
            stretches[key].append((span.start_sample, span.stop_sample or 0))
    seconds = []
    for (_, _, rate_hz), pairs in stretches.items():
        pairs.sort()
        covered, end = 0, 0
        for start, stop in pairs:
            covered += max(0, stop - max(start, end))
            end = max(end, stop)
        seconds.append(covered / rate_hz)
    return math.fsum(seconds)


def vocabulary(utterances: Iterable[Utterance], view: str) -> dict[str, dict[str, Any]]:
    """By split: words and different words of the text view, and how many of them the training split does not have.

    Words are what spaces separate; in a script without spaces a sentence is a word, and the numbers say so by their size.
    `oov_rate` is the share of running words, None where there is nothing to compare.
    """
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        words[utterance.split or "train"].update(utterance.views.get(view, "").split())
    known = words.get("train", Counter[str]())
    found: dict[str, dict[str, Any]] = {}
    for split, counts in words.items():
        told: dict[str, Any] = {"words": counts.total(), "different_words": len(counts)}
        if split != "train" and known and counts:
            unknown = Counter({word: count for word, count in counts.items() if word not in known})
            frequent = sorted(unknown, key=lambda word: (-unknown[word], word))
            told |= {"oov_rate": round(unknown.total() / counts.total(), 6), "oov_words": unknown.total(),
                     "oov_different_words": len(unknown), "oov_examples": frequent[:OOV_EXAMPLES]}
        found[split] = told
    return dict(sorted(found.items(), key=lambda item: (item[0] != "train", item[0] != "dev", item[0])))


def formats(utterances: Iterable[Utterance]) -> dict[str, int]:
    """How many utterances came in which container, rate and number of channels; the most frequent first."""
    labels: Counter[tuple[str, int | None, int | None]] = Counter()
    for utterance in utterances:
        span = utterance.spans[0]
        labels[Path(span.path).suffix.lstrip(".").lower(), span.sample_rate_hz, span.num_channels] += 1
    counts = {f"{suffix} {rate_hz} Hz {num_channels} ch": count for (suffix, rate_hz, num_channels), count in labels.items()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def characters(utterances: Iterable[Utterance], view: str) -> dict[str, int]:
    """Of the text view, the most frequent first."""
    counts: Counter[str] = Counter()
    for utterance in utterances:
        counts.update(utterance.views.get(view, ""))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def what_the_view_changed(utterances: Sequence[Utterance], view: str) -> Mapping[str, Any]:
    """What the view changed and removed (E-P16); of a large corpus, in texts spread over all of it."""
    spread = utterances[:: -(-len(utterances) // REPORTED_TEXTS)]
    report = view_report((u.id, u.text, u.views[view]) for u in spread if u.text is not None and view in u.views)
    return report.as_dict()
