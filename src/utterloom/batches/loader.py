"""Reads micro-batches of a plan from a packed corpus: by byte range, decoded in workers, delivered in order.

A micro-batch is a pure function of (corpus, epoch, utterance numbers), so a worker that dies is replaced and its
micro-batches are made again; nothing is lost or doubled. Memory is bounded by the prefetch, not by the corpus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utterloom.audio.decode import decode_flac_into
from utterloom.core.errors import AudioError, CorpusError, DamagedError
from utterloom.core.log import log
from utterloom.runners.workers import WorkerPool
from utterloom.shards import layout
from utterloom.shards.reader import VERIFY_HINT, Corpus, ShardInfo

PREFETCH_PER_WORKER = 3
# glibc gives the memory of each micro-batch back to the system and takes it again page by page, a third of the time of
# reading bytes, until it has freed one block of this size: from then on it keeps up to twice as much.
KEPT_BYTES = 16 << 20


@dataclass
class Item:
    """One utterance as it lies in the corpus: `flac` bytes already match their checksum."""

    id: str
    text: str | None
    num_samples: int
    flac: bytes

    def decode_into(self, row_samples: np.ndarray) -> None:
        """Decode into the first `num_samples` of a float32 row."""
        decoded = decode_flac_into(self.flac, row_samples[:self.num_samples])
        if decoded != self.num_samples:
            raise AudioError(f"{decoded} samples instead of {self.num_samples}")

    def samples(self) -> np.ndarray:
        """float32 [num_samples]."""
        row = np.empty(self.num_samples, dtype=np.float32)
        self.decode_into(row)
        return row


@dataclass
class MicroBatch:
    """`arrays` as the collate function made them, `ids` in their order, and what could not be read: (id, why)."""

    ids: list[str]
    arrays: dict[str, Any]
    damaged: list[tuple[str, str]] = field(default_factory=list)


# Turns items into arrays: `collate(items, epoch)`. Runs in workers, so it is picklable and draws only from (seed, epoch, id).
Collate = Callable[[list[Item], int], dict[str, Any]]


@dataclass(frozen=True)
class SplitIndex:
    """All readable utterances of a split by number: `num_samples`, `shard` (number) and `row` inside it, each [n].

    `quarantined` are the shards that are hurt, (name, what is left out and why)."""

    corpus: Corpus
    shard_names: list[str]
    num_samples: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    quarantined: list[tuple[str, str]]

    @classmethod
    def open(cls, corpus: Corpus, split: str, on_damage: str = "quarantine") -> SplitIndex:
        """Reads a few columns a shard. A shard whose files are missing or cut is quarantined, named, and left out, a cut tar
        from the cut on; with on_damage="error" it is a DamagedError. Raises CorpusError when nothing readable is left."""
        names, num_samples, rows, quarantined = [], [], [], []
        for info in corpus.shards_of(split):
            samples, readable, damage = _readable(corpus, info)
            wanted = corpus.rows_of(info.name, split)
            found = wanted[readable[wanted]] if len(readable) else wanted[:0]
            if damage is not None:
                if on_damage == "error":
                    raise DamagedError(damage, VERIFY_HINT)
                left_out = len(wanted) - len(found)
                quarantined.append((info.name, f"{damage}; {left_out} of {len(wanted)} utterances are left out"))
                log.warning(quarantined[-1][1])
            names.append(info.name)
            num_samples.append(samples[found])
            rows.append(found)
        if not sum(len(readable) for readable in rows):
            raise CorpusError(f"split {split!r} of {corpus.url} has no readable utterance", VERIFY_HINT)
        shard = np.repeat(np.arange(len(names)), [len(readable) for readable in rows])
        return cls(corpus, names, np.concatenate(num_samples), shard, np.concatenate(rows), quarantined)

    def __len__(self) -> int:
        return len(self.num_samples)

    def select(self, keep: np.ndarray) -> SplitIndex:
        """Only the utterances where `keep` [n] is true."""
        return SplitIndex(self.corpus, self.shard_names, self.num_samples[keep], self.shard[keep], self.row[keep], self.quarantined)

    def texts(self, view: str | None) -> Iterator[tuple[str, str | None]]:
        """(id, text) of every utterance, a shard at a time."""
        for number, name in enumerate(self.shard_names):
            table = self.corpus.table(name)
            texts = self.corpus.texts(name, view)
            for row in self.row[self.shard == number]:
                yield table.id(int(row)), texts[int(row)]


def _readable(corpus: Corpus, info: ShardInfo) -> tuple[np.ndarray, np.ndarray, str | None]:
    """(num_samples [rows], which rows can be read [rows], what is wrong with the shard)."""
    try:
        samples, = corpus.columns(info.name, ["num_samples"])
    except DamagedError as error:
        return np.zeros(0, np.int64), np.zeros(0, bool), error.message
    damage, tar = corpus.damage_of_audio(info.name), layout.audio_path(info.name)
    if damage is None:
        return samples, np.ones(len(samples), bool), None
    offsets, sizes = corpus.columns(info.name, ["audio_offset", "audio_bytes"])
    num_bytes = corpus.store.size_bytes(tar) if corpus.store.exists(tar) else 0
    return samples, offsets + sizes <= num_bytes, f"shard {info.name}: {damage}"


@dataclass(frozen=True)
class _Task:
    """What a worker is sent: shard names and rows instead of utterance numbers, so that it needs no index."""

    epoch: int
    rows: list[tuple[str, int]]


class Loader:
    """Delivers micro-batches in the order of the plan.

    `num_workers=0` reads here: right where every core already trains. `window_shards` shard tables stay cached a worker.
    """

    def __init__(
        self, index: SplitIndex, collate: Collate, view: str | None, num_workers: int = 0, window_shards: int = 64
    ) -> None:
        self.index = index
        self.num_workers = num_workers
        state = (index.corpus.url, collate, view, window_shards)
        self._reader = _Reader(*state, corpus=index.corpus) if num_workers == 0 else None
        self._pool = WorkerPool(num_workers, _start_worker, state)

    @property
    def num_worker_deaths(self) -> int:
        return self._pool.num_deaths

    def micro_batches(self, wanted: Iterable[tuple[int, Sequence[int] | np.ndarray]]) -> Iterator[MicroBatch]:
        """One MicroBatch for each (epoch, utterance numbers)."""
        tasks = (self._task(epoch, numbers) for epoch, numbers in wanted)
        if self._reader is not None:
            for task in tasks:
                yield self._reader.read(task)
            return
        under_way: deque[Future[MicroBatch]] = deque()
        for task in tasks:
            under_way.append(self._pool.submit(_read_in_worker, task))
            if len(under_way) >= PREFETCH_PER_WORKER * self.num_workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _task(self, epoch: int, numbers: Sequence[int] | np.ndarray) -> _Task:
        index, chosen = self.index, np.asarray(numbers, dtype=np.int64)
        names = [index.shard_names[shard] for shard in index.shard[chosen].tolist()]
        return _Task(epoch, list(zip(names, index.row[chosen].tolist(), strict=True)))


class _Reader:
    """What lives in a worker: an open corpus and a collate function."""

    def __init__(self, url: str, collate: Collate, view: str | None, window_shards: int, corpus: Corpus | None = None) -> None:
        self._corpus = corpus or Corpus(url)
        self._corpus.cached_shards = max(self._corpus.cached_shards, window_shards)
        self._collate, self._view = collate, view
        bytes(KEPT_BYTES)

    def read(self, task: _Task) -> MicroBatch:
        items: list[Item] = []
        damaged: list[tuple[str, str]] = []
        for shard, row in task.rows:
            table = None
            try:
                table = self._corpus.table(shard)
                flac = self._corpus.flac(table, row)
            except DamagedError as error:
                damaged.append((table.id(row) if table is not None else f"{shard}:{row}", error.message))
                continue
            items.append(Item(table.id(row), table.text(row, self._view), int(table.num_samples[row]), flac))
        try:
            arrays = self._collate(items, task.epoch)
        except AudioError:
            # Bytes that match their checksum and still do not decode: find which, leave them out.
            items = [item for item in items if not self._hurt(item, damaged)]
            arrays = self._collate(items, task.epoch)
        return MicroBatch([item.id for item in items], arrays, damaged)

    @staticmethod
    def _hurt(item: Item, damaged: list[tuple[str, str]]) -> bool:
        try:
            item.samples()
        except AudioError as error:
            damaged.append((item.id, error.message))
            return True
        return False


_reader: _Reader | None = None


def _start_worker(url: str, collate: Collate, view: str | None, window_shards: int) -> None:
    global _reader
    _reader = _Reader(url, collate, view, window_shards)


def _read_in_worker(task: _Task) -> MicroBatch:
    assert _reader is not None
    return _reader.read(task)
