"""What is written is read again, to the resolution of the format, and by readers that are not ours; losses are counted."""

from __future__ import annotations

import html
import json
import re
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.annotations.annotated import strict_textgrid, timed_words, words_as_text
from utterloom.annotations import TimedSegment, TimedWord, Written, read_words, write_segments, write_word_files, write_words
from utterloom.annotations.captioning import LINE_CHARACTERS, LONGEST_MS, PAUSE_MS, _width
from utterloom.annotations.captions import Cue, parse_captions
from utterloom.annotations.plain_text import text_of
from utterloom.core.errors import ConfigError, OutputError

DURATION_S = 60.0
HELLO = [TimedWord("Hello,", 0.5, 0.9, 0.25), TimedWord("world.", 1.0, 1.4), TimedWord("“Quoted”", 3.0, 3.25, 1.0)]


def plain(words: list[TimedWord], scores: bool = True) -> list[tuple[str, float, float, float | None]]:
    return [(word.word, word.start_s, word.end_s, word.score if scores else None) for word in words]


def cues_of(path: Path) -> list[Cue]:
    return list(parse_captions(text_of(path), str(path)).cues)


# -------------------------------------------------------------------------------------------------- words, and back


@pytest.mark.parametrize("suffix", [".TextGrid", ".ctm", ".tsv", ".json"])
@given(words=timed_words(min_size=1))
def test_words_come_back_to_the_microsecond(suffix: str, words: list[TimedWord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a talk.1{suffix}"
        written = write_words(path, words, DURATION_S)
        read = read_words(path, durations_s={"a talk.1": DURATION_S})
        name = "a_talk.1" if suffix == ".ctm" else "a talk.1"
        assert not read.faults and not read.trimmed and list(read.by_id) == [name]
        assert plain(read.by_id[name]) == plain(words, scores=suffix != ".TextGrid")
        assert written == Written(len(words), 0, {"white space written as _, half characters as ?": 1} if suffix == ".ctm" else {})
        assert [one.name for one in Path(folder).iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".ctm", ".tsv", ".json"])
@given(by_id=st.dictionaries(st.sampled_from(("LJ001-0001", "a/b_0.00-1.50", "ü", "7", "x;;y")), timed_words(min_size=1),
                             min_size=1, max_size=3))
def test_several_recordings_in_one_file(suffix: str, by_id: dict[str, list[TimedWord]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"all{suffix}"
        write_words(path, by_id, dict.fromkeys(by_id, DURATION_S))
        read = read_words(path)
        assert {name: plain(words) for name, words in read.by_id.items()} == {name: plain(words) for name, words in by_id.items()}
        assert not read.faults


@pytest.mark.parametrize("suffix", [".TextGrid", ".json"])
def test_a_file_for_each_and_the_folder_back(suffix: str, tmp_path: Path) -> None:
    words = {"talks/one_1853.82-1873.66": HELLO, "two": HELLO[:1], "silent": []}
    written = write_word_files(tmp_path / "out", suffix, words, dict.fromkeys(words, 5.0))
    assert written.count == 4 and (tmp_path / "out/talks" / f"one_1853.82-1873.66{suffix}").is_file()
    read = read_words(tmp_path / "out")
    assert {name: plain(said, suffix != ".TextGrid") for name, said in read.by_id.items()} == {
        name: plain(said, suffix != ".TextGrid") for name, said in words.items()}


@given(words=timed_words())
def test_a_textgrid_is_what_praat_writes(words: list[TimedWord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.TextGrid"
        write_words(path, words, DURATION_S)
        tier, end_s, intervals = strict_textgrid(path)
        assert (tier, end_s) == ("words", DURATION_S)
        assert [one for one in intervals if one[2]] == [(word.start_s, word.end_s, word.word) for word in words]


def test_lhotse_reads_our_ctm(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    words = [*HELLO, TimedWord("đường", 4.0, 4.123456, 0.125)]
    write_words(tmp_path / "all.ctm", {"talk": words}, {"talk": 5.0})
    one = lhotse.SupervisionSegment(id="s", recording_id="talk", start=0.0, duration=5.0)
    (read,) = lhotse.SupervisionSet.from_segments([one]).with_alignment_from_ctm(tmp_path / "all.ctm", match_channel=False)
    assert [(item.symbol, item.start, pytest.approx(item.end), item.score) for item in read.alignment["word"]] == plain(words)


def test_columns_and_keys_are_those_that_are_promised(tmp_path: Path) -> None:
    write_words(tmp_path / "w.tsv", HELLO, 5.0)
    assert (tmp_path / "w.tsv").read_text().split("\n")[:2] == ["word\tstart_s\tend_s\tscore", "Hello,\t0.50\t0.90\t0.25"]
    write_words(tmp_path / "w.json", HELLO, 5.0)
    assert json.loads((tmp_path / "w.json").read_text())[1] == {"word": "world.", "start_s": 1.0, "end_s": 1.4, "score": None}
    segments = [TimedSegment("a_1", 0.5, 1.5, "Hello,\tworld.", -0.5), TimedSegment("a_2", 2, 3)]
    write_segments(tmp_path / "s.tsv", segments, 5.0)
    assert (tmp_path / "s.tsv").read_text().split("\n") == [
        "id\tstart_s\tend_s\ttext\tscore", "a_1\t0.50\t1.50\tHello, world.\t-0.5", "a_2\t2.00\t3.00\t\t", ""]
    write_segments(tmp_path / "s.json", segments, 5.0)
    assert json.loads((tmp_path / "s.json").read_text()) == [
        {"id": "a_1", "start_s": 0.5, "end_s": 1.5, "text": "Hello,\tworld.", "score": -0.5},
        {"id": "a_2", "start_s": 2.0, "end_s": 3.0, "text": None, "score": None}]


# ---------------------------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
@given(words=timed_words(unit_s=1e-3, min_size=1))
def test_captions_hold_every_word_and_can_be_read(suffix: str, words: list[TimedWord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        written = write_words(path, words, DURATION_S)
        cues = cues_of(path)
        assert written.count == len(words) and not written.left_out
        assert all(cue.fault is None or cue.fault[0] == "no speech" for cue in cues)
        if not written.changes:
            squeezed = ["".join(text.split()) for text in ("".join(cue.text for cue in cues), "".join(word.word for word in words))]
            assert squeezed[0] == squeezed[1]
        assert all(one.stop_s <= other.start_s for one, other in pairwise(cues))
        assert {cue.start_s for cue in cues} <= {word.start_s for word in words}
        assert {cue.stop_s for cue in cues} <= {word.end_s for word in words}
        gaps = [other.start_s - one.end_s for one, other in pairwise(words)]
        assert len(cues) > sum(gap >= PAUSE_MS / 1000 + 1e-9 for gap in gaps)
        wide = {word.word for word in words}
        for cue in cues:
            assert len(cue.lines) <= 2
            if not written.changes:
                assert all(_width(line) <= LINE_CHARACTERS or line in wide for line in cue.lines)


@given(words=timed_words(unit_s=1e-3, min_size=1))
def test_webvtt_says_when_each_word_is_said(words: list[TimedWord]) -> None:
    """By the rules of the format: the times inside a cue rise, strictly between its start and its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.vtt"
        written = write_words(path, words, DURATION_S)
        blocks = path.read_text().removesuffix("\n").split("\n\n")
        assert blocks[0] == "WEBVTT" and not written.changes
        said: list[tuple[str, float]] = []
        for block in blocks[1:]:
            times, *lines = block.split("\n")
            assert "-->" not in "".join(lines)
            start_s, stop_s = (_seconds(clock) for clock in times.split(" --> "))
            place_s = start_s
            for piece in re.findall(r"(?:<([\d:.]+)>)?([^<]+)", "\n".join(lines)):
                if piece[0]:
                    assert place_s < _seconds(piece[0]) < stop_s
                    place_s = _seconds(piece[0])
                said.append(("".join(html.unescape(piece[1]).split()), place_s))
        assert said == [(word.word, word.start_s) for word in words]


def _seconds(clock: str) -> float:
    hours, minutes, seconds = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d\d\d)", clock).groups()  # type: ignore[union-attr]
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)


def test_captions_end_at_pauses_and_sentences_and_after_seven_seconds(tmp_path: Path) -> None:
    said = ["Mr.", "Smith", "went", "home", "early.", "Then", "he", "slept", "|", "and", "woke", "up"]
    words, place_s = [], 0.0
    for word in said:
        if word == "|":
            place_s += 0.7
            continue
        words.append(TimedWord(word, place_s, place_s + 0.3))
        place_s = round(place_s + 0.3, 3)
    write_words(tmp_path / "a.srt", words, 60)
    assert [cue.text for cue in cues_of(tmp_path / "a.srt")] == ["Mr. Smith went home early.", "Then he slept", "and woke up"]
    slow = [TimedWord("so", float(number), number + 0.9) for number in range(20)]
    write_words(tmp_path / "b.srt", slow, 60)
    assert max(cue.stop_s - cue.start_s for cue in cues_of(tmp_path / "b.srt")) <= LONGEST_MS / 1000
    han = [TimedWord(character, number / 10, number / 10 + 0.1) for number, character in enumerate("你好世界" * 10)]
    write_words(tmp_path / "c.srt", han, 60)
    assert cues_of(tmp_path / "c.srt")[0].lines == ["你好世界你好世界你好世界你好世界你好世界", "你好世界" * 5]


# ---------------------------------------------------------------------------------------------------------- utterances


@pytest.mark.parametrize("suffix", [".TextGrid", ".srt", ".vtt"])
@given(words=timed_words(unit_s=1e-3, min_size=1), more=st.lists(words_as_text, min_size=6, max_size=6))
def test_utterances_come_back(suffix: str, words: list[TimedWord], more: list[str]) -> None:
    segments = [TimedSegment(str(number), word.start_s, word.end_s, f"{word.word} {other}")
                for number, (word, other) in enumerate(zip(words, more, strict=False))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        written = write_segments(path, segments, DURATION_S)
        expected = [(one.start_s, one.end_s, one.text) for one in segments]
        if suffix == ".TextGrid":
            tier, _, intervals = strict_textgrid(path)
            assert tier == "utterances" and [one for one in intervals if one[2]] == expected
        else:
            cues = cues_of(path)
            assert [(cue.start_s, cue.stop_s) for cue in cues] == [one[:2] for one in expected]
            changed = sum(cue.text != one[2] for cue, one in zip(cues, expected, strict=True))
            assert changed <= sum(written.changes.values()) and (suffix == ".srt" or not changed)
        assert written.count == len(segments)


def test_markup_and_times_in_a_text_stay_text(tmp_path: Path) -> None:
    texts = ["10:30 - 11:00 Uhr", "a --> b 1", "<i>schräg</i>", "AT&T &amp; &lt;", "{\\an8}oben\\Nunten", "1984"]
    segments = [TimedSegment(str(place), place, place + 1, text) for place, text in enumerate(texts)]
    assert not write_segments(tmp_path / "a.vtt", segments, 60).changes
    assert [cue.text for cue in cues_of(tmp_path / "a.vtt")] == texts
    assert sum(write_segments(tmp_path / "a.srt", segments, 60).changes.values()) == 5
    cues = cues_of(tmp_path / "a.srt")
    assert [cue.text for cue in cues] == [
        "10∶30 - 11∶00 Uhr", "a → b 1", "‹i›schräg‹/i›", "AT＆T ＆amp; ＆lt;", "{＼an8}oben＼Nunten", "1984"]
    assert [cue.start_s for cue in cues] == [0, 1, 2, 3, 4, 5]


# ---------------------------------------------------------------------------------------------- what cannot be held


def test_what_a_format_cannot_hold_is_counted(tmp_path: Path) -> None:
    words = [TimedWord("two words", 0.0, 0.5), TimedWord("sil", 0.5, 1.0), TimedWord("never", 1.0, 1.0),
             TimedWord("early", 0.8, 1.2), TimedWord("late", 1.9, 2.5), TimedWord("gone", 2.5, 3.0)]
    always = {"text that readers take for silence": 1, "made to start where the one before ends": 1,
              "cut at the end of the recording": 2}
    assert write_words(tmp_path / "a.ctm", words, 2.0) == Written(
        6, 0, {**always, "white space written as _, half characters as ?": 1})
    assert (tmp_path / "a.ctm").read_text().split("\n")[0] == "a 1 0.00 0.50 two_words"
    assert write_words(tmp_path / "a.json", words, 2.0) == Written(6, 0, always)
    assert write_words(tmp_path / "a.TextGrid", words, 2.0) == Written(4, 2, always)
    assert [one for one in strict_textgrid(tmp_path / "a.TextGrid")[2] if one[2]] == [
        (0, 0.5, "two words"), (0.5, 1, "sil"), (1, 1.2, "early"), (1.9, 2, "late")]
    breaks = [TimedWord("a\nb\tc", 0, 1), TimedWord("\ud800", 1, 2)]
    assert write_words(tmp_path / "a.tsv", breaks, 2.0).changes == {"white space made single spaces, half characters made ?": 2}
    assert [word.word for word in read_words(tmp_path / "a.tsv").by_id["a"]] == ["a b c", "?"]
    assert write_words(tmp_path / "b.json", breaks, 2.0).changes == {}
    assert [row["word"] for row in json.loads((tmp_path / "b.json").read_text())] == ["a\nb\tc", "\ud800"]
    lonely = [TimedSegment("a", 0, 0, "nothing"), TimedSegment("b", 0, 1), TimedSegment("c", 0.5, 2, "c")]
    assert write_segments(tmp_path / "a.vtt", lonely, 5.0) == Written(1, 2, {"made to start where the one before ends": 1})
    assert cues_of(tmp_path / "a.vtt")[0].start_s == 1


def test_no_word_at_all_is_silence(tmp_path: Path) -> None:
    words = [TimedWord(" ", 0, 1), TimedWord("two", 1, 2)]
    for suffix in (".ctm", ".tsv", ".json", ".TextGrid"):
        assert write_words(tmp_path / f"a{suffix}", words, 2.0).changes["text that readers take for silence"] == 1
        read = read_words(tmp_path / f"a{suffix}")
        assert [word.word for word in read.by_id["a"]] == ["two"] and not read.faults
    assert write_words(tmp_path / "a.srt", words, 2.0).left_out == 1


def test_a_word_that_looks_like_an_alternative_makes_none(tmp_path: Path) -> None:
    words = [TimedWord("<ALT_BEGIN>", 0, 1), TimedWord("two", 1, 2)]
    assert sum(write_words(tmp_path / "a.ctm", words, 2.0).changes.values()) == 1
    read = read_words(tmp_path / "a.ctm")
    assert [word.word for word in read.by_id["a"]] == ["ALT_BEGIN", "two"] and not read.faults


# --------------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_written_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)a\.docx.*\.TextGrid, \.ctm, \.srt, \.vtt, \.tsv, \.json"):
        write_words(tmp_path / "a.docx", HELLO, 5.0)
    with pytest.raises(ConfigError, match=r"(?s)a\.ctm.*\.TextGrid, \.srt, \.vtt, \.tsv, \.json"):
        write_segments(tmp_path / "a.ctm", [], 5.0)
    with pytest.raises(ConfigError, match="words of 2"):
        write_words(tmp_path / "a.srt", {"a": HELLO, "b": HELLO}, 5.0)
    with pytest.raises(ConfigError, match=r"'a b' and 'a_b' are the same in a\.ctm"):
        write_words(tmp_path / "a.ctm", {"a b": HELLO, "a_b": HELLO}, 5.0)
    with pytest.raises(ConfigError, match=r"'a\\tb' and 'a b' are the same in a\.tsv"):
        write_words(tmp_path / "a.tsv", {"a\tb": HELLO, "a b": HELLO}, 5.0)
    with pytest.raises(ConfigError, match=r"';;a' cannot be written in a\.ctm"):
        write_words(tmp_path / "a.ctm", {";;a": HELLO}, 5.0)
    for name in ("../x", "/x", "a//b", "", ".", ".hidden", "a\0"):
        with pytest.raises(ConfigError, match="no name for a file"):
            write_word_files(tmp_path / "out", ".json", {name: HELLO}, {name: 5.0})
    with pytest.raises(OutputError):
        (tmp_path / "file").write_text("")
        write_words(tmp_path / "file" / "a.json", HELLO, 5.0)
    for duration_s in (0.0, float("nan"), float("inf"), {"b": 1.0}):
        with pytest.raises(ValueError, match="duration of 'a'"):
            write_words(tmp_path / "a.json", {"a": HELLO}, duration_s)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("start_s", "end_s", "score"), [
    (0.5, -1, None), (-0.1, 1, None), (1, 0.5, None), (float("nan"), 1, None), (0, float("nan"), None), (0, float("inf"), None),
    (0, 1, float("nan"))])
def test_a_time_that_nobody_gave_is_no_time(start_s: float, end_s: float, score: float | None) -> None:
    """A-P17: no sentinels, no NaN."""
    with pytest.raises(ValueError, match="'a'"):
        TimedWord("a", start_s, end_s, score)
    with pytest.raises(ValueError, match="'a'"):
        TimedSegment("a", start_s, end_s, "text", score)
