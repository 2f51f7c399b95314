"""`prepare segment`: every utterance is a whole file or a counted drop; names and samples lead back; a killed cut ends the same."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Command
from tests.tones import hash_of_folder, make_spans, make_speech, prepared, write_table
from utterloom.audio.decode import decode, to_mono
from utterloom.audio.resample import resample
from utterloom.core.artifact import TEMPORARY, load_card
from utterloom.core.config import compose
from utterloom.core.errors import ConfigError, DamagedError, OutputError, SourceError
from utterloom.core.ledger import read_drops
from utterloom.prepare.exports.names import NameRefused, Template
from utterloom.prepare.exports.segment import SegmentConfig, cut_rows, export, recording_name
from utterloom.prepare.stage import PrepareConfig, prepare
from utterloom.shards.manifest import rows


def segment(manifest: Path, out: Path, **settings: Any) -> dict[str, Any]:
    return export(manifest, out, SegmentConfig(**{"workers": 0, **settings}))


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "transcripts.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def noise(seconds: float, rate_hz: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).uniform(-1, 1, (int(seconds * rate_hz), channels))


@pytest.fixture
def long_recordings(tmp_path: Path) -> Path:
    """Two recordings of different rates and channels, ids and speakers of the kind that people have; the manifest of them."""
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    soundfile.write(source / "a/-_x-1.2_.wav", noise(3, 44_100, 2), 44_100)
    soundfile.write(source / "short.flac", noise(1, 16_000), 16_000)
    write_table(source / "t.tsv", [
        {"id": f"u/{number}", "path": path, "text": f"một {number}", "speaker": speaker, "start": start, "end": end, "note": note}
        for number, (path, speaker, start, end, note) in enumerate([
            ("a/-_x-1.2_.wav", "s1", "0.00003", "1.2345678", ""), ("a/-_x-1.2_.wav", "s2", "1.5", "", 'a "quoted" note'),
            ("short.flac", "s1", "", "", "x"), ("a/-_x-1.2_.wav", "", "0.5", "0.75", "")])])
    prepared(source / "t.tsv", tmp_path / "manifest", test=0.0)
    return tmp_path / "manifest"


@pytest.mark.parametrize("settings", [
    {}, {"format": "wav", "sample_rate_hz": "source"}, {"channels": "source", "sample_rate_hz": "source"},
    {"channels": "source", "format": "wav", "sample_rate_hz": "8000", "name": "{split}/s.{recording}_{start_sample}-{end_sample}"},
])
def test_names_and_samples_lead_back(long_recordings: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """E-P20: the file is the very stretch that its name and its row say."""
    card = segment(long_recordings, tmp_path / "out", **settings)
    config = SegmentConfig(**settings)
    found = table_of(tmp_path / "out")
    assert card["utterances"] == len(found) == 4 and card["recordings"] == 2 and card["ledger"][1]["dropped"] == 0
    files = [path for path in (tmp_path / "out" / "audio").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out").as_posix() for path in files} == {row["path"] for row in found}
    assert card["audio_bytes"] == sum(path.stat().st_size for path in files)
    for row in found:
        name = row["path"].removeprefix("audio/").removesuffix(f".{config.format}")
        rate = int(row["recording_rate_hz"])
        told = Template(config.name).parse(name, rate)
        start, end = int(row["start_sample"]), int(row["end_sample"])
        assert (told["start_sample"], told["end_sample"]) == (start, end)
        assert told["recording"] == recording_name(row["recording"], None)
        samples_sc, _ = decode(Path(row["recording"]), start, end)
        to_hz = rate if config.sample_rate_hz == "source" else int(config.sample_rate_hz)
        wanted = to_mono(samples_sc)[:, None] if config.channels == "mono" else samples_sc
        wanted = resample(np.ascontiguousarray(wanted), rate, to_hz)
        got, got_hz = soundfile.read(tmp_path / "out" / row["path"], always_2d=True)
        assert got_hz == to_hz == int(row["sample_rate_hz"]) and got.shape == wanted.shape and len(got) == int(row["num_samples"])
        assert np.abs(got - wanted).max() <= 1 / 32768
    assert {row["note"] for row in found} == {"", "x", 'a "quoted" note'}


def test_the_table_is_read_back_with_equal_counts(long_recordings: Path, tmp_path: Path) -> None:
    segment(long_recordings, tmp_path / "out")
    card = prepare("table", tmp_path / "out" / "transcripts.tsv", tmp_path / "again", PrepareConfig(workers=0, dev=0, test=0))
    before = load_card(long_recordings, "manifest")
    assert (card["utterances"], card["splits"]["train"]["utterances"]) == (before["utterances"], 4)
    assert card["ledger"]["dropped"] == 0 and card["hours"] == pytest.approx(before["hours"], abs=1e-4)
    old, new = ({row["id"]: row for row in rows(folder)} for folder in (long_recordings, tmp_path / "again"))
    for name, row in old.items():
        assert [new[name][key] for key in ("text", "speaker", "split", "text_basic")] == [
            row[key] for key in ("text", "speaker", "split", "text_basic")]
        assert dict(new[name]["attributes"])["start_sample"] == str(row["spans"][0]["start_sample"])


def test_one_channel_and_overlapping_speakers(tmp_path: Path) -> None:
    """A channel's own audio, and a name of its own; the same stretch of two channels has one name without {channel}."""
    both = noise(1, 16_000, 2)
    soundfile.write(tmp_path / "call.wav", both, 16_000, subtype="FLOAT")
    (tmp_path / "call.ctm").write_text("call A 0 0.5 một\ncall B 0 0.5 hai\n", encoding="utf-8")
    prepare("ctm", tmp_path / "call.ctm", tmp_path / "m", PrepareConfig(workers=0, dev=0, test=0))
    with pytest.raises(NameRefused, match="and 'call"):
        segment(tmp_path / "m", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    segment(tmp_path / "m", tmp_path / "out", name="{recording}_{channel}_{start_s}-{end_s}", channels="source")
    for number in (1, 2):
        got, _ = soundfile.read(tmp_path / "out" / "audio" / f"call_{number}_0.00-0.50.flac")
        assert got.ndim == 1 and np.abs(got - both[:8_000, number - 1]).max() <= 1 / 32768


def test_joined_utterances_are_called_after_their_ids(tmp_path: Path) -> None:
    table = make_speech(tmp_path / "s", 12)
    prepared(table, tmp_path / "m", join={"min": 2, "max": 3}, test=0.0)
    card = segment(tmp_path / "m", tmp_path / "out")
    found = table_of(tmp_path / "out")
    joined = [row for row in found if " " in row["start_sample"]]
    assert card["joined"] == len(joined) > 0
    assert all(row["path"] == f"audio/{row['id']}.flac" for row in joined)
    for row in found:
        assert soundfile.info(tmp_path / "out" / row["path"]).frames == int(row["num_samples"]) == sum(
            int(end) - int(start) for start, end in zip(row["start_sample"].split(), row["end_sample"].split(), strict=True))


def test_recordings_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "Y"):
        (tmp_path / "s" / folder).mkdir(parents=True)
        soundfile.write(tmp_path / "s" / folder / "rec.wav", noise(1, 8_000), 8_000)
    table = write_table(tmp_path / "s/t.tsv", [{"id": name, "path": f"{name}/rec.wav", "text": "a"} for name in ("x", "Y")])
    prepared(table, tmp_path / "m", test=0.0)
    card = segment(tmp_path / "m", tmp_path / "out")
    assert {row["path"] for row in table_of(tmp_path / "out")} == {"audio/x%2Frec_0.00-1.00.flac", "audio/Y%2Frec_0.00-1.00.flac"}
    assert card["names_below"] == str(tmp_path / "s")


