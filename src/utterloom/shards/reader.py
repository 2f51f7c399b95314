"""Opens a packed corpus and reads any utterance by byte range, each byte checked before it is believed.

What is hurt is named: a shard that is missing, empty, cut or overwritten, a flipped byte. `verify` looks at everything;
reading looks at what it reads. Both raise or collect DamagedError, and the rest of the corpus stays readable.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from utterloom.core.artifact import load_card, sha256_of
from utterloom.core.checksum import crc32
from utterloom.core.errors import CorpusError, DamagedError, SourceError, did_you_mean
from utterloom.core.records import canonical_split
from utterloom.shards import layout
from utterloom.store import open_store

CACHED_SHARDS = 8
# What reading, training and scoring ask for; the rest of a row is read when a person asks (`row`).
KEPT_COLUMNS = ["id", "text", "speaker", "duration_s", "attributes", "num_samples", "audio_offset", "audio_bytes", "audio_crc32"]


@dataclass(frozen=True)
class ShardInfo:
    """One line of the corpus card."""

    name: str
    utterances: int
    seconds: float
    audio_bytes: int
    audio_sha256: str
    utterances_sha256: str

    @property
    def split(self) -> str:
        return layout.split_of(self.name)


@dataclass(frozen=True)
class Damage:
    """One thing that `verify` found: where, and in plain words what."""

    shard: str
    utterance: str | None
    what: str


class ShardTable:
    """The rows of one shard in memory: byte ranges as arrays, and in lists what the loader asks for row by row: from a list a
    row costs a fiftieth of what it costs from an Arrow column, and a fifth of what it costs from an array."""

    def __init__(self, name: str, table: pa.Table) -> None:
        self.name = name
        self.audio_path = layout.audio_path(name)
        self.table = table
        self._strings: dict[str, list[Any]] = {}
        self.ids = table.column("id")
        self.offsets = table.column("audio_offset").to_numpy()
        self.sizes = table.column("audio_bytes").to_numpy()
        self.num_samples = table.column("num_samples").to_numpy()
        self.ranges = list(zip(self.offsets.tolist(), self.sizes.tolist(), table.column("audio_crc32").to_pylist(), strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, row: int) -> str:
        return str(self._column("id")[row])

    def text(self, row: int, view: str | None = None) -> str | None:
        value: str | None = self._column(layout.view_column(view) if view else "text")[row]
        return value

    def _column(self, name: str) -> list[Any]:
        """A column of strings, made when it is first asked for."""
        found = self._strings.get(name)
        if found is None:
            found = self._strings[name] = self.table.column(name).to_pylist()
        return found

    def value(self, row: int, column: str) -> Any:
        return _plain(column, self.table.column(column)[row].as_py())


class Corpus:
    """A packed corpus. Opening reads only its card; shards are read when they are asked for, a few kept."""

    def __init__(self, url: str | Path, card: dict[str, Any] | None = None) -> None:
        """`card` stands for the folder's own before it is written."""
        self.store = open_store(url)
        self.url = self.store.url
        self.card = card if card is not None else load_card(Path(self.url), "corpus")
        try:
            self.shards = [ShardInfo(**line) for line in self.card["shards"]]
            self.sample_rate_hz: int = self.card["config"]["sample_rate_hz"]
            self.views: list[str] = list(self.card["views"])
            self._by_name = {shard.name: shard for shard in self.shards if shard.split}
            moved = self.card.get("moved")
            self._moved_file: tuple[str, str] | None = (moved["file"], moved["sha256"]) if moved else None
        except (KeyError, TypeError, AttributeError, SourceError) as error:
            raise DamagedError(f"{Path(self.url) / layout.CARD} is not the card of a corpus: {error}", "pack it again") from None
        self.cached_shards = CACHED_SHARDS
        self._tables: OrderedDict[str, ShardTable] = OrderedDict()
        self._moved: dict[str, dict[int, str]] | None = None if self._moved_file else {}

    @property
    def fingerprint(self) -> str:
        """Names the bytes: the hashes of every shard."""
        return str(self.card["content"])

    @property
    def splits(self) -> list[str]:
        there = {shard.split for shard in self.shards} | {split for rows in self.moved.values() for split in rows.values()}
        return sorted(there, key=lambda name: (name != "train", name != "dev", name))

    @property
    def moved(self) -> dict[str, dict[int, str]]:
        """{shard: {row: split}} of utterances whose split arrived after they were packed. Raises DamagedError."""
        if self._moved is None:
            assert self._moved_file is not None
            name, digest = self._moved_file
            self._moved = _read_moved(Path(self.store.local_path(name)), digest)
        return self._moved

    def rows_of(self, shard: str, split: str | None = None) -> np.ndarray:
        """Which rows of a shard belong to a split (None: all), by the card and what was moved since: int64 [rows]."""
        info = self._by_name[shard]
        everything = np.arange(info.utterances)
        if split is None:
            return everything
        wanted, moved = canonical_split(split), self.moved.get(shard, {})
        if not moved:
            return everything if info.split == wanted else everything[:0]
        is_in = np.full(info.utterances, info.split == wanted)
        for row, now in moved.items():
            is_in[row] = now == wanted
        return np.flatnonzero(is_in)

    def split_of(self, shard: str, row: int) -> str:
        """The split of one utterance."""
        return self.moved.get(shard, {}).get(row, self._by_name[shard].split)

    def shards_of(self, split: str) -> list[ShardInfo]:
        """Those that hold utterances of a split. Raises CorpusError that lists what exists."""
        wanted = canonical_split(split)
        if self.moved:
            found = [shard for shard in self.shards if len(self.rows_of(shard.name, wanted))]
        else:
            found = [shard for shard in self.shards if shard.split == wanted]
        if not found:
            raise CorpusError(f"corpus {self.url} has no split {split!r}", did_you_mean(wanted, self.splits))
        return found

    def table(self, shard: str) -> ShardTable:
        """The rows of a shard, from a small cache. Raises DamagedError when its Parquet file is missing or hurt."""
        found = self._tables.get(shard)
        if found is None:
            columns = [*KEPT_COLUMNS, *(layout.view_column(view) for view in self.views)]
            found = ShardTable(shard, self._read_table(shard, columns))
            self._tables[shard] = found
            if len(self._tables) > self.cached_shards:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(shard)
        return found

    def column(self, shard: str, name: str) -> np.ndarray:
        return self.columns(shard, [name])[0]

    def columns(self, shard: str, names: list[str]) -> list[np.ndarray]:
        """Some columns of a shard, [rows] each, without the others."""
        table = self._read_table(shard, names)
        return [np.asarray(table.column(name).to_numpy()) for name in names]

    def whole_columns(self, shard: str, names: list[str]) -> dict[str, list[Any]]:
        """Some columns of a shard as Python values, every row."""
        table = self._read_table(shard, names)
        return {name: table.column(name).to_pylist() for name in names}

    def texts(self, shard: str, view: str | None = None) -> list[str | None]:
        column = layout.view_column(view) if view else "text"
        values: list[str | None] = self._read_table(shard, [column]).column(column).to_pylist()
        return values

    def flac(self, table: ShardTable, row: int) -> bytes:
        """The FLAC bytes of one utterance, checked. Raises DamagedError naming the shard and the utterance."""
        try:
            return self._checked_flac(table, row)
        except DamagedError as error:
            raise DamagedError(f"shard {table.name}, utterance {table.id(row)}: {error.message}", VERIFY_HINT) from None

    def _checked_flac(self, table: ShardTable, row: int) -> bytes:
        offset, num_bytes, wanted = table.ranges[row]
        content = self.store.read_range(table.audio_path, offset, num_bytes)
        if crc32(content) != wanted:
            raise DamagedError("the audio does not match its checksum")
        return content

    def row(self, table: ShardTable, row: int) -> dict[str, Any]:
        """Every column of one utterance."""
        values: dict[str, Any] = self._read_table(table.name).slice(row, 1).to_pylist()[0]
        return {column: _plain(column, value) for column, value in values.items()}

    def rows(self, split: str | None = None) -> Iterator[tuple[ShardTable, int]]:
        """Every utterance in order, a shard at a time."""
        for shard in self.shards if split is None else self.shards_of(split):
            table = self.table(shard.name)
            for row in self.rows_of(shard.name, split).tolist():
                yield table, row

    def find(self, utterance_id: str) -> tuple[ShardTable, int] | None:
        """Where an utterance is. Raises DamagedError when it may be in a shard whose rows are hurt."""
        hurt: DamagedError | None = None
        for shard in self.shards:
            try:
                table = self.table(shard.name)
            except DamagedError as error:
                hurt = error
                continue
            index = table.ids.index(utterance_id).as_py() if len(table) else -1
            if index >= 0:
                return table, index
        if hurt is not None:
            raise hurt
        return None

    def damage_of_rows(self, shard: str) -> str | None:
        """What is wrong with a shard's Parquet file; None when its bytes are those that were written."""
        path = layout.utterances_path(shard)
        if not self.store.exists(path):
            return f"{path} is missing"
        if self.store.size_bytes(path) == 0:
            return f"{path} is empty"
        if sha256_of(self.store.local_path(path)) != self._by_name[shard].utterances_sha256:
            return f"{path} does not match its checksum: it was cut short, or bytes in it have changed"
        return None

    def damage_of_audio(self, shard: str) -> str | None:
        """What the size of a shard's tar tells; `verify` looks into it."""
        path, wanted = layout.audio_path(shard), self._by_name[shard].audio_bytes
        if not self.store.exists(path):
            return f"{path} is missing"
        found = self.store.size_bytes(path)
        if found == 0:
            return f"{path} is empty"
        if found != wanted:
            return f"{path} has {found:,} bytes of {wanted:,}: it was {'cut short' if found < wanted else 'added to'}"
        return None

    def _read_table(self, shard: str, columns: list[str] | None = None) -> pa.Table:
        # Parquet does not notice every flipped byte by itself. Hashing costs less than parsing.
        damage = self.damage_of_rows(shard)
        if damage is not None:
            raise DamagedError(f"shard {shard}: {damage}", VERIFY_HINT)
        try:
            with pq.ParquetFile(self.store.local_path(layout.utterances_path(shard))) as file:  # half the time of pq.read_table
                table = file.read(columns)
            if missing := set(columns or ()) - set(table.column_names):
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            return table
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"shard {shard}: {layout.utterances_path(shard)} is damaged: {str(error).splitlines()[0]}",
                               VERIFY_HINT) from None


