"""Spans of recordings: the same samples as of the whole, with one recording open at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utterloom.audio import spans as spans_module
from utterloom.audio.decode import decode, to_mono
from utterloom.audio.recording import Recording
from utterloom.audio.resample import resample
from utterloom.audio.spans import SpanReader
from utterloom.core.errors import AudioError

RATE_HZ = 48_000
LENGTH_S = 30


def stereo(seconds: float = LENGTH_S, seed: int = 0) -> np.ndarray:
    """float32 [samples, 2]: two voices of wandering pitch, each in a channel, and a little noise."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    voices = [np.sin(2 * np.pi * hz * time_s + 5 * np.sin(2 * np.pi * 0.7 * time_s)) for hz in (170, 260)]
    noise = 0.003 * np.random.default_rng(seed).standard_normal((len(time_s), 2))
    return (0.3 * np.stack(voices, axis=1) + noise).astype(np.float32)


def recording(path: Path, **settings: Any) -> Path:
    soundfile.write(path, stereo(**settings), RATE_HZ)
    return path


def span(path: Path, start_s: float, stop_s: float, channel: int | None = None, rate_hz: int = RATE_HZ) -> dict[str, Any]:
    """A row of a manifest's `spans`."""
    return {"path": str(path), "start_sample": round(start_s * rate_hz), "stop_sample": round(stop_s * rate_hz),
            "sample_rate_hz": rate_hz, "num_channels": 2, "channel": channel}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("long.mp3", "long.flac", "long.wav"):
        recording(folder / name)
    recording(folder / "other.mp3", seconds=5, seed=1)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each recording that is opened, and the name with a minus where it is closed."""
    names: list[str] = []
    really = spans_module.open_recording

    @contextmanager
    def noted(path: Path) -> Iterator[Recording]:
        names.append(path.name)
        with really(path) as recording:
            yield recording
        names.append(f"-{path.name}")

    monkeypatch.setattr(spans_module, "open_recording", noted)
    return names


def test_many_spans_of_one_recording_open_it_once(folder: Path, opened: list[str]) -> None:
    with SpanReader() as sources:
        for start in range(0, 28, 2):
            assert len(sources.load([span(folder / "long.mp3", start, start + 1.5)], 16_000)) == 24_000
        assert opened == ["long.mp3"]
    assert opened == ["long.mp3", "-long.mp3"]


def test_one_recording_is_open_at_a_time(folder: Path, opened: list[str]) -> None:
    with SpanReader() as sources:
        for name in ("long.mp3", "other.mp3", "other.mp3", "long.flac"):
            sources.load([span(folder / name, 0, 1)], 16_000)
        sources.load([span(folder / "long.flac", 1, 2), span(folder / "other.mp3", 1, 2)], 16_000)
    assert opened == ["long.mp3", "-long.mp3", "other.mp3", "-other.mp3", "long.flac", "-long.flac", "other.mp3", "-other.mp3"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.tuples(st.integers(0, LENGTH_S * RATE_HZ - 1), st.integers(1, 3 * RATE_HZ)), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ["long.flac", "long.wav"])
def test_spans_in_any_order_are_slices_of_the_whole(folder: Path, name: str, pieces: list[tuple[int, int]]) -> None:
    whole = to_mono(decode(folder / name)[0])
    with SpanReader() as sources:
        for start, length in pieces:
            stop = min(start + length, len(whole))
            row = {**span(folder / name, 0, 0), "start_sample": start, "stop_sample": stop}
            np.testing.assert_array_equal(sources.load([row], RATE_HZ), whole[start:stop])


@pytest.mark.parametrize("starts_s", [range(0, 28, 3), (20, 3, 27, 0, 14)], ids=["ascending", "any order"])
def test_spans_of_an_mp3_are_slices_of_the_whole(folder: Path, starts_s: Any) -> None:
    whole = to_mono(decode(folder / "long.mp3")[0])
    with SpanReader() as sources:
        for start_s in starts_s:
            found = sources.load([span(folder / "long.mp3", start_s, start_s + 2)], RATE_HZ)
            np.testing.assert_allclose(found, whole[start_s * RATE_HZ:(start_s + 2) * RATE_HZ], atol=1e-4)


def test_spans_are_resampled_each_for_itself_and_strung_together(folder: Path) -> None:
    rows = [span(folder / "long.flac", 4, 5.5), span(folder / "long.wav", 1, 2), span(folder / "long.flac", 0, 1)]
    wanted = [resample(to_mono(decode(Path(row["path"]), row["start_sample"], row["stop_sample"])[0]), RATE_HZ, 16_000)
              for row in rows]
    with SpanReader() as sources:
        samples = sources.load(rows, 16_000)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, np.concatenate(wanted))


def test_a_span_may_be_one_channel(folder: Path) -> None:
    whole_sc = decode(folder / "long.flac")[0]
    with SpanReader() as sources:
        for channel in (0, 1):
            found = sources.load([span(folder / "long.flac", 2, 3, channel)], RATE_HZ)
            np.testing.assert_array_equal(found, whole_sc[2 * RATE_HZ:3 * RATE_HZ, channel])
        with pytest.raises(AudioError, match=r"no channel 3: the recording has 2"):
            sources.load([span(folder / "long.flac", 2, 3, channel=2)], RATE_HZ)
        np.testing.assert_array_equal(sources.load([span(folder / "long.flac", 3, 4, 1)], RATE_HZ),
                                      whole_sc[3 * RATE_HZ:4 * RATE_HZ, 1])


def test_a_recording_that_has_another_rate_than_when_it_was_prepared(folder: Path) -> None:
    with SpanReader() as sources:
        with pytest.raises(AudioError, match=r"prepared at 44100 Hz and is now at 48000 Hz: the file has changed"):
            sources.load([span(folder / "long.flac", 0, 1, rate_hz=44_100)], 16_000)
        assert len(sources.load([span(folder / "long.flac", 0, 1)], 16_000)) == 16_000


@pytest.mark.parametrize("name", ["long.flac", "long.mp3"])
def test_after_an_error_the_next_span_comes_out_right(folder: Path, opened: list[str], name: str) -> None:
    with SpanReader() as sources:
        before = sources.load([span(folder / name, 1, 2)], RATE_HZ)
        with pytest.raises(AudioError, match=r"ends (at|before) sample"):
            sources.load([span(folder / name, 100, 101)], RATE_HZ)
        np.testing.assert_allclose(sources.load([span(folder / name, 1, 2)], RATE_HZ), before, atol=1e-4)
    assert opened == [name, f"-{name}"] * 2


def test_what_lies_before_the_damage_is_read_after_it_was_met(folder: Path, tmp_path: Path) -> None:
    content = (folder / "long.flac").read_bytes()
    cut = tmp_path / "cut.flac"
    cut.write_bytes(content[:len(content) // 2])
    whole = to_mono(decode(folder / "long.flac")[0])
    with SpanReader() as sources:
        for _ in range(2):
            with pytest.raises(AudioError, match="cut short or damaged"):
                sources.load([span(cut, 25, 26)], RATE_HZ)
            np.testing.assert_array_equal(sources.load([span(cut, 1, 2)], RATE_HZ), whole[RATE_HZ:2 * RATE_HZ])


def test_a_recording_that_is_gone_does_not_hinder_the_next(folder: Path, opened: list[str]) -> None:
    with SpanReader() as sources:
        sources.load([span(folder / "long.mp3", 0, 1)], 16_000)
        with pytest.raises(AudioError, match="cannot be opened"):
            sources.load([span(folder / "gone.mp3", 0, 1)], 16_000)
        assert len(sources.load([span(folder / "long.mp3", 0, 1)], 16_000)) == 16_000
    assert opened == ["long.mp3", "-long.mp3", "gone.mp3", "long.mp3", "-long.mp3"]
