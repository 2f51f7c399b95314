"""The settings of `prepare`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from utterloom.core.config import Config
from utterloom.core.records import canonical_split
from utterloom.text.normalisers import normaliser

Key = Literal["speaker", "session", "recording", "text"]


class JoinConfig(Config):
    """Make connected speech of isolated words."""

    min: int = Field(3, ge=1)
    """fewest utterances that are joined into one"""
    max: int = Field(7, ge=1)
    """most utterances that are joined into one"""
    copies: int = Field(1, ge=1)
    """how often each training utterance is used, in different company"""

    @model_validator(mode="after")
    def _in_order(self) -> JoinConfig:
        if self.max < self.min:
            raise ValueError(f"join.max={self.max} is less than join.min={self.min}")
        return self


class SampleConfig(Config):
    """Take a part of a split, spread over its speakers."""

    split: str = "train"
    """split that is made smaller"""
    hours: float | None = Field(None, gt=0)
    """at most so many hours"""
    utterances: int | None = Field(None, ge=1)
    """at most so many utterances"""
    gigabytes: float | None = Field(None, gt=0)
    """at most what should fit so many gigabytes, packed as 16 kHz FLAC (reckoned, with a margin of a third)"""

    @field_validator("split")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return canonical_split(value)

    @model_validator(mode="after")
    def _limited(self) -> SampleConfig:
        if self.hours is None and self.utterances is None and self.gigabytes is None:
            raise ValueError("a sample needs sample.hours, sample.utterances or sample.gigabytes")
        return self


class QualityConfig(Config):
    """What an utterance must be to stay. Only what is set is asked; limits are inclusive; what nobody knows is not judged."""

    hypothesis: str = "hypothesis"
    """column of the source with what a recogniser heard"""
    similarity: float | None = Field(None, ge=0, le=1)
    """least likeness of text and hypothesis, by characters: 1 is equal (0.8 is usual)"""
    wer: float | None = Field(None, ge=0)
    """largest word error rate of the hypothesis, as a fraction"""
    characters_per_s: tuple[float, float] | None = None
    """least and most characters of the text view a second, such as [4,25]"""
    ctc_frames_per_s: float | None = Field(None, gt=0)
    """encoder frames a second that must suffice for the characters, as CTC needs it (25 for a subsampling of four)"""
    foreign_script: float | None = Field(None, ge=0, le=1)
    """largest share of letters outside of the scripts of the utterance's language"""
    text_copies: int | None = Field(None, ge=1)
    """how often the same text may occur; the first so many stay"""
    whole_quotes: bool = False
    """drop texts that still hold the quotes or the line breaks of the table that they were in"""
    speech_s: float | None = Field(None, ge=0)
    """least speech, by voice activity (this and all that follows decodes the audio)"""
    level_dbfs: float | None = Field(None, le=0)
    """least level of the speech, in dB of full scale"""
    end_silence_s: float | None = Field(None, ge=0)
    """longest silence before or after the speech"""
    clipped: float | None = Field(None, ge=0, le=1)
    """largest share of samples at full scale"""
    dc_offset: float | None = Field(None, ge=0, le=1)
    """largest mean of the samples, as a share of full scale"""
    band: float | None = Field(None, ge=0, le=1)
    """least share of the band that the rate promises (up to 8 kHz) with sound in it: telephone speech stored at 16 kHz has half"""
    claimed_s: float | None = Field(None, ge=0)
    """largest difference between the decoded duration and the one that the source states"""
    duplicates: bool = False
    """drop what has the same samples as an earlier utterance"""
    near_duplicates: float | None = Field(None, ge=0, le=0.5)
    """drop what sounds like an earlier utterance: largest share of its fingerprint that may differ (0.15 is the audit's)"""
    failing: Literal["drop", "hard"] = "drop"
    """what fails leaves the corpus, or makes up the split `hard`, of no use for training nor for a fair test"""

    @field_validator("characters_per_s")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError("the least comes first, such as [4,25]")
        return value

    @property
    def needs_audio(self) -> bool:
        """Does anything that is asked need the audio decoded?"""
        asked = (self.speech_s, self.level_dbfs, self.end_silence_s, self.clipped, self.dc_offset, self.band, self.claimed_s,
                 self.near_duplicates)
        return self.duplicates or any(limit is not None for limit in asked)


class PrepareConfig(Config):
    """What `prepare` does with a source."""

    view: str = "basic"
    """text view that models are trained on and scored with"""
    language: str | None = None
    """language of utterances that do not say theirs"""
    expect: dict[str, int] | int | None = None
    """how many utterances the source is said to hold, in all or by split ({train: 500, dev: 50}); refused when it differs"""
    splits: str | None = None
    """table of the columns id and split that overrules the source's splits; `none` forgets these, to make new ones"""
    dev: float | str = 0.1
    """without a dev split: the fraction of training seconds to hold out, or a list of ids (a file, or a packaged name)"""
    test: float = Field(0.0, ge=0, lt=1)
    """without a test split: the fraction of training seconds to hold out"""
    group_by: list[Key] = Field(["speaker", "session", "recording"])
    """nothing of these is on both sides of a split that prepare makes; text (in the view) on request"""
    seed: int = 0
    """of the held-out choice and of joins"""
    min_s: float = Field(0.1, ge=0)
    """shorter utterances are dropped"""
    max_s: float = Field(30.0, gt=0)
    """what is longer is dropped, or what too_long says (exactly this long stays)"""
    too_long: Literal["drop", "error", "split", "stream"] = "drop"
    """drop; error: refuse the source; split: cut unlabelled audio in its pauses; stream: keep it whole"""
    trim_s: float | None = Field(None, ge=0)
    """cut off silence before and after the speech, all but so much"""
    unlabelled: Literal["drop", "keep"] = "drop"
    """utterances without transcript"""
    verdicts: list[str] = []
    """what people said of samples (prepare sample): its folder, its sheet, or what the page saved; several as [a,b]"""
    quality: QualityConfig | None = None
    """what an utterance must be to stay"""
    audio: str | None = None
    """folder for audio that the source keeps in no files of its own (huggingface: inside of tables, on the Hub)"""
    audio_root: str | None = None
    """where the relative paths of a table begin: a folder, or a URL such as s3://bucket/clips"""
    sample: SampleConfig | None = None
    """take a part only"""
    join: JoinConfig | None = None
    """join a speaker's utterances into connected speech"""
    workers: int | None = Field(None, ge=0)
    """processes; by default one a core"""

    @field_validator("verdicts", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("view")
    @classmethod
    def _short(cls, value: str) -> str:
        return normaliser(value).name

    @field_validator("dev")
    @classmethod
    def _fraction_or_list(cls, value: float | str) -> float | str:
        try:
            fraction = float(value)
        except ValueError:
            return value
        if not 0 <= fraction < 1:
            raise ValueError("a fraction of the training split is at least 0 and less than 1")
        return fraction

    @field_validator("expect")
    @classmethod
    def _of_splits(cls, value: dict[str, int] | int | None) -> dict[str, int] | int | None:
        return {canonical_split(name): count for name, count in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _leaves_some(self) -> PrepareConfig:
        if isinstance(self.dev, float) and self.dev + self.test >= 1:
            raise ValueError(f"dev={self.dev:g} and test={self.test:g} leave nothing to train on")
        return self
