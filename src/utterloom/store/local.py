"""A folder on this machine."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from utterloom.core.artifact import TEMPORARY, atomic_write, output_errors
from utterloom.core.errors import DamagedError, SourceError

MAX_OPEN_FILES = 64


class LocalStore:
    """Files under `root`. Ranges are read with pread on a few kept descriptors, the oldest closed first; safe across threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def list(self, prefix: str = "") -> Iterator[str]:
        for path in sorted(self.root.rglob("*")):
            inside = path.relative_to(self.root)
            is_hidden = any(part.startswith(".") for part in inside.parts)  # temporaries too
            if not is_hidden and path.is_file() and inside.as_posix().startswith(prefix):
                yield inside.as_posix()

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def size_bytes(self, name: str) -> int:
        with _input_errors(self.root / name):
            return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        with _input_errors(self.root / name):
            return (self.root / name).read_bytes()

    def read_range(self, name: str, offset: int, num_bytes: int) -> bytes:
        file = self._files.get(name) or self._open(name)
        try:
            content = os.pread(file.descriptor, num_bytes, offset)
        except (OSError, ValueError, OverflowError) as error:
            raise DamagedError(f"{self.root / name} cannot be read at byte {offset}: {error}") from None
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
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
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
            self._files.clear()

    def _open(self, name: str) -> _OpenFile:
        with self._lock:
            file = self._files.get(name)
            if file is None:
                try:
                    file = self._files[name] = _OpenFile(os.open(self.root / name, os.O_RDONLY | os.O_CLOEXEC))
                except (FileNotFoundError, NotADirectoryError):
                    raise DamagedError(f"{self.root / name} is missing") from None
                except OSError as error:
                    raise DamagedError(f"{self.root / name} cannot be opened: {error.strerror}") from None
                if len(self._files) > MAX_OPEN_FILES:
                    self._files.popitem(last=False)
            return file


class _OpenFile:
    """A descriptor that closes when the last one who reads from it lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone when the interpreter ends
        close(self.descriptor)


@contextlib.contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path} does not exist") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
