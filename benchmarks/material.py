"""The audio that every loader reads: a packed corpus, and the same utterances as a Hugging Face dataset."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Every measured process imports this module, and its memory is measured: what only the making needs is imported there.
if TYPE_CHECKING:
    import numpy as np

AN4 = Path(__file__).resolve().parents[2] / "shared" / "data" / "an4" / "transcripts.tsv"
RATE_HZ = 16_000
MIN_S, MAX_S = 1.0, 6.0


@dataclass(frozen=True)
class Shard:
    """`parquet` holds the same utterances for `datasets`."""

    name: str
    tar: str
    parquet: str
    utterances: int
    seconds: float
    tar_bytes: int


@dataclass(frozen=True)
class Material:
    """Whole shards of one split of a corpus. `cache_folder` is for what `datasets` makes of them."""

    name: str
    corpus: str
    split: str
    shards: list[Shard]
    cache_folder: str

    @property
    def tars(self) -> list[str]:
        return [shard.tar for shard in self.shards]

    @property
    def parquets(self) -> list[str]:
        return [shard.parquet for shard in self.shards]

    def describe(self) -> dict[str, Any]:
        total = {key: sum(asdict(shard)[key] for shard in self.shards) for key in ("utterances", "seconds", "tar_bytes")}
        return {"name": self.name, "utterances": total["utterances"], "shards": len(self.shards),
                "hours": total["seconds"] / 3600, "tar_mb": total["tar_bytes"] / 1e6}


def prepare_material(folder: Path, corpus: Path | None, split: str, most: int, num_synthetic: int | None) -> Material:
    """`corpus` as it is; else AN4 where it lies beside the checkout; else, or with `num_synthetic`, one made here. The first
    shards that hold `most` utterances are used: by everyone the same."""
    from utterloom.shards import layout
    from utterloom.shards.reader import Corpus

    if corpus is not None:
        name, packed = corpus.name, corpus
    elif num_synthetic is None and AN4.is_file():
        name, packed = "AN4", _packed(AN4, folder, shard_s=None)
    else:
        number = num_synthetic or most
        table = write_synthetic(folder / "synthetic", number)
        name, packed = f"synthetic speech-like noise, {MIN_S:g} to {MAX_S:g} s", _packed(table, folder, shard_s=number * MAX_S / 16)
    shards: list[Shard] = []
    (folder / "parquet").mkdir()
    for info in Corpus(packed).shards_of(split):
        if sum(shard.utterances for shard in shards) < most:
            parquet = folder / "parquet" / f"{info.name}.parquet"
            _write_parquet(Corpus(packed), info.name, parquet)
            shards.append(Shard(info.name, str(packed / layout.audio_path(info.name)), str(parquet), info.utterances, info.seconds,
                                info.audio_bytes))
    return Material(name, str(packed), split, shards, str(folder / "cache"))


def _packed(table: Path, folder: Path, shard_s: float | None) -> Path:
    """By the road that a user goes."""
    from utterloom import pipeline

    pipeline.prepare("table", table, folder / "manifest", ["dev=0", "workers=0"])
    pipeline.pack(folder / "manifest", folder / "corpus", ["workers=0", *([f"shard_s={shard_s}"] if shard_s else [])])
    return folder / "corpus"


def _write_parquet(corpus: Any, shard: str, path: Path) -> None:
    """Audio as struct<bytes, path>, the way of the Hub; not compressed, since FLAC is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = corpus.table(shard)
    rows = range(len(table))
    clips = [{"bytes": corpus.flac(table, row), "path": f"{table.id(row)}.flac"} for row in rows]
    audio = pa.array(clips, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    columns = {"id": [table.id(row) for row in rows], "text": [table.text(row) for row in rows], "audio": audio}
    pq.write_table(pa.table(columns), path, compression="none", row_group_size=100)


def write_synthetic(folder: Path, num_utterances: int, seed: int = 0) -> Path:
    """FLAC files and their table: syllables of voiced noise, which FLAC shrinks about as well as it shrinks speech."""
    import numpy as np

    from utterloom.audio.encode import encode_flac

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
    import numpy as np

    num_samples = int(RATE_HZ * rng.uniform(MIN_S, MAX_S))
    time_s = np.arange(num_samples) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(rng.uniform(90, 220) + 15 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * time_s)) / RATE_HZ
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * time_s), 0.02, 1.0)
    return (0.15 * voice * syllables + rng.normal(0, 0.003, num_samples)).astype(np.float32)
