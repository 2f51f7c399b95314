"""Probing agrees with decoding."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utterloom.audio.decode import decode
from utterloom.audio.probe import AudioInfo, probe
from utterloom.core.errors import AudioError

INGEST = Path(__file__).resolve().parents[2].parent / "shared/data/ingest_formats"
needs_ingest = pytest.mark.skipif(not INGEST.exists(), reason=f"no shared data at {INGEST}")
SAMPLES = (0.1 * np.random.default_rng(0).standard_normal((20_000, 2))).astype(np.float32)


def real_paths(folder: str) -> list[Path]:
    return sorted((INGEST / folder).iterdir()) if INGEST.exists() else []


def written(path: Path, format: str, subtype: str | None = None) -> Path:
    soundfile.write(path, SAMPLES, 16_000, format=format, subtype=subtype)
    return path


@needs_ingest
@pytest.mark.parametrize("path", real_paths("audio"), ids=lambda path: path.name)
def test_probe_gives_the_number_of_samples_that_decode_gives(path: Path) -> None:
    if path.suffix in {".aac", ".mp4", ".webm"}:
        pytest.importorskip("av")
    info = probe(path)
    if path.name == "p001.flac":  # its last frame is undecodable, which a header cannot show
        assert info.num_samples == 396_679
        return
    samples_sc, rate_hz = decode(path)
    assert (info.num_samples, info.num_channels) == samples_sc.shape
    assert info.sample_rate_hz == rate_hz
    assert info.duration_s == len(samples_sc) / rate_hz


@needs_ingest
@pytest.mark.parametrize("path", real_paths("broken"), ids=lambda path: path.name)
def test_probe_refuses_broken_files(path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        probe(path)
    assert path.name not in caught.value.message


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [
        ("a.wav", "WAV", "PCM_24"),
        ("a.flac", "FLAC", "PCM_16"),
        ("a.ogg", "OGG", "VORBIS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"),
        ("a.aiff", "AIFF", "PCM_16"),
    ],
)
def test_what_is_told(name: str, format: str, subtype: str, tmp_path: Path) -> None:
    info = probe(written(tmp_path / name, format, subtype))
    assert info == AudioInfo(16_000, 2, 20_000, format, subtype)
    assert info.duration_s == 1.25
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.num_samples = 1  # type: ignore[misc]


@needs_ingest
@pytest.mark.parametrize(
    ("name", "format", "subtype", "num_samples"),
    [
        ("p001.mp4", "MP4", "AAC", 396_680),  # as declared; 388 frames of 1024 are decoded
        ("p001.aac", "AAC", "AAC", 397_312),
        ("p001.webm", "MATROSKA", "VORBIS", 397_504),
        ("common_voice_en_651325.mp3", "MP3", "MPEG_LAYER_III", 99 * 1152),  # no length header
    ],
)
def test_containers_that_need_care(name: str, format: str, subtype: str, num_samples: int) -> None:
    if not name.endswith("mp3"):
        pytest.importorskip("av")
    info = probe(INGEST / "audio" / name)
    assert (info.format, info.subtype, info.num_samples) == (format, subtype, num_samples)


@pytest.mark.parametrize("format", ["WAV", "AIFF", "MP3", "OGG"])
def test_visibly_cut_file_is_refused(format: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a", format)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(AudioError, match=r"cut short or damaged: \d+ samples"):
        probe(path)


def test_cut_flac_has_a_length_still(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", "FLAC")
    path.write_bytes(path.read_bytes()[:-700])
    assert probe(path).num_samples == 20_000
    with pytest.raises(AudioError, match="of the 20000 that its header declares"):
        decode(path)


def test_flac_of_a_streaming_writer_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.flac", "FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path).num_samples == 20_000


def test_no_samples(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES[:0], 16_000, format="WAV")
    (tmp_path / "a.wav").write_bytes(buffer.getvalue())
    with pytest.raises(AudioError, match="no samples"):
        probe(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="No such file"):
        probe(tmp_path / "b.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        probe(tmp_path)
