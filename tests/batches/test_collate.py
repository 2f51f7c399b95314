"""Items become padded arrays: each is the same alone and in any company (truth 2)."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Spoken
from utterloom.audio.augment import Augmentation
from utterloom.audio.logmel import LogMelParameters
from utterloom.batches.collate import CollateFeatures, CollateSamples, pad_rows
from utterloom.batches.loader import Item
from utterloom.core.errors import AudioError
from utterloom.shards.reader import Corpus
from utterloom.text.tokenizers import CTCTokenizer


@pytest.fixture(scope="module")
def items(spoken: Spoken) -> list[Item]:
    corpus = Corpus(spoken.corpus)
    return [Item(table.id(row), table.text(row, "basic"), int(table.num_samples[row]), corpus.flac(table, row))
            for table, row in corpus.rows("dev")]


@given(lengths=st.lists(st.integers(0, 9), max_size=6), width=st.integers(1, 4))
def test_rows_are_padded_with_zeros_to_the_longest(lengths: list[int], width: int) -> None:
    rows = [np.full((length, width), number + 1.0, np.float32) for number, length in enumerate(lengths)]
    padded, found = pad_rows(rows)
    assert found.tolist() == lengths and padded.dtype == np.float32
    assert padded.shape[:2] == (len(rows), max(lengths, default=0))
    for row, one, length in zip(padded, rows, lengths, strict=True):
        assert np.array_equal(row[:length], one) and not row[length:].any()


@pytest.mark.parametrize("augmentation", [None, Augmentation(noise_probability=1.0)])
def test_features_are_the_same_alone_and_in_any_company(items: list[Item], augmentation: Augmentation | None) -> None:
    tokenizer = CTCTokenizer.train([item.text or "" for item in items], "char").to_json()
    collate = CollateFeatures(LogMelParameters.for_rate(16_000, 40, 10.0), augmentation, 3, tokenizer, 1)
    together = pickle.loads(pickle.dumps(collate))(items, 5)
    ends = np.cumsum(together["target_lengths"])
    for number, item in enumerate(items):
        alone = collate([item], 5)
        length = int(alone["lengths"][0])
        assert together["lengths"][number] == length
        assert np.array_equal(together["features"][number, :length], alone["features"][0])
        assert not together["features"][number, length:].any()
        assert np.array_equal(together["targets"][ends[number] - alone["target_lengths"][0]:ends[number]], alone["targets"])
    reversed_order = collate(items[::-1], 5)
    assert np.array_equal(reversed_order["lengths"][::-1], together["lengths"])


def test_augmentation_differs_from_epoch_to_epoch_and_repeats_itself(items: list[Item]) -> None:
    collate = CollateFeatures(LogMelParameters.for_rate(16_000, 40, 10.0), Augmentation(), 3)
    one, same, other = (collate(items[:1], epoch)["features"] for epoch in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_nothing_is_an_empty_batch() -> None:
    assert CollateSamples()([], 0)["samples"].shape == (0, 0)
    assert CollateFeatures(LogMelParameters.for_rate(16_000, 40, 10.0))([], 0)["lengths"].shape == (0,)


def test_an_item_of_another_length_than_its_row_says_is_an_error(items: list[Item]) -> None:
    for difference in (-1, 1):
        with pytest.raises(AudioError):
            CollateSamples()([Item("x", None, items[0].num_samples + difference, items[0].flac)], 0)


def test_collating_needs_no_torch() -> None:
    script = "import sys, utterloom.batches.collate, utterloom.batches.loader, utterloom.pack.stage, utterloom.prepare.stage\n" \
             "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
