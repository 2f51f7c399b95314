"""Parakeet: its encoder, as one more front of `SpeechEncoder`, and what its TDT models hear, with the time of each word.

TDT (token-and-duration transducer) says with every token for how many frames of 80 ms it lasts. The greedy search over its joint
network is our own, since that of transformers (5.23) gives no probabilities, takes a duration's place in the list for the
duration, and lets a model that goes on emitting at one frame do so until the whole batch is cut off; where none of this matters
the two agree, which a test holds.

The weights of the Hub were not to be had where this was written: it was run on small models of the same classes, saved and
opened as published ones are.

Shapes (suffixes):  b batch · i log-mel frames · t frames · d model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, ParakeetFeatureExtractor, ParakeetForTDT
from transformers.models.parakeet.feature_extraction_parakeet import EPSILON

from utterloom.core.errors import SourceError
from utterloom.models.ctc import frame_mask
from utterloom.models.encoder import SpeechEncoder, open_config
from utterloom.models.fronts import Front, _cut, _feature_extractor, _ready
from utterloom.models.hub import ModelFiles, load_whole, model_files, quiet_transformers, refuse_random
from utterloom.text.tokenizers import WORD_START

TDT = "parakeet_tdt"
MOST_MEL_FRAMES = 12_000  # of log-mel at once, 2 minutes: a spectrum of hours would fill memory
SPOKEN_MARKS = frozenset("%&@#‰§")  # Unicode calls them punctuation, people say them
# Two choices as alike as this are told apart by rounding, which the batch decides: such an utterance is heard alone.
TIE, RELATIVE_TIE = 1e-3, 1e-4


def is_tdt(config: Any) -> bool:
    """Whether a configuration (`encoder.open_config`) is of a Parakeet that times its own tokens."""
    return bool(config.model_type == TDT)


class ParakeetFront(Front):
    """Parakeet's encoder: log-mel, normalised over the utterance, eight frames of which are one of the encoder's.

    transformers masks padding in the subsampling, in attention and in the convolutions, and batch norm has its statistics from
    training. What would go wrong is kept from it: its normalisation sums over padding in another order, so utterances are prepared
    one at a time; the frequencies of its positions stay in float32, as where it loads a model in half precision itself; and one
    frame of log-mel, which has no deviation and becomes NaN, gives no frames.
    """

    def __init__(self, files: ModelFiles, layer: int, dtype: torch.dtype, device: torch.device,
                 loaded: tuple[Any, set[str]] | None = None) -> None:
        """`loaded` is (the whole model, the weights that its files lack) where it has been opened before. Raises SourceError."""
        self.extractor = _feature_extractor(files)
        if not isinstance(self.extractor, ParakeetFeatureExtractor):
            raise SourceError(f"model {files.name}: its audio is prepared by a {type(self.extractor).__name__}, not a Parakeet's")
        model, missing = loaded or load_whole(AutoModel, files)
        encoder = getattr(model, "encoder", model)
        config = encoder.config
        if config.num_mel_bins != self.extractor.feature_size:
            raise SourceError(f"model {files.name}: its log-mel has {self.extractor.feature_size} bins in "
                              f"preprocessor_config.json and {config.num_mel_bins} in config.json")
        _cut(encoder, layer)
        self.network = _ready(encoder, files, missing, dtype, device, prefix="" if encoder is model else "encoder.")
        positions = encoder.encode_positions
        positions.inv_freq = positions.compute_default_relative_positional_parameters(config).to(device)
        self.dtype, self.device, self.dim = dtype, device, config.hidden_size
        self.sample_rate_hz = self.extractor.sampling_rate
        self.kernel, self.stride = config.subsampling_conv_kernel_size, config.subsampling_conv_stride
        self.num_convolutions = encoder.subsampling.num_layers
        self.hop_inputs = self.reach_inputs = self.stride ** self.num_convolutions
        self.hop_samples = self.extractor.hop_length * self.hop_inputs

    def num_frames(self, num_samples: int) -> int:
        return self.frames_of(self._num_mel_frames(num_samples))

    def _num_mel_frames(self, num_samples: int) -> int:
        n_fft = int(self.extractor.n_fft)
        return max(0, (num_samples + n_fft // 2 * 2 - n_fft) // int(self.extractor.hop_length))

    def frames_of(self, num_inputs: int) -> int:
        if num_inputs < 2:
            return 0
        for _ in range(self.num_convolutions):
            num_inputs = (num_inputs + (self.kernel - 1) // 2 * 2 - self.kernel) // self.stride + 1
        return num_inputs

    def inputs(self, samples: np.ndarray) -> np.ndarray:
        num_mel_frames = self._num_mel_frames(len(samples))
        if num_mel_frames > MOST_MEL_FRAMES:
            return self._in_parts(samples, num_mel_frames)
        found = self.extractor(samples, sampling_rate=self.sample_rate_hz)["input_features"][0]
        return np.asarray(found[:num_mel_frames], np.float32)  # a last one that transformers masks is left out

    def _in_parts(self, samples: np.ndarray, num_mel_frames: int) -> np.ndarray:
        """What the feature extractor gives of a long recording, from spectra of some minutes each."""
        extractor, hop = self.extractor, int(self.extractor.hop_length)
        if extractor.preemphasis is not None:
            samples = np.concatenate([samples[:1], samples[1:] - np.float32(extractor.preemphasis) * samples[:-1]])
        around = -(-int(extractor.n_fft) // (2 * hop))  # frames from whose middle on a spectrum hears no edge
        mel = np.empty((num_mel_frames, extractor.feature_size), np.float32)
        parts = [slice(first, min(first + MOST_MEL_FRAMES, num_mel_frames)) for first in range(0, num_mel_frames, MOST_MEL_FRAMES)]
        for part in parts:
            begin = max(0, part.start - around)
            heard = torch.from_numpy(samples[begin * hop:(part.stop + around) * hop])
            mel[part] = extractor._torch_extract_fbank_features(heard[None])[0, part.start - begin:part.stop - begin].numpy()
        mean = np.sum([mel[part].sum(0, np.float64) for part in parts], 0) / num_mel_frames
        squares = np.sum([np.square(mel[part] - mean).sum(0) for part in parts], 0)
        mel -= mean.astype(np.float32)
        mel /= (np.sqrt(squares / (num_mel_frames - 1)) + EPSILON).astype(np.float32)
        return mel

    def forward(self, inputs: Tensor, lengths_b: Tensor) -> Tensor:
        hidden: Tensor = self.network(inputs, attention_mask=frame_mask(lengths_b, inputs.shape[1])).last_hidden_state
        return hidden


class HeardWord(NamedTuple):
    """A word in seconds, half-open. `score` is the geometric mean of its tokens' probabilities, in (0, 1]."""

    word: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Heard:
    """What was heard in one recording: its `text`, and its `words` in their order, none of which overlap; gaps are where nothing
    was said. `failed` is why it could not be heard, or None."""

    text: str = ""
    words: tuple[HeardWord, ...] = ()
    failed: str | None = None


