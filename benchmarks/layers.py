"""Layers on disk: random access, writing, size; beside `Array2D` of Hugging Face datasets.

    python benchmarks/layers.py                    WavLM-large's shape, [250 frames, 1024] in float16; words, states and units
    python benchmarks/layers.py --utterances 500   another number of them
    python benchmarks/layers.py --json             for machines

Ours is written by the one function that `extract` writes with (flushed to the disk, hashed) and read through `Layer`, every
checksum compared, the rows of the shard open. Theirs is written through `map` with arrays, through `map` with lists (system A's
way), through `from_generator` and by the bare `ArrowWriter`; it is read by index from the memory-mapped file, as numpy and as it
comes. In a round all take turns in one process; what is claimed are ratios inside a round, of wall time and of CPU-seconds.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import argparse
import gc
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from board import circumstances, deliver, markdown_table, note, plain_table, ratio, say_circumstances

from utterloom.core.artifact import building, sha256_of
from utterloom.core.timing import FrameGrid
from utterloom.shards.layers import KIND, Layer, LayerRow, LayerSpec, arrays_path, layer_facts, layer_path, write_layer_shard

PACKAGES = ["utterloom", "numpy", "pyarrow", "isal", "datasets"]
SHARD = "train-00000"
FRAMES, DIM, HERTZ = 250, 1024, 50  # five seconds of WavLM-large
RATE_HZ = 16_000
GRID = FrameGrid(RATE_HZ, RATE_HZ // HERTZ)
WORDS_A_S, CHARS_A_WORD, CODEBOOK = 2.5, 5, 500
SPECS = {"features": LayerSpec("features", {}, GRID, "float16", DIM), "words": LayerSpec("words"),
         "states": LayerSpec("states", {}, None, "float16", DIM), "units": LayerSpec("units", {}, GRID, codebook_size=CODEBOOK)}


# --- material ---------------------------------------------------------------------------------------------------------


def feature_arrays(num: int) -> list[np.ndarray]:
    """float16 [250, 1024], every one different."""
    draws = np.random.default_rng(0)
    return [draws.standard_normal((FRAMES, DIM), np.float32).astype(np.float16) for _ in range(num)]


def rows_of(kind: str, arrays: list[np.ndarray]) -> Iterator[tuple[int, LayerRow]]:
    """Each of five seconds: 250 frames, 12 words of 5 letters, 20 tokens, runs of units of two frames and a half on average."""
    draws = np.random.default_rng(1)
    for number, array in enumerate(arrays):
        if kind == "features":
            row = LayerRow("ok", None, FRAMES, array=array)
        elif kind == "states":
            times = [int(time) for time in np.linspace(0, 5 * RATE_HZ, 21)]
            columns: dict[str, Any] = {
                "token_ids": [int(token) for token in draws.integers(0, 150_000, 20)], "first_char": list(range(0, 80, 4)),
                "stop_char": list(range(4, 84, 4)), "start_sample": times[:-1], "stop_sample": times[1:]}
            row = LayerRow("ok", None, 20, columns, array[:20])
        elif kind == "words":
            row = LayerRow("ok", None, None, {"text": "words " * 12, "score": 0.9, "flag": None,
                                              "words": [_word(place, draws) for place in range(round(5 * WORDS_A_S))]})
        else:
            runs = draws.geometric(0.4, FRAMES)
            runs = runs[:int(np.searchsorted(np.cumsum(runs), FRAMES))]
            row = LayerRow("ok", None, int(runs.sum()), {"units": draws.integers(0, CODEBOOK, len(runs)).astype(np.uint16),
                                                         "runs": runs.astype(np.uint16)})
        yield number, row


def _word(place: int, draws: np.random.Generator) -> dict[str, Any]:
    start, step = int(place * RATE_HZ / WORDS_A_S), 1_000
    return {"word": "words", "start_sample": start, "stop_sample": start + CHARS_A_WORD * step, "score": float(draws.random()),
            "kind": "aligned", "first_char": 6 * place, "stop_char": 6 * place + CHARS_A_WORD,
            "chars": [{"char": "words"[number], "start_sample": start + number * step, "stop_sample": start + (number + 1) * step}
                      for number in range(CHARS_A_WORD)]}


# --- writing and opening ----------------------------------------------------------------------------------------------


def write(folder: Path, kind: str, arrays: list[np.ndarray]) -> None:
    """A shard of a layer, as `extract` writes it: flushed to the disk, with its hashes."""
    names = [f"speaker-{number:06d}" for number in range(len(arrays))]
    write_layer_shard(folder, SHARD, SPECS[kind], names, rows_of(kind, arrays), "0" * 64)


def open_layer(folder: Path, kind: str, arrays: list[np.ndarray]) -> Layer:
    """A layer of one shard, its rows in memory."""
    with building(folder, KIND, {"name": kind}) as artifact:
        write(folder, kind, arrays)
        path = folder / layer_path(SHARD)
        artifact.commit({"spec": SPECS[kind].to_json(), "utterances": len(arrays), "shards": [
            {"name": SHARD, "sha256": sha256_of(path), "bytes": path.stat().st_size, **layer_facts(path)}]})
    layer = Layer(folder)
    layer.table(SHARD)
    return layer


def size_bytes(folder: Path) -> int:
    """Of a layer's only shard."""
    return sum(path.stat().st_size for path in (folder / layer_path(SHARD), folder / arrays_path(SHARD)) if path.is_file())


