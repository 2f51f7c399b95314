"""One recording's spans, measured in a worker without torch: decoded in blocks, never held whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.audio.decode import open_recording, to_mono
from utterloom.audio.recording import Recording
from utterloom.core.errors import AudioError, MissingPackageError
from utterloom.core.records import Span
from utterloom.core.timing import seconds_to_samples
from utterloom.prepare.audit.acoustics import (
    FRAMES_PER_S,
    Acoustics,
    Listener,
    decibels,
    levels_of,
    runs_of,
    voice_activity,
)

BLOCK_SAMPLES = 1 << 18  # per channel: five seconds at 48 kHz
END_FRAMES = 3
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24,
        "ALAC_32": 32, "ULAW": 14, "ALAW": 13, "DPCM_8": 8, "DPCM_16": 16, "DWVW_12": 12, "DWVW_16": 16, "DWVW_24": 24}


@dataclass(frozen=True, slots=True)
class Measured:
    """One utterance's audio. Levels are dB of full scale (a full-scale square wave is 0), everything else as its name says.

    Of audio that could not be decoded, `error` says why and only what the header tells is known; what was not measured is None.
    """

    path: str
    error: str | None = None
    """why it cannot be decoded: missing, damaged, cut short, no samples, NaN or infinite values"""
    format: str | None = None
    subtype: str | None = None
    bits_per_sample: int | None = None
    """None for lossy and float formats"""
    sample_rate_hz: int | None = None
    num_channels: int | None = None
    num_samples: int | None = None
    """decoded, per channel"""
    declared_samples: int | None = None
    """of the whole recording, by its header; None where the header says nothing that can be relied on"""
    duration_s: float | None = None
    claimed_s: float | None = None
    """by the table or whatever else came with the recording"""
    content_hash: str | None = None
    """of the decoded samples: equal across containers, names and rates written in headers; mono and its doubled stereo agree"""
    fingerprint: bytes | None = None
    """of the sound: near across codecs, gains and rates; compare with `acoustics.fingerprint_distance`"""
    peak: float | None = None
    """largest absolute sample, 1 is full scale; lossy and float formats may exceed it"""
    level_dbfs: float | None = None
    """of all samples"""
    speech_dbfs: float | None = None
    """95th percentile of 10 ms frames, where somebody speaks"""
    noise_dbfs: float | None = None
    """10th percentile of 10 ms frames"""
    active_s: float | None = None
    """speech by `acoustics.voice_activity`"""
    leading_silence_s: float | None = None
    """before the first speech; the whole length where there is none"""
    trailing_silence_s: float | None = None
    end_drop_db: float | None = None
    """how far the last 30 ms are below the speech level: a speaker who was cut off is still loud"""
    num_clipped_samples: int | None = None
    """in runs of three or more at full scale"""
    longest_clip_samples: int | None = None
    num_flat_tops: int | None = None
    """times that three or more samples in a row are at the peak, wherever that is"""
    dc_offset: float | None = None
    """mean sample"""
    mono_loss_db: float | None = None
    """how much quieter the mean of the channels is than they are: much, where one is the other upside down"""
    bandwidth_hz: int | None = None
    """up to where there is speech and not only the noise of rounding"""
    active_spans_s: tuple[float, ...] = ()
    """start and stop of each stretch of speech, one after the other, from the start of the utterance"""
    words_s: float | None = None
    """from the first to the last moment within 25 dB of the loudest: what the fingerprint is of"""

    @property
    def active_share(self) -> float | None:
        return self.active_s / self.duration_s if self.active_s is not None and self.duration_s else None


def measure(span: Span, claimed_s: float | None = None) -> Measured:
    """What the span holds. Nothing is raised for bad audio: it is in `error`. MissingPackageError's words are, too."""
    return measure_recording(span.path, [(span, claimed_s)])[0]


