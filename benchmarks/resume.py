"""How long until a resumed epoch goes on? At 90 % of an epoch of a million utterances, from durations to the next micro-batch.

    python benchmarks/resume.py                        the table
    python benchmarks/resume.py --json | --markdown    for machines; the block for README.md

utterloom plans the epoch again from (seed, epoch) and looks the step up; the state is three integers. Before that, once a
process, the durations of the split are read from its Parquet files: measured on its own, on a corpus with the real columns and
without audio. lhotse's DynamicBucketingSampler is measured beside it where lhotse is installed (extra: kaldi), with fewer
utterances, since its time grows with them, and utterloom with so many, both from their files on.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import copy
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import board
import numpy as np

from utterloom.batches.loader import SplitIndex
from utterloom.batches.plan import BatchPlan
from utterloom.core.artifact import building
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, sha256_of

RATE_HZ, SHARD_UTTERANCES = 16_000, 10_000
MICRO_BATCH_S, MICRO_BATCHES = 60, 2  # as a recipe has them that says nothing
RESUMED_AT = 0.9
PACKAGES = ["utterloom", "numpy", "pyarrow", "lhotse"]
QUOTED = "lhotse 2.0.0a7 resumes in 1.9 s (indexed) to 7.7 s at 100,000 cuts, in 4.7 s (indexed) to 41.5 s at 400,000."

OURS, THEIRS = "utterloom: Parquet to micro-batch", "lhotse DynamicBucketingSampler: JSONL to batch"

Times = dict[str, float]


def timed(action: Callable[[], Any]) -> Times:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    action()
    return {"wall_ms": 1e3 * (time.perf_counter() - wall_s), "cpu_ms": 1e3 * (time.process_time() - cpu_s)}


def durations_s(num_utterances: int, seed: int = 0) -> np.ndarray:
    """Read speech: 5 s in the median, half a second to thirty."""
    return np.clip(np.random.default_rng(seed).lognormal(1.6, 0.6, num_utterances), 0.5, 30.0)


# ------------------------------------------------------------------------------------------------------------- utterloom


def next_micro_batch(num_samples: np.ndarray, shard: np.ndarray, epoch: int) -> np.ndarray:
    """The utterances that a training killed at 90 % of the epoch reads next."""
    plan = BatchPlan(num_samples, shard, MICRO_BATCH_S * RATE_HZ, MICRO_BATCHES).epoch(epoch)
    return plan.step(int(RESUMED_AT * plan.num_steps))[0]


def plan_again(num_utterances: int, times: int) -> list[Times]:
    """Each time another epoch, so that nothing is remembered."""
    num_samples = (RATE_HZ * durations_s(num_utterances)).astype(np.int64)
    shard = np.arange(num_utterances) // SHARD_UTTERANCES
    return [timed(partial(next_micro_batch, num_samples, shard, epoch)) for epoch in range(times)]


def plan_in_fresh_process(num_utterances: int, times: int) -> list[Times]:
    """What a resumed training meets: first calls, cold memory."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return [pool.apply(plan_again, (num_utterances, 1))[0] for _ in range(times)]


def open_split(folder: Path) -> SplitIndex:
    return SplitIndex.open(Corpus(folder), "train")


def open_and_plan(folder: Path) -> np.ndarray:
    index = open_split(folder)
    return next_micro_batch(index.num_samples, index.shard, 0)


