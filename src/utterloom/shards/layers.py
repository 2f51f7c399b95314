"""A layer of a woven corpus: one kind of knowledge about every utterance, cut into the corpus's own shards.

    <layer>/layer.json                    the card: what it is, who made it, its shards; written last
    <layer>/<shard>.parquet               one row an utterance, in the corpus's order: id, status, reason, num_frames, values
    <layer>/<shard>.tar                   where a layer holds arrays: `<id>.npy`, [frames, dim], read by byte range

Row i of shard k is the same utterance in every layer. Each Parquet file holds the hash of the utterance shard that it was made
for, and a layer that was made for other shards is refused. It is renamed into place last: where it is, all of its shard is.
A row that could not be made says why (`status` is `ok`, `empty` or `failed`), and keeps its place.
"""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from utterloom.core.artifact import atomic_write, load_card, sha256_of
from utterloom.core.checksum import crc32
from utterloom.core.errors import ConfigError, CorpusError, DamagedError, SourceError, did_you_mean
from utterloom.core.timing import FrameGrid
from utterloom.shards import layout
from utterloom.shards.reader import Corpus, Damage
from utterloom.shards.writer import METADATA_KEY, ROW_GROUP_ROWS, TarWriter
from utterloom.store import open_store

KIND, CARD = "layer", "layer.json"
STATUSES = OK, EMPTY, FAILED = ("ok", "empty", "failed")
DTYPES = ("float16", "float32")
CACHED_SHARDS = 8
ARRAY_SUFFIX = "npy"

_CHAR = pa.struct([("char", pa.string()), ("start_sample", pa.int64()), ("stop_sample", pa.int64())])
_WORD = pa.struct([
    ("word", pa.string()), ("start_sample", pa.int64()), ("stop_sample", pa.int64()), ("score", pa.float32()),
    ("kind", pa.string()), ("first_char", pa.int32()), ("stop_char", pa.int32()), ("chars", pa.list_(_CHAR))])
# What a row of each kind of layer holds besides its id, status, reason and number of frames.
COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    "words": [("text", pa.string()), ("score", pa.float32()), ("flag", pa.string()), ("words", pa.list_(_WORD))],
    "features": [],
    "states": [("token_ids", pa.list_(pa.int32())), ("first_char", pa.list_(pa.int32())), ("stop_char", pa.list_(pa.int32())),
               ("start_sample", pa.list_(pa.int64())), ("stop_sample", pa.list_(pa.int64()))],
    "units": [("units", pa.list_(pa.uint16())), ("runs", pa.list_(pa.uint16()))],
}


@dataclass(frozen=True)
class LayerSpec:
    """What every row of a layer is.

    `dtype` and `dim` are those of its arrays, [frames, dim] (None: it holds none); `grid` is the clock of its frames (None: they
    are not frames of time, as the tokens of a text are not); `codebook_size` that of its units. `producer` says who made it.
    """

    kind: str
    producer: Mapping[str, Any] = field(default_factory=dict)
    grid: FrameGrid | None = None
    dtype: str | None = None
    dim: int | None = None
    codebook_size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in COLUMNS:
            raise ValueError(f"a layer of {self.kind!r}, where this version knows {', '.join(COLUMNS)}")
        if self.dtype is not None and (self.dtype not in DTYPES or not isinstance(self.dim, int) or self.dim < 1):
            raise ValueError(f"arrays of {self.dtype} [frames, {self.dim}], where a layer holds {' or '.join(DTYPES)}")

    @property
    def has_arrays(self) -> bool:
        return self.dtype is not None

    def schema(self) -> pa.Schema:
        """Columns of its Parquet files."""
        where = [("array_offset", pa.int64()), ("array_bytes", pa.int64()), ("array_crc32", pa.int64())] if self.has_arrays else []
        return pa.schema([("id", pa.string()), ("status", pa.string()), ("reason", pa.string()), ("num_frames", pa.int32()),
                          *where, *COLUMNS[self.kind]])

    def to_json(self) -> dict[str, Any]:
        """As a card holds it."""
        grid = None if self.grid is None else {"sample_rate_hz": self.grid.sample_rate_hz, "hop_samples": self.grid.hop_samples}
        return {"kind": self.kind, "producer": dict(self.producer), "grid": grid, "dtype": self.dtype, "dim": self.dim,
                "codebook_size": self.codebook_size}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LayerSpec:
        """What `to_json` made. Raises KeyError, TypeError and ValueError for anything else."""
        grid = value["grid"]
        return cls(value["kind"], value["producer"], None if grid is None else FrameGrid(**grid), value["dtype"], value["dim"],
                   value["codebook_size"])


