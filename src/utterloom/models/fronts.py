"""How encoders of speech are fed: what each kind reads of a waveform, how many frames it gives, and where padding would leak in.

Shapes (suffixes):  b batch · n samples · i inputs (samples, or frames of log-mel) · t frames · c channels · d model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoModel

from utterloom.audio.logmel import log_mel, normalise
from utterloom.core.errors import SourceError
from utterloom.models.contract import Contract
from utterloom.models.ctc import ConformerCTCConfig, frame_mask
from utterloom.models.hub import ModelFiles, load_whole, quiet_transformers, refuse_random

STATISTICS_S = 20.0  # of audio at once, where group norm's statistics of a long recording are gathered
TRAINING_ONLY = {"masked_spec_embed"}
FBANK_WINDOW, FBANK_HOP = 400, 160  # Kaldi's, which the feature extractor of Wav2Vec2-BERT has built in


def _feature_extractor(files: ModelFiles) -> Any:
    """How the model wants its audio. Not its processor, which would ask for a tokenizer that most encoders lack (A-P7)."""
    with quiet_transformers():
        try:
            return AutoFeatureExtractor.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"model {files.name} does not say how its audio is prepared: {' '.join(str(error).split())[:200]}",
                              f"put the preprocessor_config.json that it was published with into {files.folder}") from None


class MaskedGroupNorm(nn.Module):
    """Group norm of one channel a group whose statistics are over each item's own frames, [b, c, t] → [b, c, t].

    `lengths_b` says how many those are; `statistics`, (mean [c], variance [c]), is used instead where it is set.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.lengths_b: Tensor | None = None
        self.statistics: tuple[Tensor, Tensor] | None = None

    def forward(self, x_bct: Tensor) -> Tensor:
        x = x_bct.float()  # changed in place: it is the largest thing that the encoder holds, and nobody else's
        if self.statistics is not None:
            mean, variance = (value[None, :, None] for value in self.statistics)
            x.sub_(mean)
        else:
            assert self.lengths_b is not None
            mask, count = frame_mask(self.lengths_b, x.shape[2])[:, None, :], self.lengths_b[:, None, None]
            x.mul_(mask).sub_(x.sum(2, keepdim=True) / count).mul_(mask)
            variance = (x * x).sum(2, keepdim=True) / count
        x.mul_(self.weight.float()[:, None] * torch.rsqrt(variance + self.eps)).add_(self.bias.float()[:, None])
        return x.to(x_bct.dtype)


class Front:
    """How one kind of encoder is fed; the fronts below are told from each other by what a model's inputs are."""

    sample_rate_hz: int
    hop_samples: int
    dim: int
    longest_frames: int | None = None
    hop_inputs: int = 1
    reach_inputs: int = 1

    network: Any
    dtype: torch.dtype
    device: torch.device

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device) -> None:
        """Load the network, cut to what hidden state `layer` needs. Raises SourceError."""
        raise NotImplementedError

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples, exactly."""
        raise NotImplementedError

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        """What the network reads of a whole utterance, normalised over its own samples: [i] or [i, mels]."""
        raise NotImplementedError

    def frames_of(self, num_inputs: int) -> int:
        """Frames of so many inputs, exactly."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, lengths_b: Tensor) -> Tensor:
        """Zero-padded inputs [b, i, …] and their lengths → frames [b, t, d]."""
        raise NotImplementedError

    def statistics(self, inputs: np.ndarray) -> Any:
        """What must be known of the whole utterance before its pieces go through."""
        return None

    def part(self, start: int, stop: int, num_frames: int) -> slice:
        """Which inputs give frames [start, stop) and no others."""
        return slice(start * self.hop_inputs, None if stop == num_frames else (stop - 1) * self.hop_inputs + self.reach_inputs)

    def run(self, inputs: Sequence[np.ndarray], statistics: Any) -> list[np.ndarray]:
        """One batch, padded here → float32 [frames, dim] of each."""
        lengths = [len(one) for one in inputs]
        padded = np.zeros((len(inputs), max(lengths), *inputs[0].shape[1:]), np.float32)
        for row, one in zip(padded, inputs, strict=True):
            row[:len(one)] = one
        hidden = self.forward(torch.from_numpy(padded).to(self.device, self.dtype), torch.tensor(lengths, device=self.device))
        return [frames[:self.frames_of(length)].float().cpu().numpy() for frames, length in zip(hidden, lengths, strict=True)]


def _cut(encoder: Any, layer: int) -> None:
    """Keep what hidden state `layer` needs: the final norm belongs to the last one alone."""
    if layer < len(encoder.layers):
        encoder.layers = encoder.layers[:layer]
        if hasattr(encoder, "layer_norm"):
            encoder.layer_norm = nn.Identity()


