"""Settings of `utterloom extract`, one class for each extractor; none of them needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from utterloom.core.config import Config

Dtype = Literal["float16", "float32"]
Precision = Literal["float32", "float16", "bfloat16"]


class ExtractConfig(Config):
    """What every extractor is told."""

    name: str | None = None
    """the layer's name, its folder in the corpus; by default after what made it"""
    out: str | None = None
    """a folder of its own for the layer, instead of one in the corpus"""
    workers: int | None = Field(None, ge=0)
    """processes, each with a model of its own; by default one a core, and one a GPU"""
    batch: float | None = Field(None, gt=0)
    """how much goes through the model at once, padding counted: seconds of audio, or tokens of text"""
    device: str | None = None
    """cpu, cuda or cuda:1; by default a GPU where there is one"""


class FeaturesConfig(ExtractConfig):
    """Hidden states of an encoder of speech."""

    model: str = "microsoft/wavlm-large"
    """a model of the Hugging Face Hub, or a folder"""
    revision: str | None = None
    """a commit of the model, so that it stays what it is"""
    layer: int = -1
    """which hidden state: 0 is what the first layer reads, -1 the last"""
    dtype: Dtype = "float16"
    """how features are stored"""
    compute: Precision = "float32"
    """in what the model reckons"""
    target_hz: float | None = Field(None, gt=0)
    """pool the frames to another rate, such as 12.5, weighted by overlap"""
    chunk_s: float = Field(60.0, gt=0)
    """audio longer than this goes through in overlapping pieces of this length"""
    overlap_s: float = Field(10.0, ge=0)
    """how much of its neighbours a piece hears on each side"""


class UnitsConfig(ExtractConfig):
    """Discrete units: of a k-means codebook over an encoder's layer, or of a codec."""

    codebook: str | None = None
    """a folder that `utterloom units fit` made: its model and layer are used"""
    model: str | None = None
    """where the codebook's model lies, when it is not where it was; its weights must be the same"""
    codec: str | None = None
    """instead of a codebook: a Mimi model such as kyutai/mimi, speechtokenizer:FOLDER or focalcodec:NAME"""
    revision: str | None = None
    """a commit of a codec's model, so that it stays what it is; a codebook knows its own"""
    compute: Precision = "float32"
    """in what a codebook's model reckons; in half of float32's precision utterances go through one at a time"""
    chunk_s: float = Field(60.0, gt=0)
    """audio longer than this goes through in overlapping pieces of this length"""
    overlap_s: float = Field(10.0, ge=0)
    """how much of its neighbours a piece hears on each side"""
    margin: float = Field(2e-5, ge=0)
    """a frame whose two nearest units are as alike as this is decided by the utterance alone: labels never depend on the batch"""


class StatesConfig(ExtractConfig):
    """Hidden states of a causal language model for the reference text, with the time of each token."""

    model: str = "Qwen/Qwen3-1.7B"
    """a model of the Hugging Face Hub, or a folder"""
    revision: str | None = None
    """a commit of the model, so that it stays what it is"""
    layer: int = -2
    """which hidden state: 0 is the embedding, -1 the last, -2 the one before"""
    dtype: Dtype = "float16"
    """how states are stored"""
    compute: Precision = "float32"
    """in what the model reckons"""
    text: str = "raw"
    """the text that is fed: raw, or the corpus's text view by its name"""
    words: str | None = "words"
    """the layer of word times; null: tokens have no times"""
    within_word: Literal["share", "split"] = "share"
    """tokens of one word share its time, or split it"""


class WordsConfig(ExtractConfig):
    """Word times: of the reference text by forced alignment, of what a model hears, or of files that somebody else made."""

    model: str | None = None
    """a CTC model: a run of ours, a folder, or of the Hugging Face Hub; Parakeet TDT for source=asr"""
    revision: str | None = None
    """a commit of the model, so that it stays what it is"""
    source: Literal["align", "asr", "import"] = "align"
    """align: the reference text; asr: what the model hears, apart from the reference; import: times from `files`"""
    files: str | None = None
    """source=import: a CTM file, a folder of TextGrids, or JSON"""
    view: str | None = None
    """the text view that says how words are spoken (numbers spelled out); by default the model's own, or else the corpus's"""
    star: bool = False
    """let speech that the text lacks stand before, after and between words"""
    offset_ms: float = 0.0
    """how late the model is: taken from every border"""
    borders: Literal["energy", "model"] = "energy"
    """words begin and end where the sound around what the model says is quiet, or quietest; or just where the model says"""
    chunk_s: float = Field(30.0, gt=0)
    """audio longer than this goes through in overlapping pieces"""
    overlap_s: float = Field(3.0, ge=0)
    """how much of its neighbours a piece hears on each side"""
    longest_word_s: float = Field(3.0, gt=0)
    """a word longer than this is flagged as implausible"""
    least_score: float = Field(0.02, ge=0, le=1)
    """a word whose frames have a lower probability (geometric mean) is flagged as implausible"""
