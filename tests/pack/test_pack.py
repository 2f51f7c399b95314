"""`pack`: any way of cutting the work gives the same corpus, whole and without repetition."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Spoken
from tests.tones import RATE_HZ, hash_of_folder, make_spans, packed, prepared, speech, write_table
from utterloom.audio.decode import decode
from utterloom.core.artifact import BUILDING, write_json
from utterloom.core.errors import OutputError, SourceError
from utterloom.core.ledger import read_drops
from utterloom.pack.stage import PackConfig, ShardTask, pack, plan
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, verify

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["utterloom.pack.stage"])


def planned(folder: Path, rows: list[tuple[str, float]], shard_s: float | None) -> list[ShardTask]:
    """The plan for utterances of (split, seconds)."""
    columns = {"id": [str(number) for number in range(len(rows))], "split": [split for split, _ in rows],
               "duration_s": pa.array([seconds for _, seconds in rows], pa.float64())}
    pq.write_table(pa.table(columns), folder / layout.MANIFEST_FILE)
    return plan(folder, folder / "corpus", PackConfig(shard_s=shard_s), "basic")


# --------------------------------------------------------------------------------------------------- the plan


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(st.sampled_from(["train", "dev", "test"]), st.floats(0.1, 30)), min_size=1, max_size=60),
       shard_s=st.none() | st.floats(0.05, 200))
def test_shards_are_disjoint_complete_and_of_one_split(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]], shard_s: float | None
) -> None:
    """Truth 4; also for splits that are not together."""
    tasks = planned(tmp_path_factory.mktemp("plan"), rows, shard_s)
    assert [number for task in tasks for number in range(task.start, task.stop)] == list(range(len(rows)))
    assert len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        inside = rows[task.start:task.stop]
        assert {split for split, _ in inside} == {layout.split_of(task.name)}
        assert len(inside) == 1 or shard_s is None or sum(seconds for _, seconds in inside) <= shard_s + 1e-3
    for split in {split for split, _ in rows}:
        numbers = [task.name for task in tasks if layout.split_of(task.name) == split]
        assert numbers == [layout.shard_name(split, number) for number in range(len(numbers))]


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("num_utterances", "size", "shards"), [
    (1, 10, 1), (9, 10, 1), (10, 10, 1), (11, 10, 2), (20, 10, 2), (30, 10, 3), (3, 1, 3)])
def test_the_number_of_shards_is_exact(tmp_path: Path, num_utterances: int, size: int, shards: int, seconds: float) -> None:
    """B-P4: one too many whenever the corpus was a multiple of the shard size."""
    assert len(planned(tmp_path, [("train", seconds)] * num_utterances, size * seconds)) == shards


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no utterances"):
        planned(tmp_path, [], 10.0)


def test_a_manifest_that_repeats_an_id_is_refused(tmp_path: Path) -> None:
    """E-P10: a sampler that gave 1,040 segments 220,000 times."""
    table = pa.table({"id": ["a", "b", "a"], "split": ["train"] * 3, "duration_s": [1.0] * 3})
    pq.write_table(table, tmp_path / layout.MANIFEST_FILE)
    with pytest.raises(SourceError, match=r"'a' \(2 times\)"):
        plan(tmp_path, tmp_path / "corpus", PackConfig(), "basic")


def test_shards_are_of_five_minutes_to_an_hour_by_the_size_of_the_corpus(tmp_path: Path) -> None:
    assert len(planned(tmp_path, [("train", 10.0)] * 30, None)) == 1
    assert len(planned(tmp_path, [("train", 10.0)] * 3600, None)) == 16
    assert len(planned(tmp_path, [("train", 30.0)] * 12_000, None)) == 100


# --------------------------------------------------------------------------------------------------- the corpus


def test_any_number_of_workers_gives_the_same_bytes(spoken: Spoken, tmp_path: Path) -> None:
    for workers in (1, 2, 3):
        packed(spoken.manifest, tmp_path / str(workers), shard_s=5.0, workers=workers)
        assert hash_of_folder(tmp_path / str(workers)) == hash_of_folder(spoken.corpus)


@settings(max_examples=12)
@given(num_utterances=st.integers(1, 25), shard_s=st.floats(0.05, 3))
def test_any_number_of_utterances_and_shard_size_holds_everything_once(
    tmp_path_factory: pytest.TempPathFactory, num_utterances: int, shard_s: float
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    table = make_spans(folder, num_utterances, seconds=0.12, splits=("train", "dev", "test"))
    prepared(table, folder / "manifest")
    card = packed(folder / "manifest", folder / "corpus", shard_s=shard_s)
    corpus = Corpus(folder / "corpus")
    ids = [row_table.id(row) for row_table, row in corpus.rows()]
    assert sorted(ids) == [f"u{number:06d}" for number in range(num_utterances)]
    assert card["utterances"] == num_utterances == sum(shard["utterances"] for shard in card["shards"])
    assert sum(shard["seconds"] for shard in card["shards"]) == pytest.approx(num_utterances * 0.12)
    assert verify(corpus) == []


def test_what_is_packed_is_what_was_said(spoken: Spoken) -> None:
    """Bit for bit: 16-bit FLAC in, 16-bit FLAC out."""
    corpus = Corpus(spoken.corpus)
    for table, row in itertools.islice(corpus.rows(), 10):
        line = corpus.row(table, row)
        there, rate_hz = decode(corpus.flac(table, row))
        before, _ = decode(Path(line["spans"][0]["path"]))
        assert rate_hz == RATE_HZ and np.array_equal(there, before)
        assert line["num_samples"] == len(there) and line["duration_s"] == len(there) / RATE_HZ


def test_spans_are_cut_and_joined_at_the_sample(tmp_path: Path) -> None:
    steps = (np.arange(RATE_HZ) % 2000).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", steps, RATE_HZ)
    table = write_table(tmp_path / "t.tsv", [
        {"id": str(number), "path": "x.wav", "text": "x", "speaker": "s", "start": start, "end": end}
        for number, (start, end) in enumerate([("0.25", "0.5"), ("0.75", "0.875")])])
    prepared(table, tmp_path / "m", join={"min": 2, "max": 2})
    packed(tmp_path / "m", tmp_path / "c")
    corpus = Corpus(tmp_path / "c")
    ((row_table, row),) = corpus.rows()
    samples, _ = soundfile.read(io.BytesIO(corpus.flac(row_table, row)), dtype="int16")
    parts = [steps[span["start_sample"]:span["stop_sample"]] for span in corpus.row(row_table, row)["spans"]]
    assert np.array_equal(samples, np.concatenate(parts)) and len(samples) == RATE_HZ * 3 // 8


def test_conservation_reaches_from_the_source_to_the_corpus(tmp_path: Path) -> None:
    """Truth 1: prepare's drops travel with the corpus, in + dropped adds up at each stage, and so do the seconds."""
    good, bad = speech("một hai ba"), speech("bốn")
    bad[3] = np.inf
    soundfile.write(tmp_path / "good.wav", good, RATE_HZ)
    soundfile.write(tmp_path / "bad.wav", bad, RATE_HZ, subtype="FLOAT")
    rows = [{"id": f"u{number}", "path": ("good.wav", "bad.wav", "lost.wav")[number % 3], "text": "x"} for number in range(10)]
    prepared(write_table(tmp_path / "t.tsv", rows), tmp_path / "m")
    card = packed(tmp_path / "m", tmp_path / "c", shard_s=0.8)
    first, second = card["ledger"]
    counts = [(stage["in"], stage["ok"], stage["dropped"]) for stage in card["ledger"]]
    assert counts == [(10, 7, 3), (7, 4, 3)]
    assert first["seconds_ok"] == pytest.approx(second["seconds_ok"] + second["reasons"][0]["seconds"], abs=0.001)
    drops = {drop.id: drop.stage for drop in read_drops(tmp_path / "c")}
    assert drops == {"u2": "prepare", "u5": "prepare", "u8": "prepare", "u1": "pack", "u4": "pack", "u7": "pack"}
    ids = {table.id(row) for table, row in Corpus(tmp_path / "c").rows()}
    assert ids | drops.keys() == {f"u{number}" for number in range(10)} and not ids & drops.keys()
    assert set(card["dropped"]) == {f"dropped/{path.name}" for path in (tmp_path / "c/dropped").iterdir()}


