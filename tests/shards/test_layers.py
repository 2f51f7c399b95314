"""Layers: what goes in comes out, other tools open it, and what is hurt is detected, named and mended (the seven faults).

(A killed writer of a layer: tests/extract/test_stage.py.)
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Command
from tests.shards.test_faults import FAULTS, flip_byte, overwrite
from tests.show.woven import SPECS, add_layers, card_of, make_corpus, row_of
from tests.tones import hash_of_folder
from utterloom import pipeline
from utterloom.core.artifact import TEMPORARY, building, read_json, sha256_of, write_json
from utterloom.core.errors import CorpusError, DamagedError, OutputError, UtterloomError
from utterloom.core.timing import FrameGrid
from utterloom.shards import layout
from utterloom.shards.layers import (
    CARD,
    KIND,
    STATUSES,
    Layer,
    LayerRow,
    LayerSpec,
    LayerTable,
    arrays_path,
    is_layer_shard_whole,
    layer_complaint,
    layer_facts,
    layer_path,
    write_layer_shard,
)
from utterloom.shards.reader import Corpus

SHARD = "train-00000"
GRID = FrameGrid(16_000, 320)
LAYER = "wavlm"  # of the woven corpus, with arrays

# --- round trips ------------------------------------------------------------------------------------------------------

ids = st.lists(st.text(min_size=1, max_size=200).filter(lambda text: layout.id_complaint(text) is None), unique=True, max_size=6)
samples = st.integers(0, 2**40)
numbers = st.one_of(st.none(), st.floats(0, 1, width=32))
chars = st.fixed_dictionaries({"char": st.text(max_size=2), "start_sample": samples, "stop_sample": samples})
words = st.fixed_dictionaries({
    "word": st.text(max_size=9), "start_sample": st.none() | samples, "stop_sample": st.none() | samples, "score": numbers,
    "kind": st.sampled_from(["aligned", "estimated"]), "first_char": st.none() | st.integers(0, 999),
    "stop_char": st.none() | st.integers(0, 999), "chars": st.none() | st.lists(chars, max_size=3)})
uint16s = st.lists(st.integers(0, 0xFFFF), max_size=9)
columns: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "words": st.fixed_dictionaries({"text": st.none() | st.text(max_size=20), "score": numbers,
                                    "flag": st.none() | st.text(max_size=9), "words": st.lists(words, max_size=4)}),
    "features": st.just({}),
    "states": st.fixed_dictionaries({name: st.lists(st.integers(0, 2**31 - 1), max_size=5) for name in (
        "token_ids", "first_char", "stop_char")} | {name: st.lists(st.none() | samples, max_size=5) for name in (
            "start_sample", "stop_sample")}),
    "units": st.fixed_dictionaries({"units": uint16s, "runs": uint16s}),
}


@st.composite
def shards(draw: st.DrawFn) -> tuple[LayerSpec, list[str], list[tuple[int, LayerRow]]]:
    """What a layer of any kind is, its ids, and its rows in any order."""
    kind = draw(st.sampled_from(list(columns)))
    dtype = draw(st.sampled_from(["float16", "float32"])) if kind in ("features", "states") else None
    dim = draw(st.integers(1, 5)) if dtype else None
    spec = LayerSpec(kind, {"model": draw(st.text(max_size=5))}, GRID if draw(st.booleans()) else None, dtype, dim)
    names, rows = draw(ids), []
    for number in draw(st.permutations(range(len(names)))):
        if draw(st.integers(0, 3)) == 0:
            status = draw(st.sampled_from(["empty", "failed"]))
            rows.append((number, LayerRow(status, draw(st.text(min_size=1, max_size=20)))))
            continue
        frames = draw(st.integers(0, 4))
        array = None
        if dtype:
            num_bytes = frames * dim * np.dtype(dtype).itemsize
            content = draw(st.binary(min_size=num_bytes, max_size=num_bytes))
            array = np.frombuffer(content, dtype).reshape(frames, dim)  # any bits: infinities and NaN too
        rows.append((number, LayerRow("ok", draw(st.none() | st.just("a note")), frames, draw(columns[kind]), array)))
    return spec, names, rows


def opened(folder: Path, spec: LayerSpec, utterances: int) -> Layer:
    """The layer of one shard in a folder, with a card."""
    path = folder / layer_path(SHARD)
    facts = layer_facts(path)
    with building(folder / "aside", KIND, {"name": "layer"}) as artifact:
        artifact.commit({"spec": spec.to_json(), "utterances": utterances,
                         "shards": [{"name": SHARD, "sha256": sha256_of(path), "bytes": path.stat().st_size, **facts}]})
    shutil.move(folder / "aside" / CARD, folder / CARD)
    (folder / "aside").rmdir()
    return Layer(folder)


@given(shards())
@settings(max_examples=40)
def test_what_goes_in_comes_out(shard: tuple[LayerSpec, list[str], list[tuple[int, LayerRow]]]) -> None:
    spec, names, rows = shard
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        facts = write_layer_shard(folder, SHARD, spec, names, iter(rows), "f" * 64)
        assert facts == layer_facts(folder / layer_path(SHARD)) and is_layer_shard_whole(folder, SHARD, "f" * 64)
        assert not is_layer_shard_whole(folder, SHARD, "e" * 64)
        assert sum(facts[status] for status in STATUSES) == len(names)
        first = hash_of_folder(folder)
        write_layer_shard(folder, SHARD, spec, names, iter(rows), "f" * 64)
        assert hash_of_folder(folder) == first
        layer = opened(folder, spec, len(names))
        assert layer.spec == spec and list(layer.damages()) == []
        table = layer.table(SHARD)
        assert table.table.column("id").to_pylist() == names and len(table) == len(names)
        for number, row in rows:
            found = table.row(number)
            assert (found["id"], found["status"], found["reason"], found["num_frames"]) == (
                names[number], row.status, row.reason, row.num_frames)
            assert {name: found[name] for name in row.columns} == row.columns
            assert all(table.value(number, name) == value for name, value in row.columns.items())
            array = layer.array(SHARD, number)
            assert (array is None) == (row.array is None)
            if array is not None and row.array is not None:
                assert array.dtype == row.array.dtype and array.shape == row.array.shape
                assert array.tobytes() == row.array.tobytes()
        assert [number for number, _ in layer.arrays(SHARD)] == sorted(number for number, row in rows if row.array is not None)
        if spec.has_arrays:
            with tarfile.open(folder / arrays_path(SHARD)) as tar:
                found_arrays = {layout.unescape_id(member.name.removesuffix(".npy")): np.load(io.BytesIO(
                    tar.extractfile(member).read())) for member in tar}  # type: ignore[union-attr]
            wanted = {names[number]: row.array for number, row in rows if row.array is not None}
            assert found_arrays.keys() == wanted.keys()
            for name, array in wanted.items():
                assert found_arrays[name].dtype == array.dtype and found_arrays[name].tobytes() == array.tobytes()


def test_a_row_that_is_lacking_or_comes_twice_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    spec, row = LayerSpec("features", {}, GRID, "float32", 2), LayerRow("ok", None, 1, array=np.zeros((1, 2), np.float32))
    with pytest.raises(CorpusError, match="1 of 2 rows did not come, the first is b"):
        write_layer_shard(tmp_path, SHARD, spec, ["a", "b"], [(0, row)], "0")
    with pytest.raises(CorpusError, match=r"row 0 \(a\) came twice"):
        write_layer_shard(tmp_path, SHARD, spec, ["a", "b"], [(0, row), (0, row)], "0")
    assert list(tmp_path.iterdir()) == []


def test_what_no_layer_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a layer of 'video', where this version knows words, features, states, units"):
        LayerSpec("video")
    for dtype, dim in (("float64", 3), ("int8", 3), ("float16", None), ("float16", 0)):
        with pytest.raises(ValueError, match="where a layer holds float16 or float32"):
            LayerSpec("features", dtype=dtype, dim=dim)
    for name in ("audio", "utterances", "dropped", "", ".x", "a/b", "a\\b", "a\n", " a"):
        assert layer_complaint(name)
    assert layer_complaint("wavlm-large.24@12.5hz") is None


# --- in a corpus, and in the hands of other tools ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def woven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with a layer of each kind. Whoever changes a file works on a copy."""
    corpus = make_corpus(tmp_path_factory.mktemp("woven"))
    add_layers(corpus)
    return corpus