def _read_moved(path: Path, wanted: str | None) -> dict[str, dict[int, str]]:
    if not path.is_file() or sha256_of(path) != wanted:
        raise DamagedError(f"{path}, the list of utterances in another split than they were packed in, is missing or has changed",
                           VERIFY_HINT)
    moved: dict[str, dict[int, str]] = {}
    for line in pq.read_table(path).to_pylist():
        moved.setdefault(line["shard"], {})[line["row"]] = line["split"]
    return moved


def _plain(column: str, value: Any) -> Any:
    """Attributes as a dict."""
    if column != "attributes":
        return value
    return dict(tuple(pair.values()) if isinstance(pair, dict) else pair for pair in value or [])


VERIFY_HINT = "`utterloom verify CORPUS` lists all that is hurt; remove these files and pack the same manifest again"


def verify(corpus: Corpus, on_shard: Any = None) -> list[Damage]:
    """Every file against its hash, every row against its bytes; names what is hurt, and finds all of it."""
    damages: list[Damage] = []
    dropped: dict[str, str] = corpus.card.get("dropped", {})
    known = {path for shard in corpus.shards for path in (layout.utterances_path(shard.name), layout.audio_path(shard.name))}
    seen: set[str] = set()
    for number, shard in enumerate(corpus.shards):
        damages += _verify_shard(corpus, shard, seen)
        if on_shard:
            on_shard(number + 1)
    for path, digest in dropped.items():
        if not corpus.store.exists(path):
            damages.append(Damage(path, None, "this list of what was dropped is missing"))
        elif sha256_of(corpus.store.local_path(path)) != digest:
            damages.append(Damage(path, None, "this list of what was dropped does not match its checksum"))
    for folder in (layout.UTTERANCES, layout.AUDIO, *([layout.DROPPED] if dropped else [])):
        for name in corpus.store.list(f"{folder}/"):
            if name not in known and name not in dropped:
                damages.append(Damage(name, None, "this file is not in corpus.json: it belongs to another corpus or version"))
    moved: str | None = None
    if corpus.card.get("moved"):
        moved = corpus.card["moved"]["sha256"]
        try:
            _ = corpus.moved
        except DamagedError as error:
            damages.append(Damage(corpus.card["moved"]["file"], None, error.message))
    content = content_fingerprint([shard.__dict__ for shard in corpus.shards], moved)
    if content != corpus.fingerprint:
        damages.append(Damage(layout.CARD, None, "the card's own fingerprint does not match its list of shards"))
    if len(seen) != corpus.card["utterances"] and not damages:
        damages.append(Damage(layout.CARD, None, f"the card counts {corpus.card['utterances']} utterances, there are {len(seen)}"))
    return damages


