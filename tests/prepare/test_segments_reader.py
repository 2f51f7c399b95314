"""JSON segments with words: each is an utterance with its place in the recording, or a drop that says why."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.segments import SegmentsReader
from utterloom.prepare.readers.sidecars import parse_segment_id
from utterloom.prepare.stage import PrepareConfig, prepare

ROW = {"file": "reco000", "start": 1853.82, "end": 1855.32, "words": ["dobar", "dan"], "word_start_times": [0.0, 0.52],
       "word_end_times": [0.5, 1.49], "asr": ["dobar", "don"]}


def lay(folder: Path, content: Any, name: str = "segments.json", audio: tuple[str, ...] = ("reco000.wav",)) -> Path:
    for recording in audio:
        (folder / recording).parent.mkdir(parents=True, exist_ok=True)
        (folder / recording).write_bytes(b"")
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


def one(folder: Path, **changes: Any) -> Utterance | Drop:
    (item,) = SegmentsReader().read(lay(folder, [{**ROW, **changes}]))
    return item


def test_a_segment_as_system_e_wrote_them(tmp_path: Path) -> None:
    """E2: times in seconds, those of words from the segment's start; E4: the name says where it is."""
    item = one(tmp_path)
    assert isinstance(item, Utterance)
    assert (item.id, item.text) == ("reco000_1853.82-1855.32", "dobar dan")
    (span,) = item.spans
    assert (span.path, span.start_s, span.stop_s) == (str(tmp_path / "reco000.wav"), 1853.82, 1855.32)
    assert json.loads(item.attributes["word_times"]) == [["dobar", 0.0, 0.5], ["dan", 0.52, 1.49]]
    assert item.attributes["asr"] == "dobar don"
    assert parse_segment_id(item.id)[:3] == ("reco000", span.start_s, span.stop_s)


def test_segments_may_name_their_channel(tmp_path: Path) -> None:
    """From 1, or from 0 where a 0 is among them; what names no channel stays an attribute."""
    both, mixed = [0, 1], [None, None]
    for channels, wanted in (([1, 2], both), ([0, 1], both), (["A", "B"], both), ([1, 1], mixed), (["mic", ""], mixed)):
        items = list(SegmentsReader().read(lay(tmp_path, [{**ROW, "channel": channel} for channel in channels])))
        assert [item.spans[0].channel for item in items if isinstance(item, Utterance)] == wanted
        assert len({item.id for item in items}) == 2 and items[0].attributes["channel"] == str(channels[0])


@pytest.mark.parametrize(("changes", "why"), [
    ({"word_start_times": [0.0]}, "2 words have 1 start times"),
    ({"word_end_times": [0.5, 1.6]}, "does not fit a segment of 1.5 s"),
    ({"word_start_times": [0.6, 0.5]}, "'dobar' at 0.6 s"), ({"word_start_times": [1853.82, 1854.3]}, "does not fit"),
    ({"word_start_times": [0, None]}, "None is not a time"), ({"word_end_times": "x"}, "no list of")])
