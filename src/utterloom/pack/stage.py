"""`pack`: a manifest → a woven corpus, one task a shard. Any rates, channels and containers in, one declared format out."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from utterloom.audio.encode import encode_flac, quantise_int16
from utterloom.audio.spans import SpanReader
from utterloom.core.artifact import atomic_write, building, load_card, sha256_of
from utterloom.core.config import Config
from utterloom.core.errors import AudioError, CorpusError, DamagedError, MissingPackageError, OutputError, SourceError
from utterloom.core.ledger import check_unique, read_drops, summarise
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.records import Drop
from utterloom.core.timing import format_duration
from utterloom.runners import LocalRunner
from utterloom.runners.local import usable_cores
from utterloom.shards import layout
from utterloom.shards.reader import content_fingerprint
from utterloom.shards.writer import is_whole, shard_facts, write_shard

STAGE = "pack"
ROWS_AT_ONCE = 64
ESTIMATE_UTTERANCES = 12
ESTIMATE_LIMIT_S = 2.0
FREE_SPACE_MARGIN = 1.1
ROUNDING_S = 1e-6  # three times 0.1 s is 0.3 s
MIN_SHARD_S, MAX_SHARD_S, SHARDS_WANTED = 300.0, 3600.0, 16


class PackConfig(Config):
    sample_rate_hz: int = Field(16_000, ge=4_000, le=96_000)
    """rate of the packed audio: mono, 16-bit FLAC"""
    shard_s: float | None = Field(None, gt=0)
    """speech in one shard; by default 5 minutes to an hour, by the size of the corpus"""
    workers: int | None = Field(None, ge=0)
    """processes; by default one a core"""


@dataclass(frozen=True)
class ShardTask:
    """Rows [start, stop) of the manifest become shard `name`: all that a worker needs to know."""

    manifest: str
    corpus: str
    name: str
    start: int
    stop: int
    view: str
    sample_rate_hz: int


def pack(manifest: Path, corpus: Path, config: PackConfig) -> dict[str, Any]:
    """Write the corpus folder, or go on where a killed pack stopped; returns its card."""
    prepared = _checked_manifest(manifest)
    view = prepared["config"]["view"]
    identity = {"config": config.model_dump(mode="json", exclude={"workers"}), "manifest": prepared["fingerprint"],
                "views": {view: prepared["view"]}}
    with building(corpus, "corpus", identity) as artifact:
        if artifact.finished:
            log.info(f"{corpus} is there already, packed from the same manifest with the same configuration")
            return load_card(corpus, "corpus")
        tasks = plan(manifest, corpus, config, view)
        open_tasks = [task for task in tasks if not is_whole(corpus, task.name, STAGE)]
        if len(open_tasks) < len(tasks):
            log.info(f"{len(tasks) - len(open_tasks)} of {len(tasks)} shards are there already")
        workers = config.workers if config.workers is not None else usable_cores()
        durations = _durations(manifest)
        if open_tasks:
            _estimate(manifest, corpus, open_tasks, durations, workers)
        total_s = float(sum(durations[task.start:task.stop].sum() for task in open_tasks))
        done_s = 0.0
        with progress("packing", total_s, "s of speech") as report:
            for number, facts in LocalRunner(workers if len(open_tasks) > 1 else 0).run(pack_shard, open_tasks):
                task = open_tasks[number]
                done_s += float(durations[task.start:task.stop].sum())
                report(done_s, f"{task.name}: {facts['utterances']} utterances")
        card = _commit(corpus, tasks, config, view, prepared)
        artifact.commit(card)
    return load_card(corpus, "corpus")


def _checked_manifest(manifest: Path) -> dict[str, Any]:
    """Its card. Raises SourceError where it is not a manifest, DamagedError where its bytes are not those that were written."""
    prepared = load_card(manifest, "manifest")
    path = manifest / layout.MANIFEST_FILE
    if not path.is_file():
        raise DamagedError(f"{path} is missing", "prepare it again into a new folder")
    if sha256_of(path) != prepared.get("utterances_sha256"):
        raise DamagedError(f"{path} does not match its checksum: it was cut short, or bytes in it have changed",
                           "prepare it again into a new folder")
    return prepared


def plan(manifest: Path, corpus: Path, config: PackConfig, view: str) -> list[ShardTask]:
    """Consecutive rows of one split until a shard is full; from the manifest alone, so that every machine plans the same."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(manifest / layout.MANIFEST_FILE, columns=["id", "split", "duration_s"])
    if not len(table):
        raise SourceError(f"{manifest} has no utterances")
    ids = table.column("id")
    if pc.count_distinct(ids).as_py() != len(ids):
        check_unique(ids.to_pylist(), str(manifest))
    splits, durations = table.column("split").to_pylist(), table.column("duration_s").to_numpy()
    limit_s = config.shard_s or min(MAX_SHARD_S, max(MIN_SHARD_S, float(durations.sum()) / SHARDS_WANTED))
    numbers: Counter[str] = Counter()
    bounds, start, filled = [], 0, 0.0
    for row in range(len(splits) + 1):
        is_full = row < len(splits) and filled + durations[row] > limit_s + ROUNDING_S
        ends = row == len(splits) or (row > start and (splits[row] != splits[start] or is_full))
        if ends:
            bounds.append((layout.shard_name(splits[start], numbers[splits[start]]), start, row))
            numbers[splits[start]] += 1
            start, filled = row, 0.0
        if row < len(splits):
            filled += float(durations[row])
    return [ShardTask(str(manifest), str(corpus), name, first, last, view, config.sample_rate_hz) for name, first, last in bounds]