def readers(layers: dict[str, Layer]) -> dict[str, Callable[[int], Any]]:
    """One utterance of each kind of layer, as who trains on it asks."""
    def units(row: int) -> Any:
        table = layers["units"].table(SHARD)
        return table.numbers(row, "units"), table.numbers(row, "runs")

    def states(row: int) -> Any:
        table = layers["states"].table(SHARD)
        return layers["states"].array(SHARD, row), table.numbers(row, "token_ids"), table.value(row, "start_sample")

    return {"features, [250, 1024] float16": lambda row: layers["features"].array(SHARD, row),
            "states of 20 tokens, with ids and times": states,
            "units and runs of 250 frames": units,
            "12 words with their characters": lambda row: layers["words"].table(SHARD).value(row, "words"),
            "every column of a row of words": lambda row: layers["words"].table(SHARD).row(row)}


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def array2d_features() -> Any:
    from datasets import Array2D, Features, Value

    return Features({"id": Value("string"), "array": Array2D((None, DIM), "float16")})


def write_by_map(folder: Path, arrays: list[np.ndarray], as_lists: bool = False) -> None:
    """`Dataset.map`, an utterance at a time; its writer gets numpy arrays, or lists of lists of numbers."""
    from datasets import Dataset

    def extracted(row: dict[str, Any], number: int) -> dict[str, Any]:
        return {"array": arrays[number].tolist() if as_lists else arrays[number]}

    ids = Dataset.from_dict({"id": [f"speaker-{number:06d}" for number in range(len(arrays))]})
    ids.map(extracted, with_indices=True, features=array2d_features(), cache_file_name=str(folder / "data.arrow"),
            new_fingerprint=folder.name)


def write_by_lists(folder: Path, arrays: list[np.ndarray]) -> None:
    write_by_map(folder, arrays, as_lists=True)


def write_by_generator(folder: Path, arrays: list[np.ndarray]) -> None:
    """`Dataset.from_generator`, as its documentation has it."""
    from datasets import Dataset

    def examples(key: str) -> Iterator[dict[str, Any]]:
        for number, array in enumerate(arrays):
            yield {"id": f"speaker-{number:06d}", "array": array}

    Dataset.from_generator(examples, features=array2d_features(), gen_kwargs={"key": str(folder)}, cache_dir=str(folder),
                           fingerprint=folder.name)


