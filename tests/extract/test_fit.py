"""`units fit` on disk: layers and .npy files, killed and gone on with, refused where it must be (D18, A18)."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="k-means needs numba, of the extra `extract`")

from tests.conftest import Spoken
from utterloom.core.artifact import building
from utterloom.core.config import compose
from utterloom.core.errors import ConfigError, CorpusError, OutputError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.extract.fit import FitConfig, LayerFrames, NpyFrames, explain, fit_units
from utterloom.models.kmeans import Codebook
from utterloom.shards.layers import KIND, LayerRow, LayerSpec, shard_lines, write_layer_shard
from utterloom.shards.reader import Corpus

SMALL = FitConfig(clusters=20, passes=6, sample_frames=400)


def make_files(folder: Path, num_frames: int = 6000, dim: int = 24, num_files: int = 5) -> Path:
    draws = np.random.default_rng(0)
    folder.mkdir(parents=True)
    centres = draws.standard_normal((300, dim))
    for number in range(num_files):
        frames = centres[draws.integers(300, size=num_frames // num_files)] + draws.standard_normal((num_frames // num_files, dim))
        np.save(folder / f"{number}.npy", frames.astype(np.float16 if number % 2 else np.float32))
    return folder


def make_layer(corpus_folder: Path, dim: int = 8, num_hurt: int = 0) -> Corpus:
    """A layer of features beside a corpus: ten frames an utterance, none for every fifth."""
    corpus, draws = Corpus(corpus_folder), np.random.default_rng(1)
    spec = LayerSpec("features", {"model": "made up", "layer": 3}, FrameGrid(16_000, 320), "float16", dim)
    with building(corpus_folder / "made", KIND, {"seed": 1}) as artifact:
        for shard in corpus.shards:
            rows = []
            for row in range(shard.utterances):
                frames = draws.standard_normal((10, dim)).astype(np.float16)
                frames[:num_hurt if row == 0 else 0] = np.nan
                rows.append((row, LayerRow.failed("too long") if row % 5 == 4 else LayerRow("ok", None, 10, {}, frames)))
            ids = [corpus.table(shard.name).id(row) for row in range(shard.utterances)]
            write_layer_shard(artifact.folder, shard.name, spec, ids, rows, shard.utterances_sha256)
        artifact.commit({"name": "made", "spec": spec.to_json(), "shards": shard_lines(artifact.folder, corpus)})
    return corpus


def test_files_become_a_codebook(tmp_path: Path) -> None:
    files = make_files(tmp_path / "frames")
    card = fit_units(files, tmp_path / "book", SMALL)
    book = Codebook.load(tmp_path / "book")
    assert (card["units"], card["dim"], card["fit"]["frames"]) == (book.size, book.dim, 6000) == (20, 24, 6000)
    assert card["content"] == book.fingerprint and len(card["fit"]["inertia"]) == card["fit"]["passes"]
    assert sorted(path.name for path in (tmp_path / "book").iterdir()) == ["centroids.npy", "codebook.json"]
    frames = np.concatenate([np.load(path).astype(np.float32) for path in sorted(files.iterdir())])
    labels, _ = book.assign(frames)
    assert np.square(frames - book.centroids[labels]).sum() == pytest.approx(card["fit"]["inertia"][-1], rel=1e-4)
    assert any("20 units of 24 dimensions" in line for line in explain(card))
    again = fit_units(files, tmp_path / "book", SMALL)
    assert again == card


def test_a_layer_of_one_split_becomes_a_codebook_that_knows_it(spoken: Spoken, tmp_path: Path) -> None:
    shutil.copytree(spoken.corpus, tmp_path / "corpus")
    corpus = make_layer(tmp_path / "corpus", num_hurt=3)
    config = FitConfig(clusters=12, passes=3)
    card = fit_units(tmp_path / "corpus", tmp_path / "book", config, layer="made")
    train = [shard for shard in corpus.shards if shard.split == "train"]
    frames = sum(10 * (shard.utterances - shard.utterances // 5) for shard in train)
    assert card["fit"]["frames"] + sum(card["fit"]["not_finite"].values()) == frames
    assert card["fit"]["not_finite"] == {shard.name: 3 for shard in train}
    book = Codebook.load(tmp_path / "book")
    assert book.producer == {"model": "made up", "layer": 3} and book.grid == FrameGrid(16_000, 320)
    told = "\n".join(explain(card))
    assert "50 units a second" in told and f"3 frames of {train[0].name}" in told
    assert sum(LayerFrames(corpus, "made", None).counts) > frames
    with pytest.raises(CorpusError, match="no split 'nowhere'"):
        fit_units(tmp_path / "corpus", tmp_path / "other", FitConfig(split="nowhere"), layer="made")
    with pytest.raises(CorpusError, match="no layer 'mad'"):
        fit_units(tmp_path / "corpus", tmp_path / "other", config, layer="mad")
    with pytest.raises(ConfigError, match="which layer"):
        fit_units(tmp_path / "corpus", tmp_path / "other", config)


def test_other_settings_and_other_frames_are_refused_by_name(tmp_path: Path) -> None:
    files = make_files(tmp_path / "frames", 1000)
    fit_units(files, tmp_path / "book", SMALL)
    with pytest.raises(OutputError, match=r"config\.clusters: 20 → 21"):
        fit_units(files, tmp_path / "book", compose(FitConfig, ["clusters=21", "passes=6", "sample_frames=400"]))
    np.save(files / "0.npy", np.load(files / "0.npy") + 1)
    with pytest.raises(OutputError, match=r"frames\.files"):
        fit_units(files, tmp_path / "book", SMALL)


def test_what_are_no_frames_is_named(tmp_path: Path) -> None:
    files = make_files(tmp_path / "frames", 100)
    with pytest.raises(SourceError, match="100 frames cannot make 500 clusters"):
        fit_units(files, tmp_path / "book", FitConfig())
    assert not (tmp_path / "book").exists()
    np.save(files / "odd.npy", np.zeros((3, 7), np.float32))
    with pytest.raises(SourceError, match=r"7 \(odd.npy\)"):
        NpyFrames(sorted(files.iterdir()))
    for values in (np.zeros((3, 24)), np.zeros(24, np.float32), np.zeros((24, 3), np.float32).T):
        np.save(files / "odd.npy", values)
        with pytest.raises(SourceError, match=r"odd.npy holds"):
            NpyFrames(sorted(files.iterdir()))
    whole = (files / "0.npy").read_bytes()
    (files / "odd.npy").write_bytes(whole[:-4])
    with pytest.raises(SourceError, match="cut short"):
        NpyFrames([files / "odd.npy"])
    (files / "odd.npy").write_text("no")
    with pytest.raises(SourceError, match="is not a"):
        NpyFrames([files / "odd.npy"])
    with pytest.raises(SourceError, match="neither a corpus nor"):
        fit_units(tmp_path / "nothing", tmp_path / "book", SMALL)


# --- kills ------------------------------------------------------------------------------------------------------------

FIT = """
import sys
from pathlib import Path
from utterloom.extract.fit import FitConfig, fit_units
fit_units(Path(sys.argv[1]), Path(sys.argv[2]), FitConfig(clusters=150, passes=8, tolerance=0, sample_frames=2000, starts=1),
          save_every_s=0.0)
