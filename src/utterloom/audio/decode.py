"""Recordings to samples: libsndfile first, FFmpeg (the extra `media`) for what libsndfile does not know.

What was opened is a `Recording` (recording.py); the two libraries are in sndfile.py and ffmpeg.py. Here is which of them can be
trusted with which file.

Shapes: samples_sc is float32 [samples, channels]. Positions are in samples per channel, at the file's own rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utterloom.audio import container
from utterloom.audio.ffmpeg import open_ffmpeg
from utterloom.audio.recording import Recording, beginning_of, words_of
from utterloom.audio.sndfile import ByteStream, SoundFileRecording, memory_file, open_sound_file, sound_file
from utterloom.core.errors import AudioError, DamagedError, MissingPackageError
from utterloom.store.members import parse_member_path, read_member

MP3_PREROLL_SAMPLES = 16 * 1152  # the bit reservoir: a frame's bits may begin several frames earlier (mpg123 grumbles)


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
        raise AudioError(f"not FLAC: the data {beginning_of(data)}")
    try:
        with sound_file()(ByteStream(data)) as sound:
            num_samples, num_channels = sound.frames, sound.channels
            if num_channels != 1:
                raise AudioError(f"the FLAC data has {num_channels} channels, not one")
            if num_samples > len(out):
                raise AudioError(f"the FLAC data declares {num_samples} samples, the row has room for {len(out)}")
            num_read = sound.buffer_read_into(out[:num_samples], out.dtype.name) if num_samples else 0
    except RuntimeError as error:
        raise AudioError(f"the FLAC data is damaged: {words_of(error)}") from None
    if num_read < num_samples or not num_read:
        raise AudioError(f"the FLAC data is damaged: {num_read} of {num_samples} samples could be read")
    return num_read


@contextmanager
def open_recording(source: Path | bytes) -> Iterator[Recording]:
    """Open with the decoder that can be trusted with this file. Raises AudioError and MissingPackageError as `decode`."""
    with ExitStack() as stack:
        stream = stack.enter_context(_open_stream(source))
        head = stream.read(64)
        if not head:
            raise AudioError("the file is empty (0 bytes)")
        if name := container.ffmpeg_container(head):
            yield open_ffmpeg(stream, name, stack)
        elif frames := _mpeg_frames(stream, head):
            yield _open_mp3(*frames, stack)
        else:
            yield _open_by_trial(stream, head, stack)


def _open_stream(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return ByteStream(source)
    if (member := parse_member_path(str(source))) is not None:
        try:
            return ByteStream(read_member(member))
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


def _open_by_trial(stream: BinaryIO, head: bytes, stack: ExitStack) -> Recording:
    extent = container.data_extent(stream)
    pages = container.ogg_pages(stream)
    if pages and pages.is_chained:  # libsndfile plays the first link only
        return open_ffmpeg(stream, "chained Ogg", stack)
    try:
        recording = open_sound_file(stream, stack)
    except RuntimeError as error:
        missing = extent.missing if extent and extent.is_cut else None
        other = _open_as_last_resort(stream, head, "; ".join(filter(None, (words_of(error), missing))), stack)
        other.missing = missing
        return other
    if pages:
        _apply_pages(recording, pages)
    elif extent:
        _apply_extent(recording, extent)
    return recording


def _apply_pages(recording: SoundFileRecording, pages: container.OggPages) -> None:
    if pages.is_cut:
        recording.missing = "the last Ogg page is not whole"
        recording.declared_samples = recording.least_samples = None
    if recording.subtype == "VORBIS":
        # libsndfile 1.2 lands hundreds of samples beside a target in the last page, and beside any once it has sought.
        recording.seeks_badly = recording.seeks_afresh = True
        recording.last_seek = pages.last_page_start


def _apply_extent(recording: SoundFileRecording, extent: container.DataExtent) -> None:
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
        recording = open_sound_file(memory_file(container.with_id3(data), stack), stack)
    except RuntimeError as error:
        other = _open_as_last_resort(ByteStream(data), data, words_of(error), stack)
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


def _open_as_last_resort(stream: BinaryIO, head: bytes, words: str, stack: ExitStack) -> Recording:
    """libsndfile gave up with these words: does FFmpeg know the format?"""
    kind = container.sndfile_container(head)
    try:
        return open_ffmpeg(stream, kind or "audio", stack)
    except MissingPackageError as error:
        hint = f"if it is a rarer format, FFmpeg may read it: {error.hint}"
    except AudioError:
        hint = None
    if kind:
        raise AudioError(f"the {kind} file cannot be read (libsndfile: {words})", hint)
    raise AudioError(f"not a known audio format: the data {beginning_of(head)}", hint)