def measure_recording(path: str, spans: Sequence[tuple[Span, float | None]]) -> list[Measured]:
    """Spans of one recording with what is claimed of their lengths; it is opened once. Ascending spans are cheapest."""
    try:
        with open_recording(Path(path)) as recording:
            return [_measured(recording, span, claimed_s) for span, claimed_s in spans]
    except (AudioError, MissingPackageError) as error:
        return [Measured(path, error.message, claimed_s=claimed_s) for _, claimed_s in spans]
    except OSError as error:
        return [Measured(path, f"cannot be read: {error.strerror}", claimed_s=claimed_s) for _, claimed_s in spans]


def _measured(recording: Recording, span: Span, claimed_s: float | None) -> Measured:
    rate_hz = recording.sample_rate_hz
    bits = BITS.get(recording.subtype)
    known: dict[str, Any] = {"format": recording.format, "subtype": recording.subtype, "bits_per_sample": bits,
                             "sample_rate_hz": rate_hz, "num_channels": recording.num_channels,
                             "declared_samples": recording.declared_samples, "claimed_s": claimed_s}
    try:
        start = seconds_to_samples(span.start_s, rate_hz) if span.start_s is not None else span.start_sample
        stop = seconds_to_samples(span.stop_s, rate_hz) if span.stop_s is not None else span.stop_sample
        if stop is None:
            stop = recording.count()
        elif recording.declared_samples:
            # The stage forgives a hundredth of a second of rounding past the end; so does this.
            stop = min(stop, recording.declared_samples) if stop - recording.declared_samples <= rate_hz // 100 else stop
        num_channels = recording.num_channels if span.channel is None else 1
        listener = Listener(rate_hz, num_channels, stop - start, bits)
        for block_start in range(start, stop, BLOCK_SAMPLES):
            block_sc = recording.decode(block_start, min(stop, block_start + BLOCK_SAMPLES))
            listener.hear(block_sc if span.channel is None else to_mono(block_sc, span.channel)[:, None])
        if start >= stop:
            raise AudioError(f"it starts at {start / rate_hz:.3f} s and ends at {stop / rate_hz:.3f} s")
    except AudioError as error:
        return Measured(span.path, error.message, **known)
    heard = listener.finish()
    if heard.num_samples < stop - start:
        return Measured(span.path, f"it ends after {heard.num_samples} of {stop - start} samples", **known)
    return Measured(span.path, **known, **_summary(heard, rate_hz))


def _summary(heard: Acoustics, rate_hz: int) -> dict[str, Any]:
    is_active = voice_activity(heard.level_db_f)
    speech_db, floor_db_f = levels_of(heard.level_db_f)
    runs = runs_of(is_active)
    duration_s = heard.num_samples / rate_hz
    frame_s = max(1, round(rate_hz / FRAMES_PER_S)) / rate_hz
    end_db = decibels(float(np.mean(10 ** (heard.level_db_f[-END_FRAMES:] / 10))))
    edges_s = [round(min(duration_s, edge * frame_s), 4) for run in runs for edge in run]
    return {
        "num_samples": heard.num_samples, "duration_s": duration_s, "content_hash": heard.content_hash,
        "fingerprint": heard.fingerprint, "words_s": heard.words_s,
        "peak": heard.peak, "level_dbfs": heard.level_dbfs, "speech_dbfs": speech_db,
        "noise_dbfs": float(floor_db_f.min()), "active_s": float(sum(edges_s[1::2]) - sum(edges_s[::2])),
        "leading_silence_s": edges_s[0] if edges_s else duration_s,
        "trailing_silence_s": max(0.0, duration_s - edges_s[-1]) if edges_s else duration_s,
        "end_drop_db": max(0.0, speech_db - end_db), "num_clipped_samples": heard.num_clipped_samples,
        "longest_clip_samples": heard.longest_clip_samples, "num_flat_tops": heard.num_flat_tops, "dc_offset": heard.dc_offset,
        "mono_loss_db": heard.mono_loss_db, "bandwidth_hz": heard.bandwidth_hz, "active_spans_s": tuple(edges_s)}
