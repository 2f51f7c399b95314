"""GigaSpeech.json: segments of long recordings, tags as what they stand for (D19)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.corpora import lay, said
from utterloom.core.artifact import load_card
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers import gigaspeech
from utterloom.prepare.readers.gigaspeech import GigaSpeechReader, JsonStream, punctuated
from utterloom.prepare.stage import PrepareConfig, prepare


def segment(sid: str, text: Any, start: Any = 0.0, stop: Any = 1.0, *subsets: str) -> dict[str, Any]:
    return {"sid": sid, "speaker": "N/A", "begin_time": start, "end_time": stop, "text_tn": text, "subsets": [*subsets]}


def corpus(folder: Path, *segments: Any, **audio: Any) -> Path:
    about = {"title": "NPR", "url": "http://x", "path": "audio/podcast/P0001/POD1.opus", "aid": "POD1", "source": "podcast",
             "md5": "aa", "duration": 9.5, "sample_rate": 16000, "channels": 1, "category": "N/A", **audio}
    document = {"dataset": "GigaSpeech", "language": "EN", "version": "v1.0.0", "audios": [{**about, "segments": [*segments]}]}
    lay(folder, {"GigaSpeech.json": json.dumps(document, indent=2)})
    return folder / "GigaSpeech.json"


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(GigaSpeechReader(), source)


def test_segments_with_tags(tmp_path: Path) -> None:
    """D19: punctuation tags are punctuation, garbage tags say why a segment is left out, with its seconds."""
    utterances, drops = read(corpus(
        tmp_path, segment("S1", "AS I SAID <COMMA> YOU'RE IN <PERIOD>", 159.0, 167.52, "{XL}", "{S}"),
        segment("S2", "IS IT <QUESTIONMARK> NO <EXCLAMATIONPOINT>", 1, 2, "{DEV}"), segment("S3", "X", 0, 1, "{TEST}"),
        segment("S4", "<MUSIC>", 2.5, 4.0, "{DEV}"), segment("S5", "<SIL>"), segment("S6", "<NOISE>"),
        segment("S7", "WELL <OTHER>"), segment("S8", None)))
    one, two, three, eight = utterances.values()
    assert (one.text, one.split, one.language, one.speaker) == ("AS I SAID, YOU'RE IN.", "train", "en", None)
    assert one.attributes == {"source": "podcast", "title": "NPR", "subsets": "XL S"}
    assert (one.spans[0].path, one.spans[0].start_s, one.spans[0].stop_s) == (
        f"{tmp_path}/audio/podcast/P0001/POD1.opus", 159.0, 167.52)
    assert (two.text, two.split, three.split, eight.text) == ("IS IT? NO!", "dev", "test", None)
    assert {name: drop.reason for name, drop in drops.items()} == {
        "S4": "garbage <MUSIC>", "S5": "garbage <SIL>", "S6": "garbage <NOISE>", "S7": "garbage <OTHER>"}
    assert drops["S4"].seconds == 1.5


@pytest.mark.parametrize(("tagged", "plain"), [
    ("A <COMMA> B <PERIOD>", "A, B."), ("<COMMA> A", ", A"), ("A <UNKNOWN> B", "A <UNKNOWN> B"), ("A<PERIOD>", "A."),
    ("<PERIOD>", "."), ("", "")])
def test_tags_stand_for_marks(tagged: str, plain: str) -> None:
    assert punctuated(tagged) == plain


@pytest.mark.parametrize(("bad", "why"), [
    (segment("B", "X", -1), "not a time"), (segment("B", "X", 0, "late"), "not a time"), (segment("B", "X", None), "not a time"),
    (segment("B", ["X"]), "text_tn is"), (segment("", "X"), "no sid"), ("B", "no sid"),
    ({**segment("B", "X"), "subsets": "{XL}"}, "subsets are")])
def test_a_bad_segment_is_a_drop(tmp_path: Path, bad: Any, why: str) -> None:
    utterances, drops = read(corpus(tmp_path, segment("S1", "A"), bad, segment("S3", "B")))
    (drop,) = drops.values()
    assert set(utterances) == {"S1", "S3"} and drop.reason == "bad row" and why in drop.detail
    assert drop.id in ("B", "POD1 segment 2")


def test_a_bad_audio_is_a_drop(tmp_path: Path) -> None:
    assert "path of its audio is None" in read(corpus(tmp_path, segment("S1", "A"), path=None))[1]["S1"].detail
    lay(tmp_path, {"g.json": '{"audios": [{"aid": "P2", "path": "x"}, 7], "language": "EN"}'})
    drops = read(tmp_path / "g.json")[1]
    assert set(drops) == {"P2", "audio 2"} and {drop.detail for drop in drops.values()} == {"it has no list of segments"}


@settings(max_examples=60)
@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                             | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
                             | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8), max_size=6),
       st.integers(1, 9), st.sampled_from([None, 2]))
def test_a_document_in_pieces_is_the_document(values: list[Any], size: int, indent: int | None) -> None:
    """Wherever a piece ends, in a number or an escape too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gigaspeech, "CHARACTERS_AT_ONCE", size)
        document = JsonStream(io.StringIO(json.dumps(values, indent=indent)))
        document.take("[")
        found = []
        while document.peek() != "]":
            found.append(document.value())
            document.skip(",", unless="]")
        document.take("]")
        assert found == values and document.peek() == ""


