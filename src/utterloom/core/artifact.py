"""What a stage leaves behind: a folder at exactly the name given, written atomically, that says how it was made.

A folder under construction holds `.building.json` (its fingerprint) and is locked by the process that builds it; its
card, `<kind>.json`, is written last and is the commit mark. Running again resumes; with another config it is refused.
Nothing in an artifact carries a clock time, so that building twice gives the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from utterloom import __version__
from utterloom.core.errors import DamagedError, OutputError, SourceError, did_you_mean

FORMAT = 1
TEMPORARY = ".tmp-"
BUILDING = ".building.json"
LOCK = ".lock"
KINDS = ("manifest", "corpus", "layer", "codebook", "run", "report", "sample", "segments")
LONGEST_SHOWN = 100


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces to spare, real characters."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def fingerprint(value: Any) -> str:
    """16 hex digits that name a JSON value."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what an operating system says of a place that cannot be written into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutputError(f"the disk is full: {path} could not be written",
                              "free some space and run the same command again; it goes on where it stopped") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"no permission to write {path}", "choose another output or change its permissions") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
            raise OutputError(f"{path} cannot be made: a part of that path is not what it should be ({error.strerror})",
                              "choose another output name") from error
        if error.errno in (errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"a quota or size limit stops {path} from being written ({error.strerror})") from error
        if error.errno in (None, errno.EPIPE, errno.EINTR):  # not of a disk
            raise
        raise OutputError(f"{path} could not be written: {error}") from error


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write beside `path`, flush to the disk, then rename: the file is there whole or not at all."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}")
    # JSON knows half a character (a lone surrogate, from a file name that is not UTF-8) by its escape.
    encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
    with output_errors(path):
        try:
            with temporary.open(mode, encoding=encoding, errors=errors) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Indented, real characters, atomic."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SourceError(f"{path} holds {type(value).__name__}, not an object")
    return value


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """`key: old → new` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in sorted(old.keys() | new.keys())
                for line in differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)]
    return [] if old == new else [f"{prefix}: {_shortened(old)} → {_shortened(new)}"]


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def remove_temporaries(folder: Path) -> None:
    """What a killed writer left half-written."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@dataclass
class Artifact:
    """An output folder that this process holds the lock of. `identity` is what its bytes depend on."""

    folder: Path
    kind: str
    identity: dict[str, Any]
    finished: bool

    @property
    def card_path(self) -> Path:
        return self.folder / f"{self.kind}.json"

    def commit(self, card: dict[str, Any]) -> None:
        """Write the card, the mark that the artifact is whole."""
        whole = {"utterloom": {"kind": self.kind, "format": FORMAT, "version": __version__},
                 "fingerprint": fingerprint(self.identity), **self.identity, **card}
        write_json(self.card_path, {**whole, "checksum": _checksum(whole)})
        (self.folder / BUILDING).unlink(missing_ok=True)
        self.finished = True


def _checksum(card: dict[str, Any]) -> str:
    """Of what a card says once it has been through JSON, itself left out."""
    said: dict[str, Any] = json.loads(json.dumps(card))
    said.pop("checksum", None)
    return fingerprint(said)


@contextlib.contextmanager
def building(folder: Path, kind: str, identity: dict[str, Any]) -> Iterator[Artifact]:
    """Claim `folder` for one artifact. `finished` is true when the very same thing is already there.

    Where the work fails before anything is built, nothing is left behind, so that it can be tried again with another
    configuration. Raises OutputError when the folder holds something else, the same kind of another identity (naming what
    differs), or is being written by another process.
    """
    card, marker = folder / f"{kind}.json", folder / BUILDING
    with output_errors(folder):
        if folder.is_file():
            raise OutputError(f"{folder} is a file; this command makes a folder", "choose another output name")
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if not card.exists() and not marker.exists() and not _is_bare(folder):
            raise OutputError(f"{folder} already holds something that is not a {kind}",
                              "choose another output name or an empty folder")
        is_settled = card.exists() and not marker.exists() and not (folder / LOCK).exists()
    if is_settled:  # nothing will be written: no lock, so that a finished artifact may lie on a disk that is read-only
        _check_identity(folder, read_json(card), identity)
        yield Artifact(folder, kind, identity, finished=True)
        return
    with _lock(folder):
        if card.exists():
            _check_identity(folder, read_json(card), identity)
        elif marker.exists() and not _is_bare(folder):
            _check_identity(folder, {"kind": kind, **read_json(marker)}, {**identity, "kind": kind})
        artifact = Artifact(folder, kind, identity, finished=card.exists())
        if artifact.finished:
            marker.unlink(missing_ok=True)  # of a process that was killed between card and marker
        else:
            remove_temporaries(folder)
            write_json(marker, {**identity, "kind": kind})
        try:
            yield artifact
        except BaseException:
            if not artifact.finished and _is_bare(folder):
                _remove_bare(folder, is_new)
            raise


