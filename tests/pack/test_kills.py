"""Kill -9 at random moments, in the middle of writing too: packing again gives the corpus that an undisturbed pack gives."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Spoken
from tests.tones import WORDS, hash_of_folder, packed, prepared, speech, write_table
from utterloom.core.artifact import TEMPORARY
from utterloom.core.errors import SourceError
from utterloom.core.ledger import read_drops
from utterloom.pack.stage import PackConfig, pack
from utterloom.shards.reader import Corpus, verify

SHARD_S = 4.0
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["utterloom.pack.stage"])


def start(manifest: Path, corpus: Path) -> ForkServerProcess:
    process = FORKSERVER.Process(target=pack, args=(manifest, corpus, PackConfig(shard_s=SHARD_S, workers=0)))
    process.start()
    while not corpus.exists() and process.is_alive():
        time.sleep(0.001)
    return process


def is_writing(corpus: Path) -> bool:
    return any(path.stat().st_size for path in corpus.glob(f"*/{TEMPORARY}*"))


def kill(process: ForkServerProcess, corpus: Path, delay_s: float, while_writing: bool) -> bool:
    """Kill it after a while, or in the middle of the next file after that; False when it had ended before."""
    time.sleep(delay_s)
    while while_writing and process.is_alive():
        try:
            if is_writing(corpus):
                break
        except FileNotFoundError:  # it was renamed while we looked
            continue
    was_alive = process.is_alive()
    os.kill(process.pid or 0, signal.SIGKILL) if was_alive else None
    process.join()
    return was_alive and process.exitcode == -signal.SIGKILL


def kill_at_random_moments(manifest: Path, folder: Path, num_kills: int, seed: int) -> int:
    """Returns how many of the killed packs left a file half-written."""
    rng = random.Random(seed)
    packed(manifest, folder / "straight", shard_s=SHARD_S)
    wanted = hash_of_folder(folder / "straight")
    started = time.perf_counter()
    start(manifest, folder / "timed").join()
    took_s = time.perf_counter() - started
    killed = half_written = 0
    while killed < num_kills:
        corpus = folder / f"killed-{killed}"
        if not kill(start(manifest, corpus), corpus, rng.uniform(0, took_s * 0.8), while_writing=killed % 2 == 1):
            subprocess.run(["rm", "-r", str(corpus)], check=True)
            continue
        killed += 1
        half_written += bool(list(corpus.rglob(f"{TEMPORARY}*")))
        if not (corpus / "corpus.json").exists():
            with pytest.raises(SourceError, match=r"is not finished|has no corpus\.json"):
                Corpus(corpus)
        if killed % 3 == 0:  # killed again on its way
            kill(start(manifest, corpus), corpus, rng.uniform(0, took_s * 0.5), while_writing=True)
        packed(manifest, corpus, shard_s=SHARD_S)
        assert hash_of_folder(corpus) == wanted
    assert verify(Corpus(corpus)) == []
    return half_written


def test_a_pack_that_is_killed_and_run_again_gives_the_same_bytes(spoken: Spoken, tmp_path: Path) -> None:
    assert kill_at_random_moments(spoken.manifest, tmp_path, 6, seed=0) >= 1


@pytest.mark.slow
def test_thirty_random_moments(spoken: Spoken, tmp_path: Path) -> None:
    assert kill_at_random_moments(spoken.manifest, tmp_path, 30, seed=1) >= 10


def test_a_killed_parent_takes_its_workers_along(spoken: Spoken, tmp_path: Path) -> None:
    """Through the command line, with processes: nobody writes on, and the next pack ends what was begun."""
    corpus = tmp_path / "corpus"
    command = [sys.executable, "-m", "utterloom.cli", "pack", spoken.manifest, corpus, "workers=2", f"shard_s={SHARD_S}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(corpus.glob(f"audio/{TEMPORARY}*")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()
    time.sleep(0.05)
    before = hash_of_folder(corpus)
    time.sleep(0.2)
    assert hash_of_folder(corpus) == before
    packed(spoken.manifest, corpus, shard_s=SHARD_S)
    packed(spoken.manifest, tmp_path / "straight", shard_s=SHARD_S)
    assert hash_of_folder(corpus) == hash_of_folder(tmp_path / "straight")


# --------------------------------------------------------------------------- several MP3 recordings, one of them damaged

NUM_RECORDINGS, SPANS_EACH, SPAN_S = 3, 20, 0.7


@pytest.fixture(scope="module")
def cut_from_mp3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of utterances of three stereo MP3 recordings by turns; the last recording was cut after it was prepared."""
    folder = tmp_path_factory.mktemp("cut")
    rng = random.Random(0)
    for number in range(NUM_RECORDINGS):
        samples = speech(" ".join(rng.choices(list(WORDS), k=int(SPANS_EACH * SPAN_S / 0.12) + 8)), number, rate_hz=48_000)
        soundfile.write(folder / f"r{number}.mp3", np.stack([samples, 0.8 * samples], axis=1), 48_000)
    rows = [{"id": f"r{number}.{place:02d}", "path": f"r{number}.mp3", "text": f"một {place}", "speaker": f"s{number}",
             "start": place * SPAN_S, "end": (place + 1) * SPAN_S}
            for place in range(SPANS_EACH) for number in range(NUM_RECORDINGS)]
    prepared(write_table(folder / "table.tsv", rows), folder / "manifest")
    damaged = folder / f"r{NUM_RECORDINGS - 1}.mp3"
    damaged.write_bytes(damaged.read_bytes()[:damaged.stat().st_size // 2])
    return folder / "manifest"


def audio_members(corpus: Path) -> Counter[str]:
    """How often each FLAC is there, over all tars."""
    found: Counter[str] = Counter()
    for path in corpus.glob("audio/*.tar"):
        with tarfile.open(path) as tar:
            found.update(name for name in tar.getnames() if name.endswith(".flac"))
    return found


def assert_nothing_is_lost_or_doubled(corpus: Path) -> None:
    table = Corpus(corpus)
    ids = [row_id for shard in table.shards for row_id in map(table.table(shard.name).id, range(shard.utterances))]
    dropped = [drop.id for drop in read_drops(corpus)]
    assert sorted(ids + dropped) == sorted(f"r{n}.{place:02d}" for n in range(NUM_RECORDINGS) for place in range(SPANS_EACH))
    assert 5 <= len(dropped) <= SPANS_EACH / 2 + 2 and {row_id[:2] for row_id in dropped} == {"r2"}
    members = audio_members(corpus)
    assert len(members) == len(ids) == members.total()
    assert verify(table) == []


def test_mp3_recordings_by_turns_are_packed_once_each_whenever_it_is_killed(cut_from_mp3: Path, tmp_path: Path) -> None:
    kill_at_random_moments(cut_from_mp3, tmp_path, 4, seed=2)
    assert_nothing_is_lost_or_doubled(tmp_path / "straight")


@pytest.mark.slow
def test_one_corpus_that_is_killed_again_and_again(cut_from_mp3: Path, tmp_path: Path) -> None:
    """The command with its workers; each is killed a little later than the one before, until one comes to its end."""
    packed(cut_from_mp3, tmp_path / "straight", shard_s=SHARD_S)
    rng, corpus, kills = random.Random(3), tmp_path / "corpus", 0
    command = [sys.executable, "-m", "utterloom.cli", "pack", cut_from_mp3, corpus, "workers=2", f"shard_s={SHARD_S}"]
    while kills < 60:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        whole = len(list(corpus.glob("utterances/*.parquet")))
        while process.poll() is None and not list(corpus.glob(f"*/{TEMPORARY}*")) \
                and len(list(corpus.glob("utterances/*.parquet"))) == whole:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 5
    packed(cut_from_mp3, corpus, shard_s=SHARD_S)
    assert hash_of_folder(corpus) == hash_of_folder(tmp_path / "straight")
    assert_nothing_is_lost_or_doubled(corpus)
    shutil.rmtree(corpus)
