"""Time-marked words: joined between pauses, or as a file of segments has them; no word leaves without being counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utterloom.audio.spans import SpanReader
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.ctm import CtmReader
from utterloom.prepare.stage import PrepareConfig, prepare
from utterloom.shards.manifest import rows


def lay(folder: Path, ctm: str, segments: str | None = None, audio: tuple[str, ...] = ("rec-1.wav",)) -> Path:
    for name in audio:
        (folder / name).write_bytes(b"")
    (folder / "all.ctm").write_text(ctm, encoding="utf-8")
    if segments is not None:
        (folder / "segments").write_text(segments, encoding="utf-8")
    return folder


def read(source: Path) -> tuple[list[Utterance], list[Drop]]:
    items = list(CtmReader().read(source))
    return [item for item in items if isinstance(item, Utterance)], [item for item in items if isinstance(item, Drop)]


CTM = """;; recording channel start duration word confidence type speaker
rec-1 1 0.10 0.20 dobar 0.9 lex ana
rec-1 1 0.30 0.30 dan 0.7 lex ana
rec-1 1 0.60 0.30 <eps> 1.0
rec-1 1 1.50 0.20 bok 1.0 lex ivo
rec-1 1 1.80 0.20 hm NA noise ivo

rec-1 1 4.00 0.50 <unk> 0.5 lex ivo
rec-1 1 4.50 0.50 da 0.5 lex ivo
rec-1 1 6.00 0.50 prvi 0.5 lex ana
rec-1 1 * * <ALT_BEGIN>
rec-1 1 6.50 0.20 drugi 0.5 lex ana
rec-1 1 * * <ALT>
rec-1 1 6.50 0.20 grugi 0.5 lex ana
rec-1 1 * * <ALT_END>
rec-1 1 soon 0.50 da
rec-1 1 9.00
rec-1 1 9.00 0.50 kraj 0.5 lex ana
lost 1 0.00 1.00 x
"""


def test_words_are_joined_between_pauses(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, CTM))
    assert [(u.id, u.text, u.speaker) for u in kept] == [
        ("rec-1_0.10-0.60", "dobar dan", "ana"), ("rec-1_1.50-1.70", "bok", "ivo"), ("rec-1_9.00-9.50", "kraj", "ana")]
    assert kept[0].attributes == {"word_times": '[["dobar",0.0,0.2],["dan",0.2,0.5]]', "confidence": "0.8000"}
    assert [(drop.id, drop.reason) for drop in drops] == [
        ("rec-1_4.00-5.00", "unknown word"), ("rec-1_6.00-6.70", "alternative words"), ("rec-1: line 16", "bad word"),
        ("rec-1: line 17", "bad word"), ("lost_0.00-1.00", "no recording")]
    assert drops[0].seconds == 1.0 and "'soon' is not a time" in drops[2].detail and "3 cells" in drops[3].detail


def test_words_in_the_utterances_of_a_file_of_segments(tmp_path: Path) -> None:
    """Kaldi's: the id is the file's own, times are the file's, a word belongs where its middle lies."""
    ctm = "rec-1 1 0.9 0.3 a\nrec-1 1 1.3 0.4 b\nrec-1 1 1.9 0.4 c\nrec-1 1 5.0 0.5 d\nother 1 0.0 0.5 e\n"
    kept, drops = read(lay(tmp_path, ctm, "utt-1 rec-1 1.00 2.00\nutt-2 rec-1 2.00 3.00\nutt-3 rec-1 3.00 4.00\n",
                           ("rec-1.wav", "other.wav")))
    assert [(u.id, u.text, u.spans[0].start_s, u.spans[0].stop_s) for u in kept] == [
        ("utt-1", "a b", 1.0, 2.0), ("utt-2", "c", 2.0, 3.0), ("utt-3", None, 3.0, 4.0)]
    assert json.loads(kept[0].attributes["word_times"]) == [["a", -0.1, 0.2], ["b", 0.3, 0.7]]
    assert [(drop.id, drop.reason) for drop in drops] == [
        ("rec-1_5.00-5.50", "outside every segment"), ("other_0.00-0.50", "outside every segment")]


def test_words_that_count_from_the_start_of_their_utterance(tmp_path: Path) -> None:
    kept, drops = read(lay(tmp_path, "utt-1 1 0.0 0.5 a\nutt-2 1 0.1 0.5 b\nutt-2 1 0.6 0.2 <unk>\n",
                           "utt-1 rec-1 100.25 101\nutt-2 rec-1 102 103\n"))
    assert [(u.id, u.text, u.spans[0].start_s) for u in kept] == [("utt-1", "a", 100.25)]
    assert json.loads(kept[0].attributes["word_times"]) == [["a", 0.0, 0.5]]
    assert [(drop.id, drop.reason, drop.seconds) for drop in drops] == [("utt-2", "unknown word", 1.0)]


def sides(kept: list[Utterance]) -> list[tuple[str, str | None, int | None]]:
    return [(u.id, u.text, u.spans[0].channel) for u in kept]


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("1", "2"), ("0", "1"), ("left", "right")])
def test_each_channel_is_read_by_itself(tmp_path: Path, first: str, second: str) -> None:
    """Both sides of a call at once: nobody speaks over anybody, and ids say which side it is."""
    kept, drops = read(lay(tmp_path, f"rec-1 {first} 0.0 0.5 a\nrec-1 {second} 0.0 0.5 b\n"))
    assert not drops and sides(kept) == [(f"rec-1-{first}_0.00-0.50", "a", 0), (f"rec-1-{second}_0.00-0.50", "b", 1)]
    assert all("overlap_s" not in u.attributes for u in kept)


