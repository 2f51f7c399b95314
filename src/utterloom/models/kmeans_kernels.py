"""The loops of k-means that numpy has no words for, compiled by numba. Imported where it is known to be there.

What is summed in float32 may be summed in any order (`fastmath`): `kmeans_nearest` allows for that in its bounds. What is summed in
float64 is summed in the order that it is written in, so that it is the same number on every machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 32  # centroids that are looked at, or passed over, together
_HALF_SCALE = np.float32(2.0**112)  # between the exponents of float16 and float32


@njit(cache=True, nogil=True)
def widen(halves: np.ndarray, bits: np.ndarray) -> None:
    """float16 as uint16 [n] → the bits of float32 2^-112 times as large, uint32 [n]. Inf and nan become common numbers."""
    for i in range(halves.shape[0]):
        half = np.uint32(halves[i])
        bits[i] = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | ((half & np.uint32(0x8000)) << np.uint32(16))


@njit(cache=True, nogil=True)
def scale(values: np.ndarray) -> None:
    """Bring what `widen` made to size, float32 [n], in place: exact, halves without a leading one too."""
    for i in range(values.shape[0]):
        values[i] *= _HALF_SCALE


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def centre(frames: np.ndarray, mean: np.ndarray, centred: np.ndarray, squares: np.ndarray) -> None:
    """`centred` = frames - mean [n, d]; `squares` are their squared lengths [n]. All float32."""
    for i in range(frames.shape[0]):
        total = np.float32(0)
        for j in range(frames.shape[1]):
            value = frames[i, j] - mean[j]
            centred[i, j] = value
            total += value * value
        squares[i] = total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _distance(frame: np.ndarray, centroid: np.ndarray) -> np.float32:
    """Squared, of differences, so that its error is relative to itself."""
    total = np.float32(0)
    for j in range(frame.shape[0]):
        value = frame[j] - centroid[j]
        total += value * value
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _square(values: np.ndarray) -> np.float32:
    total = np.float32(0)
    for j in range(values.shape[0]):
        total += values[j] * values[j]
    return total


@njit(cache=True, nogil=True)
def _exact_distance(frame: np.ndarray, centroid: np.ndarray) -> float:
    """What decides: differences, squares and their sum in float64, dimension after dimension."""
    total = 0.0
    for j in range(frame.shape[0]):
        value = np.float64(frame[j]) - np.float64(centroid[j])
        total += value * value
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp", "nnan"})
def _lowest(products: np.ndarray, squares: np.ndarray, widths: np.ndarray, rest: np.float32, low: np.ndarray,
            blocks: np.ndarray) -> None:
    """`low` [k]: what the squared distance, less the frame's from the mean, is at least; `blocks`: the least of each block."""
    for block in range(blocks.shape[0]):
        least = np.float32(3.4e38)
        for k in range(block * BLOCK, (block + 1) * BLOCK):
            value = squares[k] - np.float32(2) * products[k] - rest * widths[k]
            low[k] = value
            least = min(least, value)
        blocks[block] = least


