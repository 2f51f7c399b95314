"""Conformer CTC: a FastConformer-shaped encoder with a CTC head, and nothing in it that looks across a batch.

Shapes (suffixes):  b batch · t frames at the feature rate · s encoder frames · m mel bands · d model · v vocabulary.

After Gulati et al. 2020 (conformer, arXiv 2005.08100) and Rekesh et al. 2023 (FastConformer: depthwise-separable
eightfold subsampling, arXiv 2305.05084), with three departures that the rest of utterloom leans on:

- layer norm where the papers have batch norm, and every convolution is masked, so that an utterance's logits are the
  same alone and in any batch, and k micro-batches are exactly one batch;
- rotary positions (Su et al. 2021, arXiv 2104.09864) in place of relative-position attention: no table, no length limit;
- intermediate CTC (Lee & Watanabe 2021, arXiv 2102.03216), which makes small corpora converge sooner.

For word times, a network may keep a prior over its labels (Huang et al. 2024, arXiv 2406.02560), which CTC divides by: then
labels last as long as their sounds, and are not peaks somewhere in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCTC, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

LAYER_NORM_EPS = 1e-5
PRIOR_FLOOR = 1e-6  # a label that never occurs must not be worth infinitely much


class ConformerCTCConfig(PretrainedConfig):
    """Sizes of the network. `subsampling` is 2, 4 or 8: encoder frames are that many feature frames long.

    `prior_weight` is the power of the label prior that `alignment_scores` divides by; at 0 the network keeps none.
    """

    model_type = "utterloom_conformer_ctc"

    def __init__(
        self,
        vocab_size: int = 128,
        num_mels: int = 80,
        hidden_size: int = 144,
        num_hidden_layers: int = 6,
        num_attention_heads: int = 4,
        intermediate_size: int = 576,
        conv_kernel: int = 15,
        subsampling: int = 8,
        subsampling_channels: int = 16,
        dropout: float = 0.1,
        intermediate_ctc_layers: tuple[int, ...] | list[int] = (),
        intermediate_ctc_weight: float = 0.3,
        rope_base: float = 10_000.0,
        prior_weight: float = 0.0,
        pad_token_id: int = 0,
        **kwargs: object,
    ) -> None:
        if subsampling not in (2, 4, 8):
            raise ValueError(f"subsampling must be 2, 4 or 8, not {subsampling}")
        if conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel must be odd, not {conv_kernel}")
        if hidden_size % num_attention_heads or (hidden_size // num_attention_heads) % 2:
            raise ValueError(f"hidden_size {hidden_size} must be an even multiple of {num_attention_heads} heads")
        self.vocab_size = vocab_size
        self.num_mels = num_mels
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.conv_kernel = conv_kernel
        self.subsampling = subsampling
        self.subsampling_channels = subsampling_channels
        self.dropout = dropout
        self.intermediate_ctc_layers = list(intermediate_ctc_layers)
        self.intermediate_ctc_weight = intermediate_ctc_weight
        self.rope_base = rope_base
        self.prior_weight = prior_weight
        super().__init__(pad_token_id=pad_token_id, **kwargs)  # type: ignore[arg-type]

    def output_length(self, num_frames: int) -> int:
        """Encoder frames of an utterance of `num_frames` feature frames: the one length function (truth 3)."""
        for _ in range(self.subsampling.bit_length() - 1):
            num_frames = (num_frames + 1) // 2
        return num_frames


@dataclass
class ConformerCTCOutput(ModelOutput):
    """`logits` [b, s, v]; `lengths` [b] valid encoder frames; `intermediate_logits`, one [b, s, v] for each tapped layer."""

    logits: Tensor | None = None
    lengths: Tensor | None = None
    intermediate_logits: tuple[Tensor, ...] | None = None


def frame_mask(lengths_b: Tensor, num_frames: int) -> Tensor:
    """True where a frame is real: [b, num_frames]."""
    return torch.arange(num_frames, device=lengths_b.device)[None, :] < lengths_b[:, None]


class Dropout(nn.Module):
    """Inverted dropout whose probability is a multiple of 1/256.

    On a CPU torch's Bernoulli draw was a seventh of a training step; eight draws from one 64-bit word take a fifth of that.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.dropped_of_256 = round(256 * p)

    def set_part(self, part: float) -> None:
        """Drop this part (0 to 1) of what the configuration says, from now on."""
        self.dropped_of_256 = round(256 * self.p * part)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropped_of_256:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped_of_256
        return x * kept.to(x.dtype).mul_(256 / (256 - self.dropped_of_256))


