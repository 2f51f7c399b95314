"""Connectionist temporal classification (Graves et al. 2006), with intermediate CTC where the network taps its layers.

With `prior_weight` α, paths are scored by p(label | frame) / prior(label)^α (Huang et al. 2024, arXiv 2406.02560): a blank, which
is likely everywhere, is worth less, so that labels fill their sounds, and word times are where words are.

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
from utterloom.models.ctc import ConformerCTCConfig, ConformerForCTC, frame_mask
from utterloom.text.tokenizers import BLANK_ID, CTCTokenizer, ctc_frames_needed

PRIOR_MEMORY_STEPS = 100  # over about so many steps the prior is averaged


@dataclass
class Statistics:
    """Additive: sums over utterances and the count that they are divided by, over a whole step, whatever its micro-batches.

    `loss_sum` carries the gradient, `loss_b` [b] is each utterance's own (detached), `count` the target tokens. `observed`
    [num_observed] is what the objective keeps account of over steps; `observe` gets its sum over the whole step.
    """

    loss_sum: Tensor
    loss_b: Tensor
    count: int
    observed: Tensor | None = None


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

    def num_observed(self, network: ConformerForCTC) -> int:
        """With priors: each label's posterior, summed over frames, and the number of frames."""
        return network.config.vocab_size + 1 if network.config.prior_weight else 0

    @torch.no_grad()
    def observe(self, network: ConformerForCTC, observed: Tensor) -> None:
        """Move the prior towards a step's mean posterior. The step itself used the prior of the steps before it."""
        if len(observed) and observed[-1] > 0:
            network.label_prior.lerp_(observed[:-1] / observed[-1], 1.0 / PRIOR_MEMORY_STEPS)

    def loss(self, network: ConformerForCTC, batch: MicroBatch, device: torch.device) -> Statistics:
        arrays = {name: torch.from_numpy(array).to(device) for name, array in batch.arrays.items()}
        output = network(arrays["features"], arrays["lengths"])
        loss_b = ctc(network, output.logits, output.lengths, arrays)
        total_b = loss_b
        if output.intermediate_logits:
            weight = network.config.intermediate_ctc_weight
            tapped_b = torch.stack(
                [ctc(network, logits, output.lengths, arrays) for logits in output.intermediate_logits]
            ).mean(0)
            total_b = (1.0 - weight) * loss_b + weight * tapped_b
        observed = observed_posteriors(output.logits.detach(), output.lengths) if network.config.prior_weight else None
        return Statistics(total_b.sum(), loss_b.detach(), int(batch.arrays["target_lengths"].sum()), observed)


def ctc(network: ConformerForCTC, logits_bsv: Tensor, lengths_b: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """Negative log of the sum over the paths of each utterance, [b]; in float32 at least.

    With priors the scores of a frame do not add up to one, which torch's gradient takes for granted. So they are normalised,
    and what that took from every path of an utterance alike is given back.
    """
    scores_bsv = network.alignment_scores(logits_bsv if logits_bsv.dtype == torch.float64 else logits_bsv.float())
    scale_bs = scores_bsv.logsumexp(-1) if network.config.prior_weight else None
    if scale_bs is not None:
        scores_bsv = scores_bsv.log_softmax(-1)
    loss_b = F.ctc_loss(
        scores_bsv.transpose(0, 1),
        arrays["targets"],
        lengths_b,
        arrays["target_lengths"],
        blank=BLANK_ID,
        reduction="none",
    )
    if scale_bs is None:
        return loss_b
    return loss_b - torch.where(frame_mask(lengths_b, scale_bs.shape[1]), scale_bs, 0.0).sum(-1)


def observed_posteriors(logits_bsv: Tensor, lengths_b: Tensor) -> Tensor:
    """The posterior of each label summed over all valid frames, and their number: [v + 1]."""
    valid_bs1 = frame_mask(lengths_b, logits_bsv.shape[1])[:, :, None]
    posterior_bsv = (logits_bsv if logits_bsv.dtype == torch.float64 else logits_bsv.float()).softmax(-1)
    return torch.cat([torch.where(valid_bs1, posterior_bsv, 0.0).sum((0, 1)), lengths_b.sum()[None].to(posterior_bsv.dtype)])
