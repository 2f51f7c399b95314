"""The rows of a manifest, for the stages that read one: checked against its card, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utterloom.core.artifact import load_card, sha256_of
from utterloom.core.errors import DamagedError
from utterloom.shards import layout

ROWS_AT_ONCE = 64


def checked_card(manifest: Path) -> dict[str, Any]:
    """Its card. Raises SourceError where it is not a manifest, DamagedError where its bytes are not those that were written."""
    card = load_card(manifest, "manifest")
    path = manifest / layout.MANIFEST_FILE
    if not path.is_file():
        raise DamagedError(f"{path} is missing", "prepare it again into a new folder")
    if sha256_of(path) != card.get("utterances_sha256"):
        raise DamagedError(f"{path} does not match its checksum: it was cut short, or bytes in it have changed",
                           "prepare it again into a new folder")
    return card


def rows(manifest: Path, start: int = 0, stop: int | None = None, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows [start, stop) in order, as dictionaries; memory does not grow with the manifest."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(manifest / layout.MANIFEST_FILE) as file:
        first, end = 0, file.metadata.num_rows if stop is None else stop
        for group in range(file.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            if first + num_rows > start and first < end:
                table = file.read_row_group(group, columns=columns)
                piece = table.slice(max(0, start - first), min(end, first + num_rows) - max(start, first))
                for batch in piece.to_batches(max_chunksize=ROWS_AT_ONCE):
                    yield from batch.to_pylist()
            first += num_rows
