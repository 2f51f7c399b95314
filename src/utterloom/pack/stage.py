"""`pack`: a manifest → a woven corpus, one task a shard. Any rates, channels and containers in, one declared format out."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from utterloom.audio.encode import encode_flac, quantise_int16
from utterloom.audio.spans import SpanReader
from utterloom.core.artifact import amending, atomic_write, building, load_card, sha256_of
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, CorpusError, MissingPackageError, SourceError
from utterloom.core.forecast import check_room, forecast, format_size
from utterloom.core.interrupt import interrupt_held
from utterloom.core.ledger import check_unique, read_drops, summarise, write_drops
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import Drop
from utterloom.core.timing import format_duration
from utterloom.runners import LocalRunner
from utterloom.runners.local import usable_cores
from utterloom.shards import layout
from utterloom.shards.manifest import checked_card, rows
from utterloom.shards.reader import content_fingerprint
from utterloom.shards.writer import BLOCK_BYTES, is_whole, shard_facts, write_shard

STAGE = "pack"
ROUNDING_S = 1e-6  # three times 0.1 s is 0.3 s
MIN_SHARD_S, MAX_SHARD_S, SHARDS_WANTED = 300.0, 3600.0, 16


class PackConfig(Config):
    attach: bool = False
    """the corpus is there already: add utterances that it does not have, and take over the splits of those it has"""
    sample_rate_hz: int = Field(16_000, ge=4_000, le=96_000)
    """rate of the packed audio: mono, 16-bit FLAC"""
    shard_s: float | None = Field(None, gt=0)
    """speech in one shard; by default 5 minutes to an hour, by the size of the corpus"""
    workers: int | None = Field(None, ge=0)
    """processes; by default one a core"""


@dataclass(frozen=True)
class ShardTask:
    """Rows [start, stop) of the manifest, or those of them that `only` lists, become shard `name`: all that a worker needs."""

    manifest: str
    corpus: str
    name: str
    start: int
    stop: int
    view: str
    sample_rate_hz: int
    only: tuple[int, ...] | None = None

    def numbers(self) -> np.ndarray:
        """Of its rows in the manifest, ascending: int64 [rows]."""
        return np.arange(self.start, self.stop) if self.only is None else np.array(self.only, np.int64)


def pack(manifest: Path, corpus: Path, config: PackConfig) -> dict[str, Any]:
    """Write the corpus folder, or go on where a killed pack stopped; returns its card."""
    if config.attach:
        from utterloom.pack.attach import attach

        return attach(manifest, corpus, config)
    prepared = checked_card(manifest)
    view = prepared["config"]["view"]
    identity = {"config": config.model_dump(mode="json", exclude={"workers", "attach"}), "manifest": prepared["fingerprint"],
                "views": {view: prepared["view"]}}
    with building(corpus, "corpus", identity) as artifact:
        tasks = plan(manifest, corpus, config, view)
        if not artifact.finished:
            write_shards(manifest, corpus, tasks, config.workers)
            artifact.commit(_describe(corpus, tasks, config, view, prepared))
            return load_card(corpus, "corpus")
    hurt = [task for task in tasks if not is_whole(corpus, task.name, STAGE)]
    if hurt:
        _mend(manifest, corpus, hurt, config)
    else:
        log.info(f"{corpus} is there already, packed from the same manifest with the same configuration")
    return load_card(corpus, "corpus")


def _mend(manifest: Path, corpus: Path, hurt: list[ShardTask], config: PackConfig) -> None:
    """Write shards again that are missing or cut: from the same recordings, they come out the same (truth 4)."""
    card = load_card(corpus, "corpus")
    log.info(f"{len(hurt)} of the {len(card['shards'])} shards of {corpus} are missing or cut, and are packed again")
    wanted = {line["name"]: line for line in card["shards"]}
    with amending(corpus):
        write_shards(manifest, corpus, hurt, config.workers)
        lines, _ = shard_lines(corpus, hurt)
    changed = [line["name"] for line in lines if line != wanted[line["name"]]]
    if changed:
        raise CorpusError(f"{', '.join(changed)} of {corpus} came out otherwise than before: recordings have changed, or the "
                          "packages that encode them", "pack into a new folder")


def write_shards(manifest: Path, corpus: Path, tasks: list[ShardTask], num_workers: int | None) -> None:
    """Those that are not there yet, in parallel, with progress. Raises OutputError before the disk is full."""
    open_tasks = [task for task in tasks if not is_whole(corpus, task.name, STAGE)]
    if len(open_tasks) < len(tasks):
        log.info(f"{len(tasks) - len(open_tasks)} of {len(tasks)} shards are there already")
    workers = num_workers if num_workers is not None else usable_cores()
    durations = _durations(manifest)
    if open_tasks:
        _estimate(manifest, corpus, open_tasks, durations, workers)
    seconds = [float(durations[task.numbers()].sum()) for task in open_tasks]
    done_s = 0.0
    with progress("packing", sum(seconds), "s of speech") as report:
        for number, facts in LocalRunner(workers if len(open_tasks) > 1 else 0).run(pack_shard, open_tasks):
            done_s += seconds[number]
            report(done_s, f"{open_tasks[number].name}: {facts['utterances']} utterances")


def plan(manifest: Path, corpus: Path, config: PackConfig, view: str, only: np.ndarray | None = None,
         after: Mapping[str, int] | None = None) -> list[ShardTask]:
    """Consecutive rows of one split until a shard is full; from the manifest alone, so that every machine plans the same.

    `only` are row numbers, ascending; `after` says how many shards of a split there are already.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(manifest / layout.MANIFEST_FILE, columns=["id", "split", "duration_s"])
    if not len(table):
        raise SourceError(f"{manifest} has no utterances")
    ids = table.column("id")
    if pc.count_distinct(ids).as_py() != len(ids):
        check_unique(ids.to_pylist(), str(manifest))
    if only is not None:
        table = table.take(only)
    splits, durations = table.column("split").to_pylist(), table.column("duration_s").to_numpy()
    limit_s = config.shard_s or min(MAX_SHARD_S, max(MIN_SHARD_S, float(durations.sum()) / SHARDS_WANTED))
    numbers = Counter(after or {})
    tasks, start, filled = [], 0, 0.0
    for row in range(len(splits) + 1):
        is_full = row < len(splits) and filled + durations[row] > limit_s + ROUNDING_S
        ends = row == len(splits) or (row > start and (splits[row] != splits[start] or is_full))
        if ends and row > start:
            first, last = (start, row) if only is None else (int(only[start]), int(only[row - 1]) + 1)
            listed = None if only is None or last - first == row - start else tuple(only[start:row].tolist())
            name = layout.shard_name(splits[start], numbers[splits[start]])
            tasks.append(ShardTask(str(manifest), str(corpus), name, first, last, view, config.sample_rate_hz, listed))
            numbers[splits[start]] += 1
            start, filled = row, 0.0
        if row < len(splits):
            filled += float(durations[row])
    return tasks


