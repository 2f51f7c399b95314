"""Packages: their versions, what does not work without them, and the command that installs them."""

from __future__ import annotations

import contextlib
import importlib.metadata as metadata
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utterloom.doctor.findings import Examined, Problem
from utterloom.show.lines import Rows

DISTRIBUTION = "utterloom"


@dataclass(frozen=True)
class Extra:
    """An optional part: what it is for, the packages without which that fails, and the module that uses it, if it is there yet."""

    purpose: str
    packages: tuple[str, ...]
    module: str = "utterloom"


EXTRAS = {
    "train": Extra("train, evaluate, transcribe and demo", ("torch", "transformers", "safetensors")),
    "media": Extra("recordings as m4a, aac, webm and what else libsndfile does not read", ("av",)),
    "draw": Extra("pictures of utterances with their layers (show --draw)", ("matplotlib",), "utterloom.show.drawing"),
    "tts": Extra("demo, which speaks its own corpus", ("espeakng-loader",)),
    "s3": Extra("artifacts at s3://", ("s3fs",), "utterloom.store.s3"),
    "hub": Extra("artifacts at hf://", ("huggingface_hub", "datasets"), "utterloom.store.hf"),
    "review": Extra("samples that people judge in a spreadsheet", ("xlsxwriter", "openpyxl"), "utterloom.prepare.review"),
    "kaldi": Extra("Kaldi and Lhotse corpora", ("lhotse",), "utterloom.prepare.readers.kaldi"),
    "ray": Extra("extraction on a Ray cluster", ("ray",), "utterloom.runners.ray"),
    "slurm": Extra("extraction on Slurm", ("submitit",), "utterloom.runners.slurm"),
    "export": Extra("export", ("onnx", "onnxscript", "onnxruntime"), "utterloom.export"),
    "serve": Extra("serve", ("fastapi", "uvicorn"), "utterloom.serve"),
    "dvc": Extra("projects that DVC reproduces", ("dvc",), "utterloom.init"),
}


def versions() -> Examined:
    """Versions of what utterloom itself needs and of each extra that this version makes use of."""
    wanted = _requirements()
    core = {name: version_of(name) for name in wanted.get("", {})}
    rows: Rows = [("packages", ", ".join(f"{name} {version}" for name, version in core.items() if version) or "not known")]
    problems = [Problem("most of utterloom", f"its package {name} is not installed", pip_line())
                for name, version in core.items() if version is None]
    if not wanted:
        problems.append(Problem("checking versions", "utterloom is run from a folder and not installed",
                                "pip install -e . in its folder", "careful"))
    value: dict[str, Any] = {"core": core, "extras": {}}
    unused = []
    for name, extra in EXTRAS.items():
        if not is_there(extra.module):
            unused.append(name)
            continue
        names = dict.fromkeys([*extra.packages, *wanted.get(name, {})])
        known = value["extras"][name] = {package: version_of(package) for package in names}
        there = [f"{package} {version}" for package, version in known.items() if version]
        absent = [package for package in extra.packages if not known[package]]
        rows.append((f"[{name}]", f"{', '.join(there) or 'not installed'}, for {extra.purpose}"))
        if absent:
            verb = "is" if len(absent) == 1 else "are"
            problems.append(Problem(extra.purpose, f"{' and '.join(absent)} {verb} not installed", pip_line(name)))
    problems += list(_out_of_range(wanted))
    if unused:
        rows.append(("later", f"the extras {', '.join(unused)} are not made use of by this version"))
    return value, rows, problems


def _requirements() -> dict[str, dict[str, str]]:
    """Extra ("" for the core) → package → the versions that are good, from the installed metadata."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    wanted: dict[str, dict[str, str]] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        named = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", marker)
        if named:
            versions = re.sub(r"^\[.*?\]", "", requirement[named.end():].strip()).strip()
            wanted.setdefault(extra[1] if extra else "", {})[named[0]] = versions
    return wanted


def _out_of_range(wanted: dict[str, dict[str, str]]) -> Iterator[Problem]:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return
    for extra, requirements in wanted.items():
        for name, versions in requirements.items() if extra in ("", *EXTRAS) else ():
            found = version_of(name)
            if found and versions and not SpecifierSet(versions).contains(found, prereleases=True):
                yield Problem(f"what uses {name} may not work", f"version {found} is installed, and {versions} is what was tried",
                              pip_line(extra), "careful")


def pip_line(extra: str = "") -> str:
    """The exact command that installs utterloom with an extra the way it is installed now: from a checkout, or from an index."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    named = f"[{extra}]" if extra else ""
    with contextlib.suppress(metadata.PackageNotFoundError, json.JSONDecodeError, KeyError):
        origin = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
        folder = Path(origin["url"].removeprefix("file://"))
        if origin.get("dir_info", {}).get("editable") and folder.is_dir():
            constraints = folder / "constraints.txt"
            pinned = f" -c {shlex.quote(str(constraints))}" if constraints.is_file() else ""
            return f'{pip}{pinned} -e "{folder}{named}"'
    return f'{pip} "{DISTRIBUTION}{named}"'


def version_of(package: str) -> str | None:
    """Of an installed package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_there(module: str) -> bool:
    """Whether a module could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def completion() -> str:
    """Whether the shell completes commands, or how to make it."""
    home, name = Path.home(), DISTRIBUTION
    places = (home / ".bash_completions" / f"{name}.sh", home / ".zfunc" / f"_{name}",
              home / ".config/fish/completions" / f"{name}.fish")
    if any(place.is_file() for place in places):
        return "installed: TAB completes commands, readers, recipes and keys"
    return f"{name} --install-completion makes TAB complete commands, readers, recipes and keys"
