"""`prepare sample`: who is chosen, what is written, and that nobody is sent twice, whoever is killed and when."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Command
from tests.tones import RATE_HZ, WORDS, speech, write_table
from utterloom.core.artifact import load_card, read_json
from utterloom.core.config import compose
from utterloom.core.errors import ConfigError, OutputError, SourceError
from utterloom.core.records import Utterance
from utterloom.prepare.exports.sample import SampleConfig, explain, export
from utterloom.prepare.readers.manifest import ManifestReader
from utterloom.prepare.review.sent import RESERVED, SENT, record
from utterloom.prepare.review.verdicts import read_verdicts
from utterloom.prepare.stage import PrepareConfig, prepare

NUM_UTTERANCES, NUM_SPEAKERS = 40, 4
ODD_IDS = {0: "a/b.c", 1: "=1+1", 2: 'say "ba" & <năm>', 3: "x" * 150 + "ế" * 40}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Utterances of four speakers, the first with most; every other one a part of a long stereo recording at 22,050 Hz."""
    folder, rng = tmp_path_factory.mktemp("sample"), random.Random(3)
    rows, parts, at = [], [], 0
    for number in range(NUM_UTTERANCES):
        speaker = 0 if number < 20 else number % NUM_SPEAKERS
        text = " ".join(rng.choices(list(WORDS), k=rng.randint(1, 3)))
        row = {"id": ODD_IDS.get(number, f"u{number:02d}"), "text": text, "speaker": f"s{speaker}",
               "split": "dev" if number % 5 == 4 else "train", "similarity": f"{(number * 7 % 40) / 40}" if number != 9 else ""}
        if number % 2:
            soundfile.write(folder / f"u{number:02d}.wav", speech(text, speaker), RATE_HZ)
            rows.append({**row, "path": f"u{number:02d}.wav", "start": "", "end": ""})
        else:
            samples = speech(text, speaker, 22_050)
            rows.append({**row, "path": "long.wav", "start": f"{at / 22_050:.6f}", "end": f"{(at + len(samples)) / 22_050:.6f}"})
            parts.append(samples)
            at += len(samples)
    soundfile.write(folder / "long.wav", np.stack([np.concatenate(parts), 0.5 * np.concatenate(parts)], axis=1), 22_050)
    return write_table(folder / "table.tsv", rows)


@pytest.fixture
def manifest(table: Path, tmp_path: Path) -> Path:
    prepare("table", table, tmp_path / "manifests" / "mine", compose(PrepareConfig, ["workers=0"]))
    return tmp_path / "manifests" / "mine"


def sample(manifest: Path, out: Path, *settings: str) -> dict[str, Any]:
    return export(manifest, out, compose(SampleConfig, list(settings)))


def ids(out: Path) -> list[str]:
    return [row["id"] for row in read_json(out / "items.json")["items"]]


def known(manifest: Path) -> dict[str, Utterance]:
    return {item.id: item for item in ManifestReader().read(manifest) if isinstance(item, Utterance)}


def record_rows(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (manifest.parent / "sent.jsonl").read_text().splitlines()]


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_folder_has_exactly_the_spans_a_sheet_and_a_page(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = sample(manifest, out, "utterances=40")
    assert card == load_card(out, "sample") and card["utterances"] == 40 and card["left_out"] == [] and card["left"] == 0
    utterances = known(manifest)
    page = (out / "review.html").read_text(encoding="utf-8")
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "") and "https:" not in page
    items = json.loads(page.split('id="data">')[1].split("</script>")[0])["items"]
    assert [item["id"] for item in items] == ids(out)
    assert set(ids(out)) == set(utterances) > set(ODD_IDS.values())
    for item in items:
        samples, rate_hz = soundfile.read(out / item["audio"], dtype="float32")
        (span,) = utterances[item["id"]].spans
        whole, recorded_hz = soundfile.read(span.path, start=span.start_sample, stop=span.stop_sample, dtype="float32",
                                            always_2d=True)
        assert rate_hz == recorded_hz and len(samples) == len(whole)
        np.testing.assert_allclose(samples, whole.mean(axis=1), atol=1 / 32768)
        assert item["text"] == utterances[item["id"]].text
    assert {path.name for path in out.iterdir()} == {"audio", "items.json", "review.html", "review.xlsx", "sample.json"}
    with pytest.raises(SourceError, match="holds no verdicts yet"):
        read_verdicts(out)


