"""Models that are opened outside of an extractor, for what needs one of them and no corpus."""

from __future__ import annotations

from utterloom.extract.extractors.device import device_for
from utterloom.models.emissions import CTCEmitter


def open_emitter(model: str, revision: str | None, device: str | None) -> CTCEmitter:
    """A CTC model on its device. Raises SourceError and ConfigError."""
    return CTCEmitter.open(model, revision, device_for(device))
