"""Outputs are whole or not there, made by one process, and never of two configurations."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.core import artifact
from utterloom.core.artifact import (
    BUILDING,
    LOCK,
    TEMPORARY,
    atomic_write,
    building,
    canonical_json,
    differences,
    fingerprint,
    load_card,
    output_errors,
    read_json,
    write_json,
)
from utterloom.core.errors import DamagedError, OutputError, SourceError

FORK = multiprocessing.get_context("fork")
ONE, TWO = {"config": {"a": 1}}, {"config": {"a": 2}}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(folder: Path, identity: dict[str, Any] = ONE, kind: str = "corpus", content: str = "bytes") -> bool:
    """Build the artifact, or find it finished."""
    with building(folder, kind, identity) as made:
        if not made.finished:
            (folder / "data").write_text(content)
            made.commit({"utterances": 1})
            return True
        return False


# --------------------------------------------------------------------------------------------------- one file


def test_a_crash_while_writing_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"new, but only ha")
        raise RuntimeError("crash")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def write_slowly(path: Path) -> None:
    with atomic_write(path) as file:
        for _ in range(1000):
            file.write(b"new" * 1000)
            file.flush()
            time.sleep(0.01)


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writer = FORK.Process(target=write_slowly, args=(path,))
    writer.start()
    while not any(entry.stat().st_size for entry in tmp_path.glob(f"{TEMPORARY}*")):
        time.sleep(0.005)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert path.read_bytes() == b"old"
    artifact.remove_temporaries(tmp_path)
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "word"), [
    (errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"), (errno.EROFS, "permission"), (errno.ENOTDIR, "part of that path"),
    (errno.ENOENT, "part of that path"), (errno.EFBIG, "limit"), (errno.EDQUOT, "limit"), (errno.EIO, "could not be written")])
def test_what_the_system_says_of_an_output_names_the_place(number: int, word: str) -> None:
    with pytest.raises(OutputError, match=word) as caught, output_errors(Path("some/place")):
        raise OSError(number, os.strerror(number))
    assert "some/place" in caught.value.message


def test_a_path_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), atomic_write(tmp_path / "file" / "below") as file:
        file.write(b"")


# --------------------------------------------------------------------------------------------------- JSON


@given(JSON)
def test_json_comes_back_and_one_value_has_one_fingerprint(value: Any) -> None:
    again = json.loads(canonical_json(value))
    assert again == value
    assert fingerprint(again) == fingerprint(value)


def test_half_a_character_in_a_file_name_survives_json(tmp_path: Path) -> None:
    value = {"path": b"\xffname".decode("utf-8", "surrogateescape")}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert len(fingerprint(value)) == 16


@pytest.mark.parametrize("content", [b"", b"[1", b"[1]", b"\xff\xfe", b"3", b"{" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"])
def test_what_is_no_json_object_is_a_source_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_a_folder_or_nothing_in_place_of_json_is_a_source_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(SourceError):
            read_json(path)


def test_differences_name_the_leaf_and_shorten_what_is_long() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": None}) == ["a.b: 1 → 3"]
    (line,) = differences({"ids": list(range(1000))}, {"ids": []})
    assert line.startswith("ids: [0, 1,") and line.endswith("… → []")


# --------------------------------------------------------------------------------------------------- a folder


def test_an_artifact_is_finished_once_its_card_is_there(tmp_path: Path) -> None:
    assert make(tmp_path / "out") is True
    assert names_in(tmp_path / "out") == ["corpus.json", "data"]
    assert make(tmp_path / "out") is False
    assert load_card(tmp_path / "out", "corpus")["utterances"] == 1


def test_another_configuration_is_refused_naming_the_difference(tmp_path: Path) -> None:
    make(tmp_path / "out")
    with pytest.raises(OutputError, match=r"config\.a: 1 → 2"):
        make(tmp_path / "out", TWO)
    assert (tmp_path / "out/data").exists()


def test_a_half_built_folder_goes_on_with_its_configuration_alone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), building(tmp_path / "out", "corpus", ONE):
        (tmp_path / "out/data").write_text("half")
        raise RuntimeError("crash")
    assert names_in(tmp_path / "out") == [BUILDING, "data"]
    with pytest.raises(OutputError, match=r"config\.a: 1 → 2"):
        make(tmp_path / "out", TWO)
    with pytest.raises(OutputError, match='kind: "corpus" → "manifest"'):
        make(tmp_path / "out", ONE, kind="manifest")
    with building(tmp_path / "out", "corpus", ONE) as made:
        assert not made.finished
        assert (tmp_path / "out/data").read_text() == "half"
        made.commit({})
    assert names_in(tmp_path / "out") == ["corpus.json", "data"]


def test_a_failure_before_anything_is_built_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), building(tmp_path / "deep/out", "corpus", ONE):
        (tmp_path / "deep/out/audio").mkdir()
        raise RuntimeError("bad source")
    assert not (tmp_path / "deep/out").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), building(tmp_path / "mine", "corpus", ONE):
        raise RuntimeError("bad source")
    assert names_in(tmp_path / "mine") == []  # it was there before
    assert make(tmp_path / "mine", TWO)


def test_a_process_killed_before_it_built_anything_binds_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write_json(folder / BUILDING, {**ONE, "kind": "corpus"})
    (folder / f"{TEMPORARY}data.1").write_text("ha")
    assert make(folder, TWO)
    assert names_in(folder) == ["corpus.json", "data"]


def test_a_process_killed_between_card_and_marker_is_finished_and_tidied(tmp_path: Path) -> None:
    make(tmp_path / "out")
    write_json(tmp_path / "out" / BUILDING, {**ONE, "kind": "corpus"})
    (tmp_path / "out" / LOCK).write_text("pid 1")
    assert make(tmp_path / "out") is False
    assert names_in(tmp_path / "out") == ["corpus.json", "data"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(OutputError, match="not a corpus"):
        make(tmp_path)
    assert names_in(tmp_path) == ["holiday.jpg"]
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "holiday.jpg")
    make(tmp_path / "manifest", kind="manifest")
    with pytest.raises(OutputError, match="not a corpus"):
        make(tmp_path / "manifest")


def hold(folder: Path) -> None:
    with building(folder, "corpus", ONE):
        (folder / "data").write_text("half")
        time.sleep(60)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = FORK.Process(target=hold, args=(tmp_path / "out",))
    holder.start()
    while not (tmp_path / "out/data").exists():
        time.sleep(0.005)
    with pytest.raises(OutputError, match=f"another process \\(pid {holder.pid}\\)"):
        make(tmp_path / "out")
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    assert make(tmp_path / "out")
    assert names_in(tmp_path / "out") == ["corpus.json", "data"]


def count_holders(folder: Path, log: Path, rounds: int) -> None:
    for _ in range(rounds):
        try:
            with building(folder, "corpus", ONE), log.open("a") as file:
                file.write("+")
                file.flush()
                time.sleep(0.001)
                file.write("-")
        except OutputError:
            time.sleep(0.0005)
    os._exit(0)


def test_two_processes_never_hold_one_folder_at_once(tmp_path: Path) -> None:
    """The lock file goes when its owner ends: whoever waits for it must not end up with one that is gone."""
    folder, log = tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    workers = [FORK.Process(target=count_holders, args=(folder, log, 150)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.read_text() == "+-" * (len(log.read_text()) // 2)


# --------------------------------------------------------------------------------------------------- its card


def test_a_wrong_path_names_what_is_near(tmp_path: Path) -> None:
    make(tmp_path / "digits-vi")
    with pytest.raises(SourceError) as caught:
        load_card(tmp_path / "digit-vi", "corpus")
    assert "'digits-vi'" in (caught.value.hint or "")
    with pytest.raises(SourceError) as caught:
        load_card(tmp_path / "no/where", "corpus")
    assert "does not exist either" in (caught.value.hint or "")


def test_a_folder_of_another_kind_says_what_it_is_and_what_to_do(tmp_path: Path) -> None:
    make(tmp_path / "out", kind="manifest")
    with pytest.raises(SourceError, match="is a manifest, not a corpus") as caught:
        load_card(tmp_path / "out", "corpus")
    assert "utterloom pack" in (caught.value.hint or "")
    with pytest.raises(SourceError, match=r"has no corpus\.json"):
        load_card(tmp_path, "corpus")


def test_a_card_that_was_changed_is_found(tmp_path: Path) -> None:
    make(tmp_path / "out")
    card = tmp_path / "out/corpus.json"
    card.write_text(card.read_text().replace('"utterances": 1', '"utterances": 7'))
    with pytest.raises(DamagedError, match="changed since it was written"):
        load_card(tmp_path / "out", "corpus")
    card.write_text("{}")
    with pytest.raises(SourceError, match="does not say its format"):
        load_card(tmp_path / "out", "corpus")


def test_a_card_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "corpus.json", {"utterloom": {"format": 99}})
    with pytest.raises(SourceError, match="format 99"):
        load_card(tmp_path, "corpus")


@settings(max_examples=25)
@given(card=st.dictionaries(st.text().map("x{}".format), JSON, max_size=4))
def test_any_card_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, card: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("card")
    with building(folder, "report", ONE) as made:
        made.commit(card)
    found = load_card(folder, "report")
    assert {key: found[key] for key in card} == card
