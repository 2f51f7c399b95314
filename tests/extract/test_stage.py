"""The stage that every extractor shares: one row out for each utterance in, whatever runs out, breaks or is killed (A-P15, A-P23).

Layers are compared by their bytes: what memory, batches, workers, kills or Ctrl-C did must not be seen in them (truths 2, 4, 7).
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Command, Spoken
from tests.extract import counting
from tests.extract.counting import DIM, HOP, NAME, RATE_HZ, CountingConfig, CountingExtractor, write_entry_point
from tests.tones import hash_of_folder, make_spans, make_speech, packed, prepared
from utterloom.core.artifact import TEMPORARY, kind_of
from utterloom.core.errors import ConfigError, CorpusError, OutputError, SourceError, UtterloomError
from utterloom.extract import stage
from utterloom.extract.stage import extract
from utterloom.shards import layout
from utterloom.shards.layers import Layer, LayerRow, arrays_path, layer_path
from utterloom.shards.reader import Corpus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own extractor, as a package of somebody else's would bring one; workers and commands find it too."""
    folder = write_entry_point(tmp_path_factory.mktemp("installed"))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")


@pytest.fixture
def corpus(spoken: Spoken, tmp_path: Path) -> Path:
    """A copy: 48 utterances in 4 shards or more."""
    return Path(shutil.copytree(spoken.corpus, tmp_path / "corpus"))


@pytest.fixture(scope="module")
def wanted(spoken: Spoken, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the layer that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write_entry_point(folder / "installed")))
        counted(spoken.corpus, out=str(folder / "layer"))
    return hash_of_folder(folder / "layer")


def counted(corpus: Path, **settings: Any) -> dict[str, Any]:
    """The card."""
    return extract(NAME, corpus, CountingConfig(**{"workers": 0, "device": "cpu", **settings}))


def command(corpus: Path, *settings: str) -> list[str]:
    return [sys.executable, "-m", "utterloom.cli", "extract", NAME, str(corpus), "device=cpu", *settings]


def shard_bytes(layer: Path) -> dict[str, bytes]:
    """Of every file but the card, which names the configuration."""
    return {path.name: path.read_bytes() for path in sorted(layer.iterdir()) if path.name != "layer.json"}


def statuses(corpus: Path, name: str = NAME) -> dict[str, tuple[str, str | None]]:
    """{id: (status, reason)} of every row."""
    layer = Layer.of(Corpus(corpus), name)
    found = {}
    for shard in layer.shards:
        for row in layer.table(shard).table.to_pylist():
            assert row["id"] not in found
            found[row["id"]] = (row["status"], row["reason"])
    return found


# --- one row out for each in ------------------------------------------------------------------------------------------


def test_every_utterance_has_one_row_in_its_place(corpus: Path) -> None:
    card = counted(corpus, empty=["u0003"], poisoned=["u0011"])
    ledger = card["ledger"]
    assert (ledger["in"], ledger["ok"], ledger["empty"], ledger["failed"]) == (48, 46, 1, 1)
    there = Corpus(corpus)
    layer = Layer.of(there, NAME)
    seconds, not_ok_s, ids = 0.0, 0.0, []
    for shard in there.shards:
        table, rows = there.table(shard.name), layer.table(shard.name)
        assert rows.table.column("id").to_pylist() == [table.id(row) for row in range(len(table))]
        with tarfile.open(corpus / NAME / arrays_path(shard.name)) as tar:  # in the corpus's order too
            assert tar.getnames() == [f"{table.id(row)}.npy" for row in range(len(table)) if rows.status[row] == "ok"]
        for row in range(len(table)):
            ids.append(table.id(row))
            seconds += float(table.value(row, "duration_s"))
            not_ok_s += 0.0 if rows.status[row] == "ok" else float(table.value(row, "duration_s"))
            array = layer.array(shard.name, row)
            assert (array is None) == (rows.status[row] != "ok")
            if array is not None:
                assert array.shape == (rows.num_frames[row], DIM)
                spoken_s = table.num_samples[row] / there.sample_rate_hz
                assert abs(len(array) * HOP / RATE_HZ - spoken_s) <= HOP / RATE_HZ  # truth 3, A-P9
    assert len(set(ids)) == 48
    assert ledger["seconds_in"] == pytest.approx(seconds, abs=1e-3)
    assert ledger["seconds_ok"] == pytest.approx(seconds - not_ok_s, abs=1e-3)
    assert {(row["status"], row["reason"], row["utterances"]) for row in ledger["reasons"]} == {
        ("empty", "nothing in it", 1), ("failed", "ValueError", 1)}
    assert statuses(corpus)["u0011"] == ("failed", "ValueError: u0011 is poisoned")


