"""How sure an error rate is, by bootstrap over utterances, speakers or blocks; and how sure a share is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MAX_DRAWS_AT_ONCE = 1 << 20  # 8 MiB of indices, whatever the corpus size


def bootstrap_interval(
    errors: np.ndarray,
    lengths: np.ndarray,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | np.ndarray | None = None,
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of a pooled error rate, sum(errors) / sum(lengths), as fractions.

    Whole units are drawn with replacement, errors and length together, as in Bisani & Ney, "Bootstrap estimates for
    confidence intervals in ASR performance evaluation" (ICASSP 2004). The unit is the utterance, or all that share a
    value of `groups` (speaker, session): errors of one speaker are not independent, so prefer groups where known.

    errors, lengths: [utterances], errors and reference lengths in tokens. groups: [utterances].
    Same arguments, same interval. None with fewer than two units or without reference tokens.
    Raises ValueError for arrays of different shapes, a level outside (0, 1) or no resamples.
    """
    errors, lengths = np.asarray(errors, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    if errors.ndim != 1 or errors.shape != lengths.shape:
        raise ValueError(f"errors {errors.shape} and lengths {lengths.shape} must be two equally long vectors")
    if not 0 < level < 1 or num_resamples < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, and num_resamples {num_resamples} above 0")
    if groups is not None:
        _, unit_of = np.unique(np.asarray(groups), return_inverse=True)
        if unit_of.shape != errors.shape:
            raise ValueError(f"groups {unit_of.shape} must be as long as errors {errors.shape}")
        # Sums of integers stay exact in the float64 of bincount up to 2**53 tokens.
        errors = np.bincount(unit_of, weights=errors).astype(np.int64)
        lengths = np.bincount(unit_of, weights=lengths).astype(np.int64)
    num_units = errors.size
    if num_units < 2 or lengths.sum() == 0:
        return None

    rng = np.random.default_rng(seed)
    rates: list[np.ndarray] = []
    resamples_at_once = max(1, _MAX_DRAWS_AT_ONCE // num_units)
    for start in range(0, num_resamples, resamples_at_once):
        count = min(resamples_at_once, num_resamples - start)
        drawn = rng.integers(0, num_units, size=(count, num_units))
        drawn_errors, drawn_lengths = errors[drawn].sum(axis=1), lengths[drawn].sum(axis=1)
        has_rate = drawn_lengths > 0  # a resample of empty references only has no rate
        rates.append(drawn_errors[has_rate] / drawn_lengths[has_rate])
    if not any(part.size for part in rates):
        return None
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share, as fractions; of 95 % by default. Raises ValueError unless 0 <= count <= total > 0."""
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"{count} of {total} is not a share")
    share, weight = count / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))  # rounding aside, it holds the share
