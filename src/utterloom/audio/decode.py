"""Recordings to samples: libsndfile first, FFmpeg (the extra `media`) for what libsndfile does not know.

Shapes: samples_sc is float32 [samples, channels]. Positions are in samples per channel, at the file's own rate.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from utterloom.audio import container
from utterloom.core.errors import AudioError, DamagedError, MissingPackageError
from utterloom.store.members import parse_member_path, read_member

if TYPE_CHECKING:
    import soundfile

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000  # no recorder is outside: such a header is damaged
BLOCK_SAMPLES = 1 << 22  # over all channels: what a lying header can make us allocate
NO_NETWORK = {"protocol_whitelist": "none"}  # a playlist that is named .wav opens no other file or address
MP3_PREROLL_SAMPLES = 16 * 1152  # the bit reservoir: a frame's bits may begin several frames earlier (mpg123 grumbles)
MP4_PREROLL_FRAMES = 4
NEAR_S = 10.0  # decoding on is exact and about as cheap as a seek
UNKNOWN_LENGTH = 1 << 62  # libsndfile's count when the header has none


def decode(source: Path | bytes, start_sample: int = 0, stop_sample: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a recording, or the range [start_sample, stop_sample) of it, to float32 [samples, channels] and its rate in Hz.

    A stop after the end means the end. There is always at least one sample, and all are finite; integer formats are
    scaled to [−1, 1), float formats are kept as they are. A range comes out as the slice of the whole would (lossy MP4
    and MP3 may differ by noise that the codec makes up). A range before the place where a file is cut is delivered.

    Raises AudioError when there is no such file, range or sample; when the format is not known or the header is not
    believable; when the data is damaged; when samples are not finite; and when data is missing, as told by: the size in
    the header (WAV, RF64, W64, AIFF, CAF, NIST, AU; MP4, and WebM to 0.2 s); the sample count (FLAC); the frame count
    (MP3 with a length header); a last page that is not whole (Ogg); a last frame that is not whole (AAC).
    It cannot be told for files that were cut between two pages or frames and whose header counts nothing (MP3 without a
    length header, AAC, Ogg, fragmented MP4), nor for WAV files that a streaming writer left without a size.

    Raises MissingPackageError for a container that only FFmpeg reads, when `av` is not installed.

    For many ranges of one long recording, `open_recording` once: opening an MP3 walks all of its frames.
    """
    with open_recording(source) as recording:
        return recording.decode(start_sample, stop_sample), recording.sample_rate_hz


def to_mono(samples_sc: np.ndarray, channel: int | None = None) -> np.ndarray:
    """float32 [samples, channels] (or [samples]) → float32 [samples]: the mean of the channels, or one of them, from 0.

    Raises AudioError where there is no such channel.
    """
    if channel is not None:
        num_channels = 1 if samples_sc.ndim == 1 else samples_sc.shape[1]
        if not 0 <= channel < num_channels:
            raise AudioError(f"there is no channel {channel + 1}: the recording has {num_channels}")
        samples_sc = samples_sc if samples_sc.ndim == 1 else samples_sc[:, channel]
    if samples_sc.ndim == 1:
        return samples_sc.astype(np.float32, copy=False)
    if samples_sc.shape[1] == 1:
        return samples_sc[:, 0].astype(np.float32, copy=False)
    # Column by column: numpy's mean over so short an axis takes as long as the decoder.
    total: np.ndarray = np.add(samples_sc[:, 0], samples_sc[:, 1], dtype=np.float32)
    for other in range(2, samples_sc.shape[1]):
        total += samples_sc[:, other]
    total *= np.float32(1 / samples_sc.shape[1])
    return total


def decode_flac_into(data: bytes, out: np.ndarray) -> int:
    """Decode mono FLAC into the start of `out` (float32 scaled to [−1, 1), or int16; contiguous) → number of samples.

    The rest of the row is left as it is. Raises AudioError when the bytes are damaged (FLAC has a checksum in every
    frame), not mono, or hold more samples than the row.

    This is the training loader's hot path. CPU µs per utterance of AN4 (mean of 100: 2.7 s at 16 kHz, 40 kB): bare
    libsndfile 690, this function 700, through a memory file 740, `sf.read(BytesIO)` and a copy 770, PyAV 1,120.
    """
    if data[:4] != b"fLaC":
        raise AudioError(f"not FLAC: the data {_begins(data)}")
    try:
        with _sound_file()(_ByteStream(data)) as sound:
            num_samples, num_channels = sound.frames, sound.channels
            if num_channels != 1:
                raise AudioError(f"the FLAC data has {num_channels} channels, not one")
            if num_samples > len(out):
                raise AudioError(f"the FLAC data declares {num_samples} samples, the row has room for {len(out)}")
            num_read = sound.buffer_read_into(out[:num_samples], out.dtype.name) if num_samples else 0
    except RuntimeError as error:
        raise AudioError(f"the FLAC data is damaged: {_words(error)}") from None
    if num_read < num_samples or not num_read:
        raise AudioError(f"the FLAC data is damaged: {num_read} of {num_samples} samples could be read")
    return num_read


