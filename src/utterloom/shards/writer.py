"""Writes one shard: a WebDataset tar of FLAC and JSON, and the Parquet rows that index it, which are its commit mark."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from utterloom.core.artifact import atomic_write, output_errors
from utterloom.core.ledger import write_drops
from utterloom.core.records import Drop
from utterloom.shards import layout

BLOCK_BYTES = tarfile.BLOCKSIZE
METADATA_KEY = b"utterloom"
ROW_GROUP_ROWS = 2048


class TarWriter:
    """Members in order, with known offsets; no times, no owners, so that the same input gives the same bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.num_bytes = 0

    def add(self, name: str, *content: bytes | memoryview) -> int:
        """Append a member, in one or several pieces; returns the offset of its first content byte."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = sum(len(piece) for piece in content), 0o644, 0
        self._write(info.tobuf(tarfile.GNU_FORMAT))
        offset = self.num_bytes
        for piece in content:
            self._write(piece)
        self._write(b"\0" * (-info.size % BLOCK_BYTES))
        return offset

    def close(self) -> str:
        """End of archive; returns the SHA-256 of the whole file."""
        self._write(b"\0" * (2 * BLOCK_BYTES))
        return self._hash.hexdigest()

    def _write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._hash.update(content)
        self.num_bytes += len(content)


def write_shard(
    folder: Path, shard: str, rows: Iterable[tuple[dict[str, Any], bytes] | Drop], views: list[str], stage: str = "pack"
) -> dict[str, Any]:
    """Write `rows` as they come, each an (utterance row, its FLAC bytes) or a Drop; memory holds one utterance's audio.

    Order on disk: the tar, then the drops, then the Parquet, each renamed into place: where the Parquet is, all is.
    Returns the shard's line for the corpus card. Raises OutputError where it cannot be written.
    """
    with output_errors(folder):
        for part in (layout.UTTERANCES, layout.AUDIO, layout.DROPPED):
            (folder / part).mkdir(exist_ok=True)
    kept: list[dict[str, Any]] = []
    drops: list[Drop] = []
    with atomic_write(folder / layout.audio_path(shard)) as file:
        tar = TarWriter(file)
        for row in rows:
            if isinstance(row, Drop):
                drops.append(row)
                continue
            utterance, flac = row
            stem = layout.escape_id(utterance["id"])
            offset = tar.add(f"{stem}.{layout.AUDIO_SUFFIX}", flac)
            described = {key: utterance[key] for key in ("id", "text", "speaker", "language", "split", "duration_s",
                                                         "sample_rate_hz")}
            tar.add(f"{stem}.{layout.METADATA_SUFFIX}", json.dumps(described, ensure_ascii=False, sort_keys=True).encode())
            kept.append({
                **utterance, "attributes": [{"key": key, "value": value} for key, value in utterance["attributes"] or []],
                "audio_offset": offset, "audio_bytes": len(flac), "audio_crc32": zlib.crc32(flac)})
        audio_sha256 = tar.close()
    write_drops(folder / layout.dropped_path(stage, shard), drops)
    facts = {"audio_bytes": tar.num_bytes, "audio_sha256": audio_sha256, "utterances": len(kept),
             "seconds": sum(row["num_samples"] for row in kept) / kept[0]["sample_rate_hz"] if kept else 0.0,
             "dropped": len(drops), "in": len(kept) + len(drops)}
    schema = layout.utterances_schema(views).with_metadata({METADATA_KEY: json.dumps(facts, sort_keys=True).encode()})
    with atomic_write(folder / layout.utterances_path(shard)) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        if kept:  # no row group at all for no rows: load_dataset() stumbles over an empty one
            writer.write_table(pa.Table.from_pylist(kept, schema=schema), row_group_size=ROW_GROUP_ROWS)
    return facts


def shard_facts(path: Path) -> dict[str, Any]:
    """What `write_shard` said of a shard, from the footer of its Parquet file."""
    metadata = pq.read_schema(path).metadata or {}
    facts: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return facts


def is_whole(folder: Path, shard: str, stage: str = "pack") -> bool:
    """Is all there that `write_shard` wrote? A tar or a Parquet file that was cut or removed since is written again."""
    try:
        facts = shard_facts(folder / layout.utterances_path(shard))
        return (folder / layout.audio_path(shard)).stat().st_size == facts["audio_bytes"] \
            and (folder / layout.dropped_path(stage, shard)).is_file()
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return False
