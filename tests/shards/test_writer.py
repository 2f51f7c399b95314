"""One shard: its tar opens with any tool, its rows point at its bytes, and writing it twice gives the same."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shards.test_layout import REAL_IDS
from tests.tones import hash_of_folder
from utterloom.core.ledger import read_drops
from utterloom.core.records import Drop
from utterloom.shards import layout
from utterloom.shards.writer import is_whole, shard_facts, write_shard

RATE_HZ = 16_000
CONTENT = st.lists(st.tuples(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1), st.binary(max_size=1500),
                             st.booleans()), max_size=6, unique_by=lambda item: item[0])


def row(utterance_id: str, num_samples: int = 160) -> dict[str, Any]:
    return {"id": utterance_id, "text": "một  Hai!", "text_basic": "một hai", "speaker": None, "session": None, "language": "vi",
            "split": "train", "attributes": [("accent", "bắc")], "duration_s": num_samples / RATE_HZ, "num_samples": num_samples,
            "sample_rate_hz": RATE_HZ,
            "spans": [{"path": "x.wav", "start_sample": 0, "stop_sample": 160, "sample_rate_hz": RATE_HZ, "num_channels": 1}]}


def drop(utterance_id: str) -> Drop:
    return Drop(utterance_id, "pack", "not decodable", "why", 1.0)


@settings(max_examples=25)
@given(CONTENT)
def test_every_row_points_at_its_own_bytes(tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, bytes, bool]]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    facts = write_shard(folder, "train-00000", ((row(name), flac) if kept else drop(name) for name, flac, kept in items), ["basic"])
    kept = [(name, flac) for name, flac, is_kept in items if is_kept]
    tar = (folder / "audio/train-00000.tar").read_bytes()
    rows = pq.read_table(folder / "utterances/train-00000.parquet").to_pylist()
    assert [(line["id"], tar[line["audio_offset"]:line["audio_offset"] + line["audio_bytes"]]) for line in rows] == kept
    assert [line["audio_crc32"] for line in rows] == [zlib.crc32(flac) for _, flac in kept]
    assert (facts["in"], facts["utterances"], facts["dropped"]) == (len(items), len(kept), len(items) - len(kept))
    assert (facts["audio_bytes"], facts["audio_sha256"]) == (len(tar), hashlib.sha256(tar).hexdigest())
    assert facts == shard_facts(folder / "utterances/train-00000.parquet")
    assert [found.id for found in read_drops(folder)] == [name for name, _, is_kept in items if not is_kept]
    assert is_whole(folder, "train-00000")


def test_tarfile_opens_what_we_wrote(tmp_path: Path) -> None:
    write_shard(tmp_path, "train-00000", ((row(name), name.encode()) for name in REAL_IDS), ["basic"])
    with tarfile.open(tmp_path / "audio/train-00000.tar") as tar:
        members = tar.getmembers()
        content = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    names = [f"{layout.escape_id(name)}.{suffix}" for name in REAL_IDS for suffix in ("flac", "json")]
    assert [member.name for member in members] == names
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
    for name in REAL_IDS:
        assert content[f"{layout.escape_id(name)}.flac"] == name.encode()
        described = json.loads(content[f"{layout.escape_id(name)}.json"])
        assert (described["id"], described["text"], described["language"]) == (name, "một  Hai!", "vi")


def test_names_longer_than_a_tar_header_keep_their_offsets(tmp_path: Path) -> None:
    name = "ờ" * 200
    write_shard(tmp_path, "train-00000", [(row(name), b"sound")], ["basic"])
    (line,) = pq.read_table(tmp_path / "utterances/train-00000.parquet").to_pylist()
    assert (tmp_path / "audio/train-00000.tar").read_bytes()[line["audio_offset"]:][:5] == b"sound"
    with tarfile.open(tmp_path / "audio/train-00000.tar") as tar:
        assert [layout.unescape_id(member.split(".")[0]) for member in tar.getnames()] == [name, name]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_shard(tmp_path / folder, "train-00000", [(row("a"), b"sound"), drop("b"), (row("c"), b"more")], ["basic"])
    assert hash_of_folder(tmp_path / "one") == hash_of_folder(tmp_path / "two")


def test_a_shard_that_fails_half_way_has_no_commit_mark(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[dict[str, Any], bytes]]:
        yield row("a"), b"sound"
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path, "train-00000", rows(), ["basic"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not is_whole(tmp_path, "train-00000")


@pytest.mark.parametrize("hurt", ["audio/train-00000.tar", "utterances/train-00000.parquet", "dropped/pack-train-00000.parquet"])
def test_a_shard_that_lost_a_file_or_a_part_of_one_is_not_whole(tmp_path: Path, hurt: str) -> None:
    write_shard(tmp_path, "train-00000", [(row("a"), b"sound" * 1000)], ["basic"])
    path = tmp_path / hurt
    content = path.read_bytes()
    if not hurt.startswith("dropped"):
        path.write_bytes(content[:len(content) // 2])
        assert not is_whole(tmp_path, "train-00000")
    path.unlink()
    assert not is_whole(tmp_path, "train-00000")
