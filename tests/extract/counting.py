"""An extractor of the tests' own, quick and deterministic, and able to fail in every way. A module of its own, so that workers,
which find it as a package's entry point, start without pytest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from utterloom.core.config import Config
from utterloom.core.errors import SourceError
from utterloom.core.timing import FrameGrid
from utterloom.extract.config import ExtractConfig
from utterloom.extract.contract import Item, Plan
from utterloom.shards.layers import EMPTY, OK, LayerRow, LayerSpec
from utterloom.shards.reader import Corpus

NAME = "counting"
RATE_HZ, HOP, DIM = 8_000, 160, 8
SPEC = LayerSpec("features", {"model": "tests"}, FrameGrid(RATE_HZ, HOP), "float16", DIM)


class CountingConfig(ExtractConfig):
    factor: float = 1.0
    """by which all is multiplied"""
    poisoned: list[str] = []
    """ids that raise"""
    empty: list[str] = []
    """ids of whom nothing comes"""
    memory_s: float | None = None
    """seconds, padding counted, above which memory runs out"""
    says: Literal["python", "cuda", "torch"] = "python"
    """who complains of memory"""
    sleep_s: float = 0.0
    """how long a batch takes at least"""
    rows_too_many: int = 0
    """for one utterance or more"""
    dies_without: str | None = None
    """a file; where it is not, it is made and the process is killed"""
    model: str | None = None
    """a file that must be there"""


def write_entry_point(folder: Path) -> Path:
    """A folder that, on the path of Python, has installed the extractor."""
    info = folder / "utterloom_counting-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: utterloom-counting\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[utterloom.extractors]\n{NAME} = tests.extract.counting:CountingExtractor\n")
    return folder


class CountingExtractor:
    SCHEMA: type[Config] = CountingConfig
    spec = SPEC
    sample_rate_hz: int | None = RATE_HZ
    layers: Sequence[str] = ()
    default_batch = 6.0

    def __init__(self, config: CountingConfig) -> None:
        self.config = config

    @classmethod
    def plan(cls, config: CountingConfig, corpus: Corpus) -> Plan:
        if config.model is not None and not Path(config.model).is_file():
            raise SourceError(f"there is no model at {config.model}", "choose another model=")
        return Plan(NAME, {"model_sha256": "0"})

    @classmethod
    def open(cls, config: CountingConfig, corpus: Corpus) -> CountingExtractor:
        return cls(config)

    def size(self, item: Item) -> float:
        return item.duration_s

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        config = self.config
        time.sleep(config.sleep_s)
        if config.dies_without is not None and len(items) > 1 and not Path(config.dies_without).exists():
            Path(config.dies_without).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if config.memory_s is not None and max(item.duration_s for item in items) * len(items) > config.memory_s:
            raise _out_of_memory(config.says)
        for item in items:
            if item.id in config.poisoned:
                raise ValueError(f"{item.id} is\npoisoned")
        rows = [LayerRow(EMPTY, "nothing in it") if item.id in config.empty else row_of(item, config.factor) for item in items]
        return rows + rows[:1] * config.rows_too_many


def row_of(item: Item, factor: float = 1.0) -> LayerRow:
    """One frame for each whole hop: how loud its parts are."""
    assert item.samples is not None
    frames = len(item.samples) // HOP
    parts = item.samples[:frames * HOP].reshape(frames, DIM, HOP // DIM)
    return LayerRow(OK, None, frames, array=(factor * np.abs(parts).mean(axis=2)).astype(np.float16))


def _out_of_memory(says: str) -> Exception:
    import torch

    errors: dict[str, Any] = {"python": MemoryError(), "cuda": RuntimeError("CUDA error: out of memory"),
                              "torch": torch.OutOfMemoryError("tried to allocate 20 GiB")}
    error: Exception = errors[says]
    return error
