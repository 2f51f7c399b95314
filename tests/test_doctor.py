"""`doctor`: true of this machine, and right about machines that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from utterloom import pipeline
from utterloom.doctor import graphics, machine, packages
from utterloom.doctor.findings import Problem
from utterloom.doctor.graphics import Graphics, ask_torch, graphics_here, graphics_problems, torch_build
from utterloom.doctor.machine import cpu_quota, memory_limit_bytes, storage, thread_problems
from utterloom.doctor.packages import EXTRAS, pip_line


@pytest.fixture(scope="module")
def examined() -> tuple[dict[str, Any], str]:
    """Once, because torch takes a second or two to answer."""
    value, lines = pipeline.doctor()
    return json.loads(json.dumps(value)), "\n".join(lines)


def test_what_is_said_is_true(examined: tuple[dict[str, Any], str]) -> None:
    from importlib.metadata import version

    value, text = examined
    assert value["python"] == ".".join(map(str, sys.version_info[:3]))
    assert value["machine"]["cores_usable"] <= value["machine"]["cores_present"] == os.cpu_count()
    assert value["packages"]["core"]["numpy"] == version("numpy")
    assert value["storage"]["disk here"]["folder"] == str(Path.cwd())
    assert {"WAV", "FLAC", "MP3"} <= set(value["sound"]["containers"]) and value["sound"]["libsndfile"] in text
    assert value["torch"]["version"] == version("torch") and value["torch"]["build"] in text
    assert value["text"]["file_names_survive"] is True


def test_each_extra_is_installed_or_a_problem(examined: tuple[dict[str, Any], str]) -> None:
    value, text = examined
    for name, versions in value["packages"]["extras"].items():
        complained = any(problem["what"] == EXTRAS[name].purpose for problem in value["problems"])
        assert complained == any(versions[package] is None for package in EXTRAS[name].packages)
        assert f"[{name}]" in text


def test_problems_say_what_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = "python -m pip install " + "x" * 90
    lines = Problem("the demo " * 12, "a package is missing", command).lines()
    assert lines[0].startswith("will not work: the demo") and lines[-1] == f"  → {command}"
    assert max(len(line) for line in lines[:-1]) <= 80


def test_doctor_ends_well_even_where_much_is_wrong(tmp_path: Path) -> None:
    """Exit code 0, one JSON object, and no traceback, with a torch that cannot be loaded and a locale that is not UTF-8."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch_cuda.so: cannot open shared object file')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                   "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4"}
    command = [sys.executable, "-m", "utterloom.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    value = json.loads(done.stdout)
    whats = {problem["what"]: problem for problem in value["problems"]}
    assert "libtorch_cuda.so" in whats[EXTRAS["train"].purpose]["because"]
    assert whats["texts and names beyond English letters"]["severity"] == "will not work"
    assert whats["torch may take other threads than you think"]["severity"] == "careful"


# --- machines that are not here ---------------------------------------------------------------------------------------


def test_unset_threads_are_warned_of() -> None:
    unset = {"OMP_NUM_THREADS": None, "MKL_NUM_THREADS": None}
    (problem,) = thread_problems(unset, 2)
    assert "32 times" in problem.because and problem.do == "export OMP_NUM_THREADS=1"
    assert thread_problems(unset, 1) == [] == thread_problems({**unset, "OMP_NUM_THREADS": "1"}, 8)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_limits_of_control_groups_of_the_second_version(tmp_path: Path) -> None:
    write(tmp_path / "process", "0::/pod/container\n")
    write(tmp_path / "fs/pod/container/cpu.max", "max 100000\n")
    write(tmp_path / "fs/pod/cpu.max", "150000 100000\n")
    write(tmp_path / "fs/pod/container/memory.max", "8000000000\n")
    write(tmp_path / "fs/pod/memory.max", "max\n")
    assert cpu_quota(tmp_path / "fs", tmp_path / "process") == 1.5
    assert memory_limit_bytes(tmp_path / "fs", tmp_path / "process") == 8_000_000_000


def test_limits_of_control_groups_of_the_first_version(tmp_path: Path) -> None:
    write(tmp_path / "process", "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n")
    write(tmp_path / "fs/cpu/job/cpu.cfs_quota_us", "400000\n")
    write(tmp_path / "fs/cpu/job/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "fs/memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    assert cpu_quota(tmp_path / "fs", tmp_path / "process") == 4.0
    assert memory_limit_bytes(tmp_path / "fs", tmp_path / "process") is None
    assert cpu_quota(tmp_path / "nothing", tmp_path / "no-process") is None


def test_a_quota_below_the_cores_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    monkeypatch.setattr(machine, "usable_cores", lambda: 64)
    _, _, problems = machine.resources()
    assert any("workers=1" in problem.do and "0.5 cores" in problem.because for problem in problems)


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000_000})())
    _, _, problems = storage()
    assert len(problems) == 2 and all("nearly full" in problem.because for problem in problems)


