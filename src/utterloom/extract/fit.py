"""`units fit`: frames of a features layer, or .npy files → a codebook. Resumable, in memory that does not grow with the corpus."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from utterloom.core.artifact import building, fingerprint, load_card, sha256_of
from utterloom.core.config import Config
from utterloom.core.errors import ConfigError, MissingPackageError, SourceError, did_you_mean
from utterloom.core.log import log
from utterloom.core.timing import FrameGrid, format_duration
from utterloom.shards.layers import Layer
from utterloom.shards.reader import Corpus

KIND = "codebook"
STATE_FOLDER = "state"
READ_BYTES = 4 << 20


class FitConfig(Config):
    """How a codebook is fitted."""

    clusters: int = Field(500, ge=1, le=65_536)
    """how many units"""
    seed: int = Field(0, ge=0)
    """of every draw"""
    passes: int = Field(20, ge=1)
    """most passes over all frames; it ends sooner where they bring nothing more"""
    tolerance: float = Field(1e-4, ge=0, lt=1)
    """it ends where a pass lowers the inertia by less than this share"""
    sample_frames: int | None = Field(None, ge=1)
    """frames drawn to start on; by default 256 a cluster, in 256 MB at most"""
    starts: int = Field(3, ge=1)
    """how often it begins on them; the best goes on"""
    split: str | None = "train"
    """of a corpus: which split's frames; null: all of them"""


class Frames(Protocol):
    """What a codebook can be fitted on: `models.kmeans_fit.FrameSource`, and what the codebook shall know of it."""

    parts: Sequence[str]
    counts: Sequence[int]
    dim: int
    producer: Mapping[str, Any]
    grid: FrameGrid | None
    identity: Mapping[str, Any]

    def read(self, part: int) -> Iterator[np.ndarray]:
        """The frames of a part, float16 or float32 [n, dim], in an order that does not change."""
        ...


class LayerFrames:
    """The frames of a features layer, shard by shard; of a split of its corpus where one is named."""

    def __init__(self, corpus: Corpus, name: str | Path, split: str | None) -> None:
        """Raises SourceError and CorpusError for a layer, or a split, that is not there or has no frames."""
        self._layer = Layer.of(corpus, name)
        spec = self._layer.spec
        if not spec.has_arrays or spec.dim is None or spec.dtype not in ("float16", "float32"):
            raise SourceError(f"layer {self._layer.name} holds {spec.kind}, not features of float16 or float32",
                              "extract features of the encoder first: utterloom extract features CORPUS")
        self.dim, self.producer, self.grid = spec.dim, dict(spec.producer), spec.grid
        self.parts = [shard.name for shard in (corpus.shards if split is None else corpus.shards_of(split))]
        self._rows = {name: frozenset(corpus.rows_of(name, split).tolist()) for name in self.parts}
        self.counts = [self._count(name) for name in self.parts]
        self.identity = {"layer": self._layer.name, "content": fingerprint(self._layer.card["shards"]),
                         "rows": fingerprint([[name, sorted(rows)] for name, rows in self._rows.items()])}

    def _count(self, shard: str) -> int:
        table, rows = self._layer.table(shard), self._rows[shard]
        return sum(num or 0 for row, (num, place) in enumerate(zip(table.num_frames, table.ranges, strict=True))
                   if place[0] is not None and row in rows)

    def read(self, part: int) -> Iterator[np.ndarray]:
        """One utterance after another. Raises DamagedError for bytes that do not match their checksum."""
        shard, rows = self.parts[part], self._rows[self.parts[part]]
        for row in range(len(self._layer.table(shard))):
            array = self._layer.array(shard, row) if row in rows else None
            if array is not None:
                yield array