@dataclass(frozen=True)
class LayerRow:
    """What one utterance gave: `columns` as its kind has them, `array` [frames, dim]; where it is not `ok`, why."""

    status: str
    reason: str | None = None
    num_frames: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    array: np.ndarray | None = None

    @classmethod
    def failed(cls, reason: str) -> LayerRow:
        return cls(FAILED, reason)


def layer_path(shard: str) -> str:
    """Its Parquet file, inside of the layer's folder."""
    return f"{shard}.parquet"


def arrays_path(shard: str) -> str:
    """Its tar of arrays, inside of the layer's folder."""
    return f"{shard}.tar"


# --- writing ----------------------------------------------------------------------------------------------------------


def write_layer_shard(folder: Path, shard: str, spec: LayerSpec, ids: list[str], rows: Iterable[tuple[int, LayerRow]],
                      utterances_sha256: str) -> dict[str, Any]:
    """Write `rows`, (row number, its LayerRow) in any order, each once; memory holds one array at a time.

    Arrays lie in the tar as the rows come. Returns the facts of the shard, as its footer holds them. Raises CorpusError where a
    row is missing or is there twice, or an array is not what the layer holds; OutputError where it cannot be written.
    """
    columns = [name for name, _ in COLUMNS[spec.kind]]
    lines: list[dict[str, Any] | None] = [None] * len(ids)
    counts = dict.fromkeys(STATUSES, 0)
    with _arrays(folder / arrays_path(shard), spec) as arrays:
        for number, row in rows:
            if lines[number] is not None:
                raise CorpusError(f"shard {shard}: row {number} ({ids[number]}) came twice")
            line: dict[str, Any] = {"id": ids[number], "status": row.status, "reason": row.reason, "num_frames": row.num_frames}
            line |= {name: row.columns.get(name) for name in columns}
            if spec.has_arrays and (row.status == OK or row.array is not None):
                line |= arrays.add(ids[number], row)
            lines[number] = line
            counts[row.status] += 1
        missing = [number for number, line in enumerate(lines) if line is None]
        if missing:
            raise CorpusError(f"shard {shard}: {len(missing)} of {len(ids)} rows did not come, the first is {ids[missing[0]]}")
        tar_bytes, tar_sha256 = arrays.close()
    facts = {**counts, "frames": sum((line or {}).get("num_frames") or 0 for line in lines), "tar_bytes": tar_bytes,
             "tar_sha256": tar_sha256, "utterances_sha256": utterances_sha256}
    schema = spec.schema().with_metadata({METADATA_KEY: json.dumps(facts, sort_keys=True).encode()})
    with atomic_write(folder / layer_path(shard)) as file, pq.ParquetWriter(
            file, schema, compression="zstd", use_byte_stream_split=False) as writer:
        if lines:
            writer.write_table(pa.Table.from_pylist(lines, schema=schema), row_group_size=ROW_GROUP_ROWS)
    return facts


class _NoArrays:
    """Of a layer that holds none."""

    def __enter__(self) -> _NoArrays:
        return self

    def __exit__(self, *_: object) -> None: ...

    def add(self, utterance_id: str, row: LayerRow) -> dict[str, int]:
        raise CorpusError(f"{utterance_id}: this layer holds no arrays")

    def close(self) -> tuple[int | None, str | None]:
        return None, None


