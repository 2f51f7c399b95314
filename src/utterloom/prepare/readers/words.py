"""Words with times, joined to utterances: of a CTM, and of the word tier of a TextGrid.

An utterance ends at a pause of PAUSE_S or more. One that would be longer than LONGEST_S is cut at its longest pauses. Nothing
is added at its ends: they are the times of its first and last word. An utterance with a word that is not known (`<unk>`)
or not understood is a drop, because its text would leave out what is spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from utterloom.annotations.records import UNKNOWN, Word
from utterloom.prepare.readers.sidecars import Segment, timed_words

PAUSE_S = 0.5
LONGEST_S = 20.0


def joined(words: Sequence[Word], pause_s: float = PAUSE_S, longest_s: float = LONGEST_S) -> list[Segment]:
    """Utterances in the order of time; the words of each speaker by themselves."""
    segments = []
    for speaker in dict.fromkeys(word.speaker for word in words):
        own = sorted((word for word in words if word.speaker == speaker), key=lambda word: (word.start_s, word.stop_s))
        for group in _groups(own, pause_s, longest_s):
            segments.append(segment_of(group))
    return sorted(segments, key=lambda segment: (segment.start_s or 0.0, segment.stop_s or 0.0))


def segment_of(words: Sequence[Word], from_s: float | None = None) -> Segment:
    """Of words in the order of time, from the first one's start (or `from_s`, from which word times count then) to the last end."""
    first, last = words[0], words[-1]
    where = first.where if len(words) == 1 else f"{first.where} to {last.where}"
    start_s, stop_s = first.start_s if from_s is None else from_s, max(word.stop_s for word in words)
    fault = next((word.fault for word in words if word.fault), None) or _fault(words)
    confidences = [word.confidence for word in words if word.confidence is not None]
    attributes = {"word_times": timed_words((word.text, word.start_s - start_s, word.stop_s - start_s) for word in words)}
    if len(confidences) == len(words):
        attributes["confidence"] = f"{sum(confidences) / len(words):.4f}"
    return Segment(where, start_s, stop_s, " ".join(word.text for word in words), speaker=first.speaker, attributes=attributes,
                   fault=fault)


def _fault(words: Sequence[Word]) -> tuple[str, str] | None:
    unknown = [word for word in words if word.text.lower() in UNKNOWN]
    if unknown:
        return "unknown word", f"{unknown[0].text!r} at {unknown[0].start_s:g} s in {' '.join(word.text for word in words)!r}"
    wrong = next((word for word in words if word.start_s < 0 or word.stop_s < word.start_s), None)
    if wrong:
        return "bad times", f"{wrong.text!r} is said from {wrong.start_s:g} s to {wrong.stop_s:g} s"
    return None


def _groups(words: Sequence[Word], pause_s: float, longest_s: float) -> list[Sequence[Word]]:
    cuts = [0, *(number for number, (word, following) in enumerate(pairwise(words), start=1)
                 if following.start_s - word.stop_s >= pause_s), len(words)]
    open_groups = [words[start:stop] for start, stop in pairwise(cuts) if stop > start]
    groups: list[Sequence[Word]] = []
    while open_groups:
        group = open_groups.pop(0)
        if len(group) < 2 or group[-1].stop_s - group[0].start_s <= longest_s:
            groups.append(group)
            continue
        pauses_s = [following.start_s - word.stop_s for word, following in pairwise(group)]
        cut = pauses_s.index(max(pauses_s)) + 1
        open_groups[:0] = [group[:cut], group[cut:]]
    return groups
