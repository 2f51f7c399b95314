"""A folder on this machine."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from utterloom.core.artifact import TEMPORARY, atomic_write, output_errors
from utterloom.core.errors import DamagedError, SourceError

MAX_OPEN_FILES = 64


class LocalStore:
    """Files under `root`. Ranges are read with pread on a few kept descriptors; safe across threads, not to be forked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[str]:
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and name.startswith(prefix) and not path.name.startswith((TEMPORARY, ".")):
                yield name

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def size_bytes(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            raise SourceError(f"{self.root / name} does not exist") from None

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise SourceError(f"{self.root / name} does not exist") from None

    def read_range(self, name: str, offset: int, num_bytes: int) -> bytes:
        content = os.pread(self._descriptor(name), num_bytes, offset)
        if len(content) != num_bytes:
            raise DamagedError(f"{self.root / name} ends before byte {offset + num_bytes}: it was cut short")
        return content

    def put(self, name: str, content: bytes) -> None:
        path = self.root / name
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        path = self.root / name
        temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}.{threading.get_ident()}")
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content)
                os.link(temporary, path)  # fails when the name is taken, atomically
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def local_path(self, name: str) -> Path:
        return self.root / name

    def close(self) -> None:
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def _descriptor(self, name: str) -> int:
        with self._lock:
            descriptor = self._descriptors.get(name)
            if descriptor is None:
                try:
                    descriptor = os.open(self.root / name, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    raise DamagedError(f"{self.root / name} is missing") from None
                self._descriptors[name] = descriptor
                if len(self._descriptors) > MAX_OPEN_FILES:
                    os.close(self._descriptors.popitem(last=False)[1])
            else:
                self._descriptors.move_to_end(name)
            return descriptor