# ------------------------------------------------------------------------------------------------- opened recordings


class Recording:
    """One opened source file. Ranges may be decoded in any order; ascending is cheapest.

    declared_samples   what the container says, or None where it says nothing that can be relied on
    least_samples      fewer than these, and data is missing; None where the container gives no hint
    missing            how the container shows that data is missing, or None
    failure            why decoding stopped early, the last time, or None
    """

    def __init__(self, sample_rate_hz: int, num_channels: int, format: str, subtype: str) -> None:
        if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
            believable = f"{MIN_RATE_HZ} to {MAX_RATE_HZ} are believable"
            raise AudioError(f"the header declares a sample rate of {sample_rate_hz} Hz; {believable}")
        self.sample_rate_hz, self.num_channels = sample_rate_hz, num_channels
        self.format, self.subtype = format, subtype
        self.declared_samples: int | None = None
        self.least_samples: int | None = None
        self.missing: str | None = None
        self.failure: str | None = None

    def decode(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples [start, stop) as float32 [samples, channels]; see `decode` of this module for what it raises."""
        if start < 0 or (stop is not None and stop <= start):
            raise AudioError(f"the sample range [{start}, {stop}) is empty")
        if self.declared_samples and start >= self.declared_samples:
            raise AudioError(f"the range begins at sample {start}, but the file ends at sample {self.declared_samples}")
        samples_sc = self._read(start, stop)
        self._check_complete(start, start + len(samples_sc), stop)
        if not len(samples_sc):
            raise AudioError(f"the file ends before sample {start}" if start else self._why_empty())
        if not np.isfinite(samples_sc).all():
            num_bad = int(samples_sc.size - np.isfinite(samples_sc).sum())
            raise AudioError(f"{num_bad} of {samples_sc.size} sample values are NaN or infinite")
        return samples_sc

    def count(self) -> int:
        """Samples per channel: as declared where that can be relied on, else by decoding. Raises AudioError as `decode`."""
        num_samples = self.declared_samples
        if num_samples is None or self.missing:
            num_samples = sum(len(block) for block in self._blocks(0, None))
            self._check_complete(0, num_samples, None)
        if not num_samples:
            raise AudioError(self._why_empty())
        return num_samples

    def _blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """float32 [samples, channels] from `start` on, until `stop`, the end, or a `failure`."""
        raise NotImplementedError

    def _read(self, start: int, stop: int | None) -> np.ndarray:
        """float32 [samples, channels]. Memory grows with what is really there, never with what a header declares."""
        blocks = self._blocks(start, stop)
        first = next(blocks, None)
        if first is None:
            return np.empty((0, self.num_channels), np.float32)
        ends = [end for end in (stop, self.declared_samples) if end is not None]
        most_samples = min(ends) - start if ends else UNKNOWN_LENGTH
        if len(first) == most_samples:
            return first
        samples_sc, num_samples = np.array(first, order="C"), len(first)
        for block in blocks:
            needed = num_samples + len(block)
            if needed > len(samples_sc):  # grows in place: no second copy
                samples_sc.resize((max(needed, min(2 * needed, most_samples)), self.num_channels), refcheck=False)
            samples_sc[num_samples:needed] = block
            num_samples = needed
        samples_sc.resize((num_samples, self.num_channels), refcheck=False)
        return samples_sc

    def _check_complete(self, start: int, end: int, stop: int | None) -> None:
        """Raises AudioError when [start, stop) was wanted, [start, end) came, and the container has, or had, more."""
        is_short = self.least_samples is not None and end < self.least_samples
        if (stop is not None and end >= stop) or not (self.missing or self.failure or is_short):
            return
        declared = self.declared_samples
        of_declared = f" of the {declared} that its header declares" if declared is not None else ""
        num_read = f"no sample from {start} on" if start and end == start else f"{end} samples"
        reason = f" ({self.failure or self.missing})" if self.failure or self.missing else ""
        raise AudioError(f"the file is cut short or damaged: {num_read}{of_declared} could be read{reason}")

    def _why_empty(self) -> str:
        return "the file holds no samples"


@contextmanager
def open_recording(source: Path | bytes) -> Iterator[Recording]:
    """Open with the decoder that can be trusted with this file. Raises AudioError and MissingPackageError as `decode`."""
    with ExitStack() as stack:
        stream = stack.enter_context(_open_stream(source))
        head = stream.read(64)
        if not head:
            raise AudioError("the file is empty (0 bytes)")
        if name := container.ffmpeg_container(head):
            yield _open_ffmpeg(stream, name, stack)
        elif frames := _mpeg_frames(stream, head):
            yield _open_mp3(*frames, stack)
        else:
            yield _open_by_trial(stream, head, stack)


class _ByteStream(io.BytesIO):
    """Damaged headers send libsndfile to before the beginning: that must not print a traceback from inside of it."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _memory_file(data: bytes, stack: ExitStack) -> BinaryIO:
    """A file without a place, where the system has such: mpg123 reads a kilobyte at a time, and each reading from Python's memory
    would be a call into Python, 6 % of the time that an MP3 takes."""
    if not hasattr(os, "memfd_create"):
        return _ByteStream(data)
    try:
        stream = stack.enter_context(os.fdopen(os.memfd_create("recording"), "w+b", buffering=0))
        if stream.write(data) == len(data):
            return stream
    except OSError:  # no memory, or no more open files
        pass
    return _ByteStream(data)


def _open_stream(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return _ByteStream(source)
    if (member := parse_member_path(str(source))) is not None:
        try:
            return _ByteStream(read_member(member))
        except DamagedError as error:
            raise AudioError(error.message) from None
        except OSError as error:
            raise AudioError(f"cannot be opened: {error.strerror}") from None
    try:
        if source.exists() and not source.is_file():
            raise AudioError("not a regular file")
        stream = source.open("rb", buffering=0)
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror}") from None
    # Neither decoder shall see the name: by their extensions, they make noise of text in an .au or a .gsm file.
    stream.name = "recording"
    return stream


# -------------------------------------------------------------------------------------------------------- libsndfile


class _SoundFileRecording(Recording):
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
            self._position, self.failure = -1, _words(error)
        return self._position >= 0

    def _read_into(self, block_sc: np.ndarray) -> int:
        try:
            num_read = len(self._sound.read(out=block_sc))
        except RuntimeError as error:
            self.failure = _words(error)
            num_read = min(max(0, self._sound.tell() - self._position), len(block_sc) - 1)
            self._position = -1
            return num_read
        self._position += num_read
        return num_read

    def _why_empty(self) -> str:
        return self.empty_reason or super()._why_empty()


@functools.cache
def _sound_file() -> type[soundfile.SoundFile]:
    import soundfile

    class SequentialSoundFile(soundfile.SoundFile):
        """soundfile seeks to where it already is after every read; damaged and endless files fail at that alone."""

        def seekable(self) -> bool:
            return False

    return SequentialSoundFile


def _open_sound_file(stream: BinaryIO, stack: ExitStack) -> _SoundFileRecording:
    """Raises soundfile's RuntimeError when it cannot."""
    is_file = os.name == "posix" and isinstance(stream, io.FileIO)

    def open_again() -> soundfile.SoundFile:
        stream.seek(0)
        return _sound_file()(stream.fileno() if is_file else stream, closefd=False)

    recording = _SoundFileRecording(open_again)
    stack.callback(recording.close)
    return recording


def _open_by_trial(stream: BinaryIO, head: bytes, stack: ExitStack) -> Recording:
    extent = container.data_extent(stream)
    pages = container.ogg_pages(stream)
    if pages and pages.is_chained:  # libsndfile plays the first link only
        return _open_ffmpeg(stream, "chained Ogg", stack)
    try:
        recording = _open_sound_file(stream, stack)
    except RuntimeError as error:
        missing = extent.missing if extent and extent.is_cut else None
        other = _open_as_last_resort(stream, head, "; ".join(filter(None, (_words(error), missing))), stack)
        other.missing = missing
        return other
    if pages:
        _apply_pages(recording, pages)
    elif extent:
        _apply_extent(recording, extent)
    return recording


def _apply_pages(recording: _SoundFileRecording, pages: container.OggPages) -> None:
    if pages.is_cut:
        recording.missing = "the last Ogg page is not whole"
        recording.declared_samples = recording.least_samples = None
    if recording.subtype == "VORBIS":
        # libsndfile 1.2 lands hundreds of samples beside a target in the last page, and beside any once it has sought.
        recording.seeks_badly = recording.seeks_afresh = True
        recording.last_seek = pages.last_page_start


def _apply_extent(recording: _SoundFileRecording, extent: container.DataExtent) -> None:
    if extent.is_cut:
        recording.missing = extent.missing
        recording.declared_samples = extent.declared_samples(recording.end or 0)
    elif extent.declared_bytes == 0 and extent.held_bytes > 0:
        follow = f"though {extent.held_bytes} bytes follow it: was the recorder interrupted?"
        recording.empty_reason = f"the header declares no samples, {follow}"


def _mpeg_frames(stream: BinaryIO, head: bytes) -> tuple[bytes, container.MpegFrames] | None:
    if not head.startswith((b"ID3", b"\xff")):
        return None
    stream.seek(0)
    data = stream.read()
    frames = container.mpeg_frames(data)
    return (data, frames) if frames else None


def _open_mp3(data: bytes, frames: container.MpegFrames, stack: ExitStack) -> Recording:
    missing = f"{frames.num_frames} of {frames.declared_frames} MP3 frames are there" if frames.is_cut else None
    if not frames.declares_length:
        data = container.with_length_header(data, frames)
    try:
        recording = _open_sound_file(_memory_file(container.with_id3(data), stack), stack)
    except RuntimeError as error:
        other = _open_as_last_resort(_ByteStream(data), data, _words(error), stack)
        other.missing = missing
        return other
    recording.missing = missing
    recording.seeks_badly, recording.preroll_samples = True, MP3_PREROLL_SAMPLES
    if frames.declares_length:  # some encoders count a frame or two that decoders do not play
        recording.least_samples = (recording.end or 0) - 2 * frames.frame_samples
    else:
        recording.lead_in_samples = max(0, (recording.end or 0) - frames.num_frames * frames.frame_samples)
        recording.declared_samples = recording.least_samples = None
    return recording


# ------------------------------------------------------------------------------------------------------------ FFmpeg


class _FFmpegRecording(Recording):
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
            self._damage = f"FFmpeg: {_words(error)}"
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


def _open_ffmpeg(stream: BinaryIO, name: str, stack: ExitStack) -> _FFmpegRecording:
    try:
        import av
    except ImportError:
        raise MissingPackageError("av", "media", f"decoding {name}") from None

    def open_again() -> Any:
        stream.seek(0)
        return av.open(stream, options=NO_NETWORK, metadata_errors="ignore")

    try:
        recording = _FFmpegRecording(open_again)
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise AudioError(f"the {name} file is cut short or damaged (FFmpeg: {_words(error)})") from None
    stack.callback(recording.close)
    return recording


def _open_as_last_resort(stream: BinaryIO, head: bytes, words: str, stack: ExitStack) -> Recording:
    """libsndfile gave up with these words: does FFmpeg know the format?"""
    kind = container.sndfile_container(head)
    try:
        return _open_ffmpeg(stream, kind or "audio", stack)
    except MissingPackageError as error:
        hint = f"if it is a rarer format, FFmpeg may read it: {error.hint}"
    except AudioError:
        hint = None
    if kind:
        raise AudioError(f"the {kind} file cannot be read (libsndfile: {words})", hint)
    raise AudioError(f"not a known audio format: the data {_begins(head)}", hint)


def _float_samples(frame: Any) -> np.ndarray:
    """An av.AudioFrame of any sample format → float32 [samples, channels]."""
    raw = frame.to_ndarray()  # planar: [channels, samples]; else [1, samples × channels]
    raw_sc = np.ascontiguousarray(raw.T) if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if raw_sc.dtype == np.uint8:
        return (raw_sc.astype(np.float32) - 128) / 128
    if raw_sc.dtype.kind == "i":
        return raw_sc.astype(np.float32) / -float(np.iinfo(raw_sc.dtype).min)
    return raw_sc.astype(np.float32, copy=False)


# ------------------------------------------------------------------------------------------------------------- words


def _words(error: Exception) -> str:
    """What another library says, without file names, addresses and error numbers."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(text.removeprefix("Error : ").rstrip(". \n").split())


def _begins(head: bytes) -> str:
    return f"begins with {head[:12]!r}" if head else "is empty"
