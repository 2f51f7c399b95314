"""Lhotse manifests that lhotse itself has written: what is a file is read, what is not says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.prepare.corpora import lay, said
from utterloom.core.errors import SourceError
from utterloom.core.records import Drop, Utterance
from utterloom.prepare.readers.kaldi import KaldiReader
from utterloom.prepare.readers.lhotse import LhotseReader
from utterloom.prepare.stage import PrepareConfig, prepare

lhotse = pytest.importorskip("lhotse", reason="the extra `kaldi` is not installed")

SECONDS = 4.0


def recording(name: str, source: str | bytes, kind: str = "file", channels: int = 1, **more: Any) -> Any:
    return lhotse.Recording(id=name, sources=[lhotse.AudioSource(kind, list(range(channels)), source)], sampling_rate=16_000,
                            num_samples=int(SECONDS * 16_000), duration=SECONDS, **more)


def supervision(name: str, of: str, start: float = 0.0, duration: float = SECONDS, **more: Any) -> Any:
    return lhotse.SupervisionSegment(id=name, recording_id=of, start=start, duration=duration, **{"text": f"text {name}", **more})


def pair(folder: Path, part: str, recordings: list[Any], supervisions: list[Any], suffix: str = ".jsonl.gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lhotse.RecordingSet.from_recordings(recordings).to_file(folder / f"x_recordings_{part}{suffix}")
    lhotse.SupervisionSet.from_segments(supervisions).to_file(folder / f"x_supervisions_{part}{suffix}")


def read(source: Path) -> tuple[dict[str, Utterance], dict[str, Drop]]:
    return said(LhotseReader(), source)


def times(utterance: Utterance) -> tuple[float | None, float | None]:
    return utterance.spans[0].start_s, utterance.spans[0].stop_s


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl", ".json", ".yaml.gz"])
def test_recordings_with_supervisions(tmp_path: Path, suffix: str) -> None:
    """D19: every recipe of lhotse leaves these; several supervisions of a recording are several utterances."""
    pair(tmp_path, "train-clean-5", [recording("r1", "/abs/r1.flac"), recording("r2", "wavs/r2.flac"), recording("r3", "r3.wav")],
         [supervision("s1", "r1", speaker="sp", language="English", gender="F", custom={"snr": 12.5, "word": [1]}),
          supervision("s2", "r2", 0.5, 1.25), supervision("s3", "r2", 2.5, 1.5, text=None)], suffix)
    utterances, drops = read(tmp_path)
    assert not drops and {name: times(u) for name, u in utterances.items()} == {
        "s1": (None, None), "s2": (0.5, 1.75), "s3": (2.5, None), "r3": (None, None)}
    one = utterances["s1"]
    assert (one.text, one.speaker, one.language, one.split) == ("text s1", "sp", "English", "train")
    assert one.attributes == {"gender": "F", "snr": "12.5"} and one.spans[0].path == "/abs/r1.flac"
    assert utterances["s2"].spans[0].path == f"{tmp_path}/wavs/r2.flac"
    assert (utterances["s3"].text, utterances["r3"].text) == (None, None)


def test_cuts(tmp_path: Path) -> None:
    """Times of a supervision begin at its cut."""
    whole = recording("r1", "r1.flac")
    mono = [lhotse.MonoCut("c1", 1.0, 2.0, 0, [supervision("s1", "r1", 0.25, 0.5), supervision("s2", "r1", 1.0, 1.0)],
                           recording=whole), lhotse.MonoCut("c2", 0.0, 1.5, 0, [], recording=whole)]
    mixed = mono[0].with_id("c3").append(mono[1].with_id("c4"))
    call = recording("r2", "r2.wav", channels=2)
    stereo = lhotse.MultiCut("c5", 0.0, 1.0, [0, 1], [supervision("s5", "r2", channel=[0, 1])], recording=call)
    side = lhotse.MonoCut("c6", 0.0, 1.0, 1, [supervision("s6", "r2", channel=1)], recording=call)
    bare = lhotse.MonoCut("c7", 0.0, 1.0, 1, [], recording=call)
    lhotse.CutSet.from_cuts([*mono, stereo, side, bare]).to_file(tmp_path / "cuts_dev.jsonl.gz")
    utterances, drops = read(tmp_path / "cuts_dev.jsonl.gz")
    assert {name: times(u) for name, u in utterances.items()} == {
        "s1": (1.25, 1.75), "s2": (2.0, 3.0), "c2": (None, 1.5), "s5": (None, None), "s6": (None, None), "c7": (None, 1.0)}
    assert {u.split for u in utterances.values()} == {"dev"} and not drops
    assert {name: u.spans[0].channel for name, u in utterances.items()} == {
        "s1": None, "s2": None, "c2": None, "s5": None, "s6": 1, "c7": 1}
    lhotse.CutSet.from_cuts([mixed.truncate(duration=3.0)]).to_file(tmp_path / "m_cuts.jsonl.gz")
    drops = read(tmp_path / "m_cuts.jsonl.gz")[1]
    assert {drop.reason for drop in drops.values()} == {"mixture"} and set(drops) == {"s1", "s2"}


def test_what_is_not_simply_a_file_is_a_drop(tmp_path: Path) -> None:
    """E-P19, truth 12: no command is executed, and an augmented copy is not read as if it were the original."""
    lay(tmp_path, {"a.wav": SECONDS})
    fine = lhotse.Recording.from_file(tmp_path / "a.wav")
    recordings = [
        fine, recording("memory", (tmp_path / "a.wav").read_bytes(), "memory"),
        recording("cmd", f"touch {tmp_path}/ran", "command"), recording("url", "https://x.org/a.wav", "url"),
        fine.perturb_speed(1.1), recording("two", "b.wav", channels=2), fine.resample(8000).with_path_prefix(tmp_path.parent),
        lhotse.Recording("many", [lhotse.AudioSource("file", [0], "l.wav"), lhotse.AudioSource("file", [1], "r.wav")], 16_000,
                         int(SECONDS * 16_000), SECONDS)]
    names = ["ok", "memory", "cmd", "url", "fast", "two", "slow", "many"]
    recordings = [replace(one, id=name) for name, one in zip(names, recordings, strict=True)]
    segments = [supervision(f"s-{name}", name) for name in [*names, "nowhere"]]
    pair(tmp_path, "all", recordings, [*segments, supervision("s-empty", "ok", 1.0, 0.0)], ".yaml")  # JSON holds no bytes
    utterances, drops = read(tmp_path / "x_recordings_all.yaml")
    assert set(utterances) == {"s-ok", "s-slow", "s-two", "s-many"} and not (tmp_path / "ran").exists()
    assert {name: drop.reason for name, drop in drops.items()} == {
        "s-cmd": "audio of type command", "s-url": "audio of type url", "s-fast": "altered recording",
        "s-memory": "audio of type memory",
        "s-nowhere": "no recording", "s-empty": "bad row"}
    assert (utterances["s-two"].spans[0].channel, Path(utterances["s-many"].spans[0].path).name) == (0, "l.wav")
    assert "Speed" in drops["s-fast"].detail and drops["s-cmd"].seconds == SECONDS


def test_channels_of_several_files_and_arrays(tmp_path: Path) -> None:
    """A channel is found in its file; some of many channels are no mix of all."""
    sources = [lhotse.AudioSource("file", [0, 1], "near.wav"), lhotse.AudioSource("file", [2], "far.wav")]
    array = lhotse.Recording("r", sources, 16_000, int(SECONDS * 16_000), SECONDS)
    three = recording("t", "t.wav", channels=3)
    pair(tmp_path, "all", [array, three], [
        supervision("near-1", "r", channel=1), supervision("near", "r", channel=[0, 1]), supervision("far", "r", channel=2),
        supervision("all", "r", channel=[0, 1, 2]), supervision("none", "r", channel=7), supervision("mix", "t", channel=[0, 1, 2]),
        supervision("some", "t", channel=[0, 2]), supervision("last", "t", channel=2)])
    utterances, drops = read(tmp_path)
    assert {name: (Path(u.spans[0].path).name, u.spans[0].channel) for name, u in utterances.items()} == {
        "near-1": ("near.wav", 1), "near": ("near.wav", None), "far": ("far.wav", None), "mix": ("t.wav", None),
        "last": ("t.wav", 2)}
    assert {name: drop.reason for name, drop in drops.items()} == {
        "all": "several files", "none": "no such channel", "some": "some channels of several"}


def test_a_folder_of_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cuts that lie beside what they are made of are not a second source; K5."""
    for part in ("train", "valid", "test-other"):
        pair(tmp_path, part, [recording(f"r-{part}", f"{part}.wav")], [supervision(f"s-{part}", f"r-{part}")])
    cut = lhotse.MonoCut("c1", 0.0, 2.0, 0, [supervision("s-train", "r-train")], recording=recording("r-train", "train.wav"))
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "x_cuts_train.jsonl.gz")
    lay(tmp_path, {"notes.json": "{}"})
    utterances, drops = read(tmp_path)
    assert not drops and [(name, u.split) for name, u in utterances.items()] == [
        ("s-test-other", "test"), ("s-valid", "dev"), ("s-train", "train")]