@pytest.mark.parametrize("size", range(1, 12))
def test_numbers_may_end_anywhere(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gigaspeech, "CHARACTERS_AT_ONCE", size)
    text = "159.25 -1.5e-7 2E+10 12 0.5"
    document = JsonStream(io.StringIO(text))
    assert [document.value() for _ in text.split()] == [159.25, -1.5e-7, 2e10, 12, 0.5]


@pytest.mark.parametrize(("content", "word"), [
    (b"", "cut off"), (b"[]", "not JSON"), (b"{}", "no audios"), (b'{"audios": []}', "no audios"), (b'{"audios": [{}', "cut off"),
    (b'{"audios": [{"segments": []} {"a"', "not JSON"), (b'{"audios": [nope]}', "not JSON"), (b'{"\xff', "not UTF-8"),
    (b'{"audios": ' + b"[" * 100_000, "not JSON")])
def test_what_is_not_the_file_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    lay(tmp_path, {"g.json": content})
    with pytest.raises(SourceError, match=word):
        read(tmp_path / "g.json")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    corpus(tmp_path)
    with pytest.raises(SourceError, match="is a folder") as caught:
        GigaSpeechReader().fingerprint(tmp_path)
    assert "GigaSpeech.json" in (caught.value.hint or "")


def test_through_prepare(tmp_path: Path) -> None:
    source = corpus(tmp_path / "g", segment("S1", "A <PERIOD>", 0.5, 1.5, "{XS}"), segment("S2", "<SIL>", 1.5, 2.0, "{DEV}"),
                    segment("S3", "B", 1.0, 2.0, "{DEV}"), segment("S4", "C", 2.0, 9.0, "{XS}"), path="a/p.flac")
    lay(tmp_path / "g", {"a/p.flac": 3.0})
    card = prepare("gigaspeech", source, tmp_path / "m", PrepareConfig(workers=0))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 1, "dev": 1}
    assert {row["reason"]: row["seconds"] for row in card["ledger"]["reasons"]} == {
        "garbage <SIL>": 0.5, "span outside the recording": 0.0}


def test_twice_is_the_same_and_names_of_files_prove_nothing(tmp_path: Path) -> None:
    """D-P21: equal manifests, whatever the hash seed of a process; D-P22: WAV data under an .opus name is read as what it is."""
    source = corpus(tmp_path / "g", *(segment(f"S{n}", f"WORD {n} <COMMA> I SAY <PERIOD>", n * 0.2, n * 0.2 + 0.2, "{XS}")
                                      for n in range(9)), path="a/p.opus")
    lay(tmp_path / "g/a", {"p.wav": 2.0}).joinpath("p.wav").rename(tmp_path / "g/a/p.opus")
    hashes = set()
    for seed in ("1", "2"):
        words = ["prepare", "gigaspeech", source, tmp_path / f"m{seed}", "dev=0", "test=0", "workers=0"]
        subprocess.run([sys.executable, "-m", "utterloom.cli", *words], check=True, capture_output=True,
                       env={**os.environ, "PYTHONHASHSEED": seed})
        hashes.add((tmp_path / f"m{seed}/utterances.parquet").read_bytes())
    assert len(hashes) == 1
    card = load_card(tmp_path / "m1", "manifest")
    assert card["utterances"] == 9 and card["ledger"]["dropped"] == 0
