"""The nearest centroid of each frame, exactly, for a fraction of the multiplications.

Centroids of speech lie near a plane of few dimensions. A frame is rotated into that plane (p of d dimensions); there its inner
products with all centroids are cheap, and what is left out of one can be at most the length of what is left of the frame times that
of what is left of the centroid (Cauchy and Schwarz). So most centroids are shown to be farther than the nearest without being
looked at; the rest are, in all dimensions. Where float32 cannot tell two of them apart, float64 decides: a label never depends on
the batch, the number of threads or the library that multiplies. Where centroids lie in no such plane (noise), all dimensions are
used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utterloom.core.errors import MissingPackageError, SourceError

try:
    from utterloom.models import kmeans_kernels as kernels
except ImportError as error:  # pragma: no cover
    if not (error.name or "").startswith("numba"):
        raise
    raise MissingPackageError("numba", "extract", "k-means") from None

MOST_MARGIN = 0.01
NEAR_MARGIN = 1e-3  # below this, margins are reckoned in float64
BLOCK_FRAMES = 256
BLOCK_PRODUCTS = 1 << 18
DIRECTIONS = (16, 32, 48, 64, 96, 128, 192, 256)
LARGEST_SHARE = 0.5  # of the dimensions: with more directions, rotating costs more than it saves
TRIED_FRAMES = 256
ROUNDING = 2.0**-24
# Nanoseconds, on one core of the machine that it was tuned on; only their ratios matter, and only for speed.
PRODUCT_NS, LOOK_NS, BOUND_NS = 0.025, 0.13, 0.15


@dataclass(frozen=True)
class _Plane:
    """`directions` float32 [d, p] and the centroids in them, [p, k']; `widths` [k'] is twice the length of what they leave out."""

    directions: np.ndarray | None
    centroids: np.ndarray
    widths: np.ndarray
    slack: float

    @property
    def num_directions(self) -> int:
        return 0 if self.directions is None else self.directions.shape[1]


class Nearest:
    """Made once for some centroids, float32 [k, d]; `__call__` may be used for any number of frames, by any number of threads."""

    def __init__(self, centroids: np.ndarray) -> None:
        self.centroids = np.ascontiguousarray(centroids, np.float32)
        k, dim = self.centroids.shape
        self._mean = self.centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._centred = self.centroids.astype(np.float64) - self._mean
        squares = (self._centred**2).sum(axis=1)
        self._longest = float(np.sqrt(squares.max()))
        self._padded = -(-k // kernels.BLOCK) * kernels.BLOCK
        with np.errstate(over="ignore"):
            self._squares = np.full(self._padded, 3e38, np.float32)  # what pads the last block is never near
            self._squares[:k] = np.minimum(squares, 3e38)
        self._error = 2 * (dim + 8) * ROUNDING
        self._basis: np.ndarray | None = None
        self._plane: _Plane | None = None
        self._expected_looks = 0.0

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """frames float16 or float32 [n, d] → labels int32 [n], squared distances float32 [n], margins float32 [n].

        Raises SourceError for another shape or type, and for values that are not finite, naming the first frame that has any.
        """
        frames = self._checked(frames)
        if self._plane is None:
            if not len(frames):
                return np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32)
            self._choose(frames)
        assert self._plane is not None
        labels, distances, margins, looks = self._search(self._plane, frames)
        if len(frames) >= TRIED_FRAMES and looks > 2 * self._expected_looks + 2:  # these frames are not like those it was chosen on
            self._choose(frames)
        return labels, distances, margins

    def _checked(self, frames: np.ndarray) -> np.ndarray:
        dim = self.centroids.shape[1]
        if frames.ndim != 2 or frames.shape[1] != dim:
            raise SourceError(f"frames of shape {list(frames.shape)}, where the codebook has {dim} dimensions",
                              "use the features of the model and layer that the codebook was fitted on")
        if frames.dtype not in (np.float16, np.float32):
            raise SourceError(f"frames are {frames.dtype}; units are assigned to float16 or float32")
        return np.ascontiguousarray(frames)

    def _search(self, plane: _Plane, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """... and how many centroids of one frame were looked at, in the mean."""
        num, dim = frames.shape
        labels, distances, margins = np.empty(num, np.int32), np.empty(num, np.float32), np.empty(num, np.float32)
        size = max(16, min(BLOCK_FRAMES, BLOCK_PRODUCTS // self._padded))
        centred, squares = np.empty((size, dim), np.float32), np.empty(size, np.float32)
        rotated, products = np.empty((size, plane.num_directions), np.float32), np.empty((size, self._padded), np.float32)
        looks = 0
        for start in range(0, num, size):
            block = as_float32(frames[start:start + size])
            few = len(block)
            kernels.centre(block, self._mean, centred, squares)
            if not np.isfinite(squares[:few]).all():
                hurt = np.flatnonzero(~np.isfinite(block).all(axis=1))
                if len(hurt):
                    raise SourceError(f"frame {start + hurt[0]} has values that are not finite",
                                      "the model overflowed, or its output was damaged: extract the features again, in float32")
            with np.errstate(over="ignore", invalid="ignore"):
                multiplied = centred[:few]
                if plane.directions is not None:
                    multiplied = np.matmul(multiplied, plane.directions, out=rotated[:few])
                np.matmul(multiplied, plane.centroids, out=products[:few])
            stop = start + few
            looks += kernels.nearest(
                block, rotated[:few], products[:few], squares[:few], self.centroids, self._squares, plane.widths,
                np.float32(self._longest), np.float32(plane.slack), np.float32(self._error), np.float32(MOST_MARGIN),
                np.float32(max(NEAR_MARGIN, 2 * self._error)), labels[start:stop], distances[start:stop], margins[start:stop])
        return labels, distances, margins, looks / num if num else 0.0

    def _choose(self, frames: np.ndarray) -> None:
        """The number of directions that costs least on a few of these frames. Labels are the same with any."""
        k, dim = self.centroids.shape
        tried = frames[::max(1, len(frames) // TRIED_FRAMES)][:TRIED_FRAMES]
        least = np.inf
        for num in (0, *(count for count in DIRECTIONS if count <= LARGEST_SHARE * dim)):
            multiplications = (dim * num + num * k) if num else dim * k
            known_ns = multiplications * PRODUCT_NS + k * BOUND_NS
            if known_ns > least:
                continue
            plane = self._plane_of(num)
            *_, looks = self._search(plane, tried)
            cost_ns = known_ns + looks * dim * LOOK_NS
            if cost_ns < least:
                least, self._plane, self._expected_looks = cost_ns, plane, looks

    def _plane_of(self, num: int) -> _Plane:
        k, dim = self.centroids.shape
        centred = self._centred
        if num == 0:
            turned = np.zeros((dim, self._padded), np.float32)
            turned[:, :k] = centred.T
            return _Plane(None, turned, np.zeros(self._padded, np.float32), 8 * (dim + 8) * ROUNDING)
        if self._basis is None:
            self._basis = _leading_directions(centred, max(DIRECTIONS))
        directions = np.zeros((dim, num), np.float32)
        directions[:, :self._basis.shape[1]] = self._basis[:, :num]
        exact = directions.astype(np.float64)
        inside = (centred @ exact).astype(np.float32)
        left = centred - inside.astype(np.float64) @ exact.T
        turned = np.zeros((num, self._padded), np.float32)
        turned[:, :k] = inside.T
        widths = np.zeros(self._padded, np.float32)
        widths[:k] = 2.001 * np.sqrt((left**2).sum(axis=1))
        # Rounded directions are not quite at right angles; what is left of a centroid is not quite at right angles to them.
        used = exact[:, :self._basis.shape[1]]
        skew = float(np.abs(used.T @ used - np.eye(used.shape[1])).sum(axis=1).max())
        lean = float(np.sqrt(((left @ exact)**2).sum(axis=1).max())) / max(self._longest, 1e-300)
        slack = 4 * (np.sqrt(num) * (dim + 8) * ROUNDING + (num + 8) * ROUNDING + skew + lean)
        return _Plane(directions, turned, widths, slack)


def _leading_directions(centred: np.ndarray, most: int) -> np.ndarray:
    """Of the centroids' own spread, the largest first: float64 [d, at most `most`], at right angles."""
    k, dim = centred.shape
    if k < dim:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        kept = values[::-1][:most] > max(values[-1], 0) * 1e-9
        spans = centred.T @ vectors[:, ::-1][:, :most][:, kept]
        return np.asarray(np.linalg.qr(spans)[0])
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :most])


def as_float32(frames: np.ndarray) -> np.ndarray:
    """float16 or float32 [n, d], contiguous → float32: the same numbers, for a tenth of what numpy and torch take."""
    if frames.dtype != np.float16:
        return np.asarray(frames, np.float32)
    widened = np.empty(frames.shape, np.float32)
    kernels.widen(frames.view(np.uint16).reshape(-1), widened.view(np.uint32).reshape(-1))
    kernels.scale(widened.reshape(-1))
    # Inf and nan have the largest exponent, which in float32 stands for 65,536 and more.
    is_huge = np.abs(widened) >= np.float32(65_536)
    if is_huge.any():
        widened[is_huge] = frames[is_huge].astype(np.float32)
    return widened
