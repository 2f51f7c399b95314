"""`pack MANIFEST CORPUS attach=true`: what arrives later joins a corpus whose shards stay as they are.

New utterances become new shards. An utterance that is there already, with the same text and the same stretch of audio, is not
packed again; where the manifest has it in another split (the official test set is announced after the corpus was packed, E7), that
is written down in one small file, by shard and row. The card is replaced last: until then, the corpus is what it was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.core.artifact import amend, amending, atomic_write, fingerprint, load_card, sha256_of
from utterloom.core.errors import CorpusError, OutputError
from utterloom.core.ledger import read_drops, summarise
from utterloom.core.log import log
from utterloom.core.records import Drop
from utterloom.pack.stage import PackConfig, keep_drops, plan, shard_lines, totals, write_dataset_card, write_shards
from utterloom.shards import layout
from utterloom.shards.manifest import checked_card, rows
from utterloom.shards.reader import Corpus, content_fingerprint

KEYS = ("speaker", "session", "recording", "text")


@dataclass
class _Compared:
    """New rows of the manifest by number, {(shard, row): split} of utterances that are in another split now, ids of those that
    are in both and of all that are packed, and the seconds of the new ones."""

    new: list[int]
    moved: dict[tuple[str, int], str]
    known: set[str]
    packed: set[str]
    new_s: float = 0.0


def attach(manifest: Path, corpus: Path, config: PackConfig) -> dict[str, Any]:
    """Returns the corpus's card. Raises OutputError where the corpus has another rate or text view, CorpusError where one of its
    utterances has another text or another stretch of audio in the manifest, or where a shard of it is hurt."""
    prepared = checked_card(manifest)
    if not corpus.exists():
        raise CorpusError(f"there is no corpus at {corpus} to attach to", "leave out attach=true to make it")
    card = load_card(corpus, "corpus")
    view = prepared["config"]["view"]
    _check_same_kind(corpus, card, config, {view: prepared["view"]})
    with amending(corpus):
        card = load_card(corpus, "corpus")
        known = [card["manifest"], *(told["manifest"] for told in card.get("attached", []))]
        if prepared["fingerprint"] in known:
            log.info(f"{corpus} has all of {manifest} already")
            return card
        there = Corpus(corpus)
        compared = _compared(manifest, there)
        after = Counter(layout.split_of(shard.name) for shard in there.shards)
        tasks = plan(manifest, corpus, config, view, np.array(compared.new, np.int64), after) if compared.new else []
        _say(compared, there, manifest)
        lines: list[dict[str, Any]] = []
        dropped = _new_drops(manifest, corpus, compared)
        ledger = [_counted_drops(compared, dropped)]
        if tasks:
            write_shards(manifest, corpus, tasks, config.workers)
            lines, packed = shard_lines(corpus, tasks)
            ledger.append(packed)
        keep_drops(dropped, corpus)
        new = {**card, **totals(corpus, [*card["shards"], *lines]), "ledger": [*card["ledger"], *ledger],
               "languages": sorted({*card["languages"], *prepared["languages"]}),
               "attached": [*card.get("attached", []), {
                   "manifest": prepared["fingerprint"], "added": sum(line["utterances"] for line in lines),
                   "moved": len(compared.moved), "notes": prepared["notes"]}]}
        moved = {(shard, row): split for shard, found in there.moved.items() for row, split in found.items()} | compared.moved
        moved = {place: split for place, split in moved.items() if split != layout.split_of(place[0])}
        if moved or card.get("moved"):
            name, digest = _write_moved(corpus, moved)
            new["moved"] = {"file": name, "utterances": len(moved), "sha256": digest}
            new["content"] = content_fingerprint(new["shards"], digest)
        new |= _counted(Corpus(corpus, new), view)
        write_dataset_card(corpus, new, view)
        amend(corpus, "corpus", new)
        for path in corpus.glob(layout.MOVED.format(digest="*")):
            if path.name != (new.get("moved") or {}).get("file"):
                path.unlink()
    return load_card(corpus, "corpus")


def _check_same_kind(corpus: Path, card: dict[str, Any], config: PackConfig, views: dict[str, str]) -> None:
    rate_hz = card["config"]["sample_rate_hz"]
    if rate_hz != config.sample_rate_hz:
        raise OutputError(f"{corpus} is packed at {rate_hz} Hz, not {config.sample_rate_hz}",
                          f"sample_rate_hz={rate_hz} attaches to it")
    if card["views"] != views:
        ours, theirs = (", ".join(names.values()) for names in (card["views"], views))
        raise OutputError(f"{corpus} has the text view {ours}, the manifest {theirs}", "prepare it with the corpus's view")


def _compared(manifest: Path, corpus: Corpus) -> _Compared:
    """Which rows are new, which moved. The rows of the corpus are read a shard at a time."""
    there: dict[str, tuple[str, int]] = {}
    for shard in corpus.shards:
        table = corpus.table(shard.name)
        there.update((table.id(row), (shard.name, row)) for row in range(len(table)))
    compared = _Compared([], {}, set(), set(there))
    by_shard: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for number, row in enumerate(rows(manifest, columns=["id", "text", "split", "duration_s", "spans"])):
        place = there.get(row["id"])
        if place is None:
            compared.new.append(number)
            compared.new_s += row["duration_s"]
            continue
        compared.known.add(row["id"])
        by_shard[place[0]].append((place[1], row))
        if row["split"] != corpus.split_of(*place):
            compared.moved[place] = row["split"]
    texts, stretches = [], []
    for name, found in by_shard.items():
        packed = corpus.whole_columns(name, ["text", "spans"])
        for number, row in found:
            if packed["text"][number] != row["text"]:
                texts.append(row["id"])
            elif _stretches(packed["spans"][number]) != _stretches(row["spans"]):
                stretches.append(row["id"])
    for ids, what in ((texts, "another text"), (stretches, "another stretch of audio")):
        if ids:
            others = f" (and {len(ids) - 1:,} more)" if len(ids) > 1 else ""
            raise CorpusError(f"utterance {ids[0]!r}{others} has {what} in {manifest} than in {corpus.url}",
                              "what is packed does not change: pack the manifest into a new corpus")
    return compared


def _say(compared: _Compared, corpus: Corpus, manifest: Path) -> None:
    """What will become of whom, before it is done; also what will not."""
    moved = [corpus.table(shard).id(row) for shard, row in list(compared.moved)[:3]]
    such = f" (such as {', '.join(moved)})" if moved else ""
    log.info(f"{len(compared.new):,} utterances are new, {len(compared.moved):,} are in another split now{such}, "
             f"{len(compared.known) - len(compared.moved):,} are as they were")
    num_others = corpus.card["utterances"] - len(compared.known)
    if num_others:
        log.info(f"{num_others:,} utterances of {corpus.url} are not in {manifest}, and stay: attaching takes nothing away")


def _new_drops(manifest: Path, corpus: Path, compared: _Compared) -> list[Drop]:
    """What was dropped on the way to the manifest, but for what the corpus has, or knows to be dropped."""
    there = {(drop.id, drop.reason) for drop in read_drops(corpus)}
    return [drop for drop in read_drops(manifest) if (drop.id, drop.reason) not in there and drop.id not in compared.packed]


def _counted_drops(compared: _Compared, dropped: list[Drop]) -> dict[str, Any]:
    """The ledger of what is new, as `prepare` would have written it."""
    return {"stage": "prepare", "in": len(compared.new) + len(dropped), "ok": len(compared.new),
            "seconds_ok": round(compared.new_s, 3), "dropped": len(dropped), "reasons": summarise(dropped)}


def _stretches(spans: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Recordings may have been moved to another folder since; their names and the samples are the same."""
    return [(Path(span["path"]).name, span["start_sample"], span["stop_sample"], span["sample_rate_hz"], span["channel"])
            for span in spans]


