"""`prepare manifest DIR`: a manifest that prepare made, to filter, split or sample it again. Its recordings are not opened a
second time: their rates and lengths are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utterloom.core.artifact import load_card
from utterloom.core.errors import DamagedError
from utterloom.core.records import Drop, Span, Utterance
from utterloom.shards import layout
from utterloom.text.normalisers import NORMALISERS

ROWS_AT_ONCE = 20_000
NO_ATTRIBUTES: Mapping[str, str] = {}


class ManifestReader:
    """Every utterance of a manifest, spans in samples as they are known."""

    def fingerprint(self, source: Path) -> str:
        card = load_card(source, "manifest")
        return str(card["utterances_sha256"])[:16]

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        card = load_card(source, "manifest")
        # A view of the same version need not be computed again; another version is.
        views = {name: layout.view_column(name) for name, known in NORMALISERS.items() if known.view == card.get("view")}
        path = source / layout.MANIFEST_FILE
        try:
            with pq.ParquetFile(path) as file:
                there = {name: column for name, column in views.items() if column in file.schema_arrow.names}
                same: dict[str | None, str | None] = {}
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    yield from _utterances(batch, there, same)
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"{path} cannot be read: {str(error).splitlines()[0]}", "make the manifest again") from None


def _utterances(batch: Any, views: dict[str, str], same: dict[str | None, str | None]) -> Iterator[Utterance]:
    """`same` makes one string of all that are equal: paths, speakers and splits of a million rows are a gigabyte otherwise."""
    one = same.setdefault
    columns = {name: batch.column(name) for name in batch.schema.names}
    spans = columns["spans"]
    flat = spans.flatten()
    starts = spans.offsets.to_pylist()
    keys = ("path", "start_sample", "stop_sample", "sample_rate_hz", "num_channels", "channel")
    parts = [Span(one(path, path), *numbers)
             for path, *numbers in zip(*(flat.field(key).to_pylist() for key in keys), strict=True)]
    first = starts[0]
    plain = zip(*(columns[name].to_pylist() for name in ("id", "text", "speaker", "session", "language", "split", "attributes")),
                strict=True)
    normal = {name: columns[column].to_pylist() for name, column in views.items()}
    for number, (utterance_id, text, speaker, session, language, split, attributes) in enumerate(plain):
        yield Utterance(
            id=utterance_id, text=text, spans=tuple(parts[starts[number] - first:starts[number + 1] - first]),
            speaker=one(speaker, speaker), session=one(session, session), language=one(language, language), split=one(split, split),
            attributes=dict(attributes) if attributes else NO_ATTRIBUTES,
            views={name: values[number] for name, values in normal.items() if values[number] is not None})