def pack_shard(task: ShardTask) -> dict[str, Any]:
    """One shard. Runs in a worker; restarting it writes the same bytes."""
    with SpanReader() as sources:
        rows = (pack_utterance(row, task.sample_rate_hz, sources)
                for row in _manifest_rows(Path(task.manifest), task.start, task.stop))
        return write_shard(Path(task.corpus), task.name, rows, [task.view], STAGE)


def pack_utterance(row: dict[str, Any], sample_rate_hz: int, sources: SpanReader) -> tuple[dict[str, Any], bytes] | Drop:
    """A manifest row → its corpus row and FLAC bytes, or why there are none."""
    try:
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


def _manifest_rows(manifest: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Rows [start, stop), a few at a time: memory does not grow with the manifest."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(manifest / layout.MANIFEST_FILE) as file:
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first + rows > start and first < stop:
                table = file.read_row_group(group)
                piece = table.slice(max(0, start - first), min(stop, first + rows) - max(start, first))
                for batch in piece.to_batches(max_chunksize=ROWS_AT_ONCE):
                    yield from batch.to_pylist()
            first += rows


def _durations(manifest: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(manifest / layout.MANIFEST_FILE, columns=["duration_s"]).column(0).to_numpy())


def _estimate(manifest: Path, corpus: Path, tasks: list[ShardTask], durations: np.ndarray, workers: int) -> None:
    """Pack a few utterances for the measure, say what the rest will take, and refuse to fill the disk (E-P2, E-P4)."""
    rows = np.concatenate([np.arange(task.start, task.stop) for task in tasks])
    picked = rows[np.linspace(0, len(rows) - 1, min(ESTIMATE_UTTERANCES, len(rows))).astype(int)]
    started, num_bytes, seconds = time.perf_counter(), 0, 0.0
    with SpanReader() as sources:
        for index in picked:
            for row in _manifest_rows(manifest, int(index), int(index) + 1):
                result = pack_utterance(row, tasks[0].sample_rate_hz, sources)
                if not isinstance(result, Drop):
                    num_bytes += len(result[1]) + 3 * 512
                    seconds += result[0]["duration_s"]
            if time.perf_counter() - started > ESTIMATE_LIMIT_S:
                break
    took_s = time.perf_counter() - started
    total_s = float(durations[rows].sum())
    free = shutil.disk_usage(corpus).free
    if seconds == 0.0:
        needed = int(total_s * tasks[0].sample_rate_hz * 2)
        log.info(f"packing {format_duration(total_s)} of speech: none of {len(picked)} probed utterances could be read")
    else:
        needed = int(num_bytes / seconds * total_s)
        log.info(f"packing {format_duration(total_s)} of speech into {len(tasks)} shards: about {_size(needed)}, "
                 f"about {format_duration(took_s / seconds * total_s / max(1, min(workers, len(tasks))))} with {workers} workers")
    if needed * FREE_SPACE_MARGIN > free:
        raise OutputError(f"{corpus} needs about {_size(needed)} and the disk has {_size(free)} free",
                          "free some space, choose another disk, or lower sample_rate_hz")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.1f} MB"