def test_what_lhotse_exports_to_kaldi_is_the_same_corpus(tmp_path: Path) -> None:
    """Two readers, one corpus: lhotse's own converter lies between them. Of FLAC it makes commands, which are read and not run."""
    lay(tmp_path, {"train/a.wav": SECONDS, "train/b.wav": 2.0, "train/c.flac": 1.0})
    recordings = [lhotse.Recording.from_file(path, recording_id=path.stem) for path in sorted((tmp_path / "train").iterdir())]
    segments = [supervision(name, of, start, length, speaker=f"p{of}", language="vi")
                for name, of, start, length in (
                    ("s1", "a", 0.125, 1.5), ("s2", "a", 2.25, 1.0), ("s3", "b", 0.5, 0.25), ("s4", "c", 0.0, 0.5))]
    pair(tmp_path / "l", "train", recordings, segments)
    lhotse.kaldi.export_to_kaldi(lhotse.RecordingSet.from_recordings(recordings), lhotse.SupervisionSet.from_segments(segments),
                                 tmp_path / "k" / "train")
    ours, (theirs, drops) = read(tmp_path / "l")[0], said(KaldiReader(), tmp_path / "k" / "train")
    assert set(ours) == set(theirs) == {"s1", "s2", "s3", "s4"} and not drops
    for name, one in theirs.items():
        other = ours.pop(name)
        assert (one.text, one.speaker, one.language, one.split) == (other.text, other.speaker, other.language, other.split)
        assert one.spans[0].path == other.spans[0].path
        assert times(one) == pytest.approx((other.spans[0].start_s or 0.0, other.spans[0].stop_s))
    assert not ours


