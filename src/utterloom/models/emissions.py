"""CTC emissions of any model in Hugging Face format: log-probabilities of its tokens, frame by frame, and how it spells a text.

Shapes (suffixes): t frames · v vocabulary.

A CTC model is an encoder and one linear map onto its tokens. So the emissions are the encoder's last hidden state (`encoder.py`,
with its batch invariance, exact frame counts and overlapping pieces of long audio), mapped. Models that put more in between (the
adapters of some wav2vec 2.0 models) are refused.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCTC, AutoTokenizer

from utterloom.core.errors import SourceError
from utterloom.models.contract import FILE_NAME, Contract
from utterloom.models.encoder import SpeechEncoder
from utterloom.models.hub import load_whole, quiet_transformers, refuse_random
from utterloom.text.tokenizers import BLANK_ID, UNKNOWN_ID, WORD_START, CTCTokenizer

HEADS = ("lm_head", "head", "ctc_head")


@dataclass(frozen=True)
class Spelled:
    """A word in a model's tokens: `ids`, and for each the characters [first, stop) of the word that it stands for. A token that
    stands for none (the mark of a word's beginning) has an empty span. `num_lost` characters have no token."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    num_lost: int


class Spelling(Protocol):
    """How a model writes words. `between` is the token that it writes between two of them, or None."""

    between: int | None = None

    def spell(self, word: str) -> Spelled:
        """One word, without the token between words."""
        ...


class CTCEmitter:
    """Audio in, log-probabilities out. `grid` is the clock of its frames, `view` the text view that it was trained on, if it says;
    `shift` [v] what is added to log-probabilities before a path is sought in them (a model that was trained with a prior), or None.
    """

    def __init__(self, encoder: SpeechEncoder, head: tuple[Tensor, Tensor], spelling: Spelling, blank: int, view: str | None,
                 shift: np.ndarray | None = None) -> None:
        self.encoder, self._head, self.spelling, self.blank, self.view, self.shift = encoder, head, spelling, blank, view, shift
        self.grid, self.sample_rate_hz = encoder.grid, encoder.sample_rate_hz

    @classmethod
    def open(cls, model: str, revision: str | None = None, device: str = "cpu", *, chunk_s: float = 30.0, overlap_s: float = 3.0,
             is_fetched: bool = False) -> CTCEmitter:
        """From a run of ours, a folder, or the Hub. Raises SourceError where it is no CTC model, or one with adapters."""
        encoder = SpeechEncoder.open(model, revision, -1, device, chunk_s=chunk_s, overlap_s=overlap_s, is_fetched=is_fetched)
        files = encoder.files
        whole, missing = load_whole(AutoModelForCTC, files)
        if getattr(whole.config, "add_adapter", False) or getattr(whole.config, "adapter_attn_dim", None):
            raise SourceError(f"model {files.name} has adapters between its encoder and its tokens, which are not read here",
                              "choose a CTC model without them, such as one of ours")
        name = next((name for name in HEADS if hasattr(whole, name)), None)
        if name is None:
            raise SourceError(f"model {files.name} is not a CTC model: it has no layer onto tokens ({', '.join(HEADS)})")
        head = getattr(whole, name)
        refuse_random(files, missing, (f"{name}.{part}" for part in head.state_dict()))
        weight = head.weight.detach().float()
        weight = weight[:, :, 0] if weight.ndim == 3 else weight
        bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach().float()
        folder = Path(files.folder)
        if (folder / FILE_NAME).is_file():
            zeros = torch.zeros(len(weight))  # of which log-softmax leaves a constant
            shift = (whole.alignment_scores(zeros) - zeros.log_softmax(-1)).numpy() if whole.config.prior_weight else None
            spelling = _OurSpelling(CTCTokenizer.load(folder))
            return cls(encoder, (weight, bias), spelling, BLANK_ID, Contract.load(folder).view, shift)
        blank = getattr(whole.config, "blank_token_id", None)
        blank = int(whole.config.pad_token_id if blank is None else blank)
        return cls(encoder, (weight, bias), _spelling(files.name, folder, blank), blank, None)

    def _log_probs(self, frames: np.ndarray) -> np.ndarray:
        weight, bias = self._head
        logits: Tensor = torch.from_numpy(frames) @ weight.T + bias
        return np.asarray(logits.log_softmax(-1).numpy())

    def emissions(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waveforms float32 [samples] → log-probabilities float32 [t, v] of each."""
        return [self._log_probs(frames) for frames in self.encoder.encode(batch)]

    def pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """The same of one long recording, in order, some frames at a time."""
        for frames in self.encoder.pieces(samples):
            yield self._log_probs(frames)


class _OurSpelling(Spelling):
    def __init__(self, tokenizer: CTCTokenizer) -> None:
        inner = json.loads(tokenizer.to_json())
        vocabulary = inner["model"]["vocab"]
        self._pieces = ({number: piece for piece, number in vocabulary.items()} if isinstance(vocabulary, dict)
                        else {number: piece for number, (piece, _) in enumerate(vocabulary)})
        self._tokenizer = tokenizer

    def spell(self, word: str) -> Spelled:
        ids, spans, at, lost = [], [], 0, 0
        for number in self._tokenizer.encode(word):
            if number == UNKNOWN_ID:
                lost += 1
                at += 1
                continue
            size = len(self._pieces[number].removeprefix(WORD_START))
            ids.append(number)
            spans.append((at, min(at + size, len(word))))
            at += size
        return Spelled(tuple(ids), tuple(spans), lost) if len(ids) > sum(first == stop for first, stop in spans) else \
            Spelled((), (), len(word))


class _CharacterSpelling(Spelling):
    """A table of single characters (wav2vec 2.0 and its kin), in whichever case it has them."""

    def __init__(self, vocabulary: dict[str, int], between: int | None, special: set[int]) -> None:
        self.between = between
        self._ids = {character: number for character, number in vocabulary.items()
                     if len(character) == 1 and number not in special and number != between}

    def spell(self, word: str) -> Spelled:
        ids, spans, lost = [], [], 0
        for at, character in enumerate(unicodedata.normalize("NFC", word)):
            found = next((self._ids[form] for form in (character, character.lower(), character.upper()) if form in self._ids), None)
            if found is None:
                lost += 1
            else:
                ids.append(found)
                spans.append((at, at + 1))
        return Spelled(tuple(ids), tuple(spans), lost)


class _PieceSpelling(Spelling):
    """A tokenizer of pieces (Parakeet's is SentencePiece), which says where each piece stands."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._unknown = tokenizer.unk_token_id

    def spell(self, word: str) -> Spelled:
        found = self._tokenizer(word, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans, lost = [], [], 0
        for number, (first, stop) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            if number == self._unknown:
                lost += max(1, stop - first)
            else:
                ids.append(number)
                spans.append((first, stop))
        return Spelled(tuple(ids), tuple(spans), lost) if any(first < stop for first, stop in spans) else Spelled((), (), len(word))


@lru_cache(maxsize=4)
def _spelling(name: str, folder: Path, blank: int) -> Spelling:
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise SourceError(f"model {name} has no tokenizer that can be opened: {' '.join(str(error).split())[:200]}",
                              "a CTC model is published with its vocab.json or tokenizer.json") from None
    vocabulary = tokenizer.get_vocab()
    # transformers lists `|` of wav2vec 2.0 among the special tokens, and characters of the language are none
    between = getattr(tokenizer, "word_delimiter_token_id", None)
    if not tokenizer.is_fast or between is not None:
        return _CharacterSpelling(vocabulary, between, {blank, *tokenizer.all_special_ids} - {between})
    return _PieceSpelling(tokenizer)