CPU, CUDA, ROCM = ({"version": f"2.13.0{suffix}", "cuda": cuda, "hip": hip, "devices": [], "warnings": []}
                   for suffix, cuda, hip in (("+cpu", None, None), ("", "13.0", None), ("+rocm7.0", None, "7.0")))
NVIDIA, AMD = Graphics(nvidia="NVIDIA driver 580.65.06"), Graphics(amd="an AMD device")


@pytest.mark.parametrize(("has", "answer", "environment", "because"), [
    (Graphics(), CPU, {}, None), (Graphics(), CUDA, {}, None),
    (NVIDIA, CPU, {}, "built for the CPU alone"), (NVIDIA, ROCM, {}, "built for AMD GPUs"),
    (AMD, CUDA, {}, "built for NVIDIA GPUs"), (AMD, CPU, {}, "built for the CPU alone"),
    (NVIDIA, CUDA, {"CUDA_VISIBLE_DEVICES": ""}, "a Ray task that asks for no GPU"),
    (AMD, ROCM, {"HIP_VISIBLE_DEVICES": "-1"}, "HIP_VISIBLE_DEVICES='-1' hides"),
    (NVIDIA, {**CUDA, "warnings": ["CUDA initialization: the driver is too old"]}, {}, "the driver is too old"),
    (NVIDIA, {**CUDA, "devices": [{"name": "H200"}]}, {"CUDA_VISIBLE_DEVICES": ""}, None),
])
def test_a_gpu_that_torch_does_not_see(has: Graphics, answer: dict[str, Any], environment: dict[str, str],
                                       because: str | None) -> None:
    problems = graphics_problems(has, answer, environment)
    assert [because in problem.because for problem in problems] == ([] if because is None else [True])
    assert all(problem.severity == "will not work" for problem in problems)


def test_drivers_are_found_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert graphics_here(tmp_path, tmp_path) == Graphics()
    write(tmp_path / "driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\n")
    write(tmp_path / "kfd", "")
    assert graphics_here(tmp_path, tmp_path) == Graphics("NVIDIA driver 580.65.06", "an AMD device")


def test_torch_that_crashes_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, why in (("import os; os.abort()", "signal 6"), ("import time; time.sleep(60)", "did not answer")):
        monkeypatch.setattr(graphics, "TORCH_LIMIT_S", 30.0 if "abort" in program else 0.2)
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        value, _, problems = torch_build(process)
        assert why in value["error"] and problems[0].what == EXTRAS["train"].purpose
    assert torch_build(None)[2] == []


def test_missing_and_foreign_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"numpy": "1.26.0", "torch": "2.13.0", "transformers": "5.23.0", "safetensors": "0.8.0"}
    monkeypatch.setattr(packages, "version_of", versions.get)
    monkeypatch.setattr(packages, "_requirements", lambda: {"": {"numpy": ">=2,<3", "soxr": ">=1"}})
    _, _, problems = packages.versions()
    found = {problem.what: problem for problem in problems}
    assert "soxr is not installed" in found["most of utterloom"].because
    assert "1.26.0" in found["what uses numpy may not work"].because
    assert found[EXTRAS["media"].purpose].do == pip_line("media") and EXTRAS["train"].purpose not in found
    monkeypatch.setattr(graphics, "version_of", lambda _: None)
    monkeypatch.setattr(graphics, "is_there", lambda _: False)
    assert ask_torch() is None


def test_the_pip_line_is_of_this_installation() -> None:
    line = pip_line("tts")
    assert line.startswith(sys.executable) and '[tts]"' in line
