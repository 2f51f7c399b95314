"""What is made of a manifest besides a corpus: a sample that people judge, cut recordings for other toolkits.

A new one is one module here, one line in EXPORTS, one test. Each has
    SCHEMA                           its settings, a Config
    export(manifest, out, config)    writes the folder `out`, or goes on where it stopped; returns its card
    explain(card)                    lines for people
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from utterloom.core.config import Config

EXPORTS: dict[str, str] = {
    "sample": "utterloom.prepare.exports.sample",
    "segment": "utterloom.prepare.exports.segment",
}


class Export(Protocol):
    """What a module in EXPORTS has."""

    SCHEMA: type[Config]

    def export(self, manifest: Path, out: Path, config: Any) -> dict[str, Any]:
        """Raises SourceError for what is no manifest, OutputError for an output that cannot be."""
        ...

    def explain(self, card: dict[str, Any]) -> list[str]: ...


def export(name: str) -> Export:
    """The module of that name in EXPORTS."""
    module: Any = import_module(EXPORTS[name])
    return module  # type: ignore[no-any-return]
