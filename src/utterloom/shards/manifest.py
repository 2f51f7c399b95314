"""The rows of a manifest: written by columns, read a few at a time, checked against its card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from utterloom.core.artifact import atomic_write, load_card, sha256_of
from utterloom.core.errors import DamagedError
from utterloom.core.records import Utterance
from utterloom.shards import layout

ROWS_AT_ONCE = 64
ROW_GROUP_ROWS = 1024
WRITTEN_AT_ONCE = 32 * ROW_GROUP_ROWS


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


def write(path: Path, utterances: Sequence[Utterance], view: str) -> None:
    """All rows, whole or not at all. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = layout.manifest_schema([view])
    with atomic_write(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(utterances), WRITTEN_AT_ONCE):
            # by columns: a million rows as dictionaries take minutes
            columns = _columns(utterances[start:start + WRITTEN_AT_ONCE], view, schema)
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROW_GROUP_ROWS)


def _columns(utterances: Sequence[Utterance], view: str, schema: Any) -> list[Any]:
    import pyarrow as pa

    spans = [span for u in utterances for span in u.spans]
    struct = schema.field("spans").type.value_type
    flat = pa.StructArray.from_arrays(
        [pa.array([getattr(span, field.name) for span in spans], field.type) for field in struct], fields=list(struct))
    ends = accumulate((len(u.spans) for u in utterances), initial=0)
    columns: dict[str, Any] = {
        name: [getattr(u, name) for u in utterances]
        for name in ("id", "text", "speaker", "session", "language", "split", "duration_s")}
    columns[layout.view_column(view)] = [u.views.get(view) for u in utterances]
    columns["attributes"] = [list(u.attributes.items()) for u in utterances]
    columns["spans"] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    return [columns[field.name].cast(field.type) if field.name == "spans" else pa.array(columns[field.name], field.type)
            for field in schema]
