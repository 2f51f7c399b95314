"""Emissions and their text, aligned: utterloom beside torchaudio's forced_align, ctc-segmentation and a textbook's table in NumPy.

    python benchmarks/align.py                          30 s, 10 minutes, an hour, three hours; a few minutes
    python benchmarks/align.py --lengths 30,600         some of them
    python benchmarks/align.py --model runs/align --audio talk.flac --text talk.txt     a model's, repeated to each length
    python benchmarks/align.py --json                   for machines

Emissions are as a trained network gives them: mostly blank, a spike for each of 15 characters a second, one in twenty of them
another one, all in noise; 20 ms frames, 30 tokens. Each contender aligns in a process of its own with one thread: the median of a
few turns, and the peak memory above what importing took. Real time is how many seconds of speech are aligned in one. Scores of ours
and of the table must be equal to 1e-4, and so must every frame of both paths; torchaudio's path is scored by the same sum.

A table is not tried where it needs more than --most-gb of memory. ctc-segmentation looks for something else than the best path (it
may begin anywhere, and keeps a window of its own), so only its time is set beside ours.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from board import circumstances, deliver, markdown_table, note, say_circumstances

FRAME_S, CHARACTERS_S, VOCABULARY, WRONG = 0.02, 15, 30, 0.05
LENGTHS_S = (30, 600, 3600, 10_800)
TURNS_S = 6.0  # of each contender, three turns at least
OURS, TABLE, TORCHAUDIO, SEGMENTATION = "utterloom", "NumPy, the whole table", "torchaudio forced_align", "ctc-segmentation"
PACKAGES = ["utterloom", "numba", "numpy", "ctc-segmentation", "torchaudio"]
Aligned = tuple[float | None, list[int] | None]  # score, start frames


def speech(length_s: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities float32 [t, v] and tokens [s]."""
    generator = np.random.default_rng(seed)
    num_frames, num_tokens = round(length_s / FRAME_S), CHARACTERS_S * length_s
    tokens = generator.integers(1, VOCABULARY, num_tokens)
    logits = generator.normal(size=(num_frames, VOCABULARY)).astype(np.float32)
    logits[:, 0] += 4
    frames = np.sort(generator.choice(num_frames, num_tokens, replace=False))
    heard = np.where(generator.random(num_tokens) < WRONG, generator.integers(1, VOCABULARY, num_tokens), tokens)
    logits[frames, heard] += 6
    logits[frames, 0] -= 3
    return logits - np.log(np.exp(logits).sum(1, keepdims=True)), tokens


def of_model(model: str, audio: Path, text: Path) -> tuple[np.ndarray, np.ndarray]:
    """Emissions of a recording by a model, and its text's tokens."""
    from utterloom.extract.align import emissions_of
    from utterloom.extract.alignment.text import script_of
    from utterloom.models.emissions import CTCEmitter
    from utterloom.text.normalisers import normaliser

    emitter = CTCEmitter.open(model)
    log_probs, _, _ = emissions_of(audio, emitter)
    if emitter.shift is not None:
        log_probs = log_probs + emitter.shift
    words = script_of(text.read_text(encoding="utf-8"), normaliser(emitter.view or "basic").rewrite).spoken
    return log_probs.astype(np.float32), np.array([number for word in words for number in emitter.spelling.spell(word).ids])


def repeated(log_probs: np.ndarray, tokens: np.ndarray, length_s: int) -> tuple[np.ndarray, np.ndarray]:
    """As often as it takes, or the beginning of it by proportion."""
    own_s = len(log_probs) * FRAME_S
    if length_s <= own_s:
        raise SystemExit(f"the recording lasts {own_s:.0f} s: --lengths must be longer")
    times = round(length_s / own_s)
    return np.tile(log_probs, (times, 1)), np.tile(tokens, times)


# --- contenders -------------------------------------------------------------------------------------------------------


def ours(log_probs: np.ndarray, tokens: np.ndarray) -> Aligned:
    from utterloom.extract.alignment.viterbi import align_tokens

    path = align_tokens(log_probs, tokens)
    if not path.is_proved:
        raise AssertionError("not proved")
    return path.score, path.start_frame.tolist()


def table(log_probs: np.ndarray, tokens: np.ndarray) -> Aligned:
    """Graves et al. 2006 as a textbook has it: a row of states at a time."""
    extended = np.zeros(2 * len(tokens) + 1, np.int64)
    extended[1::2] = tokens
    may_skip = np.zeros(len(extended), bool)
    may_skip[3::2] = tokens[1:] != tokens[:-1]
    scores = np.full(len(extended), -np.inf)
    scores[:2] = log_probs[0, extended[:2]]
    came_from = np.zeros((len(log_probs), len(extended)), np.int8)
    for frame in range(1, len(log_probs)):
        one, two = np.full_like(scores, -np.inf), np.full_like(scores, -np.inf)
        one[1:], two[2:] = scores[:-1], scores[:-2]
        two[~may_skip] = -np.inf
        best = np.maximum(scores, one)
        came_from[frame] = one > scores
        came_from[frame][two > best] = 2
        scores = np.maximum(best, two) + log_probs[frame, extended]
    state = len(extended) - 1 if scores[-1] > scores[-2] else len(extended) - 2
    score, starts = float(scores[state]), [0] * len(tokens)
    for frame in range(len(log_probs) - 1, -1, -1):
        if state % 2:
            starts[state // 2] = frame
        state -= int(came_from[frame, state])
    return score, starts


def torchaudio(log_probs: np.ndarray, tokens: np.ndarray) -> Aligned:
    import torch
    from torchaudio.functional import forced_align

    labels, scores = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(tokens)[None].int(), blank=0)
    labels = labels[0].numpy()
    starts = np.flatnonzero((labels != 0) & (np.concatenate(([0], labels[:-1])) != labels))
    return float(scores[0].double().sum()), starts.tolist()


