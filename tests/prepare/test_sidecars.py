"""Names that can be read back, stretches that overlap, and recordings that are found under the name that a file gives them."""

from __future__ import annotations

import math
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utterloom.annotations.plain_text import text_of
from utterloom.annotations.times import microseconds, seconds_of
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.core.timing import seconds_to_samples
from utterloom.prepare.readers import reader
from utterloom.prepare.readers.sidecars import (
    Found,
    Recordings,
    Segment,
    overlaps_us,
    parse_segment_id,
    segment_id,
    speaker_in,
    utterances,
)

TIME_US = st.integers(0, 10**11)


@given(recording=st.text(min_size=1), start_us=TIME_US, stop_us=TIME_US, copy=st.integers(1, 99))
def test_an_id_is_read_back_whatever_the_recording_is_called(recording: str, start_us: int, stop_us: int, copy: int) -> None:
    """E4, E-P20, K22: also where the recording's own name looks like an id."""
    written = segment_id(recording, start_us / 1e6, stop_us / 1e6, copy)
    assert parse_segment_id(written) == (recording, start_us / 1e6, stop_us / 1e6, copy)
    assert parse_segment_id(segment_id(written, 1.0, 2.0))[0] == written


def test_ids_as_the_systems_wrote_them() -> None:
    """E4: `<id>_<start>-<end>`; E-P20: not as a float happens to be printed."""
    assert segment_id("sPNuDebATRM", 1853.82, 1873.66) == "sPNuDebATRM_1853.82-1873.66"
    assert segment_id("a_-b", 4260.3, 1e5) == "a_-b_4260.30-100000.00"
    assert segment_id("x", 0.1 + 0.2, 1.4013) == "x_0.30-1.4013"
    assert parse_segment_id("a-_b_4260.3-4261") == ("a-_b", 4260.3, 4261.0, 1)
    for wrong in ("a_1.0", "1-2", "_1-2", "a_1--2", "a_1-2~0", "a_1e3-2"):
        with pytest.raises(ValueError):
            parse_segment_id(wrong)


@given(st.floats(0, 1e13) | st.floats(0, 10) | st.decimals(0, 10_000, places=7).map(float))
def test_microseconds_are_those_of_exact_decimals(seconds: float) -> None:
    """E-P20."""
    assert microseconds(seconds) == seconds_to_samples(seconds, 1_000_000)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda pair: (pair[0], sum(pair))), max_size=8))
def test_overlap_is_what_a_count_of_every_microsecond_says(spans_us: list[tuple[int, int]]) -> None:
    depth = [sum(start <= at < stop for start, stop in spans_us) for at in range(41)]
    assert overlaps_us(spans_us) == [sum(depth[at] > 1 for at in range(start, stop)) for start, stop in spans_us]


@pytest.mark.parametrize("value", ["soon", "", None, True, "nan", float("inf"), -0.5, "-1", [1], "1e999", "1:30"])
def test_what_is_not_a_time_is_none(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time in seconds"):
        seconds_of(value)


def test_every_segment_is_an_utterance_or_a_drop_that_says_why() -> None:
    """Truth 1: overlaps are kept and told of; ends before starts, no length and no recording are drops; nothing is mended."""
    segments = [
        Segment("line 1", 0.0, 2.0, "one"), Segment("line 2", 1.5, 3.0, "two", attributes={"kind": "x"}),
        Segment("line 3", 5.0, 4.0, "three"), Segment("line 4", 6.0, 6.0, "four"), Segment("line 5", 1.5, 3.0, None),
        Segment("line 6", None, 2.0, "six"), Segment("line 7", 7.0, 8.0, "seven", fault=("bad word", "no such word")),
        Segment("line 8", 9.0, 9.5, "eight", id="own")]
    items = list(utterances(Found("rec", Path("/a/rec.wav"), Path("/a/rec.wav")), segments))
    kept = [item for item in items if isinstance(item, Utterance)]
    drops = [item for item in items if isinstance(item, Drop)]
    assert [(item.id, item.text, dict(item.attributes)) for item in kept] == [
        ("rec_0.00-2.00", "one", {"overlap_s": "0.5"}), ("rec_1.50-3.00", "two", {"kind": "x", "overlap_s": "1.5"}),
        ("rec_1.50-3.00~2", None, {"overlap_s": "1.5"}), ("own", "eight", {})]
    assert [(drop.id, drop.reason, drop.seconds) for drop in drops] == [
        ("rec_5.00-4.00", "ends before it starts", None), ("rec_6.00-6.00", "no length", None),
        ("rec: line 6", "bad times", None), ("rec_7.00-8.00", "bad word", 1.0)]
    assert len(items) == len(segments) and all(drop.detail.startswith("line ") for drop in drops)
    (lost,) = utterances(Found("rec", None, None, "there is no recording"), segments[:1])
    assert isinstance(lost, Drop) and (lost.reason, lost.seconds) == ("no recording", 2.0)


def lay(folder: Path, *names: str) -> Recordings:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return Recordings(folder)


def test_a_recording_is_looked_for_in_its_place_then_anywhere(tmp_path: Path) -> None:
    recordings = lay(tmp_path, "text/a.vtt", "audio/a.mp3", "x/b.WAV", "audio/b.flac", "c.wav", "d/c.wav", ".f/g.wav")

    def find(name: str, folder: str) -> str | None:
        file = recordings.find(name, tmp_path / folder).file
        return None if file is None else str(file.relative_to(tmp_path))

    assert find("a", "text") == find("a.wav", "text") == find("audio/a.ogg", "") == find("audio/a", "text") == "audio/a.mp3"
    assert find("b", "x") == "x/b.WAV" and find("b.flac", "audio") == "audio/b.flac" and find("b", "text") is None
    assert find("c", "") == "c.wav" and find("C:\\data\\d\\c.wav", "") == find("d/c", "") == "d/c.wav"
    assert find("a", "x") is None, "another folder is not looked into from a folder that holds recordings"
    assert find("g", ".f") is None and find("a.b", "audio") is None
    assert "may be any of 2 recordings" in str(recordings.find("b", tmp_path / "text").complaint)


def test_names_of_another_spelling_are_the_same_names(tmp_path: Path) -> None:
    """E-P1, E3: the recording is found, and its path is as the source spells it, so that `prepare` says so."""
    recordings = lay(tmp_path, "Giọng  Nữ.wav", "x 1.wav", "X  1.mp3")
    wanted = unicodedata.normalize("NFD", "giọng nữ")
    found = recordings.find(wanted, tmp_path)
    assert found.file == tmp_path / "Giọng  Nữ.wav" and found.path == tmp_path / f"{wanted}.wav"
    assert recordings.find("x  1", tmp_path).file is None and recordings.find("X  1", tmp_path).file == tmp_path / "X  1.mp3"
    assert "x 1" in str(recordings.find("x 2", tmp_path).complaint)


def test_speakers_that_are_counted_in_each_recording_anew_are_not_one_person() -> None:
    assert [speaker_in("rec", label) for label in ("SPEAKER_00", "spk1", "Speaker A", "1272", "Ana", " ", None, "<NA>")] == [
        "rec/SPEAKER_00", "spk1", "rec/Speaker A", "1272", "Ana", None, None, None]


def test_text_files_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    for content in ("\ufeffờ\r\nb".encode(), "\ufeffờ\nb".encode("utf-16-le"), "\ufeffờ\rb".encode("utf-16-be")):
        path.write_bytes(content)
        assert text_of(path) == "ờ\nb"
    for content in (b"caf\xe9", b"\xff\xfea"):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"UTF-8|damaged"):
            text_of(path)
    with pytest.raises(SourceError, match="cannot be read"):
        text_of(tmp_path)


