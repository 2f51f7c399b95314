"""Kill -9 at random moments, in the middle of writing too: packing again gives the corpus that an undisturbed pack gives."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.conftest import Spoken
from tests.tones import hash_of_folder, packed
from utterloom.core.artifact import TEMPORARY
from utterloom.core.errors import SourceError
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


def kill_at_random_moments(spoken: Spoken, folder: Path, num_kills: int, seed: int) -> int:
    """Returns how many of the killed packs left a file half-written."""
    rng = random.Random(seed)
    packed(spoken.manifest, folder / "straight", shard_s=SHARD_S)
    wanted = hash_of_folder(folder / "straight")
    started = time.perf_counter()
    start(spoken.manifest, folder / "timed").join()
    took_s = time.perf_counter() - started
    killed = half_written = 0
    while killed < num_kills:
        corpus = folder / f"killed-{killed}"
        if not kill(start(spoken.manifest, corpus), corpus, rng.uniform(0, took_s * 0.8), while_writing=killed % 2 == 1):
            subprocess.run(["rm", "-r", str(corpus)], check=True)
            continue
        killed += 1
        half_written += bool(list(corpus.rglob(f"{TEMPORARY}*")))
        if not (corpus / "corpus.json").exists():
            with pytest.raises(SourceError, match=r"is not finished|has no corpus\.json"):
                Corpus(corpus)
        if killed % 3 == 0:  # killed again on its way
            kill(start(spoken.manifest, corpus), corpus, rng.uniform(0, took_s * 0.5), while_writing=True)
        packed(spoken.manifest, corpus, shard_s=SHARD_S)
        assert hash_of_folder(corpus) == wanted
    assert verify(Corpus(corpus)) == []
    return half_written


def test_a_pack_that_is_killed_and_run_again_gives_the_same_bytes(spoken: Spoken, tmp_path: Path) -> None:
    assert kill_at_random_moments(spoken, tmp_path, 6, seed=0) >= 1


@pytest.mark.slow
def test_thirty_random_moments(spoken: Spoken, tmp_path: Path) -> None:
    assert kill_at_random_moments(spoken, tmp_path, 30, seed=1) >= 10


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