def pack_shard(task: ShardTask) -> dict[str, Any]:
    """One shard. Runs in a worker; restarting it writes the same bytes."""
    listed = None if task.only is None else set(task.only)
    with SpanReader() as sources:
        done = (pack_utterance(row, task.sample_rate_hz, sources)
                for number, row in enumerate(rows(Path(task.manifest), task.start, task.stop), start=task.start)
                if listed is None or number in listed)
        return write_shard(Path(task.corpus), task.name, done, [task.view], STAGE)


def pack_utterance(row: dict[str, Any], sample_rate_hz: int, sources: SpanReader) -> tuple[dict[str, Any], bytes] | Drop:
    """A manifest row → its corpus row and FLAC bytes, or why there are none."""
    try:
        with interrupt_held():
            samples = sources.load(row["spans"], sample_rate_hz)
            if not len(samples):
                raise AudioError("no samples are left after resampling")
            quantised, _ = quantise_int16(samples)
            flac = encode_flac(quantised, sample_rate_hz)
    except (MissingPackageError, AudioError, OSError) as error:
        reason = "needs a package" if isinstance(error, MissingPackageError) else "not decodable"
        detail = str(error.strerror) if isinstance(error, OSError) else \
            f"{error.message} ({error.hint})" if error.hint else error.message
        return Drop(row["id"], STAGE, reason, detail, row["duration_s"], row["spans"][0]["path"])
    kept = {key: value for key, value in row.items() if key != "duration_s"}
    return {**kept, "duration_s": len(quantised) / sample_rate_hz, "num_samples": len(quantised),
            "sample_rate_hz": sample_rate_hz}, flac


def _durations(manifest: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(manifest / layout.MANIFEST_FILE, columns=["duration_s"]).column(0).to_numpy())


