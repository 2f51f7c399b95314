"""Isolated words become connected speech: a speaker's utterances, strung together."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from utterloom.core.records import Utterance


def join_utterances(
    utterances: Sequence[Utterance], shortest: int, longest: int, copies: int, seed: int, max_s: float = math.inf
) -> list[Utterance]:
    """Each speaker's utterances of a split, in random groups of `shortest` to `longest`, become one utterance each.

    Every utterance is used exactly once a copy (the training split has `copies`, the others one); ids are unique. A last
    group may be smaller than `shortest`, and so may one that would become longer than `max_s`. Isolated words become
    connected speech this way.
    """
    by_owner: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_owner[(utterance.split or "train", utterance.speaker or "")].append(utterance)
    joined: list[Utterance] = []
    for (split, speaker), members in sorted(by_owner.items()):
        for copy in range(copies if split == "train" else 1):
            rng = random.Random(f"{seed}/{split}/{speaker}/{copy}")
            shuffled = rng.sample(members, len(members))
            start = 0
            while start < len(shuffled):
                group = _within(shuffled[start:start + rng.randint(shortest, longest)], max_s)
                start += len(group)
                joined.append(_joined(group, f"{split}-{_in_id(speaker) or 'x'}-{copy}-{len(joined):06d}"))
    return joined


def _within(group: Sequence[Utterance], max_s: float) -> Sequence[Utterance]:
    """As many of them as last `max_s` together; at least one."""
    total_s = 0.0
    for number, utterance in enumerate(group):
        total_s += utterance.duration_s
        if number and total_s > max_s:
            return group[:number]
    return group


def _in_id(speaker: str) -> str:
    return "".join(character if character.isprintable() else "_" for character in speaker[:100])


def _joined(group: Sequence[Utterance], utterance_id: str) -> Utterance:
    first = group[0]
    same: dict[str, Any] = {key: getattr(first, key) for key in ("session", "language")
                            if len({getattr(u, key) for u in group}) == 1}
    labelled = all(u.text is not None for u in group)
    return Utterance(
        id=utterance_id, text=" ".join(u.text or "" for u in group) if labelled else None,
        spans=tuple(span for u in group for span in u.spans), speaker=first.speaker, split=first.split,
        views={name: " ".join(u.views[name] for u in group) for name in first.views} if labelled else {}, **same)
