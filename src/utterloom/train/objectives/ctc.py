"""Connectionist temporal classification (Graves et al. 2006), with intermediate CTC where the network taps its layers.

Shapes: b batch · s encoder frames · v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from utterloom.audio.augment import Augmentation
from utterloom.audio.logmel import LogMelParameters
from utterloom.batches.collate import CollateFeatures
from utterloom.batches.loader import MicroBatch
from utterloom.models.ctc import ConformerCTCConfig, ConformerForCTC
from utterloom.text.tokenizers import BLANK_ID, CTCTokenizer, ctc_frames_needed


@dataclass
class Statistics:
    """Additive: sums over utterances and the count that they are divided by, over a whole step, whatever its micro-batches.

    `loss_sum` carries the gradient, `loss_b` [b] is each utterance's own (detached), `count` the target tokens.
    """

    loss_sum: Tensor
    loss_b: Tensor
    count: int


class CTCObjective:
    """Tokens of a text view from log-mel features, aligned by CTC."""

    name = "ctc"

    def __init__(self, tokenizer: CTCTokenizer, features: LogMelParameters) -> None:
        self.tokenizer, self.features = tokenizer, features

    def build(self, model: dict[str, Any]) -> ConformerForCTC:
        """A fresh network, weights drawn from torch's generator."""
        config = ConformerCTCConfig(
            vocab_size=self.tokenizer.vocab_size, num_mels=self.features.num_mels, pad_token_id=BLANK_ID, **model
        )
        return ConformerForCTC(config)

    def collate(self, augmentation: Augmentation | None, seed: int, frames_per_token: int = 0) -> CollateFeatures:
        return CollateFeatures(self.features, augmentation, seed, self.tokenizer.to_json(), frames_per_token)

    def frames_short(self, text: str, num_samples: int, network: ConformerForCTC) -> int:
        """How many encoder frames an utterance lacks to carry its text (0: enough)."""
        frames = network.config.output_length(self.features.num_frames(num_samples))
        return max(0, ctc_frames_needed(self.tokenizer.encode(text)) - frames)

    def loss(self, network: torch.nn.Module, batch: MicroBatch, device: torch.device) -> Statistics:
        arrays = {name: torch.from_numpy(array).to(device) for name, array in batch.arrays.items()}
        output = network(arrays["features"], arrays["lengths"])
        loss_b = _ctc(output.logits, output.lengths, arrays)
        total_b = loss_b
        if output.intermediate_logits:
            weight = network.config.intermediate_ctc_weight
            tapped_b = torch.stack([_ctc(logits, output.lengths, arrays) for logits in output.intermediate_logits]).mean(0)
            total_b = (1.0 - weight) * loss_b + weight * tapped_b
        return Statistics(total_b.sum(), loss_b.detach(), int(batch.arrays["target_lengths"].sum()))


def _ctc(logits_bsv: Tensor, lengths_b: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """Negative log-likelihood of each utterance, [b]; in float32 at least."""
    wide = logits_bsv if logits_bsv.dtype == torch.float64 else logits_bsv.float()
    return F.ctc_loss(
        wide.log_softmax(-1).transpose(0, 1),
        arrays["targets"],
        lengths_b,
        arrays["target_lengths"],
        blank=BLANK_ID,
        reduction="none",
    )
