"""Units: stored in runs, read as they were, cut where time says, and refused where rate, codebook or length do not fit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core.errors import CorpusError
from utterloom.core.timing import FrameGrid
from utterloom.shards.layers import LayerRow, LayerSpec, layer_path, write_layer_shard
from utterloom.shards.units import LONGEST_RUN, Units, UnitStream, length_complaint

HUBERT = UnitStream("hubert-22.km500", FrameGrid(16_000, 320), 500, "a")
MIMI = UnitStream("mimi", FrameGrid(24_000, 1_920), 2_048, "b")


@given(labels=st.lists(st.integers(0, 499), max_size=200))
def test_runs_are_what_was_said(labels: list[int]) -> None:
    """K15: repetition is kept as lengths, and being without it is a view."""
    found = Units.of_frames(HUBERT, np.array(labels, np.int64))
    assert found.expanded().tolist() == labels and found.num_frames == len(labels)
    assert found.deduplicated().tolist() == [unit for number, unit in enumerate(labels) if not number or unit != labels[number - 1]]
    assert (found.units.dtype, found.runs.dtype) == (np.uint16, np.uint16)


@pytest.mark.parametrize("frames", [LONGEST_RUN - 1, LONGEST_RUN, LONGEST_RUN + 1, 3 * LONGEST_RUN, 3 * LONGEST_RUN + 7])
def test_a_run_longer_than_sixteen_bits_is_several(frames: int) -> None:
    labels = np.r_[np.full(frames, 7), 3, 3]
    found = Units.of_frames(HUBERT, labels)
    assert np.array_equal(found.expanded(), labels) and found.deduplicated().tolist() == [7, 3]
    assert len(found.units) == -(-frames // LONGEST_RUN) + 1


@given(labels=st.lists(st.integers(0, 499), min_size=10, max_size=120), cuts=st.lists(st.floats(0, 1), max_size=6))
def test_spans_that_share_no_time_share_no_unit(labels: list[int], cuts: list[float]) -> None:
    """K14, D-P4: neighbouring spans give all units, each once, whatever rate the audio is stored at."""
    found, num_samples = Units.of_frames(HUBERT, np.array(labels)), len(labels) * 441 * 2
    borders = [0, *sorted(round(cut * num_samples) for cut in cuts), num_samples]
    parts = [found.slice(start, stop, 44_100).expanded() for start, stop in pairwise(borders)]
    assert np.concatenate(parts).tolist() == labels


def test_a_span_beyond_the_end_is_an_error() -> None:
    """D-P1: slices past the end were short or empty, in silence."""
    found = Units.of_frames(HUBERT, np.arange(100))
    assert found.slice(16_000, 32_000, 16_000).expanded().tolist() == list(range(50, 100))
    assert len(found.slice(0, 0, 16_000).units) == 0
    for span in ((0, 33_000), (40_000, 50_000), (5, 4), (-1, 3)):
        with pytest.raises(CorpusError, match="are not within the 2 s that the 100 units"):
            found.slice(*span, 16_000)


def test_a_rate_that_is_not_the_streams_is_refused() -> None:
    """D-P1: SpeechTokenizer at 24,000 / 320 = 75 Hz where it is 50, Mimi likewise where it is 12.5."""
    ten_s = np.arange(500) % 1_024
    said = UnitStream("speechtokenizer", FrameGrid(24_000, 320), 1_024, "c")
    with pytest.raises(CorpusError, match=r"500 frames at 75 Hz are 6\.66667 s, where the audio is 10 s: it was 50 frames"):
        Units.of_frames(said, ten_s).check(240_000, 24_000)
    Units.of_frames(UnitStream("speechtokenizer", FrameGrid(16_000, 320), 1_024, "c"), ten_s).check(240_000, 24_000)
    mimi = np.arange(125)
    with pytest.raises(CorpusError, match=r"it was 12.5 frames a second"):
        Units.of_frames(UnitStream("mimi", FrameGrid(24_000, 320), 2_048, "b"), mimi).check(240_000, 24_000)
    Units.of_frames(MIMI, mimi).check(240_000, 24_000)


def test_a_codebook_that_is_not_the_streams_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"unit 2047 in hubert-22.km500, which has units 0 to 499"):
        Units(HUBERT, np.array([2_047], np.uint16), np.array([1], np.uint16))
    with pytest.raises(CorpusError, match="units -1 to 2, where hubert"):
        Units.of_frames(HUBERT, np.array([2, -1]))
    with pytest.raises(CorpusError, match=r"rate 50 Hz and 12.5 Hz; units 500 and 2048; fingerprint a and b"):
        HUBERT.require(MIMI)
    HUBERT.require(UnitStream("under another name", HUBERT.grid, 500, "a"))
    with pytest.raises(ValueError, match="70000 units"):
        UnitStream("too many", HUBERT.grid, 70_000, "a")


def test_frames_of_padding_are_noticed() -> None:
    """A-P9: the states of 1 s beside 10 s, cut by the sum of a mask that counts samples: 499 of them. A-P8, one frame too many,
    only the model's own length function can tell."""
    grid = FrameGrid(16_000, 320)
    states, mask_of_samples = np.zeros((499, 4)), np.r_[np.ones(16_000), np.zeros(144_000)]
    kept = states[:int(mask_of_samples.sum())]
    assert "499 frames at 50 Hz are 9.98 s, where the audio is 1 s" in (length_complaint(len(kept), grid, 16_000, 16_000) or "")
    assert all(length_complaint(frames, grid, 16_000, 16_000) is None for frames in (48, 49, 50, 52))
    assert all(length_complaint(frames, grid, 16_000, 16_000) for frames in (47, 53))
    assert length_complaint(0, grid, 100, 16_000) is None


