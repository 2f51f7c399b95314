"""Kaldi data directories: every line of segments (or wav.scp) is an utterance or a drop, and no command is ever executed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.prepare.corpora import lay, said
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.kaldi import KaldiReader
from utterloom.prepare.stage import PrepareConfig, prepare


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(KaldiReader(), source)


def test_whole_recordings(tmp_path: Path) -> None:
    lay(tmp_path, {"exp/data/train/wav.scp": "a-1 audio/a 1.wav\nb-1\t/abs/b.flac\n", "exp/audio/a 1.wav": 0.5,
                   "exp/data/train/text": "a-1  một\u00a0hai  ba \nb-1\n", "exp/data/train/utt2spk": "a-1 a\nb-1 b\n",
                   "exp/data/train/spk2gender": "a f\n", "exp/data/train/utt2lang": "a-1 vi\n",
                   "exp/data/train/reco2dur": "a-1 0.5\n"})
    utterances, drops = read(tmp_path / "exp" / "data" / "train")
    assert not drops and list(utterances) == ["a-1", "b-1"]
    one, two = utterances.values()
    assert (one.text, one.speaker, one.language, one.split) == ("một\u00a0hai  ba", "a", "vi", "train")
    assert one.attributes == {"gender": "f", "reco2dur": "0.5"}
    assert one.spans[0].path == f"{tmp_path}/exp/audio/a 1.wav"  # as seen from where the recipe ran
    assert (two.text, two.spans[0].path, two.language, two.attributes) == (None, "/abs/b.flac", None, {})


def test_segments_are_stretches(tmp_path: Path) -> None:
    """E-P20: times pass as they stand; -1 is the end of the recording."""
    lay(tmp_path / "d", {"wav.scp": "r r.wav\nunused u.wav\n", "segments": "u1 r 0.5 1.853\nu2 r 2 -1\n", "text": "u1 a b\nu2 c\n"})
    utterances, drops = read(tmp_path / "d")
    assert not drops
    assert [(u.spans[0].start_s, u.spans[0].stop_s) for u in utterances.values()] == [(0.5, 1.853), (2.0, None)]
    assert {(u.split, u.spans[0].path) for u in utterances.values()} == {(None, f"{tmp_path}/d/r.wav")}


def test_no_command_is_executed(tmp_path: Path) -> None:
    """E-P19."""
    lay(tmp_path, {"wav.scp": f"a touch {tmp_path}/ran |\nb sph2pipe -f raw -p b.sph |\nc mfcc/raw.ark:1273\nd d.wav\n",
                   "segments": "a1 a 0 1\nb1 b 0 2.5\nc1 c 0 1\nd1 d 0 1\n", "text": "a1 x\nb1 x\nc1 x\nd1 x\n"})
    utterances, drops = read(tmp_path)
    assert list(utterances) == ["d1"] and not (tmp_path / "ran").exists()
    assert {name: drop.reason for name, drop in drops.items()} == {
        "a1": "recording is a command", "b1": "recording is a command", "c1": "recording in an archive"}
    assert drops["b1"].seconds == 2.5 and "sph2pipe" in drops["b1"].detail


def test_commands_that_only_decode_are_read_as_the_file_they_name(tmp_path: Path) -> None:
    """Nothing is run; one channel of a command is one channel of its file, and what else is taken is told."""
    lay(tmp_path, {"data/train/wav.scp": "\n".join([
        "a flac -c -d -s audio/a.flac |", "b sph2pipe -f wav -p -c 2 'audio/b 1.sph' |",
        "c sox audio/c.mp3 -t wav -r 16000 -b 16 - remix 1 |", "d cat audio/d.wav | sox -t wav - -t wav - remix 2 |",
        "e sox audio/e.wav -t wav - tempo 1.1 |"]) + "\n",
        "data/train/segments": "a1 a 0 1\nb1 b 0 1\nb2 b 0 1 1\nc1 c 0 1 0\nd1 d 0 1\ne1 e 0 1\n", "audio/a.flac": 0.5})
    utterances, drops = read(tmp_path / "data" / "train")
    assert {name: (Path(u.spans[0].path).name, u.spans[0].channel) for name, u in utterances.items()} == {
        "a1": ("a.flac", None), "b1": ("b 1.sph", 1), "c1": ("c.mp3", 0), "d1": ("d.wav", 1)}
    assert utterances["a1"].spans[0].path == f"{tmp_path}/audio/a.flac"
    assert {name: drop.reason for name, drop in drops.items()} == {"b2": "bad row", "e1": "recording is a command"}
    assert "tempo 1.1 is not understood" in drops["e1"].detail and "leaves but one" in drops["b2"].detail


def test_segments_may_name_a_channel(tmp_path: Path) -> None:
    """From 0, as Kaldi's extract-segments has it."""
    lay(tmp_path, {"wav.scp": "r r.wav\n", "segments": "u-A r 0 1 0\nu-B r 0 1 1\nv-B r 0 1 B\nw r 0 1\n"})
    utterances, drops = read(tmp_path)
    assert not drops and {name: u.spans[0].channel for name, u in utterances.items()} == {"u-A": 0, "u-B": 1, "v-B": 1, "w": None}