class NpyFrames:
    """The frames in .npy files, float16 or float32 [frames, dim], one part each; read a few megabytes at a time, never mapped."""

    def __init__(self, paths: Sequence[Path], producer: Mapping[str, Any] | None = None, grid: FrameGrid | None = None) -> None:
        """Raises SourceError for a file that is not such an array, or is cut short."""
        if not paths:
            raise SourceError("there are no .npy files to fit on")
        self._paths, self._heads = list(paths), [_head(path) for path in paths]
        names = [path.name for path in paths]
        self.parts = names if len(set(names)) == len(names) else [str(path) for path in paths]
        self.counts = [shape[0] for shape, *_ in self._heads]
        widths = {shape[1]: path for path, (shape, *_) in zip(paths, self._heads, strict=True)}
        if len(widths) > 1:
            listed = ", ".join(f"{width} ({path.name})" for width, path in widths.items())
            raise SourceError(f"the frames are of different widths: {listed}", "fit on one layer of one encoder")
        self.dim, self.producer, self.grid = next(iter(widths)), dict(producer or {}), grid
        self.identity = {"files": fingerprint([[name, sha256_of(path)] for name, path in zip(self.parts, paths, strict=True)])}

    def read(self, part: int) -> Iterator[np.ndarray]:
        """A few thousand frames at a time."""
        (num, dim), dtype, offset = self._heads[part]
        rows = max(1, READ_BYTES // (dim * dtype.itemsize))
        with self._paths[part].open("rb") as file:
            file.seek(offset)
            for start in range(0, num, rows):
                values = np.fromfile(file, dtype, min(rows, num - start) * dim)
                yield values[:len(values) // dim * dim].reshape(-1, dim)


def _head(path: Path) -> tuple[tuple[int, int], np.dtype, int]:
    """Shape, type, and where the numbers begin."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
            offset = file.tell()
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not a .npy file: {error}") from None
    if len(shape) != 2 or is_fortran or dtype not in (np.float16, np.float32) or shape[1] < 1:
        raise SourceError(f"{path} holds {dtype} {list(shape)}{' in Fortran order' if is_fortran else ''}",
                          "save float16 or float32 [frames, dim] in C order")
    wanted = offset + shape[0] * shape[1] * dtype.itemsize
    if path.stat().st_size < wanted:
        raise SourceError(f"{path} is cut short: {path.stat().st_size:,} bytes of {wanted:,}", "write it again")
    return shape, dtype, offset


def open_frames(features: Path, layer: str | None, config: FitConfig) -> Frames:
    """A corpus and the name of a features layer in it, or a folder of .npy files, or one such file. Raises SourceError."""
    if features.suffix == ".npy":
        return NpyFrames([features])
    if (features / "corpus.json").is_file():
        if layer is None:
            from utterloom.shards.layers import layer_names

            raise ConfigError(f"which layer of {features} shall be fitted on?",
                              did_you_mean("features", layer_names(Corpus(features))))
        return LayerFrames(Corpus(features), layer, config.split)
    files = sorted(features.rglob("*.npy")) if features.is_dir() else []
    if not files:
        raise SourceError(f"{features} is neither a corpus nor a folder with .npy files",
                          "give a corpus and its layer, or a folder of float16 or float32 [frames, dim] arrays")
    return NpyFrames(files)


def fit_units(features: Path | Frames, out: Path, config: FitConfig, layer: str | None = None,
              save_every_s: float = 30.0) -> dict[str, Any]:
    """Write the codebook folder, or go on where a killed fit stopped; returns its card.

    `features` is a corpus (with the name of a features layer), a folder of .npy files, one such file, or frames that are open.
    Raises SourceError for too few frames, OutputError where `out` was begun with other settings or other frames, naming them.
    """
    frames = open_frames(features, layer, config) if isinstance(features, Path) else features
    identity = {"config": config.model_dump(mode="json"), "frames": dict(frames.identity)}
    with building(out, KIND, identity) as artifact:
        if artifact.finished:
            log.info(f"{out} is there already, fitted on the same frames with the same configuration")
            shutil.rmtree(out / STATE_FOLDER, ignore_errors=True)  # of a process that was killed after the card
            return load_card(out, KIND)
        fit_kmeans, Codebook = _kmeans()
        state = out / STATE_FOLDER
        state.mkdir(exist_ok=True)
        total, started = sum(frames.counts), time.monotonic()
        log.info(f"fitting {config.clusters:,} clusters on {total:,} frames of {frames.dim} dimensions{_hours(frames)}")
        fitted = fit_kmeans(frames, config.clusters, config.seed, config.passes, config.tolerance, config.sample_frames,
                            config.starts, state, save_every_s)
        told = {"frames": fitted.num_frames, "not_finite": fitted.not_finite, "passes": len(fitted.inertia),
                "converged": fitted.converged, "inertia": fitted.inertia, "reseeded": fitted.reseeded,
                "empty": int((fitted.counts == 0).sum()), "sample_frames": fitted.sample_frames,
                "sample_inertia": fitted.sample_inertia}
        _warn(told)
        Codebook(fitted.centroids, frames.producer, frames.grid, told).commit(artifact)
        shutil.rmtree(state)
        log.info(f"fitted in {format_duration(time.monotonic() - started)}")
    return load_card(out, KIND)


def _kmeans() -> tuple[Any, Any]:
    """What fits and what is fitted; numba is needed from here on."""
    try:
        import numba  # noqa: F401
    except ImportError:
        raise MissingPackageError("numba", "extract", "fitting units") from None
    from utterloom.models.kmeans import Codebook
    from utterloom.models.kmeans_fit import fit_kmeans

    return fit_kmeans, Codebook


def _hours(frames: Frames) -> str:
    return "" if frames.grid is None else f", {format_duration(sum(frames.counts) * frames.grid.frame_s)}"


def _warn(told: Mapping[str, Any]) -> None:
    """What a person should know of a fit before they use it."""
    if told["not_finite"]:
        part, count = next(iter(told["not_finite"].items()))
        log.warning(f"{sum(told['not_finite'].values()):,} frames hold inf or nan and were left out, such as {count:,} of {part}")
    if told["empty"]:
        log.warning(f"{told['empty']:,} units stand for no frame: there are fewer different frames than clusters")
    if not told["converged"]:
        log.warning(f"the inertia was still falling after {told['passes']} passes: give more, passes=…")


def explain(card: Mapping[str, Any]) -> list[str]:
    """What a person wants to know of a codebook, as lines."""
    producer, grid, told = card["producer"], card["grid"], card["fit"]
    made = ", ".join(f"{key} {value}" for key, value in producer.items() if isinstance(value, str | int)) or "unknown frames"
    lines = [f"{card['units']:,} units of {card['dim']} dimensions, of {made}"]
    if grid is not None:
        lines.append(f"  {FrameGrid(**grid).rate_hz:g} units a second: one every {grid['hop_samples']:,} samples at "
                     f"{grid['sample_rate_hz']:,} Hz")
    if "inertia" in told:
        means = [value / told["frames"] for value in told["inertia"]] if told["frames"] else []
        lines.append(f"  fitted on {told['frames']:,} frames in {told['passes']} passes"
                     f"{'' if told['converged'] else ' (still falling)'}: mean squared distance "
                     + " → ".join(f"{value:.6g}" for value in dict.fromkeys([means[0], means[-1]])))
        if told["reseeded"] or told["empty"]:
            lines.append(f"  clusters that became empty and were placed anew {told['reseeded']:,}, units that stand for no frame "
                         f"{told['empty']:,}")
        for part, count in told["not_finite"].items():
            lines.append(f"  left out as not finite {count:,} frames of {part}")
    elif "imported" in told:
        lines.append(f"  imported from {told['imported']}")
    return lines
