"""`extract`: one kind of knowledge about every utterance → a layer of the corpus, one task a shard.

One utterance in, one row out. Here are what no extractor needs to know: batches of like lengths, memory that runs out (the batch
is halved, and stays so), an item that breaks its batch (the batch is taken apart until it is alone), shards, and going on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.audio.decode import decode, to_mono
from utterloom.audio.resample import resample
from utterloom.core.artifact import amend, amending, building, load_card
from utterloom.core.errors import AudioError, CorpusError, DamagedError, OutputError, UtterloomError
from utterloom.core.forecast import check_room, forecast, format_size
from utterloom.core.log import log
from utterloom.core.progress import progress
from utterloom.core.timing import format_duration
from utterloom.extract.config import ExtractConfig
from utterloom.extract.contract import Extractor, Item, Plan
from utterloom.extract.extractors import extractor_kind
from utterloom.runners import LocalRunner, Runner
from utterloom.runners.local import usable_cores
from utterloom.shards.layers import (
    KIND,
    OK,
    STATUSES,
    Layer,
    LayerRow,
    arrays_path,
    check_name,
    is_layer_shard_whole,
    layer_path,
    shard_lines,
    write_layer_shard,
)
from utterloom.shards.reader import Corpus, ShardTable

OUTSIDE_IDENTITY = {"name", "out", "workers", "batch", "device"}  # on which no number of the layer depends
READ_AT_ONCE = 4  # batches of like lengths are made within so many of them, so that no shard of audio is held
MOST_REASONS = 3


@dataclass(frozen=True)
class ExtractTask:
    """One layer × one shard: all that a worker needs."""

    kind: str
    config: ExtractConfig
    corpus: str
    folder: str
    shard: str


def extract(kind: str, corpus_path: Path, config: ExtractConfig, runner: Runner | None = None) -> dict[str, Any]:
    """Write the layer, or go on where it stopped, or add the shards that joined the corpus since; returns its card.

    Raises CorpusError where not one utterance gave a row that is ok, and what the extractor's `plan` raises.
    """
    corpus = Corpus(corpus_path)
    plan: Plan = extractor_kind(kind).plan(config, corpus)
    name = config.name or plan.name
    check_name(name)
    folder = Path(config.out) if config.out else corpus_path / name
    identity = {"name": name, "extracts": kind, "config": config.model_dump(mode="json", exclude=OUTSIDE_IDENTITY),
                **plan.identity}
    tasks = [ExtractTask(kind, config, str(corpus_path), str(folder), shard.name) for shard in corpus.shards]
    with building(folder, KIND, identity) as artifact:
        if not artifact.finished:
            spec = _write(corpus, tasks, config, runner)
            artifact.commit(_card(folder, corpus, spec))
            return load_card(folder, KIND)
    card = load_card(folder, KIND)
    there = {line["name"]: line for line in card["shards"]}
    wanted = [task for task in tasks if not _is_there(corpus, task, there)]
    if not wanted and len(there) == len(tasks):
        log.info(f"{folder} is there already, made of the same corpus with the same configuration")
        return card
    log.info(f"{len(wanted)} of the {len(tasks)} shards of {folder} are missing, cut, or of utterances that have joined since")
    with amending(folder):
        _write(corpus, wanted, config, runner)
        new = _card(folder, corpus, card["spec"])
        changed = [line["name"] for line in new["shards"] if line["name"] in there and line != there[line["name"]]]
        if changed:
            raise CorpusError(f"{', '.join(changed)} of {folder} came out otherwise than before: the model has changed, "
                              "or a package", "extract into a new layer: name=…")
        amend(folder, KIND, new)
    return load_card(folder, KIND)


def _is_there(corpus: Corpus, task: ExtractTask, there: dict[str, Any]) -> bool:
    wanted = next(shard.utterances_sha256 for shard in corpus.shards if shard.name == task.shard)
    return task.shard in there and is_layer_shard_whole(Path(task.folder), task.shard, wanted)


def _write(corpus: Corpus, tasks: list[ExtractTask], config: ExtractConfig, runner: Runner | None) -> dict[str, Any]:
    """The shards that are not there yet; returns the layer's spec. Raises OutputError before the disk is full."""
    hashes = {shard.name: shard.utterances_sha256 for shard in corpus.shards}
    seconds_of = {shard.name: shard.seconds for shard in corpus.shards}
    open_tasks = [task for task in tasks if not is_layer_shard_whole(Path(task.folder), task.shard, hashes[task.shard])]
    if len(open_tasks) < len(tasks):
        log.info(f"{len(tasks) - len(open_tasks)} of {len(tasks)} shards are there already")
    some = (open_tasks or tasks)[0]
    on_gpu, default_workers = _device(config)
    workers = config.workers if config.workers is not None else default_workers
    workers = workers if len(open_tasks) > 1 else 0
    runner = runner or LocalRunner(workers)
    total_s = sum(seconds_of[task.shard] for task in open_tasks)
    spec = describe_task(some) if not workers else next(iter(LocalRunner(1).run(describe_task, [some])))[1]
    if open_tasks:
        reckoned = spec["forecast"]
        times = total_s / max(1e-9, spec["speech_s"])
        if reckoned is None:
            log.info(f"extracting from {format_duration(total_s)} of speech: none of the utterances tried gave anything")
        else:
            num_bytes, needed_s = int(reckoned[0] * times), reckoned[1] * times / max(1, min(workers, len(open_tasks)))
            per_hour = num_bytes / max(total_s, 1e-9) * 3600
            log.info(f"extracting from {format_duration(total_s)} of speech: about {format_size(num_bytes)} "
                     f"({format_size(int(per_hour))} an hour), about {format_duration(needed_s)} with {max(1, workers)} "
                     f"{'processes' if workers > 1 else 'process'}{' on a GPU' if on_gpu else ''}")
            check_room(Path(some.folder), num_bytes, "store less: dtype=float16, another layer, or units instead of features")
    done_s, started = 0.0, time.monotonic()
    with progress("extracting", total_s, "s of speech") as report:
        if not workers:  # one process: it can say how far it is within a shard
            for task in open_tasks:
                extract_shard(task, lambda within_s, done_s=done_s: report(done_s + within_s))
                done_s += seconds_of[task.shard]
        else:
            for number, facts in runner.run(extract_shard, open_tasks):
                done_s += seconds_of[open_tasks[number].shard]
                report(done_s, f"{open_tasks[number].shard}: {facts[OK]} utterances")
    if open_tasks:
        took_s = time.monotonic() - started
        files = [path for task in open_tasks for path in _files(Path(task.folder), task.shard)]
        num_bytes = sum(path.stat().st_size for path in files if path.is_file())
        log.info(f"measured: {format_size(num_bytes)} ({format_size(int(num_bytes / max(total_s, 1e-9) * 3600))} an hour), "
                 f"{format_duration(took_s)}, {total_s / max(took_s, 1e-9):,.0f} times as fast as it is spoken")
    return dict(spec["spec"])