def write_by_writer(folder: Path, arrays: list[np.ndarray]) -> None:
    """The `ArrowWriter` that is inside of the others."""
    from datasets.arrow_writer import ArrowWriter

    with ArrowWriter(features=array2d_features(), path=str(folder / "data.arrow"), writer_batch_size=100) as writer:
        for number, array in enumerate(arrays):
            writer.write({"id": f"speaker-{number:06d}", "array": array})
        writer.finalize()


def write_features(folder: Path, arrays: list[np.ndarray]) -> None:
    write(folder, "features", arrays)


OURS = "utterloom"
LISTS = "datasets, map with lists"
WRITERS: dict[str, Callable[[Path, list[np.ndarray]], None]] = {
    OURS: write_features, "datasets, map with arrays": write_by_map, "datasets, from_generator": write_by_generator,
    "datasets, ArrowWriter": write_by_writer, LISTS: write_by_lists}


def open_array2d(folder: Path, arrays: list[np.ndarray]) -> Any:
    from datasets import Dataset

    folder.mkdir()
    write_by_writer(folder, arrays)
    return Dataset.from_file(str(folder / "data.arrow"))


# --- rounds -----------------------------------------------------------------------------------------------------------


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    gc.collect()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def in_turns(works: dict[str, tuple[int, Callable[[], Any]]], rounds: int, what: str) -> list[dict[str, Any]]:
    """{name: (how many utterances it does, work)}: milliseconds an utterance, and how many times as long as ours takes."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    order = list(works)
    for number in range(rounds):
        note(f"{what}, round {number + 1} of {rounds}")
        for name in order[number % len(order):] + order[:number % len(order)]:
            times, work = works[name]
            found[name].append(tuple(seconds / times for seconds in timed(work)))  # type: ignore[arg-type]
    walls = {name: [wall_s for wall_s, _ in entries] for name, entries in found.items()}
    cpus = {name: [cpu_s for _, cpu_s in entries] for name, entries in found.items()}
    return [{"name": name, "wall_ms": 1e3 * median(walls[name]), "cpu_ms": 1e3 * median(cpus[name]),
             "times_ours": ratio(walls[name], walls[OURS]), "times_ours_cpu": ratio(cpus[name], cpus[OURS])} for name in works]


def write_in_turns(place: Path, arrays: list[np.ndarray], rounds: int) -> list[dict[str, Any]]:
    def writer(name: str) -> tuple[int, Callable[[], Any]]:
        some = arrays[:max(1, len(arrays) // 10)] if name == LISTS else arrays  # it takes so long

        def write_anew() -> None:
            folder = Path(tempfile.mkdtemp(dir=place))
            WRITERS[name](folder, some)
            written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if written < sum(array.nbytes for array in some):
                raise SystemExit(f"{name} wrote {written} bytes only")
            shutil.rmtree(folder)

        return len(some), write_anew

    return in_turns({name: writer(name) for name in WRITERS}, rounds, "writing")


def read_in_turns(layer: Layer, dataset: Any, num: int, rounds: int) -> list[dict[str, Any]]:
    """Each array is looked at and let go of, as who fills a batch does."""
    as_numpy = dataset.with_format("numpy", dtype=np.float16)

    def each(read: Callable[[int], Any], times: int) -> tuple[int, Callable[[], Any]]:
        order = random.Random(1).choices(range(num), k=times)

        def all_of_them() -> None:
            for row in order:
                read(row)

        return times, all_of_them

    return in_turns({OURS: each(lambda row: layer.array(SHARD, row), 200),
                     "datasets, numpy format of float16": each(lambda row: as_numpy[row]["array"], 50),
                     "datasets, as it comes": each(lambda row: dataset[row]["array"], 10)}, rounds, "reading")


def milliseconds(read: Callable[[int], Any], num: int, times: int) -> dict[str, float]:
    """One utterance at a time, at random."""
    order = random.Random(0).choices(range(num), k=times)
    took = []
    for row in order:
        started = time.perf_counter()
        read(row)
        took.append(1e3 * (time.perf_counter() - started))
    return {"median": float(np.percentile(took, 50)), "p95": float(np.percentile(took, 95)), "max": max(took)}


def dtypes_of(dataset: Any) -> dict[str, str]:
    """What comes back of float16."""
    return {"datasets, as it comes": type(dataset[0]["array"][0][0]).__name__,
            "datasets, numpy format": str(dataset.with_format("numpy")[0]["array"].dtype),
            "datasets, numpy format of float16": str(dataset.with_format("numpy", dtype=np.float16)[0]["array"].dtype)}


def measure(place: Path, num: int, rounds: int, times: int) -> dict[str, Any]:
    arrays = feature_arrays(num)
    layers = {kind: open_layer(place / kind, kind, arrays) for kind in SPECS}
    access = {name: milliseconds(read, num, times) for name, read in readers(layers).items()}
    hours = num * FRAMES / HERTZ / 3600
    sizes = {kind: size_bytes(place / kind) / hours / 1e6 for kind in ("features", "units", "words")}
    result: dict[str, Any] = {"access_ms": access, "mb_an_hour": sizes, "utterances": num, "hours": hours, "rounds": rounds}
    if find_spec("datasets") is None:
        return {**result, "skipped": "datasets is not installed (extra: bench)"}
    import datasets

    datasets.disable_progress_bars()
    dataset = open_array2d(place / "array2d", arrays)
    ours, theirs = layers["features"].array(SHARD, 0), dataset.with_format("numpy", dtype=np.float16)[0]["array"]
    if ours is None or not np.array_equal(ours, arrays[0]) or not np.array_equal(theirs, arrays[0]):
        raise SystemExit("what is read is not what was written")
    return {**result, "dtypes": {OURS: str(ours.dtype), **dtypes_of(dataset)},
            "reading": read_in_turns(layers["features"], dataset, num, rounds), "writing": write_in_turns(place, arrays, rounds)}


# --- the result -------------------------------------------------------------------------------------------------------


def say(result: dict[str, Any], markdown: bool) -> str:
    table = markdown_table if markdown else plain_table
    access = [["one utterance at random, ms", "median", "95th percentile", "worst"],
              *([name, *(f"{took[key]:.3f}" for key in ("median", "p95", "max"))] for name, took in result["access_ms"].items())]
    parts = [table(access), "MB an hour: " + ", ".join(f"{kind} {size:,.2f}" for kind, size in result["mb_an_hour"].items())]
    for what in ("reading", "writing"):
        if what in result:
            parts.append(table([[f"{what} [{FRAMES}, {DIM}] float16, ms", "wall", "CPU", "times ours, wall", "worst round",
                                 "times ours, CPU"], *(_cells(row) for row in result[what])]))
    if "dtypes" in result:
        parts.append("float16 comes back as: " + ", ".join(f"{dtype} ({name})" for name, dtype in result["dtypes"].items()))
    parts.append(result.get("skipped") or f"{result['utterances']} utterances; median of {result['rounds']} rounds. "
                 + say_circumstances(result))
    return "\n\n".join(parts)


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["name"], f"{row['wall_ms']:.2f}", f"{row['cpu_ms']:.2f}", f"{row['times_ours']['median']:.1f}",
            f"{row['times_ours']['min']:.1f}", f"{row['times_ours_cpu']['median']:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=200, help="of five seconds each")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=1000, help="reads of each kind of layer, one by one")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="the block for README.md")
    parser.add_argument("--save", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="utterloom-benchmark-") as folder:
        result = {"benchmark": "layers", **circumstances(PACKAGES),
                  **measure(Path(folder), arguments.utterances, arguments.rounds, arguments.times)}
    deliver(result, arguments.json, say(result, arguments.markdown), arguments.save)


if __name__ == "__main__":
    main()