def _estimate(manifest: Path, corpus: Path, tasks: list[ShardTask], durations: np.ndarray, workers: int) -> None:
    """Pack a few utterances for the measure, say what the rest will take, and refuse to fill the disk (E-P2, E-P4)."""
    numbers = np.concatenate([task.numbers() for task in tasks])
    total_s = float(durations[numbers].sum())
    rate_hz = tasks[0].sample_rate_hz

    def try_row(index: int) -> tuple[float, int] | None:
        row, = rows(manifest, int(numbers[index]), int(numbers[index]) + 1)
        result = pack_utterance(row, rate_hz, sources)
        return None if isinstance(result, Drop) else (result[0]["duration_s"], len(result[1]) + 3 * BLOCK_BYTES)

    with SpanReader() as sources:
        reckoned = forecast(len(numbers), total_s, try_row)
    if reckoned is None:
        log.info(f"packing {format_duration(total_s)} of speech: none of those probed could be read")
    else:
        log.info(f"packing {format_duration(total_s)} of speech into {len(tasks)} shards: about {format_size(reckoned.num_bytes)}, "
                 f"about {format_duration(reckoned.seconds / max(1, min(workers, len(tasks))))} with {workers} workers")
    num_bytes = reckoned.num_bytes if reckoned is not None else int(total_s * rate_hz * 2)
    check_room(corpus, num_bytes, "lower sample_rate_hz")


