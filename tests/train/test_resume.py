"""Truth 7: kill -9 anywhere and resume ≡ uninterrupted, to the bit; the ledger is continuous."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.conftest import TINY
from utterloom.core.artifact import read_json
from utterloom.shards.reader import sha256_of

STEPS = 60
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(corpus: Path, run: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "utterloom.cli",
        "train",
        "demo",
        f"corpus={corpus}",
        f"out={run}",
        f"budget={STEPS}steps",
        "validations=6",
        "save_every=4steps",
        "batch.micro_batches=2",
        *TINY,
        *more,
    ]


def finish(corpus: Path, run: Path, *more: str) -> None:
    done = subprocess.run(command(corpus, run, *more), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def kill_at_random(corpus: Path, run: Path, rng: random.Random, *more: str) -> bool:
    """SIGKILL the whole process group some moment after the first new step; False when it had ended before."""
    steps = run / "steps.jsonl"
    before = steps.stat().st_size if steps.exists() else -1
    process = subprocess.Popen(
        command(corpus, run, *more), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and (steps.stat().st_size if steps.exists() else -1) == before:
        time.sleep(0.005)
    time.sleep(rng.uniform(0.0, 0.6))
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return not ended


def weights(run: Path) -> dict[str, str]:
    pointers = read_json(run / "checkpoints" / "checkpoints.json")
    return {name: sha256_of(run / "checkpoints" / folder / "model.safetensors") for name, folder in pointers.items()}


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def check_same(straight: Path, broken: Path) -> None:
    assert weights(broken) == weights(straight)
    assert losses(broken) == losses(straight)
    assert [step for step, _ in losses(broken)] == list(range(STEPS)), "the step log has no gap and nothing twice"
    events = [json.loads(line) for line in (broken / "ttq.jsonl").read_text().splitlines()]
    spent = [event["train_s"] for event in events]
    assert spent == sorted(spent), "time never runs backwards over restarts (B-P2)"
    wer = {event["step"]: event["wer"] for event in events if event["event"] == "validation"}
    assert wer == {
        event["step"]: event["wer"]
        for event in map(json.loads, (straight / "ttq.jsonl").read_text().splitlines())
        if event["event"] == "validation"
    }
    card, whole = read_json(broken / "run.json"), read_json(straight / "run.json")
    assert {key: card[key] for key in ("steps", "best_dev_wer", "best_step", "utterances_seen", "speech_s")} == {
        key: whole[key] for key in ("steps", "best_dev_wer", "best_step", "utterances_seen", "speech_s")
    }


def kill_and_compare(corpus: Path, folder: Path, kills: int, seed: int, *more: str) -> int:
    """Kill until `kills` kills have struck, over as many runs as that takes; every run must end like the straight one."""
    straight = folder / "straight"
    finish(corpus, straight, *more)
    rng, struck, number = random.Random(seed), 0, 0
    while struck < kills:
        run = folder / f"broken-{number}"
        number += 1
        for _ in range(min(4, kills - struck)):
            if not kill_at_random(corpus, run, rng, *more):
                break
            struck += 1
        finish(corpus, run, *more)
        check_same(straight, run)
    return struck


def test_killed_and_resumed_is_uninterrupted(chords: Path, tmp_path: Path) -> None:
    assert kill_and_compare(chords, tmp_path, 2, 1, "ranks=1") == 2


def test_killed_and_resumed_with_two_ranks(chords: Path, tmp_path: Path) -> None:
    assert kill_and_compare(chords, tmp_path, 1, 2, "ranks=2") == 1


@pytest.mark.slow
def test_thirty_kills(chords: Path, tmp_path: Path) -> None:
    assert kill_and_compare(chords, tmp_path, 30, 3, "ranks=1") == 30


def test_ctrl_c_saves_and_says_how_to_go_on(chords: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(chords, run, "ranks=2", "budget=100000steps"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (run / "steps.jsonl").exists() or not (run / "steps.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "everything is saved" in stderr and "goes on from there" in stderr and "Traceback" not in stderr
    step = int(stderr.rsplit("at step ", 1)[1].split(";")[0])
    assert read_json(run / "checkpoints" / "checkpoints.json")["last"] == f"step-{step:08d}"


def test_two_trainings_of_one_run_at_once_are_refused(chords: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    endless = command(chords, run, "ranks=1", "budget=100000steps")
    first = subprocess.Popen(endless, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "steps.jsonl").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = subprocess.run(endless, env=ENVIRONMENT, capture_output=True, text=True)
    assert second.returncode == 1 and "another process" in second.stderr
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=60) == 130


def test_another_configuration_in_the_same_folder_is_refused(chords: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish(chords, run, "ranks=1", "budget=4steps", "validations=1")
    again = subprocess.run(
        command(chords, run, "ranks=1", "budget=4steps", "validations=1", "seed=7"), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert again.returncode == 1 and "config.seed: 0 → 7" in again.stderr


def test_ranks_change_nothing_but_rounding(chords: Path, tmp_path: Path) -> None:
    """Truth 6: 2 ranks with a micro-batch each ≡ 1 rank with both, step for step."""
    for ranks in (1, 2):
        finish(chords, tmp_path / f"ranks-{ranks}", f"ranks={ranks}", "budget=20steps", "validations=1")
    one, two = (losses(tmp_path / f"ranks-{ranks}") for ranks in (1, 2))
    assert [step for step, _ in one] == [step for step, _ in two] == list(range(20))
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], rel=2e-4)
