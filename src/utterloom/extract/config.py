"""Settings of `utterloom extract`, one class for each extractor; none of them needs torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utterloom.core.config import Config

Dtype = Literal["float16", "float32"]


class ExtractConfig(Config):
    """What every extractor is told."""

    name: str | None = Field(None, description="the layer's name, its folder in the corpus; by default after what made it")
    workers: int | None = Field(None, ge=0, description="processes, each with a model of its own; by default one a core, or one a GPU")
    batch: Annotated[float, Field(gt=0)] | None = Field(
        None, description="how much goes through the model at once, padding counted: seconds of audio, or tokens of text")
    device: str | None = Field(None, description="cpu, cuda or cuda:1; by default a GPU where there is one")


class FeaturesConfig(ExtractConfig):
    """Hidden states of an encoder of speech."""

    model: str = Field("microsoft/wavlm-large", description="a model of the Hugging Face Hub, or a folder")
    revision: str | None = Field(None, description="a commit of it, so that it stays what it is")
    layer: int = Field(-1, description="which hidden state: 0 is what the first layer reads, -1 the last")
    dtype: Dtype = Field("float16", description="how features are stored")
    compute: Literal["float32", "float16", "bfloat16"] = Field("float32", description="in what the model reckons")
    target_hz: float | None = Field(None, gt=0, description="pool the frames to another rate, such as 12.5, weighted by overlap")
    chunk_s: float = Field(60.0, gt=0, description="audio longer than this goes through in overlapping pieces")
    overlap_s: float = Field(10.0, ge=0, description="how much of its neighbours a piece hears on each side")


class UnitsConfig(ExtractConfig):
    """Discrete units: of a k-means codebook over an encoder's layer, or of a codec."""

    codebook: str | None = Field(None, description="a folder that `utterloom units fit` made: its model and layer are used")
    codec: str | None = Field(None, description="instead of a codebook: a Mimi model (kyutai/mimi), speechtokenizer:FOLDER or "
                                                "focalcodec:NAME")
    revision: str | None = Field(None, description="a commit of the model")
    chunk_s: float = Field(60.0, gt=0, description="audio longer than this goes through in overlapping pieces")
    overlap_s: float = Field(10.0, ge=0, description="how much of its neighbours a piece hears on each side")
    margin: float = Field(1e-4, ge=0, description="a frame whose two nearest units are as alike as this is decided by the utterance "
                                                  "alone, so that labels never depend on the batch")


class StatesConfig(ExtractConfig):
    """Hidden states of a causal language model for the reference text, with the time of each token."""

    model: str = Field("Qwen/Qwen3-1.7B", description="a model of the Hugging Face Hub, or a folder")
    revision: str | None = Field(None, description="a commit of it, so that it stays what it is")
    layer: int = Field(-2, description="which hidden state: 0 is the embedding, -1 the last, -2 the one before")
    dtype: Dtype = Field("float16", description="how states are stored")
    compute: Literal["float32", "float16", "bfloat16"] = Field("float32", description="in what the model reckons")
    text: str = Field("raw", description="the text that is fed: raw, or the corpus's text view by name")
    words: str | None = Field("words", description="the layer of word times; null: tokens have no times")
    within_word: Literal["share", "split"] = Field("share", description="tokens of one word share its time, or split it")


class WordsConfig(ExtractConfig):
    """Word times of the reference text (forced alignment), of what a model hears, or of files that somebody else made."""

    model: str | None = Field(None, description="a CTC model: a run of ours, a folder, or of the Hugging Face Hub; a Parakeet TDT model "
                                                "gives its own times")
    revision: str | None = Field(None, description="a commit of it, so that it stays what it is")
    source: Literal["align", "asr", "import"] = Field("align", description="align: the reference text is aligned; asr: what the model "
                                                      "hears, apart from the reference; import: `files`")
    files: str | None = Field(None, description="source=import: a CTM file, a folder of TextGrids, or JSON")
    star: bool = Field(False, description="let speech that the text lacks stand anywhere between words")
    chunk_s: float = Field(30.0, gt=0, description="audio longer than this goes through in overlapping pieces")
    overlap_s: float = Field(3.0, ge=0, description="how much of its neighbours a piece hears on each side")
    longest_word_s: float = Field(3.0, gt=0, description="a word longer than this is flagged as implausible")
    least_score: float = Field(-4.0, le=0, description="an utterance whose mean log-probability a frame lies below is flagged")
