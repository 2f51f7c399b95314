"""A layer of an encoder of speech: waveforms in, frames out, the same for an utterance alone and in any batch.

Encoders of transformers are not batch-invariant as they come: group norm takes its statistics over padding (wav2vec2-base,
hubert-base, wavlm-base), stacked positional convolutions hear it (data2vec), and a mask that is left out lets attention see
it. Here padding is ours, on the right, and everything that would hear it is told which frames are real.

Hidden state k is what layer k gives, 0 what the first one reads, and the last is the encoder's output, with its final norm
where it has one; whatever the version of transformers says of its own `hidden_states`. Only the layers below are kept.

Audio longer than `chunk_s` goes through in pieces of that length, each overlapping its neighbours by `overlap_s` on either
side, cut on the frame grid; each frame comes from the piece in which it lies farthest from an edge. The waveform (or log-mel)
is normalised over the whole utterance, and group norm's statistics are of the whole utterance, so pieces differ from the whole
only in how far attention and positional convolution look. (Whisper normalises each of its windows, as it was trained.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from utterloom.core.errors import ConfigError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.models.fronts import FRONTS, Front
from utterloom.models.hub import ModelFiles, load_config, model_files


@dataclass(frozen=True)
class Piece:
    """Frames [start, stop) go through together, of which [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


def plan_pieces(num_frames: int, longest: int, overlap: int) -> list[Piece]:
    """Cover `num_frames` by pieces of at most `longest`, neighbours sharing `2 * overlap` or more; what is kept partitions them.

    All pieces of a long recording are equally long, and a border lies in the middle of what two pieces share.
    Raises ValueError where pieces would not get on.
    """
    if longest <= 2 * overlap:
        raise ValueError(f"pieces of {longest} frames with {overlap} on either side have no frame of their own")
    if num_frames <= longest:
        return [Piece(0, num_frames, 0, num_frames)]
    count = 1 + -(-(num_frames - longest) // (longest - 2 * overlap))
    starts = [number * (num_frames - longest) // (count - 1) for number in range(count)]
    borders = [0, *((start + before + longest + 1) // 2 for before, start in pairwise(starts)), num_frames]
    return [Piece(start, start + longest, first, last) for start, (first, last) in zip(starts, pairwise(borders), strict=True)]


def check_pieces(longest_s: float, overlap_s: float) -> None:
    """Raises ConfigError for pieces that would never get on."""
    if longest_s <= 2 * overlap_s:
        raise ConfigError(f"pieces of {longest_s:g} s that overlap by {overlap_s:g} s on either side never get on",
                          "chunk_s must be more than twice overlap_s")


class SpeechEncoder:
    """One hidden state of an encoder. `grid` is the clock of its frames, `dim` their size, `layer` counted from 0."""

    def __init__(self, front: Front, files: ModelFiles, layer: int, num_layers: int, chunk_s: float, overlap_s: float) -> None:
        self._front, self.files, self.layer, self.num_layers = front, files, layer, num_layers
        self.sample_rate_hz, self.dim = front.sample_rate_hz, front.dim
        self.grid = FrameGrid(front.sample_rate_hz, front.hop_samples)
        self._longest = min(round(chunk_s * self.grid.rate), front.longest_frames or 1 << 62)
        self._overlap = round(overlap_s * self.grid.rate)
        check_pieces(self._longest * self.grid.frame_s, self._overlap * self.grid.frame_s)

    @classmethod
    def open(cls, model: str, revision: str | None = None, layer: int = -1, device: str = "cpu", compute: str = "float32", *,
             chunk_s: float = 60.0, overlap_s: float = 10.0, is_fetched: bool = False) -> SpeechEncoder:
        """From a folder (offline), a run of ours, or the Hub. `compute` is float32, float16 or bfloat16.

        Raises SourceError where the model cannot be had, is of an architecture that is not known here, or lacks weights that are
        needed; ConfigError where it has no such layer, or for pieces that cannot be.
        """
        files = model_files(model, revision, is_fetched)
        config = open_config(files)
        resolved = resolve_layer(files, config, layer)
        front = FRONTS[config.model_type](files, resolved, getattr(torch, compute), torch.device(device))
        return cls(front, files, resolved, num_layers(config), chunk_s, overlap_s)

    def num_frames(self, num_samples: int) -> int:
        """The model's own length function: 49 frames for 1 s of WavLM, not 50 (A-P8)."""
        return self._front.num_frames(num_samples)

    @property
    def min_samples(self) -> int:
        """The least audio that has a frame."""
        return bisect_left(range(1 << 20), 1, key=self.num_frames)

    @property
    def producer(self) -> dict[str, Any]:
        """Who makes these frames, as layers and codebooks say it; `weights` is of the model's files, read whole."""
        return {"model": self.files.name, "commit": self.files.commit, "layer": self.layer, "weights": self.files.fingerprint()}

    def is_long(self, num_samples: int) -> bool:
        """Whether so much audio goes through in pieces."""
        return self.num_frames(num_samples) > self._longest

    def heard_s(self, num_samples: int) -> float:
        """How much audio the model reads for so much: as much, or for Whisper whole windows."""
        window = self._front.longest_frames
        if window is None:
            return num_samples / self.sample_rate_hz
        return len(plan_pieces(self.num_frames(num_samples), self._longest, self._overlap)) * window * self.grid.frame_s

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Some waveforms, float32 [n] at `sample_rate_hz` → as many float32 [frames, dim]; without frames where one is too short.

        Those short enough go through as one batch, the long ones piece by piece.
        """
        found: dict[int, np.ndarray] = {}
        together: list[int] = []
        for number, samples in enumerate(batch):
            if self.num_frames(len(samples)) == 0:
                found[number] = np.zeros((0, self.dim), np.float32)
            elif self.is_long(len(samples)):
                found[number] = np.concatenate(list(self.pieces(samples)))
            else:
                together.append(number)
        if together:
            inputs = [self._front.inputs(batch[number]) for number in together]
            for number, frames in zip(together, self._run(inputs, None), strict=True):
                found[number] = frames
                self._check(len(frames), self.num_frames(len(batch[number])))
        return [found[number] for number in range(len(batch))]

    def pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """One waveform → its frames, float32 [some, dim], in order: for recordings whose features would fill memory."""
        num_frames = self.num_frames(len(samples))
        if num_frames == 0:
            return
        inputs = self._front.inputs(samples)
        planned = plan_pieces(num_frames, self._longest, self._overlap)
        with torch.inference_mode():
            statistics = self._front.statistics(inputs) if len(planned) > 1 else None
        for piece in planned:
            part = inputs[self._front.part(piece.start, piece.stop, num_frames)]
            frames = self._run([part], statistics)[0]
            self._check(len(frames), piece.stop - piece.start)
            yield frames[piece.first - piece.start:piece.last - piece.start]

    @torch.inference_mode()
    def _run(self, inputs: Sequence[np.ndarray], statistics: Any) -> list[np.ndarray]:
        # On a GPU cuDNN would round float32 to ten bits for its tensor cores, otherwise for every shape of a batch.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._front.run(inputs, statistics)

    def _check(self, num_frames: int, expected: int) -> None:
        """Truth 3 (A-P8, A-P9): raises SourceError where a network gave another number of frames than its length function."""
        if num_frames != expected:
            raise SourceError(f"model {self.files.name} gave {num_frames} frames where its length function says {expected}",
                              "its frames cannot be trusted: is this version of transformers one that utterloom knows?")


def open_config(files: ModelFiles) -> Any:
    """The configuration of an encoder that is known here. Raises SourceError naming those that are."""
    config = load_config(files)
    if config.model_type not in FRONTS:
        raise SourceError(f"model {files.name} is of the architecture {config.model_type!r}, whose frames are not known here",
                          f"encoders that are: {', '.join(sorted(FRONTS))}")
    return config


def num_layers(config: Any) -> int:
    """How many layers an encoder has: its hidden states are 0 to this."""
    config = getattr(config, "encoder_config", config)  # Parakeet's CTC, RNN-T and TDT have their layers there
    return int(config.encoder_layers if config.model_type == "whisper" else config.num_hidden_layers)


def resolve_layer(files: ModelFiles, config: Any, layer: int) -> int:
    """Which hidden state is meant, counted from 0. Raises ConfigError naming those there are."""
    last = num_layers(config)
    if not -last - 1 <= layer <= last:
        raise ConfigError(f"layer={layer}: {files.name} has the hidden states 0 to {last}, which are also -{last + 1} to -1")
    return layer % (last + 1)
