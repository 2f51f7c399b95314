"""Lanes of one utterance: which stretch, what lies where, and what has no time."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.show.woven import GRID, add_layers, make_corpus
from utterloom.audio.logmel import LogMelParameters
from utterloom.core.errors import ConfigError
from utterloom.shards.layers import LayerSpec
from utterloom.shards.reader import Corpus
from utterloom.show.looking import drawn
from utterloom.show.sound import envelope, mel_share, spectrogram
from utterloom.show.timeline import (
    NUM_COMPONENTS,
    SHOWN_S,
    Box,
    Lane,
    LayerAt,
    Timeline,
    components,
    cut,
    lanes_of,
    layers_of,
    open_layers,
    rows_of_boxes,
    sureness,
    timeline,
    window,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = make_corpus(tmp_path_factory.mktemp("woven"))
    add_layers(path)
    return Corpus(path)


def line_of(corpus: Corpus, name: str, **stretch: float) -> Timeline:
    table, index = corpus.find(name) or pytest.fail(name)
    layers = layers_of(corpus, table, index, open_layers(corpus))
    return timeline(corpus, table, index, layers, stretch.get("from_s"), stretch.get("to_s"))


def test_lanes_go_from_the_text_down_to_the_sound(corpus: Corpus) -> None:
    assert [lane.kind for lane in line_of(corpus, "u0").lanes] == ["words", "characters", "tokens", "units", "features"]
    assert [lane.kind for lane in line_of(corpus, "u3").lanes] == ["words", "characters", "states", "units", "features"]


def test_a_row_that_is_ok_and_lacks_something_says_so() -> None:
    columns = {"token_ids": [7], "first_char": [0], "stop_char": [1], "start_sample": [None], "stop_sample": [None]}
    row = {"status": "ok", "reason": "no token times: the words have none", **columns}
    (lane,) = lanes_of(LayerAt("lm", LayerSpec("states"), row, None, "a"), 16_000)
    assert lane.about == "1 token, 1 without time, no token times: the words have none" and lane.apart == ("a",)


def test_units_and_features_are_where_their_clock_says(corpus: Corpus) -> None:
    lanes = {lane.kind: lane for lane in line_of(corpus, "u1").lanes}
    boxes = lanes["units"].boxes
    assert all(left.stop_s == right.start_s for left, right in pairwise(boxes))
    assert boxes[0].start_s == 0 and abs(boxes[-1].stop_s - 0.9) <= GRID.frame_s
    strip = lanes["features"].strip
    assert strip is not None and strip.shape == (45, NUM_COMPONENTS) and lanes["features"].frame_s == 0.02


def test_a_window_cuts_sound_and_lanes_alike(corpus: Corpus) -> None:
    whole, part = line_of(corpus, "u0"), line_of(corpus, "u0", from_s=0.25, to_s=1.0)
    assert np.array_equal(part.samples, whole.samples[4000:16000]) and part.is_part and not whole.is_part
    assert part.flac is None and whole.flac is not None
    words = part.lanes[0].boxes
    assert [(box.label, box.start_s, box.stop_s) for box in words] == [("một", 0.25, 0.4), ("hai", 0.5, 0.8), ("ba", 0.9, 1.0)]
    assert part.lanes[0].apart == ("bốn",)
    features = part.lanes[-1]
    assert features.strip is not None and features.strip_start_s == pytest.approx(0.24) and len(features.strip) == 50 - 12


def test_a_long_utterance_is_shown_from_its_start_unless_one_asks() -> None:
    assert window(3600.0, None, None) == (0.0, SHOWN_S)
    assert window(3600.0, 100.0, None) == (100.0, 100.0 + SHOWN_S)
    assert window(10.0, 2.0, 99.0) == (2.0, 10.0)
    for wrong in ((10.0, None), (-1.0, None), (5.0, 5.0), (math.nan, None), (None, 0.0)):
        with pytest.raises(ConfigError, match="there is nothing from"):
            window(10.0, *wrong)
    with pytest.raises(ConfigError, match="600 s is the most"):
        window(3600.0, 0.0, 601.0)


BOXES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30).map(
    lambda pairs: [Box(start / 10, (start + length) / 10, "x", "") for start, length in sorted(pairs)])


@given(BOXES)
def test_boxes_of_one_row_never_overlap_and_no_row_is_wasted(boxes: list[Box]) -> None:
    rows = rows_of_boxes(boxes)
    for row in set(rows):
        members = [box for box, found in zip(boxes, rows, strict=True) if found == row]
        assert all(left.stop_s <= right.start_s + 1e-9 for left, right in pairwise(members))
    most = max((sum(box.start_s <= at.start_s < box.stop_s - 1e-9 for box in boxes) for at in boxes), default=0)
    assert len(set(rows)) == most


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5))
def test_components_hold_what_they_say(num_frames: int, dim: int, seed: int) -> None:
    frames = np.random.default_rng(seed).normal(size=(num_frames, dim)).astype(np.float16)
    strip, share = components(frames)
    assert len(strip) == num_frames and strip.shape[1] <= NUM_COMPONENTS and 0 <= share <= 1 + 1e-9
    if num_frames > dim and dim <= NUM_COMPONENTS:
        assert share == pytest.approx(1)
    assert np.array_equal(strip, components(frames)[0])
    variances = (strip ** 2).sum(axis=0)
    assert all(left >= right - 1e-3 for left, right in pairwise(variances))


def test_frames_that_are_no_numbers_stay_gaps() -> None:
    frames = np.random.default_rng(0).normal(size=(9, 4))
    frames[3] = np.nan
    strip, _ = components(frames)
    assert np.isnan(strip[3]).all() and np.isfinite(np.delete(strip, 3, axis=0)).all()
    assert components(np.ones((5, 3)))[1] == 0.0  # frames that are all alike have no variance to share


def test_scores_become_shades() -> None:
    assert sureness(0.0) == 0 and sureness(0.4) == 0.4 and sureness(1.0) == 1 and sureness(7.0) == 1
    assert sureness(-1.0) == pytest.approx(math.exp(-1))
    assert sureness(None) is None and sureness(math.nan) is None


def test_a_lane_is_cut_to_nothing_where_it_has_nothing() -> None:
    lane = cut(Lane("w", "words", "", (Box(0, 1, "a", ""), Box(3, 4, "b", "")), ("c",)), 1, 3)
    assert lane.boxes == () and lane.apart == ("c",)


def test_sound_is_drawn_as_loud_and_as_high_as_it_is() -> None:
    samples = np.concatenate([np.zeros(8000), 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)]).astype(np.float32)
    low, high = envelope(samples, 100)
    assert (len(low), low[:50].max(), high[:50].max()) == (100, 0, 0) and high[60] == pytest.approx(0.5, abs=0.01) == -low[60]
    mel, parameters = spectrogram(samples, 16000)
    assert mel.max() == 1 and mel[:49].max() == 0
    loudest = int(mel[75].argmax()) / parameters.num_mels
    assert loudest == pytest.approx(mel_share(1000, LogMelParameters()), abs=1.5 / 80)
    assert not spectrogram(np.zeros(1000, np.float32), 16000)[0].any()
    assert [len(part) for part in envelope(np.zeros(3, np.float32), 100)] == [3, 3]


def test_a_lot_is_drawn_from_all_splits_and_lengths(corpus: Corpus) -> None:
    found = drawn(corpus, 4, seed=0)
    assert found == drawn(Corpus(corpus.url), 4, seed=0) and len(set(found)) == 4
    assert sorted(shard.split("-")[0] for shard, _ in found) == ["dev", "dev", "train", "train"]
    seconds = [float(corpus.column(shard, "duration_s")[row]) for shard, row in found]
    assert seconds == sorted(seconds)
    assert len({tuple(drawn(corpus, 2, seed)) for seed in range(12)}) > 2
    assert len(drawn(corpus, 99, seed=0)) == 6 and len(drawn(corpus, 1, seed=0)) == 1


def test_a_layer_named_by_its_folder_is_read(corpus: Corpus, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(Path(corpus.url) / "words", tmp_path / "other-words")
    table, index = corpus.find("u0") or pytest.fail("u0")
    found = layers_of(corpus, table, index, open_layers(corpus, ["wavlm", str(tmp_path / "other-words")]))
    assert [layer.name for layer in found] == ["wavlm", "words"] and all(layer.is_ok for layer in found)
