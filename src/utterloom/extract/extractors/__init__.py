"""What can be extracted. An extractor is one file here, one line in EXTRACTORS and its settings in `extract/config.py`.

Other packages add theirs as entry points of the group `utterloom.extractors`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from utterloom.core.errors import ConfigError, did_you_mean

GROUP = "utterloom.extractors"
EXTRACTORS = {
    "words": "utterloom.extract.extractors.words:WordsExtractor",
    "features": "utterloom.extract.extractors.features:FeaturesExtractor",
    "states": "utterloom.extract.extractors.states:StatesExtractor",
    "units": "utterloom.extract.extractors.units:UnitsExtractor",
}


def extractor_kind(name: str) -> Any:
    """The class of that name (an ExtractorKind). Raises ConfigError naming those there are."""
    added = {point.name: point.value for point in entry_points(group=GROUP)}
    known = {**added, **EXTRACTORS}
    if name not in known:
        raise ConfigError(f"there is nothing to extract that is called {name!r}", did_you_mean(name, known))
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)