@njit(cache=True, nogil=True)
def nearest(frames: np.ndarray, rotated: np.ndarray, products: np.ndarray, frame_squares: np.ndarray, centroids: np.ndarray,
            squares: np.ndarray, widths: np.ndarray, longest: np.float32, slack: np.float32, error: np.float32,
            most_margin: np.float32, near_margin: np.float32, labels: np.ndarray, distances: np.ndarray,
            margins: np.ndarray) -> int:
    """Labels int32 [n], squared distances float32 [n] and margins float32 [n] of some frames; returns how many distances it took.

    `rotated` [n, p] are the frames' leading directions (p = 0: all of them were used), `products` [n, k'] their inner products with
    the centroids', k' being k rounded up to whole blocks, as in `squares` and `widths`. `longest` is the length of the longest
    centroid from the mean; `slack` and `error` are the relative rounding errors of a bound and of a distance.
    """
    k, dim = centroids.shape
    tiny = np.float32(dim * 1.2e-38)  # of squares too small for float32
    low = np.empty(squares.shape[0], np.float32)
    blocks = np.empty(squares.shape[0] // BLOCK, np.float32)
    seen = np.empty(k, np.float32)
    looked_at = np.empty(k, np.int32)
    num_distances = 0
    up, near_factor = np.float32(1) + error, np.float32(1) / (np.float32(1) - near_margin)
    cap_factor = up * up / (np.float32(1) - most_margin)
    for i in range(frames.shape[0]):
        square = frame_squares[i]
        rest = np.sqrt(max(square - _square(rotated[i]), np.float32(0)) + slack * square) if rotated.shape[1] else np.float32(0)
        reach = np.sqrt(square) + longest
        allowance = slack * reach * reach - square
        if not reach * reach < np.float32(1e37):  # squares that float32 cannot hold
            _decide(frames[i], centroids, looked_at, -1, i, labels, distances, margins, most_margin)
            num_distances += k
            continue
        _lowest(products[i], squares, widths, rest, low, blocks)
        first_block = 0
        for block in range(blocks.shape[0]):
            if blocks[block] < blocks[first_block]:
                first_block = block
        # First the centroid whose bound is lowest, then all those whose bound lies below what is needed: the two nearest.
        limit, first, label, count = blocks[first_block], -1, 0, 0
        best, second = np.float32(np.inf), np.float32(np.inf)
        for turn in range(blocks.shape[0] + 1):
            block = first_block if turn == 0 else turn - 1
            if blocks[block] > limit:
                continue
            for c in range(block * BLOCK, min(k, (block + 1) * BLOCK)):
                if low[c] <= limit and c != first:
                    value = _distance(frames[i], centroids[c])
                    looked_at[count], seen[count] = c, value
                    count += 1
                    if value < best:
                        best, second, label = value, best, c
                    elif value < second:
                        second = value
                    if turn == 0:
                        first = c
                        break
                    limit = min(best * cap_factor, second * up * up) + tiny + allowance
            if turn == 0:
                limit = best * cap_factor + tiny + allowance
        num_distances += count
        if second * (np.float32(1) - near_margin) > best * up * up + tiny:
            labels[i], distances[i] = label, best
            margins[i] = min(most_margin, (second - best) / second) if second < np.float32(np.inf) else most_margin
        else:
            limit, kept = max(second, best * near_factor) * up * up + tiny, 0
            for turn in range(count):
                if seen[turn] <= limit:
                    looked_at[kept] = looked_at[turn]
                    kept += 1
            _decide(frames[i], centroids, looked_at, kept, i, labels, distances, margins, most_margin)
            distances[i] = best
    return num_distances


@njit(cache=True, nogil=True)
def _decide(frame: np.ndarray, centroids: np.ndarray, among: np.ndarray, count: int, i: int, labels: np.ndarray,
            distances: np.ndarray, margins: np.ndarray, most_margin: np.float32) -> None:
    """By exact distances among the first `count` centroids of `among`, or all of them (-1); the first of equals is the label."""
    best, second, label = np.inf, np.inf, 0
    for turn in range(centroids.shape[0] if count < 0 else count):
        c = turn if count < 0 else among[turn]
        value = _exact_distance(frame, centroids[c])
        if value < best or (value == best and c < label):
            best, second, label = value, best, c
        elif value < second:
            second = value
    labels[i], distances[i] = label, best
    if second < np.inf:
        margins[i] = min(np.float64(most_margin), (second - best) / second) if second > 0 else 0.0
    else:
        margins[i] = most_margin


@njit(cache=True, nogil=True)
def add_up(frames: np.ndarray, labels: np.ndarray, distances: np.ndarray, sums: np.ndarray, counts: np.ndarray,
           inertias: np.ndarray, farthest: np.ndarray, farthest_frames: np.ndarray) -> None:
    """One frame after the other into its cluster's sum, count, inertia (all 64 bits) and farthest member, in place."""
    for i in range(frames.shape[0]):
        label, distance = labels[i], distances[i]
        for j in range(frames.shape[1]):
            sums[label, j] += np.float64(frames[i, j])
        counts[label] += 1
        inertias[label] += np.float64(distance)
        if distance > farthest[label]:
            farthest[label] = distance
            farthest_frames[label] = frames[i]


@njit(cache=True, nogil=True)
def add_up_distances(frames: np.ndarray, candidates: np.ndarray, nearest_so_far: np.ndarray, lowered: np.ndarray,
                     totals: np.ndarray) -> None:
    """`lowered` [candidates, n]: the squared distance of each frame to the nearest, were that candidate among them; `totals`
    [candidates] their sums in float64."""
    totals[:] = 0.0
    for i in range(frames.shape[0]):
        for c in range(candidates.shape[0]):
            value = min(nearest_so_far[i], _distance(frames[i], candidates[c]))
            lowered[c, i] = value
            totals[c] += np.float64(value)
