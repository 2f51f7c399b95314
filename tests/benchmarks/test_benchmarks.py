"""The benchmarks run and say what they should; how fast anything is, is not tested."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.tones import WORDS, speech
from utterloom.audio.encode import encode_flac

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BYTES = ["utterloom", "utterloom-2-workers", "system-b", "system-b-in-process", "webdataset", "datasets", "datasets-streaming",
         "floor-tarfile", "floor-tar"]
DECODED = [*BYTES[:7], "floor-decode"]


def run(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), "--json", *arguments], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["date"] and result["machine"]["cores"] and result["versions"]["utterloom"]
    return result


def run_loaders(*arguments: str) -> dict[str, Any]:
    board = run("loader.py", "--synthetic", "24", "--batch", "8", "--seconds", "0.001", "--rounds", "2", *arguments)
    assert board["audio"]["utterances"] == 24
    for row in board["rows"]:
        numbers = [row["utterances_per_cpu_s"], row["utterances_per_wall_s"], row["cpu_s"], row["peak_rss_mb"], *row["rounds"],
                   *row["of_floor"].values(), *row["ours_over_it"].values()]
        assert len(row["rounds"]) == 2 and all(math.isfinite(number) and number > 0 for number in numbers), row
    return board


def ids(board: dict[str, Any], mode: str) -> list[str]:
    return [row["id"] for row in board["rows"] if row["mode"] == mode]


def test_the_board_without_peers() -> None:
    board = run_loaders("--without-peers")
    assert ids(board, "bytes") == [*BYTES[:2], *BYTES[7:]] and ids(board, "decoded") == [*DECODED[:2], *DECODED[7:]]
    assert [entry["id"] for entry in board["skipped"]] == BYTES[2:7]
    assert [claim["mode"] for claim in board["claims"]] == ["bytes", "decoded"]


def test_alignment_is_timed_and_its_paths_compared() -> None:
    found = run("align.py", "--lengths", "4")["results"]["4"]
    assert found["rows"]["utterloom"]["real_time"] > 0 and found["rows"]["NumPy, the whole table"]["real_time"] > 0
    assert any("scores equal" in line and ", 0 of" in line for line in found["checks"])


def test_units_are_assigned_and_compared() -> None:
    board = run("units.py", "assign", "--materials", "noise", "--units", "20", "--frames", "500", "--rounds", "1")
    assert "scikit-learn" in json.dumps(board)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("webdataset") is None or find_spec("datasets") is None, reason="the peers are in the extra dev")
def test_every_loader_is_on_the_board() -> None:
    board = run_loaders()
    assert board["skipped"] == [] and ids(board, "bytes") == BYTES and ids(board, "decoded") == DECODED
    for mode in ("bytes", "decoded"):
        rows = {row["label"]: row for row in board["rows"] if row["mode"] == mode}
        *peers, floor = [claim for claim in board["claims"] if claim["mode"] == mode]
        assert [claim["over"].split(",")[0] for claim in peers] == ["system B's loader", "webdataset", "datasets"]
        assert all(claim["median"] == rows[claim["over"]]["ours_over_it"]["median"] for claim in peers)
        assert floor["over"].startswith("floor")


def test_resume_measures_planning_and_opening() -> None:
    result = run("resume.py", "--utterances", "25000", "--peer-utterances", "2000", "--times", "2")
    labels = [row["label"] for row in result["rows"]]
    assert labels[:4] == ["utterloom: durations to micro-batch, fresh process", "utterloom: durations to micro-batch, again",
                          "utterloom: Parquet to durations", "utterloom: Parquet to micro-batch"]
    assert len(labels) == 5 or [entry["id"] for entry in result["skipped"]] == ["lhotse"]
    assert all(math.isfinite(row[key][what]) and row[key][what] > 0
               for row in result["rows"] for key in ("wall_ms", "cpu_ms") for what in ("median", "min", "max"))


def test_prepare_measures_a_manifest_and_repairs_names() -> None:
    result = run("prepare.py", "--utterances", "2000", "--references", "300")
    assert result["decide"]["in"] == 2000 >= result["decide"]["kept"] > 0
    assert all(math.isfinite(result[what][key]) and result[what][key] > 0
               for what in ("open", "decide", "repair") for key in ("wall_s", "cpu_s", "peak_rss_mb"))
    assert result["repair"]["references"] == result["repair"]["naive_references"] == 300


@pytest.mark.skipif(find_spec("datasets") is None, reason="the peer is in the extra dev")
def test_layers_are_read_and_written_in_turns() -> None:
    """Must show 6, but for speed: what size they have, and that only ours gives the dtype back unasked (A-P13)."""
    result = run("layers.py", "--utterances", "20", "--rounds", "1", "--times", "20")
    assert result["mb_an_hour"]["features"] == pytest.approx(368.6, rel=0.02) and result["mb_an_hour"]["units"] <= 0.5
    assert all(math.isfinite(took[key]) and took[key] > 0 for took in result["access_ms"].values() for key in ("median", "p95"))
    assert result["dtypes"] == {"utterloom": "float16", "datasets, as it comes": "float", "datasets, numpy format": "float32",
                                "datasets, numpy format of float16": "float16"}
    for what, num in (("reading", 3), ("writing", 5)):
        assert len(result[what]) == num and all(row["wall_ms"] > 0 and row["times_ours"]["median"] > 0 for row in result[what])


# ----------------------------------------------------------------------------------------------------------- conversion


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a folder of speech holds: a recording, a short one, a silent one, a broken one and a text."""
    folder = tmp_path_factory.mktemp("recordings")
    samples = speech(" ".join(random.Random(0).choices(list(WORDS), k=300)))
    soundfile.write(folder / "long.flac", samples, 16_000)
    soundfile.write(folder / "short.wav", samples[:16_000], 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(30 * 16_000), 16_000)
    (folder / "broken.mp3").write_bytes(b"not sound")
    (folder / "notes.txt").write_text("where it was recorded")
    return folder