class _TarOfArrays:
    def __init__(self, path: Path, spec: LayerSpec) -> None:
        self._writing = atomic_write(path)
        self._spec = spec

    def __enter__(self) -> _TarOfArrays:
        self._tar = TarWriter(self._writing.__enter__())
        return self

    def __exit__(self, *raised: Any) -> None:
        self._writing.__exit__(*raised)

    def add(self, utterance_id: str, row: LayerRow) -> dict[str, int]:
        array, spec = row.array, self._spec
        if array is None:
            raise CorpusError(f"{utterance_id}: a row that is {row.status} and has no array")
        if array.dtype != np.dtype(spec.dtype) or array.shape != (row.num_frames, spec.dim):
            raise CorpusError(f"{utterance_id}: an array of {array.dtype} {list(array.shape)} for {row.num_frames} frames, where "
                              f"the layer holds {spec.dtype} [frames, {spec.dim}]")
        array = np.ascontiguousarray(array)
        head = npy_header(array)
        content = array.reshape(-1).view(np.uint8).data
        offset = self._tar.add(f"{layout.escape_id(utterance_id)}.{ARRAY_SUFFIX}", head, content)
        return {"array_offset": offset + len(head), "array_bytes": len(content), "array_crc32": crc32(content)}

    def close(self) -> tuple[int | None, str | None]:
        digest = self._tar.close()
        return self._tar.num_bytes, digest


def _arrays(path: Path, spec: LayerSpec) -> _TarOfArrays | _NoArrays:
    return _TarOfArrays(path, spec) if spec.has_arrays else _NoArrays()


