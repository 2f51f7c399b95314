"""Objects by URL: asked for by the prefix, copied whole or not at all; against a store in memory, and a server of S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import soundfile

from tests.odd_source import RATE_HZ, tone
from tests.prepare.corpora import said
from utterloom.core.artifact import TEMPORARY
from utterloom.core.errors import OutputError, SourceError
from utterloom.core.ledger import read_drops
from utterloom.prepare.readers.table import TableReader
from utterloom.prepare.stage import PrepareConfig, prepare
from utterloom.store import objects
from utterloom.store.objects import Objects, as_url, fetch, read_object

SECRET = "a-key-that-nobody-shall-read"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A bucket of a real server on this machine, and the environment that leads to it."""
    pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    server_of = pytest.importorskip("moto.server", reason="no S3 server: pip install 'moto[server]'")
    import boto3

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    named = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET,
             "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in named.items():
            patch.setenv(key, value)
        boto3.client("s3").create_bucket(Bucket="speech")
        yield "s3://speech"
    server.stop()


def put(url: str, content: bytes) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(content)


def sound(folder: Path, seconds: float) -> bytes:
    soundfile.write(folder / "x.flac", tone(seconds), RATE_HZ)
    return (folder / "x.flac").read_bytes()


@pytest.mark.parametrize(("text", "url"), [
    ("s3://b/k.wav", "s3://b/k.wav"), (str(Path("s3://b/k.wav")), "s3://b/k.wav"), ("a/b.csv", None), ("/s3:/x", None),
    ("C:/x", None), ("memory:///a/b", "memory://a/b"), ("s3:b", None)])
def test_what_is_a_url(text: str, url: str | None) -> None:
    assert as_url(text) == url


