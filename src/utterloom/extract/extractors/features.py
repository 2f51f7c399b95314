"""Dense features: a hidden state of an encoder of speech, [frames, dim] of each utterance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from utterloom.core.errors import ConfigError
from utterloom.core.timing import FrameGrid, pool
from utterloom.extract.config import FeaturesConfig
from utterloom.extract.contract import Item, Plan
from utterloom.extract.extractors.device import device_for
from utterloom.models.encoder import SpeechEncoder, check_pieces, open_config, resolve_layer
from utterloom.models.hub import model_files
from utterloom.shards.layers import EMPTY, OK, LayerRow, LayerSpec
from utterloom.shards.reader import Corpus

BATCH_S = {"cpu": 1.0, "cuda": 240.0}  # on a CPU an utterance at a time is quicker: nothing is padded


class FeaturesExtractor:
    """`wavlm-large.24`: frames of one layer, stored in float16 or float32, on the encoder's own grid or pooled to another."""

    SCHEMA: ClassVar[type[FeaturesConfig]] = FeaturesConfig
    layers: Sequence[str] = ()

    def __init__(self, encoder: SpeechEncoder, config: FeaturesConfig, device: str = "cpu") -> None:
        self._encoder, self._dtype = encoder, np.dtype(config.dtype)
        self._grid = encoder.grid if config.target_hz is None else pooled_grid(encoder.grid, config.target_hz)
        producer = {**encoder.producer, "compute": config.compute, "target_hz": config.target_hz}
        self.spec = LayerSpec("features", producer, self._grid, config.dtype, encoder.dim)
        self.sample_rate_hz: int | None = encoder.sample_rate_hz
        self.default_batch = BATCH_S[device.partition(":")[0]]

    @classmethod
    def plan(cls, config: FeaturesConfig, corpus: Corpus) -> Plan:
        """Fetches the model's files where they have to be, and reads them whole for the layer's identity."""
        check_pieces(config.chunk_s, config.overlap_s)
        files = model_files(config.model, config.revision)
        layer = resolve_layer(files, open_config(files), config.layer)
        rate = "" if config.target_hz is None else f"@{config.target_hz:g}hz"
        return Plan(f"{files.short_name}.{layer}{rate}", {"weights": files.fingerprint(), "layer": layer})

    @classmethod
    def open(cls, config: FeaturesConfig, corpus: Corpus) -> FeaturesExtractor:
        """With the files that `plan` has fetched."""
        device = device_for(config.device)
        encoder = SpeechEncoder.open(config.model, config.revision, config.layer, device, config.compute, chunk_s=config.chunk_s,
                                     overlap_s=config.overlap_s, is_fetched=True)
        return cls(encoder, config, device)

    def size(self, item: Item) -> float:
        """Seconds that the model reads."""
        assert item.samples is not None
        return self._encoder.heard_s(len(item.samples))

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """Those that are short enough as one batch, the others piece by piece."""
        samples = [_samples(item) for item in items]
        short = [number for number, one in enumerate(samples) if not self._encoder.is_long(len(one))]
        frames = dict(zip(short, self._encoder.encode([samples[number] for number in short]), strict=True))
        return [self._row(one, [frames[number]] if number in frames else self._encoder.pieces(one))
                for number, one in enumerate(samples)]

    def _row(self, samples: np.ndarray, parts: Iterable[np.ndarray]) -> LayerRow:
        if self._encoder.num_frames(len(samples)) == 0:
            return too_short(len(samples), self._encoder.sample_rate_hz, self._encoder.min_samples)
        if self._grid != self._encoder.grid:
            whole = np.concatenate(list(parts))
            if not np.isfinite(whole).all():
                return LayerRow.failed(NOT_FINITE)
            parts = [pooled(whole, self._encoder.grid, self._grid, len(samples))]
        stored = []
        for part in parts:
            complaint = self._complaint(part)
            if complaint:
                return LayerRow.failed(complaint)
            stored.append(part.astype(self._dtype, copy=False))
        array = np.concatenate(stored) if len(stored) > 1 else stored[0]
        if not len(array):
            return LayerRow(EMPTY, f"too short: no frame at {self._grid.rate_hz:g} Hz", 0)
        return LayerRow(OK, None, len(array), array=array)

    def _complaint(self, frames: np.ndarray) -> str | None:
        """Why frames cannot be stored; None where they can."""
        if not np.isfinite(frames).all():
            return NOT_FINITE
        largest, limit = float(np.abs(frames).max(initial=0)), float(np.finfo(self._dtype).max)
        if largest > limit:
            return f"a value is beyond what {self._dtype} holds: {largest:.4g} of {limit:g}; dtype=float32 holds it"
        return None


NOT_FINITE = "the model gave values that are not finite: its input, or compute= in half precision, is to blame"


def too_short(num_samples: int, rate_hz: int, min_samples: int) -> LayerRow:
    """The row of audio that has no frame."""
    return LayerRow(EMPTY, f"too short: {num_samples} samples at {rate_hz} Hz, where a frame needs {min_samples}", 0)


def _samples(item: Item) -> np.ndarray:
    assert item.samples is not None  # the stage decodes it for whoever says a sampling rate
    return item.samples


def pooled_grid(source: FrameGrid, target_hz: float) -> FrameGrid:
    """The clock of that rate, in samples of the encoder's where it is a whole number of them. Raises ConfigError for a rate that
    no clock has."""
    rate = Fraction(repr(target_hz)).limit_denominator(100_000)
    hop = source.sample_rate_hz / rate
    if rate > source.sample_rate_hz:
        raise ConfigError(f"target_hz={target_hz:g} is more than the {source.sample_rate_hz} samples a second that the model hears")
    return FrameGrid(source.sample_rate_hz, int(hop)) if hop.denominator == 1 else FrameGrid(rate.numerator, rate.denominator)


def pooled(frames: np.ndarray, source: FrameGrid, target: FrameGrid, num_samples: int) -> np.ndarray:
    """float32 [frames, dim] on another clock (A13): as many as have their centre in the audio and hear a frame of the source."""
    covered = math.ceil(len(frames) / source.rate * target.rate)
    count = min(target.num_frames(num_samples, source.sample_rate_hz), covered)
    return pool(frames, source, target, count, beyond="error")


def facts_of(producer: Mapping[str, Any]) -> tuple[str, str | None, int, float | None]:
    """(model, commit, layer, target_hz) of features, as their layer says; raises KeyError and TypeError for anything else."""
    return str(producer["model"]), producer["commit"], int(producer["layer"]), producer.get("target_hz")