@pytest.fixture
def corpus(woven: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(woven, tmp_path / "corpus"))


def test_row_i_of_shard_k_is_the_same_utterance_everywhere(woven: Path) -> None:
    corpus = Corpus(woven)
    for name in SPECS:
        layer = Layer.of(corpus, name)
        assert layer.shards == [shard.name for shard in corpus.shards]
        for shard in corpus.shards:
            table = corpus.table(shard.name)
            assert layer.table(shard.name).table.column("id").to_pylist() == [table.id(row) for row in range(len(table))]
            assert layer_facts(woven / name / layer_path(shard.name))["utterances_sha256"] == shard.utterances_sha256
            assert layer.spec.has_arrays or (layer.array(shard.name, 0) is None and not list(layer.arrays(shard.name)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_webdataset_reads_the_arrays(woven: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    layer = Layer.of(Corpus(woven), LAYER)
    for shard in layer.shards:
        names = layer.table(shard).table.column("id").to_pylist()
        dataset = webdataset.WebDataset(str(woven / LAYER / arrays_path(shard)), shardshuffle=False).decode()
        found = {layout.unescape_id(sample["__key__"]): sample["npy"] for sample in dataset}
        wanted = {names[row]: array for row, array in layer.arrays(shard)}
        assert found.keys() == wanted.keys()
        assert all(found[name].dtype == np.float16 and np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", SPECS)
def test_pyarrow_and_datasets_read_the_rows(woven: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((woven / name).glob("*.parquet"))
    wanted = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in wanted]
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    found = datasets.load_dataset("parquet", data_files=[str(path) for path in paths], split="train", cache_dir=str(tmp_path))
    assert found.to_list() == wanted


# --- of which corpus --------------------------------------------------------------------------------------------------


def test_a_layer_of_other_utterances_is_refused_by_name(corpus: Path, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", {"u0": "một hai", "u1": "ba", "u2": "bốn năm", "u3": "sáu"})
    shutil.copytree(corpus / LAYER, other / LAYER)
    for name in (LAYER, corpus / LAYER):  # beside its utterances, or elsewhere
        with pytest.raises(CorpusError, match=rf"layer {LAYER}, shard .*was made for other utterances than {other} has"):
            Layer.of(Corpus(other), name)
    value, lines = pipeline.verify(other)
    assert len(value["damages"]) == len(Corpus(other).shards) and "made for other utterances" in "\n".join(lines)


def test_a_layer_that_is_not_there_is_told_with_those_that_are(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="has no layer 'wavml'") as error:
        Layer.of(Corpus(corpus), "wavml")
    assert "'wavlm'" in str(error.value.hint)
    shutil.rmtree(corpus / LAYER)
    add_layers(corpus, [LAYER], shards=1)
    with pytest.raises(CorpusError, match=r"layer wavlm of .* is not finished"):
        Layer.of(Corpus(corpus), LAYER)
    with pytest.raises(UtterloomError, match="has no shard 'train-00009'"):
        Layer.of(Corpus(corpus), "words").table("train-00009")


def rewrite_card(path: Path, **changes: Any) -> None:
    """As another version might have written it: its checksum is left out."""
    card = read_json(path)
    del card["checksum"]
    write_json(path, {**card, **changes})


def test_a_card_that_is_none_is_refused_in_words(corpus: Path) -> None:
    path = corpus / LAYER / CARD
    whole = read_json(path)
    line = whole["shards"][0]
    spec = whole["spec"]
    changes: list[dict[str, Any]] = [
        {"spec": {**spec, "kind": "video"}}, {"spec": {**spec, "dtype": "float8"}}, {"spec": {**spec, "dim": None}}, {"spec": []},
        {"spec": {**spec, "grid": {"hop": 3}}}, {"spec": {**spec, "grid": 3}}, {"spec": {"kind": "words"}}, {"shards": 3},
        {"shards": [{}]}, {"shards": ["train-00000"]}, {"shards": [{**line, "name": "../../train-00000"}]},
        {"shards": [{key: value for key, value in line.items() if key != "sha256"}]}]
    for change in changes:
        write_json(path, whole)
        rewrite_card(path, **change)
        with pytest.raises(DamagedError, match=r"layer\.json is not the card of a layer that this version can read"):
            Layer(corpus / LAYER)
    write_json(path, {**whole, "name": "other"})
    with pytest.raises(DamagedError, match="does not match its own checksum"):
        Layer(corpus / LAYER)
    for text in ("", "{", "[]", '{"utterloom": {"format": 99}}', '{"utterloom": 3}'):
        path.write_text(text)
        with pytest.raises(UtterloomError, match=r"layer\.json"):
            Layer(corpus / LAYER)


# --- the seven faults -------------------------------------------------------------------------------------------------


def delivered(corpus: Path) -> tuple[dict[str, bytes], list[str]]:
    """What can be read of the arrays by id, and what is said of the rest."""
    layer, found, complaints = Layer.of(Corpus(corpus), LAYER), {}, []
    for shard in layer.shards:
        try:
            names = layer.table(shard).table.column("id").to_pylist()
        except DamagedError as error:
            complaints.append(error.message)
            continue
        for row, name in enumerate(names):
            try:
                array = layer.array(shard, row)
            except DamagedError as error:
                complaints.append(error.message)
                continue
            if array is not None:
                found[name] = array.tobytes()
    return found, complaints


def damages(path: Path) -> list[tuple[str, str | None, str]]:
    return [tuple(damage.values()) for damage in pipeline.verify(path)[0]["damages"]]


def mend(corpus: Path) -> None:
    """What the same command does when hurt files have been removed: their shards anew, the others as they are."""
    there = Corpus(corpus)
    for shard in there.shards:
        if is_layer_shard_whole(corpus / LAYER, shard.name, shard.utterances_sha256):
            continue
        table = there.table(shard.name)
        names = [table.id(row) for row in range(len(table))]
        write_layer_shard(corpus / LAYER, shard.name, SPECS[LAYER], names, (
            (row, LayerRow.failed("too short for the model: 0.5 s") if names[row] == "u3" else
             row_of(LAYER, table.text(row) or "", int(table.num_samples[row]), row)) for row in range(len(table))),
            shard.utterances_sha256)
    assert card_of(corpus / LAYER, there, SPECS[LAYER])["shards"] == read_json(corpus / LAYER / CARD)["shards"]


@pytest.mark.parametrize("path", [layer_path(SHARD), arrays_path(SHARD)])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_hurt_file_is_named_the_rest_delivered_and_mended(corpus: Path, fault: str, path: str) -> None:
    whole, _ = delivered(corpus)
    before, content = hash_of_folder(corpus / LAYER), (corpus / LAYER / path).read_bytes()
    layer = Layer.of(Corpus(corpus), LAYER)
    table = layer.table(SHARD)
    names = table.table.column("id").to_pylist()
    do, word = FAULTS[fault]
    if path == arrays_path(SHARD):  # within an array, not in what fills the tar
        offset, size, _ = next(place for place in table.ranges if place[1])
        do = {"a zeroed block": lambda file: overwrite(file, offset + size // 2, bytes(512)),
              "one byte flipped": lambda file: flip_byte(file, offset + size // 2)}.get(fault, do)
    do(corpus / LAYER / path)
    after = (corpus / LAYER / path).read_bytes() if (corpus / LAYER / path).exists() else b""
    if path == layer_path(SHARD):
        hurt = {name for name in names if name in whole}
    else:
        hurt = {name for name, (offset, size, _) in zip(names, table.ranges, strict=True)
                if offset is not None and size and content[offset:offset + size] != after[offset:offset + size]}
        assert hurt
    for place in (corpus, corpus / LAYER):
        (shard, utterance, what), *others = damages(place)
        assert (shard, utterance) == (f"{LAYER}/{SHARD}", None) and path in what and word in what
        assert {other[1] for other in others} == (hurt if path == arrays_path(SHARD) and fault != "missing" else set())
    found, complaints = delivered(corpus)
    assert found == {name: array for name, array in whole.items() if name not in hurt}
    if path == layer_path(SHARD):
        assert len(complaints) == 1 and f"layer {LAYER}, shard {SHARD}" in complaints[0] and word in complaints[0]
    else:
        assert len(complaints) == len(hurt)
        assert all(f"layer {LAYER}, shard {SHARD}, utterance {name}: " in "\n".join(complaints) for name in hurt)
    (corpus / LAYER / path).unlink(missing_ok=True)
    mend(corpus)
    assert hash_of_folder(corpus / LAYER) == before and damages(corpus) == []


def test_a_byte_flipped_anywhere_is_found(corpus: Path) -> None:
    """In arrays, tar headers, padding, rows, footers or the card; by the corpus's verify and the layer's own."""
    rng = random.Random(0)
    files = [path for name in SPECS for path in sorted((corpus / name).iterdir())]
    for path in [*files, *rng.choices(files, k=40)]:
        offset = rng.randrange(path.stat().st_size)
        flip_byte(path, offset)
        try:
            layer = Layer(path.parent)
            found = [*layer.damages(), *layer.damages(Corpus(corpus))]
            assert len(found) >= 2 and any(path.name in damage.what for damage in found), (path, offset, found)
        except UtterloomError as error:  # the card itself
            assert path.name == CARD and CARD in error.message
        flip_byte(path, offset)
    assert damages(corpus) == []


def test_shards_that_changed_places_are_found(corpus: Path) -> None:
    names = [shard.name for shard in Corpus(corpus).shards]
    for path in (layer_path, arrays_path):
        one, other = (corpus / LAYER / path(name) for name in names[:2])
        one.rename(corpus / "aside")
        other.rename(one)
        (corpus / "aside").rename(other)
    assert {shard for shard, _, _ in damages(corpus)} == {f"{LAYER}/{name}" for name in names[:2]}
    assert all("does not match its checksum" in complaint for complaint in delivered(corpus)[1])


def test_a_file_of_another_layer_is_named(corpus: Path) -> None:
    shutil.copy(corpus / LAYER / arrays_path(SHARD), corpus / LAYER / "train-00077.tar")
    ((shard, _, what),) = damages(corpus)
    assert shard == f"{LAYER}/train-00077.tar" and "not in layer.json" in what


def test_the_command_line_names_what_is_hurt_and_ends_with_one(corpus: Path, utterloom: Command) -> None:
    assert "is whole: 2 shards, 4 layers" in utterloom("verify", corpus).out
    flip_byte(corpus / LAYER / layer_path(SHARD))
    for place in (corpus, corpus / LAYER):
        said = utterloom("verify", place)
        assert said.code == 1 and "hurt in 1 places" in said.out and f"{LAYER}/{SHARD}: {layer_path(SHARD)}" in said.out
        assert json.loads(utterloom("verify", place, "--json").out)["damages"]


def rows_that_wait(started: Path) -> Iterator[tuple[int, LayerRow]]:
    yield 0, LayerRow("ok", None, 30_000, array=np.zeros((30_000, 64), np.float16))
    started.touch()
    signal.pause()


def write_and_wait(folder: Path) -> None:
    spec = LayerSpec("features", {}, GRID, "float16", 64)
    write_layer_shard(folder, SHARD, spec, ["a", "b"], rows_that_wait(folder / "started"), "0")


def read_for_ever(folder: Path, started: Path) -> None:
    layer = Layer(folder)
    while True:
        for shard in layer.shards:
            list(layer.arrays(shard))
        started.touch()


def kill_when(started: Path, process: Any) -> None:
    process.start()
    while not started.exists() and process.is_alive():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_writer_that_is_killed_leaves_no_shard(tmp_path: Path) -> None:
    kill_when(tmp_path / "started", multiprocessing.get_context("fork").Process(target=write_and_wait, args=(tmp_path,)))
    assert {path.name.startswith(TEMPORARY) for path in tmp_path.iterdir() if path.name != "started"} == {True}
    assert not is_layer_shard_whole(tmp_path, SHARD, "0")


def test_a_reader_that_is_killed_hurts_nothing_and_nobody(corpus: Path, tmp_path: Path) -> None:
    before, (whole, _) = hash_of_folder(corpus), delivered(corpus)
    kill_when(tmp_path / "started", multiprocessing.get_context("fork").Process(
        target=read_for_ever, args=(corpus / LAYER, tmp_path / "started")))
    assert hash_of_folder(corpus) == before and delivered(corpus) == (whole, []) and damages(corpus) == []


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utterloom.shards.layers.TarWriter.add", full)
    row = LayerRow("ok", None, 1, array=np.zeros((1, 2), np.float16))
    with pytest.raises(OutputError, match=r"the disk is full: .*train-00000\.tar could not be written"):
        write_layer_shard(tmp_path, SHARD, LayerSpec("features", {}, GRID, "float16", 2), ["a"], [(0, row)], "0")
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_read_quickly_and_rightly(woven: Path) -> None:
    layer = Layer.of(Corpus(woven), "hubert-50")
    for shard in layer.shards:
        table: LayerTable = layer.table(shard)
        for row in range(len(table)):
            for name in ("units", "runs"):
                found, wanted = table.numbers(row, name), table.row(row)[name]
                assert (found is None) == (wanted is None)
                assert found is None or (found.dtype == np.uint16 and found.tolist() == wanted)
