"""What arrives later joins a corpus whose shards stay as they are, byte by byte (E7: the official splits came last)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tones import hash_of_folder, make_speech, packed, prepared
from utterloom.batches.loader import SplitIndex
from utterloom.core.artifact import load_card
from utterloom.core.errors import CorpusError, OutputError
from utterloom.core.ledger import read_drops
from utterloom.shards.reader import Corpus, verify
from utterloom.show import show


def ids(corpus: Path, split: str) -> set[str]:
    found = Corpus(corpus)
    return {table.id(row) for table, row in found.rows(split)}


def files(corpus: Path) -> dict[str, bytes]:
    return {str(path.relative_to(corpus)): path.read_bytes()
            for part in ("audio", "utterances") for path in (corpus / part).iterdir()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return make_speech(tmp_path / "speech", 40, num_speakers=8)


@pytest.fixture
def corpus(table: Path, tmp_path: Path) -> Path:
    """Everything is train."""
    prepared(table, tmp_path / "m")
    packed(tmp_path / "m", tmp_path / "corpus", shard_s=4.0)
    return tmp_path / "corpus"


def test_splits_that_arrive_later_need_no_repacking(table: Path, corpus: Path, tmp_path: Path) -> None:
    before = files(corpus)
    official = tmp_path / "official.tsv"
    chosen = {f"u{number:04d}": "dev" if number % 8 == 3 else "test" for number in range(40) if number % 8 in (3, 5)}
    official.write_text("id\tsplit\n" + "".join(f"{name}\t{split}\n" for name, split in chosen.items()))
    prepared(table, tmp_path / "later", splits=str(official))
    card = packed(tmp_path / "later", corpus, attach=True)
    assert files(corpus) == before
    assert card["attached"][0]["moved"] == 10 and card["attached"][0]["added"] == 0
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 30, "dev": 5, "test": 5}
    for split in ("dev", "test"):
        assert ids(corpus, split) == {name for name, there in chosen.items() if there == split}
    assert not ids(corpus, "train") & set(chosen) and len(ids(corpus, "train")) == 30
    assert card["prepared"]["overlaps"]["dev/train"]["speaker"] == 0
    assert verify(Corpus(corpus)) == []
    index = SplitIndex.open(Corpus(corpus), "dev")  # what training and scoring read
    assert {utterance for utterance, _ in index.texts("basic")} == ids(corpus, "dev")
    value, _ = show(corpus, ["u0003"])
    assert value["split"] == "dev"
    assert "arrived after they were packed" in (corpus / "README.md").read_text()
    again = packed(tmp_path / "later", corpus, attach=True)
    assert again == card
    # The first command finds its corpus, as it is now.
    assert packed(tmp_path / "m", corpus, shard_s=4.0)["content"] == card["content"]


def test_new_utterances_become_new_shards_and_known_ones_stay(table: Path, corpus: Path, tmp_path: Path) -> None:
    before = files(corpus)
    more = make_speech(tmp_path / "more", 12, num_speakers=3, splits=("test",), seed=9)
    text = more.read_text().replace("u00", "new-00").replace("audio/new-00", "audio/u00")
    more.write_text(text)
    prepared(more, tmp_path / "m2")
    card = packed(tmp_path / "m2", corpus, attach=True)
    after = files(corpus)
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    assert card["utterances"] == 52 and card["splits"]["test"]["utterances"] == 12
    assert sum(stage["ok"] for stage in card["ledger"] if stage.get("stage") == "pack") == 52
    assert verify(Corpus(corpus)) == []
    both = tmp_path / "both.tsv"  # old and new in one table, old ones in between, one of them in dev now
    lines = table.read_text().splitlines()
    old = [f"{line}\t{'dev' if line.startswith('u0007') else 'train'}".replace("audio/", "speech/audio/") for line in lines[1:]]
    new = [line.replace("audio/", "more/audio/").replace("new-", "newer-") for line in text.splitlines()[1:]]
    between = [line for pair in zip(old, [*new, *[""] * 28], strict=True) for line in pair if line]
    both.write_text("\n".join([f"{lines[0]}\tsplit", *between]))
    prepared(both, tmp_path / "m3")
    card = packed(tmp_path / "m3", corpus, attach=True)
    assert card["attached"][-1]["added"] == 12 and card["attached"][-1]["moved"] == 1
    assert ids(corpus, "dev") == {"u0007"} and card["utterances"] == 64
    assert verify(Corpus(corpus)) == []


def test_what_was_dropped_is_counted_once_and_nothing_is_taken_away(table: Path, corpus: Path, tmp_path: Path) -> None:
    """A manifest that lost some of what the corpus has: they stay, and are not counted as dropped."""
    before = load_card(corpus, "corpus")
    prepared(table, tmp_path / "less", max_s=0.4)
    card = packed(tmp_path / "less", corpus, attach=True)
    assert card["utterances"] == before["utterances"] and verify(Corpus(corpus)) == []
    assert all(stage["dropped"] == 0 for stage in card["ledger"]) and read_drops(corpus) == []
    lines = table.read_text().splitlines()
    odd = tmp_path / "speech" / "odd.tsv"
    odd.write_text("\n".join([lines[0], lines[1].replace("u0000", "new", 1), lines[2].replace("u0001", "gone")]))
    for name in ("once", "twice"):
        prepared(odd, tmp_path / name, seed=len(name))
        card = packed(tmp_path / name, corpus, attach=True)
    assert [drop.id for drop in read_drops(corpus)] == ["gone"]
    assert sum(stage["dropped"] for stage in card["ledger"]) == 1 and card["utterances"] == before["utterances"] + 1


def test_shards_that_are_gone_are_packed_again(table: Path, corpus: Path, tmp_path: Path) -> None:
    before = hash_of_folder(corpus)
    (corpus / "audio" / "train-00001.tar").unlink()
    path = corpus / "utterances" / "train-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert len(verify(Corpus(corpus))) >= 2
    packed(tmp_path / "m", corpus, shard_s=4.0)
    assert hash_of_folder(corpus) == before and verify(Corpus(corpus)) == []
    (corpus / "audio" / "train-00001.tar").unlink()
    (table.parent / "audio" / "u0012.flac").write_bytes((table.parent / "audio" / "u0020.flac").read_bytes())
    with pytest.raises(CorpusError, match="came out otherwise than before"):
        packed(tmp_path / "m", corpus, shard_s=4.0)


def test_back_again(table: Path, corpus: Path, tmp_path: Path) -> None:
    """Moved to dev, then back to train: nothing is moved any more."""
    for name, split in (("there", "dev"), ("back", "train")):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"id,split\nu0001,{split}\n")
        prepared(table, tmp_path / name, splits=str(path))
        card = packed(tmp_path / name, corpus, attach=True)
        assert (ids(corpus, "dev") if split == "dev" else ids(corpus, "train")) >= {"u0001"}
    assert card["moved"]["utterances"] == 0 and len(list(corpus.glob("splits-*.parquet"))) == 1
    assert Corpus(corpus).splits == ["train"]


def test_what_cannot_be_attached_says_why(table: Path, corpus: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    other = tmp_path / "speech" / "other.tsv"
    other.write_text("\n".join([lines[0], lines[1].replace("\ts0", "\ts0").rsplit("\t", 2)[0] + "\tkhông\ts0"]))
    prepared(other, tmp_path / "other")
    with pytest.raises(CorpusError, match="'u0000' has another text"):
        packed(tmp_path / "other", corpus, attach=True)
    other.write_text("\n".join([lines[0], lines[1].replace("audio/u0000", "audio/u0001")]))
    prepared(other, tmp_path / "stretch")
    with pytest.raises(CorpusError, match="another stretch of audio"):
        packed(tmp_path / "stretch", corpus, attach=True)
    with pytest.raises(OutputError, match="16000 Hz, not 8000"):
        packed(tmp_path / "other", corpus, attach=True, sample_rate_hz=8000)
    assert verify(Corpus(corpus)) == []


def test_a_list_of_splits_that_is_hurt_is_found(table: Path, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.csv"
    path.write_text("id,split\nu0001,dev\n")
    prepared(table, tmp_path / "later", splits=str(path))
    packed(tmp_path / "later", corpus, attach=True)
    (moved,) = corpus.glob("splits-*.parquet")
    moved.write_bytes(moved.read_bytes()[:-1])
    assert [damage.shard for damage in verify(Corpus(corpus))] == [moved.name]


@pytest.mark.slow
def test_killed_while_attaching(tmp_path: Path) -> None:
    """At any moment the corpus is whole, as it was or as it will be; the same command goes on, and the end is always the same."""
    first = make_speech(tmp_path / "speech", 40, num_speakers=8)
    prepared(first, tmp_path / "m")
    more = make_speech(tmp_path / "more", 200, num_speakers=5, splits=("dev", "test"), seed=3)
    more.write_text(more.read_text().replace("\nu", "\nv"))
    prepared(more, tmp_path / "m2")

    def fresh(name: str) -> Path:
        packed(tmp_path / "m", tmp_path / name, shard_s=4.0)
        return tmp_path / name

    whole = fresh("whole")
    packed(tmp_path / "m2", whole, attach=True, shard_s=3.0)
    rng = random.Random(0)
    for number in range(6):
        corpus = fresh(f"killed-{number}")
        kills = 0
        while "attached" not in load_card(corpus, "corpus"):
            process = subprocess.Popen([sys.executable, "-m", "utterloom.cli", "pack", str(tmp_path / "m2"), str(corpus),
                                        "attach=true", "shard_s=3", "workers=0"], stderr=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
            deadline = time.monotonic() + rng.uniform(0.4, 1.6) + 0.2 * kills
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            assert {table.id(row) for table, row in Corpus(corpus).rows()} in (
                {table.id(row) for table, row in Corpus(whole).rows()}, {f"u{n:04d}" for n in range(40)})
        assert verify(Corpus(corpus)) == []
        for leftover in (".lock",):
            (corpus / leftover).unlink(missing_ok=True)
        assert hash_of_folder(corpus) == hash_of_folder(whole)
