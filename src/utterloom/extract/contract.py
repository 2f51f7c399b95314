"""What an extractor is: a batch of utterances in, one row of the layer out for each.

Batching by length, memory that runs out, items that cannot be read, and everything on disk are the stage's work (`stage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from utterloom.core.config import Config
from utterloom.shards.layers import LayerRow, LayerSpec
from utterloom.shards.reader import Corpus


@dataclass(frozen=True)
class Item:
    """One utterance as an extractor sees it.

    `samples` float32 [samples] at the extractor's `sample_rate_hz`, exactly resampled from the corpus (None where it asks for no
    audio); `num_samples` and `sample_rate_hz` are the corpus's own, in which times are counted. `text` is the raw text; `view` the
    corpus's text view. `layers` has this utterance's row of every layer that the extractor reads.
    """

    id: str
    num_samples: int
    sample_rate_hz: int
    samples: np.ndarray | None
    text: str | None
    view: str | None
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz


class Extractor(Protocol):
    """Opened once in each worker, with its model on a device.

    `spec`            what every row of the layer is
    `sample_rate_hz`  of the audio that it wants; None: it wants none
    `layers`          names of other layers of the corpus that it reads
    `default_batch`   how much of `size` goes through at once unless the user says
    """

    spec: LayerSpec
    sample_rate_hz: int | None
    layers: Sequence[str]
    default_batch: float

    def size(self, item: Item) -> float:
        """How much of a batch an utterance takes, padded as the longest is: seconds, or tokens."""
        ...

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """One row for each item, in their order; the same for an item alone and in any batch (truth 2).

        What is wrong with one item is its row's `failed`; whatever is raised is blamed on the whole batch, which the stage then
        takes apart."""
        ...


class ExtractorKind(Protocol):
    """The class of an extractor: a line in `extractors.EXTRACTORS`."""

    SCHEMA: ClassVar[type[Config]]

    @classmethod
    def plan(cls, config: Any, corpus: Corpus) -> Plan:
        """What can be said before anything runs, in the parent process, without a model in memory. Raises ConfigError and
        SourceError for a model, layer or setting that is not there."""
        ...

    @classmethod
    def open(cls, config: Any, corpus: Corpus) -> Extractor:
        """In a worker. Raises SourceError where the model cannot be opened, MissingPackageError."""
        ...


@dataclass(frozen=True)
class Plan:
    """`name` is what the layer's folder is called unless the user says; `identity` is all that its bytes depend on besides the
    configuration: fingerprints of the model's files, of the codebook, of the layers that are read."""

    name: str
    identity: Mapping[str, Any]
