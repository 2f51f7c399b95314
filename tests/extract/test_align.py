"""`align`: a long recording and its whole text. The speech is of tones, a letter each, and the model hears them: truth is exact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("numba")
pytest.importorskip("torch")
from tests.extract.test_alignment_words import LETTERS, Letters
from utterloom import pipeline
from utterloom.annotations import read_words
from utterloom.core.config import compose
from utterloom.core.errors import ConfigError, SourceError, UtterloomError
from utterloom.core.timing import FrameGrid
from utterloom.extract import align as align_module
from utterloom.extract.align import AlignConfig, align, emissions_of

RATE_HZ, LETTER_S = 16_000, 0.06
TONES_HZ = {letter: 400.0 + 300.0 * number for letter, number in LETTERS.items()}


class Tones:
    """Hears which of the letters' tones a frame has, or none of them (the blank)."""

    sample_rate_hz, grid, blank, view, shift = RATE_HZ, FrameGrid(RATE_HZ, 320), 0, None, None
    spelling = Letters()

    def pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        frames = samples[:len(samples) // 320 * 320].reshape(-1, 320)
        power = np.abs(np.fft.rfft(frames)) ** 2
        at = [round(hz / 50) for hz in TONES_HZ.values()]
        logits = np.concatenate([np.full((len(frames), 1), 2.0), np.log(power[:, at] + 1e-3), np.zeros((len(frames), 1))], axis=1)
        yield (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def say(lines: list[str], gap_s: float = 0.5, seed: int = 0) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Tones in quiet noise, and when each line is said."""
    parts, times, at = [], [], 0.0

    def silence(seconds: float) -> None:
        nonlocal at
        parts.append(np.zeros(round(seconds * RATE_HZ)))
        at += round(seconds * RATE_HZ) / RATE_HZ

    silence(gap_s)
    for line in lines:
        start = at
        for number, word in enumerate(line.split()):
            if number:
                silence(0.08)
            for letter in word:
                phase = 2 * np.pi * TONES_HZ[letter] * np.arange(round(LETTER_S * RATE_HZ)) / RATE_HZ
                parts.append(0.3 * np.sin(phase))
                at += len(phase) / RATE_HZ
        times.append((line, start, at))
        silence(gap_s)
    samples = np.concatenate(parts)
    return samples + np.random.default_rng(seed).normal(scale=1e-3, size=len(samples)), times


def lines_of(count: int, seed: int = 3, words: int = 4) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join("".join(generator.choice(list("abcdefghij"), generator.integers(1, 5), replace=False)) for _ in range(words))
            for _ in range(count)]


def aligned(folder: Path, spoken: list[str], text: str, out: str = "out.json", rate_hz: int = RATE_HZ, words: bool = False,
            settings: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str], list[tuple[str, float, float]]]:
    samples, times = say(spoken)
    if rate_hz != RATE_HZ:
        from utterloom.audio.resample import resample
        samples = resample(samples, RATE_HZ, rate_hz)
    soundfile.write(folder / "talk.wav", np.stack([samples, samples], axis=1), rate_hz)
    (folder / "talk.txt").write_text(text, encoding="utf-8")
    value, lines = align(folder / "talk.wav", folder / "talk.txt", "tones", folder / out,
                         compose(AlignConfig, ["edge_s=0", *settings]), words, Tones)
    return value, lines, times


def check(found: list[dict[str, Any]], times: list[tuple[str, float, float]]) -> None:
    assert [row["text"] for row in found] == [line for line, _, _ in times]
    for row, (_, start_s, stop_s) in zip(found, times, strict=True):
        assert row["start_s"] == pytest.approx(start_s, abs=0.025)
        assert row["end_s"] == pytest.approx(stop_s, abs=0.025)


@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 44_100])
def test_every_line_is_found_where_it_is_said(tmp_path: Path, rate_hz: int) -> None:
    lines = lines_of(12)
    value, _, times = aligned(tmp_path, lines, "\n".join(lines), rate_hz=rate_hz)
    check(json.loads((tmp_path / "out.json").read_text()), times)
    assert value["is_proved"] and value["left_out"] == [] and value["utterances"] == 12
    assert value["score"] > 0.9


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording read in blocks of a few seconds has the frames of one that is read at once."""
    samples, _ = say(lines_of(20))
    soundfile.write(tmp_path / "talk.wav", samples, RATE_HZ)
    whole, power_t, duration_s = emissions_of(tmp_path / "talk.wav", Tones())
    assert len(whole) == len(samples) // 320 and duration_s == len(samples) / RATE_HZ
    for block_s, margin_s in ((3, 1), (2, 1), (7, 2)):
        monkeypatch.setattr(align_module, "BLOCK_S", block_s)
        monkeypatch.setattr(align_module, "MARGIN_S", margin_s)
        parts, power, _ = emissions_of(tmp_path / "talk.wav", Tones())
        np.testing.assert_allclose(parts, whole, atol=1e-6)
        np.testing.assert_allclose(power, power_t, atol=1e-9)


def test_what_the_text_lacks_and_what_nobody_says(tmp_path: Path) -> None:
    """An intro, a sentence that was forgotten, a heading that is not spoken (its letters are in no order that is heard)."""
    lines = lines_of(10, words=5)
    written = [line for number, line in enumerate(lines) if number not in (0, 1, 5)]
    heading = "jihgfedcba jjhhffddbb gfjdhsa ciejagbdfh"
    value, told, times = aligned(tmp_path, lines, "\n".join([*written[:3], heading, *written[3:]]))
    found = json.loads((tmp_path / "out.json").read_text())
    check(found, [time for number, time in enumerate(times) if number not in (0, 1, 5)])
    assert [one["text"] for one in value["left_out"]] == [heading]
    assert value["not_in_text_s"] > 3
    assert any("left out" in line and heading[:20] in line for line in told)
    assert any("not in the text" in line for line in told)


def test_long_lines_are_cut_at_sentences_and_then_at_pauses(tmp_path: Path) -> None:
    lines = lines_of(16, words=6)
    text = " ".join(f"{line}." for line in lines)
    aligned(tmp_path, lines, text)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["text"] for row in found] == [f"{line}." for line in lines]
    value, _, times = aligned(tmp_path, lines, " ".join(lines), settings=("longest_s=6",))
    found = json.loads((tmp_path / "out.json").read_text())
    assert " ".join(row["text"] for row in found) == " ".join(lines)
    assert all(row["end_s"] - row["start_s"] <= 6 for row in found) and value["utterances"] > 4
    starts = [start for _, start, _ in times]
    assert all(min(abs(row["start_s"] - start) for start in starts) < 0.03 for row in found), "cut where somebody pauses"


@pytest.mark.parametrize("suffix", [".ctm", ".tsv", ".json", ".TextGrid"])
def test_words_in_every_format(tmp_path: Path, suffix: str) -> None:
    lines = lines_of(4)
    value, _, times = aligned(tmp_path, lines, "\n".join(lines), f"words{suffix}", words=True)
    words = next(iter(read_words(tmp_path / f"words{suffix}").by_id.values()))
    assert [word.word for word in words] == " ".join(lines).split()
    assert value["words"] == len(words)
    assert words[0].start_s == pytest.approx(times[0][1], abs=0.025)
    assert words[-1].end_s == pytest.approx(times[-1][2], abs=0.025)


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".tsv", ".TextGrid"])
def test_utterances_are_ready_for_prepare(tmp_path: Path, suffix: str) -> None:
    """What align writes beside a recording is read by prepare's own readers."""
    lines = lines_of(6)
    aligned(tmp_path, lines, "\n".join(lines), f"talk{suffix}", settings=("edge_s=0.1",))
    (tmp_path / "talk.txt").unlink()
    reader = {".srt": "captions", ".vtt": "captions", ".TextGrid": "textgrid", ".tsv": "segments"}[suffix]
    if suffix == ".tsv":
        pytest.skip("the reader segments takes JSON")
    card, _ = pipeline.prepare(reader, tmp_path, tmp_path / "manifest", ["language=en", "dev=0", "min_s=0.1", "group_by=[]"])
    assert card["ledger"]["ok"] == 6


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    lines = lines_of(4)
    with pytest.raises(ConfigError, match=r"'out\.docx' names no format"):
        aligned(tmp_path, lines, "a", "out.docx")
    with pytest.raises(SourceError, match="is empty"):
        aligned(tmp_path, lines, " \n")
    with pytest.raises(SourceError, match="no words that are spoken"):
        aligned(tmp_path, lines, "– … !")
    with pytest.raises(SourceError, match=r"nothing of the text seems to be said|cannot be aligned"):
        aligned(tmp_path, ["a"] * 3, "\n".join(lines_of(30, seed=9, words=9)))
    config = compose(AlignConfig, [])
    with pytest.raises(SourceError, match="there is no text at"):
        align(tmp_path / "talk.wav", tmp_path / "nothing.txt", "tones", tmp_path / "o.tsv", config, False, Tones)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(SourceError, match="not UTF-8: byte 0 is 0xe9"):
        align(tmp_path / "talk.wav", tmp_path / "latin.txt", "tones", tmp_path / "o.tsv", config, False, Tones)
    with pytest.raises(UtterloomError, match=r"nowhere\.wav"):
        align(tmp_path / "nowhere.wav", tmp_path / "talk.txt", "tones", tmp_path / "o.tsv", config, False, Tones)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "talk.wav").read_bytes()[:20_000])
    with pytest.raises(UtterloomError, match="cut short"):
        align(tmp_path / "cut.wav", tmp_path / "talk.txt", "tones", tmp_path / "o.tsv", config, False, Tones)
    assert not (tmp_path / "o.tsv").exists()