def test_word_times_that_do_not_fit_are_left_out_and_it_is_said(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """Truth 12: no plausible lies about times."""
    item = one(tmp_path, **changes)
    assert isinstance(item, Utterance) and item.text == "dobar dan"
    assert "word_times" not in item.attributes and why in item.attributes["word_times_refused"]


def test_words_of_whisper_count_from_the_start_of_the_recording(tmp_path: Path) -> None:
    whisper = {"audio": "talk.mp3", "language": "hr", "segments": [{
        "id": 0, "start": 10.0, "end": 11.0, "text": " Dobar dan.",
        "words": [{"word": " Dobar", "start": 10.0, "end": 10.4}, {"word": " dan.", "start": 10.5, "end": 11.0}]}]}
    (item,) = SegmentsReader().read(lay(tmp_path, whisper, audio=("talk.mp3",)))
    assert isinstance(item, Utterance) and (item.id, item.text) == ("talk_10.00-11.00", "Dobar dan.")
    assert json.loads(item.attributes["word_times"]) == [["Dobar", 0.0, 0.4], ["dan.", 0.5, 1.0]]
    assert item.attributes["id"] == "0"


def test_the_published_form_takes_the_clip_where_it_is_there(tmp_path: Path) -> None:
    """E20: `path` is a clip that is already cut, `orig_file` the recording; K5: valid is dev."""
    row = {"path": "seg.reco000_1.00-2.00.flac", "orig_file": "reco000.mp3", "start": 1.0, "end": 2.0, "words": ["da"],
           "word_start_times": [0.1], "speaker_info": {"name": "Ana", "gender": "F"}, "split": "valid", "norm_words": ["da"]}
    lines = "\n".join(json.dumps({**row, **more}) for more in ({}, {"path": "seg.x.flac", "start": 3.0, "end": 4.0}))
    stretch, clip = SegmentsReader().read(lay(tmp_path, lines, "s.jsonl", ("reco000.mp3", "seg.reco000_1.00-2.00.flac")))
    assert isinstance(stretch, Utterance) and isinstance(clip, Utterance)
    assert (stretch.id, stretch.spans[0].start_s) == ("reco000_3.00-4.00", 3.0)
    assert (clip.id, clip.spans[0].start_s, Path(clip.spans[0].path).name) == (
        "seg.reco000_1.00-2.00", None, "seg.reco000_1.00-2.00.flac")
    assert (clip.speaker, clip.split, clip.attributes["norm_words"]) == ("Ana", "dev", "da")


def test_in_a_folder_clips_are_not_recordings_that_nothing_describes(tmp_path: Path) -> None:
    row = {"path": "clips/c.flac", "orig_file": "lost.mp3", "start": 1.0, "end": 2.0, "words": ["da"]}
    (tmp_path / "clips").mkdir()
    lay(tmp_path, [row], audio=("clips/c.flac", "clips/other.flac"))
    kept, drop = sorted(SegmentsReader().read(tmp_path), key=lambda item: isinstance(item, Drop))
    assert isinstance(kept, Utterance) and kept.id == "clips/c"
    assert isinstance(drop, Drop) and (drop.id, drop.reason) == ("clips/other", "no segments")


def test_one_recording_under_two_spellings_is_one(tmp_path: Path) -> None:
    """E-P1: 30 % of the names differed in their spaces, also from row to row; the same stretch twice has two ids."""
    rows = [{**ROW, "file": name} for name in ("dan  1", "dan 1", "Dan 1")]
    items = list(SegmentsReader().read(lay(tmp_path, rows, audio=("dan 1.wav",)).parent))
    assert sorted(item.id for item in items if isinstance(item, Utterance)) == [
        "dan 1_1853.82-1855.32", "dan 1_1853.82-1855.32~2", "dan 1_1853.82-1855.32~3"]


@pytest.mark.parametrize(("row", "reason", "why"), [
    ({**ROW, "end": 1853.82}, "no length", "starts and ends"), ({**ROW, "end": 2}, "ends before it starts", "to 2 s"),
    ({**ROW, "start": None}, "bad times", "it has no start"), ({**ROW, "start": "soon"}, "bad times", "not a time"),
    ({**ROW, "start": -1}, "bad times", "not a time"), ({**ROW, "words": "da"}, "bad segment", 'words is "da"'),
    ({**ROW, "words": [1]}, "bad segment", "words is [1]"), ({**ROW, "text": 5}, "bad segment", "text is 5"),
    ({**ROW, "file": "reco001"}, "no recording", "names that look like it: reco000"), ([1], "bad segment", "not an object"),
    (None, "bad segment", "not an object")])
def test_a_segment_that_cannot_be_used_is_a_drop_that_names_its_place(tmp_path: Path, row: Any, reason: str, why: str) -> None:
    fine, drop = SegmentsReader().read(lay(tmp_path, {"segments": [ROW, row], "file": "reco000"}))
    assert isinstance(fine, Utterance)
    assert isinstance(drop, Drop) and drop.reason == reason and why in drop.detail and "segment 2" in drop.detail


def test_a_broken_line_of_jsonl_is_a_drop(tmp_path: Path) -> None:
    items = list(SegmentsReader().read(lay(tmp_path, f'{json.dumps(ROW)}\n{{"file"\n', "s.jsonl")))
    assert [type(item) for item in items] == [Drop, Utterance] or [type(item) for item in items] == [Utterance, Drop]
    assert any(isinstance(item, Drop) and "line 2: not JSON" in item.detail for item in items)


def test_one_file_beside_each_recording(tmp_path: Path) -> None:
    lay(tmp_path, {"segments": [{"start": 0, "end": 1, "text": "one"}]}, "a.json", ("a.wav", "sub/b.mp3", "c.ogg"))
    lay(tmp_path, "{", "sub/b.json", ())
    lay(tmp_path, {"manifest": 1}, "sub/manifest.json", ())
    kept, *drops = sorted(SegmentsReader().read(tmp_path), key=lambda item: isinstance(item, Drop))
    assert isinstance(kept, Utterance) and kept.id == "a_0.00-1.00"
    assert sorted((drop.id, drop.reason) for drop in drops if isinstance(drop, Drop)) == [
        ("c", "no segments"), ("sub/b.json", "bad file")]


@pytest.mark.parametrize(("files", "word"), [
    ({}, "no file ending in .json"), ({"x.json": "[]", "y.json": "[]"}, "2 JSON files and none is beside a recording"),
    ({"x.txt": ""}, "no file ending")])
def test_a_folder_that_says_nothing_is_refused(tmp_path: Path, files: dict[str, str], word: str) -> None:
    for name, content in {"a.wav": "", **files}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=word):
        list(SegmentsReader().read(tmp_path))