def test_one_that_breaks_its_batch_breaks_nothing_else(corpus: Path) -> None:
    """A-P23, A-P15: taken apart until it is alone; the others' numbers are those that they have without it."""
    counted(corpus, name="fine")
    for poisoned in (["u0000"], ["u0047"], ["u0007", "u0008", "u0020"]):
        card = counted(corpus, poisoned=poisoned, batch=100.0)
        assert card["ledger"]["failed"] == len(poisoned) and card["ledger"]["ok"] == 48 - len(poisoned)
        there, fine = Layer.of(Corpus(corpus), NAME), Layer.of(Corpus(corpus), "fine")
        for shard in there.shards:
            for row, array in there.arrays(shard):
                assert np.array_equal(array, fine.array(shard, row))  # type: ignore[arg-type]
        shutil.rmtree(corpus / NAME)


def test_damaged_audio_is_one_failed_row_that_is_named(corpus: Path) -> None:
    there = Corpus(corpus)
    shard = there.shards[1].name
    table = there.table(shard)
    with (corpus / layout.audio_path(shard)).open("r+b") as file:
        file.seek(int(table.offsets[2]) + 200)
        file.write(b"\0\1\2\3")
    card = counted(corpus)
    assert card["ledger"]["failed"] == 1 and card["ledger"]["ok"] == 47
    assert statuses(corpus)[table.id(2)] == (
        "failed", f"not readable: shard {shard}, utterance {table.id(2)}: the audio does not match its checksum")


