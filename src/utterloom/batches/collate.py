"""Items → padded arrays. Picklable, torch-free: they run in reading workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utterloom.audio.augment import Augmentation, augmented_features, generator
from utterloom.audio.logmel import LogMelParameters, log_mel, normalise
from utterloom.batches.loader import Item
from utterloom.text.tokenizers import CTCTokenizer, ctc_frames_needed


def pad_rows(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """[t_i, m] each → zero-padded [b, t, m] and lengths [b]."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded = np.zeros((len(rows), int(lengths.max(initial=0)), *(rows[0].shape[1:] if rows else (0,))), dtype=np.float32)
    for target, row in zip(padded, rows, strict=True):
        target[:len(row)] = row
    return padded, lengths


@dataclass(frozen=True)
class CollateSamples:
    """Decoded audio, padded: `samples` [b, n] float32, `lengths` [b]."""

    def __call__(self, items: list[Item], epoch: int) -> dict[str, Any]:
        lengths = np.array([item.num_samples for item in items], dtype=np.int64)
        samples = np.empty((len(items), int(lengths.max(initial=0))), dtype=np.float32)
        for row, item in zip(samples, items, strict=True):
            item.decode_into(row)
            row[item.num_samples:] = 0.0
        return {"samples": samples, "lengths": lengths}


@dataclass(frozen=True)
class CollateFeatures:
    """Log-mel features, as they are or varied: `features` [b, t, m], `lengths` [b]; with a tokenizer also `targets`
    (all ids in a row) and `target_lengths` [b]."""

    parameters: LogMelParameters
    augmentation: Augmentation | None = None
    seed: int = 0
    tokenizer_json: str | None = None
    frames_per_token: int = 0

    def __call__(self, items: list[Item], epoch: int) -> dict[str, Any]:
        encoded = [_tokenizer(self.tokenizer_json).encode(item.text or "") if self.tokenizer_json else [] for item in items]
        features, lengths = pad_rows([self._features(item, epoch, ids) for item, ids in zip(items, encoded, strict=True)])
        arrays: dict[str, Any] = {"features": features, "lengths": lengths}
        if self.tokenizer_json is not None:
            arrays["targets"] = np.array([token for ids in encoded for token in ids], dtype=np.int64)
            arrays["target_lengths"] = np.array([len(ids) for ids in encoded], dtype=np.int64)
        return arrays

    def _features(self, item: Item, epoch: int, ids: list[int]) -> np.ndarray:
        samples = item.samples()
        if self.augmentation is None:
            return normalise(log_mel(samples, self.parameters))
        augmentation = self.augmentation.at(epoch)
        # Speech that only just holds its tokens must not be made faster: CTC would have no path left.
        fastest = round(len(samples) / (1.0 + augmentation.tempo))
        if self.parameters.num_frames(max(1, fastest)) < ctc_frames_needed(ids) * self.frames_per_token:
            augmentation = replace(augmentation, tempo=0.0)
        return augmented_features(samples, self.parameters, augmentation, generator(self.seed, epoch, item.id))


_tokenizers: dict[str, CTCTokenizer] = {}


def _tokenizer(text: str) -> CTCTokenizer:
    """Parsed once a process."""
    if text not in _tokenizers:
        _tokenizers.clear()
        _tokenizers[text] = CTCTokenizer.from_json(text)
    return _tokenizers[text]
