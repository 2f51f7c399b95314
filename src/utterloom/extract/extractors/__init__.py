"""What can be extracted. An extractor is one file here, one line in EXTRACTORS and its settings in `extract/config.py`.

Other packages add theirs as entry points of the group `utterloom.extractors`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from utterloom.core.config import Config
from utterloom.core.errors import ConfigError, did_you_mean
from utterloom.extract.config import FeaturesConfig, StatesConfig, UnitsConfig, WordsConfig

GROUP = "utterloom.extractors"
EXTRACTORS = {
    "words": "utterloom.extract.extractors.words:WordsExtractor",
    "features": "utterloom.extract.extractors.features:FeaturesExtractor",
    "states": "utterloom.extract.extractors.states:StatesExtractor",
    "units": "utterloom.extract.extractors.units:UnitsExtractor",
}
SCHEMAS: dict[str, type[Config]] = {"words": WordsConfig, "features": FeaturesConfig, "states": StatesConfig, "units": UnitsConfig}


def extractor_names() -> list[str]:
    """Ours, and those that other packages add."""
    return [*EXTRACTORS, *(point.name for point in entry_points(group=GROUP) if point.name not in EXTRACTORS)]


def extractor_schema(name: str) -> type[Config]:
    """The settings of the extractor of that name; of our own ones without torch. Raises ConfigError naming those there are."""
    found: type[Config] = SCHEMAS[name] if name in SCHEMAS else extractor_kind(name).SCHEMA
    return found


def extractor_kind(name: str) -> Any:
    """The class of that name (an ExtractorKind). Raises ConfigError naming those there are."""
    added = {point.name: point.value for point in entry_points(group=GROUP)}
    known = {**added, **EXTRACTORS}
    if name not in known:
        raise ConfigError(f"there is nothing to extract that is called {name!r}", did_you_mean(name, known))
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)