def _write_moved(corpus: Path, moved: dict[tuple[str, int], str]) -> tuple[str, str]:
    """The list of splits that arrived later, under a name of its own, so that the card of before finds its own; (name, hash)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = [{"shard": shard, "row": row, "split": split} for (shard, row), split in sorted(moved.items())]
    schema = pa.schema([("shard", pa.string()), ("row", pa.int64()), ("split", pa.string())])
    name = layout.MOVED.format(digest=fingerprint(lines))
    with atomic_write(corpus / name) as file:
        pq.write_table(pa.Table.from_pylist(lines, schema=schema), file, compression="zstd")
    return name, sha256_of(corpus / name)


def _counted(corpus: Corpus, view: str) -> dict[str, Any]:
    """Totals by split as they are now, and what the splits share (truth 10). What was counted of the first manifest alone goes."""
    splits: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: {key: set() for key in KEYS})
    for shard in corpus.shards:
        found = corpus.whole_columns(shard.name, ["speaker", "session", "duration_s", "spans", layout.view_column(view)])
        for name in corpus.splits:
            numbers = corpus.rows_of(shard.name, name).tolist()
            if not numbers:
                continue
            split = splits.setdefault(name, {"utterances": 0, "hours": 0.0, "shards": 0})
            split["utterances"] += len(numbers)
            split["hours"] += sum(found["duration_s"][number] for number in numbers) / 3600
            split["shards"] += 1
            for number in numbers:
                own = {"speaker": found["speaker"][number], "session": found["session"][number],
                       "text": found[layout.view_column(view)][number]}
                for key, value in own.items():
                    if value:
                        values[name][key].add(value)
                values[name]["recording"].update(span["path"] for span in found["spans"][number])
    for split in splits.values():
        split["hours"] = round(split["hours"], 6)
    shared = {f"{left}/{right}": {key: len(values[left][key] & values[right][key]) for key in KEYS}
              for left, right in combinations(sorted(values), 2)}
    order = sorted(splits, key=lambda name: (name != "train", name != "dev", name))
    gone = dict.fromkeys(("vocabulary", "hours_unique", "proof"))
    return {"splits": {name: splits[name] for name in order},
            "prepared": {**corpus.card["prepared"], **gone, "overlaps": shared}}
