"""What a source calls a channel, and when it means the whole recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.corpora import lay
from utterloom.prepare.readers.channels import channel_numbers, channels_meant, num_channels


@pytest.mark.parametrize(("labels", "numbers"), [
    (["A", "B"], [0, 1]), (["b"], [1]), (["1", "2", "12"], [0, 1, 11]), (["1", "0"], [1, 0]), (["left", "R"], [0, 1]), ([], [])])
def test_channels_count_from_nothing(labels: list[str], numbers: list[int]) -> None:
    assert channel_numbers(labels) == dict(zip(labels, numbers, strict=True))


@pytest.mark.parametrize(("labels", "why"), [
    (["A", "1"], "are one channel"), (["mic", "A"], "'mic' is no channel"), (["-1"], "no channel"), (["1.5"], "no channel"),
    (["²"], "no channel"), ([""], "no channel"), (["z"], "no channel")])
def test_what_is_no_channel_is_said(labels: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        channel_numbers(labels)


def test_the_whole_is_meant_where_only_the_first_is_named(tmp_path: Path) -> None:
    lay(tmp_path, {"mono.wav": 0.1, "broken.wav": "text"})
    mono = tmp_path / "mono.wav"
    assert channels_meant(["A"], None) == {"A": None} and channels_meant(["1", "1"], mono) == {"1": None}
    assert channels_meant(["B"], mono) == {"B": None} and channels_meant(["B"], tmp_path / "broken.wav") == {"B": 1}
    assert channels_meant(["B", "A"], mono) == {"B": 1, "A": 0}  # which is a drop: it has no such channel
    assert channels_meant(["mic"], mono) == {"mic": None}
    assert (num_channels(mono), num_channels(tmp_path / "gone.wav")) == (1, None)