def test_making_it_twice_gives_the_same_bytes_and_running_it_again_does_nothing(table: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        prepare("table", table, tmp_path / name / "m", compose(PrepareConfig, ["workers=0"]))
        out = tmp_path / name / "sample"
        sample(tmp_path / name / "m", out, "utterances=7", "seed=3")
        made.append({path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()})
    assert made[0].keys() == made[1].keys() and made[0] == made[1]
    before = (out / "sample.json").stat().st_mtime_ns
    assert sample(tmp_path / "two" / "m", out, "utterances=7", "seed=3")["utterances"] == 7
    assert (out / "sample.json").stat().st_mtime_ns == before and len(record_rows(tmp_path / "two" / "m")) == 7
    with pytest.raises(OutputError, match="seed: 3 → 4"):
        sample(tmp_path / "two" / "m", out, "utterances=7", "seed=4")


# --- who is chosen ----------------------------------------------------------------------------------------------------


def test_each_speaker_is_heard_as_often_unless_chance_alone_decides(manifest: Path, tmp_path: Path) -> None:
    speaker_of = {name: one.speaker for name, one in known(manifest).items()}
    sample(manifest, tmp_path / "spread", "utterances=16", "exclude_sent=false")
    assert set(Counter(speaker_of[name] for name in ids(tmp_path / "spread")).values()) == {4}
    shares: Counter[str | None] = Counter()
    for seed in range(8):
        sample(manifest, tmp_path / f"random{seed}", "utterances=16", "order=random", f"seed={seed}", "exclude_sent=false")
        shares.update(speaker_of[name] for name in ids(tmp_path / f"random{seed}"))
    assert 0.45 < shares["s0"] / shares.total() < 0.8  # of all utterances, 25 of 40 are hers


def test_the_lowest_and_the_highest_go_by_an_attribute(manifest: Path, tmp_path: Path) -> None:
    of = {name: float(one.attributes["similarity"]) for name, one in known(manifest).items() if one.attributes.get("similarity")}
    assert len(of) == 39
    card = sample(manifest, tmp_path / "low", "utterances=5", "order=lowest", "by=similarity")
    assert ids(tmp_path / "low") == sorted(of, key=lambda name: of[name])[:5] and card["order"] == "lowest similarity"
    sample(manifest, tmp_path / "high", "utterances=5", "order=highest", "by=similarity")
    assert ids(tmp_path / "high") == sorted(of, key=lambda name: -of[name])[:5]
    with pytest.raises(ConfigError, match="did you mean 'similarity'"):
        sample(manifest, tmp_path / "no", "order=lowest", "by=similarty")
    for wrong in (["order=lowest"], ["by=similarity"]):
        with pytest.raises(ConfigError, match="by=similarity"):
            sample(manifest, tmp_path / "no", *wrong)


def test_a_split_and_hours(manifest: Path, tmp_path: Path) -> None:
    split_of = {name: one.split for name, one in known(manifest).items()}
    card = sample(manifest, tmp_path / "dev", "split=valid", "hours=0.0005")
    assert {split_of[name] for name in ids(tmp_path / "dev")} == {"dev"} and card["hours"] <= 0.0005
    with pytest.raises(SourceError, match="there are: dev, train"):
        sample(manifest, tmp_path / "no", "split=test")
    with pytest.raises(SourceError, match=r"hours=1 is more than the .* that are left: \d were in samples before"):
        sample(manifest, tmp_path / "no", "split=dev", "hours=1")
    assert not (tmp_path / "no").exists()


def test_a_recording_that_is_gone_is_left_out_and_stays_free(manifest: Path, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(table.parent, folder)
    prepare("table", folder / table.name, tmp_path / "m2" / "mine", compose(PrepareConfig, ["workers=0"]))
    (folder / "u05.wav").unlink()
    card = sample(tmp_path / "m2" / "mine", tmp_path / "out", "utterances=40")
    assert card["utterances"] == 39 and [row["id"] for row in card["left_out"]] == ["u05"]
    assert "left out: u05" in "\n".join(explain(card))
    assert "u05" not in {row["id"] for row in record_rows(tmp_path / "m2" / "mine")}


# --- what was sent ----------------------------------------------------------------------------------------------------


def test_nothing_is_sent_twice_until_it_is_asked_for(manifest: Path, table: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        sample(manifest, tmp_path / name, "utterances=12")
    assert len(set(ids(tmp_path / "a") + ids(tmp_path / "b") + ids(tmp_path / "c"))) == 36
    with pytest.raises(SourceError, match="utterances=5 is more than the 4 that are left: 36 were in samples before") as error:
        sample(manifest, tmp_path / "d", "utterances=5")
    assert "ask for fewer: utterances=4" in str(error.value) and not (tmp_path / "d").exists()
    # prepared again, from the same recordings with other settings, under another name; the first manifest is gone
    shutil.rmtree(manifest)
    again = manifest.with_name("again")
    prepare("table", table, again, compose(PrepareConfig, ["workers=0", "language=vi"]))
    sample(again, tmp_path / "d", "utterances=4")
    assert len(set(ids(tmp_path / "d")) & set(ids(tmp_path / "a"))) == 0
    with pytest.raises(SourceError, match="the 0 that are left: 40"):
        sample(again, tmp_path / "e", "utterances=1")
    assert sample(again, tmp_path / "e", "utterances=40", "exclude_sent=false")["sent_before"] == 0


def test_samples_made_elsewhere_are_named(manifest: Path, table: Path, tmp_path: Path) -> None:
    prepare("table", table, tmp_path / "elsewhere" / "m", compose(PrepareConfig, ["workers=0"]))
    sample(tmp_path / "elsewhere" / "m", tmp_path / "theirs", "utterances=30", "seed=4")
    sample(manifest, tmp_path / "ours", "utterances=10", f"exclude=[{tmp_path / 'theirs'}]")
    assert not set(ids(tmp_path / "ours")) & set(ids(tmp_path / "theirs"))
    with pytest.raises(SourceError, match=r"the 0 that are left: 40 were in samples before, as .* and exclude= says"):
        sample(manifest, tmp_path / "more", "utterances=1", f"exclude=[{tmp_path / 'theirs'}]")
    with pytest.raises(SourceError, match="there is no sample at"):
        sample(manifest, tmp_path / "more", "utterances=1", f"exclude=[{tmp_path / 'nowhere'}]")


def test_the_record_may_lie_elsewhere_and_is_never_guessed_at(manifest: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "record.jsonl"
    sample(manifest, tmp_path / "a", "utterances=12", f"sent={elsewhere}")
    assert not (manifest.parent / "sent.jsonl").exists() and len(elsewhere.read_text().splitlines()) == 12
    with elsewhere.open("a") as file:
        file.write("u01\n")
    with pytest.raises(SourceError, match=r"record.jsonl, line 13: this is not a row"):
        sample(manifest, tmp_path / "b", "utterances=12", f"sent={elsewhere}")
    with pytest.raises(OutputError, match="sent=FILE"):
        sample(manifest, tmp_path / "b", "utterances=12", f"sent={tmp_path / 'a' / 'sample.json' / 'x'}")


def test_what_is_no_manifest_is_said(tmp_path: Path, utterloom: Command) -> None:
    said = utterloom("prepare", "sample", tmp_path / "nothing", tmp_path / "out")
    assert said.code == 1 and "there is no manifest at" in said.err and not (tmp_path / "out").exists()


def test_the_command_says_what_comes_next_and_show_how_far_they_are(manifest: Path, tmp_path: Path, utterloom: Command) -> None:
    said = utterloom("prepare", "sample", manifest, tmp_path / "out", "utterances=6")
    assert said.code == 0 and "6 utterances of 4 speakers" in said.out and "34 are left" in said.out and "review.html" in said.out
    assert json.loads(utterloom("prepare", "sample", manifest, tmp_path / "out", "utterances=6", "--json").out)["utterances"] == 6
    assert "holds no verdicts yet" in utterloom("show", tmp_path / "out").out
    texts = {name: one.text for name, one in known(manifest).items()}
    rows = [{"id": name, "text": texts[name], "verdict": "good", "corrected_text": None, "note": None}
            for name in ids(tmp_path / "out")[:3]]
    card = load_card(tmp_path / "out", "sample")
    (tmp_path / "out" / "verdicts (1).json").write_text(json.dumps({
        "utterloom": {"kind": "verdicts", "format": 1}, "sample": card["sample"], "order": "speakers", "utterances": rows}))
    shown = utterloom("show", tmp_path / "out").out
    assert "3 utterances of 6: 3 good" in shown and "verdicts=[" in shown
    assert len(read_verdicts(tmp_path / "out")) == 3
    other = json.loads((tmp_path / "out" / "verdicts (1).json").read_text())
    (tmp_path / "out" / "theirs.json").write_text(json.dumps({**other, "sample": "another"}))
    with pytest.raises(SourceError, match=r"theirs.json is of another sample"):
        read_verdicts(tmp_path / "out")


# --- killed -----------------------------------------------------------------------------------------------------------

# What a process does until it is killed, right after a call of this function that is the so many-th.
KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from utterloom.core.config import compose
from utterloom.prepare.exports import sample
module, name, times, manifest, out, *settings = sys.argv[1:]
place = importlib.import_module(module)
owner, _, name = name.rpartition(".")
if owner:
    place = getattr(place, owner)
real, calls = getattr(place, name), 0
def killed(*args, **more):
    global calls
    done = real(*args, **more)
    calls += 1
    if calls == int(times):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(place, name, killed)
sample.export(Path(manifest), Path(out), compose(sample.SampleConfig, settings))
"""
SAMPLE, SENT_MODULE = "utterloom.prepare.exports.sample", "utterloom.prepare.review.sent"
STOPS = {"it is chosen": (SAMPLE, "_chosen", 1), "it is reserved": (SENT_MODULE, "Record.save", 1),
         "the choice is written": (SAMPLE, "write_json", 1), "some audio is cut": (SAMPLE, "_audio", 5),
         "it is said to be sent": (SENT_MODULE, "Record.save", 2),
         "the card is written": ("utterloom.core.artifact", "write_json", 2)}


def killed_after(stop: str, manifest: Path, out: Path, *settings: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, STOPS[stop]), manifest, out, *settings], check=False,
                          capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("stop", STOPS)
def test_killed_anywhere_it_goes_on_and_nobody_is_lost_or_sent_twice(stop: str, manifest: Path, tmp_path: Path) -> None:
    killed_after(stop, manifest, tmp_path / "a", "utterances=12")
    # somebody else's sample while the first lies there unfinished
    sample(manifest, tmp_path / "b", "utterances=12")
    card = sample(manifest, tmp_path / "a", "utterances=12")
    assert card["utterances"] == 12 and not set(ids(tmp_path / "a")) & set(ids(tmp_path / "b"))
    assert Counter(row["state"] for row in record_rows(manifest)) == {SENT: 24}
    rest = sample(manifest, tmp_path / "c", "utterances=16")
    assert rest["left"] == 0 and len({*ids(tmp_path / "a"), *ids(tmp_path / "b"), *ids(tmp_path / "c")}) == 40
    assert not list(tmp_path.rglob(".tmp-*")) and not list(manifest.parent.glob(".sent*"))


def test_show_says_how_a_stopped_sample_goes_on(manifest: Path, tmp_path: Path, utterloom: Command) -> None:
    out = manifest.with_name("first")
    killed_after("some audio is cut", manifest, out, "utterances=12", "order=random")
    shown = utterloom("show", out)
    assert "not finished" in shown.out and "4 audio files" in shown.out
    (again,) = [line.split("go on")[1].strip() for line in shown.out.splitlines() if "go on" in line]
    assert utterloom(*shlex.split(again)[1:]).code == 0 and load_card(out, "sample")["utterances"] == 12


@pytest.mark.parametrize("stop", ["it is reserved", "some audio is cut"])
def test_a_stopped_sample_that_is_removed_gives_its_utterances_back(stop: str, manifest: Path, tmp_path: Path) -> None:
    killed_after(stop, manifest, tmp_path / "a", "utterances=12")
    assert Counter(row["state"] for row in record_rows(manifest)) == {RESERVED: 12}
    shutil.rmtree(tmp_path / "a")
    assert sample(manifest, tmp_path / "b", "utterances=40")["sent_before"] == 0


def test_a_finished_sample_that_was_sent_off_and_removed_stays_sent(manifest: Path, tmp_path: Path) -> None:
    sample(manifest, tmp_path / "a", "utterances=12")
    first = ids(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    sample(manifest, tmp_path / "a", "utterances=12")
    assert not set(first) & set(ids(tmp_path / "a"))


def test_a_stopped_sample_that_was_moved_does_not_send_what_others_were_sent(manifest: Path, tmp_path: Path) -> None:
    killed_after("some audio is cut", manifest, tmp_path / "a", "utterances=12")
    (tmp_path / "a").rename(tmp_path / "moved")
    sample(manifest, tmp_path / "b", "utterances=40")
    with pytest.raises(OutputError, match="12 utterances of ") as error:
        sample(manifest, tmp_path / "moved", "utterances=12")
    assert f"are in {tmp_path / 'b'} by now" in str(error.value)


SLOW = """
import time
from utterloom.cli import main
from utterloom.prepare.exports import sample
real = sample._audio
def slow(*args):
    time.sleep(0.2)
    return real(*args)
sample._audio = slow
main()
"""


def test_a_sample_that_is_killed_while_it_cuts_keeps_what_it_cut(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    process = subprocess.Popen([sys.executable, "-c", SLOW, "prepare", "sample", manifest, out, "utterances=20"],
                               stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while len(list(out.glob("audio/[!.]*.flac"))) < 3:
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.01)
    with pytest.raises(OutputError, match=f"pid {process.pid}"):
        sample(manifest, out, "utterances=20")
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut = {path: path.stat().st_mtime_ns for path in out.glob("audio/[!.]*.flac")}
    with pytest.raises(OutputError, match="utterances: 20 → 21"):
        sample(manifest, out, "utterances=21")
    assert sample(manifest, out, "utterances=20")["utterances"] == 20
    assert len(cut) >= 3 and all(path.stat().st_mtime_ns == when for path, when in cut.items())
    assert len(list(out.glob("audio/*.flac"))) == 20


def test_two_at_once_send_different_utterances(manifest: Path, tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-m", "utterloom.cli", "prepare", "sample", manifest, tmp_path / f"s{number}",
                                   "utterances=20"], stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
                 for number in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len({*ids(tmp_path / "s0"), *ids(tmp_path / "s1")}) == 40
    with record(manifest.parent / "sent.jsonl") as before:
        assert len(before.taken()) == len(before.rows) == 40
