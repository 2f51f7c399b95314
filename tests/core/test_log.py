"""People read stderr, machines one JSON object on stdout, whatever the terminal can show."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from utterloom.core import progress as progress_module
from utterloom.core.log import emit_json, quiet_native_stderr, set_up
from utterloom.core.progress import progress


def test_json_is_one_line_of_real_characters(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"text": "việt\n", "odd": object})
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "việt" in out and json.loads(out)["text"] == "việt\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_it_is_no_traceback(encoding: str) -> None:
    script = r"from utterloom.core.log import *; set_up(); emit_json({'a': 'việt \udcff'}); print('→'); log.info('→ \udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=True)
    assert b"vi" in said.stdout and b"\\udcff" in said.stdout + said.stderr


def test_what_c_libraries_say_is_silenced_and_python_is_heard_again(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_native_stderr():
        os.write(2, b"warning: odd frame")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_progress_in_a_log_file_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress_module, "LOG_EVERY_S", 0.0)
    set_up()
    with progress("packing", 200, "s of speech") as report:
        report(0)
        report(50, "train-00000")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("packing:  25 % 50 of 200 s of speech, about ") and line.endswith(" left, train-00000")
    with progress("nothing", 0) as report:
        report(0)
    assert capsys.readouterr().err == ""
