"""Files inside of uncompressed tar files, addressed by their bytes: `shard.tar#OFFSET+BYTES/NAME`.

Such an address is a path that says where a member's content lies, so that reading one out of a million searches for nothing and
unpacks nothing. The name, percent-encoded, comes last: an address ends in the member's own suffix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from utterloom.core.errors import DamagedError

_ADDRESS = re.compile(r"(?P<archive>.+\.tar)#(?P<offset>\d+)\+(?P<num_bytes>\d+)/(?P<name>[^/]+)", re.DOTALL | re.ASCII)


class Member(NamedTuple):
    """Where a file inside of a tar file lies."""

    archive: str
    offset: int
    num_bytes: int
    name: str


def member_path(archive: Path, offset: int, num_bytes: int, name: str) -> str:
    """The address of a member's content."""
    return f"{archive}#{offset}+{num_bytes}/{quote(name, safe='')}"


def parse_member_path(path: str) -> Member | None:
    """What such an address says; None for any other path."""
    match = _ADDRESS.fullmatch(path)
    if match is None:
        return None
    return Member(match["archive"], int(match["offset"]), int(match["num_bytes"]), unquote(match["name"]))


def is_there(path: str) -> bool:
    """Whether a file, or the tar file of a member, is there and long enough. False also for names that no file can have."""
    try:
        member = parse_member_path(path)
        return Path(path).is_file() if member is None else Path(member.archive).stat().st_size >= member.offset + member.num_bytes
    except (OSError, ValueError):
        return False


def read_member(member: Member) -> bytes:
    """Raises OSError, and DamagedError where the tar file ends before the member does."""
    with Path(member.archive).open("rb") as file:
        file.seek(member.offset)
        content = file.read(member.num_bytes)
    if len(content) < member.num_bytes:
        raise DamagedError(f"{member.archive} ends before {member.name} does: it was cut short")
    return content
