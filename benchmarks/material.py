"""The audio that every loader reads: a packed corpus, and the same utterances as a Hugging Face dataset."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utterloom import pipeline
from utterloom.audio.encode import encode_flac
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, ShardInfo

AN4 = Path(__file__).resolve().parents[2] / "shared" / "data" / "an4" / "transcripts.tsv"
RATE_HZ = 16_000
MIN_S, MAX_S = 1.0, 6.0


@dataclass(frozen=True)
class Material:
    """Whole shards of one split. `parquet_folder` holds the same utterances for `datasets`, `cache_folder` what it makes."""

    name: str
    corpus: str
    split: str
    shards: list[str]
    parquet_folder: str
    cache_folder: str

    @property
    def tars(self) -> list[str]:
        return [str(Path(self.corpus) / layout.audio_path(shard)) for shard in self.shards]

    @property
    def parquets(self) -> list[str]:
        return [str(Path(self.parquet_folder) / f"{shard}.parquet") for shard in self.shards]

    @property
    def counts(self) -> list[int]:
        return [info.utterances for info in self._infos]

    @property
    def _infos(self) -> list[ShardInfo]:
        return [info for info in Corpus(self.corpus).shards if info.name in self.shards]

    def describe(self) -> dict[str, Any]:
        infos = self._infos
        return {"name": self.name, "utterances": sum(info.utterances for info in infos), "shards": len(infos),
                "hours": sum(info.seconds for info in infos) / 3600, "tar_mb": sum(info.audio_bytes for info in infos) / 1e6}


def prepare_material(folder: Path, corpus: Path | None, split: str, most: int, num_synthetic: int | None) -> Material:
    """`corpus` as it is; else AN4 where it lies beside the checkout; else, or with `num_synthetic`, one made here. The first
    shards that hold `most` utterances are used: by everyone the same."""
    if corpus is not None:
        name, packed = corpus.name, corpus
    elif num_synthetic is None and AN4.is_file():
        name, packed = "AN4", _packed(AN4, folder, shard_s=None)
    else:
        number = num_synthetic or most
        table = write_synthetic(folder / "synthetic", number)
        name, packed = f"synthetic speech-like noise, {MIN_S:g} to {MAX_S:g} s", _packed(table, folder, shard_s=number * MAX_S / 16)
    shards, held = [], 0
    for info in Corpus(packed).shards_of(split):
        if held < most:
            shards.append(info.name)
            held += info.utterances
    material = Material(name, str(packed), split, shards, str(folder / "parquet"), str(folder / "cache"))
    _write_parquet(material)
    return material


def _packed(table: Path, folder: Path, shard_s: float | None) -> Path:
    """Through the same road as a user's."""
    pipeline.prepare("table", table, folder / "manifest", ["dev=0", "workers=0"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["workers=0", *([f"shard_s={shard_s}"] if shard_s else [])])
    return folder / "corpus"


def _write_parquet(material: Material) -> None:
    """Audio as struct<bytes, path>, the way of the Hub; not compressed, since FLAC is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path(material.parquet_folder).mkdir()
    corpus = Corpus(material.corpus)
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard, path in zip(material.shards, material.parquets, strict=True):
        table = corpus.table(shard)
        rows = range(len(table))
        ids, texts = [table.id(row) for row in rows], [table.text(row) for row in rows]
        clips = [{"bytes": corpus.flac(table, row), "path": f"{table.id(row)}.flac"} for row in rows]
        columns = {"id": ids, "text": texts, "audio": pa.array(clips, audio)}
        pq.write_table(pa.table(columns), path, compression="none", row_group_size=100)


def write_synthetic(folder: Path, num_utterances: int, seed: int = 0) -> Path:
    """FLAC files and their table: syllables of voiced noise, which FLAC shrinks about as well as it shrinks speech."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    path = folder / "transcripts.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["id", "path", "text", "speaker", "split"])
        for number in range(num_utterances):
            name = f"synthetic-{number:06d}"
            (folder / f"{name}.flac").write_bytes(encode_flac(_speech_like(rng), RATE_HZ))
            table.writerow([name, f"{name}.flac", f"utterance number {number}", f"speaker{number % 16}", "train"])
    return path


def _speech_like(rng: np.random.Generator) -> np.ndarray:
    """float32 [samples]: harmonics of a wandering pitch under a syllable's envelope, with a little noise."""
    num_samples = int(RATE_HZ * rng.uniform(MIN_S, MAX_S))
    time_s = np.arange(num_samples) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(rng.uniform(90, 220) + 15 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * time_s)) / RATE_HZ
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * time_s), 0.02, 1.0)
    return (0.15 * voice * syllables + rng.normal(0, 0.003, num_samples)).astype(np.float32)
