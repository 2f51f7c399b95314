"""Do something right after another package is imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _Finder(MetaPathFinder):
    """Finds the one package as usual, and lets its loader call back when it is done. Steps aside after that."""

    def __init__(self, package: str, then: Callable[[], object]) -> None:
        self._package, self._then = package, then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._package:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, self._done)
        return spec


    def _done(self) -> None:
        if self in sys.meta_path:  # asking for a spec is no import: only the import itself is the end
            sys.meta_path.remove(self)
            self._then()


class _Loader(Loader):
    def __init__(self, inner: Loader, then: Callable[[], object]) -> None:
        self._inner, self._then = inner, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        self._inner.exec_module(module)
        self._then()


def when_imported(package: str, then: Callable[[], object]) -> None:
    """Call `then` once, now if the package is imported already, else right after its first import."""
    if package in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Finder(package, then))
