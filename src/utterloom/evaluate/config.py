"""The settings of `evaluate`; apart from the stage, so that listing and checking them needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from utterloom.core.config import Config


class EvaluateConfig(Config):
    split: str = "dev"
    """split to transcribe and score"""
    out: str | None = None
    """folder to make; by default evaluations/<checkpoint>-<corpus>-<split> inside the run or model"""
    checkpoint: Literal["best", "averaged", "last"] = "best"
    """which of a run's checkpoints"""
    damaged: Literal["error", "skip"] = "error"
    """hurt audio: stop, or score the rest and say so"""
    resample: Literal["utterance", "speaker"] = "utterance"
    """unit of the bootstrap behind the intervals"""
    seed: int = 0
    """of the bootstrap"""
    threads: int = Field(1, ge=1)
    """of torch on a CPU"""