GOOD = {
    "segments": ("a.json", '[{"start": 0, "end": 1.5, "words": ["da", "ne"], "word_start_times": [0, 0.7]},'
                           ' {"start": 1, "end": 2, "text": "x"}]'),
    "captions": ("a.srt", "1\n00:00:01,000 --> 00:00:02,500\n<i>Dobar</i> dan &amp;\n\n2\n00:00:02,000 --> 00:00:03,000\nx\n"),
    "captions/vtt": ("a.vtt", "WEBVTT\nLanguage: hr\n\n00:01.000 --> 00:02.000 align:start\n<v Ana>da\n\n"
                              "00:02.000 --> 00:03.000\nda\nne\n"),
    "audacity": ("a.txt", "1.0\t2.0\tda\n\\\t10\t20\n2.0\t2.0\tne\n3\t4\tx\n"),
    "textgrid": ("a.TextGrid", 'File type = "ooTextFile"\n"TextGrid" 0 5 <exists> 1\n'
                               '"IntervalTier" "words" 0 5 2 0 1 "da" 1 2 "ne"\n'),
    "ctm": ("a.ctm", "a 1 0.0 0.5 da 0.5\na 1 0.6 0.5 <unk>\na A * * <ALT_BEGIN>\na 1 5 1 x 1 lex s\n"),
    "rttm": ("a.rttm", "SPEAKER a 1 0.0 1.5 <NA> <NA> s1 <NA> <NA>\nSPEAKER a 1 1 1 <NA> <NA> s2 <NA>\n"),
}
EDITS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(
    ["", "-", '"', "<", ">", "\n", "\n\n", " ", "\t", "0", "9", "1e9", "nan", ":", ",", "\u2028", "\x00", "ờ", "{", "[", "]", "!",
     "x" * 50, "00:00:01,000 --> 00:00:02,000"]), st.integers(0, 12)), max_size=6)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(GOOD)), edits=EDITS, raw=st.none() | st.binary(max_size=20))
def test_no_content_gives_a_traceback_or_an_impossible_stretch(
    tmp_path: Path, kind: str, edits: list[tuple[float, str, int]], raw: bytes | None
) -> None:
    """Whatever is cut out of a file or put into it: utterances with an end after their start, or drops that say why."""
    name, text = GOOD[kind]
    for place, put, num_removed in edits:
        start = int(place * len(text))
        text = text[:start] + put + text[start + num_removed:]
    shutil.rmtree(tmp_path / "source", ignore_errors=True)
    recordings = lay(tmp_path / "source", "a.wav")
    (recordings.folder / name).write_bytes(text.encode() if raw is None else raw + text.encode())
    try:
        items = list(reader(kind.partition("/")[0]).read(recordings.folder))
    except SourceError:
        assert kind == "textgrid", "only the choice of a tier concerns all files at once"
        return
    ids = [item.id for item in items if isinstance(item, Utterance)]
    assert items and len(set(ids)) == len(ids)
    for item in items:
        if isinstance(item, Drop):
            assert item.reason and item.detail and (item.seconds is None or item.seconds > 0)
        else:
            start_s, stop_s = item.spans[0].start_s, item.spans[0].stop_s
            assert start_s is not None and stop_s is not None and 0 <= start_s < stop_s < math.inf
