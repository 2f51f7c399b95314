"""Discrete units: of a k-means codebook over an encoder's layer, or of a codec; one label a frame, stored in runs.

A label is by definition that of the utterance alone. Encoders are batch-invariant to some millionths, which is nothing for a
feature and everything for a frame that lies between two units. So where the two nearest are alike to less than `margin` in any
frame of an utterance that went through in a batch, that utterance goes through again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from utterloom.core.artifact import fingerprint
from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.extract.config import UnitsConfig
from utterloom.extract.contract import Item, Plan
from utterloom.extract.extractors.device import device_for
from utterloom.extract.extractors.features import BATCH_S, facts_of, pooled, pooled_grid, too_short
from utterloom.models.codecs import (
    FOCALCODEC,
    FOCALCODEC_PACKAGE,
    SPEECHTOKENIZER,
    SPEECHTOKENIZER_PACKAGE,
    FocalCodecUnits,
    MimiCodec,
    SpeechTokenizerCodec,
    mimi_files,
    require_package,
    speechtokenizer_fingerprint,
)
from utterloom.models.encoder import SpeechEncoder, check_pieces, open_config, resolve_layer
from utterloom.models.hub import ModelFiles, model_files
from utterloom.models.kmeans import Codebook
from utterloom.shards.layers import OK, LayerRow, LayerSpec
from utterloom.shards.reader import Corpus
from utterloom.shards.units import Units, UnitStream, length_complaint


class UnitSource(Protocol):
    """Audio → labels. `producer` has a `fingerprint` of all that decides them."""

    sample_rate_hz: int
    grid: FrameGrid
    codebook_size: int
    producer: dict[str, Any]

    def is_long(self, num_samples: int) -> bool:
        """Whether so much audio goes through by itself, however it is asked for."""
        ...

    def heard_s(self, num_samples: int) -> float:
        """How much audio the model reads for so much."""
        ...

    def labels(self, batch: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Waveforms float32 [n] → integers [frames] of each, and how much nearer each unit is than the next, (d2 - d1) / d2, or
        None where labels do not depend on the batch."""
        ...


class UnitsExtractor:
    """`hubert-base-ls960.9.km500`, `mimi`: units with their run lengths."""

    SCHEMA: ClassVar[type[UnitsConfig]] = UnitsConfig
    layers: Sequence[str] = ()

    def __init__(self, source: UnitSource, margin: float, name: str = "units", device: str = "cpu") -> None:
        self._source, self._margin = source, margin
        self._stream = UnitStream(name, source.grid, source.codebook_size, source.producer["fingerprint"])
        self.spec = LayerSpec("units", source.producer, source.grid, codebook_size=source.codebook_size)
        self.sample_rate_hz: int | None = source.sample_rate_hz
        self.default_batch = BATCH_S[device.partition(":")[0]]
        self.num_again = 0
        """utterances so far that a batch could not decide"""

    @classmethod
    def plan(cls, config: UnitsConfig, corpus: Corpus) -> Plan:
        """Raises ConfigError unless it is either a codebook or a codec, and where the codebook does not say its model."""
        check_pieces(config.chunk_s, config.overlap_s)
        if (config.codebook is None) == (config.codec is None):
            raise ConfigError("units are of a codebook or of a codec: one of the two must be given",
                              "codebook=FOLDER from `utterloom units fit`, or codec=kyutai/mimi")
        if config.codebook is not None:
            codebook = Codebook.load(Path(config.codebook))
            files, layer = _encoder_of(codebook, config)
            return Plan(f"{files.short_name}.{layer}.km{codebook.size}", {"codebook_fingerprint": codebook.fingerprint})
        kind, _, rest = str(config.codec).partition(":")
        if kind == SPEECHTOKENIZER:
            require_package(*SPEECHTOKENIZER_PACKAGE)
            return Plan(SPEECHTOKENIZER, {"weights": speechtokenizer_fingerprint(rest)})
        if kind == FOCALCODEC:
            require_package(*FOCALCODEC_PACKAGE)
            return Plan(rest.rpartition("/")[2] or FOCALCODEC, {})  # its package keeps the weights to itself
        files = mimi_files(str(config.codec), config.revision)
        return Plan(files.short_name, {"weights": files.fingerprint()})

    @classmethod
    def open(cls, config: UnitsConfig, corpus: Corpus) -> UnitsExtractor:
        """With the files that `plan` has fetched."""
        device = device_for(config.device)
        return cls(_source(config, device), config.margin, config.name or "units", device)

    def size(self, item: Item) -> float:
        """Seconds that the model reads."""
        assert item.samples is not None
        return self._source.heard_s(len(item.samples))

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """All at once, and those again, each by itself, that have a frame between two units."""
        samples = [item.samples if item.samples is not None else np.zeros(0, np.float32) for item in items]
        rows = []
        for one, (labels, margins) in zip(samples, self._source.labels(samples), strict=True):
            if margins is not None and len(items) > 1 and not self._source.is_long(len(one)) and (margins < self._margin).any():
                labels, _ = self._source.labels([one])[0]
                self.num_again += 1
            rows.append(self._row(one, labels))
        return rows

    def _row(self, samples: np.ndarray, labels: np.ndarray) -> LayerRow:
        if not len(labels):
            return too_short(len(samples), self._source.sample_rate_hz, _least(self._source))
        complaint = length_complaint(len(labels), self._source.grid, len(samples), self._source.sample_rate_hz)
        if complaint:
            return LayerRow.failed(complaint)
        units = Units.of_frames(self._stream, labels)
        return LayerRow(OK, None, units.num_frames, {"units": units.units, "runs": units.runs})