def _ready(network: Any, files: ModelFiles, missing: set[str], dtype: torch.dtype, device: torch.device, prefix: str = "") -> Any:
    """On its device in its precision, once nothing in it is random."""
    refuse_random(files, missing - TRAINING_ONLY, (prefix + name for name in network.state_dict()))
    return network.to(device=device, dtype=dtype).eval()


class WaveformFront(Front):
    """wav2vec 2.0 and its kin: convolutions over the waveform, without padding, then a transformer."""

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device) -> None:
        self.extractor = _feature_extractor(files)
        network, missing = load_whole(AutoModel, files)
        if getattr(network, "adapter", None) is not None:
            network.adapter = None  # it comes after the hidden states
        # Where layers begin with a norm, the encoder's own is the last step; elsewhere it comes before the first layer.
        if layer < len(network.encoder.layers):
            if getattr(network.config, "do_stable_layer_norm", False):
                network.encoder.layer_norm = nn.Identity()
            network.encoder.layers = network.encoder.layers[:layer]
        self.network = _ready(network, files, missing, dtype, device)
        self.dtype, self.device, self.dim = dtype, device, network.config.hidden_size
        self.sample_rate_hz = self.extractor.sampling_rate
        convolutions = network.feature_extractor.conv_layers
        self.kernels = [(layer.conv.kernel_size[0], layer.conv.stride[0]) for layer in convolutions]
        self.reach_inputs, self.hop_inputs = 1, 1
        for kernel, stride in self.kernels:
            self.reach_inputs += (kernel - 1) * self.hop_inputs
            self.hop_inputs *= stride
        self.hop_samples = self.hop_inputs
        norm = getattr(convolutions[0], "layer_norm", None)
        self.norm = None
        if isinstance(norm, nn.GroupNorm):
            self.norm = convolutions[0].layer_norm = MaskedGroupNorm(norm)
        self._valid_bt: Tensor | None = None
        for stacked in getattr(network.encoder.pos_conv_embed, "layers", [])[:-1]:  # data2vec: what is padding must stay zero
            stacked.register_forward_hook(lambda _module, _inputs, output_bdt: output_bdt * self._valid_bt[:, None, :])

    def num_frames(self, num_samples: int) -> int:
        return self.frames_of(num_samples)

    def frames_of(self, num_inputs: int) -> int:
        for kernel, stride in self.kernels:
            num_inputs = max(0, (num_inputs - kernel) // stride + 1)
        return num_inputs

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        found = self.extractor(samples, sampling_rate=self.sample_rate_hz, return_attention_mask=False)["input_values"][0]
        return np.asarray(found, np.float32)

    def _first(self, num_inputs: Any) -> Any:
        """Frames of the first convolution."""
        kernel, stride = self.kernels[0]
        return (num_inputs - kernel) // stride + 1

    def forward(self, inputs: Tensor, lengths_b: Tensor) -> Tensor:
        if self.norm is not None:
            self.norm.lengths_b = self._first(lengths_b)
        frames_b = torch.tensor([self.frames_of(length) for length in lengths_b.tolist()], device=self.device)
        self._valid_bt = frame_mask(frames_b, int(frames_b.max()))
        with warnings.catch_warnings():  # WavLM's mask is of truth values and its bias of numbers, which torch does not like
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            hidden: Tensor = self.network(inputs, attention_mask=frame_mask(lengths_b, inputs.shape[1]).long()).last_hidden_state
        return hidden

    def statistics(self, inputs: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Group norm's mean and variance of each channel over the whole utterance: a pass over the first convolution alone."""
        if self.norm is None:
            return None
        kernel, stride = self.kernels[0]
        num_first, at_once = self._first(len(inputs)), int(STATISTICS_S * self.sample_rate_hz) // stride
        count, mean, spread = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for start in range(0, num_first, at_once):
            stop = min(start + at_once, num_first)
            part = torch.from_numpy(inputs[start * stride:(stop - 1) * stride + kernel]).to(self.device, self.dtype)
            x_ct = self.network.feature_extractor.conv_layers[0].conv(part[None, None])[0].float()
            # Chan et al.: two sets of numbers with their means and squared deviations make one
            part_mean = x_ct.mean(1)
            part_spread = (x_ct - part_mean[:, None]).square().sum(1).double().cpu()
            off, number = part_mean.double().cpu() - mean, stop - start
            spread = spread + part_spread + off * off * (count * number / (count + number))
            count += number
            mean = mean + off * (number / count)
        return mean.float().to(self.device), (spread / count).float().to(self.device)

    def run(self, inputs: Sequence[np.ndarray], statistics: Any) -> list[np.ndarray]:
        if self.norm is not None:
            self.norm.statistics = statistics
        return super().run(inputs, statistics)


class FilterbankFront(Front):
    """Wav2Vec2-BERT: two frames of log-mel at a time, normalised over the utterance."""

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device) -> None:
        self.extractor = _feature_extractor(files)
        network, missing = load_whole(AutoModel, files)
        network.adapter = network.intermediate_ffn = None  # they come after the hidden states
        _cut(network.encoder, layer)
        self.network = _ready(network, files, missing, dtype, device)
        self.dtype, self.device, self.dim = dtype, device, network.config.hidden_size
        self.sample_rate_hz = self.extractor.sampling_rate
        self.hop_samples = FBANK_HOP * self.extractor.stride

    def num_frames(self, num_samples: int) -> int:
        return max(0, 1 + (num_samples - FBANK_WINDOW) // FBANK_HOP) // int(self.extractor.stride)

    def frames_of(self, num_inputs: int) -> int:
        return num_inputs

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        found = self.extractor(samples, sampling_rate=self.sample_rate_hz, pad_to_multiple_of=None)["input_features"][0]
        return np.asarray(found, np.float32)

    def forward(self, inputs: Tensor, lengths_b: Tensor) -> Tensor:
        hidden: Tensor = self.network(inputs, attention_mask=frame_mask(lengths_b, inputs.shape[1]).long()).last_hidden_state
        return hidden


class WhisperFront(Front):
    """Whisper's encoder: windows of 30 s of log-mel, padded to that by design, so that every batch has one shape."""

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device) -> None:
        self.extractor = _feature_extractor(files)
        model, missing = load_whole(AutoModel, files)
        network = model.get_encoder()
        _cut(network, layer)
        self.network = _ready(network, files, missing, dtype, device, prefix="encoder.")
        self.dtype, self.device, self.dim = dtype, device, network.config.d_model
        self.sample_rate_hz = self.extractor.sampling_rate
        self.hop_samples = self.hop_inputs = self.reach_inputs = 2 * self.extractor.hop_length
        self.longest_frames = network.config.max_source_positions
        window_samples = self.longest_frames * self.hop_samples
        if window_samples != self.extractor.n_samples:
            raise SourceError(f"model {files.name}: its windows are of {self.extractor.n_samples} samples in "
                              f"preprocessor_config.json and of {window_samples} in config.json")

    def num_frames(self, num_samples: int) -> int:
        return -(-num_samples // self.hop_samples)

    def frames_of(self, num_inputs: int) -> int:
        return self.num_frames(num_inputs)

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        return samples

    def run(self, inputs: Sequence[np.ndarray], statistics: Any) -> list[np.ndarray]:
        # one at a time: the extractor reckons a batch in another order of sums than an utterance alone
        mels = np.stack([self.extractor(one, sampling_rate=self.sample_rate_hz, return_tensors="np")["input_features"][0]
                         for one in inputs])
        hidden = self.network(torch.from_numpy(mels).to(self.device, self.dtype)).last_hidden_state
        return [frames[:self.num_frames(len(one))].float().cpu().numpy() for frames, one in zip(hidden, inputs, strict=True)]


class ConformerFront(Front):
    """Our own conformer: log-mel as the model's contract says, normalised over the utterance."""

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device) -> None:
        self.parameters = Contract.load(files.folder).features
        network, missing = load_whole(AutoModel, files)
        _cut(network, layer)
        self.network = _ready(network, files, missing, dtype, device)
        self.dtype, self.device, self.dim = dtype, device, network.config.hidden_size
        self.sample_rate_hz = self.parameters.sample_rate_hz
        self.hop_inputs = self.reach_inputs = network.config.subsampling
        self.hop_samples = self.parameters.hop_samples * self.hop_inputs

    def num_frames(self, num_samples: int) -> int:
        return self.frames_of(self.parameters.num_frames(num_samples))

    def frames_of(self, num_inputs: int) -> int:
        return int(self.network.config.output_length(num_inputs))

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        return normalise(log_mel(samples, self.parameters))

    def forward(self, inputs: Tensor, lengths_b: Tensor) -> Tensor:
        hidden: Tensor = self.network(inputs, lengths_b)[0]
        return hidden


def _parakeet(*given: Any) -> Front:
    from utterloom.models.parakeet import ParakeetFront  # which is built on this module

    return ParakeetFront(*given)


FRONTS: dict[str, Callable[[ModelFiles, int, torch.dtype, torch.device], Front]] = {
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat"), WaveformFront),
    "wav2vec2-bert": FilterbankFront,
    "whisper": WhisperFront,
    ConformerCTCConfig.model_type: ConformerFront,
    **dict.fromkeys(("parakeet_ctc", "parakeet_encoder", "parakeet_rnnt", "parakeet_tdt"), _parakeet),
}
