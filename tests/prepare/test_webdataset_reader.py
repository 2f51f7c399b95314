"""WebDataset shards of every habit, packed and unpacked; B3's in particular."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.tones import packed
from utterloom.audio.decode import decode
from utterloom.core.errors import SourceError
from utterloom.core.ledger import read_drops
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.webdataset import WebDatasetReader, items_of, shards_of
from utterloom.prepare.stage import PrepareConfig, prepare
from utterloom.store.members import is_there, parse_member_path

Content = bytes | str | dict[str, object]


def wav(seconds: float = 0.5, hz: float = 440.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.2 * np.sin(2 * np.pi * hz * np.arange(int(seconds * 16_000)) / 16_000), 16_000, format="WAV")
    return file.getvalue()


def as_bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()


def pack(path: Path, members: dict[str, Content]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(as_bytes(content))
            tar.addfile(entry, io.BytesIO(as_bytes(content)))
    return path


def unpack(folder: Path, members: dict[str, Content]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(as_bytes(content))
    return folder


def split(items: list[Utterance | Drop]) -> tuple[list[Utterance], list[Drop]]:
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


def read_tar(path: Path) -> tuple[list[Utterance], list[Drop]]:
    return split([item for shard in shards_of(path) for item in items_of(shard)])


B3 = {"00000000.wav": wav(), "00000000.json": {"audio_id": "vi/001", "transcript": " xin  chào ", "sample_rate": 16000},
      "00000001.wav": wav(0.7), "00000001.json": {"audio_id": "vi/002", "transcript": "", "sample_rate": 16000}}


def test_b3_shards_name_the_bytes_of_each_recording(tmp_path: Path) -> None:
    """B3: wav and json; the corpus id is the key, not the number that begins anew in each shard (K22)."""
    (one, two), drops = read_tar(pack(tmp_path / "shard-000000.tar", B3))
    assert not drops and (one.id, one.text, two.id, two.text) == ("vi/001", "xin chào", "vi/002", None)
    assert one.attributes == {"sample_rate": "16000"} and Path(one.spans[0].path).name == "00000000.wav"
    address = parse_member_path(one.spans[0].path)
    assert address is not None and address[0] == str(tmp_path / "shard-000000.tar") and address[3] == "00000000.wav"
    _, offset, num_bytes, _ = address
    content = Path(address[0]).read_bytes()[offset:offset + num_bytes]
    assert content == wav() and len(decode(content)[0]) == 8000
    assert parse_member_path(str(tmp_path / "a.wav")) is None
    assert is_there(one.spans[0].path) and not is_there(f"{tmp_path}/shard-000000.tar#0+999999/a.wav") and not is_there("x" * 5000)


def test_shards_are_prepared_and_packed_where_they_lie(tmp_path: Path) -> None:
    """The same samples from tar files and from folders; a shard that is cut or gone by the time of packing is told of."""
    members = {"0.wav": wav(), "0.txt": "một", "1.flac": b"", "1.txt": "x", "2.wav": wav(0.6, 600), "2.txt": "hai"}
    for name in ("train-0", "valid-0"):
        pack(tmp_path / "tars" / f"{name}.tar", members)
        unpack(tmp_path / "folders" / name, members)
    spoken = {}
    for source in ("tars", "folders"):
        card = prepare("webdataset", tmp_path / source, tmp_path / f"{source}-manifest", PrepareConfig(workers=0))
        assert {name: row["utterances"] for name, row in card["splits"].items()} == {"train": 2, "dev": 2}
        assert [(row["reason"], row["utterances"]) for row in card["ledger"]["reasons"]] == [("recording not readable", 2)]
        packed(tmp_path / f"{source}-manifest", tmp_path / f"{source}-corpus")
        spoken[source] = {row["id"]: (row["text"], row["num_samples"], row["audio_crc32"]) for path in sorted(
            (tmp_path / f"{source}-corpus" / "utterances").iterdir()) for row in pq.read_table(path).to_pylist()}
    assert spoken["tars"] == spoken["folders"] and len(spoken["tars"]) == 4
    (tmp_path / "tars/valid-0.tar").unlink()
    content = (tmp_path / "tars/train-0.tar").read_bytes()
    (tmp_path / "tars/train-0.tar").write_bytes(content[:len(content) // 2])
    card = packed(tmp_path / "tars-manifest", tmp_path / "hurt-corpus")
    reasons = [drop.detail for drop in read_drops(tmp_path / "hurt-corpus") if drop.stage == "pack"]
    assert card["utterances"] == 1 and len(reasons) == 3 and sum("cut short" in reason for reason in reasons) == 1


def test_unpacked_shards_are_prepared(tmp_path: Path) -> None:
    """Numbers that begin anew in each shard are two ids, and valid is dev (K5)."""
    members = {"00000000.wav": wav(), "00000000.txt": "một", "00000001.flac": b"", "00000002.wav": wav(0.6), "00000002.txt": "hai"}
    for name in ("train-000000", "train-000001", "valid-000000"):
        unpack(tmp_path / "shards" / name, members)
    card = prepare("webdataset", tmp_path / "shards", tmp_path / "manifest", PrepareConfig(workers=0))
    assert {name: row["utterances"] for name, row in card["splits"].items()} == {"train": 4, "dev": 2}
    assert card["ledger"]["in"] == 9 and [row["utterances"] for row in card["ledger"]["reasons"]] == [3]
    kept, _ = split(list(WebDatasetReader().read(tmp_path / "shards")))
    assert kept[0].id == "train-000000/00000000"
    before = WebDatasetReader().fingerprint(tmp_path / "shards")
    unpack(tmp_path / "shards" / "valid-000000", {"00000002.txt": "ba"})
    assert WebDatasetReader().fingerprint(tmp_path / "shards") != before


def test_names_end_at_the_first_dot_or_at_the_last(tmp_path: Path) -> None:
    """K22, E4: ids like `hash_123.4-135.4` are real, and so are members like `a.en.txt`."""
    kept, drops = read_tar(pack(tmp_path / "first.tar", {
        "./d/a.audio.flac": b"x", "./d/a.en.txt": "da", "b.flac": b"x", "b.meta.json": {"text": "ne", "speaker": 7}}))
    assert not drops and [(u.id, u.text, u.speaker) for u in kept] == [("first/d/a", "da", None), ("first/b", "ne", "7")]
    kept, drops = read_tar(pack(tmp_path / "last.tar", {
        "hash_123.4-135.4.wav": b"x", "hash_123.4-135.4.txt": "da", "hash_123.9-1.wav": b"x", "hash_123.9-1.json": {"text": "ne"},
        "c.wav": b"x", "c.txt": "c", "c.speaker.txt": "c"}))
    assert not drops and [u.id for u in kept] == ["last/hash_123.4-135.4", "last/hash_123.9-1", "last/c"]


@pytest.mark.parametrize(("members", "reason", "why"), [
    ({"a.json": {}}, "no audio", "a.json"), ({"a.wav": b"", "a.flac": b"", "a.txt": "x"}, "several recordings", "a.wav, a.flac"),
    ({"a.wav": b"", "a.json": "{"}, "bad sample", "not JSON"), ({"a.wav": b"", "a.json": "[1]"}, "bad sample", "not a JSON object"),
    ({"a.wav": b"", "a.txt": b"\xff"}, "bad sample", "not UTF-8"),
    ({"a.wav": b"", "a.json": {"text": 3}}, "bad sample", "text is 3"),
    ({"a.wav": b"", "a.json": {"text": "x"}, "a.txt": "y"}, "two transcripts", "'y' and 'x'")])
def test_a_sample_that_cannot_be_used_is_a_drop(tmp_path: Path, members: dict[str, Content], reason: str, why: str) -> None:
    kept, drops = read_tar(pack(tmp_path / "s.tar", members))
    assert not kept and [drop.reason for drop in drops] == [reason] and why in drops[0].detail


def test_classes_and_equal_transcripts_and_other_members(tmp_path: Path) -> None:
    kept, drops = read_tar(pack(tmp_path / "s.tar", {
        "a.wav": b"x", "a.cls": "yes", "b.wav": b"x", "b.cls": "3", "c.wav": b"x", "c.txt": "x  y\n", "c.json": {"text": "x y"},
        "d.npy": b"x", "e.wav": b"x", "e.json": {"sentence": "s", "lang": "hr", "split": "val", "more": [1]}}))
    assert not drops and [(u.id, u.text, u.split, u.language, dict(u.attributes)) for u in kept] == [
        ("s/a", "yes", None, None, {"cls": "yes"}), ("s/b", None, None, None, {"cls": "3"}), ("s/c", "x y", None, None, {}),
        ("s/e", "s", "dev", "hr", {"more": "[1]"})]


def test_a_long_recording_with_its_segments_in_the_json(tmp_path: Path) -> None:
    row = {"id": "rec", "speaker": "ana", "segments": [{"id": "u1", "start": 0.5, "end": 1.5, "text": "da"},
                                                       {"start": 2, "end": 3, "spk": "ivo"}, {"start": 5, "end": 4}]}
    kept, drops = read_tar(pack(tmp_path / "s.tar", {"0.mp3": b"x", "0.json": row}))
    assert [(u.id, u.text, u.speaker, u.spans[0].start_s) for u in kept] == [
        ("u1", "da", "ana", 0.5), ("rec_2.00-3.00", None, "ivo", 2)]
    assert [drop.reason for drop in drops] == ["ends before it starts"]


def test_a_hurt_shard_gives_what_is_before_the_damage_and_says_so(tmp_path: Path) -> None:
    """The faults of a shard: cut in half, cut between two members, a block of zeros, one byte of a header changed, empty."""
    whole = pack(tmp_path / "s.tar", B3).read_bytes()
    with tarfile.open(tmp_path / "s.tar") as tar:
        places = [entry.offset for entry in tar]
    flipped = bytearray(whole)
    flipped[places[2] + 150] ^= 1
    zeroed = whole[:places[2]] + bytes(512) + whole[places[2] + 512:]
    cut = whole[:places[3]]
    for name, content, num_kept in (("half", whole[:places[2] + 900], 1), ("between", cut, 1), ("zeros", zeroed, 1),
                                    ("flipped", bytes(flipped), 1), ("empty", b"", 0), ("text", b"x" * 2000, 0)):
        (tmp_path / f"{name}.tar").write_bytes(content)
        kept, drops = read_tar(tmp_path / f"{name}.tar")
        assert len(kept) >= num_kept and [u.id for u in kept][:1] == ["vi/001"] * min(num_kept, 1), name
        assert drops[-1].reason == "damaged shard" and drops[-1].id == name, name


def test_patterns_name_shards_that_must_be_there(tmp_path: Path) -> None:
    for number in range(3):
        pack(tmp_path / f"set/train-{number:06d}.tar", B3)
    assert [shard.name for shard in shards_of(tmp_path / "set/train-{000000..000002}.tar")] == [
        "train-000000", "train-000001", "train-000002"]
    assert [shard.split for shard in shards_of(tmp_path / "s*/train-*[01].tar")] == ["train", "train"]
    assert [shard.name for shard in shards_of(tmp_path)] == [f"set/train-{number:06d}" for number in range(3)]
    assert len(shards_of(tmp_path / "set/train-00000{0,2}.tar")) == 2
    with pytest.raises(SourceError, match=r"000003\.tar \(1 of 4 shards are missing\)"):
        shards_of(tmp_path / "set/train-{000000..000003}.tar")
    with pytest.raises(SourceError, match="there is no ") as caught:
        shards_of(tmp_path / "set/train-00000.tar")
    assert "did you mean 'train-00000" in (caught.value.hint or "")
    for name in ("*.nothing.tar", "x.tar.gz"):
        with pytest.raises(SourceError):
            shards_of(tmp_path / name)
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"no \.tar files"):
        shards_of(tmp_path / "none")
