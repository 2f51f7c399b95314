"""Real speech as people have it: stereo MP3 at 48 kHz, in clips of 3 to 20 s and as one long recording; and tones for filters."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"
SUFFIXES = {".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
RATE_HZ = 48_000
MIN_S, MAX_S = 3.0, 20.0
LONG_ENOUGH_S = MAX_S  # a recording, to be cut
AUDIBLE = 1e-3  # of full scale
BITRATE = 0.75  # of LAME's constant bitrates at 48 kHz, as soundfile counts them: 96 kbit/s
BEST_BITRATE = 0.0  # 320 kbit/s
ENCODED_S = 300.0
DELAY_SAMPLES, QUIETER = 12, 0.85  # the second microphone stands a little farther away
PASSED_HZ, ALIASED_HZ = (1000, 4000, 7000), (9000, 11_000, 13_000, 15_000, 17_000, 19_000)


def make_clips(folder: Path, recordings: Path, most: int, longest_s: float = MAX_S, seed: int = 0) -> list[Path]:
    """Clips of random lengths, one behind the other, from what is long enough; fewer where there is not enough of it."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    paths: list[Path] = []
    for speech in _speech(recordings):
        start = 0
        while len(paths) < most and start + (length := int(rng.uniform(MIN_S, longest_s) * RATE_HZ)) <= len(speech):
            piece = speech[start:start + length]
            start += length
            if np.sqrt(np.mean(piece * piece)) >= AUDIBLE:  # some recordings hold nothing
                paths.append(folder / f"clip-{len(paths):04d}.mp3")
                write_stereo(paths[-1], piece)
        if len(paths) == most:
            break
    if not paths:
        raise SystemExit(f"no recording in {recordings} is {LONG_ENOUGH_S:g} s long: name a folder that has some by --recordings")
    return paths


def make_long(path: Path, recordings: Path, seconds: float) -> Path:
    """One recording of about that length: a few minutes of speech, their frames again and again, under a true length header."""
    from utterloom.audio.container import mpeg_frames, with_length_header

    speech = np.concatenate(list(_some(_speech(recordings), min(seconds, ENCODED_S))))
    write_stereo(path, speech)
    encoded = path.read_bytes()
    if (frames := mpeg_frames(encoded)) is None:
        raise SystemExit(f"{path} is no MP3")
    again = encoded[frames.first_audio:] * round(seconds * RATE_HZ / len(speech))
    if (frames := mpeg_frames(again)) is None:
        raise SystemExit(f"{path} is no MP3 when it is repeated")
    path.write_bytes(with_length_header(again, frames))
    return path


def make_tone(path: Path, hz: float, seconds: float = 1.0) -> Path:
    """The same tone in both channels, at the best bitrate."""
    import soundfile

    tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(path, np.stack([tone, tone], axis=1), RATE_HZ, format="MP3", bitrate_mode="CONSTANT",
                    compression_level=BEST_BITRATE)
    return path


def write_stereo(path: Path, samples: np.ndarray) -> None:
    import soundfile

    soundfile.write(path, _stereo(samples), RATE_HZ, format="MP3", bitrate_mode="CONSTANT", compression_level=BITRATE)


def write_table(path: Path, clips: list[Path]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerows([["id", "path", "text", "split"],
                         *([clip.stem, clip, f"clip {number}", "train"] for number, clip in enumerate(clips))])
    return path


def _stereo(samples: np.ndarray) -> np.ndarray:
    """What two microphones hear of it: [samples, 2]."""
    late = np.concatenate([np.zeros(DELAY_SAMPLES, np.float32), samples])[:len(samples)]
    return np.stack([0.9 * samples, 0.9 * QUIETER * late], axis=1)


def _some(pieces: Iterator[np.ndarray], seconds: float) -> Iterator[np.ndarray]:
    left = int(seconds * RATE_HZ)
    for piece in pieces:
        yield piece[:left]
        left -= len(piece[:left])
        if not left:
            return


def _speech(recordings: Path) -> Iterator[np.ndarray]:
    """float32 [samples] at 48 kHz of every recording below the folder that is long enough and can be read, widest band first."""
    from utterloom.audio.decode import decode, to_mono
    from utterloom.audio.probe import probe
    from utterloom.audio.resample import resample
    from utterloom.core.errors import AudioError, MissingPackageError

    found = []
    for path in recordings.rglob("*"):
        if path.suffix.lower() in SUFFIXES:
            with suppress(AudioError, MissingPackageError):  # folders of speech hold broken files too
                if (info := probe(path)).duration_s >= LONG_ENOUGH_S:
                    found.append((-info.sample_rate_hz, path))
    for _, path in sorted(found):
        with suppress(AudioError):
            samples_sc, rate_hz = decode(path)
            yield resample(to_mono(samples_sc), rate_hz, RATE_HZ)