def test_rows_of_a_layer_are_read_as_units(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    labels = np.array([3, 3, 3, 9, 9, 3])
    found = Units.of_frames(HUBERT, labels)
    rows = [(0, LayerRow("ok", None, 6, {"units": found.units, "runs": found.runs})), (1, LayerRow("empty", "too short"))]
    spec = LayerSpec("units", {"fingerprint": "a"}, HUBERT.grid, codebook_size=500)
    write_layer_shard(tmp_path, "train-00000", spec, ["a", "b"], rows, "0")
    table = pq.read_table(tmp_path / layer_path("train-00000")).to_pylist()
    assert HUBERT.units(table[0]).expanded().tolist() == labels.tolist()
    with pytest.raises(CorpusError, match=r"utterance b has no units in hubert-22.km500: empty, too short"):
        HUBERT.units(table[1])
    with pytest.raises(CorpusError, match="are 6 frames long, not 7"):
        HUBERT.units(table[0] | {"num_frames": 7})
    with pytest.raises(CorpusError, match="2 units with 1 lengths"):
        Units(HUBERT, np.zeros(2, np.uint16), np.ones(1, np.uint16))
    with pytest.raises(CorpusError, match="lasts no frame"):
        Units(HUBERT, np.zeros(1, np.uint16), np.zeros(1, np.uint16))


def test_units_take_little_room(tmp_path: Path) -> None:
    """Must show 6: at most 0.5 MB an hour. 500 equally likely units in runs of two frames, as k-means over HuBERT gives, random
    so that nothing compresses."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(360):  # an hour, 10 s each
        labels = np.repeat(generator.integers(0, 500, 400), generator.geometric(0.5, 400))[:500]
        found = Units.of_frames(HUBERT, labels)
        rows.append((number, LayerRow("ok", None, found.num_frames, {"units": found.units, "runs": found.runs})))
    write_layer_shard(tmp_path, "train-00000", LayerSpec("units", {}, HUBERT.grid, codebook_size=500),
                      [f"u{number:05d}" for number in range(360)], rows, "0")
    megabytes = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e6
    print(f"{megabytes:.3f} MB an hour")
    assert megabytes <= 0.5
