"""`extract`: one kind of knowledge about every utterance → a layer of the corpus, one task a shard.

One utterance in, one row out. Here are what no extractor needs to know: batches of like lengths, memory that runs out (the batch
is halved, and stays so), an item that breaks its batch (the batch is taken apart until it is alone), shards, and going on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utterloom.audio.decode import decode, to_mono
from utterloom.audio.resample import resample
from utterloom.core.artifact import amend, amending, building, load_card, remove_temporaries, sha256_of
from utterloom.core.errors import AudioError, CorpusError, DamagedError, MissingPackageError, OutputError, UtterloomError
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
    FAILED,
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
READ_AT_ONCE = 8  # batches of like lengths are made within so many of them, so that no shard of audio or arrays is held
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

    Raises CorpusError where not one utterance gave a row that is ok, or the layer there is of another corpus, OutputError where it
    cannot be written, and what the extractor's `plan` and `open` raise.
    """
    corpus = Corpus(corpus_path)
    plan: Plan = extractor_kind(kind).plan(config, corpus)
    name = config.name or plan.name
    check_name(name)
    folder = Path(config.out) if config.out else corpus_path / name
    identity = {"name": name, "extracts": kind, "config": config.model_dump(mode="json", exclude=OUTSIDE_IDENTITY),
                **plan.identity}
    tasks = [ExtractTask(kind, config, str(corpus_path), str(folder), shard.name) for shard in corpus.shards]
    try:
        with building(folder, KIND, identity) as artifact:
            if not artifact.finished:
                spec = _write(corpus, tasks, [task for task in tasks if not _is_there(corpus, task)], config, runner)
                artifact.commit(_card(folder, corpus, spec))
                return load_card(folder, KIND)
        return _amended(folder, corpus, tasks, config, runner)
    finally:
        _opened.cache_clear()  # the model's memory, and a corpus that may have grown when this process extracts again


def _amended(folder: Path, corpus: Corpus, tasks: list[ExtractTask], config: ExtractConfig,
             runner: Runner | None) -> dict[str, Any]:
    """A finished layer's card, after what is missing of it has been made."""
    card = load_card(folder, KIND)
    there = {line["name"]: line for line in card["shards"]}
    _check_corpus(folder, corpus, there)
    missing = [task for task in tasks if not _is_there(corpus, task, there.get(task.shard))]
    if not missing and len(there) == len(tasks):
        log.info(f"{folder} is there already, made of the same corpus with the same configuration")
        return card
    log.info(f"{len(missing)} of the {len(tasks)} shards of {folder} are missing, hurt, or of utterances that have joined since")
    with amending(folder):
        if missing:
            _write(corpus, tasks, missing, config, runner)
        new = _card(folder, corpus, card["spec"])
        changed = [line["name"] for line in new["shards"] if (before := there.get(line["name"]))
                   and line != before and not before[FAILED]]  # what failed then may be there now
        if changed:
            raise CorpusError(f"{', '.join(changed)} of {folder} came out otherwise than before: the model has changed, "
                              "or a package", "extract into a new layer: name=…")
        amend(folder, KIND, new)
    return load_card(folder, KIND)


def _check_corpus(folder: Path, corpus: Corpus, there: Mapping[str, Any]) -> None:
    """Raises CorpusError before anything of another corpus's layer is overwritten."""
    hashes = {shard.name: shard.utterances_sha256 for shard in corpus.shards}
    for shard, line in there.items():
        if hashes.get(shard) != line["utterances_sha256"]:
            raise CorpusError(f"layer {folder}, shard {shard}, was made for other utterances than {corpus.url} has",
                              "choose another name= or out=, or remove that folder first")


def _is_there(corpus: Corpus, task: ExtractTask, line: Mapping[str, Any] | None = None) -> bool:
    """Whether a shard of the layer is whole, and is what the card's `line` says, where there is one."""
    folder, wanted = Path(task.folder), next(shard.utterances_sha256 for shard in corpus.shards if shard.name == task.shard)
    return is_layer_shard_whole(folder, task.shard, wanted) and (
        line is None or sha256_of(folder / layer_path(task.shard)) == line["sha256"])