def test_a_file_of_segments_may_name_the_channel(tmp_path: Path) -> None:
    """By another name than the CTM, too. What does not say it is of the channel of its words, if they are on one."""
    ctm = "rec-1 A 0.0 0.5 a\nrec-1 B 0.1 0.5 b\nrec-1 B 2.0 0.5 c\nrec-1 A 5.0 0.5 d\nrec-1 B 5.0 0.5 e\n"
    kept, drops = read(lay(tmp_path, ctm, "u rec-1 0 1 1\nv rec-1 0 1 2\nw rec-1 2 3\nx rec-1 3 4 2\ny rec-1 3 4\nz rec-1 5 6\n"))
    assert sides(kept) == [("u", "a", 0), ("v", "b", 1), ("w", "c", 1), ("x", None, 1)]
    assert [(drop.id, drop.reason) for drop in drops] == [("y", "several channels"), ("z", "several channels")]
    assert "A, B" in drops[0].detail


def test_a_channel_that_is_no_channel_of_the_file(tmp_path: Path) -> None:
    """One side in a file of its own stays whole; only the first channel of a recording is, as everywhere, the mix of it."""
    for number, name in enumerate(("one", "two"), start=1):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((16_000, number)), 16_000)
    ctm = "one B 0.0 0.5 a\ntwo B 0.0 0.5 b\nboth X 0.0 0.5 c\nboth Y 0.0 0.5 d\nnone NA 0 0.5 e\nnone NA 0.5 0.3 f\n"
    kept, drops = read(lay(tmp_path, ctm, audio=("both.wav", "none.wav")))
    assert sides(kept) == [("one_0.00-0.50", "a", None), ("two-B_0.00-0.50", "b", 1), ("none_0.00-0.80", "e f", None)]
    assert [drop.id for drop in drops] == ["both_0.00-0.50", "both_0.00-0.50~2"]
    assert {drop.reason for drop in drops} == {"unknown channel"}
    assert "'X' is no channel" in drops[0].detail


def test_the_sides_of_a_call_come_out_as_they_were_spoken(tmp_path: Path) -> None:
    """From the CTM to the packed samples, with a channel that the recording does not have."""
    both = np.stack([np.full(16_000, 0.25), np.full(16_000, -0.5)], axis=1)
    soundfile.write(tmp_path / "call.wav", both, 16_000)
    lay(tmp_path, "call 1 0.0 0.5 a\ncall 2 0.25 0.5 b\ncall 3 0.25 0.5 b\n", audio=())
    card = prepare("ctm", tmp_path, tmp_path / "manifest", PrepareConfig(dev=0.0, test=0.0, workers=0))
    assert [(row["reason"], row["utterances"]) for row in card["ledger"]["reasons"]] == [("channel not in the recording", 1)]
    with SpanReader() as sources:
        means = [float(sources.load(row["spans"], 16_000).mean()) for row in rows(tmp_path / "manifest")]
    assert means == [0.25, -0.5]


@pytest.mark.parametrize(("ctm", "segments", "word"), [
    (";; nothing\n", None, "holds no words"), ("rec-1 1 0 1 a\n", "utt rec-1 0\n", "segments, line 1: not: utterance"),
    ("rec-1 1 0 1 a\n", "utt rec-1 0 soon\n", "line 1: 'soon' is not a time")])
def test_a_file_that_is_none_is_one_drop(tmp_path: Path, ctm: str, segments: str | None, word: str) -> None:
    kept, drops = read(lay(tmp_path, ctm, segments))
    assert not kept and drops[0].reason == "bad file" and word in drops[0].detail


def test_a_file_can_be_named_and_the_fingerprint_follows_the_segments(tmp_path: Path) -> None:
    path = lay(tmp_path, "rec-1 1 0 1 a\n", audio=("rec-1.wav", "other.wav")) / "all.ctm"
    kept, drops = read(path)
    assert [u.text for u in kept] == ["a"] and not drops
    before = CtmReader().fingerprint(path)
    lay(tmp_path, "rec-1 1 0 1 a\n", "u rec-1 0 1\n")
    assert CtmReader().fingerprint(path) != before
    with pytest.raises(SourceError, match="there is no"):
        CtmReader().fingerprint(tmp_path / "al.ctm")


def test_real_words_of_a_long_recording(shared: Path, tmp_path: Path) -> None:
    """LJ001: every word of words.tsv is in an utterance or in a drop; with its segments, the 32 of the README."""
    folder = shared / "data" / "ljspeech_lj001"

    def rows(name: str) -> list[dict[str, str]]:
        with (folder / name).open(encoding="utf-8") as file:
            return [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["id"].endswith("_long")]

    words = rows("words.tsv")
    ctm = "".join(f"{row['id']} 1 {row['start_s']} {float(row['end_s']) - float(row['start_s']):.4f} {row['word']}\n"
                  for row in words)
    source = tmp_path / "source"
    source.mkdir()
    (source / "LJ001-0001-0032_long.flac").symlink_to(folder / "audio" / "LJ001-0001-0032_long.flac")
    kept, drops = read(lay(source, ctm, audio=()))
    num_dropped = sum(len(drop.detail.split(" in ", 1)[1].split()) for drop in drops)
    assert {drop.reason for drop in drops} <= {"unknown word"} and drops
    assert sum(len((u.text or "").split()) for u in kept) + num_dropped == len(words)
    assert all((u.spans[0].stop_s or 0) - (u.spans[0].start_s or 0) <= 20 for u in kept)
    lay(source, ctm, "".join(f"LJ{number:02d} {row['id']} {row['start_s']} {row['end_s']}\n"
                             for number, row in enumerate(rows("segments.tsv"))), audio=())
    card = prepare("ctm", source, tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0))
    assert card["ledger"]["in"] == 32 and {row["reason"] for row in card["ledger"]["reasons"]} <= {"unknown word"}
