"""Neural codecs as sources of discrete units: the first codebook of Mimi, of SpeechTokenizer, and FocalCodec's only one.

Each has a sampling rate, a clock and a codebook of its own, which are read off the model and never configured (D-P1).

Mimi comes with transformers. It is causal, so what pads on the right is heard by no frame before it; what is left is the last
frame, which holds less than 80 ms of audio. transformers pads that one inside of every convolution, Moshi's own code pads the
waveform with silence to whole frames. Here it is the latter: then a batch and an utterance alone are the same computation.

SpeechTokenizer and FocalCodec hear padding (a bidirectional LSTM; attention), so they are given one utterance at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utterloom.core.artifact import fingerprint, read_json, sha256_of
from utterloom.core.errors import MissingPackageError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.models.encoder import plan_pieces
from utterloom.models.hub import CONFIG, ModelFiles, load_whole, model_files, refuse_random

SPEECHTOKENIZER, FOCALCODEC = "speechtokenizer", "focalcodec"
SPEECHTOKENIZER_FILES = ("config.json", "SpeechTokenizer.pt")
# package, what needs it, how it is installed
SPEECHTOKENIZER_PACKAGE = (SPEECHTOKENIZER, "units of SpeechTokenizer", "pip install speechtokenizer")
FOCALCODEC_PACKAGE = (FOCALCODEC, "units of FocalCodec", "pip install focalcodec@git+https://github.com/lucadellalib/focalcodec")


class MimiCodec:
    """The semantic codebook of a Mimi model: `labels` of 12.5 frames a second from audio at 24 kHz, 2,048 of them."""

    def __init__(self, model: str, revision: str | None, device: str, chunk_s: float, is_fetched: bool = False) -> None:
        """Raises SourceError for a model that cannot be had, is no Mimi, or lacks weights."""
        from transformers import MimiModel

        self.files = mimi_files(model, revision, is_fetched)
        self._model, missing = load_whole(MimiModel, self.files)
        config = self._model.config
        used = [name for name in self._model.state_dict() if name.startswith(("encoder", "downsample", "quantizer.semantic"))]
        refuse_random(self.files, missing, used)
        self._device = torch.device(device)
        self._model.to(self._device).eval()
        self.name, self.sample_rate_hz = self.files.short_name, int(config.sampling_rate)
        self._hop = round(config.sampling_rate / config.frame_rate)
        self.grid, self.codebook_size = FrameGrid(self.sample_rate_hz, self._hop), int(config.codebook_size)
        self.producer = {"model": self.files.name, "commit": self.files.commit, "codebook": "semantic",
                         "fingerprint": self.files.fingerprint()}
        self._frames_at_once = max(1, round(chunk_s * self.grid.rate))
        quantizer = self._model.quantizer.semantic_residual_vector_quantizer
        self._project, self._codewords = quantizer.input_proj, quantizer.layers[0].codebook.embed.float()
        self._latents: Tensor | None = None
        downsample = next(module for name, module in self._model.named_modules() if name.endswith("downsample"))
        downsample.register_forward_hook(lambda _module, _inputs, output: setattr(self, "_latents", output))

    def num_frames(self, num_samples: int) -> int:
        """Every begun frame counts."""
        return -(-num_samples // self._hop)

    def is_long(self, num_samples: int) -> bool:
        """Whether so much audio is streamed through, instead of at once."""
        return self.num_frames(num_samples) > self._frames_at_once

    def heard_s(self, num_samples: int) -> float:
        """How much audio Mimi reads for so much: whole frames."""
        return self.num_frames(num_samples) * self.grid.frame_s

    @torch.inference_mode()
    def labels(self, batch: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Waveforms float32 [n] → labels int64 [frames] and margins float32 [frames] of each: (d2 - d1) / d2 of the squared
        distances to the nearest codeword and the next. Long ones are streamed, which loses nothing: Mimi is causal."""
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        together = []
        for number, samples in enumerate(batch):
            if not len(samples):
                found[number] = np.zeros(0, np.int64), np.zeros(0, np.float32)
            elif self.is_long(len(samples)):
                parts = list(self._streamed(samples))
                found[number] = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            else:
                together.append(number)
        if together:
            frames = [self.num_frames(len(batch[number])) for number in together]
            padded = np.zeros((len(together), 1, max(frames) * self._hop), np.float32)
            for row, number in zip(padded, together, strict=True):
                row[0, :len(batch[number])] = batch[number]
            labels, margins, _ = self._encode(padded)
            for row, (number, count) in enumerate(zip(together, frames, strict=True)):
                found[number] = labels[row, :count], margins[row, :count]
        return [found[number] for number in range(len(batch))]

    def _streamed(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        whole = np.zeros(self.num_frames(len(samples)) * self._hop, np.float32)
        whole[:len(samples)] = samples
        at_once, state = self._frames_at_once * self._hop, {"use_streaming": True}
        for start in range(0, len(whole), at_once):
            labels, margins, output = self._encode(whole[None, None, start:start + at_once], **state)
            state |= {"padding_cache": output.padding_cache, "encoder_past_key_values": output.encoder_past_key_values}
            yield labels[0], margins[0]

    def _encode(self, samples: np.ndarray, **state: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """[b, 1, n] → labels and margins [b, t], and what the next call of a stream needs."""
        output = self._model.encode(torch.from_numpy(samples).to(self._device), num_quantizers=1, **state)
        assert self._latents is not None
        projected = self._project(self._latents) if self._project is not None else self._latents
        distances = torch.cdist(projected.transpose(1, 2).float(), self._codewords[None]).square()
        two = distances.topk(2, dim=2, largest=False).values
        margins = (two[:, :, 1] - two[:, :, 0]) / two[:, :, 1].clamp(min=1e-30)
        return output.audio_codes[:, 0].cpu().numpy(), margins.cpu().numpy(), output


def mimi_files(model: str, revision: str | None, is_fetched: bool = False) -> ModelFiles:
    """Where a Mimi model lies. Raises SourceError for a model that cannot be had, or is of another architecture."""
    files = model_files(model, revision, is_fetched)
    kind = read_json(files.folder / CONFIG).get("model_type")
    if kind != "mimi":
        raise SourceError(f"codec {model} is of the architecture {kind!r}, not 'mimi'",
                          "a codec such as kyutai/mimi; units of an encoder's layer need a codebook: utterloom units fit")
    return files


class _OneAtATime:
    """What is heard of a codec that hears padding: one utterance at a time, long ones in overlapping pieces."""

    name: str
    sample_rate_hz: int
    grid: FrameGrid
    codebook_size: int
    producer: dict[str, Any]

    def __init__(self, chunk_s: float, overlap_s: float) -> None:
        # The clock is read off the model: how many frames more 2 s more of audio give.
        less, more = (np.zeros(seconds * self.sample_rate_hz, np.float32) for seconds in (2, 4))
        frames = len(self._one(more)) - len(self._one(less))
        hop, rest = divmod(2 * self.sample_rate_hz, max(1, frames))
        if rest or not frames:
            raise SourceError(f"codec {self.name} gives {frames} frames for 2 s, which is no whole number of samples a frame")
        self.grid = FrameGrid(self.sample_rate_hz, hop)
        self._longest, self._overlap = round(chunk_s * self.grid.rate), round(overlap_s * self.grid.rate)

    def is_long(self, num_samples: int) -> bool:
        """Whether so much audio goes through in pieces."""
        return num_samples > self._longest * self.grid.hop_samples

    def heard_s(self, num_samples: int) -> float:
        """How much audio it reads for so much."""
        return num_samples / self.sample_rate_hz

    def labels(self, batch: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Waveforms float32 [n] → labels int64 [frames] of each; no margins, since none depends on a batch."""
        return [(self._labels(samples), None) for samples in batch]

    @torch.inference_mode()
    def _labels(self, samples: np.ndarray) -> np.ndarray:
        if not len(samples):
            return np.zeros(0, np.int64)
        if not self.is_long(len(samples)):
            return self._one(samples)
        hop, parts = self.grid.hop_samples, []
        num_frames = len(samples) // hop
        for piece in plan_pieces(num_frames, self._longest, self._overlap):
            is_last = piece.last == num_frames
            labels = self._one(samples[piece.start * hop:None if is_last else piece.stop * hop])
            parts.append(labels[piece.first - piece.start:None if is_last else piece.last - piece.start])
        return np.concatenate(parts)

    def _one(self, samples: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class SpeechTokenizerCodec(_OneAtATime):
    """RVQ-0 of SpeechTokenizer, through its own package: a folder with config.json and SpeechTokenizer.pt, as fnlp publishes.

    Run here with speechtokenizer 1.0.1 and random weights of the published sizes, not with the published weights.
    """

    def __init__(self, folder: str, device: str, chunk_s: float, overlap_s: float) -> None:
        """Raises MissingPackageError, and SourceError where the folder does not hold the model."""
        require_package(*SPEECHTOKENIZER_PACKAGE)
        try:
            from speechtokenizer import SpeechTokenizer
        except (ImportError, OSError) as error:
            raise _unusable(SPEECHTOKENIZER, error) from None
        whole = speechtokenizer_fingerprint(folder)
        try:
            files = [str(Path(folder) / name) for name in SPEECHTOKENIZER_FILES]
            self._model = SpeechTokenizer.load_from_checkpoint(*files).to(device).eval()
        except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"codec speechtokenizer: {folder} cannot be opened: {' '.join(str(error).split())[:300]}") from None
        self._device = torch.device(device)
        self.name, self.sample_rate_hz = SPEECHTOKENIZER, int(self._model.sample_rate)
        self.codebook_size = int(self._model.quantizer.bins)
        self.producer = {"codec": SPEECHTOKENIZER, "model": folder, "codebook": 0, "fingerprint": whole}
        super().__init__(chunk_s, overlap_s)

    @torch.inference_mode()
    def _one(self, samples: np.ndarray) -> np.ndarray:
        codes = self._model.encode(torch.from_numpy(samples)[None, None].to(self._device), n_q=1)  # [1, b, t]
        return np.asarray(codes[0, 0].cpu().numpy(), np.int64)


def speechtokenizer_fingerprint(folder: str) -> str:
    """Of the model in a folder, read whole. Raises SourceError where it is not there."""
    paths = [Path(folder) / name for name in SPEECHTOKENIZER_FILES]
    for path in paths:
        if not path.is_file():
            raise SourceError(f"codec speechtokenizer: there is no {path}",
                              "hf download fnlp/SpeechTokenizer --local-dir FOLDER; then "
                              "codec=speechtokenizer:FOLDER/speechtokenizer_hubert_avg")
    return fingerprint([sha256_of(path) for path in paths])


class FocalCodecUnits(_OneAtATime):
    """The one codebook of FocalCodec, through its own package: a configuration of the Hub, or a local one with its weights.

    Written after the package's documentation; it is not on the package index, and has not been run here.
    """

    def __init__(self, name: str, device: str, chunk_s: float, overlap_s: float) -> None:
        """Raises MissingPackageError, and SourceError where the package cannot open that configuration."""
        require_package(*FOCALCODEC_PACKAGE)
        try:
            from focalcodec import FocalCodec
        except (ImportError, OSError) as error:
            raise _unusable(FOCALCODEC, error) from None
        try:
            self._model = FocalCodec.from_pretrained(name).to(device).eval()
        except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"codec focalcodec:{name} cannot be opened: {' '.join(str(error).split())[:300]}",
                              "such as focalcodec:lucadellalib/focalcodec_50hz") from None
        self._device = torch.device(device)
        self.name, self.sample_rate_hz = name.rpartition("/")[2], int(self._model.sample_rate)
        self.codebook_size = int(self._model.codebook.shape[0])
        state = self._model.state_dict()
        self.producer = {"codec": FOCALCODEC, "model": name, "codebook": 0, "fingerprint": fingerprint_of_state(state)}
        super().__init__(chunk_s, overlap_s)

    @torch.inference_mode()
    def _one(self, samples: np.ndarray) -> np.ndarray:
        tokens = self._model.sig_to_toks(torch.from_numpy(samples)[None].to(self._device))  # [b, t]
        return np.asarray(tokens[0].cpu().numpy(), np.int64)


def fingerprint_of_state(state: dict[str, Tensor]) -> str:
    """Of weights in memory, where a package keeps their files to itself."""
    flat = {name: value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy() for name, value in state.items()}
    return fingerprint({name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in flat.items()})


def require_package(package: str, purpose: str, install: str) -> None:
    """Raises MissingPackageError that says how a package is installed that none of ours brings."""
    if find_spec(package) is None:
        error = MissingPackageError(package, package, purpose)
        error.hint = install
        raise error


def _unusable(package: str, error: Exception) -> SourceError:
    said = " ".join(str(error).split())[:200]
    return SourceError(f"the package {package} is installed, but cannot be imported: {said}", "pip install what it needs")
