"""Where artifacts live: one small type over a local folder now, and s3:// and hf:// later, by URL.

Names inside a store are relative, with forward slashes. A store never lists what is still being written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from utterloom.core.errors import ConfigError
from utterloom.store.local import LocalStore

__all__ = ["LocalStore", "Store", "open_store"]


class Store(Protocol):
    """Raises SourceError where a name does not exist, OutputError where it cannot be written."""

    url: str

    def list(self, prefix: str = "") -> Iterator[str]: ...

    def exists(self, name: str) -> bool: ...

    def size_bytes(self, name: str) -> int: ...

    def read(self, name: str) -> bytes: ...

    def read_range(self, name: str, offset: int, num_bytes: int) -> bytes:
        """Exactly `num_bytes`, or DamagedError where the file ends before."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Atomic: readers see the old content or the new, whole."""
        ...

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Conditional commit: False, and nothing changed, when another writer was first."""
        ...

    def local_path(self, name: str) -> Path:
        """A file on this machine with that content (a remote store fills its cache first)."""
        ...


def open_store(url: str | Path) -> Store:
    """The store at a path or URL. Raises ConfigError for a scheme that nobody serves."""
    text = str(url)
    scheme = re.match(r"([a-z][a-z0-9+]+):/", text)  # a Path has lost the second slash
    if scheme and scheme[1] != "file":
        raise ConfigError(f"{text!r}: this version reads and writes local folders only, not {scheme[1]}://",
                          "copy it to a local folder first")
    return LocalStore(Path(text.removeprefix("file://").removeprefix("file:")))
