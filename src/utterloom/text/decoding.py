"""From frames to ids: greedy CTC, in numpy, so that serving needs no torch."""

from __future__ import annotations

import numpy as np

from utterloom.text.tokenizers import BLANK_ID


def greedy_ctc(best_s: np.ndarray, blank: int = BLANK_ID) -> list[int]:
    """The best token of each frame [s] → ids: repeats collapsed, blanks removed."""
    if len(best_s) == 0:
        return []
    changed = np.concatenate(([True], best_s[1:] != best_s[:-1]))
    kept = best_s[changed & (best_s != blank)]
    return [int(token) for token in kept]
