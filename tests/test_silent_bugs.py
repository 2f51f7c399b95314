"""The three silent bugs that cost real projects their training data, each as it was, beside what happens here.

A sampler that gave 1,040 segments as 220,000; a filter that kept everything it was to drop; a mask that stored padding as speech.
None of them raised anything. The first function of each pair is the bug, reduced to its mistake; the second is our path.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tests.models.test_ctc import network
from tests.prepare.test_splits import utterance
from utterloom.audio.logmel import LogMelParameters, log_mel
from utterloom.batches.collate import pad_rows
from utterloom.core.errors import SourceError
from utterloom.core.ledger import check_unique
from utterloom.core.records import Utterance
from utterloom.prepare.config import QualityConfig
from utterloom.prepare.sampling import take
from utterloom.prepare.selection import select
from utterloom.prepare.statistics import totals

torch.set_num_threads(1)


# --------------------------------------------------------------------------------------------------- the sampler (E-P10)


def sampler_that_repeated_itself(rows: list[tuple[str, str]], wanted: int) -> list[str]:
    """Round robin over speakers; the row that was taken is struck out after the loop, so only the last speaker's ever is."""
    left, taken = list(rows), []
    while len(taken) < wanted:
        for speaker in dict.fromkeys(speaker for _, speaker in left):
            row = next(row for row in left if row[1] == speaker)
            taken.append(row[0])
        left.remove(row)  # belongs inside the loop
    return taken


def parliament() -> list[Utterance]:
    return [utterance(f"{speaker}-{number}", f"s{speaker}", None, f"r{speaker}-{number}", 10.0)
            for speaker in range(30) for number in range(40)]


def test_the_sampler_of_old_gave_few_segments_many_times() -> None:
    taken = sampler_that_repeated_itself([(u.id, u.speaker or "") for u in parliament()], 900)
    assert len(taken) == 900 and len(set(taken)) < 100


def test_a_sample_takes_each_utterance_once_and_repetition_would_be_refused_and_shown() -> None:
    corpus = parliament()
    sample = take(corpus, 0, most=900)
    assert len(sample) == 900 == len({u.id for u in sample})
    assert set(Counter(u.speaker for u in sample).values()) == {30}
    # If something else repeated them, nothing could be written: ids are unique …
    repeated = sampler_that_repeated_itself([(u.id, u.speaker or "") for u in corpus], 900)
    with pytest.raises(SourceError, match=r"900 utterances are \d+ different ones"):
        check_unique(repeated, "manifest")
    # … and under other ids, the same audio again is counted once.
    by_id = {u.id: u for u in corpus}
    renamed = [by_id[name].with_(id=f"{number}") for number, name in enumerate(repeated)]
    card = totals(renamed)
    assert card["hours"] == pytest.approx(900 * 10 / 3600, abs=1e-3)
    assert card["hours_unique"] == pytest.approx(len(set(repeated)) * 10 / 3600, abs=1e-3)


# ----------------------------------------------------------------------------------------------------- the filter (E-P9)


SIMS = [0.95, 0.4, 0.79, 0.8, 0.1]


def test_the_filter_of_old_left_nobody_out() -> None:
    """`was_in_samples | sim < 0.8`: the bar binds more tightly than the comparison. 13,700 segments that were known to be bad were
    handed over, where about 6 % should have stayed behind."""
    was_in_samples = np.array([False] * len(SIMS))
    to_drop = [(seen | bool(sim)) < 0.8 for seen, sim in zip(was_in_samples, SIMS, strict=True)]
    assert not any(to_drop)


def test_a_limit_is_a_number_with_a_name_and_says_what_it_took() -> None:
    text = "abcdefghij" * 10
    corpus = []
    for number, sim in enumerate(SIMS):
        wrong = round((1 - sim) * 100)
        one = utterance(str(number), "s", None, f"r{number}", split="dev" if number == 1 else "train")
        corpus.append(one.with_(text=text, views={"basic": text}, attributes={"hypothesis": "x" * wrong + text[wrong:]}))
    selected = select(corpus, QualityConfig(similarity=0.8), "basic", {})
    assert [u.id for u in selected.kept] == ["0", "3"]  # exactly at the limit stays
    assert selected.rows() == [{"reason": "text unlike the hypothesis", "in": 5, "out": 2, "failed": 3,
                                "failed_by_split": {"dev": 1, "train": 2}}]
    assert {drop.id: drop.detail for drop in selected.drops}["2"] == "0.790, less than 0.800 similarity"
    assert {u.id: u.attributes["similarity"] for u in selected.kept} == {"0": "0.9500", "3": "0.8000"}


# ------------------------------------------------------------------------------------------------------- the mask (A-P9)


RATE_HZ, HOP_SAMPLES = 16_000, 320
SECONDS = (3.05, 14.3)


def frames_that_held_padding(hidden_btd: np.ndarray, sample_mask_bn: np.ndarray) -> list[np.ndarray]:
    """The mask counts samples and cuts frames: nothing is ever cut."""
    return [hidden[:int(mask.sum())] for hidden, mask in zip(hidden_btd, sample_mask_bn, strict=True)]


def test_the_mask_of_old_gave_every_item_the_frames_of_the_longest() -> None:
    samples = [int(RATE_HZ * seconds) for seconds in SECONDS]
    mask_bn = np.arange(max(samples))[None, :] < np.array(samples)[:, None]
    hidden_btd = np.zeros((2, max(samples) // HOP_SAMPLES, 4))
    short, long = frames_that_held_padding(hidden_btd, mask_bn)
    assert len(short) == len(long) and len(short) > 4 * SECONDS[0] * RATE_HZ / HOP_SAMPLES


def test_an_item_has_its_own_frames_and_the_same_ones_in_any_batch() -> None:
    """Features and the network's output: as many frames as the length function says, which is the duration to within one hop, and
    the same numbers alone."""
    parameters = LogMelParameters.for_rate(RATE_HZ)
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=int(RATE_HZ * seconds)).astype(np.float32) for seconds in SECONDS]
    rows = [log_mel(clip, parameters) for clip in clips]
    for row, seconds in zip(rows, SECONDS, strict=True):
        assert len(row) == parameters.num_frames(int(RATE_HZ * seconds))
        assert abs(len(row) / parameters.rate_hz - seconds) <= 1 / parameters.rate_hz
    padded, lengths = pad_rows(rows)
    assert lengths.tolist() == [305, 1430]
    model = network()
    with torch.no_grad():
        together = model(torch.from_numpy(padded).double(), torch.from_numpy(lengths))
        for number, row in enumerate(rows):
            alone = model(torch.from_numpy(row)[None].double(), torch.tensor([len(row)]))
            num_frames = int(together.lengths[number])
            assert num_frames == model.config.output_length(len(row)) == alone.logits.shape[1]
            torch.testing.assert_close(together.logits[number, :num_frames], alone.logits[0], atol=1e-9, rtol=0)
