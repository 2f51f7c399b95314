"""`transcribe`: audio files of any container → text, with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utterloom.audio.decode import decode, to_mono
from utterloom.audio.logmel import log_mel, normalise
from utterloom.audio.resample import resample
from utterloom.core.errors import AudioError, MissingPackageError
from utterloom.engines.torch import CTCEngine

LONGEST_S = 120.0


@dataclass(frozen=True)
class Transcript:
    """`text` is None where the file could not be read, and `error` says why."""

    path: str
    text: str | None
    duration_s: float | None
    error: str | None = None


def transcribe(model: Path, paths: Iterable[Path], which: str = "best") -> Iterator[Transcript]:
    """One file after the other, each whole. Raises SourceError for a model that cannot be opened."""
    torch.set_num_threads(1)
    engine = CTCEngine.open(model, which)
    for path in paths:
        yield _one(engine, path)


def _one(engine: CTCEngine, path: Path) -> Transcript:
    if not path.is_file():
        return Transcript(str(path), None, None, "there is no such file" if not path.is_dir() else "this is a folder, not a file")
    try:
        samples_sc, rate = decode(path)
    except MissingPackageError as error:
        return Transcript(str(path), None, None, str(error))
    except (AudioError, OSError) as error:
        return Transcript(str(path), None, None, error.message if isinstance(error, AudioError) else str(error.strerror))
    duration_s = len(samples_sc) / rate
    if duration_s > LONGEST_S:
        return Transcript(str(path), None, duration_s, f"it is {duration_s:.0f} s long; this version transcribes up to "
                                                       f"{LONGEST_S:.0f} s at once: cut it first")
    parameters = engine.contract.features
    features = normalise(log_mel(resample(to_mono(samples_sc), rate, parameters.sample_rate_hz), parameters))
    (text,) = engine.texts(features[None], np.array([len(features)]))
    return Transcript(str(path), text, duration_s)