def _write(corpus: Corpus, tasks: list[ExtractTask], open_tasks: list[ExtractTask], config: ExtractConfig,
           runner: Runner | None) -> dict[str, Any]:
    """The shards that are not there yet; returns the layer's spec. Raises OutputError before the disk is full."""
    seconds_of = {shard.name: shard.seconds for shard in corpus.shards}
    if len(open_tasks) < len(tasks):
        log.info(f"{len(tasks) - len(open_tasks)} of {len(tasks)} shards are there already")
    on_gpu, default_workers = _device(config)
    workers = config.workers if config.workers is not None else default_workers
    workers = workers if len(open_tasks) > 1 else 0
    is_here = runner is None and not workers
    runner = runner or LocalRunner(workers)
    total_s = sum(seconds_of[task.shard] for task in open_tasks)
    some = next((task for task in open_tasks or tasks if seconds_of[task.shard]), tasks[0])
    spec = next(iter(runner.run(describe_task, [some])))[1]
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
    started = time.monotonic()
    try:
        _run(open_tasks, seconds_of, None if is_here else runner)
    finally:
        remove_temporaries(Path(some.folder))  # of workers that were killed
    if open_tasks:
        took_s = time.monotonic() - started
        files = [path for task in open_tasks for path in _files(Path(task.folder), task.shard)]
        num_bytes = sum(path.stat().st_size for path in files if path.is_file())
        log.info(f"measured: {format_size(num_bytes)} ({format_size(int(num_bytes / max(total_s, 1e-9) * 3600))} an hour), "
                 f"{format_duration(took_s)}, {total_s / max(took_s, 1e-9):,.0f} times as fast as it is spoken")
    return dict(spec["spec"])


def _run(tasks: list[ExtractTask], seconds_of: Mapping[str, float], runner: Runner | None) -> None:
    """Every shard, in this process where there is no runner: it can say how far it is within one."""
    done_s = 0.0
    with progress("extracting", sum(seconds_of[task.shard] for task in tasks), "s of speech") as report:
        if runner is None:
            for task in tasks:
                extract_shard(task, lambda within_s, done_s=done_s: report(done_s + within_s))
                done_s += seconds_of[task.shard]
            return
        for number, facts in runner.run(extract_shard, tasks):
            done_s += seconds_of[tasks[number].shard]
            report(done_s, f"{tasks[number].shard}: {facts[OK]} utterances")


def _device(config: ExtractConfig) -> tuple[bool, int]:
    """Whether a GPU is used, and how many workers that asks for, by default."""
    from utterloom.extract.extractors.device import num_gpus

    gpus = 0 if (config.device or "").startswith("cpu") else num_gpus()
    if gpus and config.device is None:
        return True, gpus
    return bool(gpus), 1 if gpus else usable_cores()


# --- in a worker ------------------------------------------------------------------------------------------------------


@dataclass
class _Opened:
    """An extractor and what it reads; `limit` is how much a batch may hold, less once memory has run out."""

    extractor: Extractor
    corpus: Corpus
    layers: Mapping[str, Layer]
    limit: float


@lru_cache(maxsize=1)
def _opened(kind: str, config_json: str, corpus_path: str) -> _Opened:
    """A model is opened once in a worker, whatever shards it is given."""
    found = extractor_kind(kind)
    corpus, config = Corpus(corpus_path), found.SCHEMA.model_validate_json(config_json)
    extractor: Extractor = found.open(config, corpus)
    return _Opened(extractor, corpus, {name: Layer.of(corpus, name) for name in extractor.layers},
                   config.batch or extractor.default_batch)


def _open(task: ExtractTask) -> _Opened:
    return _opened(task.kind, task.config.model_dump_json(), task.corpus)


