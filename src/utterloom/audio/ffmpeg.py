"""Recordings that FFmpeg decodes (the extra `media`): what libsndfile does not know."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

import numpy as np

from utterloom.audio.recording import NEAR_S, UNKNOWN_LENGTH, Recording, words_of
from utterloom.core.errors import AudioError, MissingPackageError

NO_NETWORK = {"protocol_whitelist": "none"}  # a playlist that is named .wav opens no other file or address
MP4_PREROLL_FRAMES = 4


class FFmpegRecording(Recording):
    """`open_again` gives a fresh av.InputContainer of the same file: the one exact way back to its beginning."""

    def __init__(self, open_again: Callable[[], Any]) -> None:
        import av

        self._open_again, self._decode_error = open_again, av.FFmpegError
        self._opened: Any = None
        self._frames: Iterator[Any] = iter(())
        self._rewind()
        first = next(self._frames, None)  # only a decoded frame tells the rate: HE-AAC headers give half of it
        if first is None:
            raise AudioError("the file holds no samples")
        self._frames = itertools.chain([first], self._frames)
        name = self._opened.format.name.split(",")[0].upper()
        codec = self._stream.codec_context.name.upper()
        super().__init__(first.sample_rate, first.layout.nb_channels, "MP4" if name == "MOV" else name, codec)
        self._preroll_samples: int | None = None  # before a range; None: cannot seek
        if self.format == "MP4":
            self._apply_track_length(first.samples)
        elif self.format == "MATROSKA":
            self._apply_file_length()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _rewind(self) -> None:
        self.close()
        self._opened = self._open_again()
        if not self._opened.streams.audio:
            raise AudioError("the file has no audio track")
        self._stream = self._opened.streams.audio[0]
        self._continue_at(0)

    def _continue_at(self, position: int) -> None:
        self._frames = self._opened.decode(self._stream)
        self._damage: str | None = None
        self._block_start, self._block_sc = position, np.empty((0, 1), np.float32)  # the block that was decoded last

    def _apply_track_length(self, frame_samples: int) -> None:
        """MP4 counts what was recorded, without the encoder's padding; a fragmented file counts nothing."""
        time_base, duration, num_frames = self._stream.time_base, self._stream.duration, self._stream.frames
        if not (time_base and duration and num_frames):
            return
        declared = round(duration * time_base * self.sample_rate_hz)
        has_gaps = abs(num_frames * frame_samples - declared) > 4 * frame_samples
        if not has_gaps:
            self.declared_samples, self.least_samples = declared, declared - frame_samples
            if time_base * self.sample_rate_hz == 1:
                self._preroll_samples = MP4_PREROLL_FRAMES * frame_samples

    def _apply_file_length(self) -> None:
        """WebM counts milliseconds, for all tracks together: enough to find a cut, too coarse to count samples."""
        if self._opened.duration and len(self._opened.streams) == 1:
            self.least_samples = int((self._opened.duration / 1e6 - 0.2) * self.sample_rate_hz)

    def _blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        self.failure = None
        ends = [end for end in (self.declared_samples, stop) if end is not None]
        stop = min(ends, default=UNKNOWN_LENGTH)
        self._go_to(start)
        while True:
            block_sc = self._block_sc[max(0, start - self._block_start) : max(0, stop - self._block_start)]
            if len(block_sc):
                yield block_sc
            if self._block_start + len(self._block_sc) >= stop or not self._advance():
                break
        self.failure = self._damage

    def _go_to(self, start: int) -> None:
        """Be at a block at or before `start`."""
        is_behind = start < self._block_start
        is_far = is_behind or start - self._block_start > NEAR_S * self.sample_rate_hz
        if is_far and self._seek(start):
            return
        if is_behind:
            self._rewind()

    def _seek(self, start: int) -> bool:
        if self._preroll_samples is None or start <= self._preroll_samples:
            return False
        try:
            self._opened.seek(start - self._preroll_samples, stream=self._stream)
            self._continue_at(0)
            first = next(self._frames, None)
        except self._decode_error:  # damage there: the way from the beginning tells how far it is
            first = None
        if first is None or first.pts is None or first.pts > start:
            self._rewind()
        else:
            self._block_start, self._block_sc = first.pts, _float_samples(first)
        return True

    def _advance(self) -> bool:
        """Decode the next block; False at the end and at damage."""
        self._block_start += len(self._block_sc)
        self._block_sc = self._block_sc[:0]
        try:
            frame = next(self._frames, None)
        except self._decode_error as error:
            self._damage = f"FFmpeg: {words_of(error)}"
            return False
        if frame is None:
            return False
        if frame.is_corrupt:
            self._damage = f"FFmpeg finds damage at sample {self._block_start}"
            return False
        if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate_hz, self.num_channels):
            self._damage = f"rate or channels change at sample {self._block_start}"
            return False
        self._block_sc = _float_samples(frame)
        return True


def open_ffmpeg(stream: BinaryIO, name: str, stack: ExitStack) -> FFmpegRecording:
    """`name` is for messages. Raises AudioError when FFmpeg cannot, MissingPackageError without `av`."""
    try:
        import av
    except ImportError:
        raise MissingPackageError("av", "media", f"decoding {name}") from None

    def open_again() -> Any:
        stream.seek(0)
        return av.open(stream, options=NO_NETWORK, metadata_errors="ignore")

    try:
        recording = FFmpegRecording(open_again)
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise AudioError(f"the {name} file is cut short or damaged (FFmpeg: {words_of(error)})") from None
    stack.callback(recording.close)
    return recording


def _float_samples(frame: Any) -> np.ndarray:
    """An av.AudioFrame of any sample format → float32 [samples, channels]."""
    raw = frame.to_ndarray()  # planar: [channels, samples]; else [1, samples × channels]
    raw_sc = np.ascontiguousarray(raw.T) if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if raw_sc.dtype == np.uint8:
        return (raw_sc.astype(np.float32) - 128) / 128
    if raw_sc.dtype.kind == "i":
        return raw_sc.astype(np.float32) / -float(np.iinfo(raw_sc.dtype).min)
    return raw_sc.astype(np.float32, copy=False)
