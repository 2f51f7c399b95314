"""The exact batch plan: which utterances meet in which micro-batch of which step, from durations, seed and epoch alone.

The plan knows nothing of workers or ranks, so it is the same for any number of either, and any step of it can be asked
for without walking there. An epoch of a million utterances is planned in some 40 ms.

Order of an epoch: shards are shuffled; utterances are sorted by length (with a little noise) inside windows of
`window_shards` shards, so that a cache of that many shards serves; sorted runs are cut into micro-batches whose padded
length stays within `batch_s`; micro-batches are shuffled inside their window; steps are `micro_batches` of them in a row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LENGTH_NOISE = 0.05
INDEX_BITS = 28  # utterances in an epoch: at most 268 million
_KEY_LENGTH_BITS, _KEY_WINDOW_BITS = 20, 16
_MANY = 16  # micro-batches of equal count: worth a look ahead


@dataclass(frozen=True)
class EpochPlan:
    """`order` [n]: utterance numbers by window and length; micro-batch j is `order[starts[j]:stops[j]]`."""

    order: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    micro_batches: int

    @property
    def num_micro_batches(self) -> int:
        return len(self.starts)

    @property
    def num_steps(self) -> int:
        return -(-self.num_micro_batches // self.micro_batches)

    def micro_batch(self, number: int) -> np.ndarray:
        return self.order[self.starts[number]:self.stops[number]]

    def step(self, number: int) -> list[np.ndarray]:
        """The micro-batches of step `number`; the last step of an epoch may have fewer."""
        first = number * self.micro_batches
        return [self.micro_batch(index) for index in range(first, min(first + self.micro_batches, self.num_micro_batches))]

    def steps(self, start: int = 0) -> Iterator[list[np.ndarray]]:
        for number in range(start, self.num_steps):
            yield self.step(number)


@dataclass(frozen=True)
class BatchPlan:
    """`num_samples` [n] length of each utterance, `shard` [n] which shard each lies in (non-decreasing)."""

    num_samples: np.ndarray
    shard: np.ndarray
    batch_samples: int
    micro_batches: int = 1
    seed: int = 0
    window_shards: int = 64
    max_utterances: int = 1024

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of one epoch; every utterance exactly once."""
        n = len(self.num_samples)
        if n >= 1 << INDEX_BITS:
            raise ValueError(f"{n} utterances are more than a plan holds ({1 << INDEX_BITS})")
        if n == 0:
            nothing = np.zeros(0, np.int64)
            return EpochPlan(nothing, nothing, nothing, self.micro_batches)
        rng = np.random.Generator(np.random.PCG64([self.seed % (1 << 64), epoch]))
        num_shards = int(self.shard[-1]) + 1
        place = np.empty(num_shards, np.int64)
        place[rng.permutation(num_shards)] = np.arange(num_shards)
        window_of_shard = place // self.window_shards
        if num_shards > self.window_shards << _KEY_WINDOW_BITS:
            raise ValueError(f"{num_shards} shards in windows of {self.window_shards} are more windows than a plan holds")
        num_in_shard = np.diff(np.searchsorted(self.shard, np.arange(num_shards + 1)))
        # One 64-bit key sorts by window, then noisy length; the utterance's number rides in its low bits, so that a plain
        # sort (which numpy vectorises) does the work of an argsort and ties are settled by number. In place wherever it
        # can be: touching fresh memory costs more than the arithmetic.
        noise = rng.random(n, dtype=np.float32)
        noise *= LENGTH_NOISE
        noise += 1.0
        noisy = self.num_samples * noise
        longest_key = (1 << _KEY_LENGTH_BITS) - 1
        noisy /= max(noisy.max(), 1.0) / longest_key
        order = np.minimum(noisy, longest_key, out=noisy).astype(np.int64)
        order += np.repeat(window_of_shard << _KEY_LENGTH_BITS, num_in_shard)
        order <<= INDEX_BITS
        order += np.arange(n)
        order.view(np.uint64).sort()
        order &= (1 << INDEX_BITS) - 1
        num_in_window = np.bincount(window_of_shard, num_in_shard).astype(np.int64)
        window_ends = np.cumsum(num_in_window[num_in_window > 0])
        starts = self._cut(self.num_samples.take(order), window_ends)
        return self._shuffled(order, starts, window_ends, rng)

    def _cut(self, sorted_samples: np.ndarray, window_ends: np.ndarray) -> np.ndarray:
        """Where each micro-batch begins: greedy, from the longest of a window down, `count x longest <= batch_samples`."""
        batch_samples, most = self.batch_samples, self.max_utterances
        starts = array("q")
        first = 0
        for end in window_ends.tolist():
            # Noise lets a later utterance be longer than an earlier one; the running maximum bounds both.
            longest = np.maximum.accumulate(sorted_samples[first:end]).data  # quick to index
            stop = end - first
            while stop > 0:
                # `stop - 1` is the longest that is left, so it alone decides how many fit
                fit = min(batch_samples // (longest[stop - 1] or 1), most) or 1
                far = stop - _MANY * fit
                if far > 0 and min(batch_samples // (longest[far] or 1), most) == fit:
                    # as many for a long way: until one more fits
                    until = bisect_right(longest, batch_samples // (fit + 1), 0, far) if fit < most else 0
                    ahead = stop + (until - stop) // fit * fit
                    starts.frombytes(np.arange(first + stop - fit, first + ahead - 1, -fit, dtype=np.int64).tobytes())
                    stop = ahead
                else:
                    stop -= fit
                    starts.append(first + stop)
            starts[-1] = first
            first = end
        return np.sort(np.frombuffer(starts, dtype=np.int64))

    def _shuffled(self, order: np.ndarray, starts: np.ndarray, window_ends: np.ndarray, rng: np.random.Generator) -> EpochPlan:
        """Micro-batches in random order inside their window."""
        window_of = np.searchsorted(window_ends, starts, side="right").astype(np.uint64)
        draw = rng.integers(0, 1 << 20, len(starts), dtype=np.uint64)
        keys = (window_of << np.uint64(48)) | (draw << np.uint64(INDEX_BITS)) | np.arange(len(starts), dtype=np.uint64)
        keys.sort()
        permutation = (keys & np.uint64((1 << INDEX_BITS) - 1)).astype(np.int64)
        stops = np.append(starts[1:], len(order))
        return EpochPlan(order, starts[permutation], stops[permutation], self.micro_batches)