def run_conversion(recordings: Path, *arguments: str) -> dict[str, Any]:
    result = run("conversion.py", "--recordings", str(recordings), "--clips", "4", "--rounds", "2", "--longest-s", "4", "--long-s",
                 "36", *arguments)
    assert result["audio"]["clips"] == 4 and 3 <= result["audio"]["mean_s"] <= 4 and result["audio"]["clips_in_a_round"] == 2
    for row in result["rows"]:
        assert len(row["rounds"]) == 2 and all(math.isfinite(number) and number > 0 for number in [
            row["cpu_ms_per_audio_s"], row["real_time"], *row["ours_over_it"].values()]), row
    spans = result["spans"]
    assert spans["spans"] == 2 and spans["once_s"] > 0 and spans["anew_s"] > 0
    return result


def test_conversion_is_compared_before_it_is_timed(recordings: Path) -> None:
    result = run_conversion(recordings, "--without-peers")
    assert [(row["id"], row["mode"]) for row in result["rows"]] == [
        ("utterloom", "flac"), ("utterloom", "samples"), ("bare", "flac"), ("bare", "samples"), ("decode", "samples")]
    assert {entry["why"] for entry in result["skipped"]} == {"peers were not asked for"} and result["claims"] == []
    rows = {row["id"]: row for row in result["rows"] if row["mode"] == "flac"}
    assert rows["bare"]["samples_apart"] == 0 and rows["bare"]["snr_db"] > 80 and rows["bare"]["gain"] == pytest.approx(1, abs=1e-3)
    assert abs(rows["utterloom"]["passed_db"]) < 0.1 and rows["utterloom"]["aliased_db"] < -90  # HQ keeps what it says
    assert {"pack_s", "bare_s", "overhead"} <= result["whole"].keys() and "median" in result["bookkeeping"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None or any(find_spec(name) is None for name in ("torchcodec", "lhotse", "pydub")),
                    reason="needs ffmpeg, torchcodec, lhotse and pydub")
def test_every_converter_is_on_the_board(recordings: Path) -> None:
    result = run_conversion(recordings)
    assert [entry["id"] for entry in result["skipped"]] == ([] if find_spec("scipy") else ["lhotse-road"])
    assert [claim["over"].split(",")[0] for claim in result["claims"] if claim["mode"] == "flac"] == [
        "torchcodec", "lhotse", "datasets", "pydub", "one ffmpeg a file"]


def test_another_sound_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from converters import difference

    samples = speech("một hai ba bốn")
    flac = encode_flac(samples, 16_000)
    assert difference(encode_flac(0.5 * samples, 16_000), flac)["gain"] == pytest.approx(0.5, abs=1e-3)
    assert difference(encode_flac(0.5 * samples, 16_000), flac)["snr_db"] > 60  # louder or quieter is the same sound
    assert difference(encode_flac(np.roll(samples, 8), 16_000), flac)["snr_db"] < 10  # half a millisecond late is not
    assert difference(encode_flac(samples[:-5], 16_000), flac)["samples"] == -5
    with pytest.raises(SystemExit, match="8000 Hz"):
        difference(encode_flac(samples, 8_000), flac)


def test_a_folder_without_recordings_is_told(tmp_path: Path) -> None:
    for folder, words in ((tmp_path, "is 20 s long"), (tmp_path / "gone", "there is no folder")):
        done = subprocess.run([sys.executable, str(BENCHMARKS / "conversion.py"), "--recordings", str(folder), "--without-peers"],
                              capture_output=True, text=True)
        assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr
