"""Holding out a dev split that shares no speaker and no recording with what is trained on, and joining short utterances."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from utterloom.core.config import recipes_folder
from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.core.records import Utterance

LISTS_FOLDER = "lists"


def listed_ids(name: str) -> list[str]:
    """Utterance ids of a fixed dev list: a packaged one by name (`an4-dev`), or a text file with one id a line."""
    folder = recipes_folder() / LISTS_FOLDER
    packaged = {path.stem: path for path in folder.glob("*.txt")}
    path = packaged.get(name) or Path(name)
    if not path.is_file():
        raise ConfigError(f"dev={name}: neither a fraction, nor a packaged list, nor a file", did_you_mean(name, packaged))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"dev={name} cannot be read: {error}") from None
    lines = (line.split(" #")[0].strip() for line in text.splitlines() if not line.startswith("#"))
    return [line for line in lines if line]


def hold_out_listed(utterances: Sequence[Utterance], ids: Iterable[str]) -> tuple[list[Utterance], list[str]]:
    """Utterances of the list become dev; returns them all, and the listed ids that are not in the corpus."""
    wanted = set(ids)
    moved = [u.with_(split="dev") if u.id in wanted else u for u in utterances]
    return moved, sorted(wanted - {u.id for u in utterances})


def hold_out_fraction(utterances: Sequence[Utterance], fraction: float, group_by: Sequence[str], seed: int) -> list[Utterance]:
    """Move whole groups of the training split to dev until `fraction` of its seconds are there.

    A group is what is connected by a shared speaker, session or recording (the keys of `group_by`), so that nothing of
    them is on both sides. Raises ConfigError where the training split is one single group.
    """
    training = [u for u in utterances if u.split == "train"]
    groups = connected_groups(training, group_by)
    if len(training) < 2:
        raise ConfigError(f"dev={fraction:g}: no dev split can be held out of a single training utterance", "dev=0 holds out none")
    if len(groups) < 2:
        raise ConfigError(f"dev={fraction:g}: all {len(training)} training utterances hang together by {' and '.join(group_by)}, "
                          "so no disjoint dev split can be held out",
                          "group_by=[] holds out random utterances (labelled as such), dev=0 holds out none")
    rng = random.Random(seed)
    rng.shuffle(groups)
    target = fraction * sum(u.duration_s for u in training)
    held: set[str] = set()
    held_s, num_left = 0.0, len(groups)
    for group in groups:
        size_s = sum(u.duration_s for u in group)
        if held_s + size_s <= 1.25 * target and num_left > 1:  # one is always left to train on
            held.update(u.id for u in group)
            held_s, num_left = held_s + size_s, num_left - 1
        if held_s >= 0.9 * target:
            break
    if not held:
        held = {u.id for u in min(groups, key=lambda group: sum(u.duration_s for u in group))}
    return [u.with_(split="dev") if u.id in held else u for u in utterances]


def connected_groups(utterances: Sequence[Utterance], keys: Sequence[str]) -> list[list[Utterance]]:
    """Union of utterances that share a value of any key, in order of first appearance."""
    parent = list(range(len(utterances)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[tuple[str, str], int] = {}
    for number, utterance in enumerate(utterances):
        for value in group_values(utterance, keys):
            other = first.setdefault(value, number)
            parent[root(number)] = root(other)
    groups: dict[int, list[Utterance]] = defaultdict(list)
    for number, utterance in enumerate(utterances):
        groups[root(number)].append(utterance)
    return list(groups.values())


def group_values(utterance: Utterance, keys: Sequence[str]) -> list[tuple[str, str]]:
    values: list[tuple[str, str]] = []
    for key in keys:
        if key == "recording":
            values += [("recording", span.path) for span in utterance.spans]
        elif value := getattr(utterance, key):
            values.append((key, value))
    return values


def overlaps(utterances: Sequence[Utterance], view: str | None) -> dict[str, dict[str, int]]:
    """How many speakers, sessions, recordings and texts two splits share: {`dev/train`: {`speaker`: 0, …}}."""
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for utterance in utterances:
        split = seen[utterance.split or "train"]
        for key, value in group_values(utterance, ("speaker", "session", "recording")):
            split[key].add(value)
        if view and utterance.views.get(view):
            split["text"].add(utterance.views[view])
    return {f"{left}/{right}": {key: len(seen[left][key] & seen[right][key])
                                for key in ("speaker", "session", "recording", "text")}
            for left, right in combinations(sorted(seen), 2)}


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
