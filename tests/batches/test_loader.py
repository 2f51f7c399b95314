"""Reading: in order, the same with any number of workers, whatever is hurt or killed, and within bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import Spoken
from tests.runners.tasks import die
from tests.shards.test_faults import FAULTS, PARQUET, SHARD, TAR, flip_byte
from tests.tones import RATE_HZ
from utterloom.batches.collate import CollateSamples
from utterloom.batches.loader import Loader, MicroBatch, SplitIndex
from utterloom.batches.plan import BatchPlan
from utterloom.core.artifact import read_json, sha256_of, write_json
from utterloom.core.errors import CorpusError, DamagedError, UtterloomError
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, content_fingerprint, verify
from utterloom.shards.writer import write_shard


def wanted(index: SplitIndex, epochs: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    plan = BatchPlan(index.num_samples, index.shard, batch_samples=2 * RATE_HZ)
    for epoch in range(epochs):
        planned = plan.epoch(epoch)
        for number in range(planned.num_micro_batches):
            yield epoch, planned.micro_batch(number)


def read(index: SplitIndex, num_workers: int = 0, epochs: int = 1) -> list[MicroBatch]:
    with Loader(index, CollateSamples(), "basic", num_workers) as loader:
        return list(loader.micro_batches(wanted(index, epochs)))


def same(one: list[MicroBatch], other: list[MicroBatch]) -> bool:
    return len(one) == len(other) and all(
        (left.ids, left.damaged) == (right.ids, right.damaged)
        and all(np.array_equal(left.arrays[name], right.arrays[name]) for name in left.arrays)
        for left, right in zip(one, other, strict=True))


def delivered(batches: list[MicroBatch]) -> list[str]:
    return sorted(name for batch in batches for name in batch.ids)


@pytest.fixture
def corpus(spoken: Spoken, tmp_path: Path) -> Path:
    return Path(shutil.copytree(spoken.corpus, tmp_path / "corpus"))


# --------------------------------------------------------------------------------------------------- all is well


def test_micro_batches_come_in_the_order_of_the_plan_with_their_own_sound(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "train")
    names = [name for name, _ in index.texts(None)]
    batches = read(index)
    assert [batch.ids for batch in batches] == [[names[number] for number in numbers] for _, numbers in wanted(index)]
    for batch in batches:
        for name, samples, length in zip(batch.ids, batch.arrays["samples"], batch.arrays["lengths"], strict=True):
            said, _ = soundfile.read(spoken.table.parent / f"audio/{name}.flac", dtype="float32")
            assert np.array_equal(samples[:length], said) and not samples[length:].any()


def test_any_number_of_workers_delivers_the_same_bits(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "train")
    here = read(index, 0, epochs=2)
    assert len(delivered(here)) == 2 * len(index) == 72
    for num_workers in (1, 2):
        assert same(here, read(index, num_workers, epochs=2))


def test_the_index_knows_its_texts_and_can_be_narrowed(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "validation")  # K5: dev by another name
    texts = dict(index.texts("basic"))
    assert len(texts) == len(index) == 12 and all(texts.values())
    keep = index.num_samples > np.median(index.num_samples)
    narrowed = index.select(keep)
    assert dict(narrowed.texts("basic")) == {name: text for (name, text), kept in zip(texts.items(), keep, strict=True) if kept}
    assert delivered(read(narrowed)) == sorted(dict(narrowed.texts(None)))


def test_a_split_that_is_not_there_lists_those_that_are(spoken: Spoken) -> None:
    with pytest.raises(CorpusError, match="no split 'test'") as caught:
        SplitIndex.open(Corpus(spoken.corpus), "test")
    assert "dev, train" in (caught.value.hint or "")


# --------------------------------------------------------------------------------------------------- files are hurt


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", [TAR, PARQUET])
def test_what_is_hurt_is_quarantined_by_name_and_the_rest_delivered(corpus: Path, spoken: Spoken, path: str, fault: str) -> None:
    table = Corpus(corpus).table(SHARD)
    ends, names = table.offsets + table.sizes, [table.id(row) for row in range(len(table))]
    before = (corpus / path).read_bytes()
    FAULTS[fault][0](corpus / path)
    after = (corpus / path).read_bytes() if (corpus / path).exists() else b""
    hurt = set(names) if path == PARQUET else {
        name for name, start, end in zip(names, table.offsets, ends, strict=True) if before[start:end] != after[start:end]}

    index = SplitIndex.open(Corpus(corpus), "train")
    batches = read(index)
    everything = {name for name, _ in SplitIndex.open(Corpus(spoken.corpus), "train").texts(None)}
    assert delivered(batches) == sorted(everything - hurt)
    found = [(name, why) for batch in batches for name, why in batch.damaged]
    if path == TAR and fault in ("a zeroed block", "one byte flipped"):  # only the reading shows it
        assert not index.quarantined and {name for name, _ in found} == hurt
        assert all(SHARD in why and name in why and "checksum" in why for name, why in found)
    else:
        ((shard, why),) = index.quarantined
        assert not found and shard == SHARD
        assert path in why and FAULTS[fault][1] in why and f"{len(hurt)} of {len(names)} utterances are left out" in why
        with pytest.raises(DamagedError, match=path):
            SplitIndex.open(Corpus(corpus), "train", on_damage="error")


def test_a_split_of_which_nothing_is_left_is_an_error(corpus: Path) -> None:
    for path in (corpus / "audio").glob("dev-*"):
        path.unlink()
    with pytest.raises(CorpusError, match="no readable utterance"):
        SplitIndex.open(Corpus(corpus), "dev")


def test_rows_that_are_hurt_after_opening_are_damage_and_not_a_crash(corpus: Path) -> None:
    index = SplitIndex.open(Corpus(corpus), "train")
    num_hurt = Corpus(corpus).card["shards"][1]["utterances"]
    flip_byte(corpus / PARQUET)
    batches = read(index)
    assert len(delivered(batches)) == 36 - num_hurt
    found = [(name, why) for batch in batches for name, why in batch.damaged]
    assert {name for name, _ in found} == {f"{SHARD}:{row}" for row in range(num_hurt)}
    assert all(PARQUET in why for _, why in found)


def test_bytes_that_match_their_checksum_and_are_no_sound_are_left_out(corpus: Path) -> None:
    """A corpus that another tool wrote badly: the checksum is of the wrong bytes."""
    whole = Corpus(corpus)
    table = whole.table("dev-00000")
    rows = [({**whole.row(table, row), "attributes": []}, whole.flac(table, row)) for row in range(len(table))]
    rows[1] = (rows[1][0], rows[1][1][:200] + b"\0" * 200 + rows[1][1][400:])
    facts = write_shard(corpus, "dev-00000", rows, ["basic"])
    card = read_json(corpus / layout.CARD)
    line = next(line for line in card["shards"] if line["name"] == "dev-00000")
    line.update(audio_sha256=facts["audio_sha256"], utterances_sha256=sha256_of(corpus / layout.utterances_path("dev-00000")))
    card["content"] = content_fingerprint(card["shards"])
    write_json(corpus / layout.CARD, {key: value for key, value in card.items() if key != "checksum"})
    assert verify(Corpus(corpus)) == []

    batches = read(SplitIndex.open(Corpus(corpus), "dev"))
    assert delivered(batches) == sorted(table.id(row) for row in range(len(table)) if row != 1)
    assert [name for batch in batches for name, _ in batch.damaged] == [table.id(1)]
    assert all(len(batch.arrays["samples"]) == len(batch.ids) for batch in batches)


# --------------------------------------------------------------------------------------------------- readers are killed


def test_killed_workers_change_nothing_in_what_is_delivered(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "train")
    undisturbed = read(index, 0, epochs=4)
    batches = []
    with Loader(index, CollateSamples(), "basic", 2) as loader:
        for number, batch in enumerate(loader.micro_batches(wanted(index, epochs=4))):
            batches.append(batch)
            if number in (0, 5, 6):
                for victim in active_children()[:1 + (number == 5)]:  # one, then both at once, then one again
                    victim.kill()
        deaths = loader.num_worker_deaths
    assert same(undisturbed, batches)
    assert 2 <= deaths <= 4


def test_a_batch_that_kills_every_worker_ends_with_an_error(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "dev")
    with Loader(index, die, None, 1) as loader, pytest.raises(UtterloomError, match="died 3 times on the same work"):
        list(loader.micro_batches([(0, [0])]))


def test_a_loader_that_is_closed_leaves_no_process(spoken: Spoken) -> None:
    index = SplitIndex.open(Corpus(spoken.corpus), "train")
    with Loader(index, CollateSamples(), None, 2) as loader:
        batches = loader.micro_batches(wanted(index))
        next(batches)
        assert active_children()
    assert not active_children()
