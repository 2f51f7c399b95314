"""The loaders on the board, each in its fair best simple setting, and the floors under them.

A contender opens the material and gives epochs. An epoch yields (number of utterances, what was delivered): FLAC bytes as a
list, or decoded audio as padded float32 [b, n] and lengths [b]. All shuffle anew every epoch and make batches of the same size.
Peers are spared what the mode does not need: their transcripts stay unparsed JSON, nothing of theirs is checked.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from material import Material

BYTES, DECODED = "bytes", "decoded"
MODES = (BYTES, DECODED)

Delivered = tuple[int, Any]
Epoch = Callable[[int], Iterator[Delivered]]
Open = Callable[[Material, str, int], AbstractContextManager[Epoch]]


@dataclass(frozen=True)
class Contender:
    """`peer` joins the settings of one peer: the board takes the better one. Those with equal `imports` come from one process."""

    id: str
    label: str
    settings: str
    open: Open
    peer: str | None = None
    modes: tuple[str, ...] = MODES
    packages: tuple[str, ...] = ()
    imports: str = "utterloom.batches.collate"
    num_workers: int = 0


# ---------------------------------------------------------------------------------------------------------------- floors


@contextmanager
def walk_tars(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    """Python's tarfile, every member read, nothing else done."""

    def epoch(number: int) -> Iterator[Delivered]:
        for path in material.tars:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    content = tar.extractfile(member).read()
                    tar.members = []  # else it keeps them all
                    if member.name.endswith(".flac"):
                        yield 1, [content]

    yield epoch


