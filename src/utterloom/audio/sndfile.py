"""Recordings that libsndfile decodes: WAV and its kin, FLAC, Ogg, MP3."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from utterloom.audio.recording import NEAR_S, UNKNOWN_LENGTH, Recording, words_of

if TYPE_CHECKING:
    import soundfile

BLOCK_SAMPLES = 1 << 22  # over all channels: what a lying header can make us allocate


class ByteStream(io.BytesIO):
    """Damaged headers send libsndfile to before the beginning: that must not print a traceback from inside of it."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def memory_file(data: bytes, stack: ExitStack) -> BinaryIO:
    """A file without a place, where the system has such: mpg123 reads a kilobyte at a time, and each reading from Python's memory
    would be a call into Python, 6 % of the time that an MP3 takes."""
    if not hasattr(os, "memfd_create"):
        return ByteStream(data)
    try:
        stream = stack.enter_context(os.fdopen(os.memfd_create("recording"), "w+b", buffering=0))
        if stream.write(data) == len(data):
            return stream
    except OSError:  # no memory, or no more open files
        pass
    return ByteStream(data)


class SoundFileRecording(Recording):
    """`open_again` gives a fresh soundfile.SoundFile of the same file."""

    def __init__(self, open_again: Callable[[], soundfile.SoundFile]) -> None:
        self._open_again, self._sound = open_again, open_again()
        sound = self._sound
        super().__init__(sound.samplerate, sound.channels, sound.format, sound.subtype)
        self._position = 0  # of the decoder; -1 when it is lost
        self.end = sound.frames if sound.frames < UNKNOWN_LENGTH else None  # for the decoder
        self.declared_samples = self.least_samples = self.end
        self.seeks_badly = False  # better decode on, when it is not far
        self.seeks_afresh = False  # open the file again before a seek
        self.last_seek = UNKNOWN_LENGTH  # seek to nowhere after this
        self.preroll_samples = 0  # decode these before a range
        self.lead_in_samples = 0  # the decoder gives these before the first sample
        self.empty_reason = ""

    def close(self) -> None:
        self._sound.close()

    def _blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        self.failure = None
        start += self.lead_in_samples
        ends = [end for end in (self.end, None if stop is None else stop + self.lead_in_samples) if end is not None]
        stop = min(ends, default=None)
        if (stop is not None and start >= stop) or not self._go_to(start):
            return
        block_samples = max(1, BLOCK_SAMPLES // self.num_channels)
        while stop is None or self._position < stop:
            is_wanted = self._position >= start
            goal = (UNKNOWN_LENGTH if stop is None else stop) if is_wanted else start
            block_sc = np.empty((min(goal - self._position, block_samples), self.num_channels), np.float32)
            num_read = self._read_into(block_sc)
            if num_read and is_wanted:
                yield block_sc[:num_read]
            if num_read < len(block_sc):
                return

    def _go_to(self, start: int) -> bool:
        """Be at `start`, or so near before it that decoding up to it makes the samples come out right."""
        near_samples = NEAR_S * self.sample_rate_hz if self.seeks_badly else 0
        if 0 <= start - self._position <= near_samples and self._position >= 0:
            return True
        target = max(0, min(start, self.last_seek) - self.preroll_samples)
        try:
            if self.seeks_afresh:
                self.close()
                self._sound = self._open_again()
            self._position = self._sound.seek(target)
        except RuntimeError as error:
            self._position, self.failure = -1, words_of(error)
        return self._position >= 0

    def _read_into(self, block_sc: np.ndarray) -> int:
        try:
            num_read = len(self._sound.read(out=block_sc))
        except RuntimeError as error:
            self.failure = words_of(error)
            num_read = min(max(0, self._sound.tell() - self._position), len(block_sc) - 1)
            self._position = -1
            return num_read
        self._position += num_read
        return num_read

    def _why_empty(self) -> str:
        return self.empty_reason or super()._why_empty()


@functools.cache
def sound_file() -> type[soundfile.SoundFile]:
    """The class of what is opened; made at the first call, since soundfile loads its library when it is imported."""
    import soundfile

    class SequentialSoundFile(soundfile.SoundFile):
        """soundfile seeks to where it already is after every read; damaged and endless files fail at that alone."""

        def seekable(self) -> bool:
            return False

    return SequentialSoundFile


def open_sound_file(stream: BinaryIO, stack: ExitStack) -> SoundFileRecording:
    """Raises soundfile's RuntimeError when it cannot."""
    is_file = os.name == "posix" and isinstance(stream, io.FileIO)

    def open_again() -> soundfile.SoundFile:
        stream.seek(0)
        return sound_file()(stream.fileno() if is_file else stream, closefd=False)

    recording = SoundFileRecording(open_again)
    stack.callback(recording.close)
    return recording