def _least(source: UnitSource) -> int:
    return source.encoder.min_samples if isinstance(source, CodebookUnits) else 1


class CodebookUnits:
    """The nearest centroid of each frame of an encoder's layer."""

    def __init__(self, encoder: SpeechEncoder, codebook: Codebook, target_hz: float | None = None, *,
                 is_exact: bool = True) -> None:
        """`target_hz`: the codebook is of pooled features. Not `is_exact`: utterances go through one at a time, since in half
        precision a batch decides more than rounding. Raises SourceError where codebook and layer do not fit."""
        self.encoder, self._codebook, self._is_exact = encoder, codebook, is_exact
        self.sample_rate_hz, self.codebook_size = encoder.sample_rate_hz, codebook.size
        self.grid = encoder.grid if target_hz is None else pooled_grid(encoder.grid, target_hz)
        if codebook.dim != encoder.dim:
            raise SourceError(f"the codebook has {codebook.dim} dimensions, and layer {encoder.layer} of {encoder.files.name} "
                              f"{encoder.dim}", "use the model and layer that it was fitted on")
        if codebook.grid is not None and codebook.grid.rate != self.grid.rate:
            raise SourceError(f"the codebook is of {codebook.grid.rate_hz:g} frames a second, and layer {encoder.layer} of "
                              f"{encoder.files.name} has {self.grid.rate_hz:g}", "use the model that it was fitted on")
        self.producer = {**encoder.producer, "target_hz": target_hz, "codebook": codebook.fingerprint}
        self.producer["fingerprint"] = fingerprint([self.producer["weights"], encoder.layer, target_hz, codebook.fingerprint])

    def is_long(self, num_samples: int) -> bool:
        """Whether so much audio goes through in pieces."""
        return self.encoder.is_long(num_samples)

    def heard_s(self, num_samples: int) -> float:
        """How much audio the encoder reads for so much."""
        return self.encoder.heard_s(num_samples)

    def labels(self, batch: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Long recordings piece by piece, so that their features are never held."""
        is_short = [self._is_exact and not self.is_long(len(samples)) for samples in batch]
        frames = iter(self.encoder.encode([samples for samples, short in zip(batch, is_short, strict=True) if short]))
        return [self._assign(next(frames), samples) if short else self._alone(samples)
                for samples, short in zip(batch, is_short, strict=True)]

    def _alone(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self.grid != self.encoder.grid:
            return self._assign(self.encoder.encode([samples])[0], samples)[0], None
        parts = [self._codebook.assign(frames)[0] for frames in self.encoder.pieces(samples)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32), None

    def _assign(self, frames: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.grid != self.encoder.grid and len(frames):
            frames = pooled(frames, self.encoder.grid, self.grid, len(samples))
        return self._codebook.assign(frames)


def _encoder_of(codebook: Codebook, config: UnitsConfig) -> tuple[ModelFiles, int]:
    """The files and layer of the model that a codebook was fitted on. Raises SourceError where it is not that one any more."""
    try:
        model, commit, layer, _ = facts_of(codebook.producer)
        weights = str(codebook.producer["weights"])
    except (KeyError, TypeError, ValueError):
        raise SourceError(f"codebook {config.codebook} does not say which model and layer its frames are of",
                          "fit it on a layer that utterloom extracted: utterloom units fit") from None
    files = model_files(config.model, None) if config.model else model_files(model, commit)
    resolve_layer(files, open_config(files), layer)
    if files.fingerprint() != weights:
        raise SourceError(f"codebook {config.codebook} was fitted on {model}, and the weights of {files.name} are others",
                          "model=FOLDER names where the codebook's own model lies")
    return files, layer


def _source(config: UnitsConfig, device: str) -> UnitSource:
    if config.codebook is not None:
        codebook = Codebook.load(Path(config.codebook))
        model, commit, layer, target_hz = facts_of(codebook.producer)
        encoder = SpeechEncoder.open(config.model or model, None if config.model else commit, layer, device, config.compute,
                                     chunk_s=config.chunk_s, overlap_s=config.overlap_s, is_fetched=True)
        return CodebookUnits(encoder, codebook, target_hz, is_exact=config.compute == "float32")
    kind, _, rest = str(config.codec).partition(":")
    if kind == SPEECHTOKENIZER:
        return SpeechTokenizerCodec(rest, device, config.chunk_s, config.overlap_s)
    if kind == FOCALCODEC:
        return FocalCodecUnits(rest, device, config.chunk_s, config.overlap_s)
    return MimiCodec(str(config.codec), config.revision, device, config.chunk_s, is_fetched=True)