@pytest.mark.parametrize("content", ["{", "3", '{"text": "x"}', "[" * 100_000])
def test_a_file_that_is_none_is_one_drop(tmp_path: Path, content: str) -> None:
    (drop,) = SegmentsReader().read(lay(tmp_path, content, audio=()))
    assert isinstance(drop, Drop) and drop.reason == "bad file" and "segments.json" in drop.detail


def test_the_fingerprint_follows_segments_and_recordings(tmp_path: Path) -> None:
    path = lay(tmp_path, [ROW])
    before = SegmentsReader().fingerprint(path)
    assert SegmentsReader().fingerprint(path) == before
    (tmp_path / "reco000.wav").write_bytes(b"1")
    assert SegmentsReader().fingerprint(path) != before


def test_from_segments_to_samples(tmp_path: Path) -> None:
    """E-P20: integer samples from exact decimals; E-P1: a name of another spelling is found and told of."""
    soundfile.write(tmp_path / "Reco  000.wav", np.sin(np.arange(44_100 * 3) / 20), 44_100)
    path = lay(tmp_path, [{**ROW, "file": "reco 000", "start": 0.29, "end": 1.79},
                          {**ROW, "file": "reco 000", "start": 2.9, "end": 3.9}], audio=())
    card = prepare("segments", path, tmp_path / "manifest", PrepareConfig(dev=0.0, workers=0))
    (row,) = pq.read_table(tmp_path / "manifest" / "utterances.parquet").to_pylist()
    assert (row["spans"][0]["start_sample"], row["spans"][0]["stop_sample"]) == (12_789, 78_939)
    assert card["ledger"]["in"] == 2 and card["ledger"]["reasons"][0]["reason"] == "span outside the recording"
    assert any("found under a name of another spelling" in note for note in card["notes"])


def test_real_segments_of_long_recordings(shared: Path, tmp_path: Path) -> None:
    """All 32 segments of LJ001 and 120 of speechocean762, made into the shape of E2, with counts as their READMEs give them."""
    for corpus, num_segments in (("ljspeech_lj001", 32), ("speechocean762", 120)):
        folder = shared / "data" / corpus
        with (folder / "segments.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        (tmp_path / corpus).mkdir()
        (tmp_path / corpus / "audio").symlink_to(folder / "audio", target_is_directory=True)
        segments = [{"file": f"audio/{row['id']}", "start": float(row["start_s"]), "end": float(row["end_s"]),
                     "words": row["text"].split(), "speaker": row["speaker"]} for row in rows]
        path = lay(tmp_path / corpus, segments, audio=())
        card = prepare("segments", path, tmp_path / f"{corpus}-manifest", PrepareConfig(dev=0.0, workers=0))
        assert card["utterances"] == card["ledger"]["in"] == num_segments
        assert card["ledger"]["seconds_ok"] == pytest.approx(sum(s["end"] - s["start"] for s in segments), abs=0.01)