def test_names_that_differ_in_capitals_alone_are_written_without(tmp_path: Path) -> None:
    """Windows and macOS would take them for one."""
    soundfile.write(tmp_path / "r.wav", noise(2, 8_000), 8_000)
    names = ["Ab", "aB", "c", "é", "e\u0301"]
    table = write_table(tmp_path / "t.tsv", [
        {"id": name, "path": "r.wav", "text": "a", "start": number * 0.2, "end": number * 0.2 + 0.2}
        for number, name in enumerate(names)])
    prepared(table, tmp_path / "m", test=0.0)
    segment(tmp_path / "m", tmp_path / "out", name="{id}")
    found = {row["id"]: row["path"].removeprefix("audio/").removesuffix(".flac") for row in table_of(tmp_path / "out")}
    assert found["c"] == "c" and found["Ab"] == "%41b" and found["aB"] == "a%42"
    assert {name: Template("{id}").parse(file)["id"] for name, file in found.items()} == {name: name for name in names}


def test_what_cannot_be_cut_is_a_counted_drop(tmp_path: Path) -> None:
    """Truth 1, E-P1: the rest is delivered; a recording that came back is cut by the next run into a new folder."""
    table = make_speech(tmp_path / "s", 6)
    prepared(table, tmp_path / "m", test=0.0)
    (tmp_path / "s/audio/u0001.flac").write_bytes((tmp_path / "s/audio/u0001.flac").read_bytes()[:3000])
    (tmp_path / "s/audio/u0002.flac").unlink()
    soundfile.write(tmp_path / "s/audio/u0003.flac", noise(5, 8_000), 8_000)
    card = segment(tmp_path / "m", tmp_path / "out")
    drops = {drop.id: drop for drop in read_drops(tmp_path / "out") if drop.stage == "segment"}
    assert set(drops) == {"u0001", "u0002", "u0003"} and all(drop.reason == "not decodable" for drop in drops.values())
    assert "prepared at 16000 Hz and is now at 8000" in drops["u0003"].detail
    own = card["ledger"][1]
    assert (own["in"], own["ok"], own["dropped"]) == (6, 3, 3) and len(table_of(tmp_path / "out")) == 3
    for path in (tmp_path / "s/audio").iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="nothing could be cut: 6 not decodable"):
        segment(tmp_path / "m", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_tabs_and_line_ends_become_spaces_and_are_counted(tmp_path: Path) -> None:
    make_speech(tmp_path / "s", 1)
    row = {"id": "a", "path": "audio/u0000.flac", "text": "m\tộ\nt", "Path ": "x", "start_sample": 7}
    (tmp_path / "s/t.jsonl").write_text(json.dumps(row), encoding="utf-8")
    prepared(tmp_path / "s/t.jsonl", tmp_path / "m", test=0.0)
    assert segment(tmp_path / "m", tmp_path / "out")["respaced"] == 1
    (row,) = table_of(tmp_path / "out")
    assert (row["text"], row["attribute_start_sample"], row["start_sample"]) == ("m ộ t", "7", "0")
    assert prepare("table", tmp_path / "out/transcripts.tsv", tmp_path / "again",
                   PrepareConfig(workers=0, dev=0, test=0))["utterances"] == 1


@pytest.mark.parametrize(("settings", "why"), [
    ({"name": "{speaker}"}, "would both be"), ({"name": "{session}"}, "has no session"), ({"name": "x" * 240 + "{id}"}, "at most")])
def test_names_that_are_not_possible_are_refused_before_the_work(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    prepared(make_speech(tmp_path / "s", 6, num_speakers=2), tmp_path / "m", test=0.0)
    with pytest.raises(NameRefused, match=why) as caught:
        segment(tmp_path / "m", tmp_path / "out", **settings)
    assert caught.value.hint and not (tmp_path / "out").exists()


def test_wrong_use_is_said(tmp_path: Path, utterloom: Command) -> None:
    prepared(make_speech(tmp_path / "s", 3), tmp_path / "m", test=0.0)
    for words, code, said in (
            (["m", "out", "name={recording}{start_s}"], 1, "nobody can tell where it begins"),
            (["m", "out", "sample_rate_hz=soon"], 1, "4000 to 192000, in Hz, or source"), (["m", "out", "format=mp3"], 1, "flac"),
            (["n", "out"], 1, "there is no manifest at"), (["s/table.tsv", "out"], 1, "manifest"), (["m", "m"], 1, "already holds"),
            (["m", "s/table.tsv"], 1, "is a file"), (["m", "out", "rate=3"], 1, "unknown key 'rate'"),
            (["m", "out", "workers=0", "--json"], 0, '"utterances": 3'), (["m", "out", "workers=0"], 0, "is there already"),
            (["m", "out", "format=wav"], 1, 'config.format: "flac" → "wav"')):
        done = utterloom("prepare", "segment", *(tmp_path / word if number < 2 else word for number, word in enumerate(words)))
        assert done.code == code and said in done.out + done.err, (words, done)
    assert "name" in utterloom("keys", "segment").out
    shown = utterloom("show", tmp_path / "out")
    assert shown.code == 0 and "3 files" in shown.out and "utterloom prepare table" in shown.out
    content = (tmp_path / "m/utterances.parquet").read_bytes()
    (tmp_path / "m/utterances.parquet").write_bytes(content[:-1] + b"x")
    with pytest.raises(DamagedError):
        segment(tmp_path / "m", tmp_path / "other")


def test_a_full_disk_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-P4: discovered before, and not at 97 %."""
    prepared(make_speech(tmp_path / "s", 3), tmp_path / "m", test=0.0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(OutputError, match=r"needs about \d+ kB and the disk has \d+ kB free"):
        segment(tmp_path / "m", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_cut_again(tmp_path: Path) -> None:
    """E8: by item. What somebody else wrote under a name is not taken for it."""
    prepared(make_spans(tmp_path / "s", 12), tmp_path / "m", test=0.0)
    config = SegmentConfig(workers=0)
    segment(tmp_path / "m", tmp_path / "straight")
    segment(tmp_path / "m", tmp_path / "out")
    for path in (tmp_path / "out/segments.json", tmp_path / "out/transcripts.tsv"):
        path.unlink()
    audio = sorted((tmp_path / "out/audio").iterdir())
    (tmp_path / "out/.building.json").write_text('{"kind": "segments"}', encoding="utf-8")
    with pytest.raises(OutputError):
        export(tmp_path / "m", tmp_path / "out", config)
    card = load_card(tmp_path / "straight", "segments")
    identity = {key: card[key] for key in ("config", "manifest", "manifest_sha256")}
    (tmp_path / "out/.building.json").write_text(json.dumps({**identity, "kind": "segments"}), encoding="utf-8")
    audio[0].unlink()
    audio[1].write_bytes(b"text")
    shutil.copy(tmp_path / "s/long.wav", audio[2])
    before = {path: path.stat().st_mtime_ns for path in audio[3:]}
    export(tmp_path / "m", tmp_path / "out", config)
    assert before == {path: path.stat().st_mtime_ns for path in audio[3:]}
    assert hash_of_folder(tmp_path / "out") == hash_of_folder(tmp_path / "straight")


def start(manifest: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    code = ("import sys; from pathlib import Path; from utterloom.prepare.exports.segment import SegmentConfig, export\n"
            "if __name__ == '__main__': export(Path(sys.argv[1]), Path(sys.argv[2]), SegmentConfig(workers=int(sys.argv[3])))")
    script = out.parent / "cut.py"
    script.write_text(code, encoding="utf-8")
    return subprocess.Popen([sys.executable, script, manifest, out, str(workers)], stderr=subprocess.DEVNULL)


def kill_at_random(folder: Path, num_kills: int, seed: int, workers: int, num_utterances: int) -> None:
    rng = random.Random(seed)
    prepared(make_spans(folder / "s", num_utterances), folder / "m", test=0.0)
    segment(folder / "m", folder / "straight")
    wanted = hash_of_folder(folder / "straight")
    out, killed = folder / "out", 0
    while killed < num_kills:
        process = start(folder / "m", out, workers)
        while process.poll() is None and not list(out.glob("audio/*")):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        if process.wait() != -signal.SIGKILL:
            shutil.rmtree(out)
            continue
        killed += 1
        time.sleep(0.05)  # workers die with their parent
        whole = [path for path in out.glob("audio/*") if not path.name.startswith(TEMPORARY)]
        assert all(path.read_bytes() == (folder / "straight/audio" / path.name).read_bytes() for path in whole)
    segment(folder / "m", out)
    assert hash_of_folder(out) == wanted and len(list(out.glob("audio/*"))) == num_utterances


def test_a_cut_that_is_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 2, 0, workers=0, num_utterances=400)


@pytest.mark.slow
def test_twenty_random_moments(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 20, 1, workers=2, num_utterances=3000)


def test_ctrl_c_ends_the_work_and_loses_nothing(tmp_path: Path) -> None:
    """In this process, where it meets the decoder most of the time: no recording is taken for a cut one."""
    prepared(make_spans(tmp_path / "s", 200, 1.0), tmp_path / "m", test=0.0)
    segment(tmp_path / "m", tmp_path / "straight")
    command = [sys.executable, "-m", "utterloom.cli", "prepare", "segment", tmp_path / "m", tmp_path / "out", "workers=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(tmp_path.glob("out/audio/*"))) < 40:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said, said
    segment(tmp_path / "m", tmp_path / "out")
    assert hash_of_folder(tmp_path / "out") == hash_of_folder(tmp_path / "straight")


def test_two_at_once_and_tasks_in_any_order(tmp_path: Path) -> None:
    prepared(make_spans(tmp_path / "s", 300), tmp_path / "m", test=0.0)
    segment(tmp_path / "m", tmp_path / "straight")
    first = start(tmp_path / "m", tmp_path / "out", 2)
    while not list(tmp_path.glob("out/audio/*")) and first.poll() is None:
        time.sleep(0.001)
    if first.poll() is None:
        with pytest.raises(OutputError, match="another process"):
            segment(tmp_path / "m", tmp_path / "out")
    assert first.wait() == 0
    assert hash_of_folder(tmp_path / "out") == hash_of_folder(tmp_path / "straight")
    assert cut_rows.__module__ == "utterloom.prepare.exports.segment"


def test_a_template_that_is_not_reversible_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"nobody can tell where \{recording\} ends"):
        compose(SegmentConfig, ["name={recording}_{id}"])
    assert compose(SegmentConfig, ["name={recording}_{start_s}-{end_s}", "sample_rate_hz=source"]).sample_rate_hz == "source"
