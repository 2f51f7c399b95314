"""What is trained. An objective is one file here and one line in OBJECTIVES."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from utterloom.core.errors import ConfigError, did_you_mean

OBJECTIVES = {"ctc": "utterloom.train.objectives.ctc:CTCObjective"}


def objective(name: str) -> Any:
    """The objective class of that name. Raises ConfigError naming those there are."""
    if name not in OBJECTIVES:
        raise ConfigError(f"there is no objective {name!r}", did_you_mean(name, OBJECTIVES))
    module, _, attribute = OBJECTIVES[name].partition(":")
    return getattr(import_module(module), attribute)