class ConvSubsampling(nn.Module):
    """Strided 3x3 convolutions over time and mel, channels last, masked after each.

    The first has a single input channel, for which a matrix product over its 3x3 patches is several times faster on a
    CPU than the convolution kernels are.
    """

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__()
        channels = config.subsampling_channels
        self.first = nn.Linear(9, channels)
        self.stages = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(config.subsampling.bit_length() - 2)
        )
        self.project = nn.Linear(channels * -(-config.num_mels // config.subsampling), config.hidden_size)

    def forward(self, features_btm: Tensor, lengths_b: Tensor) -> tuple[Tensor, Tensor]:
        b, t, m = features_btm.shape
        features_btm = features_btm * frame_mask(lengths_b, t)[:, :, None]
        patches = F.unfold(features_btm.unsqueeze(1), 3, stride=2, padding=1).transpose(1, 2)
        # [b, t / 2, m / 2, channels] is channels-last memory of [b, channels, t / 2, m / 2]
        hidden = self.first(patches).view(b, (t + 1) // 2, (m + 1) // 2, -1).permute(0, 3, 1, 2)
        lengths_b = (lengths_b + 1) // 2
        hidden = F.relu(hidden) * frame_mask(lengths_b, hidden.shape[2])[:, None, :, None]
        for stage in self.stages:
            lengths_b = (lengths_b + 1) // 2
            hidden = F.relu(stage(hidden)) * frame_mask(lengths_b, stage_length(hidden))[:, None, :, None]
        return self.project(hidden.transpose(1, 2).flatten(2)), lengths_b


def stage_length(hidden: Tensor) -> int:
    """Frames after one more stride of two."""
    return (hidden.shape[2] + 1) // 2


class FeedForward(nn.Module):
    """Pre-norm, one hidden layer with SiLU: [b, s, d] → [b, s, d]."""

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden_bsd: Tensor) -> Tensor:
        return self.dropout(self.down(F.silu(self.up(self.norm(hidden_bsd)))))


def rotary_angles(num_frames: int, head_size: int, base: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin [s, head_size], computed in float32 at least (half precision cannot count past 2,048 frames)."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    frequencies = base ** (-torch.arange(0, head_size, 2, device=like.device, dtype=dtype) / head_size)
    angles = torch.arange(num_frames, device=like.device, dtype=dtype)[:, None] * frequencies[None, :]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class SelfAttention(nn.Module):
    """Pre-norm attention with rotary positions; `mask` [b, 1, 1, s] is true where a frame may be looked at."""

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden_bsd: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        b, s, d = hidden_bsd.shape
        q, k, v = self.qkv(self.norm(hidden_bsd)).view(b, s, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask)
        return self.dropout(self.out(attended.transpose(1, 2).reshape(b, s, d)))


class ConvModule(nn.Module):
    """Pointwise GLU, depthwise convolution over masked frames, layer norm, pointwise."""

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.norm = nn.LayerNorm(d, eps=LAYER_NORM_EPS)
        self.up = nn.Linear(d, 2 * d)
        # two-dimensional for its channels-last kernel, which needs no transposes: five times faster on a CPU
        self.depthwise = nn.Conv2d(d, d, (config.conv_kernel, 1), padding=(config.conv_kernel // 2, 0), groups=d)
        self.depthwise_norm = nn.LayerNorm(d, eps=LAYER_NORM_EPS)
        self.down = nn.Linear(d, d)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden_bsd: Tensor, valid_bs1: Tensor) -> Tensor:
        hidden = F.glu(self.up(self.norm(hidden_bsd)), dim=-1) * valid_bs1
        hidden = self.depthwise(hidden.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)
        return self.dropout(self.down(F.silu(self.depthwise_norm(hidden))))


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, norm: [b, s, d] → [b, s, d]."""

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__()
        self.feed_forward_in = FeedForward(config)
        self.attention = SelfAttention(config)
        self.convolution = ConvModule(config)
        self.feed_forward_out = FeedForward(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, valid_bs1: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward_in(x)
        x = x + self.attention(x, cos, sin, mask)
        x = x + self.convolution(x, valid_bs1)
        x = x + 0.5 * self.feed_forward_out(x)
        return self.norm(x)


class ConformerPreTrainedModel(PreTrainedModel):
    """What encoder and CTC model share of the Hugging Face folder."""

    config_class = ConformerCTCConfig
    base_model_prefix = "encoder"
    main_input_name = "features"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # PyTorch's own uniform fan-in initialisation suits a pre-norm conformer; transformers' default would replace it.
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.LayerNorm):
            module.reset_parameters()


class ConformerEncoder(ConformerPreTrainedModel):
    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__(config)
        self.subsampling = ConvSubsampling(config)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """features [b, t, m], lengths [b] valid frames → hidden [b, s, d], lengths [b], {tapped layer: hidden}."""
        x, lengths = self.subsampling(features, lengths)
        x = self.dropout(x)
        valid_bs = frame_mask(lengths, x.shape[1])
        # An unpadded batch takes the attention kernel's fast path; the numbers are the same with and without the mask.
        mask = None if bool(valid_bs.all()) else valid_bs[:, None, None, :]
        cos, sin = rotary_angles(x.shape[1], self.config.hidden_size // self.config.num_attention_heads, self.config.rope_base, x)
        valid_bs1 = valid_bs[:, :, None].to(x.dtype)
        taps: dict[int, Tensor] = {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, cos, sin, mask, valid_bs1)
            if number in self.config.intermediate_ctc_layers:
                taps[number] = x
        return x, lengths, taps


class ConformerForCTC(ConformerPreTrainedModel):
    """The encoder and one linear layer onto tokens; token `config.pad_token_id` is CTC's blank.

    With `config.prior_weight` it has the buffer `label_prior` [v]: the mean posterior of each label over the frames that it
    was trained on, of late. It starts even, where it changes nothing.
    """

    label_prior: Tensor

    def __init__(self, config: ConformerCTCConfig) -> None:
        super().__init__(config)
        self.encoder = ConformerEncoder(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        if config.prior_weight:
            self.register_buffer("label_prior", torch.full((config.vocab_size,), 1.0 / config.vocab_size))
        self.post_init()

    def forward(self, features: Tensor, lengths: Tensor, return_dict: bool = True) -> ConformerCTCOutput:
        """features float [b, t, m] (log-mel), lengths int [b] → logits [b, s, v] and their lengths [b]."""
        hidden, lengths, taps = self.encoder(features, lengths)
        intermediate = tuple(self.head(tap) for tap in taps.values()) if self.training else None
        return ConformerCTCOutput(logits=self.head(hidden), lengths=lengths, intermediate_logits=intermediate)

    def alignment_scores(self, logits: Tensor) -> Tensor:
        """Logits [..., v] → log p(label | frame) − prior_weight · log prior(label): what CTC adds up along a path."""
        scores = logits.log_softmax(-1)
        if self.config.prior_weight:
            scores = scores - self.config.prior_weight * self.label_prior.clamp_min(PRIOR_FLOOR).log()
        return scores


# transformers' Auto classes open our folders from here on; `import utterloom` sees to it that this module is imported.
AutoConfig.register(ConformerCTCConfig.model_type, ConformerCTCConfig, exist_ok=True)
AutoModel.register(ConformerCTCConfig, ConformerEncoder, exist_ok=True)
AutoModelForCTC.register(ConformerCTCConfig, ConformerForCTC, exist_ok=True)
