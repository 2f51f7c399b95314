"""A folder as a store: whole reads, exact ranges, atomic writes, and errors that name the file."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import ConfigError, DamagedError, OutputError, SourceError
from utterloom.store import LocalStore, open_store
from utterloom.store.local import MAX_OPEN_FILES

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    store.put("letters", b"abcdefghij")
    return store


@given(offset=st.integers(0, 20), num_bytes=st.integers(0, 20))
def test_a_range_is_exact_or_an_error(alphabet: LocalStore, offset: int, num_bytes: int) -> None:
    wanted = b"abcdefghij"[offset:offset + num_bytes]
    if len(wanted) == num_bytes:
        assert alphabet.read_range("letters", offset, num_bytes) == wanted
    else:
        with pytest.raises(DamagedError, match=f"ends before byte {offset + num_bytes}: it was cut short"):
            alphabet.read_range("letters", offset, num_bytes)


@pytest.mark.parametrize(("offset", "num_bytes"), [(-1, 5), (0, -1), (1 << 70, 1)])
def test_a_range_that_cannot_be_is_damage(alphabet: LocalStore, offset: int, num_bytes: int) -> None:
    with pytest.raises(DamagedError):
        alphabet.read_range("letters", offset, num_bytes)


def test_what_is_not_there_is_named(alphabet: LocalStore) -> None:
    for name in ("nothing", "letters/below"):
        with pytest.raises(DamagedError, match="is missing"):
            alphabet.read_range(name, 0, 1)
        for read in (alphabet.read, alphabet.size_bytes):
            with pytest.raises(SourceError, match="does not exist"):
                read(name)
    with pytest.raises(SourceError, match="cannot be read"):
        LocalStore(alphabet.root.parent).read(alphabet.root.name)
    assert not alphabet.exists("nothing") and alphabet.exists("letters") and alphabet.size_bytes("letters") == 10


def test_listing_hides_what_is_hidden_or_being_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("audio/b.tar", "audio/a.tar", "card.json", ".lock", ".tmp-card.json.12", "audio/.tmp-c.tar.9", ".tmp-step/state"):
        store.put(name, b"")
    assert list(store.list()) == ["audio/a.tar", "audio/b.tar", "card.json"]
    assert list(store.list("audio/")) == ["audio/a.tar", "audio/b.tar"]
    assert list(LocalStore(tmp_path / "nowhere").list()) == []


def test_put_replaces_whole_and_fails_by_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("deep/er/file", b"one")
    store.put("deep/er/file", b"two")
    assert store.read("deep/er/file") == b"two"
    for put in (store.put, store.put_if_absent):
        with pytest.raises(OutputError, match="below"):
            put("deep/er/file/below", b"")


def num_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def race(root: Path, barrier: Barrier, number: int) -> None:
    store = LocalStore(root)
    won = []
    for round_number in range(100):
        barrier.wait()
        if store.put_if_absent(f"claims/{round_number}", str(number).encode() * 1000):
            won.append(round_number)
    store.put(f"won/{number}", " ".join(map(str, won)).encode())


def test_of_writers_that_put_one_name_exactly_one_wins(tmp_path: Path) -> None:
    barrier = FORK.Barrier(2)
    writers = [FORK.Process(target=race, args=(tmp_path, barrier, number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = LocalStore(tmp_path)
    won = {number: {int(text) for text in store.read(f"won/{number}").split()} for number in (1, 2)}
    assert won[1] | won[2] == set(range(100)) and not won[1] & won[2]
    for number, rounds in won.items():
        assert all(store.read(f"claims/{claim}") == str(number).encode() * 1000 for claim in rounds)
    assert len(list(tmp_path.joinpath("claims").iterdir())) == 100  # no temporaries


def test_threads_may_read_more_files_than_are_kept_open(tmp_path: Path) -> None:
    """A descriptor that goes out of the cache stays open for whoever reads from it."""
    store = LocalStore(tmp_path)
    num_files = MAX_OPEN_FILES + 20
    for number in range(num_files):
        store.put(f"f{number}", bytes([number]) * 100)
    wrong: list[int] = []

    def read(first: int) -> None:
        for step in range(1000):
            number = (first + step * 7) % num_files
            if store.read_range(f"f{number}", 10, 50) != bytes([number]) * 50:
                wrong.append(number)

    before = num_open()
    threads = [threading.Thread(target=read, args=(first,)) for first in range(0, 80, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert num_open() - before <= MAX_OPEN_FILES
    store.close()
    assert num_open() <= before


@pytest.mark.parametrize(("url", "root"), [
    ("a/b", "a/b"), ("/a b/c=1", "/a b/c=1"), ("file:///a/b", "/a/b"), ("file://data/b", "data/b"), (Path("a:b/c"), "a:b/c")])
def test_a_folder_is_opened_by_path_or_url(url: str | Path, root: str) -> None:
    """B-P9: `file://data/…` is a folder, not a host."""
    assert open_store(url).url == root


@pytest.mark.parametrize("url", ["s3://bucket/corpus", "hf://datasets/me/corpus", Path("s3://bucket/corpus"), "https://x/y"])
def test_a_store_that_nobody_serves_is_refused(url: str | Path) -> None:
    with pytest.raises(ConfigError, match="local folders only"):
        open_store(url)
