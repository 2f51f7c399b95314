"""Torch and the devices: what it was built for, what it sees, and whether that fits what the machine has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utterloom.doctor.findings import Examined, Problem
from utterloom.doctor.packages import EXTRAS, is_there, version_of

TORCH_LIMIT_S = 60.0
_TORCH_QUESTIONS = """
import json, warnings
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    import torch
    devices = [{"name": torch.cuda.get_device_name(n), "memory_bytes": torch.cuda.get_device_properties(n).total_memory,
                "capability": ".".join(map(str, torch.cuda.get_device_capability(n)))}
               for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip, "devices": devices,
                      "bf16": bool(devices) and torch.cuda.is_bf16_supported(), "mps": torch.backends.mps.is_available(),
                      "threads": torch.get_num_threads(), "warnings": [str(warning.message) for warning in heard]}))
"""


@dataclass(frozen=True)
class Graphics:
    """What a machine has in graphics processors, told without torch: a driver's name and version, or None."""

    nvidia: str | None = None
    amd: str | None = None


def ask_torch() -> subprocess.Popen[str] | None:
    """A process that imports torch and prints what it sees; None where torch is not installed."""
    if version_of("torch") is None and not is_there("torch"):
        return None
    return subprocess.Popen([sys.executable, "-c", _TORCH_QUESTIONS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def torch_build(process: subprocess.Popen[str] | None) -> Examined:
    """What torch was built for, what it sees, and whether the two fit this machine."""
    graphics = graphics_here()
    value: dict[str, Any] = {"installed": process is not None, "graphics": asdict(graphics)}
    if process is None:
        return value, [("torch", "not installed")], []
    answer, why = _answer(process)
    if answer is None:
        problem = Problem(EXTRAS["train"].purpose, f"torch {version_of('torch') or ''} is installed and cannot be loaded: {why}",
                          f"{shlex.quote(sys.executable)} -m pip install --force-reinstall torch")
        return {**value, "error": why}, [("torch", "cannot be loaded")], [problem]
    build = f"ROCm {answer['hip']}" if answer["hip"] else f"CUDA {answer['cuda']}" if answer["cuda"] else "CPU"
    names = [f"{device['name']} ({device['memory_bytes'] / 2**30:.0f} GiB)" for device in answer["devices"]]
    seen = ", ".join(names) or ("Apple's GPU, which utterloom does not use" if answer["mps"] else "the CPU alone")
    bf16 = ("bf16 on it" if answer["bf16"] else "no bf16 on it: fp16 is taken") if names else \
        f"the CPU has {'' if _cpu_knows_bf16() else 'no '}bf16, training on it is in fp32"
    problems = graphics_problems(graphics, answer, os.environ)
    said = f"{answer['version']}, built for {build}; it sees {seen}; {bf16}"
    return {**value, **answer, "build": build}, [("torch", said)], problems


def _answer(process: subprocess.Popen[str]) -> tuple[dict[str, Any] | None, str]:
    try:
        said, complaint = process.communicate(timeout=TORCH_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, f"it did not answer within {TORCH_LIMIT_S:.0f} s"
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if process.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer, ""
    ended = f"it ended with signal {-process.returncode}" if process.returncode < 0 else "it ended without a word"
    return None, (complaint.strip().splitlines() or [ended])[-1]


def graphics_here(proc: Path = Path("/proc"), dev: Path = Path("/dev")) -> Graphics:
    """Drivers that are loaded. `nvidia-smi` alone is not believed before it lists a device: images carry it around."""
    nvidia = amd = None
    version = proc / "driver/nvidia/version"
    if version.is_file():
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version.read_text(errors="replace"))
        nvidia = f"NVIDIA driver {found[1]}" if found else "an NVIDIA driver"
    elif (dev / "nvidia0").exists():
        nvidia = "an NVIDIA device"
    elif program := shutil.which("nvidia-smi") or shutil.which("/usr/lib/wsl/lib/nvidia-smi"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=5, check=False)
            nvidia = listed.stdout.strip().splitlines()[0] if listed.returncode == 0 and "GPU" in listed.stdout else None
    if (dev / "kfd").exists():
        amd = "an AMD device"
    return Graphics(nvidia, amd)


def graphics_problems(graphics: Graphics, answer: Mapping[str, Any], environment: Mapping[str, str]) -> list[Problem]:
    """A GPU that torch does not see: the wrong build, a variable that hides it, or a driver that does not fit (C-P10)."""
    if answer["devices"] or not (graphics.nvidia or graphics.amd):
        return []
    plain = re.sub(r"\+.*", "", str(answer["version"]))
    install = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall torch=={plain} --index-url"
    for_nvidia = f"{install} https://pypi.org/simple"
    for_amd = f"{install} https://download.pytorch.org/whl/rocmX.Y (X.Y: the ROCm that is installed)"
    has = graphics.nvidia or graphics.amd or ""
    what = "training on the GPU"
    if graphics.nvidia and not answer["cuda"]:
        return [Problem(what, f"this machine has {has}, and torch {answer['version']} is built for "
                              f"{'AMD GPUs (ROCm)' if answer['hip'] else 'the CPU alone'}", for_nvidia)]
    if graphics.amd and not graphics.nvidia and not answer["hip"]:
        return [Problem(what, f"this machine has {has}, and torch {answer['version']} is built for "
                              f"{'NVIDIA GPUs (CUDA)' if answer['cuda'] else 'the CPU alone'}", for_amd)]
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        if environment.get(name) in ("", "-1", "none", "void", "NoDevFiles"):
            return [Problem(what, f"{name}={environment[name]!r} hides {has}; a Ray task that asks for no GPU gets this, too",
                            f"unset {name}, or ask for a GPU")]
    said = next((warning for warning in answer["warnings"] if "CUDA" in warning or "HIP" in warning), None)
    return [Problem(what, f"this machine has {has}, and torch {answer['version']} sees no device"
                          + (f": {said.splitlines()[0][:200]}" if said else ""),
                    "a driver older than the build, or no permission for /dev/nvidia* or /dev/kfd: see nvidia-smi or rocminfo")]


def _cpu_knows_bf16() -> bool:
    try:
        return "_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
