"""`show` on everything that the path leaves behind: finished, under way, stopped, hurt, and not there at all."""

from __future__ import annotations

import fcntl
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.odd_source import RATE_HZ, make_source
from utterloom import cli, pipeline
from utterloom.core.artifact import BUILDING, LOCK
from utterloom.core.errors import CorpusError, SourceError
from utterloom.show.lines import command, labelled, settings
from utterloom.show.picture import BLOCKS, MARK, SILENCE, Levels, course, distribution, time_axis

TINY = ["model.hidden_size=16", "model.num_attention_heads=2", "model.num_hidden_layers=1", "model.intermediate_size=16",
        "model.subsampling_channels=4", "model.intermediate_ctc_layers=[]", "tokenizer.kind=word", "tokenizer.vocab_size=20",
        "batch.micro_batch_s=4", "budget=4steps", "validations=2", "ranks=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest/, corpus/ and run/ with a report in it, made once."""
    folder = tmp_path_factory.mktemp("show")
    pipeline.prepare("table", make_source(folder / "source"), folder / "manifest", ["workers=0", "language=vi"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["workers=0", "shard_s=5"])
    pipeline.train("an4", [f"corpus={folder / 'corpus'}", f"out={folder / 'run'}", *TINY], None)
    pipeline.evaluate(folder / "run", str(folder / "corpus"), [])
    return folder


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(path: Path, utterance: str | None = None) -> tuple[dict[str, Any], str]:
    """The JSON object as a machine gets it, and the lines as one text."""
    value, lines = pipeline.show(path, [utterance] if utterance is not None else [])
    return json.loads(json.dumps(value)), "\n".join(lines)


def run_command(line: str) -> None:
    """What a person would do with a command that `show` prints."""
    words = shlex.split(line)
    assert words[0] == "utterloom"
    cli.app(words[1:], standalone_mode=False)


def report_of(home: Path) -> Path:
    (report,) = (home / "run" / "evaluations").iterdir()
    return report


# --- finished artifacts -----------------------------------------------------------------------------------------------


def test_a_manifest_says_what_is_in_it_and_how_it_was_made(home: Path) -> None:
    value, text = shown(home / "manifest")
    assert (value["kind"], value["state"], value["utterances"]) == ("manifest", "finished", 15)
    assert "language=vi" in text and "workers" not in text
    assert f"utterloom pack {home / 'manifest'} CORPUS" in text
    assert "14 wav 16000 Hz 1 ch, 1 flac 16000 Hz 1 ch" in " ".join(text.split())
    assert any(block in text for block in BLOCKS)


def test_a_corpus_names_its_manifest_and_its_files(home: Path) -> None:
    value, text = shown(home / "corpus")
    assert (value["kind"], value["wrong_files"], value["utterances"]) == ("corpus", [], 14)
    assert f"manifest {home / 'manifest'}" in text and "all there" in text


def test_a_corpus_tells_from_afar_which_files_are_wrong(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "corpus", tmp_path / "corpus")
    (tmp_path / "corpus" / "audio" / "dev-00000.tar").unlink()
    with (tmp_path / "corpus" / "audio" / "train-00000.tar").open("ab") as file:
        file.write(b"x")
    value, text = shown(tmp_path / "corpus")
    assert "audio/dev-00000.tar is missing" in value["wrong_files"]
    assert len(value["wrong_files"]) == 2 and "wrong: " in text


def test_a_run_says_how_far_and_how_well(home: Path) -> None:
    value, text = shown(home / "run")
    assert (value["kind"], value["state"], value["steps"], value["go_on"]) == ("run", "finished", 4, None)
    assert value["best_dev_wer"] == value["validations"][0]["wer"] or value["best_step"] > value["validations"][0]["step"]
    assert value["corpus_path"] == str(home / "corpus")
    assert "4 steps" in text and "45 % WER within 8 min" in text
    assert str(report_of(home)) in text and "2 validations" in text


def test_a_report_names_its_worst(home: Path) -> None:
    value, text = shown(report_of(home))
    assert value["kind"] == "report" and value["utterances"] == 3
    assert text.splitlines()[1].startswith("WER ") and "report.html" in text
    run_command(next(line for line in text.splitlines() if "--id" in line).split("  ")[-1])


def test_a_checkpoint_is_a_model(home: Path) -> None:
    card = json.loads((home / "run" / "run.json").read_text())
    for folder in (home / "run" / "checkpoints").glob("step-*"):
        value, text = shown(folder)
        assert (value["kind"], value["parameters"]) == ("model", card["parameters"])
        assert "16,000 Hz" in text and "basic@1" in text and f"utterloom show {home / 'run'}" in text


def test_a_model_of_somebody_else_has_no_contract(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Wav2Vec2ForCTC"], "hidden_size": 768}')
    header = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 24)
    value, text = shown(tmp_path)
    assert value["parameters"] == 6 and value["contract"] is None
    assert "Wav2Vec2ForCTC" in text and "contract  none" in text


def test_a_folder_of_artifacts_is_listed(home: Path) -> None:
    value, text = shown(home)
    assert {row["kind"] for row in value["artifacts"]} == {"manifest", "corpus", "run"}
    assert "holds 3 artifacts" in text


def test_a_part_shows_what_it_is_of(home: Path) -> None:
    value, text = shown(home / "corpus" / "audio" / "dev-00000.tar")
    assert value["kind"] == "corpus" and "dev-00000.tar, of shard dev-00000: 2 utterances" in " ".join(text.split())
    assert shown(home / "run" / "run.json")[0]["kind"] == "run"
    assert shown(home / "run" / "evaluations")[0]["kind"] == "run"


# --- what is not an artifact ------------------------------------------------------------------------------------------


def test_what_is_not_there_is_told_with_its_neighbours(home: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing at .*corpsu") as caught:
        shown(home / "corpsu")
    assert "corpus" in str(caught.value.hint)


def test_a_source_is_told_how_to_become_a_manifest(home: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"13 \.wav") as caught:
        shown(home / "source")
    assert f"utterloom prepare table {home / 'source' / 'table.tsv'}" in str(caught.value.hint)
    with pytest.raises(SourceError, match="empty folder"):
        shown(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match="does not know"):
        shown(tmp_path / "notes.txt")


def test_a_recording_is_looked_at(home: Path) -> None:
    value, text = shown(home / "source" / "wav" / "long.wav")
    assert (value["kind"], value["num_samples"], value["sample_rate_hz"]) == ("recording", 5 * RATE_HZ, RATE_HZ)
    assert value["level"]["peak_db"] == pytest.approx(-12.0, abs=0.1)
    picture, axis = text.splitlines()[-2:]
    assert len(picture) == 78 and set(picture[2:17]) == {SILENCE} and set(picture[18:]) == {BLOCKS[-1]}
    assert axis.index(f"{MARK}1") == 2 + round(76 / 5)


# --- under construction -----------------------------------------------------------------------------------------------


def unfinished(folder: Path, kind: str) -> None:
    """As a killed process leaves it: the marker is there and the card is not."""
    card = json.loads((folder / f"{kind}.json").read_text())
    identity = {"corpus": ("config", "manifest", "views"), "run": ("config", "corpus", "view"),
                "manifest": ("config", "reader", "source", "view", "inputs")}[kind]
    (folder / BUILDING).write_text(json.dumps({**{key: card[key] for key in identity}, "kind": kind}))
    (folder / f"{kind}.json").unlink()


@pytest.fixture
def locked() -> Iterator[Any]:
    """Lock a folder as its writer would; flock is per open file, so that this process may play another."""
    handles = []

    def lock(folder: Path) -> None:
        handle = (folder / LOCK).open("w")
        handle.write("pid 4711")
        handle.flush()
        fcntl.flock(handle, fcntl.LOCK_EX)
        handles.append(handle)

    yield lock
    for handle in handles:
        handle.close()


def test_a_stopped_pack_goes_on_with_the_command_that_is_shown(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "manifest", tmp_path / "manifest")
    shutil.copytree(home / "corpus", tmp_path / "corpus")
    unfinished(tmp_path / "corpus", "corpus")
    (tmp_path / "corpus" / "utterances" / "train-00001.parquet").unlink()
    value, text = shown(tmp_path / "corpus")
    assert (value["kind"], value["state"]) == ("corpus", "stopped")
    assert set(value["shards_planned"]) - set(value["shards_there"]) == {"train-00001"}
    assert f"{len(value['shards_there'])} of {len(value['shards_planned'])} there" in text and "shard_s=5" in value["go_on"]
    run_command(value["go_on"])
    assert (tmp_path / "corpus" / "corpus.json").read_bytes() == (home / "corpus" / "corpus.json").read_bytes()


def test_a_stopped_training_goes_on_with_the_command_that_is_shown(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    shutil.copytree(home / "run", run)
    unfinished(run, "run")
    with (run / "ttq.jsonl").open("a") as file:
        file.write('{"event": "valid')  # being written
    value, text = shown(run)
    assert (value["state"], value["steps"], value["progress"]) == ("stopped", 4, 1.0)
    assert "no process here is training it" in text and "at step 4" in text
    assert (run / "ttq.jsonl").read_text().endswith('{"event": "valid'), "show mended what it only reads"
    run_command(value["go_on"])
    again = shown(run)[0]
    assert again["state"] == "finished"
    assert again["best_dev_wer"] == shown(home / "run")[0]["best_dev_wer"]


def test_who_is_writing_is_told(home: Path, tmp_path: Path, locked: Any) -> None:
    for kind in ("manifest", "corpus", "run"):
        folder = tmp_path / kind
        shutil.copytree(home / kind, folder)
        unfinished(folder, kind)
        assert shown(folder)[0]["state"] == "stopped"
        locked(folder)
        value, text = shown(folder)
        assert (value["state"], value["writer"]) == ("being made", "pid 4711")
        assert "by pid 4711" in text.splitlines()[0]


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / BUILDING).write_text(json.dumps({"kind": "run", "config": {}, "corpus": "0", "view": "basic@1"}))
    value, text = shown(tmp_path)
    assert (value["state"], value["steps"], value["best_dev_wer"]) == ("stopped", 0, None)
    assert "never validated" in text and "the command that started it" in text


# --- one utterance ----------------------------------------------------------------------------------------------------


def test_an_utterance_is_traced_back_to_its_recording(home: Path) -> None:
    value, text = shown(home / "corpus", "hash_0.5-2.5")
    (span,) = value["recordings"]
    assert (span["path"], span["is_there"]) == (str(home / "source" / "wav" / "long.wav"), True)
    assert (span["start_sample"], span["stop_sample"], span["start_s"]) == (8000, 40_000, 0.5)
    assert (value["text"], value["views"], value["speaker"], value["split"]) == ("một hai", {"basic": "một hai"}, "s8", "train")
    assert "0.500 to 2.500 s" in text and ": ok" in text
    content = (home / "corpus" / value["audio"]["file"]).read_bytes()
    flac = content[value["audio"]["offset"]:][:value["audio"]["bytes"]]
    assert flac[:4] == b"fLaC"
    picture = text.splitlines()[-2][2:]
    assert set(picture[:18]) == {SILENCE} and BLOCKS[-1] in picture  # half a second of silence, then the tone


def test_the_command_to_listen_gives_the_audio(home: Path, tmp_path: Path) -> None:
    text = shown(home / "corpus", "hash_0.5-2.5")[1]
    line = next(line for line in text.splitlines() if "tar -xOf" in line)
    subprocess.run(line.split("listen")[1], shell=True, cwd=tmp_path, check=True)
    (extracted,) = tmp_path.iterdir()
    assert soundfile.info(extracted).frames == 32_000


def test_a_manifest_shows_its_utterances_too(home: Path) -> None:
    value, text = shown(home / "manifest", "u03")
    assert (value["text"], value["views"]["basic"]) == ("Năm.", "năm")
    assert value["level"]["peak_db"] == pytest.approx(-12.0, abs=0.1) and MARK in text


def test_a_run_says_what_it_did_with_an_utterance_and_what_was_heard(home: Path) -> None:
    assert shown(home / "run", "u00")[0]["use"] == "trained on it"
    value, text = shown(home / "run", "u03")
    assert value["use"] == "validated on it" and list(value["heard"]) == [str(report_of(home))]
    assert "heard, with" in text and "  said   năm" in text
    assert shown(report_of(home), "u03")[0]["heard"] == value["heard"]


def test_a_run_finds_its_corpus_from_another_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home / "run", tmp_path / "runs" / "a")
    shutil.copytree(home / "corpus", tmp_path / "corpora" / "mine")
    config = tmp_path / "runs" / "a" / "config.yaml"
    config.write_text(config.read_text().replace(str(home / "corpus"), "corpora/mine"))
    monkeypatch.chdir(home)
    value, _ = shown(tmp_path / "runs" / "a")
    assert Path(value["corpus_path"]) == tmp_path / "corpora" / "mine"
    shutil.rmtree(tmp_path / "corpora")
    assert "no longer there" in shown(tmp_path / "runs" / "a")[1]
    with pytest.raises(SourceError, match="corpora/mine"):
        shown(tmp_path / "runs" / "a", "u00")


def test_a_flipped_byte_is_seen(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "corpus", tmp_path / "corpus")
    audio = shown(home / "corpus", "u05")[0]["audio"]
    tar = tmp_path / "corpus" / audio["file"]
    content = bytearray(tar.read_bytes())
    content[audio["offset"] + audio["bytes"] // 2] ^= 1
    tar.write_bytes(content)
    value, text = shown(tmp_path / "corpus", "u05")
    assert "does not match its checksum" in value["audio"]["checksum"]
    assert "wav/u05.wav" in text and "listen" not in text
    assert shown(tmp_path / "corpus", "u06")[0]["audio"]["checksum"] == "ok"


@pytest.mark.parametrize(("utterance", "stage", "reason"), [
    ("no-text", "prepare", "no transcript"), ("cut", "pack", "not decodable")])
def test_what_was_dropped_is_found_with_its_reason(home: Path, utterance: str, stage: str, reason: str) -> None:
    value, text = shown(home / "corpus", utterance)
    assert value["kind"] == "dropped"
    assert (value["drops"][0]["stage"], value["drops"][0]["reason"]) == (stage, reason)
    assert f"{stage} dropped it" in text.splitlines()[0] and reason in text


def test_a_second_of_the_same_id_is_mentioned(home: Path) -> None:
    assert "dropped another of this id" in shown(home / "manifest", "u00")[1]


def test_an_unknown_id_gives_the_nearest(home: Path) -> None:
    for path in (home / "corpus", home / "manifest", home / "run"):
        with pytest.raises(CorpusError, match=r"no utterance 'hash_0\.5-2'") as caught:
            shown(path, "hash_0.5-2")
        assert "hash_0.5-2.5" in str(caught.value.hint)
    with pytest.raises(SourceError, match="knows no utterances"):
        shown(home / "run" / "checkpoints" / "step-00000004", "u00")


# --- pictures and lines -----------------------------------------------------------------------------------------------


def test_levels_do_not_depend_on_how_the_samples_come() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
    whole, parts = Levels(), Levels()
    whole.add(samples, RATE_HZ)
    for start in range(0, RATE_HZ, 80):
        parts.add(samples[start:start + 80], RATE_HZ)
    assert whole.line(40) == parts.line(40)
    assert whole.numbers() == pytest.approx(parts.numbers())


def test_silence_and_nothing_are_drawn_as_such() -> None:
    silent = Levels()
    silent.add(np.zeros(1600, np.float32), RATE_HZ)
    assert silent.line(10) == SILENCE * 10 and silent.numbers()["peak_db"] is None
    assert Levels().line(10) == ""


@pytest.mark.parametrize("duration_s", [0.02, 0.11, 1.0, 2.7, 9.99, 30.0, 119.0, 120.0, 3599.0, 3600.0, 40_000.0])
@pytest.mark.parametrize("num_columns", [20, 76, 116])
def test_a_time_axis_stays_within_its_width(duration_s: float, num_columns: int) -> None:
    axis = time_axis(duration_s, num_columns)
    assert axis.startswith(f"{MARK}0") and len(axis) <= num_columns + 2
    assert 1 <= axis.count(MARK) <= num_columns // 9 + 1


def test_courses_and_distributions() -> None:
    assert course([3.0, 2.0, 1.0], 10) == "█▅▁"
    assert course([1.0, float("nan"), 1.0], 10) == "▁▁"
    assert len(course(list(range(1000)), 30)) == 30
    assert distribution(np.array([0.0, 0.0, 1.0]), 3) == f"█{SILENCE}▅"


def test_lines_are_wrapped_and_commands_are_not() -> None:
    long = command("utterloom", "show", "a folder", "--id", "x" * 90, "out=…")
    lines = labelled([("text", "word " * 40), ("gone", None), ("next", long)])
    assert max(len(line) for line in lines[:-1]) <= 80 and len(lines) == 4
    assert shlex.split(lines[-1].split("next")[1]) == ["utterloom", "show", "a folder", "--id", "x" * 90, "out=…"]


def test_settings_are_those_that_differ() -> None:
    assert settings({"a": 1, "b": {"c": [1, "x"], "d": True}, "e": None}, {"a": 1, "b": {"c": [], "d": True}, "e": 2}) == [
        "b.c=[1,x]", "e=null"]
