"""What a recording is, without keeping its samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utterloom.audio.decode import open_recording


@dataclass(frozen=True)
class AudioInfo:
    """What a recording is; `num_samples` counts frames of all channels, at its own rate."""

    sample_rate_hz: int
    num_channels: int
    num_samples: int  # per channel
    format: str  # of the container: WAV, FLAC, MP3, MP4 …
    subtype: str  # how samples are coded: PCM_16, VORBIS, AAC …

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz


def probe(path: Path) -> AudioInfo:
    """Rate, channels and the number of samples that `decode` will give.

    Reads headers only where they can be relied on: WAV and its kin, FLAC, Ogg, MP4, and MP3 with a length header. Counts
    by decoding otherwise: MP3 without a length header, AAC, WebM, fragmented MP4, and FLAC from a streaming writer.

    Raises AudioError when the file cannot be opened, holds no samples, or visibly lacks data (not visible are damage
    inside the data, and the cut of a FLAC or MP4 file, whose headers keep their count: `decode` finds those).
    Raises MissingPackageError as `decode` does.
    """
    with open_recording(path) as recording:
        num_samples = recording.count()
        return AudioInfo(recording.sample_rate_hz, recording.num_channels, num_samples, recording.format, recording.subtype)
