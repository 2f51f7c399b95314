"""Single objects by URL (s3://, gs:// and what else fsspec opens): which of many are there, and copies of them on this machine.

Whether objects are there is asked of whole prefixes, a thousand names a request, and not of each. Keys and endpoints are those of
the environment or of the usual files (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `~/.aws`); no message repeats them.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from utterloom.core.artifact import TEMPORARY, output_errors
from utterloom.core.errors import MissingPackageError, SourceError, nearest
from utterloom.core.forecast import check_room
from utterloom.core.progress import progress

FETCHED_AT_ONCE = 16
MOST_FOLDERS_LISTED = 64  # one by one; of more, all that is below the folder that they lie in
CHANGED = ("LastModified", "updated", "last_modified", "created", "mtime")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)


class ObjectInfo(NamedTuple):
    """Size, and when it was last written, in whole seconds since 1970 (0 where the store does not say)."""

    num_bytes: int
    changed_s: int


def as_url(text: str) -> str | None:
    """`s3://bucket/key` of that or of what a Path makes of it (`s3:/bucket/key`); None for a path of this machine."""
    match = _URL.fullmatch(text)
    return None if match is None else f"{match['scheme']}://{match['rest']}"


def read_object(url: str) -> bytes:
    """Its content. Raises SourceError where it is not there or may not be read, MissingPackageError for a scheme that needs one."""
    with _told(url):
        system, path = _opened(url)
        content: bytes = system.cat_file(path)
        return content


class Objects:
    """Those of many URLs that are there. Raises SourceError for a store that cannot be reached, MissingPackageError."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.found: dict[str, ObjectInfo] = {}
        self._beside: dict[str, list[str]] = {}
        by_store: dict[str, dict[str, str]] = defaultdict(dict)
        for url in urls:
            scheme, _, rest = url.partition("://")
            by_store[f"{scheme}://{rest.partition('/')[0]}"][url] = url.rpartition("/")[0]
        for store, folder_of in by_store.items():
            infos = _listed(store, sorted(set(folder_of.values())))
            for url, folder in folder_of.items():
                _, path = _opened(url)
                if path in infos:
                    self.found[url] = infos[path]
                else:
                    _, inside = _opened(folder)
                    self._beside[url] = [name.rpartition("/")[2] for name in infos if name.rpartition("/")[0] == inside]

    def near(self, url: str) -> list[str]:
        """The names in the folder of a missing one that look like it."""
        return nearest(url.rpartition("/")[2], self._beside.get(url, []))


def fetch(objects: Mapping[str, ObjectInfo], folder: Path) -> dict[str, Path | str]:
    """Copies below `folder`, by URL: the file, or why there is none. What is there with the size and time of the object is kept.

    A copy is renamed into place when it is whole. Raises OutputError where `folder` cannot be written or has no room.
    """
    places = {url: folder / url.replace("://", "/", 1) for url in objects}
    missing = {url: info for url, info in objects.items() if not _is_copy(places[url], info)}
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, sum(info.num_bytes for info in missing.values()), "name a folder on a larger one")
    results: dict[str, Path | str] = {**places}
    done = 0
    pool = ThreadPoolExecutor(FETCHED_AT_ONCE)
    try:
        with progress("fetching", sum(info.num_bytes for info in missing.values()), "bytes") as report:
            for url, complaint in pool.map(lambda url: (url, _copied(url, objects[url], places[url])), missing):
                done += objects[url].num_bytes
                report(done)
                if complaint is not None:
                    results[url] = complaint
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _is_copy(path: Path, info: ObjectInfo) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == info.num_bytes and int(status.st_mtime) == info.changed_s


def _copied(url: str, info: ObjectInfo, place: Path) -> str | None:
    """Why it could not be copied; None where it was."""
    temporary = place.with_name(f"{TEMPORARY}{place.name}.{os.getpid()}")
    with output_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _told(url):
            system, path = _opened(url)
            system.get_file(path, str(temporary))
        if (got := temporary.stat().st_size) != info.num_bytes:
            return f"{got} of its {info.num_bytes} bytes came"
        os.utime(temporary, (info.changed_s, info.changed_s))
        temporary.replace(place)
    except SourceError as error:
        return error.message
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _listed(store: str, folders: list[str]) -> dict[str, ObjectInfo]:
    """What is in some folders of a store, by path without scheme."""
    entries: list[dict[str, Any]] = []
    with _told(store):
        if len(folders) > MOST_FOLDERS_LISTED:
            system, path = _opened(os.path.commonpath([folder.partition("://")[2] for folder in folders]), store)
            entries = list(system.find(path, detail=True).values())
        else:
            for folder in folders:
                system, path = _opened(folder)
                try:
                    entries += system.ls(path, detail=True)
                except FileNotFoundError:
                    continue  # each of its objects is missing, and it is said of each
    return {entry["name"].strip("/"): ObjectInfo(int(entry["size"]), _changed_s(entry))
            for entry in entries if entry["type"] == "file"}


def _changed_s(entry: Mapping[str, Any]) -> int:
    value = next((entry[key] for key in CHANGED if entry.get(key)), 0)
    return int(value.timestamp() if hasattr(value, "timestamp") else value if isinstance(value, int | float) else 0)


def _opened(url: str, store: str | None = None) -> tuple[Any, str]:
    """The file system of a URL, and the path in it without slashes at its ends. `store` has the scheme where `url` has none."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    system, path = url_to_fs(f"{store.partition('://')[0]}://{url}" if store else url)
    return system, path.strip("/")


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What stores raise, as errors for people. Nothing of a request is repeated: it may hold keys."""
    scheme = url.partition("://")[0]
    try:
        yield
    except ImportError as error:
        package, extra = error.name or f"fsspec for {scheme}", "s3" if scheme == "s3" else "hub"
        raise MissingPackageError(package, extra, f"reading {scheme}://") from None
    except FileNotFoundError:
        raise SourceError(f"there is no {url}") from None
    except PermissionError:
        raise SourceError(f"{url} may not be read",
                          "are the keys set, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY?") from None
    except ValueError as error:
        if "rotocol" in str(error):
            raise SourceError(f"{url}: nothing here reads {scheme}://", "copy it to a local folder first") from None
        raise
    except Exception as error:  # of a client: no keys, no connection, no such endpoint
        raise SourceError(f"{url} cannot be read: {type(error).__name__}",
                          "is the endpoint right (AWS_ENDPOINT_URL), are the keys set, is there a network?") from None
