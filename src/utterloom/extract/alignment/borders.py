"""Where words begin and end, sought in the sound around what a model says.

A CTC model that writes a mark between words lets the mark have the fading end of one word and the soft beginning of the next, and
lets letters beside a pause reach into it: tens of milliseconds, and no constant mends both. The loudness does. A word first loses
what is quiet at its ends; then the gap between two words is looked at. Where something in it is quiet, words end and begin around
that; else they touch where it is quietest. A quiet moment too short for a pause is the closure of a stop, and belongs to the word
that it opens.
"""

from __future__ import annotations

import numpy as np

LEVELS_HZ = 200
QUIET_DB = 40.0  # below the loud of the seconds around
LEAST_RANGE_DB = 20.0  # at least so far below it, whatever the noise
ABOVE_FLOOR_DB = 6.0
AROUND_S = 5
LONGEST_CLOSURE_S, LONGEST_TOUCH_S = 0.06, 0.4


def powers(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """float32 [samples] → mean power of every 5 ms, [samples · 200 / rate]; what is left over at the end is left out. Blocks that
    begin on a multiple of 5 ms may be strung together."""
    hop = rate_hz // LEVELS_HZ
    return np.mean(samples[:len(samples) // hop * hop].reshape(-1, hop).astype(np.float64) ** 2, axis=1)


def by_energy(starts_s: np.ndarray, stops_s: np.ndarray, power_t: np.ndarray,
              may_touch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of words, [words] in order, none overlapping → the same, moved; `power_t` as `powers` gives it.

    `may_touch` [words + 1] says of each gap (before a word; the last one is after all) that nothing else is said in it.
    """
    level_db = 10 * np.log10(np.convolve(np.pad(power_t, 1, mode="edge"), [0.25, 0.5, 0.25], "valid") + 1e-8)
    is_quiet = _quiet(level_db)
    first, last = (np.clip(np.rint(LEVELS_HZ * edges_s).astype(int), 0, len(level_db)) for edges_s in (starts_s, stops_s))
    starts, stops = starts_s.copy(), stops_s.copy()
    closure = round(LEVELS_HZ * LONGEST_CLOSURE_S)
    for word in range(len(starts)):
        sounds = first[word] + np.flatnonzero(~is_quiet[first[word]:last[word]])
        if len(sounds) and sounds[0] - first[word] > closure:
            first[word], starts[word] = sounds[0], sounds[0] / LEVELS_HZ
        if len(sounds) and last[word] - sounds[-1] - 1 > closure:
            last[word], stops[word] = sounds[-1] + 1, (sounds[-1] + 1) / LEVELS_HZ
    for gap in range(len(starts) + 1):
        left = last[gap - 1] if gap else 0
        right = max(left, first[gap]) if gap < len(starts) else len(level_db)
        is_between = 0 < gap < len(starts)
        quiet = left + np.flatnonzero(is_quiet[left:right])
        if len(quiet):
            end, begin = quiet[0] / LEVELS_HZ, (quiet[-1] + 1) / LEVELS_HZ
            if is_between and may_touch[gap] and begin - end <= LONGEST_CLOSURE_S:
                begin = end
        elif is_between and may_touch[gap] and 0 < right - left <= LEVELS_HZ * LONGEST_TOUCH_S:
            end = begin = (left + int(level_db[left:right].argmin()) + 0.5) / LEVELS_HZ
        else:
            continue
        if gap:
            stops[gap - 1] = end
        if gap < len(starts):
            starts[gap] = begin
    kept = starts < stops
    return np.where(kept, starts, starts_s), np.where(kept, stops, stops_s)


def _quiet(level_db: np.ndarray) -> np.ndarray:
    """Which moments are quiet, against the seconds on either side: bool, as long."""
    found = np.zeros(len(level_db), dtype=bool)
    around = AROUND_S * LEVELS_HZ
    for begin in range(0, len(level_db), LEVELS_HZ):
        floor, loud = np.percentile(level_db[max(0, begin - around):begin + LEVELS_HZ + around], [1, 90])
        limit = min(max(loud - QUIET_DB, floor + ABOVE_FLOOR_DB), loud - LEAST_RANGE_DB)
        found[begin:begin + LEVELS_HZ] = level_db[begin:begin + LEVELS_HZ] < limit
    return found
