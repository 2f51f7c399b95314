"""Splits that share no speaker and no recording: lists of others, holding out of our own, and the proof of what is where."""

from __future__ import annotations

import csv
import hashlib
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from utterloom.core.config import recipes_folder
from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.core.records import Utterance, canonical_split
from utterloom.shards import layout

LISTS_FOLDER = "lists"
FORGET = "none"  # what `splits` says to make the source's own splits anew
MOST_MENDS, NEAR_ENOUGH = 20, 0.02  # nearer would make every seed choose the same


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


def listed_splits(path: Path) -> dict[str, str]:
    """{id: split} of a table with these two columns, comma- or tab-separated: splits that arrived after the corpus (E7).

    Raises ConfigError naming the line that is not understood, and an id that is given two splits.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"splits={path} cannot be read: {error.strerror}", "it is a table of the columns id and split") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"splits={path} is not UTF-8: {error}") from None
    separator = "\t" if lines and "\t" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=separator)) if separator == "," else [line.split(separator) for line in lines]
    names = [name.strip().lower() for name in rows[0]] if rows else []
    if "id" not in names or "split" not in names:
        raise ConfigError(f"splits={path}: the first line names the columns {', '.join(names) or 'of nothing'}",
                          "it should name `id` and `split`")
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            utterance_id, split = row[names.index("id")].strip(), canonical_split(row[names.index("split")])
        except IndexError:
            raise ConfigError(f"splits={path}, line {number}: {len(row)} cells, where the first line has {len(names)}") from None
        if complaint := layout.split_complaint(split):
            raise ConfigError(f"splits={path}, line {number}: {complaint}", "write a split, or take the line out")
        if found.setdefault(utterance_id, split) != split:
            before = found[utterance_id]
            raise ConfigError(f"splits={path}, line {number}: {utterance_id!r} is in {split} here and in {before} above")
    return found


def overrule(utterances: Sequence[Utterance], listed: Mapping[str, str]) -> tuple[list[Utterance], list[str]]:
    """Utterances with the splits of a list; returns them all, and the listed ids that are not in the corpus."""
    moved = [u.with_(split=listed[u.id]) if u.id in listed else u for u in utterances]
    return moved, sorted(listed.keys() - {u.id for u in utterances})


def hold_out(utterances: Sequence[Utterance], fractions: Mapping[str, float], group_by: Sequence[str], seed: int,
             view: str | None = None) -> list[Utterance]:
    """Move whole groups of the training split to others until each of `fractions` has its part of the training seconds.

    A group is what hangs together by a shared speaker, session, recording or text in `view` (the keys of `group_by`), so that
    nothing of them is on both sides. Groups are drawn at random, by the seed and their ids alone; then the last choice is
    mended so that the seconds come as near as they can with one more, one fewer or one other group. The training split keeps at
    least one group. Raises ConfigError where there are too few groups, naming the keys by which all hang together.
    """
    training = [u for u in utterances if u.split == "train"]
    groups = connected_groups(training, group_by, view)
    asked = " and ".join(f"{name}={fraction:g}" for name, fraction in fractions.items())
    none = f"{' '.join(f'{name}=0' for name in fractions)} holds out none"
    if len(training) <= len(fractions):
        raise ConfigError(f"{asked}: nothing can be held out of {len(training)} training utterances", none)
    if len(groups) <= len(fractions):
        binding = [key for key in group_by if len(connected_groups(training, [key], view)) <= len(fractions)]
        free = [key for key in group_by if key not in binding] if binding else []
        hint = f"group_by=[{','.join(free)}] holds out " + ("what is disjoint by these" if free else "random utterances")
        raise ConfigError(
            f"{asked}: all {len(training)} training utterances hang together by {' and '.join(binding or group_by)}, "
            f"in {'one group' if len(groups) == 1 else f'{len(groups)} groups'}, so no disjoint split can be held out",
            f"{hint} (labelled as such); {none}")
    lots = sorted((min(_lot(seed, u.id) for u in group), number) for number, group in enumerate(groups))
    sizes_s = {number: math.fsum(u.duration_s for u in groups[number]) for _, number in lots}
    left = [number for _, number in lots]
    total_s = math.fsum(sizes_s.values())
    moved: dict[str, str] = {}
    for index, (name, fraction) in enumerate(fractions.items()):
        reserved = len(fractions) - index  # a group for each split that is still to come, and one for training
        chosen = _nearest(left, sizes_s, fraction * total_s, len(left) - reserved)
        moved.update((u.id, name) for number in chosen for u in groups[number])
        left = [number for number in left if number not in chosen]
    return [u.with_(split=moved[u.id]) if u.split == "train" and u.id in moved else u for u in utterances]


def _nearest(left: Sequence[int], sizes_s: Mapping[int, float], target_s: float, most: int) -> set[int]:
    """Some of `left`, at least one and at most `most`: taken in order while they fit, then mended while that brings them nearer."""
    chosen: set[int] = set()
    held_s = 0.0
    for number in left:
        if len(chosen) < most and held_s + sizes_s[number] <= target_s:
            chosen.add(number)
            held_s += sizes_s[number]
    if not chosen:
        chosen = {min(left, key=lambda number: abs(sizes_s[number] - target_s))}
    for _ in range(MOST_MENDS):
        gap_s = target_s - math.fsum(sizes_s[number] for number in chosen)
        if abs(gap_s) <= NEAR_ENOUGH * target_s:
            break
        rest = sorted((number for number in left if number not in chosen), key=lambda number: sizes_s[number])
        rest_s = [sizes_s[number] for number in rest]
        best: tuple[float, int | None, int | None] = (abs(gap_s), None, None)  # (gap, to give back, to take)
        for given in (*([None] if len(chosen) < most else []), *(number for number in left if number in chosen)):
            wanted_s = gap_s + (sizes_s[given] if given is not None else 0.0)
            place = bisect_left(rest_s, wanted_s)
            may_be_none = given is not None and len(chosen) > 1
            for taken in (*rest[max(0, place - 1):place + 1], *([None] if may_be_none else [])):
                gap_then_s = abs(wanted_s - (sizes_s[taken] if taken is not None else 0.0))
                if gap_then_s < best[0]:
                    best = (gap_then_s, given, taken)
        _, given, taken = best
        if given is None and taken is None:
            break
        chosen = {number for number in (*chosen, taken) if number is not None and number != given}
    return chosen


def _lot(seed: int, utterance_id: str) -> bytes:
    """A place in the order of drawing that this utterance has in every source and on every machine."""
    return hashlib.blake2b(f"split\0{seed}\0{utterance_id}".encode(), digest_size=8).digest()


def connected_groups(utterances: Sequence[Utterance], keys: Sequence[str], view: str | None = None) -> list[list[Utterance]]:
    """Union of utterances that share a value of any key, in order of first appearance."""
    parent = list(range(len(utterances)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[tuple[str, str], int] = {}
    for number, utterance in enumerate(utterances):
        for value in group_values(utterance, keys, view):
            other = first.setdefault(value, number)
            parent[root(number)] = root(other)
    groups: dict[int, list[Utterance]] = defaultdict(list)
    for number, utterance in enumerate(utterances):
        groups[root(number)].append(utterance)
    return list(groups.values())


def group_values(utterance: Utterance, keys: Sequence[str], view: str | None = None) -> list[tuple[str, str]]:
    """What an utterance has of the keys: (key, value), several recordings where it was joined, nothing where it does not say."""
    values: list[tuple[str, str]] = []
    for key in keys:
        if key == "recording":
            values += [(key, span.path) for span in utterance.spans]
        elif key == "text":
            values += [(key, utterance.views[view])] if view and utterance.views.get(view) else []
        elif value := getattr(utterance, key):
            values.append((key, value))
    return values


def proof(utterances: Sequence[Utterance], keys: Sequence[str], view: str) -> list[tuple[str, str, str, int, float]]:
    """What splits consist of, for others to check: (key, value, split, utterances, seconds) for every value of every key, sorted.

    Splits are disjoint by a key when each of its values is in one line only. The values of all utterances that do not say theirs
    are one line with an empty value: of these, nothing is proven.
    """
    counts: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for utterance in utterances:
        split, duration_s = utterance.split or "train", utterance.duration_s
        for key in keys:
            for _, value in dict.fromkeys(group_values(utterance, [key], view)) or [(key, "")]:
                entry = counts[key, value, split]
                entry[0] += 1
                entry[1] += duration_s
    return [(*line, int(number), round(seconds, 3)) for line, (number, seconds) in sorted(counts.items())]


def judged(lines: Iterable[tuple[str, str, str, int, float]], keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of a proof, by key: how many values there are, how many are in several splits, and how many utterances say none."""
    splits_of: dict[tuple[str, str], int] = Counter()
    unknown: dict[str, int] = Counter()
    for key, value, _, number, _ in lines:
        if value:
            splits_of[key, value] += 1
        else:
            unknown[key] += number
    return {key: {"values": sum(name == key for name, _ in splits_of),
                  "in_several_splits": sum(number > 1 for (name, _), number in splits_of.items() if name == key),
                  "utterances_without": unknown[key]} for key in keys}


def overlaps(utterances: Sequence[Utterance], view: str | None) -> dict[str, dict[str, int]]:
    """How many speakers, sessions, recordings and texts two splits share: {`dev/train`: {`speaker`: 0, …}}."""
    keys = ("speaker", "session", "recording", "text")
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for utterance in utterances:
        split = seen[utterance.split or "train"]
        for key, value in group_values(utterance, keys, view):
            split[key].add(value)
    return {f"{left}/{right}": {key: len(seen[left][key] & seen[right][key]) for key in keys}
            for left, right in combinations(sorted(seen), 2)}