def test_missing_lines_are_counted(tmp_path: Path) -> None:
    """E-P1: never skipped in silence, and the nearest names are given."""
    lay(tmp_path, {"wav.scp": "rec001 r.wav\n", "utt2spk": "u1 s\nu3 s\nu5 s\nu6 s\nu7 s\n",
                   "segments": "u1 rec001 0 1\nu2 rec001 1 2\nu3 rec01 0 1\nu4\nu5 rec001 1 soon\nu6 rec001 0 1 mic\n"
                               "u7 rec001 1 2\n", "text": "u1 a\nu9 b\n"})
    utterances, drops = read(tmp_path)
    assert {name: u.text for name, u in utterances.items()} == {"u1": "a", "u7": None}
    assert {name: drop.reason for name, drop in drops.items()} == {
        "u2": "no speaker", "u3": "no recording", "u4": "bad row", "u5": "bad row", "u6": "bad row", "u9": "no recording"}
    assert "rec001" in drops["u3"].detail and "'soon' is not a time" in drops["u5"].detail


def test_two_lines_for_one_key_are_ambiguous(tmp_path: Path) -> None:
    lay(tmp_path, {"wav.scp": "a a.wav\nb b.wav\nb c.wav\n", "text": "a x\na y\nb z\n"})
    utterances, drops = read(tmp_path)
    assert not utterances
    assert "text has several lines for 'a'" in drops["a"].detail and "wav.scp has several lines for 'b'" in drops["b"].detail


def test_lines_out_of_order_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, {"wav.scp": "b b.wav\na a.wav\n", "text": "a x\nb y\n"})
    with caplog.at_level(logging.INFO, "utterloom"):
        utterances, _ = read(tmp_path)
    assert list(utterances) == ["b", "a"]
    assert [record.getMessage() for record in caplog.records if "1 lines are out of order" in record.getMessage()]


def test_a_folder_of_data_directories(tmp_path: Path) -> None:
    """Splits by name (K5); an id that is in two of them is not trained on, and a name that says nothing is no training data."""
    for name in ("train_si284", "valid", "eval2000", "train_dev", "swbd"):
        lay(tmp_path, {f"data/{name}/wav.scp": f"{name} x.wav\nboth y.wav\n", f"data/{name}/text": f"{name} x\nboth y\n"})
    lay(tmp_path, {"data/lang/words.txt": "x 1\n"})
    items = list(KaldiReader().read(tmp_path / "data"))
    assert [(item.id, item.split) for item in items if isinstance(item, Utterance)] == [
        ("eval2000", "test"), ("both", "test"), ("train_dev", "dev"), ("both", "dev"), ("valid", "dev"), ("both", "dev"),
        ("train_si284", "train"), ("both", "train"), ("swbd", "swbd"), ("both", "swbd")]


IDS = st.lists(st.sampled_from(["u1", "u2", "Đ-3", "a_b-4", "5"]), max_size=6)
SEGMENTS = st.lists(st.tuples(*(st.sampled_from(words) for words in (
    ["u1", "u2", "Đ-3", "a_b-4"], ["r1", "r2", "r4"], ["0", "1.5", "-3", "x"], ["2", "-1", "1e3", "nan"]))), max_size=6)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wavs=st.sets(st.sampled_from(["r1", "r2", "r3"]), min_size=1), texts=IDS, speakers=st.none() | IDS, segments=SEGMENTS)