def _verify_shard(corpus: Corpus, shard: ShardInfo, seen: set[str]) -> list[Damage]:
    """`seen` are the ids of the shards before, and gets this one's."""
    rows, audio = corpus.damage_of_rows(shard.name), corpus.damage_of_audio(shard.name)
    tar = layout.audio_path(shard.name)
    if audio is None and sha256_of(corpus.store.local_path(tar)) != shard.audio_sha256:
        audio = f"{tar} does not match its checksum: bytes in it have changed"
    damages = [Damage(shard.name, None, what) for what in (rows, audio) if what is not None]
    if rows is not None:
        return damages
    table = corpus.table(shard.name)
    if len(table) != shard.utterances:
        damages.append(Damage(shard.name, None, f"{len(table)} rows, where corpus.json says {shard.utterances}"))
    for row in range(len(table)):
        if table.id(row) in seen:
            damages.append(Damage(shard.name, table.id(row), "an earlier row of the corpus has the same id"))
        seen.add(table.id(row))
    if audio is not None and corpus.store.exists(tar):
        damages += _hurt_utterances(corpus, table)
    return damages


def _hurt_utterances(corpus: Corpus, table: ShardTable) -> Iterator[Damage]:
    for row in range(len(table)):
        try:
            corpus.flac(table, row)
        except DamagedError as error:
            yield Damage(table.name, table.id(row), error.message.removeprefix(f"shard {table.name}, utterance {table.id(row)}: "))


def content_fingerprint(shards: list[dict[str, Any]], moved_sha256: str | None = None) -> str:
    """16 hex digits over every shard's hashes, in order, and over the list of splits that arrived later, if there is one."""
    lines = [[line["name"], line["audio_sha256"], line["utterances_sha256"]] for line in shards]
    if moved_sha256 is not None:
        lines.append(["moved", moved_sha256])
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]