@contextmanager
def run_tar(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    """The `tar` command, everything to nowhere."""

    def epoch(number: int) -> Iterator[Delivered]:
        for shard in material.shards:
            subprocess.run(["tar", "--extract", "--to-stdout", "--file", shard.tar], stdout=subprocess.DEVNULL, check=True)
            yield shard.utterances, None

    yield epoch


@contextmanager
def decode_from_memory(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    """soundfile on bytes that are in memory: no files, no order, no batches."""
    import soundfile

    from utterloom.shards.reader import Corpus

    corpus = Corpus(material.corpus)
    tables = [corpus.table(shard.name) for shard in material.shards]
    clips = [corpus.flac(table, row) for table in tables for row in range(len(table))]

    def epoch(number: int) -> Iterator[Delivered]:
        for clip in clips:
            samples, _ = soundfile.read(io.BytesIO(clip), dtype="float32")
            yield 1, (samples[None], [len(samples)])

    yield epoch


# ------------------------------------------------------------------------------------------------------------- utterloom


@dataclass(frozen=True)
class KeepBytes:
    """A collate function that leaves the FLAC as it is."""

    def __call__(self, items: list[Any], epoch: int) -> dict[str, Any]:
        return {"flac": [item.flac for item in items]}


def utterloom(num_workers: int) -> Open:
    @contextmanager
    def opened(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
        from utterloom.batches.collate import CollateSamples
        from utterloom.batches.loader import Loader, SplitIndex
        from utterloom.batches.plan import BatchPlan
        from utterloom.shards.reader import Corpus

        index = SplitIndex.open(Corpus(material.corpus), material.split)
        names = {shard.name for shard in material.shards}
        index = index.select(np.isin(index.shard, [number for number, name in enumerate(index.shard_names) if name in names]))
        # Batches of a fixed count, like everyone's here; the sum of lengths, which a training bounds, is left free.
        plan = BatchPlan(index.num_samples, index.shard, batch * int(index.num_samples.max()) * 2, max_utterances=batch)
        with Loader(index, KeepBytes() if mode == BYTES else CollateSamples(), None, num_workers) as loader:

            def epoch(number: int) -> Iterator[Delivered]:
                planned = plan.epoch(number)
                wanted = ((number, planned.micro_batch(place)) for place in range(planned.num_micro_batches))
                for micro_batch in loader.micro_batches(wanted):
                    arrays = micro_batch.arrays
                    yield len(micro_batch.ids), arrays["flac"] if mode == BYTES else (arrays["samples"], arrays["lengths"])

            yield epoch

    return opened


# ------------------------------------------------------------------------------------------------------------ webdataset


@contextmanager
def webdataset_plain(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    import webdataset

    samples = webdataset.WebDataset(material.tars, shardshuffle=100).shuffle(1000)
    yield _from_clips(lambda number: (sample["flac"] for sample in samples), mode, batch)


def webdataset_of_system_b(num_workers: int) -> Open:
    """The loader that system B's document prints (SYSTEMS.md B3, B4), repaired just enough to run."""

    @contextmanager
    def opened(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
        import torch
        import webdataset
        from torch.utils.data import DataLoader

        def process(sample: dict[str, Any]) -> tuple[Any, str, str]:
            # B-P6: `.decode()` has parsed the JSON already; the document parses it again, which is a TypeError. Left out.
            described = sample["json"]
            audio = sample["flac"]
            if mode == DECODED:
                # `.decode()` leaves audio as bytes (its torchaudio handler must be asked for, and reads through a temporary
                # file); soundfile decodes them here, to the tensor that the document's training loop expects.
                audio = torch.from_numpy(_decode(audio))
            return audio, described["text"], described["id"]

        def collate(rows: list[tuple[Any, str, str]]) -> tuple[Any, Any, list[str], list[str]]:
            # B-P7: the default collate stacks, so audio of different lengths crashes it. Padded instead, lengths kept.
            audios, texts, ids = zip(*rows, strict=True)
            padded = torch.nn.utils.rnn.pad_sequence(list(audios), batch_first=True)
            return padded, torch.tensor([len(audio) for audio in audios]), list(texts), list(ids)

        # B-P9: plain paths, since `file://data/…` is taken for the host `data`. The document does not shuffle shards.
        dataset = webdataset.WebDataset(material.tars, shardshuffle=False).shuffle(10_000).decode().map(process)
        # B-P8: fewer shards than workers ends in "No samples found", so no more workers than shards.
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores, as printed
        workers = min(num_workers, len(material.shards))
        loader = DataLoader(dataset, batch_size=batch, num_workers=workers, prefetch_factor=2 if workers else None,
                            collate_fn=collate if mode == DECODED else None)

        def epoch(number: int) -> Iterator[Delivered]:
            for audio, second, *_ in loader:
                if mode == BYTES:
                    yield len(audio), list(audio)
                else:
                    yield len(audio), (audio.numpy(), second.numpy())

        yield epoch

    return opened


# -------------------------------------------------------------------------------------------------------------- datasets


@contextmanager
def datasets_map_style(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    rows = _load(material, streaming=False)
    yield _from_rows(lambda number: rows.shuffle(seed=number), mode, batch)


@contextmanager
def datasets_streaming(material: Material, mode: str, batch: int) -> Iterator[Epoch]:
    rows = _load(material, streaming=True)
    yield _from_rows(lambda number: rows.shuffle(seed=number, buffer_size=1000), mode, batch)


def _load(material: Material, streaming: bool) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset("parquet", data_files=material.parquets, split="train", streaming=streaming,
                                 cache_dir=material.cache_folder)


def _from_rows(shuffled: Callable[[int], Any], mode: str, batch: int) -> Epoch:
    """Whole batches from Arrow: several times as fast as row by row."""

    def epoch(number: int) -> Iterator[Delivered]:
        for rows in shuffled(number).iter(batch_size=batch):
            clips = [audio["bytes"] for audio in rows["audio"]]
            yield len(clips), clips if mode == BYTES else _padded(clips)

    return epoch


# --------------------------------------------------------------------------------------------------- what peers lack


def _from_clips(clips_of: Callable[[int], Iterable[bytes]], mode: str, batch: int) -> Epoch:
    def epoch(number: int) -> Iterator[Delivered]:
        clips = iter(clips_of(number))
        while chunk := list(islice(clips, batch)):
            yield len(chunk), chunk if mode == BYTES else _padded(chunk)

    return epoch


def _decode(clip: bytes) -> np.ndarray:
    import soundfile

    return soundfile.read(io.BytesIO(clip), dtype="float32")[0]


def _padded(clips: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    rows = [_decode(clip) for clip in clips]
    lengths = np.array([len(row) for row in rows])
    padded = np.zeros((len(rows), int(lengths.max())), np.float32)
    for target, row in zip(padded, rows, strict=True):
        target[:len(row)] = row
    return padded, lengths


WEBDATASET, DATASETS = ("webdataset", "torch"), ("datasets",)
CONTENDERS = [
    Contender("utterloom", "utterloom", "byte ranges in the plan's order, checksums on; in the measured process", utterloom(0)),
    Contender("utterloom-2-workers", "utterloom, 2 workers", "the same in two reading processes", utterloom(2), num_workers=2),
    Contender("system-b", "system B's loader, 4 workers", "as its document prints it: shuffle buffer of 10,000, default decode, "
              "DataLoader with 4 workers and prefetch 2; repaired just enough to run",
              webdataset_of_system_b(4), "system B's loader", packages=WEBDATASET, imports="webdataset", num_workers=4),
    Contender("system-b-in-process", "system B's loader, in process", "the same with `num_workers=0`",
              webdataset_of_system_b(0), "system B's loader", packages=WEBDATASET, imports="webdataset"),
    Contender("webdataset", "webdataset", "shards shuffled, buffer of 1,000, no `decode()`, JSON left unparsed; soundfile and a "
              "padding loop for decoded batches", webdataset_plain, "webdataset", packages=WEBDATASET, imports="webdataset"),
    Contender("datasets", "datasets, map-style", "Arrow on disk, `shuffle(seed)`, `iter(batch_size)` (row by row takes four times "
              "as long); soundfile and a padding loop for decoded batches",
              datasets_map_style, "datasets", packages=DATASETS, imports="datasets"),
    Contender("datasets-streaming", "datasets, streaming", "Parquet, `shuffle(seed, buffer_size=1000)`, `iter(batch_size)`; the "
              "same decoding", datasets_streaming, "datasets", packages=DATASETS, imports="datasets"),
    Contender("floor-tarfile", "floor: Python's tarfile", "every member of every tar read, in order", walk_tars, modes=(BYTES,)),
    Contender("floor-tar", "floor: the tar command", "`tar --extract --to-stdout`, in order", run_tar, modes=(BYTES,)),
    Contender("floor-decode", "floor: bare decode", "`soundfile.read` of bytes that are in memory, in order, no batches",
              decode_from_memory, modes=(DECODED,)),
]
FLOORS = {BYTES: "floor-tarfile", DECODED: "floor-decode"}
OURS = "utterloom"


def proof(deliveries: Iterable[Delivered], mode: str) -> dict[str, int] | None:
    """What an epoch delivered, whatever its order: count, size and sum of checksums of bytes or of samples. None: unseen."""
    utterances = size = checksums = 0
    for count, delivered in deliveries:
        if delivered is None:
            return None
        contents = delivered if mode == BYTES else [row[:length].tobytes() for row, length in zip(*delivered, strict=True)]
        if mode == DECODED and any(row[length:].any() for row, length in zip(*delivered, strict=True)):
            raise AssertionError("padding is not zero")
        utterances += count
        size += sum(len(content) for content in contents)
        checksums += sum(zlib.crc32(content) for content in contents)
    return {"utterances": utterances, "bytes": size, "checksums": checksums}


def say_settings() -> str:
    return "\n".join(f"- {contender.label}: {contender.settings}." for contender in CONTENDERS)

