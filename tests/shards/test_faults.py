"""The seven faults, those of files: each is detected and named by `verify` and by reading, and the rest is delivered.

(A killed writer: tests/pack/test_kills.py. A killed reader: tests/batches/test_loader.py.)
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Command, Spoken
from utterloom.core.artifact import read_json, write_json
from utterloom.core.errors import DamagedError, UtterloomError
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, Damage, verify

SHARD = "train-00001"
TAR, PARQUET = layout.audio_path(SHARD), layout.utterances_path(SHARD)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def zero_block(path: Path) -> None:
    overwrite(path, path.stat().st_size // 2, b"\0" * 512)


def flip_byte(path: Path, offset: int | None = None) -> None:
    offset = path.stat().st_size // 2 if offset is None else offset
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 0xFF]))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut in half": (cut, "cut short"), "a zeroed block": (zero_block, "checksum"), "one byte flipped": (flip_byte, "checksum"),
    "missing": (Path.unlink, "missing"), "empty": (lambda path: path.write_bytes(b""), "empty")}


@pytest.fixture
def corpus(spoken: Spoken, tmp_path: Path) -> Path:
    """A copy to hurt."""
    return Path(shutil.copytree(spoken.corpus, tmp_path / "corpus"))


def read_all(corpus: Corpus) -> tuple[dict[str, bytes], list[str]]:
    """What can be read by id, and what is said of the rest."""
    delivered, complaints = {}, []
    for shard in corpus.shards:
        try:
            table = corpus.table(shard.name)
        except DamagedError as error:
            complaints.append(error.message)
            continue
        for row in range(len(table)):
            try:
                delivered[table.id(row)] = corpus.flac(table, row)
            except DamagedError as error:
                complaints.append(error.message)
    return delivered, complaints


def ids_in(corpus: Path, shard: str) -> list[str]:
    table = Corpus(corpus).table(shard)
    return [table.id(row) for row in range(len(table))]


def test_a_whole_corpus_is_whole(corpus: Path) -> None:
    assert verify(Corpus(corpus)) == []
    delivered, complaints = read_all(Corpus(corpus))
    assert len(delivered) == 48 and not complaints


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hurt_parquet_file_is_named_and_the_other_shards_are_delivered(corpus: Path, fault: str) -> None:
    hurt = ids_in(corpus, SHARD)
    whole, _ = read_all(Corpus(corpus))
    do, word = FAULTS[fault]
    do(corpus / PARQUET)
    (damage,) = verify(Corpus(corpus))
    assert damage.shard == SHARD and PARQUET in damage.what and word in damage.what
    delivered, (complaint,) = read_all(Corpus(corpus))
    assert SHARD in complaint and word in complaint
    assert delivered == {name: flac for name, flac in whole.items() if name not in hurt}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hurt_tar_is_named_and_all_that_is_not_hurt_is_delivered(corpus: Path, fault: str) -> None:
    ids, (whole, _) = ids_in(corpus, SHARD), read_all(Corpus(corpus))
    before = (corpus / TAR).read_bytes()
    do, word = FAULTS[fault]
    do(corpus / TAR)
    after = (corpus / TAR).read_bytes() if (corpus / TAR).exists() else b""
    table = Corpus(corpus).table(SHARD)
    hurt = {table.id(row) for row, (offset, size) in enumerate(zip(table.offsets, table.sizes, strict=True))
            if before[offset:offset + size] != after[offset:offset + size]}
    assert hurt and (fault in ("missing", "empty") or len(hurt) < len(ids))

    first, *others = verify(Corpus(corpus))
    assert (first.shard, first.utterance) == (SHARD, None) and TAR in first.what and word in first.what
    assert fault == "missing" or {damage.utterance for damage in others} == hurt

    delivered, complaints = read_all(Corpus(corpus))
    assert delivered == {name: flac for name, flac in whole.items() if name not in hurt}
    assert len(complaints) == len(hurt) and all(any(name in complaint for complaint in complaints) for name in hurt)


def test_a_byte_flipped_anywhere_is_found(corpus: Path) -> None:
    """In sound, text, tar headers, padding, Parquet footers, the card or the lists of what was dropped."""
    rng = random.Random(0)
    files = [path for path in sorted(corpus.rglob("*")) if path.is_file() and path.name != layout.DATASET_CARD]
    for path in [*files, *rng.choices(files, k=40)]:
        offset = rng.randrange(path.stat().st_size)
        flip_byte(path, offset)
        try:
            found = verify(Corpus(corpus))
        except UtterloomError as error:  # the card itself
            found = [Damage(str(error), None, "")]
        assert any(path.name.split(".")[0] in damage.shard or path.name in damage.what for damage in found), (path, offset, found)
        flip_byte(path, offset)
    assert verify(Corpus(corpus)) == []


def test_files_of_another_corpus_are_named(corpus: Path) -> None:
    shutil.copy(corpus / TAR, corpus / "audio/train-00099.tar")
    (damage,) = verify(Corpus(corpus))
    assert damage.shard == "audio/train-00099.tar" and "not in corpus.json" in damage.what


def test_shards_that_changed_places_are_found(corpus: Path) -> None:
    for path in (layout.audio_path, layout.utterances_path):
        one, other = corpus / path("train-00000"), corpus / path("train-00001")
        one.rename(corpus / "aside")
        other.rename(one)
        (corpus / "aside").rename(other)
    assert {damage.shard for damage in verify(Corpus(corpus))} == {"train-00000", "train-00001"}
    assert {complaint.split(":")[0] for complaint in read_all(Corpus(corpus))[1]} == {"shard train-00000", "shard train-00001"}


def test_an_id_is_found_beside_a_hurt_shard_and_its_own_hurt_shard_is_named(corpus: Path) -> None:
    hurt, fine = ids_in(corpus, SHARD)[0], ids_in(corpus, "dev-00000")[0]
    cut(corpus / PARQUET)
    table, row = Corpus(corpus).find(fine) or pytest.fail()
    assert table.id(row) == fine
    with pytest.raises(DamagedError, match=SHARD):
        Corpus(corpus).find(hurt)


@pytest.mark.parametrize("card", ['{"utterloom": {"format": 1}}', '{"utterloom": {"format": 1}, "shards": [{}]}',
                                  '{"utterloom": {"format": 1}, "shards": 3}', "[]", "", "{", '{"utterloom": 1}'])
def test_a_card_that_is_none_is_refused_in_words(corpus: Path, card: str) -> None:
    (corpus / layout.CARD).write_text(card)
    with pytest.raises(UtterloomError, match=r"corpus\.json"):
        Corpus(corpus)


def test_the_card_of_a_stranger_cannot_point_outside_of_the_folder(corpus: Path) -> None:
    card = read_json(corpus / layout.CARD)
    card["shards"][1]["name"] = "../../train-00001"
    del card["checksum"]
    write_json(corpus / layout.CARD, card)
    with pytest.raises(DamagedError, match="not the name of a shard"):
        Corpus(corpus)


def test_the_command_line_names_what_is_hurt_and_ends_with_one(corpus: Path, utterloom: Command) -> None:
    said = utterloom("verify", corpus)
    assert said.code == 0 and "is whole" in said.out
    flip_byte(corpus / TAR)
    said = utterloom("verify", corpus)
    assert said.code == 1 and "hurt in 2 places" in said.out and TAR in said.out