def segmentation(log_probs: np.ndarray, tokens: np.ndarray) -> Aligned:
    from ctc_segmentation import CtcSegmentationParameters, ctc_segmentation, prepare_token_list

    config = CtcSegmentationParameters(char_list=[chr(0x100 + number) for number in range(log_probs.shape[1])])
    config.index_duration, config.blank = FRAME_S, 0
    truth, _ = prepare_token_list(config, [tokens])
    timings, _, _ = ctc_segmentation(config, log_probs, truth)
    return None, np.rint(timings[1:1 + len(tokens)] / FRAME_S).astype(int).tolist()


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray], Aligned]] = {
    OURS: ours, TORCHAUDIO: torchaudio, SEGMENTATION: segmentation, TABLE: table}


def _run(name: str, length_s: int, material: tuple[str, Path, Path] | None, connection: Any) -> None:
    """In a process of its own: seconds of each turn, what was found, memory."""
    try:
        log_probs, tokens = speech(length_s) if material is None else repeated(*of_model(*material), length_s)
        CONTENDERS[name](*speech(2))  # imports, compiles
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times_s: list[float] = []
        while len(times_s) < 3 or (sum(times_s) < TURNS_S and len(times_s) < 30):
            started = time.perf_counter()
            score, starts = CONTENDERS[name](log_probs, tokens)
            times_s.append(time.perf_counter() - started)
            if times_s[0] > 60:
                break
        memory_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        seconds = len(log_probs) * FRAME_S
        connection.send({"seconds": median(times_s), "turns": len(times_s), "score": score, "starts": starts,
                         "memory_mb": memory_mb, "real_time": seconds / median(times_s), "frames": len(log_probs),
                         "tokens": len(tokens)})
    except ImportError as error:
        connection.send({"skipped": f"cannot be imported here: {' '.join(str(error).split())[:80]}"})
    except Exception as error:
        connection.send({"skipped": f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"})


def measured(name: str, length_s: int, material: Any) -> dict[str, Any]:
    """One contender on one length. A process that dies is a line of the table."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(name, length_s, material, sender))
    process.start()
    sender.close()
    try:
        return dict(receiver.recv())
    except EOFError:
        process.join()
        return {"skipped": f"its process died (exit code {process.exitcode})"}
    finally:
        process.join()


def check(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Ours against the table and torchaudio, where they ran: scores to 1e-4, every frame of the path."""
    found, own = [], rows[OURS]
    for name in (TABLE, TORCHAUDIO):
        other = rows.get(name, {})
        if other.get("score") is None or own.get("score") is None:
            continue
        tolerance = 1e-4 if name == TABLE else 1e-5 * abs(own["score"])  # float32 sums
        same_score = abs(other["score"] - own["score"]) <= tolerance
        different = sum(left != right for left, right in zip(own["starts"], other["starts"], strict=True))
        found.append(f"{name}: scores {'equal' if same_score else 'DIFFER'} ({own['score']:.4f}, {other['score']:.4f}), "
                     f"{different} of {len(own['starts']):,} tokens begin at another frame")
    return found


def text_of(result: dict[str, Any]) -> str:
    """The tables, for people."""
    lines = []
    for length_s, found in result["results"].items():
        rows = found["rows"]
        own = rows[OURS]
        lines += [f"{length_s} s of speech, {own.get('frames', 0):,} frames, {own.get('tokens', 0):,} tokens", ""]
        cells = [["aligner", "× real time", "seconds", "MB", "ours over it"]]
        for name, row in rows.items():
            if "skipped" in row:
                cells.append([f"{name}: {row['skipped']}", "–", "–", "–", "–"])
            else:
                over = f"{row['seconds'] / own['seconds']:.2f}" if "seconds" in own else "–"
                cells.append([name, f"{row['real_time']:,.0f}", f"{row['seconds']:.4f}", f"{row['memory_mb']:,.0f}", over])
        lines += [markdown_table(cells), "", *found["checks"], ""]
    return "\n".join([*lines, say_circumstances(result)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS_S)), help="seconds, joined by commas")
    parser.add_argument("--most-gb", type=float, default=4.0, help="a contender that needs more for its table is not tried")
    parser.add_argument("--model", help="a CTC model whose emissions are aligned")
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path, help="the JSON, to a file as well")
    asked = parser.parse_args()
    if (asked.model is None) != (asked.audio is None) or (asked.model is None) != (asked.text is None):
        parser.error("--model, --audio and --text go together")
    material = (asked.model, asked.audio, asked.text) if asked.model else None
    results = {}
    result = circumstances(PACKAGES)
    for length_s in (int(part) for part in asked.lengths.split(",")):
        cells = (length_s / FRAME_S) * (2 * CHARACTERS_S * length_s)
        needed_gb = {TABLE: cells / 1e9, TORCHAUDIO: cells * 4 / 1e9 if length_s > 60 else 0.0}
        rows = {}
        for name in CONTENDERS:
            note(f"{length_s} s: {name}")
            if needed_gb.get(name, 0.0) > asked.most_gb:
                rows[name] = {"skipped": f"its table needs {needed_gb[name]:,.0f} GB"}
            else:
                rows[name] = measured(name, length_s, material)
        results[str(length_s)] = {"checks": check(rows), "rows": {
            name: {key: value for key, value in row.items() if key != "starts"} for name, row in rows.items()}}
    result["results"] = results
    deliver(result, asked.json, text_of(result), asked.save)


if __name__ == "__main__":
    main()