class Emitted(NamedTuple):
    """A token that begins at `frame` and lasts `duration` frames, which may be none: the next one is then at the same frame."""

    token: int
    frame: int
    duration: int
    log_prob: float


@dataclass
class SearchState:
    """Where a greedy search stands: what the prediction network gives after the last token, and its LSTM; the next `frame_b`,
    counted from the first of the next frames; the tokens that this frame has emitted without going on."""

    prediction_bd: Tensor
    hidden: Tensor
    cell: Tensor
    frame_b: Tensor
    symbols_b: Tensor


class GreedyTdt:
    """Greedy search of a TDT model: at each frame the likeliest token and the likeliest duration, then on by that duration.

    A blank goes on by one frame at least. After `max_symbols_per_step` tokens without duration a frame is left all the same.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        config = model.config
        self.blank, self.vocab_size = int(config.blank_token_id), int(config.vocab_size)
        self.most_symbols = max(1, int(config.max_symbols_per_step))
        self.projector, self.decoder, self.joint = (part.to(device=device, dtype=torch.float32).eval()
                                                    for part in (model.encoder_projector, model.decoder, model.joint))
        self.device, self.durations = device, torch.tensor(config.durations, device=device)

    @torch.inference_mode()
    def start(self, size: int) -> SearchState:
        """Before any of `size` recordings: the prediction network has read a blank."""
        blanks, zeros = torch.full((size,), self.blank, device=self.device), torch.zeros(size, dtype=torch.long, device=self.device)
        prediction_bd, (hidden, cell) = self._predict(blanks, None)
        return SearchState(prediction_bd, hidden, cell, zeros, zeros.clone())

    def _predict(self, tokens_b: Tensor, memory: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, memory = self.decoder.lstm(self.decoder.embedding(tokens_b)[:, None], memory)
        return self.decoder.decoder_projector(output)[:, 0], memory

    @torch.inference_mode()
    def search(self, frames: Sequence[np.ndarray], state: SearchState) -> tuple[list[list[Emitted]], list[bool]]:
        """The next frames of each recording, float32 [t, d] → the tokens that begin in them, counted from their first, and whether
        rounding could have changed a choice. `state` is moved to after them."""
        lengths_b = torch.tensor([len(one) for one in frames], device=self.device)
        padded = torch.zeros(len(frames), max(map(len, frames)), frames[0].shape[1])
        for row, one in zip(padded, frames, strict=True):
            row[:len(one)] = torch.from_numpy(one)
        projected_btd = self.projector(padded.to(self.device))
        rows, last = torch.arange(len(frames), device=self.device), padded.shape[1] - 1
        is_tied_b = torch.zeros(len(frames), dtype=torch.bool, device=self.device)
        steps: list[tuple[Tensor, ...]] = []
        while bool((is_on := state.frame_b < lengths_b).any()):
            logits = self.joint(decoder_hidden_states=state.prediction_bd,
                                encoder_hidden_states=projected_btd[rows, state.frame_b.clamp(max=last)])
            token_logits, duration_logits = logits[:, :self.vocab_size], logits[:, self.vocab_size:]
            token_b, is_tied_b = token_logits.argmax(-1), is_tied_b | is_on & (_is_tied(token_logits) | _is_tied(duration_logits))
            is_blank = token_b == self.blank
            skip_b = self.durations[duration_logits.argmax(-1)]
            skip_b = torch.where(is_blank, skip_b.clamp(min=1), skip_b)
            log_prob_b = token_logits.log_softmax(-1)[rows, token_b]
            is_said = is_on & ~is_blank
            steps.append((is_said, token_b, state.frame_b, skip_b, log_prob_b))
            symbols_b = torch.where(skip_b > 0, 0, state.symbols_b + 1)
            is_stuck = symbols_b >= self.most_symbols
            state.symbols_b = torch.where(is_on, symbols_b.masked_fill(is_stuck, 0), state.symbols_b)
            state.frame_b = torch.where(is_on, state.frame_b + skip_b + is_stuck, state.frame_b)
            if bool(is_said.any()):
                said = is_said.nonzero()[:, 0]
                prediction_bd, (hidden, cell) = self._predict(token_b[said], (state.hidden[:, said], state.cell[:, said]))
                state.prediction_bd[said], state.hidden[:, said], state.cell[:, said] = prediction_bd, hidden, cell
        state.frame_b = state.frame_b - lengths_b
        return _by_recording(steps, len(frames)), is_tied_b.tolist()


def _is_tied(logits: Tensor) -> Tensor:
    """Whether the two largest of [b, choices] are as alike as rounding makes them: [b]."""
    if logits.shape[1] < 2:
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    first, second = logits.topk(2).values.unbind(1)
    return first - second < TIE + RELATIVE_TIE * first.abs()


def _by_recording(steps: Sequence[tuple[Tensor, ...]], size: int) -> list[list[Emitted]]:
    emitted: list[list[Emitted]] = [[] for _ in range(size)]
    if steps:
        columns = [torch.stack(column, 1).tolist() for column in zip(*steps, strict=True)]
        for found, *rows in zip(emitted, *columns, strict=True):
            found.extend(Emitted(*values) for is_said, *values in zip(*rows, strict=True) if is_said)
    return emitted


class Pieces:
    """A SentencePiece vocabulary as its words are read off it: which pieces begin one, which are said, which are no text at all."""

    def __init__(self, files: ModelFiles) -> None:
        """Raises SourceError where the model has no tokenizer of pieces."""
        self._backend = _tokenizer(files.name, files.folder).backend_tokenizer
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        special = {number for number, token in self._backend.get_added_tokens_decoder().items() if token.special}
        self._pieces: dict[int, str] = {number: piece for piece, number in vocabulary.items() if number not in special}
        if not any(piece.startswith(WORD_START) for piece in self._pieces.values()):
            raise SourceError(f"model {files.name}: none of its pieces begins with {WORD_START!r}, so its words are not known",
                              "its tokenizer.json is of another model, or not SentencePiece's")

    def is_text(self, token: int) -> bool:
        """Whether it is a piece of text: no control symbol, and not unknown."""
        return token in self._pieces

    def begins_word(self, token: int) -> bool:
        """Whether a word begins with it."""
        return self._pieces[token].startswith(WORD_START)

    def is_said(self, token: int) -> bool:
        """Whether it has anything but spaces and marks that nobody says."""
        return any(character in SPOKEN_MARKS or unicodedata.category(character)[0] not in "PZC"
                   for character in self._pieces[token].replace(WORD_START, ""))

    def text(self, tokens: Sequence[int]) -> str:
        """What they spell, without spaces at its ends."""
        return str(self._backend.decode(list(tokens), skip_special_tokens=True)).strip()


def _tokenizer(name: str, folder: Path) -> Any:
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise SourceError(f"model {name} has no tokenizer that can be opened: {' '.join(str(error).split())[:200]}",
                              f"put the tokenizer.json that it was published with into {folder}") from None
    if not tokenizer.is_fast:
        raise SourceError(f"model {name} has no tokenizer.json", f"put the one that it was published with into {folder}")
    return tokenizer


@dataclass
class _Word:
    text: str
    start: int
    stop: int
    score: float


def words_of(emitted: Sequence[Emitted], pieces: Pieces, frame_s: float, duration_s: float) -> tuple[HeardWord, ...]:
    """Tokens → words with their times, half-open, none of them empty, none overlapping.

    A word lasts from where the first of its pieces that is said begins to where the last ends, a piece at least one frame; a mark
    belongs to the word before (the first one to the word after) and to its text only, since models let marks last into the
    silence. A word stops where the next one begins; those that begin at the same frame share it.
    """
    groups: list[list[Emitted]] = []
    for token in emitted:
        if not pieces.is_text(token.token):
            continue
        if not groups or pieces.begins_word(token.token):
            groups.append([])
        groups[-1].append(token)
    words: list[_Word] = []
    opening = ""
    for group in groups:
        text = pieces.text([token.token for token in group])
        said = [token for token in group if pieces.is_said(token.token)]
        if said:
            stop = max(token.frame + max(1, token.duration) for token in said)
            words.append(_Word(opening + text, said[0].frame, stop, exp(sum(token.log_prob for token in said) / len(said))))
            opening = ""
        elif words:
            words[-1].text += text
        else:
            opening += text
    return tuple(_placed(words, frame_s, duration_s))


def _placed(words: Sequence[_Word], frame_s: float, duration_s: float) -> list[HeardWord]:
    placed: list[HeardWord] = []
    first = 0
    while first < len(words):
        start = words[first].start
        after = next((number for number in range(first, len(words)) if words[number].start > start), len(words))
        stop = min(words[after - 1].stop, words[after].start) if after < len(words) else words[after - 1].stop
        start_s, shared_s = start * frame_s, min((start + 1) * frame_s, duration_s) - start * frame_s
        borders = [start_s + shared_s * number / (after - first) for number in range(after - first)]
        borders.append(min(stop * frame_s, duration_s))
        placed.extend(HeardWord(word.text, *span, word.score) for word, span in
                      zip(words[first:after], pairwise(borders), strict=True))
        first = after
    return placed


class ParakeetTdt:
    """What a Parakeet TDT model hears, and when. `sample_rate_hz` is of the audio that it wants."""

    def __init__(self, encoder: SpeechEncoder, search: GreedyTdt, pieces: Pieces) -> None:
        self.encoder, self._search, self._pieces = encoder, search, pieces
        self.files, self.sample_rate_hz = encoder.files, encoder.sample_rate_hz

    @classmethod
    def open(cls, model: str, revision: str | None = None, device: str = "cpu", compute: str = "float32", *,
             chunk_s: float = 60.0, overlap_s: float = 10.0, is_fetched: bool = False) -> ParakeetTdt:
        """From a folder (offline) or the Hub. `compute` (float32, float16 or bfloat16) is of the encoder; the rest is float32.

        Raises SourceError where the model cannot be had, is no Parakeet TDT, or lacks weights or its tokenizer; ConfigError for
        pieces of long audio that cannot be."""
        files = model_files(model, revision, is_fetched)
        config = open_config(files)
        if not is_tdt(config):
            raise SourceError(f"model {files.name} is a {config.model_type}, which does not time what it hears",
                              "choose a Parakeet TDT, such as nvidia/parakeet-tdt-0.6b-v3")
        if not 0 <= config.blank_token_id < config.vocab_size:
            raise SourceError(f"model {files.name}: its blank is token {config.blank_token_id} of {config.vocab_size}",
                              "blank_token_id of config.json must be one of its tokens")
        whole, missing = load_whole(ParakeetForTDT, files)
        refuse_random(files, missing, whole.state_dict())
        layers = config.encoder_config.num_hidden_layers
        front = ParakeetFront(files, layers, getattr(torch, compute), torch.device(device), (whole, missing))
        encoder = SpeechEncoder(front, files, layers, layers, chunk_s, overlap_s)
        return cls(encoder, GreedyTdt(whole, torch.device(device)), Pieces(files))

    def hear(self, batch: Sequence[np.ndarray]) -> list[Heard]:
        """Some waveforms, float32 [n] at `sample_rate_hz` → what was heard in each, in float32 the same alone and in any batch.

        Those short enough go through as one batch. The frames of a long one come piece by piece, and one search goes on over all
        of them, so that no word is heard twice or lost where two pieces meet. One with a sample that is not a finite number, or of
        which the encoder makes none, is `failed`; without a frame, nothing is heard."""
        found: dict[int, Heard] = {}
        together: list[int] = []
        for number, samples in enumerate(batch):
            if not np.isfinite(samples).all():
                found[number] = Heard(failed="bad audio: some of its samples are not finite numbers")
            elif self.encoder.num_frames(len(samples)) == 0:
                found[number] = Heard()
            elif self.encoder.is_long(len(samples)):
                found[number] = self._hear_long(samples)
            else:
                together.append(number)
        frames = dict(zip(together, self.encoder.encode([batch[number] for number in together]), strict=True)) if together else {}
        for number in together:
            if not np.isfinite(frames[number]).all():
                found[number] = _OVERFLOWN
                del frames[number]
        if frames:
            emitted, is_tied = self._search.search(list(frames.values()), self._search.start(len(frames)))
            for number, tokens, tied in zip(frames, emitted, is_tied, strict=True):
                is_alone = len(together) == 1
                found[number] = self._heard(tokens, batch[number]) if is_alone or not tied else self.hear([batch[number]])[0]
        return [found[number] for number in range(len(batch))]

    def _hear_long(self, samples: np.ndarray) -> Heard:
        state, tokens, num_frames = self._search.start(1), list[Emitted](), 0
        for frames in self.encoder.pieces(samples):
            if not np.isfinite(frames).all():
                return _OVERFLOWN
            (emitted,), _ = self._search.search([frames], state)
            tokens.extend(token._replace(frame=token.frame + num_frames) for token in emitted)
            num_frames += len(frames)
        return self._heard(tokens, samples)

    def _heard(self, tokens: Sequence[Emitted], samples: np.ndarray) -> Heard:
        text = self._pieces.text([token.token for token in tokens if self._pieces.is_text(token.token)])
        return Heard(text, words_of(tokens, self._pieces, self.encoder.grid.frame_s, len(samples) / self.sample_rate_hz))


_OVERFLOWN = Heard(failed="not finite: the encoder gave numbers that are none; compute=float32 reaches further")
