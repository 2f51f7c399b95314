"""k-means out of core: one pass after another over frames that lie on disk, a few thousand of them in memory.

It starts on a sample that fits in memory (greedy k-means++, then Lloyd's iterations), and goes on with Lloyd's iterations over
everything: no mini-batches, so that it ends where k-means in memory would. What a pass has added up so far is written now and then.
Labels are exact and sums are in float64, frame after frame, so that a fit that was killed goes on to the same bits.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utterloom.core.artifact import atomic_write
from utterloom.core.errors import DamagedError, SourceError
from utterloom.core.log import log
from utterloom.core.progress import Reporter, progress

BLOCK_FRAMES = 2048
SAMPLE_BYTES = 256 << 20
SAMPLE_FRAMES_A_CLUSTER = 256
LEAST_START_FRAMES = 10_000
LEAST_START_FRAMES_A_CLUSTER, MOST_START_FRAMES_A_CLUSTER = 10, 30
START_PRODUCTS = 10**11  # about ten seconds, for spreading centroids over more frames than the least
TRIED_PASSES, MOST_SAMPLE_PASSES, SAMPLE_TOLERANCE = 5, 50, 1e-4
STATE = "state.npz"


class FrameSource(Protocol):
    """Frames that can be read again and again, in the same order.

    `parts` are names (shards, files); `counts` how many frames each has; `dim` is their width.
    """

    parts: Sequence[str]
    counts: Sequence[int]
    dim: int

    def read(self, part: int) -> Iterator[np.ndarray]:
        """The frames of a part, float16 or float32 [n, dim], a few thousand at a time."""
        ...


@dataclass
class Fitted:
    """`centroids` float32 [clusters, dim]; `inertia` of each pass over everything, of the centroids that it began with: those
    returned are the last pass's. `counts` of frames by cluster; `not_finite` frames by part, left out; `reseeded` clusters that had
    become empty."""

    centroids: np.ndarray
    inertia: list[float]
    counts: np.ndarray
    num_frames: int
    not_finite: dict[str, int]
    reseeded: int
    converged: bool
    sample_frames: int
    sample_inertia: list[float]


@dataclass
class _Sums:
    """What a pass adds up."""

    sums: np.ndarray
    counts: np.ndarray
    inertias: np.ndarray
    farthest: np.ndarray
    farthest_frames: np.ndarray

    @classmethod
    def zero(cls, clusters: int, dim: int) -> _Sums:
        return cls(np.zeros((clusters, dim)), np.zeros(clusters, np.int64), np.zeros(clusters), np.zeros(clusters, np.float32),
                   np.zeros((clusters, dim), np.float32))

    def add(self, frames: np.ndarray, nearest: Any) -> None:
        from utterloom.models import kmeans_kernels, kmeans_nearest

        labels, distances, _ = nearest(frames)
        kmeans_kernels.add_up(kmeans_nearest.as_float32(frames), labels, distances, self.sums, self.counts, self.inertias,
                              self.farthest, self.farthest_frames)

    @property
    def inertia(self) -> float:
        return float(np.cumsum(self.inertias)[-1])

    def centroids(self, before: np.ndarray) -> tuple[np.ndarray, int]:
        """The means, and how many clusters were empty: they go to the farthest frame of the clusters with the largest inertia."""
        means = before.copy()
        full = self.counts > 0
        means[full] = (self.sums[full] / self.counts[full, None]).astype(np.float32)
        empty = np.flatnonzero(~full)
        donors = np.argsort(-self.inertias, kind="stable")
        reseeded = 0
        for cluster, donor in zip(empty, donors, strict=False):
            if self.inertias[donor] > 0:
                means[cluster] = self.farthest_frames[donor]
                reseeded += 1
        return means, reseeded


@dataclass
class _State:
    """Where a fit is: `done` frames of part `part` of pass `number`, and all that came of it."""

    centroids: np.ndarray
    sums: _Sums
    number: int = 0
    part: int = 0
    done: int = 0
    inertia: list[float] = field(default_factory=list)
    not_finite: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    reseeded: int = 0
    sample_frames: int = 0
    sample_inertia: list[float] = field(default_factory=list)

    def save(self, path: Path) -> None:
        sums = self.sums
        with atomic_write(path) as file:
            np.savez(file, centroids=self.centroids, sums=sums.sums, counts=sums.counts, inertias=sums.inertias,
                     farthest=sums.farthest, farthest_frames=sums.farthest_frames, inertia=np.array(self.inertia),
                     not_finite=self.not_finite, sample_inertia=np.array(self.sample_inertia),
                     place=np.array([self.number, self.part, self.done, self.reseeded, self.sample_frames]))

    @classmethod
    def load(cls, path: Path) -> _State:
        try:
            with np.load(path, allow_pickle=False) as saved:
                number, part, done, reseeded, sample_frames = (int(value) for value in saved["place"])
                sums = _Sums(*(saved[name] for name in ("sums", "counts", "inertias", "farthest", "farthest_frames")))
                return cls(saved["centroids"], sums, number, part, done, saved["inertia"].tolist(), saved["not_finite"], reseeded,
                           sample_frames, saved["sample_inertia"].tolist())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DamagedError(f"{path} cannot be read: {error}", "remove that file: the fit starts again") from None


def fit_kmeans(source: FrameSource, clusters: int, seed: int, passes: int = 20, tolerance: float = 1e-4,
               sample_frames: int | None = None, starts: int = 3, state_folder: Path | None = None,
               save_every_s: float = 30.0) -> Fitted:
    """Centroids of all frames of `source`. The same source, seed and settings give the same bits, however often it was killed.

    It ends after `passes` over everything, or where a pass brings less than `tolerance` of the inertia. `sample_frames` are drawn
    to start on (by default 256 a cluster, in 256 MB at most), `starts` times. With a `state_folder` it goes on from what is there;
    the caller sees to it that it was left by the same fit. Frames that are not finite are left out and counted.

    Raises SourceError for fewer frames than clusters, or for a source that is not what it said; DamagedError for a state that
    cannot be read; MissingPackageError without numba.
    """
    from utterloom.models.kmeans_nearest import Nearest

    total = sum(source.counts)
    if total < clusters:
        raise SourceError(f"{total:,} frames cannot make {clusters:,} clusters", "fit fewer clusters, or on more speech")
    path = None if state_folder is None else state_folder / STATE
    if path is not None and path.exists():
        state = _State.load(path)
        log.info(f"going on with pass {state.number + 1}, part {source.parts[min(state.part, len(source.parts) - 1)]}")
    else:
        state = _begin(source, clusters, seed, tolerance, sample_frames, starts)
        if path is not None:
            state.save(path)
    before = np.concatenate([[0], np.cumsum(source.counts)])
    with progress("fitting", float(passes) * total, "frames") as report:
        while True:
            _pass(source, state, Nearest(state.centroids), path, save_every_s, before, report)
            inertia, num_frames = state.sums.inertia, int(state.sums.counts.sum())
            if num_frames < clusters:
                raise SourceError(f"{num_frames:,} of {total:,} frames are finite; they cannot make {clusters:,} clusters",
                                  "extract the features again, in float32")
            gained = (state.inertia[-1] - inertia) / state.inertia[-1] if state.inertia and state.inertia[-1] > 0 else np.inf
            state.inertia.append(inertia)
            log.info(f"pass {state.number + 1}: mean squared distance {inertia / num_frames:.6g}")
            empty = int((state.sums.counts == 0).sum())
            converged = inertia == 0 or (gained < tolerance and not empty)
            if converged or state.number + 1 >= passes:
                break
            state.centroids, reseeded = state.sums.centroids(state.centroids)
            state.reseeded += reseeded
            state.sums = _Sums.zero(clusters, source.dim)
            state.number, state.part, state.done = state.number + 1, 0, 0
            state.not_finite = np.zeros(len(source.parts), np.int64)
            if path is not None:
                state.save(path)
    not_finite = {source.parts[part]: int(count) for part, count in enumerate(state.not_finite) if count}
    return Fitted(state.centroids, state.inertia, state.sums.counts, num_frames, not_finite, state.reseeded, converged,
                  state.sample_frames, state.sample_inertia)


def _pass(source: FrameSource, state: _State, nearest: Any, path: Path | None, save_every_s: float, before: np.ndarray,
          report: Reporter) -> None:
    """The rest of a pass, from where `state` is."""
    saved = time.monotonic()
    while state.part < len(source.parts):
        for frames in _blocks(source, state.part, state.done):
            is_finite = np.isfinite(frames).all(axis=1)
            state.not_finite[state.part] += int((~is_finite).sum())
            state.sums.add(frames if is_finite.all() else frames[is_finite], nearest)
            state.done += len(frames)
            report(float(state.number * before[-1] + before[state.part] + state.done), f"pass {state.number + 1}")
            if path is not None and time.monotonic() - saved > save_every_s:
                state.save(path)
                saved = time.monotonic()
        if state.done != source.counts[state.part]:
            raise SourceError(f"{source.parts[state.part]} gave {state.done:,} frames and was said to have "
                              f"{source.counts[state.part]:,}", "do not change features while they are fitted on; fit again")
        state.part, state.done = state.part + 1, 0


def _blocks(source: FrameSource, part: int, skip: int = 0) -> Iterator[np.ndarray]:
    """The frames of a part from number `skip` on, some thousands at a time; the width is checked."""
    waiting: list[np.ndarray] = []
    for frames in source.read(part):
        if frames.ndim != 2 or frames.shape[1] != source.dim or frames.dtype not in (np.float16, np.float32):
            raise SourceError(f"{source.parts[part]} holds {frames.dtype} {list(frames.shape)}, not float16 or float32 [frames, "
                              f"{source.dim}]")
        skipped = min(skip, len(frames))
        skip -= skipped
        for start in range(skipped, len(frames), BLOCK_FRAMES):
            waiting.append(frames[start:start + BLOCK_FRAMES])
            if sum(map(len, waiting)) >= BLOCK_FRAMES:
                yield np.concatenate(waiting)
                waiting.clear()
    if waiting:
        yield np.concatenate(waiting)


# --- the start --------------------------------------------------------------------------------------------------------


def _begin(source: FrameSource, clusters: int, seed: int, tolerance: float, sample_frames: int | None, starts: int) -> _State:
    """k-means of a sample in memory: some starts, the best of which goes on."""
    draws = np.random.default_rng([seed, clusters])
    sample = _sample(source, clusters, sample_frames, draws)
    tolerance = max(tolerance, SAMPLE_TOLERANCE)
    best = _lloyd(sample, _spread(sample, clusters, draws), tolerance, TRIED_PASSES)
    for _ in range(1, starts):
        other = _lloyd(sample, _spread(sample, clusters, draws), tolerance, TRIED_PASSES)
        if other[1][-1] < best[1][-1]:
            best = other
    centroids, curve = _lloyd(sample, best[0], tolerance, MOST_SAMPLE_PASSES)
    return _State(centroids, _Sums.zero(clusters, source.dim), not_finite=np.zeros(len(source.parts), np.int64),
                  sample_frames=len(sample), sample_inertia=[*best[1], *curve])


def _lloyd(sample: np.ndarray, centroids: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, list[float]]:
    """Better centroids, and the inertia that each pass began with."""
    from utterloom.models.kmeans_nearest import Nearest

    curve: list[float] = []
    with progress("starting", most, "passes over a sample") as report:
        while len(curve) < most:
            sums, nearest = _Sums.zero(*centroids.shape), Nearest(centroids)
            for start in range(0, len(sample), BLOCK_FRAMES):
                sums.add(sample[start:start + BLOCK_FRAMES], nearest)
            centroids, _ = sums.centroids(centroids)
            curve.append(sums.inertia)
            report(len(curve), f"mean squared distance {curve[-1] / len(sample):.6g}")
            if sums.inertia == 0 or (len(curve) > 1 and (curve[-2] - curve[-1]) / curve[-2] < tolerance and sums.counts.all()):
                break
    return centroids, curve


def _sample(source: FrameSource, clusters: int, wanted: int | None, draws: np.random.Generator) -> np.ndarray:
    """Frames drawn from all of `source`, each as likely, in its order; those that are not finite left out. [n, dim] as stored."""
    total = sum(source.counts)
    if wanted is None:
        wanted = max(clusters, min(SAMPLE_FRAMES_A_CLUSTER * clusters, SAMPLE_BYTES // (2 * source.dim)))
    chosen = np.sort(draws.choice(total, min(total, max(wanted, clusters)), replace=False, shuffle=False))
    sample, drawn, first = np.empty((len(chosen), source.dim), np.float16), 0, 0  # filled in place: twice the sample is too much
    with progress("reading", float(total), "frames") as report:
        for part, count in enumerate(source.counts):
            start = first
            inside = chosen[np.searchsorted(chosen, first):np.searchsorted(chosen, first + count)]
            for frames in _blocks(source, part) if len(inside) else ():
                here = inside[np.searchsorted(inside, start):np.searchsorted(inside, start + len(frames))] - start
                picked = frames[here]
                picked = picked[np.isfinite(picked).all(axis=1)]
                if picked.dtype != sample.dtype and sample.dtype == np.float16:
                    sample = sample.astype(np.float32)
                sample[drawn:drawn + len(picked)] = picked
                drawn += len(picked)
                start += len(frames)
                report(float(start))
            first += count
    if drawn < clusters:
        raise SourceError(f"of {len(chosen):,} frames drawn to start on {drawn:,} are finite; they cannot make {clusters:,} "
                          "clusters", "extract the features again, in float32, or draw more: sample_frames=…")
    return sample[:drawn]


def _spread(sample: np.ndarray, clusters: int, draws: np.random.Generator) -> np.ndarray:
    """Greedy k-means++: each next centroid is, of some frames drawn as likely as they are far from those there are, the one that
    leaves the others nearest. float32 [clusters, dim]."""
    from utterloom.models import kmeans_kernels as kernels
    from utterloom.models.kmeans_nearest import as_float32

    tries = 2 + int(np.log(clusters))
    affordable = START_PRODUCTS // (clusters * tries * sample.shape[1])
    least = max(LEAST_START_FRAMES, LEAST_START_FRAMES_A_CLUSTER * clusters)
    num = min(len(sample), max(least, min(MOST_START_FRAMES_A_CLUSTER * clusters, affordable)))
    members = as_float32(sample[np.sort(draws.choice(len(sample), num, replace=False))])
    chosen = [int(draws.integers(num))]
    lowered, totals = np.empty((tries, num), np.float32), np.empty(tries)
    nearest = np.full(num, np.float32(np.inf))
    kernels.add_up_distances(members, members[chosen], nearest, lowered[:1], totals[:1])
    nearest[:] = lowered[0]
    with progress("spreading", clusters, "centroids") as report:
        while len(chosen) < clusters:
            reached = np.cumsum(nearest, dtype=np.float64)
            if reached[-1] > 0:
                candidates = np.minimum(np.searchsorted(reached, draws.random(tries) * reached[-1], side="right"), num - 1)
            else:  # all that is left is there already
                candidates = draws.integers(num, size=1)
            few = len(candidates)
            kernels.add_up_distances(members, members[candidates], nearest, lowered[:few], totals[:few])
            best = int(totals[:few].argmin())
            chosen.append(int(candidates[best]))
            nearest[:] = lowered[best]
            report(len(chosen))
    return members[chosen]