def write_corpus_without_audio(folder: Path, num_utterances: int) -> None:
    """Shards with the real columns; the tars are holes of the right size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    identity = {"config": {"sample_rate_hz": RATE_HZ}, "views": {"basic": "basic@1"}, "manifest": "none"}
    with building(folder, "corpus", identity) as artifact:
        for part in (layout.UTTERANCES, layout.AUDIO):
            (folder / part).mkdir()
        lines = []
        all_samples = (RATE_HZ * durations_s(num_utterances)).astype(np.int64)
        for number, num_samples in enumerate(np.split(all_samples, range(SHARD_UTTERANCES, num_utterances, SHARD_UTTERANCES))):
            name = layout.shard_name("train", number)
            table = _shard_table(pa, number, num_samples)
            path, tar = folder / layout.utterances_path(name), folder / layout.audio_path(name)
            pq.write_table(table, path, compression="zstd", row_group_size=2048)
            tar_bytes = int(table.column("audio_bytes").to_numpy().sum())
            with tar.open("wb") as file:
                file.truncate(tar_bytes)
            lines.append({"name": name, "utterances": len(num_samples), "seconds": float(num_samples.sum() / RATE_HZ),
                          "audio_bytes": tar_bytes, "audio_sha256": "", "utterances_sha256": sha256_of(path)})
        artifact.commit({"content": "", "utterances": num_utterances, "shards": lines})


def _shard_table(pa: Any, number: int, num_samples: np.ndarray) -> Any:
    n = len(num_samples)
    rng = np.random.default_rng(number)
    words = np.array(["mot", "hai", "ba", "bon", "nam", "sau", "bay", "tam", "chin", "muoi"])
    texts = [" ".join(row) for row in rng.choice(words, (n, 12))]
    audio_bytes = num_samples  # FLAC takes about a byte a sample
    span = {"path": f"recordings/{number:05d}.flac", "sample_rate_hz": RATE_HZ, "num_channels": 1}
    spans = [[{**span, "start_sample": row, "stop_sample": row + 1}] for row in range(n)]
    columns = {"id": [f"utterance-{number:05d}-{row:05d}" for row in range(n)], "text": texts, "text_basic": texts,
               "speaker": [f"speaker-{speaker:04d}" for speaker in rng.integers(0, 2000, n)], "session": [None] * n,
               "language": ["vi"] * n, "split": ["train"] * n, "attributes": [[]] * n, "duration_s": num_samples / RATE_HZ,
               "num_samples": num_samples, "sample_rate_hz": [RATE_HZ] * n,
               "audio_offset": np.concatenate([[0], np.cumsum(audio_bytes)[:-1]]), "audio_bytes": audio_bytes,
               "audio_crc32": rng.integers(0, 1 << 32, n), "spans": spans}
    return pa.table(columns, schema=layout.utterances_schema(["basic"]))


# ---------------------------------------------------------------------------------------------------------------- lhotse


def resume_lhotse(folder: Path, num_utterances: int, times: int) -> list[Times]:
    """A new sampler, its state restored, its next batch, which must be the one that the first sampler goes on with."""
    from lhotse import CutSet
    from lhotse.dataset import DynamicBucketingSampler

    path = folder / "cuts.jsonl"
    _write_cuts(path, durations_s(num_utterances))

    def sampler() -> Any:
        return DynamicBucketingSampler(CutSet.from_jsonl_lazy(path), max_duration=float(MICRO_BATCH_S), shuffle=True, seed=0,
                                       num_buckets=20, buffer_size=20_000, shuffle_buffer_size=20_000)

    walked = sampler()
    batches, seen = iter(walked), 0
    while seen < RESUMED_AT * num_utterances:
        seen += len(next(batches))
    state = copy.deepcopy(walked.state_dict())
    wanted = [cut.id for cut in next(batches)]

    def resume() -> None:
        resumed = sampler()
        resumed.load_state_dict(copy.deepcopy(state))
        assert [cut.id for cut in next(iter(resumed))] == wanted, "lhotse goes on with another batch"

    return [timed(resume) for _ in range(times)]


def _write_cuts(path: Path, durations: np.ndarray) -> None:
    with path.open("w") as file:
        for number, duration in enumerate(durations.round(2).tolist()):
            name = f"utterance-{number:07d}"
            source = {"type": "file", "channels": [0], "source": f"{name}.flac"}
            recording = {"id": name, "sources": [source], "sampling_rate": RATE_HZ, "num_samples": round(duration * RATE_HZ),
                         "duration": duration, "channel_ids": [0]}
            file.write(json.dumps({"id": name, "start": 0, "duration": duration, "channel": 0, "supervisions": [],
                                   "recording": recording, "type": "MonoCut"}) + "\n")


# ------------------------------------------------------------------------------------------------------------ the result


def row(label: str, utterances: int, times: list[Times]) -> dict[str, Any]:
    return {"label": label, "utterances": utterances, **{
        key: {"median": median(values), "min": min(values), "max": max(values)}
        for key in ("wall_ms", "cpu_ms") for values in [[entry[key] for entry in times]]}, "times": len(times)}


def measure(utterances: int, peer_utterances: int, times: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    rows, skipped = [], []
    board.note("planning")
    rows.append(row("utterloom: durations to micro-batch, fresh process", utterances, plan_in_fresh_process(utterances, times)))
    rows.append(row("utterloom: durations to micro-batch, again", utterances, plan_again(utterances, times)))
    with tempfile.TemporaryDirectory(prefix="utterloom-benchmark-") as name:
        folder = Path(name)
        board.note("opening")
        write_corpus_without_audio(folder / "corpus", utterances)
        opened = [timed(partial(open_split, folder / "corpus")) for _ in range(times)]
        rows.append(row("utterloom: Parquet to durations", utterances, opened))
        write_corpus_without_audio(folder / "small", peer_utterances)
        both = [timed(partial(open_and_plan, folder / "small")) for _ in range(times)]
        rows.append(row(OURS, peer_utterances, both))
        if find_spec("lhotse") is None:
            skipped.append({"id": "lhotse", "why": "not installed (extra: kaldi)"})
        else:
            board.note("lhotse")
            rows.append(row(THEIRS, peer_utterances, resume_lhotse(folder, peer_utterances, min(3, times))))
    return rows, skipped


def say(result: dict[str, Any], markdown: bool) -> str:
    header = ["resume at 90 % of an epoch", "utterances", "wall, ms", "CPU, ms", "best CPU, ms", "times"]
    table = [header, *([entry["label"], f"{entry['utterances']:,}", f"{entry['wall_ms']['median']:,.0f}",
                        f"{entry['cpu_ms']['median']:,.0f}", f"{entry['cpu_ms']['min']:,.0f}", str(entry["times"])]
                       for entry in result["rows"])]
    parts = [board.markdown_table(table) if markdown else board.plain_table(table)]
    if "ours_over_lhotse" in result:
        parts.append(f"From files to micro-batch at {result['settings']['peer_utterances']:,} utterances utterloom is "
                     f"{result['ours_over_lhotse']:,.0f} × as fast as lhotse, by the medians of CPU time.")
    parts += [f"Left out: {entry['id']}: {entry['why']}" for entry in result["skipped"]]
    parts.append(f"Quoted from an earlier measurement on two such cores, not from this run: {QUOTED}")
    parts.append(f"Micro-batches of {MICRO_BATCH_S} s, {MICRO_BATCHES} in a step, shards of {SHARD_UTTERANCES:,}; medians. "
                 f"{board.say_circumstances(result)}")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--peer-utterances", type=int, default=50_000, help="for lhotse, whose time grows with them")
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="the block for README.md")
    parser.add_argument("--save", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    result = {"benchmark": "resume", **board.circumstances(PACKAGES)}
    rows, skipped = measure(arguments.utterances, arguments.peer_utterances, arguments.times)
    result.update(settings={"times": arguments.times, "peer_utterances": arguments.peer_utterances}, rows=rows, skipped=skipped)
    cpu_ms = {entry["label"]: entry["cpu_ms"]["median"] for entry in rows}
    if THEIRS in cpu_ms:
        result["ours_over_lhotse"] = cpu_ms[THEIRS] / cpu_ms[OURS]
    board.deliver(result, arguments.json, say(result, arguments.markdown), arguments.save)


if __name__ == "__main__":
    main()
