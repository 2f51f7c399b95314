"""A corpus that a tiny network can learn in seconds: each word is a chord."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utterloom import pipeline

RATE_HZ = 16_000
WORDS = {"mot": (300, 900), "hai": (500, 1500), "ba": (700, 2100), "bon": (400, 2600), "nam": (900, 1300)}
TINY = [
    "model.hidden_size=32",
    "model.num_attention_heads=2",
    "model.num_hidden_layers=2",
    "model.intermediate_size=32",
    "model.subsampling_channels=4",
    "model.conv_kernel=5",
    "tokenizer.kind=word",
    "batch.micro_batch_s=8",
    "model.intermediate_ctc_layers=[1]",
]


def chord(word: str, rng: np.random.Generator) -> np.ndarray:
    length = int(RATE_HZ * rng.uniform(0.2, 0.3))
    t = np.arange(length) / RATE_HZ
    return np.sum([np.sin(2 * np.pi * hz * t) for hz in WORDS[word]], axis=0) * np.hanning(length) * 0.2


def make_corpus(folder: Path, num_utterances: int = 60, seed: int = 0) -> Path:
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    (folder / "wav").mkdir(parents=True)
    with (folder / "table.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["id", "path", "text", "speaker", "split"])
        for number in range(num_utterances):
            words = draw.choices(list(WORDS), k=draw.randint(1, 5))
            samples = np.concatenate([chord(word, rng) for word in words]) + rng.normal(0, 0.003, 1)
            soundfile.write(folder / "wav" / f"u{number:04d}.wav", samples + rng.normal(0, 0.003, len(samples)), RATE_HZ)
            table.writerow(
                [
                    f"u{number:04d}",
                    f"wav/u{number:04d}.wav",
                    " ".join(words),
                    f"s{number % 6}",
                    "dev" if number % 6 == 5 else "train",
                ]
            )
    pipeline.prepare("table", folder / "table.tsv", folder / "manifest", ["workers=0"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["workers=0", "shard_s=20"])
    return folder / "corpus"


@pytest.fixture(scope="session")
def chords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("chords"))
