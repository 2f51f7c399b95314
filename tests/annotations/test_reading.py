"""Word times as people have them: in every shape that tools write, gaps as gaps, and what is wrong with them as faults."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.annotations import TimedWord, WordsRead, read_words, write_words
from utterloom.core.errors import ConfigError, SourceError, UtterloomError

ONE_TWO = [("one", 0.5, 0.9), ("two", 1.0, 1.25)]


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def said(read: WordsRead) -> dict[str, list[tuple[str, float, float]]]:
    return {name: [(word.word, word.start_s, word.end_s) for word in words] for name, words in read.by_id.items()}


def reasons(read: WordsRead) -> Counter[str]:
    assert all(fault.detail and fault.where for fault in read.faults)
    return Counter(fault.reason for fault in read.faults)


# ------------------------------------------------------------------------------------------------------------- shapes

PAIRS = [{"word": "one", "start": 0.5, "end": 0.9}, {"word": "two", "start": 1.0, "end": 1.25}]
TEXTS = [{"text": "one", "start": 0.5, "end": 0.9}, {"text": "two", "start": "1.0", "end": "1.25"}]
LISTS = [[0.0, 0.5, ""], [0.5, 0.9, "one"], [1.0, 1.25, "two"]]
SHAPES: dict[str, Any] = {
    "a list (A2)": PAIRS,
    "ours": [{"word": "one", "start_s": 0.5, "end_s": 0.9, "score": None}, {"word": "two", "start_s": 1.0, "end_s": 1.25}],
    "with durations": [{"word": "one", "start": 0.5, "duration": 0.4}, {"word": "two", "start": 1.0, "duration": 0.25}],
    "words": {"words": PAIRS, "text": "one two", "language": "en"},
    "WhisperX": {"segments": [
        {"start": 0.5, "end": 0.9, "text": " one", "words": [{"word": "one", "start": 0.5, "end": 0.9, "score": 0.8}]},
        {"start": 1, "end": 1.25, "text": " two", "words": [{"word": "two", "start": 1.0, "end": 1.25}]}], "word_segments": PAIRS},
    "Whisper": {"text": " one two", "language": "en", "segments": [
        {"id": 0, "start": 0.5, "end": 1.25, "text": " one two", "words": [
            {"word": " one", "start": 0.5, "end": 0.9, "probability": 0.5}, {"word": " two", "start": 1.0, "end": 1.25}]}]},
    "segments alone": [{"id": 0, "words": PAIRS[:1]}, {"id": 1, "words": PAIRS[1:]}],
    "Transformers": {"text": " one two", "chunks": [
        {"text": " one", "timestamp": [0.5, 0.9]}, {"text": " two", "timestamp": [1.0, 1.25]}]},
    "MFA": {"start": 0, "end": 2, "tiers": {"words": {"type": "interval", "entries": LISTS},
                                            "phones": {"type": "interval", "entries": [[0.5, 0.6, "W"]]}}},
    "MFA, one speaker of several tiers": {"tiers": {"Ana - phones": {"entries": []}, "Ana - words": {"entries": LISTS}}},
    "NeMo (A10)": {"word": TEXTS, "segment": [{"text": "one two", "start": 0.5, "end": 1.25}], "char": [], "text": "one two"},
    "NeMo, a hypothesis": {"text": "one two", "timestamp": {"word": PAIRS, "segment": []}},
    "gentle": {"transcript": "one two", "words": [
        {"alignedWord": "one", "case": "success", "word": "one", "start": 0.5, "end": 0.9, "startOffset": 0, "endOffset": 3},
        {"alignedWord": "two", "case": "success", "word": "two", "start": 1.0, "end": 1.25, "startOffset": 4, "endOffset": 7}]},
    "Vosk": {"text": "one two", "result": [{"conf": 1.0, **PAIRS[0]}, {"conf": 0.5, **PAIRS[1]}]},
    "a table's JSON in JSON": {"alignment_json": json.dumps(PAIRS)},
    "word first": [["one", 0.5, 0.9], ["two", "1.0", "1.25", 0.5]],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_says_the_same(shape: str, tmp_path: Path) -> None:
    """A2, A10, and the tools that people use: alone, by id, and a line each."""
    value = SHAPES[shape]
    alone = read_words(put(tmp_path / "talk.1.json", value))
    assert said(alone) == {"talk.1": ONE_TWO} and not alone.faults
    by_id = read_words(put(tmp_path / "all.json", {"a": value, "b/c": value}))
    assert said(by_id) == {"a": ONE_TWO, "b/c": ONE_TWO} and not by_id.faults
    rows = [{"id": name, **(value if isinstance(value, dict) else {"words": value})} for name in ("a", "b")]
    lines = read_words(put(tmp_path / "all.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n"))
    assert said(lines) == {"a": ONE_TWO, "b": ONE_TWO} and not lines.faults
    assert said(read_words(put(tmp_path / "rows.json", rows))) == {"a": ONE_TWO, "b": ONE_TWO}


def test_scores_are_known_or_none(tmp_path: Path) -> None:
    rows = [{**PAIRS[0], "score": 0.5}, {**PAIRS[1], "probability": 1}, {"word": "x", "start": 2, "end": 3, "score": float("nan")},
            {"word": "y", "start": 3, "end": 4, "conf": "high"}]
    read = read_words(put(tmp_path / "a.json", rows))
    assert read.by_id["a"] == [TimedWord("one", 0.5, 0.9, 0.5, "json"), TimedWord("two", 1, 1.25, 1, "json"),
                               TimedWord("x", 2, 3, None, "json"), TimedWord("y", 3, 4, None, "json")]


def test_lines_with_recordings_are_called_as_prepare_calls_them(tmp_path: Path) -> None:
    paths = ("/data/wavs/a/one.1.wav", "/data/wavs/b/one.1.wav")
    path = put(tmp_path / "m.jsonl", "\n".join(json.dumps({"audio_filepath": one, "words": PAIRS}) for one in paths))
    assert said(read_words(path)) == {"a/one.1": ONE_TWO, "b/one.1": ONE_TWO}


# ---------------------------------------------------------------------------------------------------- gaps and faults


def test_silence_is_a_gap_and_a_stand_in_is_no_time(tmp_path: Path) -> None:
    """A10, A-P16, A-P17: `<silence>` in every gap and at the end with end = -1; of a word, -1 is a fault."""
    rows = [{"text": "<silence>", "start": 0.0, "end": 0.5}, *TEXTS, {"text": "<silence>", "start": 1.25, "end": -1}]
    read = read_words(put(tmp_path / "a.json", {"word": rows}))
    assert said(read) == {"a": ONE_TWO} and not read.faults
    for label in ("sil", "sp", "<eps>", "", "<SIL>"):
        assert not read_words(put(tmp_path / "a.json", [{"word": label, "start": 0, "end": 0.5}, *PAIRS])).faults
    read = read_words(put(tmp_path / "a.json", {"word": [*TEXTS, {"text": "three", "start": 1.5, "end": -1}]}))
    assert said(read) == {"a": ONE_TWO} and reasons(read) == {"negative time": 1}
    assert read.faults[0].where == "word 3" and "-1 stands for a time that nobody gave" in read.faults[0].detail


@pytest.mark.parametrize(("entry", "reason"), [
    ({"start": 1.5, "end": -1}, "negative time"), ({"start": -0.2, "end": 2}, "negative time"),
    ({"start": 2.0, "end": 1.5}, "ends before it starts"), ({"start": float("nan"), "end": 2}, "bad times"),
    ({"start": 1.5, "end": float("inf")}, "bad times"), ({"start": 1.5, "end": True}, "bad times"),
    ({"start": "soon", "end": 2}, "bad times"), ({"start": 1.5}, "no times"), ({"start": None, "end": None}, "no times"),
    ({"case": "not-found-in-audio"}, "no times"), ({"start": 1.2, "end": 2}, "overlap"),
    ({"start": 0.7, "end": 0.8}, "out of order"),
    ({"start": 1.5, "end": 5.5}, "ends after its recording"), ({"word": "<unk>", "start": 1.5, "end": 2}, "unknown word"),
    ({"word": None, "start": 1.5, "end": 2}, "no word"),
])
def test_what_is_no_word_at_a_time_is_a_fault(entry: dict[str, Any], reason: str, tmp_path: Path) -> None:
    rows = [*PAIRS, {"word": "three", **entry}, {"word": "four", "start": 4.0, "end": 5.0}]
    read = read_words(put(tmp_path / "a.json", rows), durations_s={"a": 5.0})
    assert said(read) == {"a": [*ONE_TWO, ("four", 4.0, 5.0)]}
    assert reasons(read) == {reason: 1} and (read.faults[0].id, read.faults[0].where) == ("a", "word 3")


def test_times_rounded_to_hundredths_are_trimmed_and_counted(tmp_path: Path) -> None:
    rows = [("one", 0.1, 0.31), ("two", 0.3, 0.5), ("three", 0.5, 0.61)]
    read = read_words(put(tmp_path / "a.json", [{"word": word, "start": start, "end": end} for word, start, end in rows]),
                      durations_s={"a": 0.604})
    assert said(read) == {"a": [("one", 0.1, 0.3), ("two", 0.3, 0.5), ("three", 0.5, 0.604)]}
    assert read.trimmed == 2 and not read.faults


def test_a_ctm_with_channels_alternatives_and_bad_lines(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ctm", """;; made by hand
call A 1.0 0.25 two 0.5
call A 0.5 0.4 one NA
call B 0.5 0.4 ja
talk 1 0 0.5 <eps>
talk 1 0.5 0.4 one
talk 1 1.0 -1 broken
talk 1 <ALT_BEGIN>
talk 1 2 0.5 <ALT_BEGIN>
talk 1 2 0.5 three
talk 1 2 0.5 <ALT>
talk 1 2 0.5 tree
talk 1 2 0.5 <ALT_END>
""")
    read = read_words(path)
    assert said(read) == {"call-A": ONE_TWO, "call-B": [("ja", 0.5, 0.9)], "talk": [("one", 0.5, 0.9)]}
    assert reasons(read) == {"bad word": 2, "alternative words": 2}
    assert [word.score for word in read.by_id["call-A"]] == [None, 0.5]
    assert [fault.where for fault in read.faults if fault.reason == "bad word"] == ["line 7", "line 8"]


def grid(tiers: dict[str, list[tuple[float, float, str]]]) -> str:
    lines = ['File type = "ooTextFile short"', '"TextGrid"', "", "0", "9", "<exists>", str(len(tiers))]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", "9", str(len(intervals))]
        lines += [f'{start_s} {stop_s} "{label}"' for start_s, stop_s, label in intervals]
    return "\n".join(lines)


def test_a_folder_of_textgrids(tmp_path: Path) -> None:
    words = [(0, 0.5, "sp"), (0.5, 0.9, "one"), (0.9, 1, ""), (1, 1.25, "two")]
    put(tmp_path / "one.1.TextGrid", grid({"phones": [(0.5, 0.6, "W")], "words": words}))
    put(tmp_path / "b" / "two.textgrid", grid({"Ana - words": words, "Ana - phones": []}))
    put(tmp_path / "both.TextGrid", grid({"Ana - words": words, "Ben - words": words}))
    put(tmp_path / "none.TextGrid", grid({"phones": words}))
    put(tmp_path / "cut.TextGrid", grid({"words": words})[:-20])
    put(tmp_path / "notes.json", [])
    read = read_words(tmp_path)
    assert said(read) == {"one.1": ONE_TWO, "b/two": ONE_TWO}
    assert {fault.id: fault.detail for fault in read.faults if fault.reason == "bad file"}.keys() == {"both", "none", "cut"}
    assert any("'Ana - words', 'Ben - words'" in fault.detail for fault in read.faults)
    assert said(read_words(tmp_path, tier="Ben - words")) == {"both": ONE_TWO}
    assert said(read_words(tmp_path / "none.TextGrid", tier="phones")) == {"none": ONE_TWO}
    with pytest.raises(SourceError, match=r"(?s)no tier 'words'; there are: 'phones'.*name the one with the words"):
        read_words(tmp_path / "none.TextGrid")


def test_a_folder_of_montreals_json(tmp_path: Path) -> None:
    put(tmp_path / "a" / "one.json", SHAPES["MFA"])
    put(tmp_path / "two.json", SHAPES["MFA"])
    assert said(read_words(tmp_path)) == {"a/one": ONE_TWO, "two": ONE_TWO}


def test_a_table_with_and_without_ids(tmp_path: Path) -> None:
    rows = ["id\tword\tstart_s\tend_s", "a\tone\t0.5\t0.9", "b\tsil\t0\t1", "a\ttwo\t1.0\t1.25", "a\tlong\t1", "b\tx\t\t2", ""]
    path = put(tmp_path / "w.tsv", "\n".join(rows))
    read = read_words(path)
    assert said(read) == {"a": ONE_TWO, "b": []} and reasons(read) == {"bad line": 1, "no times": 1}
    path = put(tmp_path / "v.tsv", "word\tstart\tend\tscore\none\t0.5\t0.9\t\ntwo\t1.0\t1.25\t0.5\n")
    assert said(read_words(path)) == {"v": ONE_TWO} and [word.score for word in read_words(path).by_id["v"]] == [None, 0.5]


@pytest.mark.parametrize("corpus", ["mfa_testdata", "picovoice_multilang", "ljspeech_lj001"])
def test_words_of_real_corpora(corpus: str, shared: Path, tmp_path: Path) -> None:
    """Every line is a word or a fault, and what is read is the same after a detour through each format."""
    path = shared / "data" / corpus / "words.tsv"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    lines: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            lines[row["id"]].append(row["word"])
    read = read_words(path)
    assert sum(map(len, read.by_id.values())) + len(read.faults) == sum(map(len, lines.values()))
    assert lines.keys() == read.by_id.keys()
    assert set(reasons(read)) <= {"unknown word"}
    ends = {name: words[-1].end_s for name, words in read.by_id.items()}
    for suffix in (".ctm", ".tsv", ".json"):
        write_words(tmp_path / f"all{suffix}", read.by_id, ends)
        assert said(read_words(tmp_path / f"all{suffix}")) == said(read)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.json", '[{"word": "one",\n "start": }]', r"a\.json, line 2: it is not JSON"),
    ("a.json", "3", r"a\.json should hold words such as .* it is 3"),
    ("a.json", {"a": {"b": 1}}, r"a\.json of 'a' should hold words .* it is an object with 'b'"),
    ("a.json", {}, r"should hold words"),
    ("a.json", {"segments": [{"text": "one two", "start": 0, "end": 1}]}, "(?s)segment 1 has no list.*word_timestamps=True"),
    ("a.json", {"chunks": [{"text": " one two", "timestamp": [0, 1]}]}, "these are utterances, not words"),
    ("a.json", [{"id": "a", "words": []}, {"id": "a", "words": []}], "a second entry of 'a'"),
    ("a.jsonl", '{"id": "a", "words": []}\n{"id": "b", "words": [}\n', r"a\.jsonl, line 2, line 1: it is not JSON"),
    ("a.jsonl", '{"words": []}', r"a\.jsonl, line 1 should be an object with id or"),
    ("a.jsonl", "\n", "is empty"),
    ("a.tsv", "word\tbegin\tend\n", r"line 1 should name the columns word, start_s, end_s, .* no start_s"),
    ("a.tsv", "word\tstart\tend\n", "holds no words"),
    ("a.ctm", "a 1 x 0.5 one\n", "(?s)holds no words; line 1: 'x' is not a time"),
    ("a.TextGrid", "nothing", "should be a text in quotation marks|ends where the file type should be"),
    ("a.srt", "1\n", r"(?s)captions do not say when a word ends.*\.TextGrid, \.ctm, \.json, \.jsonl, \.tsv"),
])
def test_errors_name_file_line_and_what_was_expected(name: str, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((SourceError, ConfigError), match=message):
        read_words(put(tmp_path / name, content))


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    put(tmp_path / "words.json", PAIRS)
    with pytest.raises(SourceError, match=r"(?s)there is no .*did you mean 'words\.json'"):
        read_words(tmp_path / "word.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no file ending in \.TextGrid or \.json or \.ctm"):
        read_words(tmp_path / "empty")


@pytest.mark.parametrize("junk", [
    "[1]", "[null]", "[[]]", "[[1,2]]", "[{}]", '[{"word": {}}]', '{"words": {}}', '{"words": [[[]]]}', '{"tiers": {"words": 3}}',
    '{"tiers": {}}', '{"segments": [3]}', '"["', "null", '{"a": null}', '{"timestamp": {"word": 1}}', "[" * 100_000, '{"a": "["}',
    '{"tiers": {"words": {"entries": null}}}', '[{"word": "a", "start": 1e999, "end": 1}]', '{"words": "["}', '"{}"',
    '[{"word": "a", "start": {}, "duration": []}]', '[{"text": "a", "timestamp": [null, null]}]', '[{"id": true, "words": [1]}]'])
def test_any_json_is_words_or_faults_or_an_error_that_is_the_users(junk: str, tmp_path: Path) -> None:
    try:
        read = read_words(put(tmp_path / "a.json", junk))
    except UtterloomError as error:
        assert "a.json" in error.message
    else:
        assert not any(read.by_id.values()) and read.faults


_KEYS = st.sampled_from((
    "words", "word", "segments", "tiers", "chunks", "result", "timestamp", "alignment_json", "text", "start", "end", "duration",
    "score", "id", "audio_filepath", "entries", "x"))
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.floats(),
                    st.sampled_from(("one", "", "sil", "[", "[[1, 2, \"a\"]]", "0.5")))
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=25)


@given(value=_VALUES, is_lines=st.booleans())
def test_random_json_makes_good_words_and_no_traceback(value: Any, is_lines: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        good_or_refused(put(Path(folder) / ("a.jsonl" if is_lines else "a.json"), json.dumps(value)))


_CELLS = st.sampled_from(("a", "1", "A", "0.5", "-1", "nan", "1e999", "one", "<eps>", "<ALT>", ";;", "", "id", "word", "start_s",
                          '"IntervalTier"', '"words"', "<exists>", '"', "2"))


@given(lines=st.lists(st.lists(_CELLS, max_size=8), max_size=12), suffix=st.sampled_from((".ctm", ".tsv", ".TextGrid")))
def test_random_lines_make_good_words_and_no_traceback(lines: list[list[str]], suffix: str) -> None:
    first = {".tsv": "id\tword\tstart_s\tend_s\n", ".TextGrid": '"ooTextFile" "TextGrid" 0 9 <exists> 1 ', ".ctm": ""}[suffix]
    with tempfile.TemporaryDirectory() as folder:
        good_or_refused(put(Path(folder) / f"a{suffix}", first + "\n".join("\t".join(line) for line in lines)))


def good_or_refused(path: Path) -> None:
    try:
        read = read_words(path)
    except UtterloomError as error:
        assert path.name in error.message
        return
    reasons(read)
    for words in read.by_id.values():
        ends = [0.0]
        for word in words:
            assert word.word and ends[-1] <= word.start_s <= word.end_s < math.inf
            ends.append(word.end_s)
