"""Discrete units of speech: what a stream of them is, and one utterance's of it.

Rate, codebook and producer are facts of the stream, written down where it was made, never settings of who reads it (D-P1). Units
are stored with the length of each run; without repetition they are a view (K15).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from utterloom.core.errors import CorpusError
from utterloom.core.timing import FrameGrid
from utterloom.shards.layers import Layer

LONGEST_RUN = 0xFFFF
LARGEST_CODEBOOK = 0x10000
EDGE_FRAMES = 2  # what a model's windows may lack at the end of a recording, or add to it


def length_complaint(num_frames: int, grid: FrameGrid, num_samples: int, sample_rate_hz: int) -> str | None:
    """Why so many frames cannot be those of so much audio; None where they can (A-P9, D-P1).

    How many a model gives exactly is its own length function's to say; from outside it is known but for its edges.
    """
    if abs(num_frames - Fraction(num_samples, sample_rate_hz) * grid.rate) <= EDGE_FRAMES:
        return None
    spoken_s, frames_s = num_samples / sample_rate_hz, num_frames * grid.frame_s
    return (f"{num_frames} frames at {grid.rate_hz:g} Hz are {frames_s:g} s, where the audio is {spoken_s:g} s: "
            f"it was {num_frames / spoken_s if spoken_s else 0:.4g} frames a second")


@dataclass(frozen=True)
class UnitStream:
    """What all units of a layer are: `codebook_size` of them, ticking on `grid`; `fingerprint` names model, layer and codebook."""

    name: str
    grid: FrameGrid
    codebook_size: int
    fingerprint: str

    def __post_init__(self) -> None:
        if not 1 <= self.codebook_size <= LARGEST_CODEBOOK:
            raise ValueError(f"{self.codebook_size} units: a codebook here has 1 to {LARGEST_CODEBOOK}")

    @classmethod
    def of(cls, layer: Layer) -> UnitStream:
        """The stream that a layer holds. Raises CorpusError for a layer of something else."""
        spec = layer.spec
        if spec.kind != "units" or spec.grid is None or spec.codebook_size is None:
            raise CorpusError(f"layer {layer.name} holds {spec.kind}, not units", "units are made by: utterloom extract units")
        made_by = spec.producer.get("fingerprint")
        if not isinstance(made_by, str):
            raise CorpusError(f"layer {layer.name} does not say what made its units", "extract it again")
        return cls(layer.name, spec.grid, spec.codebook_size, made_by)

    def units(self, row: Mapping[str, Any]) -> Units:
        """One utterance's, from its row of the layer. Raises CorpusError where it has none, or they are not of this stream."""
        if row.get("status", "ok") != "ok":
            raise CorpusError(f"utterance {row['id']} has no units in {self.name}: {row['status']}, {row['reason']}")
        found = Units(self, np.asarray(row["units"], np.uint16), np.asarray(row["runs"], np.uint16))
        if row.get("num_frames") is not None and row["num_frames"] != found.num_frames:
            raise CorpusError(f"utterance {row.get('id')}: its runs in {self.name} are {found.num_frames} frames long, not "
                              f"{row['num_frames']}", "extract the layer again")
        return found

    def require(self, other: UnitStream) -> None:
        """Raises CorpusError where another stream's units would be taken for this one's, naming what differs in both."""
        facts = {"rate": (f"{self.grid.rate_hz:g} Hz", f"{other.grid.rate_hz:g} Hz"),
                 "units": (self.codebook_size, other.codebook_size), "fingerprint": (self.fingerprint, other.fingerprint)}
        differing = [f"{name} {mine} and {theirs}" for name, (mine, theirs) in facts.items() if mine != theirs]
        if differing:
            raise CorpusError(f"units of {other.name} are not units of {self.name}: {'; '.join(differing)}",
                              "use the stream that the model was made for, or make the model again")


@dataclass(frozen=True)
class Units:
    """One utterance's: `units` uint16 [runs], and how many frames each lasts, `runs` uint16 [runs]. A run that is longer than
    65,535 frames is written as several of the same unit."""

    stream: UnitStream
    units: np.ndarray
    runs: np.ndarray

    def __post_init__(self) -> None:
        if len(self.units) != len(self.runs):
            raise CorpusError(f"{len(self.units)} units with {len(self.runs)} lengths in {self.stream.name}")
        if len(self.runs) and int(self.runs.min()) == 0:
            raise CorpusError(f"a unit of {self.stream.name} lasts no frame")
        if len(self.units) and int(self.units.max()) >= self.stream.codebook_size:
            raise CorpusError(f"unit {int(self.units.max())} in {self.stream.name}, which has units 0 to "
                              f"{self.stream.codebook_size - 1}", "these units are of another codebook")

    @classmethod
    def of_frames(cls, stream: UnitStream, labels: np.ndarray) -> Units:
        """From one label a frame, integers [frames]. Raises CorpusError for labels that the codebook does not have."""
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < stream.codebook_size:
            raise CorpusError(f"units {int(labels.min())} to {int(labels.max())}, where {stream.name} has 0 to "
                              f"{stream.codebook_size - 1}")
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        runs = np.diff(np.append(starts, len(labels)))
        parts = -(-runs // LONGEST_RUN)
        units = np.repeat(labels[starts], parts)
        lengths = np.full(int(parts.sum()), LONGEST_RUN)
        lengths[np.cumsum(parts) - 1] = runs - (parts - 1) * LONGEST_RUN
        return cls(stream, units.astype(np.uint16), lengths.astype(np.uint16))

    @property
    def num_frames(self) -> int:
        return int(self.runs.sum(dtype=np.int64))

    def expanded(self) -> np.ndarray:
        """One unit a frame, uint16 [frames]."""
        return np.repeat(self.units, self.runs)

    def deduplicated(self) -> np.ndarray:
        """Without repetition, uint16: what a language model of units reads."""
        return self.units[np.flatnonzero(np.diff(self.units.astype(np.int32), prepend=-1))]

    def slice(self, start_sample: int, stop_sample: int, rate_hz: int) -> Units:
        """Of the span of samples [start, stop) at `rate_hz` Hz: the frames whose centre it holds, so that spans share none.

        Raises CorpusError for a span that goes on after the units end (D-P1), or is none.
        """
        grid = self.stream.grid
        if not 0 <= start_sample <= stop_sample or Fraction(stop_sample, rate_hz) * grid.rate > self.num_frames + EDGE_FRAMES:
            raise CorpusError(f"samples [{start_sample}, {stop_sample}) at {rate_hz} Hz are not within the "
                              f"{self.num_frames * grid.frame_s:g} s that the {self.num_frames} units of {self.stream.name} last "
                              f"at {grid.rate_hz:g} Hz", "a span in other samples, or units at another rate than they were made")
        first, stop = grid.frame_span(start_sample, stop_sample, rate_hz)
        return Units.of_frames(self.stream, self.expanded()[first:stop])

    def check(self, num_samples: int, sample_rate_hz: int) -> None:
        """Raises CorpusError where these units cannot be those of so much audio, naming both."""
        complaint = length_complaint(self.num_frames, self.stream.grid, num_samples, sample_rate_hz)
        if complaint:
            raise CorpusError(f"units of {self.stream.name}: {complaint}", "their rate or the audio's is not what it is said to be")
