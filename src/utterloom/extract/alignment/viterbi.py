"""The best path of a known token sequence through CTC emissions (Graves et al. 2006), exact, in memory linear in time.

Shapes: t frames · v vocabulary · s tokens of the text.

A full table has 2 s + 1 states in every frame: 1.7e11 of them for three hours, minutes of work and tens of gigabytes. Here only a
window of tokens is looked at, those whose best path lies within a *beam* of the best one of their frame; and the path that comes of
it is then known to be the best one there is, because a bound is kept for all that was left out:

- A path that leaves the window is *stray* from then on. No stray path scores more than `stray`: what was given up when it left, and
  the best emission of every frame since. So `stray` creeps up on the best path by what that one pays for its worse frames.
- Before it comes near, a *sweep* is made: every token of the text is given the value of `stray`, and followed frame by frame. A
  stray path is somewhere in the text, nearly everywhere is the wrong place, and so the sweep falls far behind within seconds. What
  falls below the beam is given up again, with the value that it had; what meets the window in a state whose own path is better is
  no longer needed: whoever goes on from there had better come along that path.
- At the end, no stray path scores more than `stray` does. Where that is no more than the score of the path that was found, it is
  the best: `is_proved`. Else the beam is widened.

Sums are float64, so that a path of half a million frames has the score that a textbook's table gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utterloom.core.errors import MissingPackageError

try:
    from numba import njit
    from numba.typed import List
except ImportError:
    raise MissingPackageError("numba", "extract", "forced alignment") from None

FULL_CELLS = 20_000_000  # up to so many tokens × frames the whole table is as quick
FIRST_BEAM = 250.0  # nats
WIDER = 4.0
LOW = np.float32(-1e30)  # the same in float32
MOST_CELLS = 6e10  # a wider beam that would need more is not tried: a minute or so
NEVER = -1e300  # stands for minus infinity, which no sum of log-probabilities reaches
BLOCK = 512  # tokens of a sweep that go through AT_ONCE frames while they are in the processor's nearest cache
AT_ONCE = 32
LONGEST_SWEEP = 4096  # frames: in a long silence everybody waits, and a sweep proves nothing
PIECE_BYTES = 1 << 24
ROUNDING = 1e-3  # nats a frame: more than what a sweep's float32 may lose

STAY, ENTER, SKIP = 0, 1, 2  # how a token was reached: from itself, from the blank before it, from the token before it
BLANK_MOVED = 4  # the blank before a token was reached from the token before that


class NoAlignmentError(ValueError):
    """The text does not fit: fewer frames than its tokens need, or a token that the emissions forbid."""


@dataclass(frozen=True)
class Path:
    """`start_frame` and `stop_frame` int64 [s] of each token, half-open; `score` is the sum of log-probabilities of all frames.

    `is_proved` says that no better path exists; `cells` counts the states that were looked at, for measurements.
    """

    start_frame: np.ndarray
    stop_frame: np.ndarray
    score: float
    is_proved: bool
    cells: int


def align_tokens(log_probs_tv: np.ndarray, tokens_s: np.ndarray, blank: int = 0, beam: float | None = None) -> Path:
    """float [t, v] log-probabilities and int [s] tokens → their best path.

    Without `beam` it is widened until the path is proved to be the best there is, unless that would take more than MOST_CELLS.
    Raises NoAlignmentError where there is no path at all.
    """
    log_probs = np.ascontiguousarray(log_probs_tv, np.float32)
    tokens = np.ascontiguousarray(tokens_s, np.uint32)
    t, s = len(log_probs), len(tokens)
    _check(log_probs, tokens, blank)
    if s == 0:
        return Path(np.empty(0, np.int64), np.empty(0, np.int64), float(log_probs[:, blank].sum(dtype=np.float64)), True, t)
    used = np.unique(np.append(tokens, np.uint32(blank)))
    top = log_probs[:, used].max(1).astype(np.float64)  # what a frame can give at most
    width = beam if beam is not None else np.inf if t * s <= FULL_CELLS else FIRST_BEAM
    cells = 0
    while True:
        moves, piece, offset, first, a_end, b_end, stray, looked_at = _search(log_probs, tokens, blank, width, top)
        score, cells = max(a_end, b_end), cells + looked_at
        is_found = score > NEVER / 2
        is_proved = is_found and stray <= score
        if is_proved or (is_found and (beam is not None or WIDER * looked_at > MOST_CELLS)):
            start, stop = _traced(moves, piece, offset, first, s, b_end > a_end)
            return Path(start, stop, score, is_proved, cells)
        if width == np.inf:
            raise NoAlignmentError("the emissions give every path the probability zero")
        width = WIDER * width if width < 1e7 else np.inf


def _check(log_probs: np.ndarray, tokens: np.ndarray, blank: int) -> None:
    if log_probs.ndim != 2:
        raise ValueError(f"log-probabilities are [frames, vocabulary], not {list(log_probs.shape)}")
    t, s = len(log_probs), len(tokens)
    if s and (tokens.max() >= log_probs.shape[1] or (tokens == blank).any()):
        raise ValueError(f"tokens must be below {log_probs.shape[1]} and not the blank, {blank}")
    needed = max(1, s + int((tokens[1:] == tokens[:-1]).sum()))
    if t < needed:
        raise NoAlignmentError(f"{s} tokens need {needed} frames, and there are {t}")
    if np.isnan(log_probs).any() or np.isposinf(log_probs).any():
        raise NoAlignmentError("the emissions hold NaN or infinity")


_FAST = {"nnan", "nsz", "contract"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def _gather(row_v, tokens, out):  # type: ignore[no-untyped-def]
    for k in range(tokens.shape[0]):
        out[k] = row_v[tokens[k]]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _step(a, b, a_before, may_skip, emission, of_blank, new_a, new_b):  # type: ignore[no-untyped-def]
    """One frame for a stretch of tokens: `a` in the token, `b` in the blank before it, `a_before` in the token before."""
    for k in range(emission.shape[0]):
        before, blank, reached = a_before[k], b[k], a[k]
        skip = before + may_skip[k]
        reached = reached if reached > blank else blank
        reached = reached if reached > skip else skip
        new_a[k] = reached + emission[k]
        new_b[k] = (blank if blank > before else before) + of_blank


@njit(cache=True, nogil=True, fastmath=_FAST)
def _step_with_moves(a, b, a_before, may_skip, emission, of_blank, new_a, new_b, moves):  # type: ignore[no-untyped-def]
    for k in range(emission.shape[0]):
        before, blank, reached = a_before[k], b[k], a[k]
        skip = before + may_skip[k]
        move = ENTER if blank > reached else STAY
        reached = reached if reached > blank else blank
        move = SKIP if skip > reached else move
        reached = reached if reached > skip else skip
        new_a[k] = reached + emission[k]
        new_b[k] = (blank if blank > before else before) + of_blank
        moves[k] = move + (BLANK_MOVED if before > blank else 0)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _highest(a, b):  # type: ignore[no-untyped-def]
    best = NEVER
    for k in range(a.shape[0]):
        higher = a[k] if a[k] > b[k] else b[k]
        best = higher if higher > best else best
    return best


@njit(cache=True, nogil=True, fastmath=_FAST)
def _drop_the_worse(stray_a, stray_b, a, b, zero):  # type: ignore[no-untyped-def]
    """A stray path that meets one of the window in a state where that is no worse is needed no longer. `zero` is what the sweep
    counts from."""
    for k in range(a.shape[0]):
        stray_a[k] = LOW if a[k] >= stray_a[k] + zero else stray_a[k]
        stray_b[k] = LOW if b[k] >= stray_b[k] + zero else stray_b[k]


@njit(cache=True, nogil=True)
def _search(log_probs_tv, tokens_s, blank, beam, top_t):  # type: ignore[no-untyped-def]
    """Viterbi over a window of tokens that follows the beam, with the bound for what is outside: see the module's head.

    Token j lies at index j + 1 of the buffers, so that what comes before the first is there to be read; index s + 1 of `b` is the
    last blank. Returns backpointers by frame (which of `moves`, offset in it, first token), the scores of both ends, `stray`, and
    how many tokens × frames were looked at.
    """
    t, s = log_probs_tv.shape[0], tokens_s.shape[0]
    a, b, new_a, new_b = np.full(s + 3, NEVER), np.full(s + 3, NEVER), np.full(s + 3, NEVER), np.full(s + 3, NEVER)
    padded = (s + BLOCK) // BLOCK * BLOCK + 2
    emission, may_skip = np.full(s + 3, NEVER), np.full(padded, NEVER)
    tokens = np.full(padded, blank, np.uint32)  # shifted as the buffers are
    tokens[1:s + 1] = tokens_s
    for j in range(s):
        may_skip[j + 1] = NEVER if j == 0 or tokens_s[j] == tokens_s[j - 1] else 0.0
    needed = np.zeros(s + 2, np.int64)  # frames that a path in token j needs after this one
    for j in range(s - 2, -1, -1):
        needed[j] = needed[j + 1] + (2 if tokens_s[j + 1] == tokens_s[j] else 1)
    piece_t, offset_t, first_t = np.zeros(t, np.int32), np.zeros(t, np.int64), np.zeros(t, np.int64)
    moves = List()  # pieces that are never copied: hundreds of megabytes, where a beam is wide
    moves.append(np.zeros(min(t * (s + 1), PIECE_BYTES), np.uint8))
    used, cells = 1, 0
    low, high = 0, 1  # tokens in [low, high) may be alive; s stands for the last blank
    a[1], b[1] = log_probs_tv[0, tokens_s[0]], log_probs_tv[0, blank]
    best = max(a[1], b[1])
    stray = NEVER
    sweep = np.empty((2, 0), np.float32)  # its `a` and `b`, counted from `zero`
    num_blocks = (s + BLOCK) // BLOCK
    is_alive, sweep_frames, zero = np.zeros(num_blocks, np.bool_), 0, 0.0
    sweep_skip = np.maximum(may_skip, LOW).astype(np.float32)
    first_swept, is_hopeless = 0, False
    for i in range(1, t):
        row_v = log_probs_tv[i]
        of_blank = np.float64(row_v[blank])
        high = min(high + 1, s + 1)
        while low < s and needed[low] > t - i:
            low += 1  # could not reach the end any more
            a[low], b[low] = NEVER, NEVER
        width = high - low
        cells += width
        if used + width > moves[-1].shape[0]:
            moves.append(np.empty(max(PIECE_BYTES, width), np.uint8))
            used = 0
        row = moves[-1][used:used + width]
        piece_t[i], offset_t[i], first_t[i] = len(moves) - 1, used, low
        _gather(row_v, tokens[low + 1:high + 1], emission[low + 1:high + 1])
        emission[s + 1] = NEVER
        _step_with_moves(a[low + 1:high + 1], b[low + 1:high + 1], a[low:high], may_skip[low + 1:high + 1],
                         emission[low + 1:high + 1], of_blank, new_a[low + 1:high + 1], new_b[low + 1:high + 1],
                         row)
        used += width
        best = _highest(new_a[low + 1:high + 1], new_b[low + 1:high + 1])
        floor = best - beam
        stray += top_t[i]
        while low < high - 1 and max(new_a[low + 1], new_b[low + 1]) < floor:
            stray = max(stray, max(new_a[low + 1], new_b[low + 1]))
            low += 1
        while high > low + 1 and max(new_a[high], new_b[high]) < floor:
            stray = max(stray, max(new_a[high], new_b[high]))
            new_a[high], new_b[high] = NEVER, NEVER
            high -= 1
        new_a[low], new_b[low] = NEVER, NEVER
        new_a[high + 1], new_b[high + 1] = NEVER, NEVER
        a, new_a = new_a, a
        b, new_b = new_b, b
        if stray > best:  # the proof has failed: a text that repeats itself fits in several places; the path is still sought
            is_hopeless, sweep_frames = True, 0
        if is_hopeless:
            continue
        if not sweep_frames:
            if stray > best - beam / 2 and i + 1 < t:
                if not sweep.shape[1]:
                    sweep = np.empty((2, num_blocks * BLOCK + 2), np.float32)
                sweep[:] = 0.0
                sweep[:, 0], sweep[0, s + 1:], sweep[1, s + 2:] = LOW, LOW, LOW
                is_alive[:] = True
                zero, stray, sweep_frames, first_swept = stray, NEVER, 1, i + 1
        elif i + 1 - first_swept == AT_ONCE or i == t - 1:
            rows = log_probs_tv[first_swept:i + 1]
            top = top_t[first_swept:i + 1]
            zero += top.sum()
            cells += _swept(sweep, is_alive, sweep_skip, tokens, rows, top, blank)
            _drop_the_worse(sweep[0, low + 1:high + 1], sweep[1, low + 1:high + 1], a[low + 1:high + 1], b[low + 1:high + 1], zero)
            zero += ROUNDING * len(rows)
            sweep_frames += len(rows)
            num_alive = 0
            for block in range(num_blocks):
                if is_alive[block]:
                    here = sweep[:, block * BLOCK + 1:(block + 1) * BLOCK + 1]
                    most = _highest(here[0], here[1])
                    if most + zero < floor or (sweep_frames > LONGEST_SWEEP and i < t - 1):
                        stray = max(stray, most + zero)
                        here[:] = LOW
                        is_alive[block] = False
                    else:
                        num_alive += 1
            first_swept = i + 1
            if not num_alive:
                sweep_frames = 0
    if sweep_frames:  # of what it still follows, only who is at the end counts
        stray = max(stray, zero + max(sweep[0, s], sweep[1, s + 1]))
    a_end = a[s] if low <= s - 1 < high else NEVER
    b_end = b[s + 1] if high == s + 1 else NEVER
    return moves, piece_t, offset_t, first_t, a_end, b_end, stray, cells


@njit(cache=True, nogil=True)
def _swept(sweep, is_alive, may_skip, tokens, rows_tv, top_t, blank):  # type: ignore[no-untyped-def]
    """Some frames of a sweep in place, a block of tokens at a time; what crosses into the next block is handed on in `crossing`.

    Values are what each path has lost against the best emission of each frame. A block that is given up is alive again where a path
    comes into it. Returns how many tokens × frames were looked at.
    """
    frames, width, cells = rows_tv.shape[0], sweep.shape[1], 0
    lost_tv = np.empty(rows_tv.shape, np.float32)
    for i in range(frames):
        for v in range(rows_tv.shape[1]):
            lost_tv[i, v] = max(rows_tv[i, v] - np.float32(top_t[i]), LOW)
    crossing, coming = np.full(frames + 1, LOW), np.full(frames + 1, LOW)
    a, b = np.empty(BLOCK + 1, np.float32), np.empty(BLOCK, np.float32)
    new_a, new_b = np.empty(BLOCK + 1, np.float32), np.empty(BLOCK, np.float32)
    emission = np.empty(BLOCK, np.float32)
    comes = False
    for block in range(is_alive.shape[0]):
        if not is_alive[block] and not comes:
            continue
        first = block * BLOCK + 1
        stop = min(first + BLOCK, width - 1)
        size = stop - first
        cells += size * frames
        a[1:size + 1], b[:size] = sweep[0, first:stop], sweep[1, first:stop]
        of_block = tokens[first:stop]
        crossing[0] = a[size]
        for i in range(frames):
            a[0] = coming[i]
            _gather(lost_tv[i], of_block, emission[:len(of_block)])
            emission[len(of_block):] = LOW
            _step(a[1:size + 1], b, a, may_skip[first:stop], emission[:size], lost_tv[i, blank], new_a[1:size + 1], new_b)
            a, new_a = new_a, a
            b, new_b = new_b, b
            crossing[i + 1] = a[size]
        sweep[0, first:stop], sweep[1, first:stop] = a[1:size + 1], b[:size]
        is_alive[block] = True
        crossing, coming = coming, crossing
        comes = coming.max() > LOW / 2
    return cells


@njit(cache=True, nogil=True)
def _traced(moves, piece_t, offset_t, first_t, s, ends_in_blank):  # type: ignore[no-untyped-def]
    """Follow the backpointers from the end: the frames of each token."""
    t = offset_t.shape[0]
    start, stop = np.empty(s, np.int64), np.empty(s, np.int64)
    j, in_blank = (s, True) if ends_in_blank else (s - 1, False)
    if not in_blank:
        stop[j] = t
    for i in range(t - 1, 0, -1):
        move = moves[piece_t[i]][offset_t[i] + j - first_t[i]]
        if in_blank:
            if move & BLANK_MOVED:
                j -= 1
                in_blank = False
                stop[j] = i
        else:
            kind = move & 3
            if kind == ENTER:
                start[j] = i
                in_blank = True
            elif kind == SKIP:
                start[j] = i
                j -= 1
                stop[j] = i
    if not in_blank:
        start[j] = 0
    return start, stop
