"""Finding the recordings that a source names: as they are called, else by the same name in another spelling (E-P1).

Names go through other systems on their way: one composes `ờ` of one character and another of three, spaces double,
capitals and backslashes come and go. Where exactly one file looks the same, it is meant; a missing file is never skipped
in silence.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from utterloom.core.errors import nearest
from utterloom.store.members import is_there

MOST_COMPARED = 50_000_000  # names, in all hints together: ten seconds
ALIKE = 0.6


def plain(name: str) -> str:
    """One spelling for all that looks the same."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def by_plain_name(names: Iterable[str]) -> dict[str, str]:
    """Plain name → the one name that looks so; names that look like others are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[plain(name)].append(name)
    return {key: same[0] for key, same in found.items() if len(same) == 1}


class Finder:
    """Looks for missing files; remembers the folders that it looked into."""

    def __init__(self) -> None:
        self._listings: dict[Path, Mapping[str, str]] = {}
        self._num_compared = 0

    def find(self, wanted: str) -> str | None:
        """The path of the file itself, or of the one that looks the same; None when there is none, or several."""
        if is_there(wanted):
            return wanted
        found, rest = self._walk(wanted)
        return str(found) if not rest and _is_file(found) else None

    def complaint(self, wanted: str) -> str:
        """That it is not there, and what is there of nearly that name."""
        message = f"there is no file {wanted}"
        folder, rest = self._walk(wanted)
        if rest and self._num_compared < MOST_COMPARED and folder.is_dir():
            names = self._listing(folder)
            self._num_compared += len(names)
            near = nearest(rest[0], names.values(), alike=ALIKE)
            message += f"; {folder} has {', '.join(map(repr, near))}" if near else ""
        return message

    def _walk(self, wanted: str) -> tuple[Path, list[str]]:
        """As far as the path exists, and the parts that are left."""
        parts = list(Path(wanted.replace("\\", "/")).parts)
        found = Path(parts.pop(0)) if wanted.startswith("/") else Path()
        while parts:
            step = found / parts[0]
            if not os.path.lexists(step):
                same = self._listing(found).get(plain(parts[0]))
                if same is None:
                    break
                step = found / same
            found, parts = step, parts[1:]
        return found, parts

    def _listing(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._listings:
            try:
                self._listings[folder] = by_plain_name(path.name for path in folder.iterdir())
            except OSError:
                self._listings[folder] = {}
        return self._listings[folder]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False
