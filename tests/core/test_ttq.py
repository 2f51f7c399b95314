"""The ledger's file: read while it is written, mended where a kill cut it, refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from utterloom.core.errors import DamagedError
from utterloom.core.ttq import TTQLedger, read_events


def test_reading_changes_nothing_even_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ttq.jsonl"
    content = b'{"event": "start"}\n{"event": "val'
    path.write_bytes(content)
    assert read_events(path) == TTQLedger(path).events == [{"event": "start"}]
    assert path.read_bytes() == content


def test_the_next_event_takes_the_place_of_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "ttq.jsonl"
    path.write_bytes(b'{"event": "start"}\n{"event": "val')
    TTQLedger(path).append("resume")
    assert path.read_bytes() == b'{"event": "start"}\n{"event": "resume"}\n'


@pytest.mark.parametrize("line", [b"\0" * 40, b"[1]", b"{}", b"\xff"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ttq.jsonl"
    path.write_bytes(b'{"event": "start"}\n' + line + b"\n")
    with pytest.raises(DamagedError, match="line 2"):
        read_events(path)