def _commit(corpus: Path, tasks: list[ShardTask], config: PackConfig, view: str, prepared: dict[str, Any]) -> dict[str, Any]:
    """Build the card from the shards that are there; refuses gaps (A-P4)."""
    shards: list[dict[str, Any]] = []
    num_in = num_ok = 0
    for task in tasks:
        if not is_whole(corpus, task.name, STAGE):
            raise CorpusError(f"shard {task.name} of {corpus} is not there", "run pack again")
        path = corpus / layout.utterances_path(task.name)
        facts = shard_facts(path)
        num_in, num_ok = num_in + facts["in"], num_ok + facts["utterances"]
        shards.append({"name": task.name, "utterances": facts["utterances"], "seconds": facts["seconds"],
                       "audio_bytes": facts["audio_bytes"], "audio_sha256": facts["audio_sha256"],
                       "utterances_sha256": sha256_of(path)})
    drops = [drop for drop in read_drops(corpus) if drop.stage == STAGE]
    if num_in != num_ok + len(drops) or num_in != sum(task.stop - task.start for task in tasks):
        raise CorpusError(f"{corpus} does not add up: {num_in} in, {num_ok} packed, {len(drops)} dropped", "pack into a new folder")
    if num_ok == 0:
        reasons = "; ".join(f"{row['utterances']} {row['reason']} ({row['example']})" for row in summarise(drops)[:3])
        for part in (layout.UTTERANCES, layout.AUDIO, layout.DROPPED):
            shutil.rmtree(corpus / part)  # so that the same command starts again once the reason is gone
        raise CorpusError(f"nothing could be packed: {reasons}")
    dropped_before = sorted((Path(tasks[0].manifest) / layout.DROPPED).glob("*.parquet"))
    for path in dropped_before:
        with atomic_write(corpus / layout.DROPPED / path.name) as file:
            file.write(path.read_bytes())
    splits = {}
    for name in dict.fromkeys(layout.split_of(shard["name"]) for shard in shards):
        members = [shard for shard in shards if layout.split_of(shard["name"]) == name]
        splits[name] = {"utterances": sum(shard["utterances"] for shard in members),
                        "hours": round(sum(shard["seconds"] for shard in members) / 3600, 4), "shards": len(members)}
    card = {
        "content": content_fingerprint(shards), "utterances": num_ok, "splits": splits,
        "hours": round(sum(shard["seconds"] for shard in shards) / 3600, 4), "languages": prepared["languages"],
        "ledger": [prepared["ledger"], {"stage": STAGE, "in": num_in, "ok": num_ok, "dropped": len(drops),
                                        "seconds_ok": round(sum(shard["seconds"] for shard in shards), 3),
                                        "reasons": summarise(drops)}],
        "layers": {"audio": {"kind": "audio", "format": "flac", "rate_hz": config.sample_rate_hz, "channels": 1, "bits": 16}},
        "shards": shards, "dropped": {f"{layout.DROPPED}/{path.name}": sha256_of(path)
                                      for path in sorted((corpus / layout.DROPPED).glob("*.parquet"))},
        "prepared": {key: prepared.get(key) for key in ("reader", "config", "notes", "overlaps", "formats", "joined")}}
    with atomic_write(corpus / layout.DATASET_CARD, "w") as file:
        file.write(dataset_card(card, view))
    return card


def dataset_card(card: dict[str, Any], view: str) -> str:
    """README.md for the Hugging Face Hub: `load_dataset()` reads the folder by its front matter."""
    files = "\n".join(f'  - split: "{name}"\n    path: {layout.UTTERANCES}/{name}-*.parquet'
                      for name, split in card["splits"].items() if split["utterances"])  # it cannot say that a split is empty
    languages = "\n".join(f"- {json.dumps(language)}" for language in card["languages"]) or "- und"  # `no` is Norwegian
    rows = "\n".join(f"| {name} | {split['utterances']:,} | {split['hours']:.2f} | {split['shards']} |"
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

| split | utterances | hours | shards |
|---|---:|---:|---:|
{rows}

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


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a corpus, as lines."""
    audio = card["layers"]["audio"]
    lines = [f"{card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}, mono FLAC at {audio['rate_hz']:,} Hz, "
             f"{sum(shard['audio_bytes'] for shard in card['shards']) / 1e6:,.1f} MB in {len(card['shards'])} shards"]
    for name, split in card["splits"].items():
        lines.append(f"  {name:<6} {split['utterances']:>7,} utterances  {format_duration(split['hours'] * 3600):>14}")
    for stage in card["ledger"]:
        for row in stage["reasons"]:
            lines.append(f"  dropped by {row['stage']} {row['utterances']:,}: {row['reason']}, for example {row['example']}")
    return lines
