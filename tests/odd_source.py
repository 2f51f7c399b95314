"""A small source of tones with one of each kind that leaves the path, and ids as they come."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
TEXTS = ("một", "hai", "ba bốn", "Năm.", "sáu bảy")


def tone(seconds: float, hz: float = 440.0) -> np.ndarray:
    return 0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def make_source(folder: Path) -> Path:
    """Twelve good recordings, two stretches of a long one, and one of each kind that leaves the path."""
    (folder / "wav").mkdir(parents=True)
    rows = [["id", "path", "text", "speaker", "split", "start", "end"]]
    for number in range(12):
        soundfile.write(folder / "wav" / f"u{number:02d}.wav", tone(1.0 + 0.1 * number, 200 + 50 * number), RATE_HZ)
        split = "dev" if number % 4 == 3 else "train"
        rows.append([f"u{number:02d}", f"wav/u{number:02d}.wav", TEXTS[number % 5], f"s{number % 4}", split, "", ""])
    soundfile.write(folder / "wav" / "long.wav", np.concatenate([np.zeros(RATE_HZ), tone(4.0)]), RATE_HZ)
    rows.append(["hash_0.5-2.5", "wav/long.wav", "một hai", "s8", "train", "0.5", "2.5"])
    rows.append(["hash_3-5", "wav/long.wav", "ba", "s8", "train", "3", "5"])
    rows.append(["u00", "wav/long.wav", "twice", "s8", "train", "2.5", "3"])
    rows.append(["no-text", "wav/u01.wav", "", "s1", "train", "", ""])
    soundfile.write(folder / "wav" / "cut.flac", tone(3.0), RATE_HZ)
    content = (folder / "wav" / "cut.flac").read_bytes()
    (folder / "wav" / "cut.flac").write_bytes(content[:len(content) // 2])
    rows.append(["cut", "wav/cut.flac", "hai", "s1", "train", "", ""])
    with (folder / "table.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    return folder / "table.tsv"
