"""utterloom: raw speech recordings in, speech models you can ship out.

Importing it costs nothing; where transformers is imported too, its Auto classes know our architectures.
"""

from importlib import import_module
from importlib.util import find_spec

from utterloom.core.when_imported import when_imported

__version__ = "0.1.0"


def _teach_auto_classes() -> None:
    if find_spec("torch") is not None:
        import_module("utterloom.models.ctc")


when_imported("transformers", _teach_auto_classes)