def shard_lines(corpus: Path, tasks: list[ShardTask]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The card's lines of some shards, and their ledger. Refuses gaps (A-P4) and what does not add up, with a CorpusError."""
    lines: list[dict[str, Any]] = []
    num_in = num_ok = 0
    for task in tasks:
        if not is_whole(corpus, task.name, STAGE):
            raise CorpusError(f"shard {task.name} of {corpus} is not there", "run pack again")
        path = corpus / layout.utterances_path(task.name)
        facts = shard_facts(path)
        num_in, num_ok = num_in + facts["in"], num_ok + facts["utterances"]
        lines.append({"name": task.name, "utterances": facts["utterances"], "seconds": facts["seconds"],
                      "audio_bytes": facts["audio_bytes"], "audio_sha256": facts["audio_sha256"],
                      "utterances_sha256": sha256_of(path)})
    ours = {Path(layout.dropped_path(STAGE, task.name)).name for task in tasks}
    drops = [drop for drop in read_drops(corpus, ours) if drop.stage == STAGE]
    if num_in != num_ok + len(drops) or num_in != sum(len(task.numbers()) for task in tasks):
        raise CorpusError(f"{corpus} does not add up: {num_in} in, {num_ok} packed, {len(drops)} dropped", "pack into a new folder")
    if num_ok == 0:
        reasons = "; ".join(f"{row['utterances']} {row['reason']} ({row['example']})" for row in summarise(drops)[:3])
        for task in tasks:  # so that the same command starts again once the reason is gone
            for name in (layout.utterances_path(task.name), layout.audio_path(task.name), layout.dropped_path(STAGE, task.name)):
                (corpus / name).unlink()
        for part in (layout.UTTERANCES, layout.AUDIO, layout.DROPPED):
            with contextlib.suppress(OSError):
                (corpus / part).rmdir()
        raise CorpusError(f"nothing could be packed: {reasons}")
    return lines, {"stage": STAGE, "in": num_in, "ok": num_ok, "dropped": len(drops),
                   "seconds_ok": round(sum(line["seconds"] for line in lines), 3), "reasons": summarise(drops)}


def keep_drops(drops: list[Drop], corpus: Path) -> None:
    """What was dropped on the way to a manifest goes with the corpus: beside what is there, under the next number."""
    by_stage: dict[str, list[Drop]] = {}
    for drop in drops:
        by_stage.setdefault(drop.stage, []).append(drop)
    for stage, members in by_stage.items():
        there = sorted((corpus / layout.DROPPED).glob(f"{stage}-[0-9]*.parquet"))
        if not any(read_drops(corpus, [path.name]) == members for path in there):  # killed right after this
            write_drops(corpus / layout.DROPPED / f"{stage}-{len(there):05d}.parquet", members)


def totals(corpus: Path, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What the card says of all shards."""
    splits = {}
    for name in dict.fromkeys(layout.split_of(shard["name"]) for shard in shards):
        members = [shard for shard in shards if layout.split_of(shard["name"]) == name]
        splits[name] = {"utterances": sum(shard["utterances"] for shard in members),
                        "hours": round(sum(shard["seconds"] for shard in members) / 3600, 6), "shards": len(members)}
    dropped = sorted((corpus / layout.DROPPED).glob("*.parquet"))
    return {
        "content": content_fingerprint(shards), "utterances": sum(shard["utterances"] for shard in shards), "splits": splits,
        "hours": round(sum(shard["seconds"] for shard in shards) / 3600, 6), "shards": shards,
        "dropped": {f"{layout.DROPPED}/{path.name}": sha256_of(path) for path in dropped}}


def _describe(corpus: Path, tasks: list[ShardTask], config: PackConfig, view: str, prepared: dict[str, Any]) -> dict[str, Any]:
    """The card, from the shards that are there; and the dataset card."""
    shards, ledger = shard_lines(corpus, tasks)
    keep_drops(read_drops(Path(tasks[0].manifest)), corpus)
    card = {
        **totals(corpus, shards), "languages": prepared["languages"], "ledger": [prepared["ledger"], ledger],
        "layers": {"audio": {"kind": "audio", "format": "flac", "rate_hz": config.sample_rate_hz, "channels": 1, "bits": 16}},
        "prepared": {key: prepared.get(key) for key in ("reader", "config", "notes", "overlaps", "formats", "joined", "vocabulary",
                                                        "hours_unique", "proof", "quality")}}
    write_dataset_card(corpus, card, view)
    return card


def write_dataset_card(corpus: Path, card: dict[str, Any], view: str) -> None:
    """README.md of the corpus."""
    with atomic_write(corpus / layout.DATASET_CARD, "w") as file:
        file.write(dataset_card(card, view))


def dataset_card(card: dict[str, Any], view: str) -> str:
    """README.md for the Hugging Face Hub: `load_dataset()` reads the folder by its front matter."""
    files = "\n".join(f'  - split: "{name}"\n    path: {layout.UTTERANCES}/{name}-*.parquet'
                      for name, split in card["splits"].items() if split["utterances"])  # it cannot say that a split is empty
    languages = "\n".join(f"- {json.dumps(language)}" for language in card["languages"]) or "- und"  # `no` is Norwegian
    words = card["prepared"].get("vocabulary") or {}
    rows = "\n".join(f"| {name} | {split['utterances']:,} | {split['hours']:.2f} | {_words(words.get(name))} | {split['shards']} |"
                     for name, split in card["splits"].items())
    dropped = "\n".join(f"| {row['stage']} | {row['reason']} | {row['utterances']:,} |"
                        for stage in card["ledger"] for row in stage["reasons"]) or "| – | nothing | 0 |"
    rate = card["layers"]["audio"]["rate_hz"]
    return f"""---
language:
{languages}
task_categories:
- automatic-speech-recognition
configs:
- config_name: default
  data_files:
{files}
---

# A speech corpus, packed by utterloom

{card['utterances']:,} utterances, {card['hours']:.2f} hours, mono FLAC at {rate:,} Hz.

| split | utterances | hours | different words | words not in train | shards |
|---|---:|---:|---:|---:|---:|
{rows}
{_moved(card)}
Each row of `{layout.UTTERANCES}/*.parquet` is one utterance: its raw text (`text`), its normal form (`{layout.view_column(view)}`),
its speaker, and where its audio lies in the tar of the same name (`audio_offset`, `audio_bytes`, `audio_crc32`).
`{layout.AUDIO}/*.tar` are WebDataset archives: `<id>.flac` and `<id>.json`, ids percent-encoded.

```python
from datasets import load_dataset
rows = load_dataset("path/to/this/folder", split="{next(iter(card['splits']))}")
```

What left the path on the way here (each utterance is listed in `{layout.DROPPED}/`):

| stage | reason | utterances |
|---|---|---:|
{dropped}
"""


def _words(told: dict[str, Any] | None) -> str:
    """Two cells: different words, and the share of running words that the training split does not have."""
    if not told:
        return "– | –"
    rate = told.get("oov_rate")
    return f"{told['different_words']:,} | {f'{100 * rate:.1f} %' if rate is not None else '–'}"


def _moved(card: dict[str, Any]) -> str:
    """What to know of splits that arrived after the audio was packed."""
    if not card.get("moved"):
        return ""
    return (f"\nThe splits of {card['moved']['utterances']:,} utterances arrived after they were packed: `{card['moved']['file']}` "
            "lists them by shard and row,\nand the files are still named after the splits that they were packed in.\n")


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a corpus, as lines."""
    audio = card["layers"]["audio"]
    lines = [f"{card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}, mono FLAC at {audio['rate_hz']:,} Hz, "
             f"{sum(shard['audio_bytes'] for shard in card['shards']) / 1e6:,.1f} MB in {len(card['shards'])} shards"]
    for name, split in card["splits"].items():
        lines.append(f"  {name:<6} {split['utterances']:>7,} utterances  {format_duration(split['hours'] * 3600):>14}")
    for pair, shared in (card["prepared"].get("overlaps") or {}).items():
        named = [f"{count:,} {key}{'s' if count != 1 else ''}" for key, count in shared.items() if count]
        if named:
            lines.append(f"  {pair} share {', '.join(named)}")
    for told in card.get("attached", []):
        lines.append(f"  attached later: {told['added']:,} utterances added, {told['moved']:,} moved to another split")
    for stage in card["ledger"]:
        for row in stage["reasons"]:
            lines.append(f"  dropped by {row['stage']} {row['utterances']:,}: {row['reason']}, for example {row['example']}")
    return lines