@contextlib.contextmanager
def amending(folder: Path) -> Iterator[None]:
    """Lock a finished artifact that something is added to; what a killed writer left half-written is removed.

    Its card stays valid until it is replaced. Raises OutputError when another process writes there.
    """
    with _lock(folder):
        remove_temporaries(folder)
        yield


def amend(folder: Path, kind: str, changes: dict[str, Any]) -> None:
    """Replace parts of a finished artifact's card, all at once."""
    card = {key: value for key, value in load_card(folder, kind).items() if key != "checksum"} | changes
    write_json(folder / f"{kind}.json", {**card, "checksum": _checksum(card)})


def _check_identity(folder: Path, before: dict[str, Any], identity: dict[str, Any]) -> None:
    changed = differences({key: before.get(key) for key in identity}, identity)
    if changed:
        listed = "\n    ".join(changed[:12])
        raise OutputError(f"{folder} was made with another configuration:\n    {listed}",
                          "choose another output name, or remove that folder first")


def _is_bare(folder: Path) -> bool:
    """Nothing is built in it yet: no file but the lock, the marker and what a killed writer left half-written."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        is_temporary = any(part.startswith(TEMPORARY) for part in inside.parts)
        if not path.is_dir() and not is_temporary and str(inside) not in (LOCK, BUILDING):
            return False
    return True


def _remove_bare(folder: Path, with_itself: bool) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if with_itself:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    path = folder / LOCK
    while True:
        with output_errors(folder):
            handle = path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with handle:
                handle.seek(0)
                raise OutputError(f"another process ({handle.read().strip() or 'unknown'}) is writing {folder}",
                                  "wait for it to end, or choose another output name") from None
        if path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            break
        handle.close()  # its last owner took it away between our two steps
    with handle:
        try:
            with output_errors(folder):
                handle.truncate(0)
                handle.write(f"pid {os.getpid()}")
                handle.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


def kind_of(path: Path) -> str | None:
    """Which artifact a folder is, by its card; None when it is none that utterloom wrote."""
    for kind in KINDS:
        card = path / f"{kind}.json"
        if card.is_file():
            return kind
    return None


def load_card(folder: Path, kind: str) -> dict[str, Any]:
    """The card of a finished artifact. Raises SourceError that says what the folder is instead."""
    card = folder / f"{kind}.json"
    try:
        if not card.is_file():
            raise _what_it_is_instead(folder, kind)
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from None
    value = read_json(card)
    found = value.get("utterloom")
    if not isinstance(found, dict):
        raise SourceError(f"{card} was not written by utterloom, or is damaged: it does not say its format", "make it again")
    if found.get("format") != FORMAT:
        raise SourceError(f"{card} has format {found.get('format')!r}; this utterloom reads {FORMAT}",
                          "use the version of utterloom that wrote it, or make it again")
    if "checksum" in value and value["checksum"] != _checksum(value):
        raise DamagedError(f"{card} does not match its own checksum: it has been changed since it was written", "make it again")
    return value


def _what_it_is_instead(folder: Path, kind: str) -> SourceError:
    if not folder.exists():
        if not folder.parent.is_dir():
            return SourceError(f"there is no {kind} at {folder}", f"{folder.parent} does not exist either")
        beside = [entry.name for entry in folder.parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return SourceError(f"there is no {kind} at {folder}", did_you_mean(folder.name, beside) if beside else None)
    other = kind_of(folder)
    if other:
        what = f"holds {other}" if other == "segments" else f"is a {other}"
        return SourceError(f"{folder} {what}, not a {kind}", _next_step(other, kind))
    if (folder / BUILDING).is_file():
        return SourceError(f"the {kind} at {folder} is not finished", "run the command that makes it again; it resumes")
    return SourceError(f"{folder} is not a {kind}: it has no {kind}.json", _next_step("folder", kind))


def _next_step(found: str, wanted: str) -> str | None:
    return {
        ("manifest", "corpus"): "pack it first: utterloom pack MANIFEST CORPUS",
        ("segments", "manifest"): "read it: utterloom prepare table FOLDER/transcripts.tsv MANIFEST",
        ("segments", "corpus"): "read it first: utterloom prepare table FOLDER/transcripts.tsv MANIFEST",
        ("sample", "manifest"): "it was made of one: utterloom show FOLDER says of which",
        ("folder", "manifest"): "prepare it first: utterloom prepare READER SOURCE MANIFEST",
        ("folder", "corpus"): "a corpus is made by: utterloom prepare READER SOURCE MANIFEST, then utterloom pack MANIFEST CORPUS",
        ("layer", "corpus"): "name the corpus that it lies in",
        ("corpus", "layer"): "name one of its layers: CORPUS/LAYER",
        ("folder", "codebook"): "a codebook is made by: utterloom units fit CORPUS/LAYER CODEBOOK",
        ("folder", "run"): "a run is made by: utterloom train RECIPE corpus=… out=…",
    }.get((found, wanted))