def test_what_failed_is_tried_again_where_its_files_are_removed(corpus: Path, spoken: Spoken) -> None:
    shard = Corpus(corpus).shards[0].name
    whole = (corpus / layout.audio_path(shard)).read_bytes()
    (corpus / layout.audio_path(shard)).write_bytes(whole[:len(whole) // 2])
    assert counted(corpus)["ledger"]["failed"] > 0
    (corpus / layout.audio_path(shard)).write_bytes(whole)
    for path in (layer_path(shard), arrays_path(shard)):
        (corpus / NAME / path).unlink()
    card = counted(corpus)
    assert card["ledger"]["failed"] == 0 and card["ledger"]["reasons"] == [] and Layer.of(Corpus(corpus), NAME).card == card


@pytest.mark.parametrize("too_many", [-1, 1])
def test_another_number_of_rows_is_a_loud_error(corpus: Path, too_many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-P15: "expected length 3 but got 2", said of whom; nothing is left behind."""
    monkeypatch.setattr(CountingExtractor, "extract", lambda self, items: [
        counting.row_of(item) for item in items][:len(items) + min(0, too_many)] + [counting.row_of(items[0])] * max(0, too_many))
    with pytest.raises(UtterloomError, match=r"CountingExtractor gave \d+ rows for \d+ utterances"):
        counted(corpus)
    assert not (corpus / NAME).exists()


def test_a_row_that_is_not_of_the_layer_is_a_loud_error(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"lacks one": None, "another dtype": np.zeros((3, DIM)), "another width": np.zeros((3, 2), np.float16),
              "another length": np.zeros((4, DIM), np.float16)}
    for array in arrays.values():
        row = LayerRow("ok", None, 3, array=array)
        monkeypatch.setattr(CountingExtractor, "extract", lambda self, items, row=row: [row for _ in items])
        with pytest.raises(CorpusError, match=r"has no array|where the layer holds float16"):
            counted(corpus)
        assert not (corpus / NAME).exists()


def test_nothing_that_is_ok_is_an_error_with_reasons_and_leaves_nothing(corpus: Path) -> None:
    ids = [f"u{number:04d}" for number in range(48)]
    with pytest.raises(CorpusError, match=r"nothing could be extracted: 40 ValueError \(such as u.*poisoned\); 8 nothing in it"):
        counted(corpus, poisoned=ids[8:], empty=ids[:8])
    assert not (corpus / NAME).exists()
    assert counted(corpus)["ledger"]["ok"] == 48


# --- memory that runs out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", ["python", "cuda", "torch"])
def test_memory_that_runs_out_halves_the_batch_and_changes_no_byte(corpus: Path, says: str, caplog: pytest.LogCaptureFixture,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    counted(corpus, name="plenty")
    tried: list[float] = []
    whole = CountingExtractor.extract

    def watched(self: CountingExtractor, items: Any) -> Any:
        tried.append(max(item.duration_s for item in items) * len(items))
        return whole(self, items)

    monkeypatch.setattr(CountingExtractor, "extract", watched)
    card = counted(corpus, name="scarce", memory_s=1.5, says=says, batch=100.0)
    assert card["ledger"]["ok"] == 48 and shard_bytes(corpus / "scarce") == shard_bytes(corpus / "plenty")
    assert "batches are halved from here on" in caplog.text and sum(size > 1.5 for size in tried) <= 8
    first_fit = next(number for number, size in enumerate(tried) if size > 1.5)
    last = max(number for number, size in enumerate(tried) if size > 1.5)
    assert last - first_fit < 16 < len(tried) - last  # found out once; it stays so, in the next shards too


def test_one_that_is_too_big_alone_is_a_failed_row(corpus: Path) -> None:
    card = counted(corpus, memory_s=0.6, batch=1.0)
    long = {table.id(row) for table, row in Corpus(corpus).rows() if table.num_samples[row] > 0.6 * 16_000}
    assert 0 < len(long) < 48 and card["ledger"]["failed"] == len(long) and card["ledger"]["ok"] == 48 - len(long)
    assert {name for name, (status, _) in statuses(corpus).items() if status == "failed"} == long
    assert {reason for status, reason in statuses(corpus).values() if status == "failed"} == {"out of memory, even alone"}


def test_what_a_failed_batch_held_is_let_go_of_before_the_next_is_tried(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the half would run out as well while a traceback still holds the whole."""
    held: list[weakref.ref[Any]] = []

    class Activations:
        pass

    def greedy(self: CountingExtractor, items: Any) -> Any:
        assert all(reference() is None for reference in held), "still there"
        activations = Activations()
        held.append(weakref.ref(activations))
        if len(items) > 1:
            raise MemoryError
        return [counting.row_of(item) for item in items]

    monkeypatch.setattr(CountingExtractor, "extract", greedy)
    gc.disable()
    try:
        assert counted(corpus, batch=2.0)["ledger"]["ok"] == 48
    finally:
        gc.enable()


# --- the same bytes ---------------------------------------------------------------------------------------------------


def test_workers_and_batches_change_no_byte(corpus: Path, wanted: str) -> None:
    """Truths 2 and 4. The layer is called the same each time, since its card says how."""
    for settings in ({"workers": 2}, {"batch": 0.01}, {"batch": 1e6}):
        counted(corpus, **settings)
        assert hash_of_folder(corpus / NAME) == wanted
        shutil.rmtree(corpus / NAME)


@pytest.mark.slow
def test_one_worker_changes_no_byte(corpus: Path, wanted: str) -> None:
    counted(corpus, workers=1)
    assert hash_of_folder(corpus / NAME) == wanted


def test_sizes_that_are_no_lengths_change_no_byte(corpus: Path, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a text do not grow with its duration, and may be none: arrays lie in the corpus's order all the same."""
    monkeypatch.setattr(CountingExtractor, "size", lambda self, item: float(int(item.id[1:]) * 7 % 5))
    for batch in (1.0, 3.0, 7.0, 1e6):
        counted(corpus, batch=batch)
        assert hash_of_folder(corpus / NAME) == wanted
        shutil.rmtree(corpus / NAME)


def test_what_has_no_size_is_a_failed_row(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def size(self: CountingExtractor, item: Any) -> float:
        if item.id == "u0005":
            raise ValueError("a text that no tokenizer can read")
        return 1.0

    monkeypatch.setattr(CountingExtractor, "size", size)
    assert counted(corpus)["ledger"]["failed"] == 1
    assert statuses(corpus)["u0005"] == ("failed", "ValueError: a text that no tokenizer can read")


@pytest.mark.slow
def test_a_real_encoder_gives_the_same_bytes_from_two_workers(spoken: Spoken, tmp_path: Path) -> None:
    """Features of a random WavLM, with the batch that is given."""
    from tests.models.tiny_encoders import save_tiny_encoder
    from utterloom.extract.config import FeaturesConfig

    model = tmp_path / "wavlm-tiny"
    save_tiny_encoder("wavlm-large", model)
    for workers in (0, 2):
        settings = FeaturesConfig(model=str(model), device="cpu", batch=8.0, workers=workers, name="wavlm",
                                  out=str(tmp_path / f"with-{workers}"))
        assert extract("features", spoken.corpus, settings)["ledger"]["ok"] == 48
    assert hash_of_folder(tmp_path / "with-0") == hash_of_folder(tmp_path / "with-2")


def test_a_layer_that_is_there_is_left_as_it_is(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "utterloom")
    card = counted(corpus)
    before = {path: path.stat().st_mtime_ns for path in (corpus / NAME).iterdir()}
    assert counted(corpus, workers=2, batch=3.0) == card and "is there already" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (corpus / NAME).iterdir()} == before


def test_hurt_files_that_are_removed_are_made_again_and_no_others(corpus: Path, wanted: str) -> None:
    counted(corpus)
    shards = [shard.name for shard in Corpus(corpus).shards]
    hurt = [layer_path(shards[0]), arrays_path(shards[1])]
    before = {path.name: path.stat().st_mtime_ns for path in (corpus / NAME).iterdir()}
    for name in hurt:
        (corpus / NAME / name).unlink()
    counted(corpus)
    assert hash_of_folder(corpus / NAME) == wanted
    after = {path.name: path.stat().st_mtime_ns for path in (corpus / NAME).iterdir()}
    made = {name for name in after if after[name] != before.get(name)} - {"layer.json"}
    assert made == {path(shard) for shard in shards[:2] for path in (layer_path, arrays_path)}


def test_a_parquet_file_with_a_flipped_byte_is_made_again(corpus: Path, wanted: str) -> None:
    counted(corpus)
    path = corpus / NAME / layer_path(Corpus(corpus).shards[0].name)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    counted(corpus)
    assert hash_of_folder(corpus / NAME) == wanted


def test_a_model_that_has_changed_is_told_each_time(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fingerprint is the same here, which a fingerprint of files rules out; a package's new version does not."""
    counted(corpus)
    shard = Corpus(corpus).shards[0].name
    (corpus / NAME / arrays_path(shard)).unlink()
    whole = counting.row_of
    monkeypatch.setattr(counting, "row_of", lambda item, factor: whole(item, 2 * factor))
    for _ in range(2):
        with pytest.raises(CorpusError, match=f"{shard} of .* came out otherwise than before"):
            counted(corpus)


# --- names, identity, growing corpora ---------------------------------------------------------------------------------


def test_another_configuration_is_refused_and_another_name_is_another_layer(corpus: Path) -> None:
    counted(corpus)
    before = hash_of_folder(corpus / NAME)
    with pytest.raises(OutputError, match=r"another configuration:\n    config\.factor: 1\.0 → 2\.0"):
        counted(corpus, factor=2.0)
    counted(corpus, factor=2.0, name="louder")
    assert hash_of_folder(corpus / NAME) == before
    one, two = (Layer.of(Corpus(corpus), name).array(Corpus(corpus).shards[0].name, 0) for name in (NAME, "louder"))
    assert one is not None and two is not None and np.allclose(2 * one.astype(float), two, rtol=1e-2)
    for name in ("audio", "utterances", "a/b", ".hidden", " x", ""):
        with pytest.raises(ConfigError, match="name"):
            counted(corpus, name=name or " ")
    (corpus / "mine").mkdir()
    (corpus / "mine/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds something that is not a layer"):
        counted(corpus, name="mine")


def interrupted_once(patch: pytest.MonkeyPatch, corpus: Path, step: str) -> None:
    """Ctrl-C at the beginning of a step, after the shards before it have been written."""
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with patch.context() as patched:
        patched.setattr(stage, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            counted(corpus)


def test_shards_that_joined_the_corpus_are_added_and_no_others_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in one process, where the corpus of before has been opened; also where adding is interrupted."""
    table = make_speech(tmp_path / "source", 40, splits=("train", "train", "dev", "train"))
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "source/first.tsv").write_text("".join(lines[:25]), encoding="utf-8")
    corpus = tmp_path / "corpus"
    prepared(tmp_path / "source/first.tsv", tmp_path / "first")
    packed(tmp_path / "first", corpus, shard_s=5.0)
    counted(corpus)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (corpus / NAME).iterdir()}
    prepared(table, tmp_path / "all")
    packed(tmp_path / "all", corpus, shard_s=5.0, attach=True)
    with pytest.raises(CorpusError, match=r"layer counting lacks shard .*, which joined"):
        Layer.of(Corpus(corpus), NAME)
    interrupted_once(monkeypatch, corpus, "extract_shard")
    assert {path.name: path.read_bytes() for path in (corpus / NAME).iterdir()} == {name: was for name, (_, was) in before.items()}
    interrupted_once(monkeypatch, corpus, "amend")
    assert (corpus / NAME / "layer.json").read_bytes() == before["layer.json"][1]
    written = {path.name: path.stat().st_mtime_ns for path in (corpus / NAME).glob("*.parquet")}
    card = counted(corpus)
    assert written == {path.name: path.stat().st_mtime_ns for path in (corpus / NAME).glob("*.parquet")}
    assert card["ledger"]["in"] == 40 == card["ledger"]["ok"] and len(statuses(corpus)) == 40
    for name, (time_ns, content) in before.items():
        path = corpus / NAME / name
        assert name == "layer.json" or (path.stat().st_mtime_ns, path.read_bytes()) == (time_ns, content)
    counted(corpus, out=str(tmp_path / "anew"))
    assert shard_bytes(tmp_path / "anew") == shard_bytes(corpus / NAME)


def test_the_layer_of_another_corpus_is_refused_before_a_byte_of_it_changes(corpus: Path, tmp_path: Path) -> None:
    counted(corpus, out=str(tmp_path / "layer"))
    before = hash_of_folder(tmp_path / "layer")
    prepared(make_speech(tmp_path / "source", 9, seed=5), tmp_path / "manifest")
    packed(tmp_path / "manifest", tmp_path / "other")
    with pytest.raises(CorpusError, match=r"shard train-00000, was made for other utterances than .*other has"):
        counted(tmp_path / "other", out=str(tmp_path / "layer"))
    assert hash_of_folder(tmp_path / "layer") == before


# --- kills and Ctrl-C -------------------------------------------------------------------------------------------------


def start(corpus: Path, *settings: str) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    return subprocess.Popen(command(corpus, *settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(layer: Path, pattern: str, process: subprocess.Popen[bytes], num: int = 1) -> None:
    while len(list(layer.glob(pattern))) < num and process.poll() is None:
        time.sleep(0.002)


def kill_at_random_moments(corpus: Path, num_kills: int, seed: int) -> None:
    rng, layer = random.Random(seed), corpus / NAME
    settings = ("workers=2", "sleep_s=0.02", "batch=2")
    kills = 0
    while kills < num_kills:
        process = start(corpus, *settings)
        if kills % 2:
            wait_for(layer, f"{TEMPORARY}*", process)
        else:
            wait_for(layer, "*.parquet", process, rng.randint(1, 3))
        time.sleep(rng.uniform(0, 0.1))
        was_alive = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if was_alive else None
        process.communicate()
        if was_alive:
            kills += 1
            if not (layer / "layer.json").exists():
                with pytest.raises(SourceError, match=r"is not finished|is not a layer|there is no layer"):
                    Layer(layer)
        else:
            shutil.rmtree(layer)
        if kills % 2 == 0:  # every other one goes on from where the one before was killed
            counted(corpus, sleep_s=0.02)
            assert shard_bytes(layer) == shard_bytes(corpus / "straight") and not list(layer.glob(f"{TEMPORARY}*"))
            shutil.rmtree(layer)


def test_the_whole_group_killed_and_run_again_gives_the_same_bytes(corpus: Path) -> None:
    counted(corpus, name="straight")
    kill_at_random_moments(corpus, 2, seed=0)


@pytest.mark.slow
def test_twelve_random_moments(corpus: Path) -> None:
    counted(corpus, name="straight")
    kill_at_random_moments(corpus, 12, seed=1)


def test_a_worker_that_is_killed_costs_its_shard_a_retry_and_no_byte(corpus: Path, tmp_path: Path,
                                                                     caplog: pytest.LogCaptureFixture) -> None:
    counted(corpus, name="straight")
    card = counted(corpus, workers=2, dies_without=str(tmp_path / "died"))
    assert (tmp_path / "died").exists() and "a worker process was killed" in caplog.text
    assert card["ledger"]["ok"] == 48 and shard_bytes(corpus / NAME) == shard_bytes(corpus / "straight")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(corpus: Path, workers: int) -> None:
    counted(corpus, name="straight")
    process = start(corpus, f"workers={workers}", "sleep_s=0.05", "batch=1")
    wait_for(corpus / NAME, "*.parquet", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    _, said = process.communicate()
    assert process.returncode == 130 and b"Traceback" not in said, said
    assert not (corpus / NAME / "layer.json").exists() and not (corpus / NAME / ".lock").exists()
    there = len(list((corpus / NAME).glob("*.parquet")))
    done = subprocess.run(command(corpus, "sleep_s=0.05", "workers=0"), capture_output=True, text=True)
    assert done.returncode == 0 and f"{there} of {len(Corpus(corpus).shards)} shards are there already" in done.stderr
    assert shard_bytes(corpus / NAME) == shard_bytes(corpus / "straight")


def test_the_second_of_two_at_once_is_refused_naming_the_first(corpus: Path) -> None:
    process = start(corpus, "workers=0", "sleep_s=0.05", "batch=1")
    wait_for(corpus / NAME, "*.parquet", process)
    with pytest.raises(OutputError, match=rf"another process \(pid {process.pid}\) is writing"):
        counted(corpus, sleep_s=0.05)
    assert process.wait() == 0
    process.communicate()
    assert counted(corpus, sleep_s=0.05)["ledger"]["ok"] == 48


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, where this process may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_too_small_is_told_before_the_start(corpus: Path, small_disk: Path) -> None:
    with pytest.raises(OutputError, match=r"needs about .* and the disk has .* free"):
        counted(corpus, out=str(small_disk / "layer"))
    assert not (small_disk / "layer").exists()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_disk_that_fills_is_told_and_what_was_written_stays(corpus: Path, small_disk: Path, workers: int,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """It filled while the layer was being written, so that no estimate could tell."""
    monkeypatch.setattr(stage, "check_room", lambda *_: None)
    with pytest.raises(OutputError, match="the disk is full"):
        counted(corpus, out=str(small_disk / "layer"), workers=workers)
    assert not list((small_disk / "layer").glob(f"{TEMPORARY}*"))
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert counted(corpus, out=str(small_disk / "layer"), workers=workers)["ledger"]["ok"] == 48
    counted(corpus, name="straight")
    assert shard_bytes(small_disk / "layer") == shard_bytes(corpus / "straight")


def test_a_limit_on_the_size_of_files_is_told(corpus: Path) -> None:
    script = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
              "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.argv = sys.argv[1:]; "
              "from utterloom.cli import main; main()")
    done = subprocess.run([sys.executable, "-c", script, "utterloom", "extract", NAME, str(corpus), "workers=0", "device=cpu"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "a quota or size limit stops" in done.stderr and "Traceback" not in done.stderr


# --- memory -----------------------------------------------------------------------------------------------------------


def peak_mb(folder: Path, num_utterances: int) -> float:
    """Of a process that extracts from a corpus of one shard, and does nothing else."""
    prepared(make_spans(folder, num_utterances), folder / "manifest")
    packed(folder / "manifest", folder / "corpus", shard_s=100_000.0)
    script = ("import resource, sys; from pathlib import Path; from utterloom.extract.stage import extract; "
              "from tests.extract.counting import CountingConfig; "
              f"extract('{NAME}', Path(sys.argv[1]), CountingConfig(workers=0, device='cpu')); "
              "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)")
    done = subprocess.run([sys.executable, "-c", script, str(folder / "corpus")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
def test_memory_stays_as_it_is_for_four_times_as_much(tmp_path: Path) -> None:
    """Truth 9, A-P14: of one shard that is four times as long, neither audio nor arrays are held, only its rows."""
    few, many = peak_mb(tmp_path / "few", 2_000), peak_mb(tmp_path / "many", 8_000)
    assert many < 1.1 * few, (few, many)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_an_estimate_before_and_a_measurement_after(corpus: Path, utterloom: Command) -> None:
    """A-N1."""
    said = utterloom("extract", NAME, corpus, "workers=0", "--json")
    assert said.code == 0
    card = json.loads(said.out)
    assert card["layer"] == str(corpus / NAME) and card["ledger"]["ok"] == 48
    before, after = said.err.index("extracting from"), said.err.index("measured:")
    assert before < after and "an hour), about" in said.err and "times as fast as it is spoken" in said.err
    lines = utterloom("extract", NAME, corpus, "workers=0").out.splitlines()
    assert lines[0] == f"layer {corpus / NAME}" and "ok 48, empty 0, failed 0" in "\n".join(lines)
    assert kind_of(corpus / NAME) == "layer"


def test_the_estimate_is_near_what_it_takes(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "utterloom")
    card = counted(corpus, sleep_s=0.01)
    (line,) = [record.getMessage() for record in caplog.records if "extracting from" in record.getMessage()]
    said = float(line.split("about ")[1].split(" kB")[0])
    assert said * 1e3 == pytest.approx(sum(shard["tar_bytes"] for shard in card["shards"]), rel=0.5)


@pytest.mark.parametrize("words, code, told", [
    (["featurs", "{corpus}"], 1, "nothing to extract that is called 'featurs'"),
    (["features", "{corpus}-not"], 1, "there is no corpus at"),
    (["features", "{corpus}/audio"], 1, "is not a corpus"),
    (["features", "{corpus}", "layr=3"], 1, "layer"),
    (["features", "{corpus}", "layer=first"], 1, "layer"),
    (["features", "{corpus}", "workers=-1"], 1, "workers"),
    (["features", "{corpus}", "batch=0"], 1, "batch"),
    (["features", "{corpus}", "model={corpus}/nowhere"], 1, "nowhere"),
    ([NAME, "{corpus}", "model={corpus}/nowhere"], 1, "there is no model at"),
    ([NAME, "{corpus}", "name=audio"], 1, "'audio' is not a name for a layer"),
    ([NAME, "{corpus}/corpus.json"], 1, "corpus.json"),
])
def test_wrong_use_is_one_clear_error(corpus: Path, utterloom: Command, words: list[str], code: int, told: str) -> None:
    before = hash_of_folder(corpus)
    said = utterloom("extract", *(word.format(corpus=corpus) for word in words))
    assert said.code == code and said.err.count("error:") == 1 and told in said.err and said.out == "", said
    assert hash_of_folder(corpus) == before


def test_the_keys_of_an_extractor_are_listed(utterloom: Command) -> None:
    said = utterloom("keys", "features")
    assert said.code == 0 and "model " in said.out and "target_hz" in said.out and "batch" in said.out