def describe_task(task: ExtractTask) -> dict[str, Any]:
    """The layer's spec as the model has it, and what a few utterances of a shard take: (bytes, seconds) for `speech_s` of it."""
    opened = _open(task)
    table = opened.corpus.table(task.shard)
    seconds = [table.num_samples[row] / opened.corpus.sample_rate_hz for row in range(len(table))]

    def try_row(row: int) -> tuple[float, int] | None:
        item = _item(opened, table, row)
        if isinstance(item, LayerRow):
            return None
        found, = _rows([item], opened)
        return None if found.status != OK else (seconds[row], _bytes_of(found))

    reckoned = None
    if seconds:
        try_row(len(table) // 2)  # the first is not like the others: kernels are compiled, caches filled
        reckoned = forecast(len(table), sum(seconds), try_row)
    return {"spec": opened.extractor.spec.to_json(), "speech_s": sum(seconds),
            "forecast": None if reckoned is None else (reckoned.num_bytes, reckoned.seconds)}


def _bytes_of(row: LayerRow) -> int:
    """About what a row takes on disk: arrays exactly, numbers in columns as they are before they are squeezed."""
    num_values = sum(len(value) if isinstance(value, list | np.ndarray) else 2 for value in row.columns.values())
    return 2 * num_values + 16 + (0 if row.array is None else row.array.nbytes + 1024)


def extract_shard(task: ExtractTask, report: Callable[[float], None] | None = None) -> dict[str, Any]:
    """One shard of the layer. Runs in a worker; restarting it writes the same bytes."""
    opened = _open(task)
    table = opened.corpus.table(task.shard)
    digest = next(shard.utterances_sha256 for shard in opened.corpus.shards if shard.name == task.shard)
    ids = [table.id(row) for row in range(len(table))]
    rows = enumerate(_all_rows(opened, table, report or (lambda done_s: None)))
    return write_layer_shard(Path(task.folder), task.shard, opened.extractor.spec, ids, rows, digest)


def _all_rows(opened: _Opened, table: ShardTable, report: Callable[[float], None]) -> Iterator[LayerRow]:
    """That of every utterance of a shard in their order, so that no byte of the layer depends on how large a batch is."""
    done_s, held, some = 0.0, 0.0, list[Item | LayerRow]()
    for row in range(len(table)):
        item = _item(opened, table, row)
        some.append(item)
        held += 0.0 if isinstance(item, LayerRow) else opened.extractor.size(item)
        if held < READ_AT_ONCE * opened.limit and row + 1 < len(table):
            continue
        found = {number: item for number, item in enumerate(some) if isinstance(item, LayerRow)}
        items = {number: item for number, item in enumerate(some) if isinstance(item, Item)}
        for batch in _batches(items, opened):
            found.update(zip(batch, _rows([items[number] for number in batch], opened), strict=True))
            done_s += sum(items[number].duration_s for number in batch)
            report(done_s)
        for number in range(len(some)):
            yield found.pop(number)
        held, some = 0.0, []


def _batches(items: Mapping[int, Item], opened: _Opened) -> Iterator[list[int]]:
    """Numbers of items of like lengths, longest first: as many as fit when each is padded to the longest, at least one."""
    size = opened.extractor.size
    waiting = sorted(items, key=lambda number: -size(items[number]))
    while waiting:
        fitting = int(opened.limit // max(size(items[waiting[0]]), 1e-9))
        batch, waiting = waiting[:max(1, fitting)], waiting[max(1, fitting):]
        yield batch


def _item(opened: _Opened, table: ShardTable, row: int) -> Item | LayerRow:
    """An utterance, decoded and resampled; or the row that says why it cannot be read."""
    extractor, corpus, samples = opened.extractor, opened.corpus, None
    if extractor.sample_rate_hz is not None:
        try:
            found_sc, rate_hz = decode(corpus.flac(table, row))
            samples = resample(to_mono(found_sc), rate_hz, extractor.sample_rate_hz)
        except (DamagedError, AudioError) as error:
            return LayerRow.failed(f"not readable: {error.message}")
    view = next(iter(corpus.views), None)
    item = Item(table.id(row), int(table.num_samples[row]), corpus.sample_rate_hz, samples, table.text(row),
                table.text(row, view) if view else None,
                {name: layer.table(table.name).row(row) for name, layer in opened.layers.items()})
    try:
        extractor.size(item)
    except Exception as error:
        return LayerRow.failed(_reason(error))
    return item


def _rows(items: list[Item], opened: _Opened) -> list[LayerRow]:
    """One row for each item. Memory that runs out halves the batch, now and from now on; anything else that is raised is found out
    by halves until the one item that raises it is alone."""
    rows = _tried(items, opened.extractor)
    if not isinstance(rows, _Refused):
        if len(rows) != len(items):
            raise UtterloomError(f"{type(opened.extractor).__name__} gave {len(rows)} rows for {len(items)} utterances",
                                 "this is a mistake in that extractor: each utterance is one row, in their order")
        return rows
    if rows.out_of_memory:
        _give_back_memory()
    if len(items) == 1:
        return [LayerRow.failed(rows.reason)]
    if rows.out_of_memory:
        padded = max(opened.extractor.size(item) for item in items) * len(items)
        opened.limit = min(opened.limit, padded / 2)
        log.warning(f"out of memory with {len(items)} utterances at once: batches are halved from here on, "
                    f"batch={opened.limit:.0f}")
    half = len(items) // 2
    return _rows(items[:half], opened) + _rows(items[half:], opened)


class _Refused(NamedTuple):
    reason: str
    out_of_memory: bool


def _tried(items: list[Item], extractor: Extractor) -> list[LayerRow] | _Refused:
    """An exception holds on to all that the batch had in memory: it is let go of here, before a smaller batch is tried."""
    try:
        return extractor.extract(items)
    except (OutputError, MissingPackageError):
        raise
    except Exception as error:
        ran_out = is_out_of_memory(error)
        return _Refused("out of memory, even alone" if ran_out else _reason(error), ran_out)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is torch's, CUDA's or Python's way of saying so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(said in text for said in ("out of memory", "can't allocate memory",
                                                                          "not enough memory", "alloc_failed")))


