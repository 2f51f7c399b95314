"""The schema of a training recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from utterloom.audio.augment import Augmentation
from utterloom.core.config import Config
from utterloom.core.timing import Budget


class ModelConfig(Config):
    hidden_size: int = Field(144, ge=8)
    """width of the encoder"""
    num_hidden_layers: int = Field(6, ge=1)
    """conformer layers"""
    num_attention_heads: int = Field(4, ge=1)
    """attention heads"""
    intermediate_size: int = Field(576, ge=8)
    """width inside the feed-forward modules"""
    conv_kernel: int = Field(15, ge=1)
    """frames that the depthwise convolution sees (odd)"""
    subsampling: Literal[2, 4, 8] = 8
    """feature frames in one encoder frame"""
    subsampling_channels: int = Field(16, ge=1)
    """channels of the strided convolutions"""
    dropout: float = Field(0.1, ge=0, lt=1)
    """of every module's output"""
    intermediate_ctc_layers: list[int] = []
    """layers whose output is trained with CTC too"""
    intermediate_ctc_weight: float = Field(0.3, ge=0, lt=1)
    """their part of the loss"""
    prior_weight: float = Field(0.0, ge=0, le=1)
    """power of the label prior that CTC divides by, for exact word times (0: as in recognition; 0.3 is usual)"""


class TokenizerConfig(Config):
    kind: Literal["bpe", "unigram", "char", "word"] = "bpe"
    """word-pieces (two ways to learn them), characters or whole words, of the training text"""
    vocab_size: int = Field(160, ge=4)
    """upper limit for bpe and unigram, blank and unknown included"""


class FeaturesConfig(Config):
    num_mels: int = Field(80, ge=8)
    """mel bands"""
    hop_ms: float = Field(10.0, gt=0)
    """time between feature frames"""


class BatchConfig(Config):
    micro_batch_s: float = Field(60.0, gt=0)
    """padded seconds of speech that go through the network at once: what must fit the memory"""
    micro_batches: int = Field(2, ge=1)
    """micro-batches in one optimiser step: shared out over ranks, or one after the other; the result is the same"""
    max_utterances: int = Field(512, ge=1)
    """most utterances in a micro-batch"""
    window_shards: int = Field(64, ge=1)
    """shards that are mixed with one another at a time"""


class OptimizerConfig(Config):
    kind: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the encoder's layers, AdamW for the rest; adamw: AdamW for all"""
    lr: float = Field(2e-3, gt=0)
    """peak learning rate of AdamW"""
    muon_lr: float = Field(2e-3, gt=0)
    """peak learning rate of Muon"""
    muon_iterations: int = Field(5, ge=1, le=12)
    """Newton-Schulz iterations"""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's running averages"""
    weight_decay: float = Field(0.02, ge=0)
    """on matrices only"""
    warmup: float = Field(0.08, ge=0, lt=1)
    """part of the budget during which the rate rises"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how it falls afterwards"""
    clip: float = Field(1.0, gt=0)
    """largest gradient norm"""


class AugmentConfig(Config):
    enabled: bool = True
    """vary the training audio"""
    tempo: float = Field(0.1, ge=0, lt=0.5)
    """faster or slower by up to this part, pitch kept"""
    warp: float = Field(0.1, ge=0, lt=0.3)
    """vocal tract longer or shorter by up to this part"""
    noise_probability: float = Field(0.0, ge=0, le=1)
    """part of the utterances that get coloured noise"""
    noise_snr_db: tuple[float, float] = (8.0, 30.0)
    """its signal-to-noise ratio, from and to"""
    frequency_masks: int = Field(2, ge=0)
    """SpecAugment: masks over mel bands"""
    frequency_mask_bands: int = Field(18, ge=0)
    """widest of them"""
    time_masks: int = Field(3, ge=0)
    """SpecAugment: masks over time"""
    time_mask_s: float = Field(0.15, ge=0)
    """longest of them"""
    time_mask_fraction: float = Field(0.2, ge=0, le=1)
    """most of an utterance that they hide together"""
    warmup_epochs: int = Field(0, ge=0)
    """epochs over which all of this grows from nothing"""

    def build(self) -> Augmentation | None:
        return Augmentation(**self.model_dump(exclude={"enabled"})) if self.enabled else None


class MilestoneConfig(Config):
    wer: float = Field(gt=0, lt=1)
    """target, as a fraction"""
    budget: str | None = None
    """training time within which it should be reached, such as 20m"""


class TrainConfig(Config):
    corpus: str
    """a packed corpus"""
    out: str
    """the run folder to make"""
    objective: Literal["ctc"] = "ctc"
    """what is trained"""
    budget: str = "30m"
    """length of training: 25m, 2h, 3000steps or 40epochs; the schedule ends with it"""
    seed: int = 0
    """of weights, order, augmentation and dropout"""
    train_split: str = "train"
    """split to train on (`test` is refused)"""
    dev_split: str | None = "dev"
    """split to validate on; null trains without validation"""
    model: ModelConfig = ModelConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    features: FeaturesConfig = FeaturesConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augment: AugmentConfig = AugmentConfig()
    dropout_warmup: float = Field(0.0, ge=0, le=1)
    """part of the budget during which dropout grows from nothing"""
    averaging: float = Field(9.0, ge=0)
    """weights are averaged over about the last 1 / (1 + this) of the steps"""
    validations: int = Field(20, ge=1)
    """how often in the whole budget dev is transcribed and scored"""
    milestones: list[MilestoneConfig] = []
    """time-to-quality targets"""
    save_every: str = "5m"
    """a checkpoint at least this often (time or steps), besides one at each validation"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device has it, else fp16 on a GPU, fp32 on a CPU"""
    ranks: int | None = Field(None, ge=1)
    """processes that share each step; by default one a core on a CPU (at most micro_batches)"""
    workers: int | None = Field(None, ge=0)
    """reading processes a rank; by default none on a CPU, where every core trains"""
    damaged: Literal["quarantine", "error"] = "quarantine"
    """what a hurt shard or utterance does"""
    max_unknown: float = Field(0.01, ge=0, le=1)
    """most tokens of dev that the tokenizer may not know"""

    @field_validator("budget", "save_every")
    @classmethod
    def _is_budget(cls, value: str) -> str:
        Budget.parse(value)
        return value

    @field_validator("train_split")
    @classmethod
    def _never_test(cls, value: str) -> str:
        if value == "test":
            raise ValueError("training never reads the test split")
        return value

    def identity(self) -> dict[str, Any]:
        """What the weights depend on: all but where and how it runs."""
        return self.model_dump(mode="json", exclude={"out", "ranks", "workers", "save_every", "corpus"})