"""


def start(files: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FIT, files, out], env={**os.environ, "OMP_NUM_THREADS": "1"},
                            stderr=subprocess.DEVNULL)


def kill_until_done(files: Path, out: Path, draws: random.Random, most_kills: int) -> tuple[int, set[int]]:
    """How often it was killed, and in which passes."""
    from utterloom.models.kmeans_fit import STATE

    kills, passes, state = 0, set(), out / "state" / STATE
    while True:
        begun = state.stat().st_mtime_ns if state.exists() else None
        process = start(files, out)
        if kills < most_kills:  # until it has come further than the one before it, and then any moment
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if state.exists() and state.stat().st_mtime_ns != begun:
                    break
                time.sleep(0.005)
            time.sleep(draws.uniform(0, 0.25))
        else:
            process.wait()
        if process.poll() is not None:
            assert process.returncode == 0
            return kills, passes
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        if state.exists():  # else it was finishing
            with np.load(state) as saved:
                passes.add(int(saved["place"][0]))


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    files = make_files(tmp_path / "frames", 24_000, 64)
    process = start(files, tmp_path / "whole")
    assert process.wait() == 0
    kills, _ = kill_until_done(files, tmp_path / "killed", random.Random(0), most_kills=2)
    assert kills == 2
    assert (tmp_path / "killed" / "centroids.npy").read_bytes() == (tmp_path / "whole" / "centroids.npy").read_bytes()
    assert (tmp_path / "killed" / "codebook.json").read_bytes() == (tmp_path / "whole" / "codebook.json").read_bytes()
    assert len(json.loads((tmp_path / "killed" / "codebook.json").read_text())["fit"]["inertia"]) == 8


@pytest.mark.slow
def test_twenty_kills_of_a_fit(tmp_path: Path) -> None:
    files = make_files(tmp_path / "frames", 24_000, 64)
    process = start(files, tmp_path / "whole")
    assert process.wait() == 0
    kills, passes = kill_until_done(files, tmp_path / "killed", random.Random(1), most_kills=20)
    assert kills > 5 and len(passes) > 2
    assert (tmp_path / "killed" / "centroids.npy").read_bytes() == (tmp_path / "whole" / "centroids.npy").read_bytes()
