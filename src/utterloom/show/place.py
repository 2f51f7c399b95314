"""What a path is: which artifact, finished or not, and who is writing it. Nothing here waits for a lock or writes."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from utterloom.core.artifact import BUILDING, KINDS, LOCK, kind_of, read_json
from utterloom.core.errors import SourceError, did_you_mean, nearest

# The names of `models.contract`, which cannot be imported here: its package brings torch along.
CONTRACT, CHECKPOINTS, POINTERS = "utterloom.json", "checkpoints", "checkpoints.json"
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".mp4", ".aac", ".webm", ".mka", ".aiff", ".aif",
                            ".au", ".caf", ".sph", ".wma", ".amr", ".w64"})
MAX_FOLDERS = 500  # that are looked into for artifacts
State = Literal["finished", "being made", "stopped"]


@dataclass(frozen=True)
class Place:
    """An artifact on disk. `inside` is the file in it that was named instead of it; a shelf is a folder that holds artifacts."""

    path: Path
    kind: str
    state: State | None = None
    writer: str | None = None
    inside: Path | None = None

    def card(self) -> dict[str, Any]:
        """The card of a finished artifact, or what is known of one under construction: what its bytes depend on."""
        for name in (f"{self.kind}.json", BUILDING):
            if (self.path / name).is_file():
                return read_json(self.path / name)
        return {}


def place_of(path: Path) -> Place:
    """Raises SourceError that says what the path is instead of an artifact, and what could be made of it."""
    if not path.exists():
        raise _nothing_there(path)
    found = artifact_at(path)
    if found is not None:
        return found
    if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES:
        return Place(path, "recording")
    for parent in path.absolute().parents:  # a card, a shard, a checkpoint's weights: a part of something
        if (around := artifact_at(parent)) is not None:
            return replace(around, path=_as_written(path, parent), inside=path)
    if path.is_file():
        raise SourceError(f"{path} is a file that utterloom does not know and that lies in no artifact", _use_of_file(path))
    if artifacts_in(path):
        return Place(path, "shelf")
    raise _something_else(path)


def artifacts_in(folder: Path) -> list[Place]:
    """Artifacts in a folder and in the folders right below it; not those inside other artifacts."""
    found: list[Place] = []
    for child in islice(_folders(folder), MAX_FOLDERS):
        place = artifact_at(child)
        if place is not None:
            found.append(place)
        else:
            inner = (artifact_at(grandchild) for grandchild in islice(_folders(child), MAX_FOLDERS))
            found += [place for place in inner if place is not None]
    return found


def _folders(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except PermissionError:
        return


def artifact_at(folder: Path) -> Place | None:
    """The artifact that a folder is, finished or not; None where it is none. Raises SourceError where it does not say which."""
    kind = kind_of(folder)
    if kind is not None:
        return Place(folder, kind, "finished")
    if (folder / BUILDING).is_file():
        kind = read_json(folder / BUILDING).get("kind")
        if kind not in KINDS:
            raise SourceError(f"{folder / BUILDING} does not say what is being made there", "remove that folder and make it again")
    elif (folder / "config.yaml").is_file() and ((folder / "steps.jsonl").is_file() or (folder / CHECKPOINTS).is_dir()):
        kind = "run"
    if kind is not None:
        writer = _writer(folder)
        return Place(folder, kind, "being made" if writer else "stopped", writer)
    if (folder / CONTRACT).is_file() or ((folder / "config.json").is_file() and any(folder.glob("*.safetensors"))):
        return Place(folder, "model", "finished")
    return None


def _writer(folder: Path) -> str | None:
    """Who holds the lock of an artifact under construction, such as `pid 4711`; None when nobody does.

    Asking takes the lock, shared, for some microseconds: it is let go before anything else is done.
    """
    try:
        with (folder / LOCK).open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read().strip() or "another process"
    except OSError:
        return None
    return None


def _as_written(path: Path, parent: Path) -> Path:
    """`parent`, an absolute parent of `path`, relative where `path` was."""
    depth = len(path.absolute().parts) - len(parent.parts)
    return path.parents[depth - 1] if depth <= len(path.parents) and path.parents[depth - 1].parts else parent


def _nothing_there(path: Path) -> SourceError:
    parent = path.parent
    if not parent.is_dir():
        return SourceError(f"there is nothing at {path}", f"{parent} does not exist either")
    names = [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")]
    near = nearest(path.name, names)
    beside = did_you_mean(path.name, names) if near else f"{parent} holds: {', '.join(sorted(names)[:8]) or 'nothing'}"
    return SourceError(f"there is nothing at {path}", beside)


def _use_of_file(path: Path) -> str:
    if path.suffix.lower() in (".tsv", ".csv", ".jsonl"):
        return f"if it lists recordings: utterloom prepare table {path} MANIFEST"
    if path.suffix.lower() in (".yaml", ".yml"):
        return f"if it is a recipe: utterloom train {path} corpus=… out=…"
    return "show explains manifests, corpora, layers, runs, reports, models, and recordings"


def _something_else(folder: Path) -> SourceError:
    """A folder with anything else in it: what there is most of, and which reader may make a manifest of it."""
    names = [entry for entry in islice(folder.rglob("*"), 20_000) if entry.is_file()]
    if not names:
        return SourceError(f"{folder} is an empty folder", "an artifact is made by prepare, pack, train or evaluate")
    suffixes = Counter(entry.suffix.lower() or "without suffix" for entry in names)
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(4))
    tables = sorted((entry for entry in names if entry.suffix.lower() in (".tsv", ".csv", ".jsonl")),
                    key=lambda entry: (len(entry.parts), entry))
    hint = "show explains manifests, corpora, layers, runs, reports, models, and recordings"
    if tables:
        hint = f"if {tables[0].name} lists recordings: utterloom prepare table {tables[0]} MANIFEST"
    elif AUDIO_SUFFIXES & suffixes.keys():
        hint = f"a manifest can be made of its recordings: utterloom prepare folder {folder} MANIFEST"
    return SourceError(f"{folder} is no artifact of utterloom and holds none; it holds {listed}", hint)
