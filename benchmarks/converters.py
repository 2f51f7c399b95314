"""Those that turn MP3 into 16 kHz mono FLAC, each in its fair best simple setting, and the floors under them.

A converter gives `samples`, a recording to float32 [samples], and `flac`, recordings to 16-bit FLAC below a folder: as loose
files, or as members of a tar. It is opened once, imports and all, before anything is timed.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 16_000
TO_SAMPLES, TO_FLAC = "samples", "flac"
MODES = (TO_SAMPLES, TO_FLAC)

Samples = Callable[[Path], np.ndarray]
Flac = Callable[[Sequence[Path], Path], None]


@dataclass(frozen=True)
class Opened:
    """None where a converter has no such way."""

    samples: Samples | None
    flac: Flac | None


@dataclass(frozen=True)
class Converter:
    """`peer` joins the settings of one peer: the board takes the better one. `open` gets the manifest of the recordings."""

    id: str
    label: str
    settings: str
    open: Callable[[Path], Opened]
    peer: str | None = None
    packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def each(convert: Callable[[Path, Path], Any]) -> Flac:
    """One file after the other, each beside the others under its own name."""

    def flac(paths: Sequence[Path], folder: Path) -> None:
        for path in paths:
            convert(path, folder / f"{path.stem}.flac")

    return flac


def written(samples: Samples) -> Flac:
    """By soundfile, 16 bits: what peers without a FLAC writer, or with one of 24 bits, are given."""
    import soundfile

    return each(lambda path, out: soundfile.write(out, samples(path), RATE_HZ, subtype="PCM_16"))


def delivered(folder: Path) -> dict[str, bytes]:
    """FLAC by stem: loose files, and members of tars."""
    found = {path.stem: path.read_bytes() for path in folder.rglob("*.flac")}
    for path in folder.rglob("*.tar"):
        with tarfile.open(path) as tar:
            found |= {Path(member.name).stem: file.read() for member in tar.getmembers()
                      if member.name.endswith(".flac") and (file := tar.extractfile(member))}
    return found


# ------------------------------------------------------------------------------------------------------------- utterloom


def utterloom(manifest: Path) -> Opened:
    """What a worker of `utterloom pack` does: a shard with tar, checksums, ledger and Parquet."""
    import pyarrow.parquet as pq

    from utterloom.audio.spans import SpanReader
    from utterloom.pack.stage import ShardTask, pack_shard
    from utterloom.shards import layout

    table = pq.read_table(manifest / layout.MANIFEST_FILE).to_pylist()
    rows = {Path(row["spans"][0]["path"]).stem: (number, row["spans"]) for number, row in enumerate(table)}
    sources = SpanReader()

    def flac(paths: Sequence[Path], folder: Path) -> None:
        first, last = rows[paths[0].stem][0], rows[paths[-1].stem][0]
        assert [rows[path.stem][0] for path in paths] == list(range(first, last + 1)), "a shard is consecutive rows"
        pack_shard(ShardTask(str(manifest), str(folder), "train-00000", first, last + 1, "basic", RATE_HZ))

    return Opened(lambda path: sources.load(rows[path.stem][1], RATE_HZ), flac)


# ---------------------------------------------------------------------------------------------------------------- floors


def bare_loop(manifest: Path) -> Opened:
    """The same libraries and settings, nothing checked, hashed or noted."""
    import soundfile
    import soxr

    def samples(path: Path) -> np.ndarray:
        samples_sc, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples_sc[:, 0] + samples_sc[:, 1]
        mono *= np.float32(0.5)
        return np.asarray(soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ"))

    return Opened(samples, written(samples))


def decode_only(manifest: Path) -> Opened:
    import soundfile

    return Opened(lambda path: np.asarray(soundfile.read(path, dtype="float32")[0]), None)


# ----------------------------------------------------------------------------------------------------------------- peers


def pydub(manifest: Path) -> Opened:
    with warnings.catch_warnings(action="ignore"):
        from pydub import AudioSegment

    def convert(path: Path, out: Path) -> None:
        AudioSegment.from_mp3(str(path)).set_frame_rate(RATE_HZ).set_channels(1).export(str(out), format="flac").close()

    return Opened(None, each(convert))


def ffmpeg(manifest: Path) -> Opened:
    def convert(path: Path, out: Path) -> None:
        form = ["-ac", "1", "-ar", str(RATE_HZ), "-sample_fmt", "s16"]
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", path, *form, out], check=True)

    return Opened(None, each(convert))


def _torchcodec_samples(path: Path) -> Any:
    from torchcodec.decoders import AudioDecoder

    return AudioDecoder(path, sample_rate=RATE_HZ, num_channels=1).get_all_samples().data


def torchcodec(manifest: Path, own_writer: bool) -> Opened:
    import torch
    from torchcodec.encoders import AudioEncoder

    torch.set_num_threads(1)
    if own_writer:
        return Opened(None, each(lambda path, out: AudioEncoder(_torchcodec_samples(path), sample_rate=RATE_HZ).to_file(out)))

    def samples(path: Path) -> np.ndarray:
        return np.asarray(_torchcodec_samples(path)[0].numpy())

    return Opened(samples, written(samples))


def datasets(manifest: Path) -> Opened:
    import soundfile
    import torch
    from datasets import Audio, Dataset

    torch.set_num_threads(1)

    def opened(paths: Sequence[Path]) -> Any:
        return Dataset.from_dict({"audio": [str(path) for path in paths]}).cast_column(
            "audio", Audio(sampling_rate=RATE_HZ, num_channels=1))

    def samples_of(row: dict[str, Any]) -> np.ndarray:
        return np.asarray(row["audio"].get_all_samples().data[0].numpy())

    def flac(paths: Sequence[Path], folder: Path) -> None:
        for path, row in zip(paths, opened(paths), strict=True):
            soundfile.write(folder / f"{path.stem}.flac", samples_of(row), RATE_HZ, subtype="PCM_16")

    return Opened(lambda path: samples_of(opened([path])[0]), flac)


def lhotse(manifest: Path, own_road: bool) -> Opened:
    import torch
    from lhotse import Recording
    from lhotse.audio import save_audio
    from lhotse.augmentation.torchaudio import get_or_create_resampler

    torch.set_num_threads(1)
    if own_road:

        def cut(path: Path) -> Any:
            return Recording.from_file(path).resample(RATE_HZ).to_cut().to_mono(mono_downmix=True)

        return Opened(lambda path: np.asarray(cut(path).load_audio()[0]), each(lambda path, out: cut(path).save_audio(out)))

    def samples(path: Path) -> np.ndarray:
        recording = Recording.from_file(path)
        mono = recording.load_audio().mean(axis=0, keepdims=True)
        return np.asarray(get_or_create_resampler(recording.sampling_rate, RATE_HZ)(torch.from_numpy(mono))[0].numpy())

    return Opened(samples, each(lambda path, out: save_audio(out, samples(path)[None], RATE_HZ)))


OURS, BARE, DECODE = "utterloom", "bare", "decode"
CONVERTERS = [
    Converter(OURS, "utterloom",
              "`SpanReader` for samples; for FLAC one shard as a worker of `pack` writes it: tar, SHA-256, CRC-32, ledger, Parquet",
              utterloom),
    Converter("torchcodec", "torchcodec, soundfile",
              "`AudioDecoder(path, sample_rate=16000, num_channels=1)`; FLAC by soundfile, 16 bits",
              partial(torchcodec, own_writer=False), "torchcodec", ("torchcodec",)),
    Converter("torchcodec-writer", "torchcodec, its own writer", "the same; FLAC by its `AudioEncoder`, which writes 24 bits",
              partial(torchcodec, own_writer=True), "torchcodec", ("torchcodec",)),
    Converter("lhotse", "lhotse",
              "`Recording.load_audio()`, mean of the channels, the resampler that it carries along, its `save_audio`",
              partial(lhotse, own_road=False), "lhotse", ("lhotse",)),
    Converter("lhotse-road", "lhotse, cuts",
              "`Recording.from_file(path).resample(16000).to_cut().to_mono(mono_downmix=True)`, `save_audio`; resamples with scipy "
              "where torchaudio is absent",
              partial(lhotse, own_road=True), "lhotse", ("lhotse", "scipy")),
    Converter("datasets", "datasets", "`cast_column(\"audio\", Audio(sampling_rate=16000, num_channels=1))`; FLAC by soundfile",
              datasets, "datasets", ("datasets", "torchcodec")),
    Converter("pydub", "pydub", "`AudioSegment.from_mp3(…).set_frame_rate(16000).set_channels(1).export(…)`", pydub, "pydub",
              ("pydub",), ("ffmpeg", "ffprobe")),
    Converter("ffmpeg", "one ffmpeg a file", "`ffmpeg -i … -ac 1 -ar 16000 -sample_fmt s16 …`, a process for each file", ffmpeg,
              "ffmpeg", (), ("ffmpeg",)),
    Converter(BARE, "floor: the bare loop",
              "`soundfile.read`, the two channels added and halved, `soxr.resample` (HQ), `soundfile.write`: nothing is checked, "
              "hashed or noted", bare_loop),
    Converter(DECODE, "floor: decoding alone", "`soundfile.read` to float32 stereo at 48 kHz", decode_only),
]


# ---------------------------------------------------------------------------------------------------------- the same sound


def difference(flac: bytes, reference: bytes) -> dict[str, float]:
    """How one conversion differs from another: in length, in loudness, and in what then is left, in dB below the sound."""
    import soundfile

    (found, found_hz), (wanted, wanted_hz) = (soundfile.read(io.BytesIO(content)) for content in (flac, reference))
    if found_hz != wanted_hz or found.ndim != 1:
        raise SystemExit(f"{found_hz} Hz in {found.ndim} dimensions, not mono at {wanted_hz} Hz")
    shared = min(len(found), len(wanted))
    a, b = found[:shared], wanted[:shared]
    gain = float(a @ b / (b @ b))
    rest = a - gain * b
    return {"samples": len(found) - len(wanted), "gain": gain,
            "snr_db": float(10 * np.log10(gain * gain * (b @ b) / max(float(rest @ rest), 1e-12)))}


def say_settings() -> str:
    return "\n".join(f"- {converter.label}: {converter.settings}." for converter in CONVERTERS)