def test_every_line_is_an_utterance_or_a_drop(
    tmp_path: Path, wavs: set[str], texts: list[str], speakers: list[str] | None, segments: list[tuple[str, str, str, str]]
) -> None:
    """Truth 1, over generated directories: none is lost, none is there twice, and nobody has a made-up speaker or text."""
    shutil.rmtree(tmp_path / "d", ignore_errors=True)
    lay(tmp_path / "d", {"wav.scp": "".join(f"{name} {name}.wav\n" for name in sorted(wavs)),
                         "segments": "".join(" ".join(segment) + "\n" for segment in segments),
                         "text": "".join(f"{name} said {name}\n" for name in texts)})
    if speakers is not None:
        lay(tmp_path / "d", {"utt2spk": "".join(f"{name} of-{name}\n" for name in speakers)})
    utterances, drops = read(tmp_path / "d")
    assert {*utterances} | {*drops} == {segment[0] for segment in segments} | {*texts}
    for name, utterance in utterances.items():
        (segment,) = (segment for segment in segments if segment[0] == name)
        assert segment[1] in wavs and utterance.spans[0].path.endswith(f"/{segment[1]}.wav")
        assert utterance.text == (f"said {name}" if name in texts else None)
        assert utterance.speaker == (None if speakers is None else f"of-{name}")
        assert texts.count(name) < 2 and (speakers is None or speakers.count(name) == 1)


def test_through_prepare(tmp_path: Path) -> None:
    """Truth 1: in = ok + dropped, over the whole of a directory."""
    lay(tmp_path, {"d/wav.scp": "r1 r1.wav\nr2 r2.flac\nr3 gone.wav\nr4 touch r1.wav |\n", "d/r1.wav": 3.0, "d/r2.flac": 2.0,
                   "d/segments": "u1 r1 0.5 1.5\nu2 r1 1.5 -1\nu3 r1 2 9\nu4 r2 0 1\nu5 r3 0 1\nu6 r4 0 1\nu7 r2 1 2\n",
                   "d/text": "u1 một\nu2 hai\nu3 ba\nu4 bốn\nu5 năm\nu6 sáu\n",
                   "d/utt2spk": "".join(f"u{n} s{n}\n" for n in range(1, 8))})
    card = prepare("kaldi", tmp_path / "d", tmp_path / "m", PrepareConfig(workers=0, dev=0))
    assert {row["reason"]: row["utterances"] for row in card["ledger"]["reasons"]} == {
        "recording is a command": 1, "recording missing": 1, "span outside the recording": 1, "no transcript": 1}
    assert card["ledger"]["in"] == 7 and card["ledger"]["ok"] == 3 and card["ledger"]["seconds_ok"] == 3.5


def test_a_real_corpus_as_kaldi_lays_it_out(shared: Path, tmp_path: Path) -> None:
    """yesno, in the two directories that its recipe makes: the counts and seconds of its README, in one line (E-P24)."""
    source = shared / "data" / "yesno"
    rows = [line.split("\t") for line in (source / "transcripts.tsv").read_text("utf-8").splitlines()[1:]]
    for split in ("train", "test"):
        mine = sorted(row for row in rows if row[4] == split)
        lay(tmp_path, {f"data/{split}_yesno/wav.scp": "".join(f"{row[0]} {source}/{row[1]}\n" for row in mine),
                       f"data/{split}_yesno/text": "".join(f"{row[0]} {row[2]}\n" for row in mine),
                       f"data/{split}_yesno/utt2spk": "".join(f"{row[0]} global\n" for row in mine)})
    card = prepare("kaldi", tmp_path / "data", tmp_path / "m", PrepareConfig(workers=0, dev=0))
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 31, "test": 29}
    assert card["hours"] == pytest.approx(0.102, abs=0.0005) and card["ledger"]["dropped"] == 0


@pytest.mark.parametrize(("files", "word"), [
    ({"text": "a b\n"}, "no wav.scp in"), ({"wav.scp": b"a \xff.wav\n"}, "not UTF-8")])
def test_what_is_no_data_directory_is_refused(tmp_path: Path, files: dict[str, str | bytes], word: str) -> None:
    with pytest.raises(SourceError, match=word):
        read(lay(tmp_path, files))


def test_the_fingerprint_follows_every_file(tmp_path: Path) -> None:
    """C-P14."""
    lay(tmp_path, {"wav.scp": "a a.wav\n", "text": "a x\n"})
    seen = {KaldiReader().fingerprint(tmp_path)}
    for name, content in (("text", "a y\n"), ("utt2spk", "a s\n"), ("segments", "a a 0 1\n"), ("feats.scp", "a x.ark:1\n")):
        seen.add(KaldiReader().fingerprint(lay(tmp_path, {name: content})))
    assert len(seen) == 4