def _device(config: ExtractConfig) -> tuple[bool, int]:
    """Whether a GPU is used, and how many workers that asks for, by default."""
    from utterloom.extract.extractors.device import num_gpus

    gpus = 0 if (config.device or "").startswith("cpu") else num_gpus()
    if gpus and config.device is None:
        return True, gpus
    return bool(gpus), 1 if gpus else usable_cores()


# --- in a worker ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _opened(kind: str, config_json: str, corpus_path: str) -> tuple[Extractor, Corpus, list[Layer]]:
    """A model is opened once in a worker, whatever shards it is given."""
    found = extractor_kind(kind)
    corpus = Corpus(corpus_path)
    extractor: Extractor = found.open(found.SCHEMA.model_validate_json(config_json), corpus)
    return extractor, corpus, [Layer.of(corpus, name) for name in extractor.layers]


def _open(task: ExtractTask) -> tuple[Extractor, Corpus, list[Layer]]:
    return _opened(task.kind, task.config.model_dump_json(), task.corpus)


def describe_task(task: ExtractTask) -> dict[str, Any]:
    """The layer's spec as the model has it, and what a few utterances of a shard take: (bytes, seconds) for `speech_s` of it."""
    extractor, corpus, layers = _open(task)
    table = corpus.table(task.shard)
    seconds = [table.num_samples[row] / corpus.sample_rate_hz for row in range(len(table))]

    def try_row(row: int) -> tuple[float, int] | None:
        item = _item(corpus, table, row, extractor, layers)
        if isinstance(item, LayerRow):
            return None
        found = _rows([item], extractor, Limit(math.inf))[0]
        return None if found.status != OK else (seconds[row], _bytes_of(found))

    try_row(len(table) // 2)  # the first is not like the others: kernels are compiled, caches filled
    reckoned = forecast(len(table), sum(seconds), try_row)
    return {"spec": extractor.spec.to_json(), "speech_s": sum(seconds),
            "forecast": None if reckoned is None else (reckoned.num_bytes, reckoned.seconds)}


def _bytes_of(row: LayerRow) -> int:
    """About what a row takes on disk: arrays exactly, numbers in columns as they are before they are squeezed."""
    num_values = sum(len(value) if isinstance(value, list | np.ndarray) else 2 for value in row.columns.values())
    return 2 * num_values + 16 + (0 if row.array is None else row.array.nbytes + 1024)


def extract_shard(task: ExtractTask, report: Callable[[float], None] | None = None) -> dict[str, Any]:
    """One shard of the layer. Runs in a worker; restarting it writes the same bytes."""
    extractor, corpus, layers = _open(task)
    table = corpus.table(task.shard)
    digest = next(shard.utterances_sha256 for shard in corpus.shards if shard.name == task.shard)
    ids = [table.id(row) for row in range(len(table))]
    rows = _all_rows(corpus, table, extractor, layers, task.config.batch or extractor.default_batch, report)
    return write_layer_shard(Path(task.folder), task.shard, extractor.spec, ids, rows, digest)


@dataclass
class Limit:
    """How much a batch may hold; less, once memory has run out."""

    size: float


def _all_rows(corpus: Corpus, table: ShardTable, extractor: Extractor, layers: Sequence[Layer], size: float,
              report: Callable[[float], None] | None) -> Iterator[tuple[int, LayerRow]]:
    """(row, LayerRow) of every utterance of a shard, in the order in which batches of like lengths give them."""
    limit, done_s = Limit(size), 0.0
    order = sorted(range(len(table)), key=lambda row: (-table.num_samples[row], row))
    waiting: list[tuple[int, Item]] = []

    def flush(keep: int) -> Iterator[tuple[int, LayerRow]]:
        nonlocal waiting, done_s
        waiting.sort(key=lambda pair: -extractor.size(pair[1]))
        while len(waiting) > keep:
            batch = _first_batch([item for _, item in waiting], extractor, limit.size)
            now, waiting = waiting[:batch], waiting[batch:]
            found = _rows([item for _, item in now], extractor, limit)
            for (row, item), value in zip(now, found, strict=True):
                done_s += item.duration_s
                yield row, value
            if report:
                report(done_s)

    held = 0.0
    for row in order:
        item = _item(corpus, table, row, extractor, layers)
        if isinstance(item, LayerRow):
            yield row, item
            continue
        waiting.append((row, item))
        held += extractor.size(item)
        if held >= READ_AT_ONCE * limit.size:
            yield from flush(0)
            held = 0.0
    yield from flush(0)


def _first_batch(items: Sequence[Item], extractor: Extractor, size: float) -> int:
    """How many of some items, longest first, fit into a batch when each is padded to the longest; at least one."""
    longest = extractor.size(items[0])
    return max(1, min(len(items), int(size // max(longest, 1e-9))))


def _item(corpus: Corpus, table: ShardTable, row: int, extractor: Extractor, layers: Sequence[Layer]) -> Item | LayerRow:
    """An utterance, decoded and resampled; or the row that says why it cannot be read."""
    samples = None
    if extractor.sample_rate_hz is not None:
        try:
            found_sc, rate_hz = decode(corpus.flac(table, row))
            samples = resample(to_mono(found_sc), rate_hz, extractor.sample_rate_hz)
        except (DamagedError, AudioError) as error:
            return LayerRow.failed(f"not readable: {error.message}")
    view = next(iter(corpus.views), None)
    return Item(table.id(row), int(table.num_samples[row]), corpus.sample_rate_hz, samples, table.text(row),
                table.text(row, view) if view else None, {layer.name: layer.table(table.name).row(row) for layer in layers})


def _rows(items: list[Item], extractor: Extractor, limit: Limit) -> list[LayerRow]:
    """One row for each item. Memory that runs out halves the batch, now and from now on; anything else that is raised is found out
    by halves until the one item that raises it is alone."""
    try:
        rows = extractor.extract(items)
    except Exception as error:
        if isinstance(error, OutputError):
            raise
        ran_out = is_out_of_memory(error)
        if ran_out:
            _give_back_memory()
        if len(items) == 1:
            return [LayerRow.failed("out of memory, even alone" if ran_out else _reason(error))]
        if ran_out:
            padded = max(extractor.size(item) for item in items) * len(items)
            limit.size = min(limit.size, padded / 2)
            log.warning(f"out of memory with {len(items)} utterances at once: batches are halved from here on, "
                        f"batch={limit.size:.0f}")
        half = len(items) // 2
        return _rows(items[:half], extractor, limit) + _rows(items[half:], extractor, limit)
    if len(rows) != len(items):
        raise AssertionError(f"{type(extractor).__name__} gave {len(rows)} rows for {len(items)} utterances")
    return rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is torch's, CUDA's or Python's way of saying so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(said in text for said in ("out of memory", "can't allocate memory",
                                                                          "not enough memory", "alloc_failed")))


def _give_back_memory() -> None:
    import gc

    from utterloom.extract.extractors.device import empty_cache

    gc.collect()
    empty_cache()


def _reason(error: BaseException) -> str:
    said = error.message if isinstance(error, UtterloomError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:300]


# --- the card ---------------------------------------------------------------------------------------------------------


def _card(folder: Path, corpus: Corpus, spec: dict[str, Any]) -> dict[str, Any]:
    """What is there, counted. Raises CorpusError where nothing came of it."""
    lines = shard_lines(folder, corpus)
    counts = {status: sum(line[status] for line in lines) for status in STATUSES}
    reasons = _reasons(folder, lines)
    if not counts[OK]:
        told = "; ".join(f"{row['utterances']} {row['reason']} (such as {row['example']})" for row in reasons[:MOST_REASONS])
        for line in lines:  # so that the same command starts again once the reason is gone
            for path in _files(folder, line["name"]):
                path.unlink(missing_ok=True)
        raise CorpusError(f"nothing could be extracted: {told}")
    num_bytes = sum(line["bytes"] + (line["tar_bytes"] or 0) for line in lines)
    hours = sum(shard.seconds for shard in corpus.shards) / 3600
    return {"spec": spec, "corpus": corpus.fingerprint, "utterances": sum(counts.values()), "hours": round(hours, 6),
            "bytes": num_bytes, "bytes_per_hour": round(num_bytes / hours) if hours else None,
            "frames": sum(line["frames"] for line in lines), "shards": lines,
            "ledger": {"in": sum(counts.values()), **counts, "reasons": reasons}}


def _files(folder: Path, shard: str) -> tuple[Path, Path]:
    return folder / layer_path(shard), folder / arrays_path(shard)


def _reasons(folder: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Why rows are not ok, or lack something, the most frequent first."""
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        table = pq.read_table(folder / layer_path(line["name"]), columns=["id", "status", "reason"])
        for utterance_id, status, reason in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if reason is not None:  # a row that is ok may have one too: what it lacks
                found.setdefault((status, reason.split(": ")[0]), []).append(f"{utterance_id}: {reason}")
    return [{"status": status, "reason": what, "utterances": len(members), "example": members[0]}
            for (status, what), members in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))]


def explain(card: dict[str, Any]) -> list[str]:
    """What a person wants to know of a layer, as lines."""
    spec, ledger = card["spec"], card["ledger"]
    grid, facts = spec["grid"], []
    if spec["dtype"]:
        facts.append(f"{spec['dtype']} [{'frames' if grid else 'tokens'}, {spec['dim']}]")
    if spec["codebook_size"]:
        facts.append(f"{spec['codebook_size']:,} units")
    if grid:
        facts.append(f"{grid['sample_rate_hz'] / grid['hop_samples']:g} Hz")
    per_hour = f", {format_size(card['bytes_per_hour'])} an hour" if card["bytes_per_hour"] else ""
    lines = [f"{spec['kind']} of {card['utterances']:,} utterances, {format_duration(card['hours'] * 3600)}"
             f"{': ' + ', '.join(facts) if facts else ''}; {format_size(card['bytes'])}{per_hour}",
             f"  ok {ledger['ok']:,}, empty {ledger['empty']:,}, failed {ledger['failed']:,}"]
    for key, value in spec["producer"].items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            lines.append(f"  {key}: {value}")
    return lines + [f"  {row['status']} {row['utterances']:,}: {row['reason']}, for example {row['example']}"
                    for row in ledger["reasons"]]
