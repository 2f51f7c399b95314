"""What containers say about their own length."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from utterloom.audio.container import (
    MAX_CHUNKS,
    DataExtent,
    data_extent,
    ffmpeg_container,
    mpeg_frames,
    ogg_pages,
    with_length_header,
)

SAMPLES = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)


def written(format: str, subtype: str | None = None, rate_hz: int = 16_000, **options: object) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, rate_hz, format=format, subtype=subtype, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_declared_and_held_bytes(format: str) -> None:
    data = written(format, "PCM_16")
    assert data_extent(io.BytesIO(data)) == DataExtent(48_000, 48_000)
    cut = data_extent(io.BytesIO(data[:-1001]))
    assert cut == DataExtent(48_000, 46_999)
    assert cut.is_cut
    assert cut.declared_samples(held_samples=23_499) == 24_000


def test_chunks_before_and_after_the_data() -> None:
    data = written("WAV", "PCM_16")
    at = data.index(b"data")
    junk = b"JUNK" + struct.pack("<I", 5) + b"12345\0"  # odd sizes are padded
    assert data_extent(io.BytesIO(data[:at] + junk + data[at:] + junk)) == DataExtent(48_000, 48_000 + len(junk))


def test_long_sizes_of_rf64() -> None:
    header = b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<IQQQI", 28, 0, 5 << 32, 0, 0)
    extent = data_extent(io.BytesIO(header + b"data" + b"\xff" * 4 + bytes(100)))
    assert extent == DataExtent(5 << 32, 100)


def test_sizes_that_mean_unknown() -> None:
    for size in (0xFFFFFFFF, 0xFFFFFFFF - 44, 0x7FFFFFFF, 0x7FFFF000, 0x80000000):
        header = b"RIFF" + struct.pack("<I", size) + b"WAVEdata" + struct.pack("<I", size)
        assert data_extent(io.BytesIO(header + bytes(10))) is None


def test_endless_chunks_end() -> None:
    data = b"RIFF\0\0\0\0WAVE" + b"LIST\0\0\0\0" * (MAX_CHUNKS + 10) + b"data\x10\0\0\0" + bytes(16)
    assert data_extent(io.BytesIO(data)) is None


def test_several_samples_per_byte() -> None:
    assert DataExtent(1000, 500).declared_samples(held_samples=1001) == 2002
    assert DataExtent(1000, 0).declared_samples(held_samples=0) is None
    assert DataExtent(0, 0).declared_samples(held_samples=0) == 0


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_pages(subtype: str) -> None:
    data = written("OGG", subtype)
    whole = ogg_pages(io.BytesIO(data))
    assert whole is not None
    assert not whole.is_cut
    assert not whole.is_chained
    assert ogg_pages(io.BytesIO(data + b"junk after the end")) == whole
    assert all(ogg_pages(io.BytesIO(data[:-cut])).is_cut for cut in (1, 500))  # type: ignore[union-attr]
    assert ogg_pages(io.BytesIO(data + data)).is_chained  # type: ignore[union-attr]
    assert ogg_pages(io.BytesIO(written("WAV"))) is None


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
def test_mp3_frames(rate_hz: int, bitrate_mode: str) -> None:
    data = written("MP3", rate_hz=rate_hz, bitrate_mode=bitrate_mode, compression_level=0.3)
    frames = mpeg_frames(data)
    assert frames is not None
    assert frames.frame_samples == (1152 if rate_hz >= 32_000 else 576)
    assert frames.num_frames * frames.frame_samples >= len(SAMPLES)
    if frames.declared_frames is not None:  # LAME leaves the header out where the first frame has no room for it
        assert frames.declared_frames == frames.num_frames
        assert mpeg_frames(data[:-1]).is_cut  # type: ignore[union-attr]
        assert not mpeg_frames(data + data).declares_length  # type: ignore[union-attr]
    assert not frames.is_cut
    assert mpeg_frames(data + b"TAG" + bytes(125)).num_frames == frames.num_frames  # type: ignore[union-attr]

    bare = data[frames.first_audio :]
    assert mpeg_frames(bare).declared_frames is None  # type: ignore[union-attr]
    again = mpeg_frames(with_length_header(bare, mpeg_frames(bare)))  # type: ignore[arg-type]
    assert again is not None
    assert again.declared_frames == again.num_frames == frames.num_frames + 1  # and a silent one


def test_mp3_frames_survive_junk_between_them() -> None:
    data = written("MP3")
    frames = mpeg_frames(data)
    assert frames is not None
    junk = b"ID3\x04\0\0\0\0\x01\0" + b"\xff" * 128
    assert mpeg_frames(data + junk + data[frames.first_audio :]).num_frames == 2 * frames.num_frames  # type: ignore[union-attr]


def test_other_data_is_not_mp3() -> None:
    assert mpeg_frames(b"\xff" * 5000) is None
    assert mpeg_frames(b"ID3\x04\0\0\0\0\0\x10" + bytes(16) + written("FLAC")) is None
    assert mpeg_frames(b"") is None


def test_containers_of_ffmpeg() -> None:
    assert ffmpeg_container(b"\0\0\0\x20ftypM4A ") == "MP4"
    assert ffmpeg_container(b"\x1aE\xdf\xa3\x9fB\x86\x81") == "Matroska/WebM"
    assert ffmpeg_container(b"\xff\xf1\x50\x80") == "ADTS AAC"
    assert ffmpeg_container(b"\xff\xfd\x80\x00") == "MPEG layer I or II"
    assert ffmpeg_container(written("MP3")) is None
    assert ffmpeg_container(b"\xff\xfd\xff\xfd") is None  # quiet big-endian samples
    assert ffmpeg_container(b"RIFF") is None
    assert ffmpeg_container(b"") is None
