"""Speech of tones: each word is a chirp of its own, each speaker a pitch. Deterministic, quick to make, no package needed."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from utterloom.pack.stage import PackConfig, pack
from utterloom.prepare.stage import PrepareConfig, prepare

RATE_HZ = 16_000
WORDS = {"một": (300, 900), "hai": (900, 300), "ba": (600, 1800), "bốn": (1800, 600), "năm": (500, 500), "sáu": (1200, 2400),
         "bảy": (2400, 1200), "tám": (1500, 1500)}


def chirp(word: str, speaker: int = 0, rate_hz: int = RATE_HZ, seconds: float = 0.12) -> np.ndarray:
    """float [samples]: from the word's first frequency to its last."""
    first, last = (hz * (1 + 0.05 * speaker) for hz in WORDS[word])
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return 0.3 * np.sin(2 * np.pi * (first * t + (last - first) * t * t / (2 * seconds))) * np.hanning(len(t))


def speech(text: str, speaker: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.concatenate([chirp(word, speaker, rate_hz) for word in text.split()])


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A TSV with the columns of the first row."""
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return path


def make_speech(folder: Path, num_utterances: int, num_speakers: int = 4, splits: Sequence[str] = (), seed: int = 0) -> Path:
    """FLAC files and the table of them; `splits` go round by speaker, none leaves the column out."""
    rng = random.Random(seed)
    (folder / "audio").mkdir(parents=True)
    rows = []
    for number in range(num_utterances):
        speaker = number % num_speakers
        text = " ".join(rng.choices(list(WORDS), k=rng.randint(1, 6)))
        soundfile.write(folder / f"audio/u{number:04d}.flac", speech(text, speaker), RATE_HZ)
        row = {"id": f"u{number:04d}", "path": f"audio/u{number:04d}.flac", "text": text, "speaker": f"s{speaker}"}
        rows.append({**row, "split": splits[speaker % len(splits)]} if splits else row)
    return write_table(folder / "table.tsv", rows)


def make_spans(folder: Path, num_utterances: int, seconds: float = 0.3, splits: Sequence[str] = ("train",)) -> Path:
    """One long recording and the table of its spans: many utterances, quickly made."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(num_utterances)
    length = int(seconds * RATE_HZ)
    with soundfile.SoundFile(folder / "long.wav", "w", RATE_HZ, 1) as file:
        for _ in range(num_utterances):
            file.write(0.1 * np.sin(np.arange(length) * rng.uniform(0.05, 0.5)))
    return write_table(folder / "table.tsv", (
        {"id": f"u{number:06d}", "path": "long.wav", "text": "một hai", "speaker": "s0", "split": splits[number % len(splits)],
         "start": number * seconds, "end": (number + 1) * seconds} for number in range(num_utterances)))


def prepared(table: Path, manifest: Path, **settings: Any) -> dict[str, Any]:
    """The card."""
    return prepare("table", table, manifest, PrepareConfig(**{"workers": 0, "dev": 0.0, **settings}))


def packed(manifest: Path, corpus: Path, **settings: Any) -> dict[str, Any]:
    """The card."""
    return pack(manifest, corpus, PackConfig(**{"workers": 0, **settings}))


def hash_of_folder(folder: Path) -> str:
    """Of the names and the bytes of every file, hidden ones too."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