def test_attributes_speakers_and_views_come_through(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", speech("một"), RATE_HZ)
    row = {"id": "giọng/1", "path": "x.wav", "text": "Một!", "speaker": "lan", "session": "2", "language": "vi", "accent": "bắc"}
    prepared(write_table(tmp_path / "t.tsv", [row]), tmp_path / "m")
    packed(tmp_path / "m", tmp_path / "c", sample_rate_hz=8000)
    corpus = Corpus(tmp_path / "c")
    table, number = corpus.find("giọng/1") or pytest.fail()
    line: dict[str, Any] = corpus.row(table, number)
    assert line["attributes"] == table.value(number, "attributes") == {"accent": "bắc"}
    assert (table.text(number), table.text(number, "basic")) == ("Một!", "một")
    assert (line["speaker"], line["session"], line["language"], line["sample_rate_hz"]) == ("lan", "2", "vi", 8000)
    assert corpus.find("giọng/2") is None


# --------------------------------------------------------------------------------------------------- two at once, and again


def test_a_second_pack_of_one_output_is_refused_and_the_first_unharmed(spoken: Spoken, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    first = FORKSERVER.Process(target=pack, args=(spoken.manifest, corpus, PackConfig(shard_s=5.0, workers=0)))
    first.start()
    while not (corpus / BUILDING).exists():
        time.sleep(0.002)
    os.kill(first.pid or 0, signal.SIGSTOP)  # so that it is surely not done
    with pytest.raises(OutputError, match=f"another process \\(pid {first.pid}\\) is writing"):
        packed(spoken.manifest, corpus, shard_s=5.0)
    with pytest.raises(OutputError, match="another process"):
        packed(spoken.manifest, corpus, shard_s=7.0)
    os.kill(first.pid or 0, signal.SIGCONT)
    first.join()
    assert first.exitcode == 0
    assert hash_of_folder(corpus) == hash_of_folder(spoken.corpus)


@pytest.mark.parametrize("hurt", ["audio/train-00001.tar", "utterances/train-00001.parquet", "dropped/pack-train-00001.parquet"])
def test_a_shard_that_was_hurt_before_the_commit_is_packed_again(spoken: Spoken, tmp_path: Path, hurt: str) -> None:
    corpus = Path(shutil.copytree(spoken.corpus, tmp_path / "corpus"))
    card = (corpus / layout.CARD).read_text()
    (corpus / layout.CARD).unlink()
    identity = {key: value for key, value in Corpus(spoken.corpus).card.items() if key in ("config", "manifest", "views")}
    write_json(corpus / BUILDING, {**identity, "kind": "corpus"})
    if hurt.startswith("dropped"):
        (corpus / hurt).unlink()
    else:
        os.truncate(corpus / hurt, (corpus / hurt).stat().st_size // 2)
    packed(spoken.manifest, corpus, shard_s=5.0)
    assert hash_of_folder(corpus) == hash_of_folder(spoken.corpus)
    assert (corpus / layout.CARD).read_text() == card