def npy_header(array: np.ndarray) -> bytes:
    """What stands before an array's bytes in a .npy file."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    return head.getvalue()


def layer_facts(path: Path) -> dict[str, Any]:
    """What `write_layer_shard` said of a shard, from the footer of its Parquet file. Raises OSError, ArrowException, KeyError."""
    facts: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[METADATA_KEY])
    return facts


def is_layer_shard_whole(folder: Path, shard: str, utterances_sha256: str) -> bool:
    """Is all there that `write_layer_shard` wrote for these very utterances?"""
    try:
        facts = layer_facts(folder / layer_path(shard))
        tar_bytes = facts["tar_bytes"]
        return bool(facts["utterances_sha256"] == utterances_sha256
                    and (tar_bytes is None or (folder / arrays_path(shard)).stat().st_size == tar_bytes))
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return False


# --- reading ----------------------------------------------------------------------------------------------------------


class LayerTable:
    """The rows of one shard of a layer in memory."""

    def __init__(self, shard: str, table: pa.Table, spec: LayerSpec) -> None:
        self.shard, self.table = shard, table
        self.status: list[str] = table.column("status").to_pylist()
        self.num_frames: list[int | None] = table.column("num_frames").to_pylist()
        self.ranges: list[tuple[int | None, int | None, int | None]] = []
        if spec.has_arrays:
            names = ("array_offset", "array_bytes", "array_crc32")
            self.ranges = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        # one chunk each, so that a row is a slice of a buffer and not a search
        self._columns = {name: table.column(name).combine_chunks() for name, _ in COLUMNS[spec.kind]}

    def __len__(self) -> int:
        return len(self.status)

    def numbers(self, row: int, column: str) -> np.ndarray | None:
        """A list of numbers without gaps, as an array; None where the row has none."""
        found = self._columns[column][row]
        return np.asarray(found.values.to_numpy(zero_copy_only=False)) if found.is_valid else None

    def value(self, row: int, column: str) -> Any:
        """Any column, as Python has it."""
        return self._columns[column][row].as_py()

    def row(self, row: int) -> dict[str, Any]:
        """Every column of one utterance."""
        found: dict[str, Any] = self.table.slice(row, 1).to_pylist()[0]
        return found


class Layer:
    """A finished layer. Opening reads its card; shards are read when they are asked for, a few kept."""

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where there is no layer, DamagedError where its card is not one."""
        self.folder = folder
        self.card = load_card(folder, KIND)
        self.store = open_store(folder)
        try:
            self.name: str = self.card["name"]
            self.spec = LayerSpec.from_json(self.card["spec"])
            self._by_name: dict[str, dict[str, Any]] = {}
            for line in self.card["shards"]:
                layout.split_of(line["name"])  # no card can point out of its folder
                self._by_name[line["name"]] = {key: line[key] for key in ("sha256", "tar_sha256", "utterances_sha256")}
        except (KeyError, TypeError, ValueError, AttributeError, SourceError) as error:
            raise DamagedError(f"{folder / CARD} is not the card of a layer that this version can read: {error}",
                               "extract it again") from None
        self._tables: OrderedDict[str, LayerTable] = OrderedDict()

    @classmethod
    def of(cls, corpus: Corpus, name: str | Path) -> Layer:
        """The layer of that name in a corpus, or in a folder of its own. Raises CorpusError where there is none, listing those
        there are, or where it was made for other utterances than the corpus has."""
        inside = Path(corpus.url) / name
        folder = inside if (inside / CARD).is_file() else Path(name)
        if not (folder / CARD).is_file():
            if inside.is_dir():
                raise CorpusError(f"layer {name} of {corpus.url} is not finished",
                                  "run the command that makes it again; it resumes")
            raise CorpusError(f"corpus {corpus.url} has no layer {str(name)!r}", did_you_mean(str(name), layer_names(corpus)))
        layer = cls(folder)
        for shard in corpus.shards:
            line = layer._by_name.get(shard.name)
            if line is None:
                raise CorpusError(f"layer {layer.name} lacks shard {shard.name}, which joined {corpus.url} later",
                                  "extract it again: only what is missing is made")
            if line["utterances_sha256"] != shard.utterances_sha256:
                raise CorpusError(f"layer {layer.name}, shard {shard.name}, was made for other utterances than {corpus.url} has",
                                  "extract another layer for this corpus, or remove this one and extract it again")
        return layer

    @property
    def shards(self) -> list[str]:
        return list(self._by_name)

    def table(self, shard: str) -> LayerTable:
        """The rows of a shard, from a small cache. Raises DamagedError when its Parquet file is missing or hurt."""
        found = self._tables.get(shard)
        if found is None:
            found = self._tables[shard] = LayerTable(shard, self._read_table(shard), self.spec)
            if len(self._tables) > CACHED_SHARDS:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(shard)
        return found

    def array(self, shard: str, row: int) -> np.ndarray | None:
        """[frames, dim] of one utterance, its bytes checked; None where it has none. Raises DamagedError."""
        if not self.spec.has_arrays:
            return None
        table = self.table(shard)
        try:
            return self._checked_array(table, row)
        except DamagedError as error:
            which = f"layer {self.name}, shard {shard}, utterance {table.table.column('id')[row].as_py()}"
            raise DamagedError(f"{which}: {error.message}", VERIFY_HINT) from None

    def _checked_array(self, table: LayerTable, row: int) -> np.ndarray | None:
        offset, num_bytes, wanted = table.ranges[row]
        if offset is None or num_bytes is None:
            return None
        content = self.store.read_range(arrays_path(table.shard), offset, num_bytes)
        if crc32(content) != wanted:
            raise DamagedError("the array does not match its checksum")
        return np.frombuffer(content, self.spec.dtype).reshape(-1, self.spec.dim or 1)

    def arrays(self, shard: str) -> Iterator[tuple[int, np.ndarray]]:
        """(row, [frames, dim]) of every utterance of a shard that has one, in order."""
        for row in range(len(self.table(shard))):
            array = self.array(shard, row)
            if array is not None:
                yield row, array

    def damages(self, corpus: Corpus | None = None) -> Iterator[Damage]:
        """What is hurt: every file against its hash, every array against its bytes; and where it is not of the corpus's shards."""
        for info in corpus.shards if corpus is not None else []:
            found = self._by_name.get(info.name)
            if found is None:
                yield Damage(f"{self.name}/{info.name}", None, "this shard joined the corpus later, and the layer lacks it")
            elif found["utterances_sha256"] != info.utterances_sha256:
                yield Damage(f"{self.name}/{info.name}", None, "it was made for other utterances than the corpus has")
        known = {name for shard in self.shards for name in
                 (layer_path(shard), *([arrays_path(shard)] if self.spec.has_arrays else []))}
        for shard, line in self._by_name.items():
            where = f"{self.name}/{shard}"
            hurt = self._hurt(layer_path(shard), line["sha256"])
            if hurt:
                yield Damage(where, None, hurt)
            if self.spec.has_arrays:
                hurt_tar = self._hurt(arrays_path(shard), line["tar_sha256"])
                if hurt_tar:
                    yield Damage(where, None, hurt_tar)
                if hurt_tar and not hurt and self.store.exists(arrays_path(shard)):
                    yield from self._hurt_arrays(shard)
        for name in self.store.list():
            if name not in known and name != CARD:
                yield Damage(f"{self.name}/{name}", None, "this file is not in layer.json: it belongs to another layer or version")

    def _hurt(self, name: str, wanted: str) -> str | None:
        if not self.store.exists(name):
            return f"{name} is missing"
        if self.store.size_bytes(name) == 0:
            return f"{name} is empty"
        if sha256_of(self.store.local_path(name)) != wanted:
            return f"{name} does not match its checksum: it was cut short, or bytes in it have changed"
        return None

    def _hurt_arrays(self, shard: str) -> Iterator[Damage]:
        table = self.table(shard)
        for row, utterance_id in enumerate(table.table.column("id").to_pylist()):
            try:
                self._checked_array(table, row)
            except DamagedError as error:
                yield Damage(f"{self.name}/{shard}", utterance_id, error.message)

    def _read_table(self, shard: str) -> pa.Table:
        if shard not in self._by_name:
            raise SourceError(f"layer {self.name} has no shard {shard!r}", did_you_mean(shard, self._by_name))
        hurt = self._hurt(layer_path(shard), self._by_name[shard]["sha256"])
        if hurt:
            raise DamagedError(f"layer {self.name}, shard {shard}: {hurt}", VERIFY_HINT)
        with pq.ParquetFile(self.store.local_path(layer_path(shard))) as file:
            return file.read()