def test_prefixes_are_listed_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one question for each of many objects; few folders one by one, many through the folder that they lie in."""
    urls = [f"memory://bucket/part{number % 3}/u{number:04d}.wav" for number in range(300)]
    for url in urls[:-1]:
        memory.pipe_file(url.removeprefix("memory:/"), b"x" * 7)
    asked: list[str] = []
    for name in ("ls", "find", "info", "exists"):
        real = getattr(type(memory), name)
        monkeypatch.setattr(type(memory), name, lambda self, path, *args, _name=name, _real=real, **more: (
            asked.append(_name), _real(self, path, *args, **more))[1])
    found = Objects(urls)
    assert asked == ["ls"] * 3 and set(found.found) == set(urls[:-1]) and {info.num_bytes for info in found.found.values()} == {7}
    assert found.near(urls[-1])[0].startswith("u029")
    monkeypatch.setattr(objects, "MOST_FOLDERS_LISTED", 2)
    assert set(Objects(urls).found) == set(urls[:-1]) and "find" in asked and len(asked) < 20


def test_copies_are_whole_and_made_once(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {f"memory://b/{name}": name.encode() * 100 for name in ("a.wav", "c/a.wav")}
    for url, content in urls.items():
        put(url, content)
    first = fetch(Objects(urls).found, tmp_path / "copies")
    assert {url: Path(path).read_bytes() for url, path in first.items()} == urls
    before = {path: Path(path).stat().st_ctime_ns for path in first.values()}
    assert fetch(Objects(urls).found, tmp_path / "copies") == first
    assert before == {path: Path(path).stat().st_ctime_ns for path in first.values()}
    put("memory://b/a.wav", b"new" * 9)
    assert Path(fetch(Objects(urls).found, tmp_path / "copies")["memory://b/a.wav"]).read_bytes() == b"new" * 9
    monkeypatch.setattr(type(memory), "get_file", lambda self, path, place, **more: Path(place).write_bytes(b"half"))
    (tmp_path / "copies/memory/b/a.wav").unlink()
    assert "4 of its 27 bytes" in str(fetch(Objects(urls).found, tmp_path / "copies")["memory://b/a.wav"])
    assert not (tmp_path / "copies/memory/b/a.wav").exists() and not list(tmp_path.rglob(f"{TEMPORARY}*"))
    monkeypatch.setattr(objects, "check_room", lambda folder, num_bytes, advice: (_ for _ in ()).throw(OutputError(f"{num_bytes}")))
    with pytest.raises(OutputError, match="27"):
        fetch(Objects(urls).found, tmp_path / "copies")


def test_what_cannot_be_read_is_said() -> None:
    for url in ("memory://nowhere/x.csv", "nosuch://b/x.csv"):
        with pytest.raises(SourceError):
            read_object(url)


def write_corpus(url: str, folder: Path) -> None:
    """As system C keeps it: a CSV with the columns ID, duration, wav, spk_id, wrd, and clips; one clip is not there (C5, C6)."""
    for number in range(4):
        put(f"{url}/data/clips/c{number}.flac", sound(folder, 0.5 + number / 10))
    put(f"{url}/data/clips/bad.flac", b"no audio")
    rows = [f"u{number},{0.5 + number / 10},clips/c{number}.flac,s{number % 2},một {number}" for number in range(4)]
    rows += [f"u4,1.0,{url}/data/clips/c04.flac,s1,hai", "u5,1.0,clips/bad.flac,s1,ba"]
    put(f"{url}/data/train.csv", "\n".join(["ID,duration,wav,spk_id,wrd", *rows]).encode())


def check_corpus(url: str, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
    """C-P7: everything that the table points to is looked for, and what is missing is told with what is there."""
    write_corpus(url, folder)
    source = Path(f"{url}/data/train.csv")
    with pytest.raises(SourceError, match="6 recordings in an object store") as caught:
        prepare("table", source, folder / "m", PrepareConfig(workers=0, dev=0, test=0))
    assert caught.value.hint == "audio=FOLDER gives it one" and not (folder / "m").exists()
    config = PrepareConfig(workers=0, dev=0, test=0, audio=str(folder / "copies"))
    card = prepare("table", source, folder / "m", config)
    assert card["utterances"] == 4 and card["hours"] == pytest.approx(2.6 / 3600, abs=1e-4)
    drops = {drop.id: drop for drop in read_drops(folder / "m")}
    assert {name: drop.reason for name, drop in drops.items()} == {"u4": "recording missing", "u5": "recording not readable"}
    assert f"there is no {url}/data/clips/c04.flac; names that look like it: c0.flac" in drops["u4"].detail
    utterances, _ = said(TableReader(folder / "copies"), source)
    one = utterances["u1"]
    assert (one.text, one.speaker, one.attributes["url"]) == ("một 1", "s1", f"{url}/data/clips/c1.flac")
    (folder / "local.csv").write_text("id,path\nu1,clips/c1.flac\nu2,clips/none.flac\n", encoding="utf-8")
    kept, lost = said(TableReader(folder / "copies", f"{url}/data/"), folder / "local.csv")
    assert kept["u1"].attributes == {"url": f"{url}/data/clips/c1.flac"} and lost["u2"].reason == "recording missing"
    with pytest.raises(SourceError, match=r"there is no .*/data/trane\.csv"):
        TableReader().fingerprint(Path(f"{url}/data/trane.csv"))
    printed = capture.readouterr()
    assert SECRET not in printed.out + printed.err


def test_a_corpus_in_a_store(memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_corpus("memory://speech", tmp_path, capsys)


def test_a_corpus_on_s3(s3_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_corpus(s3_url, tmp_path, capsys)


def test_a_server_that_is_not_there_and_a_bucket_that_is_not_ours(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"there is no s3://nobodys/x\.csv"):
        read_object("s3://nobodys/x.csv")
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SourceError) as caught:
        read_object("s3://speech/x.csv")
    assert SECRET not in str(caught.value) and "cannot be read" in caught.value.message
    s3fs.S3FileSystem.clear_instance_cache()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