def _give_back_memory() -> None:
    import gc
    import sys

    gc.collect()
    if "torch" in sys.modules:
        from utterloom.extract.extractors.device import empty_cache

        empty_cache()


def _reason(error: BaseException) -> str:
    said = error.message if isinstance(error, UtterloomError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:300]


# --- the card ---------------------------------------------------------------------------------------------------------


def _card(folder: Path, corpus: Corpus, spec: dict[str, Any]) -> dict[str, Any]:
    """What is there, counted. Raises CorpusError where nothing came of it."""
    lines = shard_lines(folder, corpus)
    counts = {status: sum(line[status] for line in lines) for status in STATUSES}
    reasons, not_ok_s = _reasons(folder, corpus, lines)
    if not counts[OK]:
        told = "; ".join(f"{row['utterances']} {row['reason']} (such as {row['example']})" for row in reasons[:MOST_REASONS])
        for line in lines:  # so that the same command starts again once the reason is gone
            for path in _files(folder, line["name"]):
                path.unlink(missing_ok=True)
        raise CorpusError(f"nothing could be extracted: {told}")
    num_bytes = sum(line["bytes"] + (line["tar_bytes"] or 0) for line in lines)
    seconds = sum(shard.seconds for shard in corpus.shards)
    hours = seconds / 3600
    return {"spec": spec, "corpus": corpus.fingerprint, "utterances": sum(counts.values()), "hours": round(hours, 6),
            "bytes": num_bytes, "bytes_per_hour": round(num_bytes / hours) if hours else None,
            "frames": sum(line["frames"] for line in lines), "shards": lines,
            "ledger": {"in": sum(counts.values()), **counts, "seconds_in": round(seconds, 3),
                       "seconds_ok": round(seconds - not_ok_s, 3), "reasons": reasons}}


def _files(folder: Path, shard: str) -> tuple[Path, Path]:
    return folder / layer_path(shard), folder / arrays_path(shard)


def _reasons(folder: Path, corpus: Corpus, lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], float]:
    """Why rows are not ok, or lack something, the most frequent first; and how many seconds of speech are not ok."""
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], list[str]] = {}
    not_ok_s = 0.0
    for line in lines:
        table = pq.read_table(folder / layer_path(line["name"]), columns=["id", "status", "reason"])
        ids, statuses, reasons = (column.to_pylist() for column in table.columns)
        for utterance_id, status, reason in zip(ids, statuses, reasons, strict=True):
            if reason is not None:  # a row that is ok may have one too: what it lacks
                found.setdefault((status, reason.split(": ")[0]), []).append(f"{utterance_id}: {reason}")
        if any(status != OK for status in statuses):
            is_ok = np.array([status == OK for status in statuses])
            not_ok_s += float(corpus.column(line["name"], "duration_s")[~is_ok].sum())
    return [{"status": status, "reason": what, "utterances": len(members), "example": members[0]}
            for (status, what), members in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))], not_ok_s


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
