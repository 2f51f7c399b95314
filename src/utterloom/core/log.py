"""One way to speak: people read stderr, machines read one JSON object on stdout."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

log = logging.getLogger("utterloom")


def console() -> Console:
    """stderr, plain when it is not a terminal."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def set_up(verbose: bool = False) -> None:
    """Messages go to stderr as they are; nothing reaches other loggers."""
    # A terminal of another encoding, or a file name that is not UTF-8, must not end in a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False


def emit_json(value: dict[str, Any]) -> None:
    """The one JSON object of a command's `--json`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """C libraries (an mp3 decoder that warns of every odd frame) write to file descriptor 2; what matters comes as an error."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