VERIFY_HINT = "`utterloom verify CORPUS` lists all that is hurt; remove these files and extract the layer again"


def layer_names(corpus: Corpus) -> list[str]:
    """The finished layers that lie in a corpus's folder."""
    return sorted(path.parent.name for path in Path(corpus.url).glob(f"*/{CARD}"))


def layer_complaint(name: str) -> str | None:
    """Why a layer cannot be called so; None when it can."""
    if name in (layout.UTTERANCES, layout.AUDIO, layout.DROPPED) or not name or name.startswith("."):
        return f"{name!r} is not a name for a layer"
    if "/" in name or "\\" in name or not name.isprintable() or name != name.strip():
        return f"{name!r}: a layer is named with letters, digits, '.', '-' and '_'"
    return None


def shard_lines(folder: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """The card's lines of a layer whose shards are all there. Raises CorpusError that names one that is not."""
    lines = []
    for shard in corpus.shards:
        if not is_layer_shard_whole(folder, shard.name, shard.utterances_sha256):
            raise CorpusError(f"shard {shard.name} of layer {folder} is not there", "run extract again; it goes on")
        path = folder / layer_path(shard.name)
        facts = layer_facts(path)
        if sum(facts[status] for status in STATUSES) != shard.utterances:
            raise CorpusError(f"shard {shard.name} of layer {folder} does not add up: {facts}", "extract into a new layer")
        lines.append({"name": shard.name, "sha256": sha256_of(path), "bytes": path.stat().st_size, **facts})
    return lines


def check_name(name: str) -> None:
    """Raises ConfigError for a name that no layer can have."""
    complaint = layer_complaint(name)
    if complaint:
        raise ConfigError(complaint, "choose another name=")

