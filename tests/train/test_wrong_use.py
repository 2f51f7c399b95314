"""Training, scoring and transcribing used wrongly: a clear message, an exit code, never a traceback."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.train.conftest import TINY
from utterloom import cli


class Shell:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of one command, in this process."""
        self._monkeypatch.setattr(sys, "argv", ["utterloom", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err


@pytest.fixture
def utterloom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def run(chords: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from utterloom import pipeline

    folder = tmp_path_factory.mktemp("runs") / "run"
    pipeline.train("demo", [f"corpus={chords}", f"out={folder}", "budget=6steps", "validations=2", "ranks=1", *TINY])
    return folder


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["recipe:dmeo"], "did you mean 'demo'"),
        (["bugdet=3m"], "did you mean 'budget'"),
        (["model.hidden=3"], "model.hidden_size"),
        (["seed=abc"], "seed must be a whole number"),
        (["budget=soon"], "3000steps"),
        (["train_split=test"], "training never reads the test split"),
        (["train_split=tarin"], "did you mean 'train'"),
        (["precision=fp8"], "choose from"),
        (["optimizer.lr=-1"], "optimizer.lr"),
        (["seed"], "write key=value"),
        (["model=conformer_xxl"], "conformer_xxl"),
    ],
)
def test_wrong_settings_are_named(utterloom: Shell, chords: Path, tmp_path: Path, overrides: list[str], said: str) -> None:
    recipe = overrides[0].removeprefix("recipe:") if overrides[0].startswith("recipe:") else "demo"
    rest = [text for text in overrides if not text.startswith("recipe:")]
    code, _, stderr = utterloom("train", recipe, f"corpus={chords}", f"out={tmp_path / 'run'}", *rest)
    assert code == 1 and said in stderr
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_must_be_given_is_asked_for(utterloom: Shell) -> None:
    code, _, stderr = utterloom("train", "demo", "out=x")
    assert code == 1 and "'corpus' must be given" in stderr


def test_a_corpus_that_is_not_there(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    code, _, stderr = utterloom("train", "demo", f"corpus={chords.parent / 'corpse'}", f"out={tmp_path / 'run'}")
    assert code == 1 and "there is no corpus" in stderr and "corpus" in stderr


def test_a_manifest_is_not_a_corpus(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    code, _, stderr = utterloom("train", "demo", f"corpus={chords.parent / 'manifest'}", f"out={tmp_path / 'run'}")
    assert code == 1 and "is a manifest, not a corpus" in stderr and "utterloom pack" in stderr


def test_an_output_that_cannot_be(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        code, _, stderr = utterloom("train", "demo", f"corpus={chords}", f"out={out}", "ranks=1", *TINY)
        assert code == 1 and str(out) in stderr


def test_more_symbols_than_frames_is_found_before_training(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    """As characters at eight-fold subsampling of 80 ms hops, these words fit no utterance: said at once, not as a NaN."""
    code, _, stderr = utterloom(
        "train",
        "demo",
        f"corpus={chords}",
        f"out={tmp_path / 'run'}",
        *TINY,
        "features.hop_ms=40",
        "tokenizer.kind=char",
        "ranks=1",
    )
    assert code == 1 and "more symbols than frames" in stderr and "model.subsampling" in stderr


def test_a_split_that_is_not_there(utterloom: Shell, run: Path, chords: Path) -> None:
    code, _, stderr = utterloom("evaluate", run, chords, "--split", "tset")
    assert code == 1 and "no split 'tset'" in stderr and "dev" in stderr


def test_split_aliases_are_one_split(utterloom: Shell, run: Path, chords: Path) -> None:
    """K5."""
    code, stdout, _ = utterloom("evaluate", run, chords, "--split", "validation", "--json")
    assert code == 0 and '"split": "dev"' in stdout


def test_json_is_one_object_with_the_promised_keys(utterloom: Shell, run: Path, chords: Path) -> None:
    import json

    code, stdout, _ = utterloom("evaluate", run, chords, "--json")
    report = json.loads(stdout)
    assert code == 0
    assert {"wer", "cer", "utterances", "hours", "wer_interval", "cer_interval", "provenance", "words"} <= report.keys()
    assert (
        report["wer"]
        == report["words"]["substitutions"] / report["words"]["reference_length"]
        + (report["words"]["deletions"] + report["words"]["insertions"]) / report["words"]["reference_length"]
    )


def test_a_model_that_is_none(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    for model, said in ((tmp_path / "nothing", "there is no model"), (chords, "neither a run nor a model folder")):
        code, _, stderr = utterloom("evaluate", model, chords)
        assert code == 1 and said in stderr


def test_a_model_of_another_rate_is_refused(utterloom: Shell, run: Path, chords: Path, tmp_path: Path) -> None:
    assert utterloom("pack", chords.parent / "manifest", tmp_path / "eight", "sample_rate_hz=8000", "workers=0")[0] == 0
    code, _, stderr = utterloom("evaluate", run, tmp_path / "eight")
    assert code == 1 and "16000 Hz" in stderr and "8000 Hz" in stderr


def test_hurt_audio_stops_an_evaluation_unless_asked(utterloom: Shell, run: Path, chords: Path, tmp_path: Path) -> None:
    hurt = tmp_path / "corpus"
    shutil.copytree(chords, hurt)
    tar = next((hurt / "audio").glob("dev-*.tar"))
    content = bytearray(tar.read_bytes())
    content[2000] ^= 0x40
    tar.write_bytes(content)
    code, _, stderr = utterloom("evaluate", run, hurt, f"out={tmp_path / 'report'}")
    assert code == 1 and "does not match its checksum" in stderr
    code, stdout, _ = utterloom("evaluate", run, hurt, f"out={tmp_path / 'report'}-2", "damaged=skip", "--json")
    assert code == 0 and '"damaged": 1' in stdout


def test_files_that_cannot_be_transcribed_are_named(utterloom: Shell, run: Path, tmp_path: Path) -> None:
    good, empty, text = tmp_path / "good.wav", tmp_path / "empty.wav", tmp_path / "text.wav"
    soundfile.write(good, 0.1 * np.sin(np.arange(32_000) / 5), 16_000)
    empty.touch()
    text.write_text("this is not audio")
    code, stdout, stderr = utterloom("transcribe", run, good, empty, text, tmp_path / "missing.wav")
    assert code == 3 and str(good) in stdout
    assert all(str(path) in stderr for path in (empty, text, tmp_path / "missing.wav"))
    assert utterloom("transcribe", run, empty)[0] == 1


def test_utterances_that_are_hurt_are_left_out_of_training(utterloom: Shell, chords: Path, tmp_path: Path) -> None:
    hurt = tmp_path / "corpus"
    shutil.copytree(chords, hurt)
    tars = sorted((hurt / "audio").glob("train-*.tar"))
    content = bytearray(tars[0].read_bytes())
    content[2000] ^= 0x40
    tars[0].write_bytes(content)
    tars[1].unlink()
    code, stdout, stderr = utterloom(
        "train", "demo", f"corpus={hurt}", f"out={tmp_path / 'run'}", "budget=2epochs", "validations=1", "ranks=1", *TINY, "--json"
    )
    assert code == 0 and tars[1].name in stderr and "does not match its checksum" in stderr
    assert '"quarantined_shards": [[' in stdout
    code, _, stderr = utterloom(
        "train",
        "demo",
        f"corpus={hurt}",
        f"out={tmp_path / 'strict'}",
        "budget=2epochs",
        "validations=1",
        "ranks=1",
        *TINY,
        "damaged=error",
    )
    assert code == 1 and "error:" in stderr
