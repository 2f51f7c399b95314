"""`doctor`: what this machine has, and what will not work on it, why, and what to do about it.

Every check answers with facts and problems and none may fail: a broken installation is what doctor is for. Torch is
asked in a process of its own, while the rest is looked at, so that a build that crashes is a finding and not the end.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from typing import Any

from utterloom import __version__
from utterloom.doctor import graphics, machine, packages, sound
from utterloom.doctor.findings import Problem
from utterloom.show.lines import Rows, labelled

__all__ = ["doctor"]


def doctor() -> tuple[dict[str, Any], list[str]]:
    """A JSON object with facts and `problems`, and lines for people."""
    torch_process = graphics.ask_torch()
    value: dict[str, Any] = {"utterloom": __version__, "python": platform.python_version(), "executable": sys.executable,
                             "platform": platform.platform()}
    rows: Rows = [("utterloom", f"{__version__}, Python {value['python']} at {sys.executable}"), ("system", value["platform"])]
    problems: list[Problem] = []
    sections = {"machine": machine.resources, "storage": machine.storage, "packages": packages.versions, "sound": sound.formats,
                "text": machine.text}
    for name, examine in sections.items():
        value[name], more, found = examine()
        rows, problems = rows + more, problems + found
    value["torch"], more, found = graphics.torch_build(torch_process)
    rows, problems = rows + more + [("completion", packages.completion())], problems + found
    value["problems"] = [asdict(problem) for problem in problems]
    stops = sorted(problems, key=lambda problem: problem.severity == "careful")
    listed = [line for problem in stops for line in ("", *problem.lines())] or ["", "nothing is in the way"]
    return value, [*labelled(rows), *listed]