def test_through_prepare(tmp_path: Path) -> None:
    lay(tmp_path, {"a.flac": SECONDS})
    found = lhotse.Recording.from_file(tmp_path / "a.flac", recording_id="a")
    pair(tmp_path / "m", "all", [found], [supervision("s1", "a", 0.0, 1.5), supervision("s2", "a", 1.5, 2.5),
                                          supervision("s3", "a", 3.0, 2.0)])
    card = prepare("lhotse", tmp_path / "m", tmp_path / "out", PrepareConfig(workers=0, dev=0))
    assert card["ledger"]["in"] == 3 and card["ledger"]["seconds_ok"] == 4.0
    assert [row["reason"] for row in card["ledger"]["reasons"]] == ["span outside the recording"]


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    pair(tmp_path / "half", "a", [recording("r", "r.wav")], [supervision("s", "r")])
    (tmp_path / "half" / "x_supervisions_a.jsonl.gz").unlink()
    lay(tmp_path, {"cuts.jsonl": "{", "x_cuts.jsonl": '{"type": "Recording", "id": "a"}', "other.jsonl": "[1]", "none/x.txt": "",
                   "bad_cuts.jsonl.gz": b"not gzip"})
    for name, word in (("half", "has no x_supervisions_a.jsonl.gz beside it"), ("none", "holds no Lhotse manifests"),
                       ("gone", "neither a file"), ("cuts.jsonl", "cannot read"), ("x_cuts.jsonl", "cannot read"),
                       ("other.jsonl", "cannot read"), ("bad_cuts.jsonl.gz", "cannot read")):
        with pytest.raises(SourceError, match=word):
            read(tmp_path / name)
    lhotse.RecordingSet.from_recordings([recording("r", "r.wav")]).to_file(tmp_path / "y_cuts.jsonl")
    with pytest.raises(SourceError, match="is a RecordingSet where a CutSet belongs"):
        read(tmp_path / "y_cuts.jsonl")


def test_the_fingerprint_follows_the_manifests(tmp_path: Path) -> None:
    """C-P14."""
    pair(tmp_path, "a", [recording("r", "r.wav")], [supervision("s", "r")], ".jsonl")
    before = LhotseReader().fingerprint(tmp_path)
    pair(tmp_path, "a", [recording("r", "r.wav")], [supervision("s", "r", text="other")], ".jsonl")
    assert LhotseReader().fingerprint(tmp_path) != before
